"""Rewrites of nodes in a row: the centre of a chain moved, and a ring begun elsewhere."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor

from workbench.network import Network, fresh
from workbench.program import Program
from workbench.rewrite.place import Place, Rewritten, allowed, with_nodes
from workbench.rounding import tolerance


@dataclass(frozen=True)
class MoveCentre:
    """The orthogonality centre of a chain of nodes comes to `to`: every other node is an isometry with its tip there.

    A node that is one already stays; the others are parted by QR, and their triangular factors pass on to the next.
    A bond larger than the legs behind it shrinks. Also called bringing a tensor train into canonical form.
    """

    value: str
    to: str
    exact: ClassVar[bool] = True

    def __str__(self) -> str:
        return f"move the centre to {self.to}"

    def apply(self, program: Program, arrays: Mapping[str, Tensor]) -> Rewritten:
        """The program with the centre there. Raises ValueError where the nodes are no chain.

        Cost: one QR of every node that is no isometry yet.
        """
        place = Place.of(program, self.value)
        chain = self._chain(place)
        nodes = {node.name: node for node in place.network.nodes}
        held = {name: place.array(nodes[name], arrays) for name in chain}
        moved, changed = dict(nodes), dict.fromkeys((self.to,))
        at = chain.index(self.to)
        for row in (chain[: at + 1], chain[: at - 1 if at else None : -1]):
            for name, onward in pairwise(row):
                (bond,) = set(nodes[name].legs) & set(nodes[onward].legs)
                axis = nodes[name].legs.index(bond)
                moved[name] = replace(nodes[name], form="isometry", tip=(bond,))
                if nodes[name].tip == (bond,) and nodes[name].form != "diagonal" and _is_isometry(held[name], axis):
                    moved[name] = nodes[name]
                    continue
                held[name], passed = _parted(held[name], axis)
                there = nodes[onward].legs.index(bond)
                held[onward] = torch.einsum("rc,...c->...r", passed, held[onward].movedim(there, -1)).movedim(-1, there)
                changed |= dict.fromkeys((name, onward))
        taken, made = place.taken(*changed), {}
        for name in changed:
            own = fresh(name, taken)
            made[own] = held[name]
            moved[name] = replace(moved[name], tensor=own, conj=False)
        moved[self.to] = replace(moved[self.to], form="tensor", tip=())
        kept = {leg: n for leg, n in place.network.sizes.items() if leg in place.network.open_legs}
        network = with_nodes(replace(place.network, sizes=kept), [moved[name] for name in nodes])
        return place.rewritten(arrays, replace(place.step, network=network), made=made)

    def _chain(self, place: Place) -> list[str]:
        """The names of the nodes from one end of the chain to the other."""
        place.holder(self.to)
        for node in place.network.nodes:
            if node.copy:
                raise ValueError(f"the chain has a copy node, {node.name!r}; absorb what it joins first.")
        beside = _neighbours(place.network)
        ends = [name for name, bonds in beside.items() if len(bonds) < 2]
        row = _walk(beside, ends[0]) if ends else []
        shared = [leg for leg, own in place.network.ends.items() if len(own) > 1]
        if len(row) < len(beside) or len(shared) >= len(row):  # the row goes along one bond less than it has nodes
            raise ValueError(
                f"the nodes of {self.value!r} are no chain: each is to have one bond to the next, and no other leg "
                f"that is shared; shared are {', '.join(shared) or 'none'}."
            )
        for name in row:
            if name != self.to and len(place.node(name).legs) < 2:
                raise ValueError(f"node {name!r} has no leg besides its bond; absorb it into its neighbour first.")
        return row

    @classmethod
    def found_in(cls, program: Program, value: str) -> Iterator["MoveCentre"]:
        """Every node of a chain as the centre, where the contraction is one of input arrays."""
        place = Place.of(program, value)
        if set(place.step.reads) <= set(program.inputs) and len(place.network.nodes) > 1:
            moves = (cls(value, node.name) for node in place.network.nodes)
            yield from (move for move in moves if allowed(move._chain, place))


@dataclass(frozen=True)
class CyclicTrace:
    """A closed ring of nodes begins with `first`, the others following it round: tr(ABC) = tr(BCA)."""

    value: str
    first: str
    exact: ClassVar[bool] = True

    def __str__(self) -> str:
        return f"turn the trace to begin with {self.first}"

    def apply(self, program: Program, arrays: Mapping[str, Tensor]) -> Rewritten:
        """The program with its nodes in that order. Raises ValueError where they are no ring."""
        place = Place.of(program, self.value)
        return place.redrawn(arrays, [place.node(name) for name in self._ring(place)])

    def _ring(self, place: Place) -> list[str]:
        place.node(self.first)
        beside = _neighbours(place.network)
        row = _walk(beside, self.first)
        if len(row) < len(beside) or any(len(bonds) != 2 for bonds in beside.values()):
            raise ValueError(
                f"the nodes of {self.value!r} are no ring: each is to have two bonds, one of them to the next."
            )
        return row

    @classmethod
    def found_in(cls, program: Program, value: str) -> Iterator["CyclicTrace"]:
        """Every node of a ring but the one it begins with."""
        place = Place.of(program, value)
        turns = (cls(value, node.name) for node in place.network.nodes[1:])
        yield from (turn for turn in turns if allowed(turn._ring, place))


def _neighbours(network: Network) -> dict[str, dict[str, str]]:
    """For every node, in the order of its legs: the bond, and the node at its other end."""
    found: dict[str, dict[str, str]] = {node.name: {} for node in network.nodes}
    for node in network.nodes:
        for axis, leg in enumerate(node.legs):
            ends = network.ends[leg]
            if len(ends) == 2 and leg not in network.open_legs:
                found[node.name][leg] = next(name for name, own in ends if (name, own) != (node.name, axis))
    return found


def _walk(beside: Mapping[str, Mapping[str, str]], first: str) -> list[str]:
    """The nodes from the first on, each time by the last bond that has not been gone along."""
    row, gone = [first], set()
    while ahead := [leg for leg in beside[row[-1]] if leg not in gone]:
        gone.add(ahead[-1])
        onward = beside[row[-1]][ahead[-1]]
        if onward in row:
            break
        row.append(onward)
    return row


def _parted(array: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """An isometry whose tip is the axis, and the triangular matrix that is left of the axis."""
    turned = array.movedim(axis, -1)
    q, r = torch.linalg.qr(turned.reshape(-1, turned.shape[-1]))
    return q.reshape(*turned.shape[:-1], q.shape[1]).movedim(-1, axis), r


def _is_isometry(array: Tensor, axis: int) -> bool:
    matrix = array.movedim(axis, -1).reshape(-1, array.shape[axis])
    if matrix.shape[0] < matrix.shape[1]:
        return False
    identity = torch.eye(matrix.shape[1], dtype=array.dtype, device=array.device)
    return float((matrix.mH @ matrix - identity).abs().max()) <= tolerance(array.dtype)
