"""Networks: laws of contraction against torch.einsum, plans counted by hand, tensornetwork both ways, and refusals."""

import math
import pickle
import random as dice
from dataclasses import replace
from itertools import pairwise

import numpy
import pytest
import tensornetwork
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from workbench.network import Network
from workbench.node import Node

few = settings(max_examples=40)  # of small networks; the laws were also tried on thousands


def random(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64)


def arrays_for(network: Network) -> dict[str, Tensor]:
    return {node.name: random(*(network.sizes[leg] for leg in node.legs)) for node in network.nodes if not node.copy}


def delta(n_legs: int, size: int) -> Tensor:
    entries = torch.zeros((size,) * n_legs, dtype=torch.float64)
    entries[(torch.arange(size),) * n_legs] = 1
    return entries


def by_einsum(network: Network, arrays: dict[str, Tensor]) -> Tensor:
    return torch.einsum(network.einsum(), *(arrays[node.name] for node in network.nodes if not node.copy))


@st.composite
def networks(draw, kinds=("open", "bond"), n_copies=0):
    """Networks of up to five nodes and seven legs: traces, scalars, parallel bonds and parts apart included."""
    n_nodes = draw(st.integers(1, 5))
    ends: list[list[str]] = [[] for _ in range(n_nodes + n_copies)]
    sizes, open_legs, spectators = {}, [], []
    size = st.integers(1, 3) if not n_copies else st.just(draw(st.integers(2, 3)))
    for leg in "abcdefg"[: draw(st.integers(0, 7))]:
        kind = draw(st.sampled_from(kinds))
        n_ends = {"open": 1, "bond": 2}.get(kind) or draw(st.integers(1, 4))
        for _ in range(n_ends):
            ends[draw(st.integers(0, len(ends) - 1))].append(leg)
        if kind == "spectator":
            spectators.append(leg)
        if kind == "open" or (kind == "spectator" and draw(st.booleans())):
            open_legs.append(leg)
        sizes[leg] = draw(size)
    legs = [tuple(draw(st.permutations(own))) for own in ends]
    open_legs = tuple(draw(st.permutations(open_legs)))
    state = dice.getstate()  # beartype draws which items to check, and hypothesis forbids others to draw
    nodes = [Node(f"T{k}", own, copy=k >= n_nodes) for k, own in enumerate(legs) if own or k < n_nodes]
    network = Network(tuple(nodes), open_legs, sizes, tuple(spectators))
    dice.setstate(state)
    return network


every_network = st.one_of(
    networks(), networks(("open", "bond", "spectator")), networks(("open", "bond", "spectator"), n_copies=2)
)


@st.composite
def orders(draw, network: Network):
    """Pairs of names that join all nodes with arrays, in a random order."""
    names = draw(st.permutations([node.name for node in network.nodes if not node.copy]))
    pairs = [(name, names[draw(st.integers(0, k))]) for k, name in enumerate(names[1:])]
    return draw(st.permutations(pairs))


# ---- laws


@given(networks(("open", "bond", "spectator")))
@few
def test_a_contraction_is_the_einsum_of_its_arrays(network):
    arrays = arrays_for(network)
    torch.testing.assert_close(network.contract(arrays), by_einsum(network, arrays))


@given(networks())
@few
def test_a_contraction_of_bonds_and_open_legs_is_the_einsum_of_its_arrays(network):
    arrays = arrays_for(network)
    torch.testing.assert_close(network.contract(arrays), by_einsum(network, arrays))


@given(st.data())
@few
def test_a_contraction_is_independent_of_its_order(data):
    network = data.draw(every_network)
    arrays = arrays_for(network)
    expected = network.contract(arrays)
    for order in ("optimal", "greedy", data.draw(orders(network))):
        torch.testing.assert_close(network.contract(arrays, order), expected)


@given(networks(("open", "bond", "spectator"), n_copies=2))
@few
def test_a_copy_node_is_the_tensor_that_is_one_where_all_indices_agree(network):
    arrays = arrays_for(network)
    dense = replace(network, nodes=tuple(replace(node, copy=False) for node in network.nodes))
    deltas = {n.name: delta(len(n.legs), network.sizes[n.legs[0]]) for n in network.nodes if n.copy}
    torch.testing.assert_close(network.contract(arrays), by_einsum(dense, arrays | deltas))


