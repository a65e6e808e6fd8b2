"""Rewrites of copy nodes, drawn as dots: joined dots are one, and a dot with two legs is a line."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import combinations
from typing import ClassVar

from torch import Tensor

from workbench.network import Network
from workbench.node import Node
from workbench.program import Program
from workbench.rewrite.place import Place, Rewritten, allowed, renamed, with_nodes


@dataclass(frozen=True)
class FuseDots:
    """Two copy nodes that share bonds become one with the name of the first; the bonds between them disappear."""

    value: str
    first: str
    second: str
    exact: ClassVar[bool] = True

    def __str__(self) -> str:
        return f"fuse dots {self.first} and {self.second}"

    def apply(self, program: Program, arrays: Mapping[str, Tensor]) -> Rewritten:
        """The program with one dot for the two. Raises ValueError where they share no bond, or have no other leg."""
        place = Place.of(program, self.value)
        fused = self._fused(place)
        nodes = [node for node in place.network.nodes if node.name != self.second]
        nodes = [fused if node.name == self.first else node for node in nodes]
        return place.redrawn(arrays, nodes)

    def _fused(self, place: Place) -> Node:
        first, second = place.dot(self.first), place.dot(self.second)
        ends = place.network.ends
        between = {leg for leg in first.legs if {name for name, _ in ends[leg]} == {self.first, self.second}}
        shared = {leg for leg in between if len(ends[leg]) == 2 and leg not in place.network.open_legs}
        if not shared:
            raise ValueError(f"dots {self.first!r} and {self.second!r} share no bond; fuse neighbours.")
        legs = tuple(leg for leg in (*first.legs, *second.legs) if leg not in shared)
        if not legs:
            raise ValueError(
                f"dots {self.first!r} and {self.second!r} have no leg besides the bonds between them; "
                "they are a number, and cannot be one dot."
            )
        return Node(self.first, legs, copy=True)

    @classmethod
    def found_in(cls, program: Program, value: str) -> Iterator["FuseDots"]:
        """Every pair of dots that may be fused there."""
        place = Place.of(program, value)
        dots = [node.name for node in place.network.nodes if node.copy]
        pairs = (cls(value, first, second) for first, second in combinations(dots, 2))
        yield from (pair for pair in pairs if allowed(pair._fused, place))


@dataclass(frozen=True)
class DropLine:
    """A copy node with two legs becomes a plain line; of the two names an open leg's stays, or the first."""

    value: str
    dot: str
    exact: ClassVar[bool] = True

    def __str__(self) -> str:
        return f"draw dot {self.dot} as a line"

    def apply(self, program: Program, arrays: Mapping[str, Tensor]) -> Rewritten:
        """The program without the dot. Raises ValueError where it is no line between nodes."""
        place = Place.of(program, self.value)
        dot = place.dot(self.dot)
        network = without_line(place.network, dot.name)
        if network is place.network:
            raise ValueError(
                f"dot {self.dot!r} has legs {', '.join(dot.legs)}; a line has two, one or both of them on another node."
            )
        return place.rewritten(arrays, replace(place.step, network=network))

    @classmethod
    def found_in(cls, program: Program, value: str) -> Iterator["DropLine"]:
        """Every dot that is a line there."""
        network = Place.of(program, value).network
        for node in network.nodes:
            if node.copy and without_line(network, node.name) is not network:
                yield cls(value, node.name)


def without_line(network: Network, name: str) -> Network:
    """The network with a plain line for the copy node; the same object where the node is no line between nodes."""
    dot = next(node for node in network.nodes if node.name == name)
    if len(dot.legs) != 2 or len(set(dot.legs)) == 1 or set(dot.legs) <= set(network.open_legs):
        return network
    # An open leg keeps its name, and so does one that more than two ends may share.
    kept, lost = sorted(dot.legs, key=lambda leg: (leg not in network.open_legs, leg not in network.spectators))
    nodes = [renamed(node, {lost: kept}) for node in network.nodes if node.name != name]
    if not any(kept in node.legs for node in nodes):
        return network
    spectators = (*network.spectators, *([kept] if lost in network.spectators else []))
    line = Network(network.nodes, network.open_legs, network.sizes, tuple(dict.fromkeys(spectators)))
    return with_nodes(line, nodes)
