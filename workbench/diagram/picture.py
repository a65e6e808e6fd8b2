"""What is drawn of a program: networks, some of whose nodes hold further pictures (bubbles and sums)."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from workbench.network import Network, fresh
from workbench.node import Node
from workbench.program import Add, Apply, Contract, Program, ProgramStep, uses


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
    readers = Counter(used for step in program.steps for used, _ in uses(step))
    own = {name for name in step_of if readers[name] != 1 or name in rows}
    own |= {name for step in program.steps if isinstance(step, Apply) for name in step.reads[1:] if name in step_of}
    made = _Pictures(program.legs, sizes or {})
    found = {}
    for name, step in step_of.items():  # each after those it uses
        draft = made.of(step)
        if name in own:
            found[name] = draft.picture
        else:
            made.inner[name] = draft
    return found


@dataclass(frozen=True)
class _Draft:
    """A picture whose network is not checked yet, since it is to be part of a larger one."""

    nodes: tuple[Node, ...]
    open_legs: tuple[str, ...]
    sizes: Mapping[str, int]
    spectators: tuple[str, ...] = ()
    inside: Mapping[str, Inside] = field(default_factory=dict)

    @property
    def picture(self) -> Picture:
        """The picture, checked."""
        return Picture(Network(self.nodes, self.open_legs, dict(self.sizes), self.spectators), self.inside)

    @property
    def legs(self) -> dict[str, int]:
        """Every leg, in the order of the nodes, and how many ends it has there."""
        return Counter(leg for node in self.nodes for leg in node.legs)


@dataclass(frozen=True)
class _Pictures:
    """Makes pictures: the legs and sizes of all values, and those made that are drawn where they are used."""

    legs: Mapping[str, tuple[str, ...]]
    sizes: Sizes
    inner: dict[str, _Draft] = field(default_factory=dict)

    def of(self, step: ProgramStep) -> _Draft:
        """The picture of one value, with those of `inner` that it uses drawn in their places."""
        if isinstance(step, Contract):
            network = step.network
            draft = _Draft(network.nodes, network.open_legs, self._known(step.out, network.ends), network.spectators)
            for node in network.nodes:
                if not node.copy and node.tensor in self.inner:
                    draft = _spliced(draft, node, self.inner[node.tensor])
            return draft
        if isinstance(step, Apply) and step.kind != "bubble":
            return self._grouped(step)
        return replace(self._alone(step.out, step.legs), inside={step.out: self._inside(step)})

    def _inside(self, step: Add | Apply) -> Inside:
        """What a bubble or a sum holds. A function's further arguments are named beside it: LN(γ, β)."""
        if isinstance(step, Add):
            terms = zip(step.reads, step.term_legs, strict=True)
            return Inside("sum", "+", step.legs, tuple(self._value(name, own).picture for name, own in terms))
        first, *others = step.reads
        more = f"({', '.join(others)})" if others else ""
        return Inside("bubble", step.label + more, step.legs, (self._value(first, self.legs[first]).picture,))

    def _value(self, name: str, legs: tuple[str, ...]) -> _Draft:
        """A value's own picture, or a node of its name."""
        if name in self.inner:
            return _relabelled(self.inner[name], legs)
        known = self._known(name, self.legs[name])
        sizes = {leg: known[own] for leg, own in zip(legs, self.legs[name], strict=True) if own in known}
        return _Draft((Node(name, legs),), legs, sizes)

    def _grouped(self, step: Apply) -> _Draft:
        """Lines that run together or part: a node with the legs of both sides but those that pass it by."""
        own = self.legs[step.reads[0]]
        source = self._value(step.reads[0], own)
        before, after = (tuple(leg for leg in a if leg not in b) for a, b in ((own, step.legs), (step.legs, own)))
        node = Node(fresh(step.out, {n.name for n in source.nodes}), (*before, *after))
        sizes = {**source.sizes, **self._known(step.out, after)}
        inside = {**source.inside, node.name: Inside(step.kind, step.label, node.legs)}
        return _Draft((*source.nodes, node), step.legs, sizes, source.spectators, inside)

    def _alone(self, name: str, legs: tuple[str, ...]) -> _Draft:
        return _Draft((Node(name, legs),), legs, self._known(name, legs))

    def _known(self, name: str, legs: Iterable[str]) -> dict[str, int]:
        sizes = self.sizes.get(name, {})
        return {leg: sizes[leg] for leg in legs if leg in sizes}


def _relabelled(draft: _Draft, legs: tuple[str, ...], taken: Iterable[str] = ()) -> _Draft:
    """The picture with its open legs named `legs`; a bond of one of these, or of a name `taken`, takes a fresh one."""
    name_of = dict(zip(draft.open_legs, legs, strict=True))
    gone = {*legs, *taken}
    for leg in draft.legs:
        if leg not in name_of:
            name_of[leg] = _free(leg, gone)
    return _renamed(draft, name_of)


def _free(name: str, taken: set[str]) -> str:
    """The name, taken from now on, or a fresh one."""
    if name in taken:
        return fresh(name, taken)
    taken.add(name)
    return name


def _renamed(draft: _Draft, leg_of: Mapping[str, str]) -> _Draft:
    changed = {leg for leg, name in leg_of.items() if leg != name}

    def named(legs: tuple[str, ...]) -> tuple[str, ...]:
        return tuple([leg_of[leg] for leg in legs])

    nodes = [
        node if changed.isdisjoint(node.legs) else replace(node, legs=named(node.legs), tip=named(node.tip))
        for node in draft.nodes
    ]
    sizes = {leg_of[leg]: size for leg, size in draft.sizes.items()}
    return _Draft(tuple(nodes), named(draft.open_legs), sizes, named(draft.spectators), draft.inside)


def _spliced(outer: _Draft, node: Node, part: _Draft) -> _Draft:
    """`outer` with the node replaced by the nodes of `part`, whose open legs are, in order, the node's legs."""
    if len(set(node.legs)) < len(node.legs):  # a trace of a computed value: it keeps a node of its own
        return outer
    inner = _relabelled(part, node.legs, outer.legs)
    names = {other.name for other in outer.nodes if other.name != node.name}
    node_of = {each.name: _free(each.name, names) for each in inner.nodes}
    drawn = [
        each if node_of[each.name] == each.name else replace(each, name=node_of[each.name]) for each in inner.nodes
    ]
    place = [each.name for each in outer.nodes].index(node.name)
    nodes = (*outer.nodes[:place], *drawn, *outer.nodes[place + 1 :])
    count = Counter(leg for each in nodes for leg in each.legs)
    spectators = dict.fromkeys((*outer.spectators, *inner.spectators))
    kept = tuple(leg for leg in spectators if leg in count and count[leg] + (leg in outer.open_legs) != 2)
    inside = {**outer.inside, **{node_of[name]: what for name, what in part.inside.items()}}
    sizes = {leg: n for leg, n in {**outer.sizes, **inner.sizes}.items() if leg in count}
    return _Draft(nodes, outer.open_legs, sizes, kept, inside)
