"""The object: from where it is made, what it says of itself, files, equations, and what it refuses."""

import pytest
import torch
from torch import Tensor

from workbench.decompose.exact import check_finite
from workbench.decompose.low_rank import LowRank
from workbench.decompose.train import TensorTrain
from workbench.diagram.drawing import Diagram
from workbench.diagram.place import Layout
from workbench.network import Network
from workbench.program import Apply, Contract, Program


def random(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64)


def product() -> Diagram:
    return Diagram.from_einsum("ij,jk->ik", A=random(3, 4), B=random(4, 5))


# ---- the object


def test_it_runs_writes_itself_down_and_counts_its_cost():
    diagram = product()
    values = diagram.run()
    assert list(values) == ["A", "B", "out"]
    torch.testing.assert_close(values["out"], diagram.arrays["A"] @ diagram.arrays["B"])
    assert diagram.einsum() == "ij,jk->ik"
    assert diagram.formula() == r"\mathrm{out}_{ik} = \sum_{j} A_{ij} B_{jk}"
    assert (diagram.cost().cost, diagram.cost().largest_intermediate) == (60, 15)
    assert "multiply-adds, all at once" in repr(diagram.cost())


def test_in_a_cell_it_shows_a_drawing_with_words_and_a_text():
    shown = product()._repr_mimebundle_()
    assert set(shown) == {"text/html", "image/svg+xml", "text/plain"}
    assert "<title" in shown["text/html"]
    assert "contracts A (i, j), B (j, k)" in shown["image/svg+xml"]
    assert shown["text/plain"] == "Diagram: ij,jk->ik"


def test_a_program_is_written_step_by_step():
    steps = (
        Contract("y", Network.from_einsum("ij,j->i", ["W_in", "x"])),
        Apply("z", "GELU", torch.nn.functional.gelu, ("y",), ("i",)),
    )
    diagram = Diagram(Program({"W_in": ("i", "j"), "x": ("j",)}, steps), {"W_in": random(3, 4), "x": random(4)})
    assert diagram.einsum() == 'y = einsum("ij,j->i", W_in, x)\nz = GELU(y)'
    assert r"z_{i} &= \operatorname{GELU}\left(y_{i}\right)" in diagram.formula()
    assert r"W^{\mathrm{in}}_{ij} x_{j}" in diagram.formula()
    assert set(diagram.cost().plans) == {"y"}


def test_legs_that_latex_reads_otherwise_are_escaped():
    network = Network.from_einsum("a->a", ["v"])
    renamed = Network((network.nodes[0].with_legs(("%",)),), ("%",))
    assert Diagram(renamed).formula() == r"\mathrm{out}_{\%} = v_{\%}"


@pytest.mark.parametrize("kind", ["svg", "png"])
def test_it_is_written_to_a_file_whole_in_any_theme(kind, tmp_path):
    for theme in ("light", "dark", "print"):
        path = tmp_path / "sub" / f"{theme}.{kind}"
        getattr(product(), kind)(path, theme=theme)
        assert path.stat().st_size > 500
    assert {each.name for each in (tmp_path / "sub").iterdir()} == {f"{t}.{kind}" for t in ("light", "dark", "print")}


def test_a_file_that_cannot_be_written_is_named_and_a_theme_that_is_none(tmp_path):
    with pytest.raises(IsADirectoryError, match="is a directory; name a file in it"):
        product().svg(tmp_path)
    with pytest.raises(ValueError, match="there is no theme 'neon'; the themes are light, dark, print"):
        product().svg(theme="neon")


# ---- from decompositions


def test_a_decomposition_is_drawn_with_the_isometries_that_it_has():
    tensor = random(3, 4, 5)
    train = Diagram.of(TensorTrain.from_dense(tensor))
    torch.testing.assert_close(train.result(), tensor)
    kinds = {mark.node: mark.kind for mark in train.scene.marks}
    assert sorted(kinds.values()) == ["box", "triangle", "triangle"]
    pair = Diagram.of(LowRank.from_weight(random(6, 4)).truncate(2))
    assert sorted(mark.kind for mark in pair.scene.marks) == ["box", "triangle"]


def test_what_has_no_diagram_is_refused():
    with pytest.raises(TypeError, match="a int has no diagram of its own; give LowRank, TensorTrain"):
        Diagram.of(3)


