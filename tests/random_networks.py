"""Einsums and networks made at random, by a generator given: what the laws of contraction are tried on."""

import random
import string
from itertools import pairwise

import torch
from torch import Tensor

from workbench.network import Network
from workbench.node import Node


def arrays_of(network: Network, dice: random.Random, dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    """Random entries for every tensor of a network whose legs all have sizes."""
    generator = torch.Generator().manual_seed(dice.getrandbits(32))
    arrays: dict[str, Tensor] = {}
    for node in network.nodes:
        if not node.copy and node.tensor not in arrays:
            shape = [network.sizes[leg] for leg in node.legs]
            arrays[node.tensor] = torch.randn(shape, generator=generator, dtype=dtype)
    return arrays


def einsum(dice: random.Random) -> tuple[str, list[str], dict[str, int]]:
    """An equation, its operands' names and its letters' sizes.

    Among them: traces, letters on three operands and more, letters kept and summed, scalars, outer products, legs of
    size 1, upper and lower case, and tensors that stand twice.
    """
    letters = dice.sample(string.ascii_letters, dice.randint(1, 7))
    operands = [
        "".join(dice.choices(letters, k=dice.choice((0, 1, 2, 2, 2, 3, 3, 4)))) for _ in range(dice.randint(1, 5))
    ]
    names = [f"T{k}" for k in range(len(operands))]
    sizes = {letter: dice.randint(1, 3) for letter in letters}
    if len(operands) > 1 and dice.random() < 0.3:
        first, again = dice.sample(range(len(operands)), 2)
        names[again] = names[first]
        operands[again] = "".join(dice.choices(letters, k=len(operands[first])))
        sizes = dict.fromkeys(letters, dice.randint(1, 3))
    used = sorted(set("".join(operands)))
    output = "".join(dice.sample(used, dice.randint(0, min(4, len(used)))))
    return f"{','.join(operands)}->{output}", names, {letter: sizes[letter] for letter in used}


def network(dice: random.Random) -> Network:
    """Up to six nodes and two dots: traces, scalars, parallel bonds, conjugates, spectators, parts apart."""
    n_nodes, n_dots = dice.randint(1, 6), dice.choice((0, 0, 1, 2))
    size = dice.randint(2, 3)
    ends: list[list[str]] = [[] for _ in range(n_nodes + n_dots)]
    sizes, open_legs, spectators = {}, [], []
    for leg in [f"leg {k}" for k in range(dice.randint(0, 9))]:
        kind = dice.choice(("open", "bond", "bond", "spectator"))
        for _ in range({"open": 1, "bond": 2}.get(kind) or dice.randint(1, 4)):
            ends[dice.randrange(len(ends))].append(leg)
        if kind == "spectator":
            spectators.append(leg)
        if kind == "open" or (kind == "spectator" and dice.random() < 0.5):
            open_legs.append(leg)
        sizes[leg] = size if n_dots else dice.randint(1, 3)
    for legs in (*ends, open_legs):
        dice.shuffle(legs)
    nodes = [
        Node(f"T{k}", tuple(legs), copy=k >= n_nodes, conj=k < n_nodes and dice.random() < 0.3)
        for k, legs in enumerate(ends)
        if legs or k < n_nodes
    ]
    return Network(tuple(nodes), tuple(open_legs), sizes, tuple(spectators))


def long_tree(dice: random.Random) -> Network:
    """A tree of more legs than there are letters, most of them of size 1, with up to three open ones."""
    n_nodes = dice.randint(54, 90)
    legs: list[list[str]] = [[] for _ in range(n_nodes)]
    sizes = {}
    for k in range(1, n_nodes):
        sizes[f"bond {k}"] = dice.choice((1, 1, 2, 3))
        for end in (dice.randrange(max(0, k - 5), k), k):
            legs[end].append(f"bond {k}")
    for k in range(dice.randint(0, 3)):
        sizes[f"open {k}"] = dice.randint(1, 3)
        dice.choice(legs).append(f"open {k}")
    nodes = tuple(Node(f"T{k}", tuple(dice.sample(own, len(own)))) for k, own in enumerate(legs))
    return Network(nodes, tuple(leg for leg in sizes if leg.startswith("open")), sizes)


def order_of(network: Network, dice: random.Random) -> str | list[tuple[str, str]]:
    """A search, or pairs of names that join all nodes with arrays."""
    names = [node.name for node in network.nodes if not node.copy]
    if dice.random() < 0.5:
        return dice.choice(("auto", "greedy", "optimal" if len(names) < 7 else "greedy"))
    dice.shuffle(names)
    return list(pairwise(names))


def by_definition(network: Network, arrays: dict[str, Tensor]) -> Tensor:
    """The sum over all legs at once of the products of all entries, dots as dense deltas: the second way."""
    legs = list(network.ends)
    letter = dict(zip(legs, string.ascii_letters, strict=False))
    operands, terms = [], []
    for node in network.nodes:
        terms.append("".join(letter[leg] for leg in node.legs))
        if node.copy:
            size = network.sizes[node.legs[0]]
            delta = torch.zeros((size,) * len(node.legs), dtype=next(iter(arrays.values())).dtype)
            delta[(torch.arange(size),) * len(node.legs)] = 1
            operands.append(delta)
        else:
            array = arrays[node.tensor]
            operands.append(array.conj().resolve_conj() if node.conj else array)
    output = "".join(letter[leg] for leg in network.open_legs)
    return torch.einsum(f"{','.join(terms)}->{output}", *operands)
