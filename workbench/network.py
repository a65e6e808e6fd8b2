"""A tensor network without its numbers: what is drawn, and what is contracted."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, count
from typing import Any

from opt_einsum import get_symbol
from torch import Tensor

from workbench.contraction import (
    ContractionPlan,
    check_arrays,
    einsum_equation,
    joined_labels,
    labelled_operands,
    plan_contraction,
    run_plan,
    run_plan_on_nodes,
)
from workbench.memory import check_fits
from workbench.node import Node


@dataclass(frozen=True)
class Network:
    """Nodes joined by named legs. A leg named by two ends is a bond (both on one node: a trace), by one is open.

    *Spectators* are legs carried elementwise by any number of nodes, such as batch and heads: open ones stay in
    the result, others are summed over. `sizes` holds the sizes known so far, and is not to be changed in place.

    Raises ValueError where a leg has more ends than it may, or an end too few, or two sizes.
    """

    nodes: tuple[Node, ...]
    open_legs: tuple[str, ...] = ()  # in the order of the result's axes
    sizes: dict[str, int] = field(default_factory=dict, hash=False)
    spectators: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("nodes", "open_legs", "spectators"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        _check_names(self)
        _check_ends(self)
        object.__setattr__(self, "sizes", _sizes_through_copies(self))

    @classmethod
    def from_einsum(
        cls,
        equation: str,
        names: Sequence[str],
        sizes: Mapping[str, int] | None = None,
        spectators: Iterable[str] | None = None,
    ) -> "Network":
        """The network of an einsum such as "bij,bjk->bik", its operands named in order; a name may come again.

        Without `spectators`, every letter that can be no bond and no open leg becomes one: those on three or more
        operands, those shared and kept, and those on one operand and summed over.
        """
        inputs, arrow, output = "".join(equation.split()).partition("->")
        operands = inputs.split(",")
        letters = inputs.replace(",", "") + output
        if not arrow or (letters and not letters.isalpha()):
            raise ValueError(f"equation {equation!r} is not letters, commas and one arrow; write it as 'ij,jk->ik'.")
        if len(operands) != len(names):
            raise ValueError(f"equation {equation!r} has {len(operands)} operands, but {len(names)} names were given.")
        if spectators is None:
            ends = {letter: inputs.count(letter) for letter in dict.fromkeys("".join(operands))}
            spectators = [letter for letter, n in ends.items() if n + (letter in output) != 2]
        taken: set[str] = set()
        nodes = tuple(
            Node(fresh(name, taken), tuple(legs), tensor=name) for name, legs in zip(names, operands, strict=True)
        )
        return cls(nodes, tuple(output), dict(sizes or {}), tuple(spectators))

    @property
    def ends(self) -> dict[str, tuple[tuple[str, int], ...]]:
        """Every leg, in the order of the nodes, with its ends: (node name, axis) of each."""
        found: dict[str, list[tuple[str, int]]] = {}
        for node in self.nodes:
            for axis, leg in enumerate(node.legs):
                found.setdefault(leg, []).append((node.name, axis))
        return {leg: tuple(ends) for leg, ends in found.items()}

    def einsum(self) -> str:
        """The network as an einsum of its arrays: legs that meet in a copy node are one letter.

        torch.einsum runs it, unless two open legs meet in a copy node ("i->ii").
        """
        letter = self._letters()
        shared = {leg: letter[label] for leg, label in self.index_of.items()}
        return einsum_equation(self._held_legs().values(), self.open_legs, shared)

    @property
    def tensors(self) -> tuple[str, ...]:
        """The names of the arrays it takes, each once, in the order of the nodes."""
        return tuple(dict.fromkeys(node.tensor for node in self.nodes if not node.copy))

    def sized_by(self, arrays: Mapping[str, Tensor]) -> "Network":
        """The same network with the sizes of `arrays`, after checking their names, orders, sizes, dtypes and devices.

        Raises ValueError where they do not fit the network or each other, TypeError where one is no torch tensor.
        """
        check_arrays([(node.name, node.tensor, node.legs) for node in self.nodes if not node.copy], arrays)
        sizes, owner = dict(self.sizes), {}
        by_node = self.arrays_by_node(arrays)
        for name, legs in self._held_legs().items():
            for leg, n in zip(legs, by_node[name].shape, strict=True):
                if (m := sizes.setdefault(leg, n)) != n:
                    kind = "spectator" if leg in self.spectators else "bond" if leg in owner else "leg"
                    where = f"on node {owner[leg]!r}" if leg in owner else "in the network"
                    raise ValueError(f"{kind} {leg!r} has size {m} {where} but {n} on node {name!r}.")
                owner.setdefault(leg, name)
        return self if sizes == self.sizes else replace(self, sizes=sizes)

    def plan(self, order: str | Sequence[tuple[str, str]] = "auto") -> ContractionPlan:
        """The steps of the contraction and their cost; every leg must have a size (see `sized_by`).

        `order` is "optimal" (time grows as the factorial of the nodes), "greedy", "auto" (the one or the other by
        the number of nodes), or pairs of node names: each joins the two tensors that these nodes are part of by then.
        """
        for leg in self.ends:
            if leg not in self.sizes:
                raise ValueError(f"leg {leg!r} has no size; give it in `sizes`, or take it from arrays by `sized_by`.")
        operands, output = labelled_operands(self._held_legs(), self.open_legs, self.index_of)
        pairs = order if isinstance(order, str) else tuple((first, second) for first, second in order)
        return plan_contraction(operands, output, tuple(self.sizes.items()), tuple(self._letters().items()), pairs)

    def contract(self, arrays: Mapping[str, Tensor], order: str | Sequence[tuple[str, str]] = "auto") -> Tensor:
        """The tensor over the open legs, from one array for each of `tensors`; differentiable.

        Contracted by tensornetwork, or by opt_einsum where there are copy nodes or spectators.
        Raises MemoryError, before anything is made, where an intermediate would not fit in what is free.
        """
        network = self.sized_by(arrays)
        plan = network.plan(order)
        check_fits(plan.largest_intermediate, next(iter(arrays.values())), f"contracting {len(self.nodes)} nodes")
        if not self.spectators and not any(node.copy for node in self.nodes):
            return run_plan_on_nodes(plan, *network.to_tensornetwork(arrays))
        return run_plan(plan, self.arrays_by_node(arrays))

    def arrays_by_node(self, arrays: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The array of every node that has one, conjugated where the node says so."""
        held = (node for node in self.nodes if not node.copy)
        return {node.name: arrays[node.tensor].conj() if node.conj else arrays[node.tensor] for node in held}

    def spectators_as_copies(self) -> "Network":
        """The same tensor without spectators: the ends of each are joined by a copy node."""
        ends = self.ends
        taken_legs, taken_names = set(ends), {node.name for node in self.nodes}
        legs = {node.name: list(node.legs) for node in self.nodes}
        sizes, copies = dict(self.sizes), []
        for leg in self.spectators:
            joined = [leg] if leg in self.open_legs else []
            if len(ends[leg]) + len(joined) == 2:
                continue  # a bond or an open leg already
            for name, axis in ends[leg]:
                legs[name][axis] = fresh(leg, taken_legs)
                joined.append(legs[name][axis])
            copies.append(Node(fresh(leg, taken_names), tuple(joined), copy=True))
            if leg in sizes:
                sizes |= dict.fromkeys(joined, sizes.pop(leg))
        nodes = (*(node.with_legs(legs[node.name]) for node in self.nodes), *copies)
        return Network(nodes, self.open_legs, sizes)

    def to_tensornetwork(self, arrays: Mapping[str, Tensor]) -> tuple[list[Any], list[Any]]:
        """Connected tensornetwork nodes on its pytorch backend, and the open edges in order; edges are named as legs.

        Spectators, which tensornetwork has not, become its copy nodes.
        """
        from workbench.exchange import to_tensornetwork  # which imports this module

        return to_tensornetwork(self, arrays)

    @classmethod
    def from_tensornetwork(
        cls, nodes: Iterable[Any], open_edges: Sequence[Any] | None = None
    ) -> tuple["Network", dict[str, Tensor]]:
        """The network of connected tensornetwork nodes on the pytorch backend, and its arrays; they stay as they are.

        Legs are named as edges; one without a name of its own is named after its first end, as in "A.left".
        Open legs are ordered as `open_edges`, or as the nodes and their axes.
        """
        from workbench.exchange import from_tensornetwork  # which imports this module

        return from_tensornetwork(nodes, open_edges)

    @property
    def index_of(self) -> dict[str, str]:
        """The index each leg stands for: the first of those that copy nodes make one."""
        joints = [node.legs for node in self.nodes if node.copy]
        return joined_labels((*self.open_legs, *self.ends), joints)

    def sizes_from(self, known: Mapping[str, int]) -> dict[str, int]:
        """These sizes of legs, and those that follow from them where legs meet in a copy node."""
        index = self.index_of
        size = {index[leg]: n for leg, n in known.items() if leg in index}
        return {**known, **{leg: size[own] for leg, own in index.items() if own in size}}

    def _held_legs(self) -> dict[str, tuple[str, ...]]:
        """The legs of every node with an array."""
        return {node.name: node.legs for node in self.nodes if not node.copy}

    def _letters(self) -> dict[str, str]:
        """Each leg's letter in an einsum: its name where all names are letters, the next free symbol otherwise."""
        legs = list(self.ends)
        lettered = all(len(leg) == 1 and leg.isascii() and leg.isalpha() for leg in legs)
        return {leg: leg if lettered else get_symbol(number) for number, leg in enumerate(legs)}


