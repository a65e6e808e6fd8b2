"""Rewrites along a bond: a matrix and its inverse put on it, and a node contracted into its neighbour."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import permutations
from typing import ClassVar

import torch
from torch import Tensor

from workbench.memory import check_fits
from workbench.network import Network, fresh
from workbench.node import Node
from workbench.program import Contract, Program
from workbench.rewrite.dots import without_line
from workbench.rewrite.place import Place, Rewritten, allowed, check_numbers, renamed, with_nodes


@dataclass(frozen=True)
class InsertGauge:
    """A bond carries a matrix and its inverse: two new nodes, `gauge` and the same name with ⁻¹.

    The matrix is random from `seed`, with a condition number of 4 at most. Also called gauge freedom.
    """

    value: str
    bond: str
    gauge: str
    seed: int
    exact: ClassVar[bool] = True

    def __str__(self) -> str:
        return f"insert {self.gauge} {self.gauge}⁻¹ on {self.bond}"

    def apply(self, program: Program, arrays: Mapping[str, Tensor]) -> Rewritten:
        """The program with the two nodes.

        Raises ValueError where there is no such bond, or the name is taken, MemoryError where the matrix would not fit.
        """
        place = Place.of(program, self.value)
        first, last = self._ends(place)
        network, held = place.sized(arrays)
        first_held, like = next(iter(held.items()))
        check_numbers(first_held, like)
        matrix = self._matrix(network.sizes[self.bond])
        legs, taken = set(network.ends), place.taken()
        middle, after = fresh(self.bond, legs), fresh(self.bond, legs)
        pair = (
            Node(self.gauge, (self.bond, middle), tensor=fresh(self.gauge, taken)),
            Node(f"{self.gauge}⁻¹", (middle, after), tensor=fresh(f"{self.gauge}⁻¹", taken)),
        )
        made = {pair[0].tensor: matrix.to(like), pair[1].tensor: torch.linalg.inv(matrix).to(like)}
        nodes = []
        for node in place.network.nodes:
            if node.name == last[0]:
                node = _relegged(node, last[1], after)
            nodes += [node, *pair] if node.name == first[0] else [node]
        return place.redrawn(arrays, nodes, made)

    def _matrix(self, size: int) -> Tensor:
        if not -(2**63) <= self.seed < 2**63:
            raise ValueError(
                f"seed {self.seed} of gauge {self.gauge!r} is not from −2⁶³ to 2⁶³ − 1; give a smaller one."
            )
        what = f"gauge {self.gauge!r} on bond {self.bond!r} of size {size}"
        check_fits(size * size, torch.empty(0, dtype=torch.float64), what)
        return _well_conditioned(size, self.seed)

    def _ends(self, place: Place) -> tuple[tuple[str, int], tuple[str, int]]:
        ends = place.bond(self.bond)
        for name in (self.gauge, f"{self.gauge}⁻¹"):
            if any(node.name == name for node in place.network.nodes):
                raise ValueError(f"contraction {self.value!r} has a node {name!r}; give the gauge another name.")
        return ends

    @classmethod
    def found_in(cls, program: Program, value: str) -> Iterator["InsertGauge"]:
        """Every bond there that can carry a gauge."""
        place = Place.of(program, value)
        names = [node.name for node in place.network.nodes]
        gauge = fresh("G", {*names, *(name.removesuffix("⁻¹") for name in names)})
        bonds = (cls(value, leg, gauge, 0) for leg in place.network.ends)
        yield from (bond for bond in bonds if allowed(bond._ends, place))


@dataclass(frozen=True)
class Absorb:
    """A node is contracted into its neighbour `into`, which keeps its name and gets a new array.

    Neighbours share a leg, or a dot: so are singular values absorbed to the left or to the right.
    """

    value: str
    node: str
    into: str
    exact: ClassVar[bool] = True

    def __str__(self) -> str:
        return f"absorb {self.node} into {self.into}"

    def apply(self, program: Program, arrays: Mapping[str, Tensor]) -> Rewritten:
        """The program without the node. Raises ValueError where the two are no neighbours.

        Where one of the two is a computed value, their contraction becomes a step of its own.
        """
        place = Place.of(program, self.value)
        part, dots = self._part(place)
        computed = not set(part.tensors) <= set(program.inputs)
        taken = set(program.legs) if computed else place.taken(self.node, self.into)
        name = fresh(self.into, taken)
        result = Node(self.into, part.open_legs, tensor=name)
        network = place.network
        nodes = [dots.get(n.name, result if n.name == self.into else n) for n in network.nodes if n.name != self.node]
        drawn = with_nodes(network, nodes)
        for dot in dots:
            drawn = without_line(drawn, dot)
        step = replace(place.step, network=drawn)
        if computed:
            return place.rewritten(arrays, Contract(name, part), step)
        held = {tensor: arrays[tensor] for tensor in part.tensors if tensor in arrays}
        return place.rewritten(arrays, step, made={name: part.contract(held)})

    def _part(self, place: Place) -> tuple[Network, dict[str, Node]]:
        """The contraction of the two, and the dots between them as they are left."""
        node, into, network = place.holder(self.node), place.holder(self.into), place.network
        if node is into:
            raise ValueError(f"node {self.node!r} cannot be absorbed into itself; name a neighbour.")
        joined, dots = {}, {}
        for dot in (own for own in network.nodes if own.copy):
            ours = [leg for leg in dot.legs if leg in node.legs and allowed(place.bond, leg)]
            theirs = [leg for leg in dot.legs if leg in into.legs]
            if ours and theirs:
                joined |= dict.fromkeys(ours, theirs[0])
                dots[dot.name] = replace(dot, legs=tuple(leg for leg in dot.legs if leg not in ours))
        moved = renamed(node, joined)
        common = set(moved.legs) & set(into.legs)
        if not common:
            raise ValueError(
                f"nodes {self.node!r} ({', '.join(node.legs)}) and {self.into!r} ({', '.join(into.legs)}) are no "
                "neighbours: they share no leg and no dot."
            )
        pair = (self.node, self.into)
        outer = set(network.open_legs) | set(joined.values())
        outer |= {leg for leg, ends in network.ends.items() if any(name not in pair for name, _ in ends)}
        brought = [leg for leg in dict.fromkeys(moved.legs) if leg in outer and leg not in into.legs]
        legs: list[str] = []
        for leg in dict.fromkeys(into.legs):  # what the node brings comes in the place of the bond
            legs += [leg] if leg in outer else [own for own in brought if leg in common and own not in legs]
        legs += [leg for leg in brought if leg not in legs]
        spectators = [leg for leg in {**dict.fromkeys(moved.legs), **dict.fromkeys(into.legs)} if leg in outer]
        spectators += [leg for leg in network.spectators if leg not in spectators]
        nodes = (replace(moved, form="tensor", tip=()), replace(into, form="tensor", tip=()))
        own = {leg for part in nodes for leg in part.legs}
        return Network(nodes, tuple(legs), {}, tuple(leg for leg in spectators if leg in own)), dots

    @classmethod
    def found_in(cls, program: Program, value: str) -> Iterator["Absorb"]:
        """Every node there with every neighbour that it may be absorbed into."""
        place = Place.of(program, value)
        holders = [node.name for node in place.network.nodes if not node.copy]
        pairs = (cls(value, node, into) for node, into in permutations(holders, 2))
        yield from (pair for pair in pairs if allowed(pair._part, place))


def _well_conditioned(size: int, seed: int) -> Tensor:
    """A random matrix with singular values from ½ to 2, in float64."""
    generator = torch.Generator().manual_seed(seed)
    u, v = (torch.linalg.qr(torch.randn(size, size, generator=generator, dtype=torch.float64))[0] for _ in range(2))
    return u @ torch.diag(2 ** (2 * torch.rand(size, generator=generator, dtype=torch.float64) - 1)) @ v


def _relegged(node: Node, axis: int, leg: str) -> Node:
    """The same node with another name of the leg at one axis."""
    old, legs = node.legs[axis], tuple(leg if k == axis else own for k, own in enumerate(node.legs))
    return replace(node, legs=legs, tip=tuple(leg if own == old else own for own in node.tip))
