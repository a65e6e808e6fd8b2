"""The contraction that a rewrite acts in: what is named and held there, and the program with it rewritten."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from torch import Tensor

from workbench.network import Network
from workbench.node import Node
from workbench.program import Contract, Program, ProgramStep, uses
from workbench.rounding import tolerance

Rewritten = tuple[Program, dict[str, Tensor]]


class UntrueRewrite(ValueError):
    """A rewrite that claims equality and changes the numbers; its message says by how much."""


@dataclass(frozen=True)
class Place:
    """A contraction, with the program it stands in. Every question raises ValueError for what is not there."""

    program: Program
    step: Contract

    @classmethod
    def of(cls, program: Program, value: str) -> "Place":
        """The contraction whose value has that name."""
        steps = {step.out: step for step in program.steps if isinstance(step, Contract)}
        if value not in steps:
            raise ValueError(f"{value!r} is no contraction of the program; those are {', '.join(steps) or 'none'}.")
        return cls(program, steps[value])

    @property
    def network(self) -> Network:
        """What is contracted."""
        return self.step.network

    def node(self, name: str) -> Node:
        """The node of that name."""
        found = {node.name: node for node in self.network.nodes}
        if name not in found:
            raise ValueError(f"contraction {self.step.out!r} has no node {name!r}; its nodes are {', '.join(found)}.")
        return found[name]

    def holder(self, name: str) -> Node:
        """The node of that name, which holds an array."""
        node = self.node(name)
        if node.copy:
            raise ValueError(f"node {name!r} is a copy node, which holds no array; name a node that does.")
        return node

    def dot(self, name: str) -> Node:
        """The copy node of that name."""
        node = self.node(name)
        if not node.copy:
            raise ValueError(f"node {name!r} holds an array; name a copy node.")
        return node

    def bond(self, leg: str) -> tuple[tuple[str, int], tuple[str, int]]:
        """The two ends of the bond, as (node name, axis)."""
        ends = self.network.ends
        if leg not in ends:
            raise ValueError(f"leg {leg!r} is on no node of {self.step.out!r}; its legs are {', '.join(ends)}.")
        if leg in self.network.open_legs:
            raise ValueError(f"leg {leg!r} is open; name a bond, which joins two nodes.")
        if len(ends[leg]) != 2:
            raise ValueError(f"leg {leg!r} has {len(ends[leg])} ends; name a bond, which has 2.")
        return ends[leg][0], ends[leg][1]

    def array(self, node: Node, arrays: Mapping[str, Tensor]) -> Tensor:
        """The array of the node, conjugated where it says so; an input's, since a computed value changes with them."""
        if node.tensor not in self.program.inputs:
            raise ValueError(
                f"node {node.name!r} holds {node.tensor!r}, which a step computes; freeze it first (FreezePattern)."
            )
        if node.tensor not in arrays:
            raise ValueError(f"input {node.tensor!r} has no array; arrays has {', '.join(arrays) or 'none'}.")
        check_numbers(node.tensor, arrays[node.tensor])
        return arrays[node.tensor].conj() if node.conj else arrays[node.tensor]

    def sized(self, arrays: Mapping[str, Tensor]) -> tuple[Network, Mapping[str, Tensor]]:
        """The network with every size, and the arrays it reads; the program is run where one of them is computed."""
        known = self.program.run(arrays) if set(self.step.reads) - set(self.program.inputs) else arrays
        held = {name: known[name] for name in self.step.reads if name in known}
        return self.network.sized_by(held), held

    def taken(self, *gone: str) -> set[str]:
        """The names that a new value cannot have once these nodes are gone."""
        kept = {
            tensor
            for step in self.program.steps
            for tensor, user in uses(step)
            if step.out != self.step.out or user not in gone
        }
        freed = {self.node(name).tensor for name in gone if not self.node(name).copy} - kept
        return set(self.program.legs) - (freed & set(self.program.inputs))

    def rewritten(
        self, arrays: Mapping[str, Tensor], *steps: ProgramStep, made: Mapping[str, Tensor] | None = None
    ) -> Rewritten:
        """The program and arrays with `steps` in the place of the contraction, which may read the arrays `made`.

        What has lost its last reader is left out.
        """
        program, made = self.program, dict(made or {})
        at = program.steps.index(self.step)
        needed = {name for name in program.legs if not program.readers(name)}
        kept: list[ProgramStep] = []
        for step in reversed((*program.steps[:at], *steps, *program.steps[at + 1 :])):
            if step.out in needed:
                kept.append(step)
                needed.update(step.reads)
        nodes = [node for step in steps if isinstance(step, Contract) for node in step.network.nodes if not node.copy]
        inputs = {**program.inputs, **{node.tensor: node.legs for node in nodes if node.tensor in made}}
        inputs = {name: legs for name, legs in inputs.items() if name in needed}
        held = {**arrays, **made}
        changed = Program(inputs, tuple(reversed(kept)))
        return changed, {name: held[name] for name in inputs}

    def redrawn(
        self,
        arrays: Mapping[str, Tensor],
        nodes: Iterable[Node],
        made: Mapping[str, Tensor] | None = None,
    ) -> Rewritten:
        """The program and arrays with other nodes in the contraction."""
        return self.rewritten(arrays, replace(self.step, network=with_nodes(self.network, nodes)), made=made)


def check_numbers(name: str, array: Tensor) -> None:
    """Raises ValueError for an array of whole numbers, or of too few digits to compute a rewrite in and measure it."""
    try:
        tolerance(array.dtype)
    except ValueError as error:
        raise ValueError(f"the array of {name!r} is {array.dtype}: {error}") from error


def with_nodes(
    network: Network,
    nodes: Iterable[Node],
    sizes: Mapping[str, int] | None = None,
    open_legs: tuple[str, ...] | None = None,
) -> Network:
    """The network with other nodes, more sizes, or other open legs; sizes and spectators of lost legs are dropped."""
    nodes = tuple(nodes)
    legs = {leg for node in nodes for leg in node.legs}
    known = {leg: n for leg, n in {**network.sizes, **(sizes or {})}.items() if leg in legs}
    spectators = tuple(leg for leg in network.spectators if leg in legs)
    return Network(nodes, network.open_legs if open_legs is None else open_legs, known, spectators)


def renamed(node: Node, names: Mapping[str, str]) -> Node:
    """The same node under other names of its legs."""
    legs, tip = (tuple(names.get(leg, leg) for leg in own) for own in (node.legs, node.tip))
    return replace(node, legs=legs, tip=tip)


def allowed(question: Callable[..., object], *args: object) -> bool:
    """Whether a question about structure raises no ValueError."""
    try:
        question(*args)
    except ValueError:
        return False
    return True