def fresh(name: str, taken: set[str]) -> str:
    """The name, or the name with the first number that is not taken; taken from now on."""
    free = next(own for own in chain([name], (f"{name}.{number}" for number in count(1))) if own not in taken)
    taken.add(free)
    return free


def _check_names(network: Network) -> None:
    for name, n in Counter(node.name for node in network.nodes).items():
        if n > 1:
            raise ValueError(f"{n} nodes are called {name!r}; give each a name of its own.")
    if not network.nodes:
        raise ValueError("a network has one or more nodes; none was given.")
    legs = network.ends
    for title in ("open_legs", "spectators", "sizes"):
        for leg, n in Counter(list(getattr(network, title))).items():
            if leg not in legs:
                raise ValueError(f"{title} has {leg!r}, which is on no node; the legs are {', '.join(legs)}.")
            if n > 1:
                raise ValueError(f"{title} has {leg!r} {n} times; join two open ends to it by a copy node.")


def _check_ends(network: Network) -> None:
    for leg, ends in network.ends.items():
        if leg in network.spectators:
            continue
        where = ", ".join(repr(name) for name, _ in ends)
        if len(ends) > 2:
            raise ValueError(
                f"leg {leg!r} has {len(ends)} ends, on nodes {where}, but a bond has 2; "
                "join them by a copy node (a drawn delta), or make it a spectator."
            )
        if len(ends) == 2 and leg in network.open_legs:
            raise ValueError(
                f"leg {leg!r} is a bond, on nodes {where}, and cannot be open too; "
                "join all three ends by a copy node, or make it a spectator."
            )
        if len(ends) == 1 and leg not in network.open_legs:
            raise ValueError(
                f"leg {leg!r} has one end, on node {where}, and is not open; "
                "add it to open_legs, or make it a spectator to sum over it."
            )


def _sizes_through_copies(network: Network) -> dict[str, int]:
    """The known sizes, and those of legs that copy nodes join to them."""
    label = network.index_of
    sizes, known = dict(network.sizes), {}
    for leg, n in network.sizes.items():
        if n < 1:
            raise ValueError(f"leg {leg!r} has size {n}; a size is 1 or more.")
        first, m = known.setdefault(label[leg], (leg, n))
        if m != n:
            raise ValueError(
                f"legs {first!r} of size {m} and {leg!r} of size {n} meet in a copy node; it has one size."
            )
    return sizes | {leg: known[own][1] for leg, own in label.items() if own in known}
