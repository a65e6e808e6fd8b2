"""Thousands of random einsums, networks and strings that are no einsum: right numbers, right drawings, or words."""

import random
from collections.abc import Iterator

import jaxtyping
import numpy
import opt_einsum
import pytest
import random_networks
import torch
from test_diagram_geometry import check_graph
from torch import Tensor

from workbench.diagram.defects import defects
from workbench.diagram.drawing import Diagram
from workbench.network import Network

EINSUMS, NETWORKS, TREES, GARBAGE, MISFITS, DRAWINGS, EXCHANGED = 1500, 1200, 60, 2500, 300, 100, 300


@pytest.fixture(autouse=True)
def unchecked(monkeypatch) -> None:
    """Annotations are checked in other tests; here that would take twice as long as what is checked."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


def dice_of(seed: str, n: int) -> Iterator[random.Random]:
    """One generator a case, so that a failing one is made again by its number alone."""
    for number in range(n):
        yield random.Random(f"{seed} {number}")


def check_same(ours: Tensor, theirs: Tensor, what: object) -> None:
    assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype), what
    assert torch.allclose(ours, theirs, rtol=1e-10, atol=1e-10), what


def peer(dice: random.Random, equation: str, operands: list[Tensor]) -> Tensor:
    """The same einsum by one of three others; numpy's is the sum as it is defined."""
    which = dice.choice(("torch", "numpy", "opt_einsum"))
    if which == "torch":
        return torch.einsum(equation, *operands)
    arrays = [operand.numpy() for operand in operands]
    found = numpy.einsum(equation, *arrays) if which == "numpy" else opt_einsum.contract(equation, *arrays)
    return torch.as_tensor(numpy.array(found))


def test_a_random_einsum_is_that_of_torch_numpy_and_opt_einsum():
    for dice in dice_of("einsum", EINSUMS):
        equation, names, sizes = random_networks.einsum(dice)
        network = Network.from_einsum(equation, names, sizes)
        arrays = random_networks.arrays_of(network, dice, dice.choice((torch.float64, torch.complex128)))
        expected = peer(dice, equation, [arrays[name] for name in names])
        order = random_networks.order_of(network, dice)
        check_same(network.contract(arrays, order), expected, (equation, names, sizes, order))
        assert network.einsum() == equation
        if len(set(names)) == len(names) and dice.random() < 0.2:
            check_same(Diagram.from_einsum(equation, **arrays).result(), expected, equation)


def test_a_random_network_is_the_sum_of_products_that_it_is_defined_by():
    for dice in dice_of("network", NETWORKS):
        network = random_networks.network(dice)
        arrays = random_networks.arrays_of(network, dice, dice.choice((torch.float64, torch.complex128)))
        order = random_networks.order_of(network, dice)
        check_same(network.contract(arrays, order), random_networks.by_definition(network, arrays), (network, order))


def test_a_random_tree_of_more_legs_than_letters_is_that_of_opt_einsum():
    for dice in dice_of("tree", TREES):
        network = random_networks.long_tree(dice)
        arrays = random_networks.arrays_of(network, dice)
        number = {leg: k for k, leg in enumerate(network.ends)}
        operands = [part for n in network.nodes for part in (arrays[n.name].numpy(), [number[leg] for leg in n.legs])]
        expected = opt_einsum.contract(*operands, [number[leg] for leg in network.open_legs])
        found = network.contract(arrays, dice.choice(("auto", "greedy")))
        scale = max(1.0, float(numpy.abs(expected).max()))
        check_same(found / scale, torch.as_tensor(numpy.array(expected)) / scale, network)


def test_a_random_network_comes_back_from_tensornetwork_with_its_numbers():
    for dice in dice_of("exchange", EXCHANGED):
        network = random_networks.network(dice)
        arrays = random_networks.arrays_of(network, dice)
        again, held = Network.from_tensornetwork(*network.to_tensornetwork(arrays))
        check_same(again.contract(held), network.contract(arrays), network)
        assert again.open_legs == network.open_legs


