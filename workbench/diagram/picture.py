"""What is drawn of a program: networks, some of whose nodes hold further pictures (bubbles and sums)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from workbench.network import Network, Node, fresh
from workbench.program import Add, Apply, Contract, Program, ProgramStep


@dataclass(frozen=True)
class Inside:
    """What a node is drawn as: a bubble round a picture, a sum of several, or lines that run together or part.

    `legs` are the names, inside, of the node's axes; outside, a renamed network may call them otherwise.
    """

    kind: str  # "bubble", "sum", "merge" or "split"
    label: str
    legs: tuple[str, ...]
    parts: tuple["Picture", ...] = ()


@dataclass(frozen=True)
class Picture:
    """A network, and what is inside those of its nodes that are no plain tensor."""

    network: Network
    inside: Mapping[str, Inside] = field(default_factory=dict, hash=False)


Sizes = Mapping[str, Mapping[str, int]]  # of the legs within each value


def program_pictures(program: Program, sizes: Sizes | None = None, rows: tuple[str, ...] = ()) -> dict[str, Picture]:
    """The pictures of a program by the value each stands for, the result last.

    A value used once is drawn where it is used; one used more often has a picture of its own, and stands in others
    as a node of its name. `rows` names further values that get their own picture.
    """
    step_of = {step.out: step for step in program.steps}
    for name in rows:
        if name not in step_of:
            raise ValueError(f"rows names {name!r}; the values of the program are {', '.join(step_of)}.")
    own = {name for name in step_of if len(program.readers(name)) != 1 or name in rows}
    own |= {name for step in program.steps if isinstance(step, Apply) for name in step.reads[1:] if name in step_of}
    made = _Pictures({n: step for n, step in step_of.items() if n not in own}, program.legs, sizes or {})
    return {name: made.of(step) for name, step in step_of.items() if name in own}


@dataclass(frozen=True)
class _Pictures:
    """Makes pictures: the steps to draw where they are used, and the legs and sizes of all values."""

    inner: Mapping[str, ProgramStep]
    legs: Mapping[str, tuple[str, ...]]
    sizes: Sizes

    def of(self, step: ProgramStep) -> Picture:
        """The picture of one value, with those of `inner` that it uses drawn in their places."""
        if isinstance(step, Contract):
            network = step.network
            picture = Picture(replace(network, sizes=self._known(step.out, network.ends)))
            for node in network.nodes:
                if not node.copy and node.tensor in self.inner:
                    picture = _spliced(picture, node, self.of(self.inner[node.tensor]))
            return picture
        if isinstance(step, Apply) and step.kind != "bubble":
            return self._grouped(step)
        return Picture(self._alone(step.out, step.legs), {step.out: self._inside(step)})

    def _inside(self, step: Add | Apply) -> Inside:
        """What a bubble or a sum holds. A function's further arguments are named beside it: LN(γ, β)."""
        if isinstance(step, Add):
            terms = zip(step.reads, step.term_legs, strict=True)
            return Inside("sum", "+", step.legs, tuple(self._value(name, own) for name, own in terms))
        first, *others = step.reads
        more = f"({', '.join(others)})" if others else ""
        return Inside("bubble", step.label + more, step.legs, (self._value(first, self.legs[first]),))

    def _value(self, name: str, legs: tuple[str, ...]) -> Picture:
        """A value's own picture, or a node of its name."""
        if name in self.inner:
            return _relabelled(self.of(self.inner[name]), legs)
        known = self._known(name, self.legs[name])
        sizes = {leg: known[own] for leg, own in zip(legs, self.legs[name], strict=True) if own in known}
        return Picture(Network((Node(name, legs),), legs, sizes))

    def _grouped(self, step: Apply) -> Picture:
        """Lines that run together or part: a node with the legs of both sides but those that pass it by."""
        own = self.legs[step.reads[0]]
        source = self._value(step.reads[0], own)
        network = source.network
        before, after = (tuple(leg for leg in a if leg not in b) for a, b in ((own, step.legs), (step.legs, own)))
        node = Node(fresh(step.out, {n.name for n in network.nodes}), (*before, *after))
        sizes = {**network.sizes, **self._known(step.out, after)}
        joined = Network((*network.nodes, node), step.legs, sizes, network.spectators)
        return Picture(joined, {**source.inside, node.name: Inside(step.kind, step.label, node.legs)})

    def _alone(self, name: str, legs: tuple[str, ...]) -> Network:
        return Network((Node(name, legs),), legs, self._known(name, legs))

    def _known(self, name: str, legs: Iterable[str]) -> dict[str, int]:
        sizes = self.sizes.get(name, {})
        return {leg: sizes[leg] for leg in legs if leg in sizes}


def _relabelled(picture: Picture, legs: tuple[str, ...]) -> Picture:
    """The same picture with its open legs named `legs`; a bond of one of these names takes a fresh one."""
    network = picture.network
    name_of = dict(zip(network.open_legs, legs, strict=True))
    taken = set(legs)
    for leg in network.ends:
        if leg not in name_of:
            name_of[leg] = fresh(leg, taken)
    return Picture(_renamed(network, name_of), picture.inside)


def _renamed(network: Network, leg_of: Mapping[str, str], node_of: Mapping[str, str] | None = None) -> Network:
    node_of = node_of or {}
    nodes = tuple(
        replace(
            node,
            name=node_of.get(node.name, node.name),
            legs=tuple(leg_of[leg] for leg in node.legs),
            tip=tuple(leg_of[leg] for leg in node.tip),
        )
        for node in network.nodes
    )
    return Network(
        nodes,
        tuple(leg_of[leg] for leg in network.open_legs),
        {leg_of[leg]: size for leg, size in network.sizes.items()},
        tuple(leg_of[leg] for leg in network.spectators),
    )


def _spliced(outer: Picture, node: Node, part: Picture) -> Picture:
    """`outer` with the node replaced by the nodes of `part`, whose open legs are, in order, the node's legs."""
    network = outer.network
    if len(set(node.legs)) < len(node.legs):  # a trace of a computed value: it keeps a node of its own
        return outer
    part = _relabelled(part, node.legs)
    taken = {leg for leg in network.ends if leg not in node.legs}
    own = {leg: leg if leg in node.legs else fresh(leg, taken | set(node.legs)) for leg in part.network.ends}
    names = {other.name for other in network.nodes if other.name != node.name}
    node_of = {inner.name: fresh(inner.name, names) for inner in part.network.nodes}
    inner = _renamed(part.network, own, node_of)
    place = network.nodes.index(node)
    nodes = (*network.nodes[:place], *inner.nodes, *network.nodes[place + 1 :])
    count: dict[str, int] = {}
    for leg in (leg for each in nodes for leg in each.legs):
        count[leg] = count.get(leg, 0) + 1
    spectators = dict.fromkeys((*network.spectators, *inner.spectators))
    kept = tuple(leg for leg in spectators if leg in count and count[leg] + (leg in network.open_legs) != 2)
    inside = {**outer.inside, **{node_of[name]: what for name, what in part.inside.items()}}
    sizes = {leg: n for leg, n in (network.sizes | inner.sizes).items() if leg in count}
    return Picture(Network(nodes, network.open_legs, sizes, kept), inside)