@given(every_network)
@few
def test_spectators_are_legs_that_meet_in_copy_nodes(network):
    arrays = arrays_for(network)
    drawn = network.spectators_as_copies()
    assert drawn.spectators == ()
    assert drawn.open_legs == network.open_legs
    torch.testing.assert_close(drawn.contract(arrays), network.contract(arrays))


@given(every_network)
@few
def test_gradients_are_those_of_einsum(network):
    arrays = {name: array.requires_grad_() for name, array in arrays_for(network).items()}
    dense = replace(network, nodes=tuple(replace(node, copy=False) for node in network.nodes))
    deltas = {n.name: delta(len(n.legs), network.sizes[n.legs[0]]) for n in network.nodes if n.copy}
    expected = by_einsum(dense, arrays | deltas)
    weights = torch.randn_like(expected)
    ours = torch.autograd.grad((network.contract(arrays) * weights).sum(), list(arrays.values()))
    theirs = torch.autograd.grad((expected * weights).sum(), list(arrays.values()))
    torch.testing.assert_close(ours, theirs)


@given(every_network)
@few
def test_a_network_survives_pickling_and_is_hashable(network):
    again = pickle.loads(pickle.dumps(network))
    assert again == network
    assert hash(again) == hash(network)


@given(every_network, st.sampled_from(["auto", "optimal", "greedy"]))
@few
def test_the_steps_of_a_plan_run_as_einsums_and_make_what_they_say(network, order):
    arrays, plan = arrays_for(network), network.plan(order)
    sizes = dict(plan.sizes)
    made = [
        torch.ones(()).double().expand([sizes[label] for label in operand.labels])
        if operand.is_delta and len(operand.labels) == 1
        else delta(2, sizes[operand.labels[0]])
        if operand.is_delta
        else arrays[operand.name]
        for operand in plan.operands
    ]
    for step in plan.steps:
        made.append(torch.einsum(step.equation, *(made[k] for k in step.operands)))
        assert made[-1].numel() == step.size
        assert len(step.operands) <= 2
    torch.testing.assert_close(made[-1], network.contract(arrays))


# ---- cases known by name


def test_a_leg_with_both_ends_on_one_node_is_a_trace():
    A, B = random(3, 4, 3), random(4, 4)
    network = Network((Node("A", ("i", "j", "i")), Node("B", ("k", "k"))), ("j",))
    torch.testing.assert_close(
        network.contract({"A": A, "B": B}), A.diagonal(dim1=0, dim2=2).sum(1) * B.diagonal().sum()
    )
    assert network.ends["i"] == (("A", 0), ("A", 2))


def test_spectators_are_batches():
    Q, K = random(2, 5, 3, 4), random(2, 5, 6, 4)
    network = Network.from_einsum("bhtk,bhsk->bhts", ["Q", "K"])
    assert network.spectators == ("b", "h")
    torch.testing.assert_close(network.contract({"Q": Q, "K": K}), Q @ K.mT)


@pytest.mark.parametrize(
    ("equation", "spectators"),
    [
        ("ij,jk->ik", ()),
        ("ii->", ()),
        ("ii->i", ("i",)),
        ("ij->i", ("j",)),
        ("i,i->i", ("i",)),
        ("i,i,i->", ("i",)),
        ("bij, bjk, bkl -> bil", ("b",)),
    ],
)
def test_spectators_of_an_einsum_are_the_letters_that_can_be_no_bond_and_no_open_leg(equation, spectators):
    names = "ABC"[: equation.count(",") + 1]
    network = Network.from_einsum(equation, names)
    assert network.spectators == spectators
    assert network.einsum() == equation.replace(" ", "")


def test_spectators_can_be_named():
    network = Network.from_einsum("bij,jk->bik", ["X", "W"], spectators="b")
    assert network.spectators == ("b",)
    X, W = random(5, 3, 4), random(4, 2)
    torch.testing.assert_close(network.contract({"X": X, "W": W}), X @ W)


