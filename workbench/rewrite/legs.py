"""Rewrites of the bonds between two nodes: merged into one, whose index counts the last of them fastest, and split."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import combinations
from typing import ClassVar

from torch import Tensor

from workbench.network import fresh
from workbench.node import Node
from workbench.program import Program
from workbench.rewrite.place import Place, Rewritten, allowed


@dataclass(frozen=True)
class MergeLegs:
    """The bonds between two nodes become one, called `name`; their order is that of its index, the last the fastest.

    Both arrays are permuted and reshaped, and no number changes. Also called grouping or fusing legs.
    """

    value: str
    bond_legs: tuple[str, ...]
    name: str
    exact: ClassVar[bool] = True

    def __str__(self) -> str:
        return f"merge {', '.join(self.bond_legs)} into {self.name}"

    def apply(self, program: Program, arrays: Mapping[str, Tensor]) -> Rewritten:
        """The program with one bond. Raises ValueError unless these are all the bonds between two nodes with arrays."""
        place = Place.of(program, self.value)
        return _regrouped(place, arrays, self._nodes(place), self.bond_legs, (self.name,), ())

    def _nodes(self, place: Place) -> tuple[Node, Node]:
        if len(set(self.bond_legs)) < 2 or len(set(self.bond_legs)) < len(self.bond_legs):
            raise ValueError(f"bond_legs ({', '.join(self.bond_legs)}) are to be two or more, each once.")
        first, second = _between(place, self.bond_legs[0])
        between = [leg for leg in first.legs if allowed(place.bond, leg) and leg in second.legs]
        if set(between) != set(self.bond_legs):
            raise ValueError(
                f"bond_legs ({', '.join(self.bond_legs)}) are not the bonds between nodes {first.name!r} and "
                f"{second.name!r}, which are {', '.join(between)}; merge all of them."
            )
        _check_free(place, (self.name,), self.bond_legs)
        return first, second

    @classmethod
    def found_in(cls, program: Program, value: str) -> Iterator["MergeLegs"]:
        """Every pair of nodes there with two bonds or more between them."""
        place = Place.of(program, value)
        holders = [n for n in place.network.nodes if not n.copy and n.tensor in program.inputs]
        for first, second in combinations(holders, 2):
            bonds = tuple(leg for leg in first.legs if leg in second.legs and allowed(place.bond, leg))
            merge = cls(value, bonds, fresh("·".join(bonds), set(place.network.ends)))
            if allowed(merge._nodes, place):
                yield merge


@dataclass(frozen=True)
class SplitLeg:
    """A bond between two nodes becomes as many as there are `sizes`, called `names`: MergeLegs undone."""

    value: str
    leg: str
    sizes: tuple[int, ...]
    names: tuple[str, ...]
    exact: ClassVar[bool] = True

    def __str__(self) -> str:
        return f"split leg {self.leg} into {', '.join(self.names)}"

    def apply(self, program: Program, arrays: Mapping[str, Tensor]) -> Rewritten:
        """The program with these bonds. Raises ValueError for no bond of two arrays, or sizes that do not fit it."""
        place = Place.of(program, self.value)
        nodes = _between(place, self.leg)
        if len(self.sizes) < 2 or len(self.sizes) != len(self.names) or len(set(self.names)) < len(self.names):
            raise ValueError(
                f"leg {self.leg!r} is split into {len(self.sizes)} sizes under {len(self.names)} names; "
                "give two or more of both, every name once."
            )
        _check_free(place, self.names, (self.leg,))
        size = place.array(nodes[0], arrays).shape[nodes[0].legs.index(self.leg)]
        if min(self.sizes) < 1 or math.prod(self.sizes) != size:
            made = " × ".join(map(str, self.sizes))
            raise ValueError(f"leg {self.leg!r} has size {size}, and {made} makes {math.prod(self.sizes)}.")
        return _regrouped(place, arrays, nodes, (self.leg,), self.names, self.sizes)


def _between(place: Place, leg: str) -> tuple[Node, Node]:
    """The two nodes with arrays that the bond joins."""
    first, second = (place.holder(name) for name, _ in place.bond(leg))
    if first is second:
        raise ValueError(f"leg {leg!r} is a trace of node {first.name!r}; name a bond between two nodes.")
    return first, second


def _check_free(place: Place, names: tuple[str, ...], replaced: tuple[str, ...]) -> None:
    for name in names:
        if name in place.network.ends and name not in replaced:
            raise ValueError(f"contraction {place.step.out!r} has a leg {name!r}; give the new one another name.")


def _regrouped(
    place: Place,
    arrays: Mapping[str, Tensor],
    pair: tuple[Node, Node],
    old: tuple[str, ...],
    new: tuple[str, ...],
    sizes: tuple[int, ...],
) -> Rewritten:
    """The program with the `new` legs for the `old` ones; without `sizes` there is one new leg."""
    taken, names, made, drawn = place.taken(pair[0].name, pair[1].name), {}, {}, {}
    for node in pair:
        place.array(node, arrays)
        at = min(node.legs.index(leg) for leg in old)
        merged = [node.legs.index(leg) for leg in old]
        rest = [axis for axis in range(len(node.legs)) if axis not in merged]
        order = [*rest[:at], *merged, *rest[at:]]
        turned = arrays[node.tensor].permute(order)  # as it lies; the node keeps its conjugation
        n = turned.shape[at : at + len(old)]
        kind = (node.tensor, tuple(order), at)  # two nodes of one tensor keep one tensor where they are cut alike
        if kind not in names:
            names[kind] = fresh(node.name, taken)
            shape = (*turned.shape[:at], *(sizes or [n.numel()]), *turned.shape[at + len(n) :])
            made[names[kind]] = turned.reshape(shape)
        on_tip = [leg in node.tip for leg in old]
        tip = tuple(leg for leg in node.tip if leg not in old) + (new if all(on_tip) else ())
        form = node.form if all(on_tip) or not any(on_tip) else "tensor"
        if form == "diagonal":
            form = "tensor"
        legs = (*(node.legs[axis] for axis in rest[:at]), *new, *(node.legs[axis] for axis in rest[at:]))
        drawn[node.name] = replace(node, legs=legs, tensor=names[kind], form=form, tip=tip if form != "tensor" else ())
    return place.redrawn(arrays, [drawn.get(node.name, node) for node in place.network.nodes], made)
