"""Rewrites of the steps round a contraction: a sum distributed, a value frozen, a function moved outside."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

from torch import Tensor

from workbench.network import Network, fresh
from workbench.node import Node
from workbench.program import Add, Apply, Contract, Program, uses
from workbench.rewrite.place import Place, Rewritten, allowed, with_nodes


@dataclass(frozen=True)
class DistributeSum:
    """The contraction of a sum becomes the sum of the contractions of its terms, as in a path expansion."""

    value: str
    node: str
    exact: ClassVar[bool] = True

    def __str__(self) -> str:
        return f"distribute the sum at {self.node}"

    def apply(self, program: Program, arrays: Mapping[str, Tensor]) -> Rewritten:
        """The program with a contraction for each term. Raises ValueError where the node holds no sum."""
        place = Place.of(program, self.value)
        total = self._sum(place)
        network, _ = place.sized(arrays)
        taken, contractions = set(program.legs), []
        for term, term_legs in zip(total.reads, total.term_legs, strict=True):
            drawn = self._term(place.network, total, term, term_legs, network.sizes)
            contractions.append(Contract(fresh(f"{self.value}.{term}", taken), drawn, place.step.order))
        names = tuple(step.out for step in contractions)
        legs = tuple(step.legs for step in contractions)
        return place.rewritten(arrays, *contractions, Add(self.value, names, place.step.legs, legs))

    def _term(
        self, network: Network, total: Add, term: str, term_legs: tuple[str, ...], sizes: Mapping[str, int]
    ) -> Network:
        """The network with one term at the node, which is repeated along the legs it has not."""
        node = next(own for own in network.nodes if own.name == self.node)
        leg_of = dict(zip(total.legs, node.legs, strict=True))
        held = Node(self.node, tuple(leg_of[leg] for leg in term_legs), tensor=term, conj=node.conj)
        missing = [leg for leg in node.legs if leg not in held.legs]
        elsewhere = {leg for own in network.nodes if own is not node for leg in own.legs}
        # Along an open leg the sum repeats the term; along a bond, a dot with one leg does (it is 1 everywhere).
        repeated = [leg for leg in missing if leg in network.open_legs and leg not in elsewhere]
        carried = [leg for leg in missing if leg in network.spectators and leg in elsewhere]
        summed = [leg for leg in missing if leg not in repeated and leg not in carried]
        nodes, names = [held if own is node else own for own in network.nodes], {own.name for own in network.nodes}
        nodes += [Node(fresh(f"{self.node}.ones", names), (leg,), copy=True) for leg in summed]
        open_legs = tuple(leg for leg in network.open_legs if leg not in repeated)
        return with_nodes(network, nodes, {leg: sizes[leg] for leg in summed}, open_legs)

    def _sum(self, place: Place) -> Add:
        node = place.holder(self.node)
        steps = {step.out: step for step in place.program.steps}
        total = steps.get(node.tensor)
        if not isinstance(total, Add):
            raise ValueError(f"node {self.node!r} holds {node.tensor!r}, which is no sum; name a node that holds one.")
        if len(set(node.legs)) < len(node.legs):
            raise ValueError(f"node {self.node!r} is traced ({', '.join(node.legs)}); its terms may lack either leg.")
        return total

    @classmethod
    def found_in(cls, program: Program, value: str) -> Iterator["DistributeSum"]:
        """Every node there that holds a sum."""
        place = Place.of(program, value)
        sums = (cls(value, node.name) for node in place.network.nodes)
        yield from (own for own in sums if allowed(own._sum, place))


@dataclass(frozen=True)
class FreezePattern:
    """A value becomes an input that holds what it is now; what led to it alone is left out.

    The equality holds on these arrays, and on others only while what the value was computed from stays as it is:
    with an attention pattern frozen, the rest is multilinear in the residual stream.
    """

    value: str
    exact: ClassVar[bool] = True

    def __str__(self) -> str:
        return f"freeze {self.value}"

    def apply(self, program: Program, arrays: Mapping[str, Tensor]) -> Rewritten:
        """The program with the value among its inputs. Raises ValueError where it is no value inside."""
        frozen = program.frozen(self.value)
        values = program.run(arrays)
        return frozen, {name: values[name] for name in frozen.inputs}

    @classmethod
    def found_in(cls, program: Program, value: str) -> Iterator["FreezePattern"]:
        """The value itself, where it is one inside; and every function's value that it reads."""
        steps = {step.out: step for step in program.steps[:-1]}
        read = [name for name in Place.of(program, value).step.reads if isinstance(steps.get(name), Apply)]
        yield from (cls(name) for name in (value, *read) if name in steps)


@dataclass(frozen=True)
class MoveThrough:
    """A function's value contracted with the rest becomes the function of the contraction: f(X) W to f(X W).

    True of linear functions, which touch every entry alike. Untrue of softmax, GELU and LayerNorm, though learners
    write it: a proof refuses it with its number.
    """

    value: str
    function: str
    exact: ClassVar[bool] = True

    def __str__(self) -> str:
        return f"move {self.value} through {self.function}"

    def apply(self, program: Program, arrays: Mapping[str, Tensor]) -> Rewritten:
        """The program with the function outermost. Raises ValueError where its value is not read once there."""
        place = Place.of(program, self.value)
        function, node = self._function(place)
        network, taken = place.network, set(program.legs)
        new = iter([leg for leg in network.open_legs if leg not in node.legs])
        # The function finds its axes where they were: an open leg in the place of the bond it is reached by.
        order = [leg if leg in network.open_legs else next(new, None) for leg in node.legs]
        legs = tuple(leg for leg in (*order, *new) if leg is not None)
        nodes = [Node(own.name, own.legs, tensor=function.reads[0]) if own is node else own for own in network.nodes]
        drawn = with_nodes(network, nodes, open_legs=legs)
        inside = Contract(fresh(f"{self.value}.inside", taken), drawn, place.step.order)
        reads = (inside.out, *function.reads[1:])
        if legs == network.open_legs:
            return place.rewritten(arrays, inside, replace(function, out=self.value, reads=reads, legs=legs))
        outside = replace(function, out=fresh(f"{self.value}.outside", taken), reads=reads, legs=legs)
        turned = Contract(self.value, Network((Node(self.function, legs, tensor=outside.out),), network.open_legs))
        return place.rewritten(arrays, inside, outside, turned)

    def _function(self, place: Place) -> tuple[Apply, Node]:
        found = {step.out: step for step in place.program.steps if isinstance(step, Apply)}
        if self.function not in found:
            raise ValueError(f"{self.function!r} is no function's value; the program has {', '.join(found) or 'none'}.")
        function = found[self.function]
        users = [name for tensor, name in uses(place.step) if tensor == self.function]
        if len(users) != 1:
            raise ValueError(
                f"contraction {self.value!r} reads {self.function!r} {len(users)} times; "
                "a function is moved where it is read once."
            )
        node = place.node(users[0])
        if len(function.legs) != len(place.program.legs[function.reads[0]]) or node.conj:
            raise ValueError(f"function {self.function!r} changes the legs of what it reads, and cannot be moved.")
        return function, node

    @classmethod
    def found_in(cls, program: Program, value: str) -> Iterator["MoveThrough"]:
        """Every function there that a learner may try to move."""
        place = Place.of(program, value)
        moves = (cls(value, name) for name in place.step.reads)
        yield from (move for move in moves if allowed(move._function, place))