def test_a_spectator_that_is_a_bond_or_an_open_leg_needs_no_copy_node():
    network = Network.from_einsum("bij,jk->bik", ["X", "W"], spectators="bj")
    assert network.spectators_as_copies() == replace(network, spectators=())


def test_a_copy_node_of_two_legs_is_a_line():
    A, B = random(3, 4), random(4, 5)
    network = Network((Node("A", ("i", "j")), Node("dot", ("j", "k"), copy=True), Node("B", ("k", "l"))), ("i", "l"))
    assert network.einsum() == "ij,jl->il"
    torch.testing.assert_close(network.contract({"A": A, "B": B}), A @ B)


def test_a_dot_that_joins_two_vectors_is_their_hadamard_product():
    a, b = random(4), random(4)
    network = Network((Node("a", ("i",)), Node("b", ("j",)), Node("dot", ("i", "j", "k"), copy=True)), ("k",))
    torch.testing.assert_close(network.contract({"a": a, "b": b}), a * b)


def test_a_dot_on_a_vector_is_a_diagonal_matrix():
    v = random(4)
    network = Network((Node("v", ("i",)), Node("dot", ("i", "a", "b"), copy=True)), ("b", "a"))
    torch.testing.assert_close(network.contract({"v": v}), torch.diag(v))
    assert network.einsum() == "b->bb"


def test_joined_dots_fuse():
    v = random(3)
    dots = (Node("dot", ("i", "a", "j"), copy=True), Node("spot", ("j", "b", "c"), copy=True))
    two = Network((Node("v", ("i",)), *dots), ("a", "b", "c"))
    one = Network((Node("v", ("i",)), Node("dot", ("i", "a", "b", "c"), copy=True)), ("a", "b", "c"))
    torch.testing.assert_close(two.contract({"v": v}), one.contract({"v": v}))
    torch.testing.assert_close(one.contract({"v": v}), torch.einsum("i,iabc->abc", v, delta(4, 3)))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_dots_apart_from_all_arrays_multiply_them(dtype):
    v = random(3).to(dtype)
    apart = Network(
        (Node("v", ("i",)), Node("loop", ("l", "l"), copy=True), Node("line", ("a", "b"), copy=True)),
        ("a", "i", "b"),
        {"l": 4, "a": 5},
    )
    for order in ("auto", []):
        torch.testing.assert_close(apart.contract({"v": v}, order), 4 * torch.einsum("i,ab->aib", v, delta(2, 5).to(v)))


@pytest.mark.parametrize("spectators", [(), ("leg 0",)])
def test_a_chain_of_more_legs_than_letters_contracts(spectators):
    names = [f"A{k}" for k in range(70)]
    network = Network(
        tuple(Node(name, (f"leg {k}", f"leg {k + 1}")) for k, name in enumerate(names)),
        ("leg 0", "leg 70"),
        spectators=spectators,
    )
    arrays = {name: random(3, 3) / 3**0.5 for name in names}
    torch.testing.assert_close(network.contract(arrays), torch.linalg.multi_dot(list(arrays.values())))
    assert network.sized_by(arrays).plan().cost < 70 * 27


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.complex128])
@pytest.mark.parametrize("equation", ["ij,jk->ki", "bij,bjk->bki"])
def test_the_result_has_the_dtype_of_the_arrays(dtype, equation):
    arrays = {"A": torch.ones((2, 3, 4)[-equation.index(",") :], dtype=dtype), "B": random(4, 5).to(dtype)}
    if equation.startswith("b"):
        arrays["B"] = arrays["B"].expand(2, 4, 5)
    result = Network.from_einsum(equation, "AB").contract(arrays)
    torch.testing.assert_close(result, torch.einsum(equation, *arrays.values()))
    assert result.dtype == dtype


@pytest.mark.gpu
def test_arrays_on_a_gpu_are_contracted_there():
    v, A = torch.rand(3, device="cuda"), torch.rand(3, 4, device="cuda")
    for network in (
        Network.from_einsum("i,ij->j", "vA"),
        Network((Node("v", ("i",)), Node("dot", ("i", "k", "l"), copy=True), Node("A", ("k", "j"))), ("l", "j")),
    ):
        result = network.contract({"v": v, "A": A})
        assert result.device == v.device
        torch.testing.assert_close(result, v @ A if result.ndim == 1 else v[:, None] * A)


