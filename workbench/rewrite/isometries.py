"""Rewrites of isometries: one against its mirror is a line, and any tensor is one on either side of a diagonal."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import combinations
from typing import ClassVar

import torch
from torch import Tensor

from workbench.decompose.ladder import check_bond
from workbench.network import Network, fresh
from workbench.node import Node
from workbench.program import Program
from workbench.rewrite.dots import without_line
from workbench.rewrite.place import Place, Rewritten, UntrueRewrite, allowed, with_nodes
from workbench.rounding import tolerance
from workbench.spectrum import Spectrum

CLAIMS = ("isometry", "unitary")


@dataclass(frozen=True)
class CancelPair:
    """An isometry against its mirror becomes a plain line for each leg of its tip; the legs between them disappear.

    Two nodes of one tensor, contracted over all legs that are not its tip; or of two tensors that undo each other,
    such as a gauge and its inverse. The pair is always contracted and compared with the identity.
    """

    value: str
    first: str
    second: str
    exact: ClassVar[bool] = True

    def __str__(self) -> str:
        return f"cancel {self.first} against {self.second}"

    def apply(self, program: Program, arrays: Mapping[str, Tensor]) -> Rewritten:
        """The program with lines for the pair.

        Raises ValueError where the two are no pair, UntrueRewrite where they are no identity (as on the wrong
        side, where they are a projector).
        """
        place = Place.of(program, self.value)
        lines = self._lines(place)
        network, held = place.sized(arrays)
        self._measure(place, lines, held)
        names = {node.name for node in network.nodes} - {self.first, self.second}
        dots = [Node(fresh(self.first, names), line, copy=True) for line in lines]
        nodes = []
        for node in network.nodes:
            nodes += dots if node.name == self.first else [node] if node.name != self.second else []
        sizes = {leg: network.sizes[leg] for line in lines for leg in line}
        drawn = with_nodes(place.network, nodes, sizes)
        for dot in dots:
            drawn = without_line(drawn, dot.name)
        made: dict[str, Tensor] = {}
        if all(node.copy for node in drawn.nodes):  # which leaves nothing to say the dtype: one dot becomes an array
            dot = drawn.nodes[0]
            name = fresh(dot.name, place.taken(self.first, self.second))
            made[name] = _delta(len(dot.legs), drawn.sizes[dot.legs[0]], next(iter(held.values())))
            drawn = with_nodes(drawn, [Node(dot.name, dot.legs, tensor=name), *drawn.nodes[1:]])
        return place.rewritten(arrays, replace(place.step, network=drawn), made=made)

    def _lines(self, place: Place) -> list[tuple[str, str]]:
        """The legs of the two that would be joined."""
        first, second = place.holder(self.first), place.holder(self.second)
        bonds = {leg for leg, ends in place.network.ends.items() if {n for n, _ in ends} == {first.name, second.name}}
        bonds = {leg for leg in bonds if allowed(place.bond, leg)}
        if first.tensor != second.tensor:
            ours, theirs = ([leg for leg in node.legs if leg not in bonds] for node in (first, second))
        else:
            pairs = list(zip(first.legs, second.legs, strict=True))
            summed = _summed(first if first.form in CLAIMS else second, [a == b and a in bonds for a, b in pairs])
            ours, theirs = ([pair[side] for k, pair in enumerate(pairs) if k not in summed] for side in (0, 1))
            bonds = bonds if summed else set()
        if not bonds or not ours or len(ours) != len(theirs):
            raise ValueError(
                f"nodes {first.name!r} ({', '.join(first.legs)}) and {second.name!r} ({', '.join(second.legs)}) are no "
                "isometry and its mirror: those share, at the same axes, every leg that is not on the tip."
            )
        return list(zip(ours, theirs, strict=True))

    def _measure(self, place: Place, lines: list[tuple[str, str]], held: Mapping[str, Tensor]) -> None:
        ours, theirs = ({line[side]: f"{side} {line[side]}" for line in lines} for side in (0, 1))
        nodes = []
        for name, ends in ((self.first, ours), (self.second, theirs)):
            node = place.node(name)
            nodes.append(Node(name, tuple(ends.get(leg, leg) for leg in node.legs), tensor=node.tensor, conj=node.conj))
        pair = Network(tuple(nodes), (*ours.values(), *theirs.values()))
        product = pair.contract({name: held[name] for name in pair.tensors})
        n, m = (math.prod(product.shape[part]) for part in (slice(len(lines)), slice(len(lines), None)))
        if product.shape[: len(lines)] != product.shape[len(lines) :]:
            raise ValueError(f"the legs to be joined have size {n} on node {self.first!r} and {m} on {self.second!r}.")
        identity = torch.eye(n, dtype=product.dtype, device=product.device)
        error = float((product.reshape(n, n) - identity).abs().max())
        if not error <= tolerance(product.dtype):
            raise UntrueRewrite(
                f"{self} is untrue: the pair differs from the identity by up to {error:.3g}; an isometry cancels "
                "against its mirror over the legs that are not its tip, and is a projector over the others."
            )

    @classmethod
    def found_in(cls, program: Program, value: str) -> Iterator["CancelPair"]:
        """Every pair there whose form claims that it may be cancelled."""
        place = Place.of(program, value)
        claimed = [node for node in place.network.nodes if node.form in CLAIMS]
        for first, second in combinations(claimed, 2):
            pair = cls(value, first.name, second.name)
            if first.tensor == second.tensor and allowed(pair._lines, place):
                projector = first.form == "isometry" and any(leg in second.legs for leg in first.tip)
                yield from () if projector else (pair,)


def _summed(node: Node, shared: list[bool]) -> set[int]:
    """The axes over which a tensor meets its mirror: all but the tip, or the tip where those are shared instead."""
    if node.form not in CLAIMS:
        return {axis for axis, own in enumerate(shared) if own}
    tip = {axis for axis, leg in enumerate(node.legs) if leg in node.tip}
    sides = ({axis for axis in range(len(shared)) if axis not in tip}, tip)
    return next((side for side in sides if all(shared[axis] for axis in side)), set())


def _delta(order: int, size: int, like: Tensor) -> Tensor:
    entries = like.new_zeros((size,) * order)
    entries[(torch.arange(size, device=like.device),) * order] = 1
    return entries


@dataclass(frozen=True)
class SplitSVD:
    """A node becomes an isometry, the singular values on a three-leg dot, and an isometry.

    `left_legs` stay on the first, the other legs on the last; `names` are those of the three. Cut to `bond`, it is a
    truncation; without, an equality. Also called a Schmidt decomposition.
    """

    value: str
    node: str
    left_legs: tuple[str, ...]
    bond: int | None
    names: tuple[str, str, str]

    @property
    def exact(self) -> bool:
        """Whether it claims equality: it does where no bond is asked for."""
        return self.bond is None

    def __str__(self) -> str:
        return f"split {self.node} by SVD" + ("" if self.bond is None else f", cut to bond {self.bond}")

    def spectrum(self, program: Program, arrays: Mapping[str, Tensor]) -> Spectrum:
        """The singular values at the new bond, uncut; `error(bond)` is the Frobenius norm of what the node loses."""
        place = Place.of(program, self.value)
        return Spectrum(torch.linalg.svdvals(self._matrix(place.array(self._checked(place), arrays), place)))

    def apply(self, program: Program, arrays: Mapping[str, Tensor]) -> Rewritten:
        """The program with the three nodes. Raises ValueError for legs, names or a bond that do not fit.

        Cost: one SVD.
        """
        place = Place.of(program, self.value)
        node = self._checked(place)
        array = place.array(node, arrays)
        u, s, vh = torch.linalg.svd(self._matrix(array, place), full_matrices=False)
        bond = len(s) if self.bond is None else self.bond
        check_bond(bond, len(s))
        sizes = dict(zip(node.legs, array.shape, strict=True))
        left, values, right = self.names
        legs = set(place.network.ends)
        a, b, x = (fresh("r", legs) for _ in range(3))
        dot = fresh(f"{values}.dot", {n.name for n in place.network.nodes} | set(self.names))
        rest = tuple(leg for leg in node.legs if leg not in self.left_legs)
        taken = place.taken(self.node)
        arrays_of = [fresh(name, taken) for name in self.names]
        parts = (
            Node(left, (*self.left_legs, a), tensor=arrays_of[0], form="isometry", tip=(a,)),
            Node(values, (x,), tensor=arrays_of[1], form="diagonal"),
            Node(dot, (a, x, b), copy=True),
            Node(right, (b, *rest), tensor=arrays_of[2], form="isometry", tip=(b,)),
        )
        made = {
            arrays_of[0]: u[:, :bond].reshape(*(sizes[leg] for leg in self.left_legs), bond),
            arrays_of[1]: s[:bond].to(array.dtype),
            arrays_of[2]: vh[:bond].reshape(bond, *(sizes[leg] for leg in rest)),
        }
        nodes = [part for own in place.network.nodes for part in (parts if own.name == self.node else (own,))]
        return place.redrawn(arrays, nodes, made)

    def _matrix(self, array: Tensor, place: Place) -> Tensor:
        legs = place.node(self.node).legs
        rest = [leg for leg in legs if leg not in self.left_legs]
        turned = array.permute([legs.index(leg) for leg in (*self.left_legs, *rest)])
        return turned.flatten(0, len(self.left_legs) - 1).flatten(1)  # (left, right)

    def _checked(self, place: Place) -> Node:
        node = place.holder(self.node)
        for leg in self.left_legs:
            if leg not in node.legs:
                raise ValueError(f"node {self.node!r} has no leg {leg!r}; its legs are {', '.join(node.legs)}.")
        n_left = len(set(self.left_legs))
        if not 0 < n_left < len(node.legs) or len(set(node.legs)) < len(node.legs) or n_left < len(self.left_legs):
            raise ValueError(
                f"left_legs ({', '.join(self.left_legs)}) do not part the legs of node {self.node!r} "
                f"({', '.join(node.legs)}); each leg is on one side, and either side has one or more."
            )
        others = {own.name for own in place.network.nodes} - {self.node}
        if len(set(self.names)) < 3 or others & set(self.names):
            raise ValueError(f"names {', '.join(self.names)} are to be three, and none of the other nodes'.")
        return node

    @classmethod
    def found_in(cls, program: Program, value: str) -> Iterator["SplitSVD"]:
        """Every split of a node there into its first legs and its last, uncut."""
        place = Place.of(program, value)
        taken = {node.name for node in place.network.nodes}
        for node in place.network.nodes:
            names = (fresh(f"{node.name}.u", taken), fresh(f"{node.name}.s", taken), fresh(f"{node.name}.vh", taken))
            for n_left in range(1, len(node.legs)):
                split = cls(value, node.name, node.legs[:n_left], None, names)
                if node.tensor in program.inputs and allowed(split._checked, place):
                    yield split