def test_complex_numbers_are_refused_where_the_factors_would_be_wrong():
    with pytest.raises(ValueError, match=r"the core is torch\.complex128; a decomposition needs float32 or float64"):
        check_finite(random(3, 3) + 1j * random(3, 3), "core")
    with pytest.raises(ValueError, match=r"the weight is torch\.int64; .*: convert it by \.float\(\)"):
        check_finite(torch.ones(2, 2, dtype=torch.int64))


# ---- equations


def test_an_equation_checks_legs_when_made_and_numbers_when_asked():
    diagram = product()
    right = Diagram.from_einsum("ik->ik", AB=diagram.result())
    assert diagram == right
    wrong = diagram == Diagram.from_einsum("ik->ik", AB=diagram.result() + 1)
    assert not wrong
    assert wrong.sign == "≈"
    assert f"{wrong.error:.1e}" in repr(wrong)
    with pytest.raises(ValueError, match=r"the left side has the open legs \(i, k\) and the right side \(k, i\)"):
        diagram == Diagram.from_einsum("ki->ki", AB=diagram.result().T)  # noqa: B015


def test_sides_that_cannot_be_compared_are_still_drawn_and_say_why_when_asked():
    diagram = product()
    single = diagram == Diagram.from_einsum("ik->ik", AB=diagram.result().float())
    assert single.sign == "≟"
    assert "svg" in single._repr_mimebundle_()["image/svg+xml"]
    with pytest.raises(ValueError, match=r"the result is torch\.float32 \(3, 5\), and torch\.float64"):
        bool(single)
    assert (Diagram(Network.from_einsum("ij->ij", ["A"])) == Diagram(Network.from_einsum("ij->ij", ["B"]))).sign == "≟"


def test_a_diagram_is_no_number_and_can_be_a_key():
    diagram = product()
    assert diagram != 3
    assert {diagram: 1}[diagram] == 1


# ---- refusals


@pytest.mark.parametrize(
    ("made", "kind", "told"),
    [
        (lambda: Diagram(Network((), ())), ValueError, "a network has one or more nodes; none was given"),
        (
            lambda: Diagram.from_einsum("ij,jk->ik", A=random(3, 4)),
            ValueError,
            "has 2 operands, but 1 names were given",
        ),
        (lambda: Diagram.from_einsum("ij,jk->ik", A=random(2, 3), B=random(4, 5)), ValueError, "bond 'j' has size 3"),
        (
            lambda: Diagram(Program.of(Network.from_einsum("ij->ij", ["A"])), {"A": random(3, 3, 3)}),
            ValueError,
            r"'A' has 2 legs \(i, j\) but its array has 3 axes",
        ),
        (
            lambda: Diagram(Program.of(Network.from_einsum("ij->ij", ["A"])), {"Q": random(3, 3)}),
            ValueError,
            "arrays has 'Q', but the inputs are A",
        ),
        (
            lambda: Diagram(Network.from_einsum("ij->ij", ["A"]), data=("Q",)),
            ValueError,
            "data names 'Q'; the inputs are A",
        ),
        (
            lambda: Diagram(Network.from_einsum("ij->ij", ["A"]), layout=Layout(sides={"z": "left"})),
            ValueError,
            "the layout says where 'z' leaves; the legs are i, j",
        ),
        (lambda: Layout(sides={"i": "west"}), ValueError, "leg 'i' cannot leave on side 'west'; the sides are left"),
    ],
)
def test_what_is_no_diagram_is_refused(made, kind, told):
    with pytest.raises(kind, match=told):
        made()


def test_arrays_with_nan_are_refused_when_it_runs():
    bad = random(3, 4)
    bad[1, 2] = torch.nan
    with pytest.raises(ValueError, match=r"the array of 'A' holds 1 non-finite values \(nan or inf\)"):
        Diagram.from_einsum("ij->ij", A=bad).run()


def test_a_network_too_large_to_contract_is_refused_with_the_size_it_would_need():
    names = [f"v{k}" for k in range(8)]
    letters = "abcdefgh"
    network = Network.from_einsum(",".join(letters) + "->" + letters, names)
    arrays = {name: torch.zeros(1000, dtype=torch.float64) for name in names}
    with pytest.raises(MemoryError, match=r"makes a tensor of 1e\+24 numbers"):
        Diagram(network, arrays).run()