# ---- plans


def test_the_cost_of_a_matrix_chain_is_the_count_by_hand():
    network = Network.from_einsum("ij,jk,kl->il", "ABC", sizes={"i": 2, "j": 30, "k": 4, "l": 5})
    plan = network.plan("optimal")
    assert plan.naive_cost == 2 * 30 * 4 * 5 * 2
    assert plan.cost == 2 * 30 * 4 + 2 * 4 * 5
    assert plan.speed_up == pytest.approx(2400 / 280)
    assert plan.largest_intermediate == 10
    assert [step.equation for step in plan.steps] == ["ij,jk->ik", "ik,kl->il"]
    assert network.plan([("C", "B"), ("A", "C")]).cost == 30 * 4 * 5 + 2 * 30 * 5


def test_a_trace_costs_its_additions_and_a_permutation_nothing():
    trace = Network.from_einsum("iij->j", "A", sizes={"i": 3, "j": 4}).plan()
    assert (trace.cost, trace.naive_cost, trace.speed_up) == (12, 12, 1)
    turn = Network.from_einsum("ij->ji", "A", sizes={"i": 3, "j": 4}).plan()
    assert (turn.cost, turn.naive_cost, turn.speed_up) == (0, 0, 1)
    nothing = Network.from_einsum("ij->ij", "A", sizes={"i": 3, "j": 4}).plan()
    assert (nothing.steps, nothing.largest_intermediate) == ((), 0)


def test_a_plan_shows_its_steps_and_cost():
    plan = Network.from_einsum("ij,jk,kl->il", "ABC", sizes={"i": 2, "j": 3000, "k": 4, "l": 5}).plan("optimal")
    assert repr(plan).splitlines() == [
        "contraction of ij,jk,kl->il",
        "  multiply-adds, all at once    240,000",
        "  multiply-adds, in this order  24,040 (speed-up 9.98)",
        "  largest intermediate          10 numbers",
        "  step  tensors  einsum     multiply-adds  result",
        "  #1    A B      ij,jk->ik  24,000         8",
        "  #2    #1 C     ik,kl->il  40             10",
    ]


def test_a_plan_of_a_thousand_bonds_can_be_shown():
    names = [f"A{k}" for k in range(1100)]
    nodes = tuple(Node(name, (f"leg {k}", f"leg {k + 1}")) for k, name in enumerate(names))
    legs = {f"leg {k}": 2 for k in range(1101)}
    plan = Network(nodes, ("leg 0", "leg 1100"), legs).plan(list(pairwise(names)))
    assert plan.cost == 8 * 1099
    assert plan.speed_up == math.inf
    assert "e+" in repr(plan).splitlines()[1]


# ---- tensornetwork


@given(networks())
@few
def test_a_network_comes_back_from_tensornetwork(network):
    arrays = arrays_for(network)
    again, held = Network.from_tensornetwork(*network.to_tensornetwork(arrays))
    assert again == network
    assert list(held) == list(arrays)
    assert all(held[name] is arrays[name] for name in arrays)


@given(networks(n_copies=2))
@few
def test_copy_nodes_come_back_from_tensornetwork(network):
    assert Network.from_tensornetwork(*network.to_tensornetwork(arrays_for(network)))[0] == network


@given(networks(("open", "bond", "spectator")))
@few
def test_spectators_become_copy_nodes_of_tensornetwork(network):
    arrays = arrays_for(network)
    again, held = Network.from_tensornetwork(*network.to_tensornetwork(arrays))
    assert again == network.spectators_as_copies()
    torch.testing.assert_close(again.contract(held), network.contract(arrays))


def test_tensornetwork_itself_contracts_what_it_was_given():
    arrays = {"A": random(3, 4), "B": random(4, 5, 6), "C": random(6, 3, 2)}
    network = Network.from_einsum("ij,jkl,lim->mk", "ABC")
    nodes, edges = network.to_tensornetwork(arrays)
    assert nodes[1]["j"].name == "j"
    result = tensornetwork.contractors.greedy(nodes, output_edge_order=edges).tensor
    torch.testing.assert_close(result, network.contract(arrays))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_tensornetwork_itself_contracts_a_spectator_summed_over(dtype):
    a, b, c = (random(4).to(dtype) for _ in range(3))
    nodes, _ = Network.from_einsum("i,i,i->", "abc").to_tensornetwork({"a": a, "b": b, "c": c})
    assert nodes[3].dtype == {torch.float32: numpy.float32, torch.float64: numpy.float64}[dtype]
    torch.testing.assert_close(tensornetwork.contract_copy_node(nodes[3]).tensor, (a * b * c).sum())


