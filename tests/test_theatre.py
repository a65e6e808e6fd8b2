"""The contraction theatre: every step against torch, costs counted by hand, one's own order, and refusals."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from workbench.diagram.defects import defects
from workbench.diagram.drawing import Diagram
from workbench.explore.theatre import Theatre
from workbench.network import Network
from workbench.node import Node
from workbench.program import Apply, Contract, Program


def random(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64)


@pytest.fixture
def chain() -> Diagram:
    """A (2, 3) · B (3, 4) · C (4, 5) · v (5): from the right it takes 20 + 12 + 6 multiply-adds."""
    return Diagram.from_einsum("ij,jk,kl,l->i", A=random(2, 3), B=random(3, 4), C=random(4, 5), v=random(5))


def test_the_best_order_of_a_matrix_chain_on_a_vector_is_from_the_vector(chain):
    theatre = Theatre(chain)
    told = []
    for step in range(theatre.n_steps + 1):
        theatre.go(step)
        frame = theatre.frame()
        told.append((frame.merged, frame.cost, frame.cost_so_far, frame.held))
    assert told == [
        ((), 0, 0, 6 + 12 + 20 + 5),
        (("C", "v"), 20, 20, 6 + 12 + 4),
        (("B", "#1"), 12, 32, 6 + 3),
        (("A", "#2"), 6, 38, 2),
    ]


def test_the_last_step_makes_the_result_and_the_frame_tells_its_norm(chain):
    theatre = Theatre(chain, "greedy")
    theatre.go(theatre.n_steps)
    made = theatre.frame().made
    assert made is not None
    assert made.norm == pytest.approx(float(torch.linalg.vector_norm(chain.result())))
    assert made.shape == (2,)
    assert theatre.finished


def test_the_most_that_is_held_counts_every_state_so_far(chain):
    theatre = Theatre(chain, [("A", "B"), ("A", "C"), ("A", "v")])
    theatre.go(1)
    assert theatre.frame().held == 2 * 4 + 20 + 5
    assert theatre.frame().most_held == 6 + 12 + 20 + 5


def test_an_order_played_by_clicking_bonds_is_compared_with_the_best(chain):
    theatre = Theatre(chain)
    theatre.play_own()
    theatre.contract_bond("j")
    theatre.contract("#1", "C")
    theatre.contract_bond("l")
    frame = theatre.frame()
    assert theatre.finished
    assert frame.costs == {"all at once": 3 * 2 * 3 * 4 * 5, "greedy": 38, "optimal": 38, "yours": 24 + 40 + 10}
    theatre.undo()
    assert theatre.frame().costs["yours"] == 24 + 40
    assert not theatre.finished


def test_going_back_and_contracting_drops_the_steps_after(chain):
    theatre = Theatre(chain)
    theatre.play_own()
    theatre.contract_bond("j")
    theatre.contract_bond("k")
    theatre.go(1)
    theatre.contract_bond("l")
    assert theatre.n_steps == 2
    assert theatre.frame().merged == ("C", "v")


def test_every_state_is_drawn_without_a_fault(chain):
    theatre = Theatre(chain)
    for step in range(theatre.n_steps + 1):
        theatre.go(step)
        assert defects(theatre.frame().scene) == ()


def test_a_tensor_that_is_left_keeps_its_place_to_the_pixel(chain):
    theatre = Theatre(chain, [("A", "B"), ("A", "C"), ("A", "v")])
    start = {mark.node: (mark.x, mark.y) for mark in theatre.frame().scene.marks}
    theatre.go(1)
    now = {mark.node: (mark.x, mark.y) for mark in theatre.frame().scene.marks}
    assert list(now) == ["C", "v", "#1"]
    assert (now["C"], now["v"]) == (start["C"], start["v"])
    assert start["A"][0] < now["#1"][0] < start["B"][0]


def test_the_diamond_of_an_svd_is_played_as_one_index():
    legs = {"U": ("i", "a"), "S": ("b",), "Vh": ("c", "j")}
    nodes = (
        Node("U", legs["U"], form="isometry", tip=("a",)),
        Node("S", legs["S"], form="diagonal"),
        Node("dot", ("a", "b", "c"), copy=True),
        Node("Vh", legs["Vh"], form="isometry", tip=("c",)),
    )
    arrays = {"U": random(4, 3), "S": random(3), "Vh": random(3, 5)}
    theatre = Theatre(Diagram(Network(nodes, ("i", "j")), arrays))
    assert [mark.kind for mark in theatre.frame().scene.marks] == ["triangle", "diamond", "triangle"]
    theatre.go(2)
    made = theatre.frame().made
    assert made is not None
    wanted = arrays["U"] @ torch.diag(arrays["S"]) @ arrays["Vh"]
    assert made.norm == pytest.approx(float(torch.linalg.vector_norm(wanted)))


@settings(max_examples=25)
@given(st.data())
def test_whatever_order_is_played_the_result_and_the_sum_of_costs_are_right(data):
    equation = data.draw(st.sampled_from(["ij,jk,kl->il", "bij,bjk,bkl->bil", "ij,jk,ki->", "ii,ij->j", "a,b,c->abc"]))
    operands = equation.split("->")[0].split(",")
    size = {letter: 2 + k for k, letter in enumerate(dict.fromkeys("".join(operands)))}
    torch.manual_seed(1)
    arrays = {name: random(*(size[leg] for leg in legs)) for name, legs in zip("ABC", operands, strict=False)}
    theatre = Theatre(Diagram.from_einsum(equation, **arrays))
    theatre.play_own()
    while not theatre.finished:
        names = sorted(name for name, _, _ in theatre._state(theatre.step).live.values())
        first = data.draw(st.sampled_from(names))
        second = data.draw(st.sampled_from([name for name in names if name != first]))
        theatre.contract(first, second)
    frame = theatre.frame()
    assert frame.made is not None
    wanted = torch.einsum(equation, *arrays.values())
    assert frame.made.norm == pytest.approx(float(torch.linalg.vector_norm(wanted)))
    order = theatre._own
    assert frame.costs["yours"] == theatre.network.plan(order).cost == frame.cost_so_far


def test_what_cannot_be_played_is_refused(chain):
    theatre = Theatre(chain)
    with pytest.raises(ValueError, match="step 4 is not in this order; it has 0 to 3"):
        theatre.go(4)
    with pytest.raises(ValueError, match="there is no tensor 'D' at this step; there are A, B, C, v"):
        theatre.contract("A", "D")
    with pytest.raises(ValueError, match="'A' cannot be merged with itself"):
        theatre.contract("A", "A")
    with pytest.raises(ValueError, match=r"leg 'i' joins 1 tensors at this step \(A\); name two"):
        theatre.contract_bond("i")


def test_a_spectator_of_three_tensors_needs_two_of_them_named():
    theatre = Theatre(Diagram.from_einsum("hi,hj,hk->ijk", A=random(2, 3), B=random(2, 4), C=random(2, 5)))
    with pytest.raises(ValueError, match=r"leg 'h' joins 3 tensors at this step \(A, B, C\)"):
        theatre.contract_bond("h")
    theatre.contract("A", "C")
    assert theatre.frame().cost == 2 * 3 * 5


def test_a_diagram_of_several_steps_is_refused():
    steps = (
        Contract("y", Network.from_einsum("ij,j->i", ["A", "x"])),
        Apply("z", "relu", torch.relu, ("y",), ("i",)),
    )
    program = Program({"A": ("i", "j"), "x": ("j",)}, steps)
    with pytest.raises(ValueError, match="a theatre plays one contraction, but this diagram has 2 steps"):
        Theatre(Diagram(program, {"A": random(3, 4), "x": random(4)}))


def test_open_legs_that_meet_in_a_dot_are_refused():
    network = Network((Node("v", ("a",)), Node("dot", ("a", "b", "c"), copy=True)), ("b", "c"))
    with pytest.raises(ValueError, match="open legs meet in a dot here"):
        Theatre(Diagram(network, {"v": random(3)}))


def test_a_long_chain_is_played_in_the_best_order_that_was_found():
    names = [f"A{k}" for k in range(14)]
    arrays = {name: random(2, 2) for name in names}
    letters = "abcdefghijklmno"
    equation = ",".join(letters[k : k + 2] for k in range(14)) + "->ao"
    theatre = Theatre(Diagram.from_einsum(equation, **arrays))
    assert (theatre.best, theatre.order) == ("best found", "best found")
    assert set(theatre.frame().costs) == {"all at once", "greedy", "best found"}
    with pytest.raises(ValueError, match="order 'optimal' is not 'best found', 'greedy' or a list of pairs"):
        theatre.play("optimal")


def test_a_tensor_may_be_called_as_a_step_is():
    arrays = {"#1": random(3, 4), "B": random(4, 5), "#2": random(5, 3)}
    theatre = Theatre(Diagram.from_einsum("ij,jk,kl->il", **arrays))
    theatre.go(2)
    assert [mark.node for mark in theatre.frame().scene.marks] == ["#2.1"]


def test_a_step_that_would_not_fit_in_memory_is_refused_by_its_size():
    theatre = Theatre(Diagram.from_einsum("i,j->ij", A=torch.zeros(300_000), B=torch.zeros(300_000)))
    theatre.go(1)
    with pytest.raises(MemoryError, match="step 1 of this order makes a tensor of 9e"):
        theatre.frame()


def test_a_step_is_a_whole_number(chain):
    with pytest.raises(TypeError, match=r"a step is a whole number, not 1\.5"):
        Theatre(chain).go(1.5)
