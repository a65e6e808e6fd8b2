"""Two diagrams on one grid: what both have stands in one place, what is new stands between, and nothing is hidden."""

import pytest
import torch
from torch import Tensor

from workbench.diagram.defects import defects
from workbench.diagram.drawing import Diagram
from workbench.diagram.scene import Scene
from workbench.diagram.together import moved_marks, together
from workbench.network import Network
from workbench.program import Program
from workbench.rewrite.bonds import Absorb, InsertGauge
from workbench.rewrite.isometries import SplitSVD
from workbench.rewrite.proof import Proof
from workbench.rewrite.trains import MoveCentre


def random(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64)


def places(scene: Scene) -> dict[str, tuple[float, float]]:
    return {mark.name: (mark.x, mark.y) for mark in scene.marks}


def chain() -> Proof:
    network = Network.from_einsum("ij,jk,kl->il", ["A", "B", "C"])
    return Proof(Program.of(network), {"A": random(4, 5), "B": random(5, 6), "C": random(6, 3)})


def train() -> Proof:
    network = Network.from_einsum("ia,ajb,bkc,cl->ijkl", ["A", "B", "C", "D"])
    arrays = {"A": random(2, 3), "B": random(3, 2, 4), "C": random(4, 2, 3), "D": random(3, 2)}
    return Proof(Program.of(network), arrays)


def drawn(proof: Proof) -> Diagram:
    return Diagram(*proof.last)


@pytest.mark.parametrize(
    ("before", "rewrite"),
    [
        (chain(), InsertGauge("out", "j", "G", 0)),
        (chain(), SplitSVD("out", "B", ("j",), None, ("U", "S", "Vh"))),
        (chain(), SplitSVD("out", "A", ("i",), None, ("U", "S", "Vh"))),
        (chain(), Absorb("out", "A", "B")),
        (train(), MoveCentre("out", "C")),
        (train(), SplitSVD("out", "B", ("a", "j"), 2, ("U", "S", "Vh"))),
    ],
    ids=lambda value: str(value)[:40] if not isinstance(value, Proof) else "",
)
def test_a_node_keeps_its_place_when_the_diagram_is_rewritten(before, rewrite):
    first, second = together(drawn(before), drawn(before.then(rewrite)))
    shared = places(first).keys() & places(second).keys()
    assert shared
    for name in shared:
        assert places(second)[name] == pytest.approx(places(first)[name])
    assert (first.width, first.height) == (second.width, second.height)
    assert defects(first) == ()
    assert defects(second) == ()


def test_new_nodes_stand_between_those_they_are_joined_to():
    proof = chain()
    first, second = together(drawn(proof), drawn(proof.then(InsertGauge("out", "j", "G", 0))))
    order = [name for name, _ in sorted(places(second).items(), key=lambda item: item[1][0])]
    assert order == ["A", "G", "G⁻¹", "B", "C"]
    gone, new = moved_marks(first, second)
    assert gone == []
    assert [mark.name for mark in new] == ["G", "G⁻¹"]


def test_a_split_tensor_gives_its_place_to_its_parts():
    proof = chain()
    first, second = together(drawn(proof), drawn(proof.then(SplitSVD("out", "B", ("j",), None, ("U", "S", "Vh")))))
    assert places(second)["S"][0] == pytest.approx(places(first)["B"][0])
    assert places(second)["A"] == pytest.approx(places(first)["A"])


def test_nodes_in_another_order_are_drawn_each_for_itself():
    one = Diagram(Network.from_einsum("ij,jk,kl->il", ["A", "B", "C"]))
    other = Diagram(Network.from_einsum("ij,jk,kl->il", ["B", "A", "C"]))
    assert together(one, other) == (one.scene, other.scene)