def test_edges_without_a_name_of_their_own_are_named_after_their_first_end():
    one = tensornetwork.Node(random(3, 4), "one", ["left", "right"], backend="pytorch")
    two = tensornetwork.Node(random(4, 3, 2), "two", ["left", "right", "up"], backend="pytorch")
    bare = tensornetwork.Node(random(3), "bare", backend="pytorch")
    two["left"] ^ one["right"]  # now there are two edges called left
    network, arrays = Network.from_tensornetwork([one, two, bare])
    assert [node.legs for node in network.nodes] == [
        ("one.left", "one.right"),
        ("one.right", "right", "up"),
        ("bare.0",),
    ]
    assert network.open_legs == ("one.left", "right", "up", "bare.0")
    assert network.sizes == {"one.left": 3, "one.right": 4, "right": 3, "up": 2, "bare.0": 3}
    assert network.contract(arrays).shape == (3, 3, 2, 3)
    assert one["right"] is two["left"], "the nodes given stay connected"


def test_what_tensornetwork_holds_otherwise_is_refused():
    one = tensornetwork.Node(random(3, 4), "one", backend="pytorch")
    two = tensornetwork.Node(random(4, 3), "two", backend="pytorch")
    one[1] ^ two[0]
    with pytest.raises(ValueError, match="node 'one' is connected to 'two', which was not given"):
        Network.from_tensornetwork([one])
    with pytest.raises(ValueError, match="open_edges has 1 edges; give the nodes' 2 dangling ones"):
        Network.from_tensornetwork([one, two], [one[0]])
    with pytest.raises(TypeError, match="node 'n' has backend 'numpy'; make it with 'pytorch'"):
        Network.from_tensornetwork([tensornetwork.Node(numpy.ones(3), "n", backend="numpy")])


# ---- refusals


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"nodes": ()}, "a network has one or more nodes; none was given"),
        ({"nodes": (Node("A", ("i",)), Node("A", ("i",)))}, "2 nodes are called 'A'"),
        ({"open_legs": ("i", "z")}, "open_legs has 'z', which is on no node; the legs are i, j"),
        ({"spectators": ("z",)}, "spectators has 'z', which is on no node"),
        ({"sizes": {"z": 3}}, "sizes has 'z', which is on no node"),
        ({"open_legs": ("i", "i")}, "open_legs has 'i' 2 times; join two open ends to it by a copy node"),
        ({"open_legs": ("i",)}, "leg 'j' has one end, on node 'A', and is not open; add it to open_legs"),
        ({"sizes": {"j": 0}}, "leg 'j' has size 0; a size is 1 or more"),
        (
            {"nodes": (Node("A", ("i", "j")), Node("B", ("j",)))},
            "leg 'j' is a bond, on nodes 'A', 'B', and cannot be open too; join all three ends by a copy node",
        ),
        (
            {"nodes": (Node("A", ("i", "i")), Node("B", ("i", "j")))},
            "leg 'i' has 3 ends, on nodes 'A', 'A', 'B', but a bond has 2; join them by a copy node",
        ),
        (
            {"nodes": (Node("A", ("i",)), Node("dot", ("i", "j", "k"), copy=True)), "sizes": {"i": 3, "k": 4}},
            "legs 'i' of size 3 and 'k' of size 4 meet in a copy node; it has one size",
        ),
    ],
)
def test_what_is_no_network_is_refused(parts, message):
    good = {"nodes": (Node("A", ("i", "j")),), "open_legs": ("i", "j")}
    if "k" in parts.get("sizes", {}):
        good["open_legs"] = ("j", "k")
    with pytest.raises(ValueError, match=message):
        Network(**(good | parts))