def test_a_random_network_is_drawn_as_it_is_and_a_crowded_one_at_worst_with_wires_on_a_wire():
    crowded = 0
    for dice in dice_of("drawing", DRAWINGS):
        network = random_networks.network(dice)
        diagram = Diagram(network, title=f"<b> & {dice.random()}")
        check_graph(network, diagram.svg())
        faults = [fault for fault in defects(diagram.scene) if not fault.endswith("has no label.")]
        assert [fault for fault in faults if not fault.endswith("run on top of each other.")] == []
        crowded += bool(faults)
    assert crowded <= 0.02 * DRAWINGS


def test_a_curve_that_gives_way_to_another_goes_under_no_node():
    scene = Diagram(Network.from_einsum("gaU,UUGa,aNg,i,gUU->i", "ABCDE")).scene
    assert [fault for fault in defects(scene) if "runs under" in fault] == []


def garbage(dice: random.Random) -> str:
    """Characters that an equation has and some that none has, or a right equation with a few of them changed."""
    alphabet = "abcdijkAB,,->->  .123_é\n\t\0<'"
    if dice.random() < 0.4:
        return "".join(dice.choices(alphabet, k=dice.randint(0, 12)))
    text = list(random_networks.einsum(dice)[0])
    for _ in range(dice.randint(1, 3)):
        place = dice.randrange(len(text) + 1)
        text[place : place + dice.randint(0, 2)] = dice.choice(alphabet) * dice.randint(0, 2)
    return "".join(text)


def test_a_string_that_is_no_einsum_is_refused_in_words_and_any_other_is_right():
    refused = 0
    for dice in dice_of("garbage", GARBAGE):
        equation = garbage(dice)
        n_names = equation.partition("->")[0].count(",") + 1 if dice.random() < 0.9 else dice.randint(0, 4)
        refusal = None
        try:
            network = Network.from_einsum(equation, [f"T{k}" for k in range(n_names)])
        except ValueError as error:
            refusal = str(error)
        if refusal is not None:
            assert len(refusal.split()) > 6, (equation, refusal)
            refused += 1
            continue
        arrays = random_networks.arrays_of(Network(network.nodes, network.open_legs, dict.fromkeys(network.ends, 2),
                                                   network.spectators), dice)  # fmt: skip
        expected = torch.einsum(network.einsum(), *arrays.values())
        check_same(network.contract(arrays), expected, equation)
    assert GARBAGE / 4 < refused < GARBAGE


def test_arrays_that_do_not_fit_a_random_einsum_are_refused_in_words():
    n_refused = 0
    for dice in dice_of("misfit", MISFITS):
        equation, names, sizes = random_networks.einsum(dice)
        network = Network.from_einsum(equation, names)
        arrays = random_networks.arrays_of(Network.from_einsum(equation, names, sizes), dice)
        name = dice.choice(names)
        spoilt = dice.choice(("axis", "size", "dtype", "missing", "extra", "list"))
        if spoilt == "axis":
            arrays[name] = arrays[name][None]
        elif spoilt == "size":
            arrays[name] = torch.ones([n + 4 for n in arrays[name].shape], dtype=torch.float64)
        elif spoilt == "dtype":
            arrays[name] = arrays[name].float()
        elif spoilt == "missing":
            del arrays[name]
        elif spoilt == "extra":
            arrays["another"] = torch.ones(3, dtype=torch.float64)
        else:
            arrays[name] = arrays[name].tolist()
        refusal = None
        try:
            found = network.contract(arrays)
        except (ValueError, TypeError) as error:
            refusal = str(error)
        if refusal is not None:
            assert len(refusal.split()) > 6, (equation, refusal)
            n_refused += 1
        else:  # what was changed is still an array of every name, such as the only one of another dtype
            check_same(found, torch.einsum(equation, *(arrays[own] for own in names)), equation)
    assert n_refused > MISFITS / 2
