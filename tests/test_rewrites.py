"""Rewrites: each keeps the contraction that torch.einsum makes of the original, and refuses what it does not fit."""

import random as dice
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from workbench.network import Network
from workbench.node import Node
from workbench.program import Add, Apply, Contract, Program
from workbench.rewrite.bonds import Absorb, InsertGauge
from workbench.rewrite.dots import DropLine, FuseDots
from workbench.rewrite.functions import DistributeSum, FreezePattern, MoveThrough
from workbench.rewrite.isometries import CancelPair, SplitSVD
from workbench.rewrite.legs import MergeLegs, SplitLeg
from workbench.rewrite.place import UntrueRewrite
from workbench.rewrite.proof import Rewrite, rewrites_for
from workbench.rewrite.trains import CyclicTrace, MoveCentre


def random(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64)


def isometry(rows: int, columns: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.linalg.qr(torch.randn(rows, columns, dtype=dtype))[0]


def network_of(program: Program, value: str = "out") -> Network:
    step = next(step for step in program.steps if step.out == value)
    assert isinstance(step, Contract)
    return step.network


def kept_by(rewrite: Rewrite, network: Network, arrays: dict[str, Tensor]) -> tuple[Network, dict[str, Tensor]]:
    """The network and arrays after the rewrite, once they are seen to make what einsum makes of those before."""
    expected = torch.einsum(network.einsum(), *network.arrays_by_node(arrays).values())
    program, held = rewrite.apply(Program.of(network), arrays)
    drawn = network_of(program)
    assert drawn.open_legs == network.open_legs
    assert list(held) == list(program.inputs)
    again = torch.einsum(drawn.einsum(), *drawn.arrays_by_node(held).values())
    torch.testing.assert_close(again, expected, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(program.run(held)["out"], expected, rtol=1e-10, atol=1e-10)
    return drawn, held


def refused(rewrite: Rewrite, network: Network, arrays: dict[str, Tensor], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rewrite.apply(Program.of(network), arrays)


def by_name(network: Network) -> dict[str, Node]:
    return {node.name: node for node in network.nodes}


def dotted() -> tuple[Network, dict[str, Tensor]]:
    """U diag(s) V: a vector on the dot between two matrices."""
    nodes = (Node("U", ("i", "a")), Node("s", ("x",)), Node("dot", ("a", "x", "b"), copy=True), Node("V", ("b", "j")))
    return Network(nodes, ("i", "j")), {"U": random(3, 4), "s": random(4), "V": random(4, 5)}


# ---- every rewrite that is offered


@st.composite
def networks(draw):
    """Networks of up to four arrays and two dots: traces, parallel bonds, spectators and parts apart included."""
    n_arrays, n_dots = draw(st.integers(1, 4)), draw(st.integers(0, 2))
    ends: list[list[str]] = [[] for _ in range(n_arrays + n_dots)]
    size = draw(st.integers(2, 3))
    open_legs, spectators, sizes = [], [], {}
    for leg in "abcdefg"[: draw(st.integers(1, 7))]:
        kind = draw(st.sampled_from(["open", "bond", "bond", "bond", "spectator"]))
        for _ in range({"open": 1, "bond": 2}.get(kind) or draw(st.integers(1, 3))):
            ends[draw(st.integers(0, len(ends) - 1))].append(leg)
        spectators += [leg] if kind == "spectator" else []
        open_legs += [leg] if kind == "open" or (kind == "spectator" and draw(st.booleans())) else []
        sizes[leg] = size if n_dots else draw(st.integers(2, 3))
    state = dice.getstate()  # beartype draws which items to check, and hypothesis forbids others to draw
    nodes = [Node(f"T{k}", tuple(own), copy=k >= n_arrays) for k, own in enumerate(ends) if own or k < n_arrays]
    network = Network(tuple(nodes), tuple(open_legs), sizes, tuple(spectators))
    dice.setstate(state)
    return network


@given(st.data())
@settings(max_examples=40)
def test_every_rewrite_that_is_offered_keeps_the_contraction_one_after_the_other(data):
    network = data.draw(networks())
    arrays = {node.name: random(*(network.sizes[leg] for leg in node.legs)) for node in network.nodes if not node.copy}
    program, expected = Program.of(network), network.contract(arrays)
    for _ in range(4):
        state = dice.getstate()
        offered = rewrites_for(program, "out")
        dice.setstate(state)
        if not offered:
            return
        kind = data.draw(st.sampled_from(sorted({type(own).__name__ for own in offered})))
        rewrite = data.draw(st.sampled_from([own for own in offered if type(own).__name__ == kind]))
        state = dice.getstate()
        program, arrays = rewrite.apply(program, arrays)
        assert network_of(program).open_legs == network.open_legs
        result = program.run(arrays)["out"]
        torch.testing.assert_close(
            result, expected, rtol=1e-9, atol=1e-9, msg=lambda text, own=rewrite: f"{own}: {text}"
        )
        dice.setstate(state)


# ---- dots


def test_two_dots_that_share_bonds_are_one_with_all_other_legs():
    nodes = (
        Node("A", ("i", "a")),
        Node("one", ("a", "b", "c", "d"), copy=True),
        Node("two", ("c", "d", "e", "k"), copy=True),
        Node("B", ("b", "e", "j")),
    )
    network = Network(nodes, ("i", "k", "j"))
    drawn, _ = kept_by(FuseDots("out", "one", "two"), network, {"A": random(3, 4), "B": random(4, 4, 5)})
    assert by_name(drawn)["one"].legs == ("a", "b", "e", "k")
    assert [node.name for node in drawn.nodes] == ["A", "one", "B"]


def test_dots_that_are_no_neighbours_are_refused():
    network, arrays = dotted()
    split = replace(network, nodes=(*network.nodes, Node("far", ("m",), copy=True)), open_legs=("i", "j", "m"))
    refused(FuseDots("out", "dot", "far"), split, arrays, "dots 'dot' and 'far' share no bond; fuse neighbours")
    refused(FuseDots("out", "dot", "U"), network, arrays, "node 'U' holds an array; name a copy node")
    refused(
        FuseDots("out", "dot", "z"), network, arrays, "contraction 'out' has no node 'z'; its nodes are U, s, dot, V"
    )
    refused(FuseDots("y", "dot", "z"), network, arrays, "'y' is no contraction of the program; those are out")
    closed = (Node("v", ("i",)), Node("p", ("a", "b"), copy=True), Node("q", ("a", "b"), copy=True))
    refused(
        FuseDots("out", "p", "q"), Network(closed, ("i",), {"a": 3}), {"v": random(4)}, "have no leg besides the bonds"
    )


@pytest.mark.parametrize(("open_legs", "left"), [(("i", "j"), "a"), (("a", "j"), "a"), (("i", "b"), "b")])
def test_a_dot_with_two_legs_is_a_line_that_keeps_an_open_legs_name(open_legs, left):
    nodes = [Node("A", ("i", "a")), Node("dot", ("a", "b"), copy=True), Node("B", ("b", "j"))]
    nodes = [own for own in nodes if own.copy or any(leg in open_legs for leg in own.legs if leg in ("i", "j"))]
    sizes = {"i": 3, "a": 4, "b": 4, "j": 5}
    arrays = {own.name: random(*(sizes[leg] for leg in own.legs)) for own in nodes if not own.copy}
    drawn, _ = kept_by(DropLine("out", "dot"), Network(tuple(nodes), open_legs), arrays)
    assert all(left in own.legs and not own.copy for own in drawn.nodes)


def test_a_dot_that_is_no_line_is_refused():
    network, arrays = dotted()
    refused(DropLine("out", "dot"), network, arrays, "dot 'dot' has legs a, x, b; a line has two")
    nodes = (Node("v", ("i",)), Node("dot", ("a", "b"), copy=True))
    both_open = Network(nodes, ("i", "a", "b"), {"a": 3})
    refused(DropLine("out", "dot"), both_open, {"v": random(4)}, "dot 'dot' has legs a, b; a line has two")


# ---- isometries


def mirrored(form: str = "isometry", conj: bool = True) -> Network:
    """x U U* y, contracted over the legs i and k that are not on the tip."""
    tip = {"form": form, "tip": ("a",)} if form != "tensor" else {}
    other = {"form": form, "tip": ("b",)} if form != "tensor" else {}
    nodes = (
        Node("x", ("m", "a")),
        Node("U", ("i", "a", "k"), **tip),
        Node("mirror", ("i", "b", "k"), tensor="U", conj=conj, **other),
        Node("y", ("b", "n")),
    )
    return Network(nodes, ("m", "n"))


@pytest.mark.parametrize("form", ["isometry", "tensor"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_an_isometry_and_its_mirror_are_a_line(form, dtype):
    U = isometry(6, 4, dtype).reshape(2, 3, 4).movedim(2, 1)
    arrays = {"x": random(5, 4).to(dtype), "U": U, "y": random(4, 3).to(dtype)}
    drawn, held = kept_by(CancelPair("out", "U", "mirror"), mirrored(form), arrays)
    assert [node.legs for node in drawn.nodes] == [("m", "a"), ("a", "n")]
    assert held["x"] is arrays["x"]
    assert list(held) == ["x", "y"]


def test_an_open_leg_on_the_tip_keeps_its_name():
    network = Network(mirrored().nodes[:3], ("m", "b"))
    U = isometry(6, 4).reshape(2, 3, 4).movedim(2, 1)
    drawn, _ = kept_by(CancelPair("out", "U", "mirror"), network, {"x": random(5, 4), "U": U})
    assert drawn.nodes == (Node("x", ("m", "b")),)


def test_between_two_open_legs_the_line_is_a_dot_or_where_nothing_else_holds_numbers_an_identity():
    nodes = (Node("U", ("i", "a")), Node("mirror", ("i", "b"), tensor="U"))
    arrays = {"U": isometry(4, 3)}
    drawn, held = kept_by(CancelPair("out", "U", "mirror"), Network(nodes, ("b", "a")), arrays)
    assert drawn.nodes == (Node("U", ("a", "b")),)
    torch.testing.assert_close(held["U"], torch.eye(3).double())
    network = Network((*nodes, Node("v", ("j",))), ("b", "j", "a"))
    program, held = CancelPair("out", "U", "mirror").apply(Program.of(network), arrays | {"v": random(5)})
    assert network_of(program).nodes == (Node("U", ("a", "b"), copy=True), Node("v", ("j",)))
    torch.testing.assert_close(program.run(held)["out"], torch.einsum("ba,j->bja", torch.eye(3).double(), held["v"]))


def test_the_trace_of_a_pair_is_the_size_of_its_tip():
    claim = {"form": "isometry", "tip": ("a",)}
    nodes = (Node("U", ("i", "a"), **claim), Node("mirror", ("i", "a"), tensor="U", **claim))
    drawn, held = kept_by(CancelPair("out", "U", "mirror"), Network(nodes), {"U": isometry(4, 3)})
    assert float(drawn.contract(held)) == 3


def test_a_pair_on_the_wrong_side_is_a_projector_and_is_refused_with_its_number():
    nodes = (
        Node("U", ("i", "a"), form="isometry", tip=("a",)),
        Node("mirror", ("j", "a"), tensor="U", form="isometry", tip=("a",)),
    )
    U = isometry(4, 3)
    off = float((U @ U.T - torch.eye(4)).abs().max())
    network = Network(nodes, ("i", "j"))
    with pytest.raises(UntrueRewrite, match=f"cancel U against mirror is untrue: .* the identity by up to {off:.3g}; "):
        CancelPair("out", "U", "mirror").apply(Program.of(network), {"U": U})
    assert not [own for own in rewrites_for(Program.of(network), "out") if isinstance(own, CancelPair)]


def test_a_claim_that_the_numbers_do_not_bear_out_is_refused():
    arrays = {"x": random(5, 4), "U": random(2, 4, 3), "y": random(4, 3)}
    with pytest.raises(UntrueRewrite, match="differs from the identity by up to"):
        CancelPair("out", "U", "mirror").apply(Program.of(mirrored()), arrays)
    U = isometry(6, 4, torch.complex128).reshape(2, 3, 4).movedim(2, 1)
    arrays = {"x": arrays["x"] + 0j, "U": U, "y": arrays["y"] + 0j}
    with pytest.raises(UntrueRewrite, match="differs from the identity by up to"):
        CancelPair("out", "U", "mirror").apply(Program.of(mirrored(conj=False)), arrays)


def test_a_unitary_cancels_on_either_side():
    for legs, mirror in ((("i", "a"), ("i", "b")), (("a", "i"), ("b", "i"))):
        nodes = (
            Node("x", ("m", "a")),
            Node("Q", legs, form="unitary", tip=legs[1:]),
            Node("mirror", mirror, tensor="Q", conj=True, form="unitary", tip=mirror[1:]),
            Node("y", ("b", "n")),
        )
        network = Network(nodes, ("m", "n"))
        (offered,) = [own for own in rewrites_for(Program.of(network), "out") if isinstance(own, CancelPair)]
        kept_by(offered, network, {"x": random(5, 4), "Q": isometry(4, 4), "y": random(4, 3)})


def test_what_is_no_pair_is_refused():
    network = Network.from_einsum("ij,kj,jl->ikl", "UUV", spectators="j")
    arrays = {"U": random(3, 4), "V": random(4, 5)}
    refused(
        CancelPair("out", "U", "U.1"), network, arrays, r"nodes 'U' \(i, j\) and 'U.1' \(k, j\) are no isometry and"
    )
    network = Network.from_einsum("ij,jk->ik", "AB")
    refused(CancelPair("out", "A", "B"), network, {"A": random(3, 5), "B": random(5, 4)}, "size 3 on node 'A' and 4 on")


# ---- splits


@pytest.mark.parametrize("left_legs", [("i",), ("k", "i"), ("a", "k")])
def test_a_split_by_svd_keeps_the_contraction_and_its_claims_hold(left_legs):
    network = Network.from_einsum("ma,iak->mki", "xW")
    arrays = {"x": random(5, 4), "W": random(3, 4, 2)}
    drawn, held = kept_by(SplitSVD("out", "W", left_legs, None, ("u", "s", "vh")), network, arrays)
    nodes = by_name(drawn)
    assert list(nodes) == ["x", "u", "s", "s.dot", "vh"]
    assert nodes["u"].legs[:-1] == left_legs
    assert (nodes["s"].form, nodes["s.dot"].copy) == ("diagonal", True)
    for name in ("u", "vh"):
        letters = dict(zip(nodes[name].legs, "pqr", strict=False))
        ours = "".join(letters.values())
        tip = letters[nodes[name].tip[0]]
        product = torch.einsum(f"{ours},{ours.replace(tip, 't')}->{tip}t", held[name], held[name])
        torch.testing.assert_close(product, torch.eye(len(held["s"])).double())


def test_a_split_cut_to_a_bond_drops_what_its_spectrum_says():
    network, arrays = Network((Node("W", ("i", "j", "k")),), ("k", "i", "j")), {"W": random(3, 4, 5)}
    for bond in (1, 4, 5):
        split = SplitSVD("out", "W", ("k",), bond, ("u", "s", "vh"))
        program, held = split.apply(Program.of(network), arrays)
        off = torch.linalg.vector_norm(program.run(held)["out"] - arrays["W"].permute(2, 0, 1))
        assert float(off) == pytest.approx(split.spectrum(Program.of(network), arrays).error(bond), abs=1e-12)
        assert not split.exact


@pytest.mark.parametrize(
    ("split", "message"),
    [
        (("W", ("z",), None, ("u", "s", "v")), "node 'W' has no leg 'z'; its legs are i, j"),
        (("W", ("i", "j"), None, ("u", "s", "v")), r"left_legs \(i, j\) do not part the legs of node 'W' \(i, j\)"),
        (("W", (), None, ("u", "s", "v")), r"left_legs \(\) do not part"),
        (("W", ("i",), 4, ("u", "s", "v")), "bond 4 does not fit: this bond can be cut to 1, 2, … 3"),
        (("W", ("i",), None, ("u", "x", "v")), "names u, x, v are to be three, and none of the other nodes'"),
        (("W", ("i",), None, ("u", "u", "v")), "names u, u, v are to be three"),
        (("y", ("i",), None, ("u", "s", "v")), "contraction 'out' has no node 'y'; its nodes are W, x"),
    ],
)
def test_a_split_that_does_not_fit_is_refused(split, message):
    network = Network.from_einsum("ij,jk->ik", "Wx")
    refused(SplitSVD("out", *split), network, {"W": random(3, 4), "x": random(4, 5)}, message)


# ---- bonds


def test_a_gauge_and_its_inverse_change_nothing_and_cancel_again():
    network, arrays = Network.from_einsum("ij,jk->ki", "AB"), {"A": random(3, 4), "B": random(4, 5)}
    drawn, held = kept_by(InsertGauge("out", "j", "G", 7), network, arrays)
    assert [node.name for node in drawn.nodes] == ["A", "G", "G⁻¹", "B"]
    assert torch.linalg.cond(held["G"]) < 4.001
    assert torch.linalg.cond(held["G"]) > 1.01
    again, _ = kept_by(InsertGauge("out", "j", "G", 7), network, arrays)
    assert again == drawn
    back, held = kept_by(CancelPair("out", "G", "G⁻¹"), drawn, held)
    assert (back, list(held)) == (replace(network, sizes=back.sizes), ["A", "B"])
    trace = Network.from_einsum("iij->j", "A")
    kept_by(InsertGauge("out", "i", "G", 0), trace, {"A": random(3, 3, 4)})


@pytest.mark.parametrize(
    ("bond", "gauge", "message"),
    [
        ("i", "G", "leg 'i' is open; name a bond, which joins two nodes"),
        ("z", "G", "leg 'z' is on no node of 'out'; its legs are i, j, k"),
        ("j", "A", "contraction 'out' has a node 'A'; give the gauge another name"),
    ],
)
def test_a_gauge_that_has_no_bond_or_name_is_refused(bond, gauge, message):
    network = Network.from_einsum("ij,jk->ik", "AB")
    refused(InsertGauge("out", bond, gauge, 0), network, {"A": random(3, 4), "B": random(4, 5)}, message)
    network = Network.from_einsum("ij,jk,jl->ikl", "ABC")
    arrays = {"A": random(3, 4), "B": random(4, 5), "C": random(4, 2)}
    refused(InsertGauge("out", "j", "G", 0), network, arrays, "leg 'j' has 3 ends; name a bond, which has 2")


@pytest.mark.parametrize(("into", "other"), [("U", "V"), ("V", "U")])
def test_singular_values_are_absorbed_to_either_side(into, other):
    network, arrays = dotted()
    drawn, held = kept_by(Absorb("out", "s", into), network, arrays)
    assert [node.name for node in drawn.nodes] == ["U", "V"]
    assert held[other] is arrays[other]
    assert set(by_name(drawn)["U"].legs) & set(by_name(drawn)["V"].legs)
    axis = by_name(network)[into].legs.index("a" if into == "U" else "b")
    expected = arrays[into] * (arrays["s"] if axis else arrays["s"][:, None])
    torch.testing.assert_close(held[into], expected)


def test_a_matrix_is_absorbed_in_the_place_of_its_bond():
    network = Network.from_einsum("ja,iajk,kl->ial", "MAB", spectators="a")
    arrays = {"M": random(4, 2), "A": random(3, 2, 4, 5), "B": random(5, 6)}
    drawn, held = kept_by(Absorb("out", "M", "A"), network, arrays)
    assert by_name(drawn)["A"].legs == ("i", "a", "k")
    drawn, held = kept_by(Absorb("out", "B", "A"), network, arrays)
    assert by_name(drawn)["A"].legs == ("i", "a", "j", "l")
    assert list(held) == ["M", "A"]


def test_a_head_on_a_dot_stays_one_head_when_its_matrices_are_absorbed():
    nodes = (
        Node("Q", ("h1", "i", "k")),
        Node("K", ("h2", "j", "k")),
        Node("heads", ("h1", "h2", "h3"), copy=True),
        Node("g", ("h3",)),
    )
    network = Network(nodes, ("i", "j"))
    arrays = {"Q": random(2, 3, 4), "K": random(2, 5, 4), "g": random(2)}
    drawn, held = kept_by(Absorb("out", "Q", "K"), network, arrays)
    assert drawn.nodes == (Node("K", ("h2", "j", "i")), Node("g", ("h2",)))
    assert held["K"].shape == (2, 5, 3)


def test_an_array_that_is_used_elsewhere_stays_what_it_is():
    network = Network.from_einsum("ij,jk,kl->il", "AAB")
    arrays = {"A": random(3, 3), "B": random(3, 4)}
    drawn, held = kept_by(Absorb("out", "B", "A.1"), network, arrays)
    assert held["A"] is arrays["A"]
    assert by_name(drawn)["A.1"].tensor == "A.1"
    kept_by(Absorb("out", "A", "A.1"), network, arrays)


def test_a_computed_value_is_absorbed_by_a_step_of_its_own():
    first = Network.from_einsum("ij,jk->ik", "AB")
    program = Program(
        {"A": ("i", "j"), "B": ("j", "k"), "C": ("k", "l"), "D": ("l", "m")},
        (Contract("ab", first), Contract("out", Network.from_einsum("ik,kl,lm->im", ["ab", "C", "D"]))),
    )
    arrays = {"A": random(2, 3), "B": random(3, 4), "C": random(4, 5), "D": random(5, 6)}
    changed, held = Absorb("out", "C", "ab").apply(program, arrays)
    assert [step.out for step in changed.steps] == ["ab", "ab.1", "out"]
    torch.testing.assert_close(changed.run(held)["out"], torch.linalg.multi_dot(list(arrays.values())))
    with pytest.raises(ValueError, match="node 'ab' holds 'ab', which a step computes; freeze it first"):
        SplitSVD("out", "ab", ("i",), None, ("u", "s", "v")).apply(program, arrays)


def test_what_are_no_neighbours_is_not_absorbed():
    network = Network.from_einsum("ij,jk,kl->il", "ABC")
    arrays = {"A": random(2, 3), "B": random(3, 4), "C": random(4, 5)}
    refused(Absorb("out", "A", "C"), network, arrays, r"nodes 'A' \(i, j\) and 'C' \(k, l\) are no neighbours")
    refused(Absorb("out", "A", "A"), network, arrays, "node 'A' cannot be absorbed into itself")
    refused(Absorb("out", "A", "B"), network, {"A": arrays["A"]}, "node 'B' has no array; arrays has A")
    refused(Absorb("out", "dot", "U"), *dotted(), "node 'dot' is a copy node, which holds no array")


# ---- legs


def test_bonds_are_merged_in_the_order_given_and_split_again():
    network = Network.from_einsum("iajb,bka->ikj", "AB")
    arrays = {"A": random(2, 3, 5, 4), "B": random(4, 6, 3)}
    drawn, held = kept_by(MergeLegs("out", ("b", "a"), "c"), network, arrays)
    assert [node.legs for node in drawn.nodes] == [("i", "c", "j"), ("c", "k")]
    torch.testing.assert_close(held["A"], arrays["A"].permute(0, 3, 1, 2).reshape(2, 12, 5))
    _, turned = kept_by(MergeLegs("out", ("a", "b"), "c"), network, arrays)
    assert not torch.equal(turned["A"], held["A"]), "the order matters"
    back, again = kept_by(SplitLeg("out", "c", (4, 3), ("b", "a")), drawn, held)
    assert [node.legs for node in back.nodes] == [("i", "b", "a", "j"), ("b", "a", "k")]
    torch.testing.assert_close(again["B"], arrays["B"].permute(0, 2, 1))


def test_an_isometry_and_its_mirror_stay_a_pair_when_their_bonds_are_merged():
    U = isometry(6, 4, torch.complex128).reshape(2, 3, 4).movedim(2, 1)
    arrays = {"x": random(5, 4) + 0j, "U": U, "y": random(4, 3) + 0j}
    drawn, held = kept_by(MergeLegs("out", ("i", "k"), "ik"), mirrored(), arrays)
    assert by_name(drawn)["mirror"] == Node("mirror", ("ik", "b"), tensor="U", conj=True, form="isometry", tip=("b",))
    kept_by(CancelPair("out", "U", "mirror"), drawn, held)


@pytest.mark.parametrize(
    ("rewrite", "message"),
    [
        (MergeLegs("out", ("a",), "c"), r"bond_legs \(a\) are to be two or more"),
        (MergeLegs("out", ("a", "b"), "d"), r"\(a, b\) are not the bonds between nodes 'A' and 'B', which are a, b, c"),
        (MergeLegs("out", ("a", "b", "i"), "d"), r"\(a, b, i\) are not the bonds between"),
        (MergeLegs("out", ("i", "a"), "d"), "leg 'i' is open; name a bond"),
        (MergeLegs("out", ("a", "b", "c"), "k"), "contraction 'out' has a leg 'k'; give the new one another name"),
        (SplitLeg("out", "b", (2, 3), ("p", "q")), "leg 'b' has size 4, and 2 × 3 makes 6"),
        (SplitLeg("out", "b", (2, 2), ("p", "i")), "contraction 'out' has a leg 'i'; give the new one another name"),
        (SplitLeg("out", "b", (2, 2), ("p",)), "leg 'b' is split into 2 sizes under 1 names"),
        (SplitLeg("out", "i", (1, 2), ("p", "q")), "leg 'i' is open; name a bond"),
    ],
)
def test_legs_that_do_not_fit_are_refused(rewrite, message):
    network = Network.from_einsum("iabc,abck->ik", "AB")
    refused(rewrite, network, {"A": random(2, 3, 4, 2), "B": random(3, 4, 2, 5)}, message)


def test_a_bond_with_a_dot_or_of_a_trace_is_not_split():
    network, arrays = dotted()
    refused(
        SplitLeg("out", "a", (2, 2), ("p", "q")), network, arrays, "node 'dot' is a copy node, which holds no array"
    )
    trace = Network.from_einsum("iij->j", "A")
    refused(SplitLeg("out", "i", (2, 2), ("p", "q")), trace, {"A": random(4, 4, 3)}, "leg 'i' is a trace of node 'A'")


# ---- trains


def train() -> tuple[Network, dict[str, Tensor]]:
    network = Network.from_einsum("ia,ajb,bkc,cl->lkji", "ABCD")
    return network, {"A": random(2, 5), "B": random(5, 3, 4), "C": random(4, 2, 6), "D": random(6, 3)}


@pytest.mark.parametrize("to", "ABCD")
def test_the_centre_moves_and_leaves_isometries_that_point_to_it(to):
    network, arrays = train()
    drawn, held = kept_by(MoveCentre("out", to), network, arrays)
    norm = torch.linalg.vector_norm(drawn.contract(held))
    torch.testing.assert_close(torch.linalg.vector_norm(held[to]), norm, msg="the norm is that of the centre")
    for node in drawn.nodes:
        assert node.form == ("tensor" if node.name == to else "isometry")
        if node.name != to:
            matrix = held[node.name].movedim(node.legs.index(node.tip[0]), -1).flatten(0, -2)
            torch.testing.assert_close(matrix.T @ matrix, torch.eye(matrix.shape[1]).double())


def test_a_centre_that_moves_on_touches_only_what_it_passes():
    network, arrays = train()
    drawn, held = kept_by(MoveCentre("out", "B"), network, arrays)
    assert held["A"].shape == (2, 2), "a bond larger than the legs behind it shrinks"
    onward, moved = kept_by(MoveCentre("out", "C"), drawn, held)
    assert [name for name in "ABCD" if moved[name] is held[name]] == ["A", "D"]
    assert by_name(onward)["B"].tip == ("b",)


def test_a_claim_of_a_chain_that_is_untrue_is_not_taken_over():
    network, arrays = train()
    claimed = replace(by_name(network)["A"], form="isometry", tip=("a",))
    _, held = kept_by(MoveCentre("out", "B"), replace(network, nodes=(claimed, *network.nodes[1:])), arrays)
    assert held["A"].shape == (2, 2)


@pytest.mark.parametrize("equation", ["ij,jk,ki->", "ia,ib,ic->abc", "ij,kl->ijkl", "ija,jib->ab"])
def test_what_is_no_chain_has_no_centre(equation):
    names = "ABC"[: equation.count(",") + 1]
    spectators = "i" if equation.startswith("ia") else ""
    network = Network.from_einsum(equation, names, spectators=spectators)
    operands = equation.split("->")[0].split(",")
    arrays = {name: random(*[3] * len(legs)) for name, legs in zip(names, operands, strict=True)}
    refused(MoveCentre("out", "A"), network, arrays, "the nodes of 'out' are no chain")
    assert not [own for own in rewrites_for(Program.of(network), "out") if isinstance(own, MoveCentre)]


@pytest.mark.parametrize(
    ("equation", "shared"),
    [
        ("abk,bck,cdk->adk", "b, k, c"),
        ("be,bde,de->", "b, e, d"),
        ("ab,bcd,ce,ed->a", "b, c, d, e"),
        ("aab,bc->c", "a, b"),
    ],
)
def test_neighbours_that_share_more_than_one_bond_are_no_chain(equation, shared):
    names = "ABCD"[: equation.count(",") + 1]
    network = Network.from_einsum(equation, names)
    arrays = {node.name: random(*[3] * len(node.legs)) for node in network.nodes}
    for to in names:
        refused(MoveCentre("out", to), network, arrays, f"the nodes of 'out' are no chain: .*; shared are {shared}\\.$")
    assert not [own for own in rewrites_for(Program.of(network), "out") if isinstance(own, MoveCentre)]


def test_a_ring_with_a_tail_that_a_gauge_has_made_is_no_chain():
    network, arrays = Network.from_einsum("aab,b->", "AB"), {"A": random(3, 3, 4), "B": random(4)}
    program, held = InsertGauge("out", "a", "G", 0).apply(Program.of(network), arrays)
    assert not [own for own in rewrites_for(program, "out") if isinstance(own, MoveCentre)]
    with pytest.raises(ValueError, match="the nodes of 'out' are no chain"):
        MoveCentre("out", "B").apply(program, held)


def test_a_claim_over_a_bond_larger_than_all_else_is_seen_to_be_untrue_without_a_matrix_of_its_size():
    nodes = (Node("A", ("i", "a"), form="isometry", tip=("a",)), Node("B", ("a", "j")))
    arrays = {"A": random(2, 300_000), "B": random(300_000, 3)}
    _, held = kept_by(MoveCentre("out", "B"), Network(nodes, ("i", "j")), arrays)
    assert held["A"].shape == (2, 2)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.int64, torch.bool])
def test_arrays_that_no_rewrite_can_compute_in_are_refused(dtype):
    network = Network.from_einsum("ij,jk->ik", "AB")
    arrays = {"A": random(3, 4).to(dtype), "B": random(4, 5).to(dtype)}
    split = SplitSVD("out", "A", ("i",), None, ("u", "s", "v"))
    for rewrite in (split, MoveCentre("out", "B"), InsertGauge("out", "j", "G", 0)):
        refused(
            rewrite, network, arrays, f"^the array of 'A' is {dtype}: an equality cannot be measured in {dtype}; conv"
        )


def test_a_gauge_that_would_not_fit_is_refused_with_its_size(monkeypatch):
    monkeypatch.setattr("workbench.memory.free_bytes", lambda: 2**30)
    network, arrays = Network.from_einsum("ij,jk->ik", "AB"), {"A": random(1, 300_000), "B": random(300_000, 1)}
    with pytest.raises(
        MemoryError, match=r"^gauge 'G' on bond 'j' of size 300000 makes a tensor of 9e\+10 numbers, 671 GiB"
    ):
        InsertGauge("out", "j", "G", 0).apply(Program.of(network), arrays)


def test_a_chain_with_a_dot_or_a_bare_end_has_no_centre():
    refused(MoveCentre("out", "U"), *dotted(), "the chain has a copy node, 'dot'; absorb what it joins first")
    network = Network.from_einsum("i,ij->j", "xW")
    refused(
        MoveCentre("out", "W"), network, {"x": random(3), "W": random(3, 4)}, "node 'x' has no leg besides its bond"
    )
    kept_by(MoveCentre("out", "x"), network, {"x": random(3), "W": random(3, 4)})


@pytest.mark.parametrize("equation", ["ij,ki,jk->", "ij,ik,jk->"])
def test_a_trace_is_turned_round(equation):
    network = Network.from_einsum(equation, "ACB")
    C = random(5, 3)
    arrays = {"A": random(3, 4), "C": C if "ki" in equation else C.T, "B": random(4, 5)}
    drawn, held = kept_by(CyclicTrace("out", "B"), network, arrays)
    assert [node.name for node in drawn.nodes] == ["B", "C", "A"]
    torch.testing.assert_close(drawn.contract(held), torch.trace(arrays["A"] @ arrays["B"] @ C))
    turns = [own.first for own in rewrites_for(Program.of(network), "out") if isinstance(own, CyclicTrace)]
    assert turns == ["C", "B"]


def test_what_is_no_ring_is_not_turned():
    network, arrays = train()
    refused(CyclicTrace("out", "B"), network, arrays, "the nodes of 'out' are no ring")
    refused(CyclicTrace("out", "Z"), network, arrays, "contraction 'out' has no node 'Z'")
    apart = Network.from_einsum("ii,jj->", "AB")
    refused(CyclicTrace("out", "A"), apart, {"A": random(3, 3), "B": random(4, 4)}, "are no ring")


# ---- sums and functions


def summed(equation: str, legs: str, *term_legs: str) -> Program:
    """The contraction of `S`, a sum over `legs`, with W."""
    names = [f"T{k}" for k in range(len(term_legs))]
    inputs = {name: tuple(own) for name, own in zip(names, term_legs, strict=True)}
    inputs["W"] = tuple(equation.split("->")[0].split(",")[1])
    total = Add("S", tuple(names), tuple(legs), tuple(tuple(own) for own in term_legs))
    return Program(inputs, (total, Contract("out", Network.from_einsum(equation, "SW"))))


@pytest.mark.parametrize(
    ("program", "shapes"),
    [
        (summed("td,de->te", "td", "td", "dt"), [(3, 4), (4, 3), (4, 5)]),
        (summed("td,de->te", "td", "td", "d"), [(3, 4), (4,), (4, 5)]),
        (summed("td,de->et", "td", "td", "t"), [(3, 4), (3,), (4, 5)]),
        (summed("btd,bde->bte", "btd", "btd", "td", "b"), [(2, 3, 4), (3, 4), (2,), (2, 4, 5)]),
        (summed("td,te->e", "td", "td", "t"), [(3, 4), (3,), (3, 5)]),
    ],
)
def test_the_contraction_of_a_sum_is_the_sum_of_the_contractions(program, shapes):
    arrays = {name: random(*shape) for name, shape in zip(program.inputs, shapes, strict=True)}
    values = program.run(arrays)
    expected = torch.einsum(network_of(program).einsum(), values["S"], arrays["W"])
    changed, held = DistributeSum("out", "S").apply(program, arrays)
    assert [step.out for step in changed.steps] == [*(f"out.T{k}" for k in range(len(shapes) - 1)), "out"]
    assert changed.legs["out"] == program.legs["out"]
    torch.testing.assert_close(changed.run(held)["out"], expected, rtol=1e-10, atol=1e-10)
    assert [own for own in rewrites_for(program, "out") if isinstance(own, DistributeSum)] == [
        DistributeSum("out", "S")
    ]


def test_a_node_that_holds_no_sum_is_not_distributed():
    program = summed("td,de->te", "td", "td", "td")
    arrays = {"T0": random(3, 4), "T1": random(3, 4), "W": random(4, 5)}
    with pytest.raises(ValueError, match="node 'W' holds 'W', which is no sum; name a node that holds one"):
        DistributeSum("out", "W").apply(program, arrays)
    trace = summed("tt,te->e", "tu", "tu", "t")
    with pytest.raises(ValueError, match=r"node 'S' is traced \(t, t\)"):
        DistributeSum("out", "S").apply(trace, {"T0": random(4, 4), "T1": random(4), "W": random(4, 3)})


def attention(name: str, call, out: str = "te") -> tuple[Program, dict[str, Tensor]]:
    """A named function of the scores X Yᵀ, times W."""
    program = Program(
        {"X": ("t", "k"), "Y": ("s", "k"), "W": ("s", "e")},
        (
            Contract("scores", Network.from_einsum("tk,sk->ts", "XY")),
            Apply("pattern", name, call, ("scores",), ("t", "s")),
            Contract("out", Network.from_einsum(f"ts,se->{out}", ["pattern", "W"])),
        ),
    )
    return program, {"X": random(3, 2), "Y": random(4, 2), "W": random(4, 5)}


def test_a_frozen_pattern_is_an_input_with_the_value_it_had():
    program, arrays = attention("softmax", lambda x: x.softmax(-1))
    (freeze,) = [own for own in rewrites_for(program, "out") if isinstance(own, FreezePattern)]
    changed, held = freeze.apply(program, arrays)
    assert list(held) == ["W", "pattern"]
    expected = torch.einsum("tk,sk->ts", arrays["X"], arrays["Y"]).softmax(-1) @ arrays["W"]
    torch.testing.assert_close(changed.run(held)["out"], expected)
    with pytest.raises(ValueError, match="'X' is no value inside; there are scores, pattern"):
        FreezePattern("X").apply(program, arrays)


@pytest.mark.parametrize("out", ["te", "et"])
def test_a_linear_function_moves_out_of_a_contraction(out):
    program, arrays = attention("halve", lambda x: x / 2, out)
    changed, held = MoveThrough("out", "pattern").apply(program, arrays)
    expected = torch.einsum(f"tk,sk,se->{out}", *arrays.values()) / 2
    torch.testing.assert_close(changed.run(held)["out"], expected)
    assert changed.legs["out"] == program.legs["out"]
    assert "pattern" not in changed.legs
    assert MoveThrough("out", "pattern") in rewrites_for(program, "out")


def test_what_is_no_function_read_once_is_not_moved():
    program, arrays = attention("halve", lambda x: x / 2)
    with pytest.raises(ValueError, match="'W' is no function's value; the program has pattern"):
        MoveThrough("out", "W").apply(program, arrays)
    with pytest.raises(ValueError, match="contraction 'scores' reads 'pattern' 0 times"):
        MoveThrough("scores", "pattern").apply(program, arrays)
    twice = replace(
        program, steps=(*program.steps[:2], Contract("out", Network.from_einsum("ts,us->tu", ["pattern"] * 2)))
    )
    with pytest.raises(ValueError, match="contraction 'out' reads 'pattern' 2 times"):
        MoveThrough("out", "pattern").apply(replace(twice, inputs={"X": ("t", "k"), "Y": ("s", "k")}), arrays)
    rows = replace(program.steps[1], call=lambda x: x.sum(0), legs=("s",))
    steps = (program.steps[0], rows, Contract("out", Network.from_einsum("s,se->e", ["pattern", "W"])))
    with pytest.raises(ValueError, match="function 'pattern' changes the legs of what it reads"):
        MoveThrough("out", "pattern").apply(replace(program, steps=steps), arrays)