def test_a_copy_node_without_legs_is_refused():
    with pytest.raises(ValueError, match="copy node 'dot' has no leg; a delta needs one or more"):
        Node("dot", (), copy=True)


@pytest.mark.parametrize(
    ("equation", "names", "message"),
    [
        ("ij,jk", "AB", "equation 'ij,jk' is not letters, commas and one arrow"),
        ("...i,i->...", "AB", "is not letters, commas and one arrow"),
        ("ij,jk->ik", "ABC", "has 2 operands, but 3 names were given"),
        ("ij,jk->iz", "AB", "open_legs has 'z', which is on no node"),
    ],
)
def test_what_is_no_einsum_is_refused(equation, names, message):
    with pytest.raises(ValueError, match=message):
        Network.from_einsum(equation, names)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"A": random(2, 3), "B": random(4, 5)}, "bond 'j' has size 3 on node 'A' but 4 on node 'B'"),
        ({"A": random(7, 3), "B": random(3, 5)}, "leg 'i' has size 2 in the network but 7 on node 'A'"),
        ({"A": random(2, 3)}, "node 'B' has no array; arrays has A"),
        ({"A": random(2, 3), "B": random(3, 5), "C": random(1)}, "has 'C', but the nodes that take an array are A, B"),
        ({"A": random(2, 3, 4), "B": random(3, 5)}, r"'A' has 2 legs \(i, j\) but its array has 3 axes \(2, 3, 4\)"),
        (
            {"A": random(2, 3), "B": random(3, 5).float()},
            "node 'B' is torch.float32 on cpu but node 'A' is torch.float64 on cpu; convert one: nothing is cast",
        ),
        (
            {"A": random(2, 3), "B": random(3, 5).to("meta")},
            "node 'B' is torch.float64 on meta but node 'A' is torch.float64 on cpu",
        ),
    ],
)
def test_arrays_that_do_not_fit_are_refused(arrays, message):
    network = Network.from_einsum("ij,jk->ik", "AB", sizes={"i": 2})
    for question in (network.contract, network.sized_by, network.to_tensornetwork):
        with pytest.raises(ValueError, match=message):
            question(arrays)


def test_an_array_that_is_no_tensor_is_refused():
    network = Network.from_einsum("ij,jk->ik", "AB")
    with pytest.raises(TypeError, match=r"the array of node 'B' is a ndarray; give a torch\.Tensor"):
        network.contract({"A": random(2, 3), "B": numpy.ones((3, 5))})


def test_a_spectator_and_a_trace_of_two_sizes_are_refused():
    with pytest.raises(ValueError, match="spectator 'b' has size 3 on node 'A' but 4 on node 'B'"):
        Network.from_einsum("bi,bi->b", "AB").contract({"A": random(3, 2), "B": random(4, 2)})
    with pytest.raises(ValueError, match="bond 'i' has size 3 on node 'A' but 4 on node 'A'"):
        Network.from_einsum("ii->", "A").contract({"A": random(3, 4)})


def test_copy_nodes_alone_have_no_dtype():
    with pytest.raises(ValueError, match="every node is a copy node, so nothing says which dtype"):
        Network((Node("dot", ("i", "j"), copy=True),), ("i", "j"), {"i": 3}).contract({})


@pytest.mark.parametrize(
    ("order", "message"),
    [
        ("best", "order 'best' is none of auto, optimal, greedy, nor a list of pairs of node names"),
        ([("A", "D")], "order names 'D', but the nodes with arrays are A, B, C"),
        ([("A", "B")], "order leaves 2 tensors; the 3 nodes with arrays need 2 pairs"),
        ([("A", "B"), ("B", "A")], "order joins 'B' and 'A', which are in one tensor by then"),
    ],
)
def test_what_is_no_order_is_refused(order, message):
    network = Network.from_einsum("ij,jk,kl->il", "ABC", sizes={"i": 2, "j": 3, "k": 4, "l": 5})
    with pytest.raises(ValueError, match=message):
        network.plan(order)


def test_a_plan_needs_every_size():
    with pytest.raises(ValueError, match="leg 'j' has no size; give it in `sizes`, or take it from arrays"):
        Network.from_einsum("ij,jk->ik", "AB", sizes={"i": 3, "k": 4}).plan()
