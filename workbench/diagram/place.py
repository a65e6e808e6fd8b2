"""Which cell of a grid each node of a picture takes, and on which side each of its legs leaves it.

Rows run from left to right, columns are whole numbers; a node between two columns has a broken one. Nothing is
searched and nothing is random: the same picture is placed the same way every time, in the order of its nodes.
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from numbers import Real

from workbench.network import Network

Cell = tuple[float, int]  # column, row
SIDES = ("left", "right", "up", "down", "out")
FARTHEST = 10_000  # column from the first
LONGEST_LOOP = 4  # a ring of more nodes is drawn on two rows


@dataclass(frozen=True)
class Layout:
    """Where nodes stand, for those who would rather say than have it found. Copy nodes of spectators stay free.

    `cells` gives a column and a row to every node; `sides` says where an open leg leaves: left, right, up, down, or
    out (aslant). `rows`, `ring` and `tree` make the usual ones. With `flow`, a residual program is drawn at a glance
    instead: each step a box, the stream one straight line.
    """

    cells: Mapping[str, Cell] = field(default_factory=dict, hash=False)
    sides: Mapping[str, str] = field(default_factory=dict, hash=False)
    flow: bool = False

    def __post_init__(self) -> None:
        for what, given in (("cells", self.cells), ("sides", self.sides)):
            if not isinstance(given, Mapping):
                key = "nodes to (column, row)" if what == "cells" else "legs to sides"
                raise TypeError(f"{what} is a {type(given).__name__}, {given!r}; give a mapping of {key}.")
        for leg, side in self.sides.items():
            if side not in SIDES:
                raise ValueError(f"leg {leg!r} cannot leave on side {side!r}; the sides are {', '.join(SIDES)}.")
        taken: dict[Cell, str] = {}
        for name, cell in self.cells.items():
            _check_cell(name, cell)
            if (other := taken.setdefault(cell, name)) != name:
                raise ValueError(f"nodes {other!r} and {name!r} both stand in column {cell[0]}, row {cell[1]}.")

    @classmethod
    def rows(cls, rows: Sequence[Sequence[str]], sides: Mapping[str, str] | None = None) -> "Layout":
        """Nodes in rows from the top, each from the left; "" leaves a cell empty. One row is a chain, two a ladder."""
        _check_once([name for row in rows for name in row if name])
        cells = {name: (float(c), r) for r, row in enumerate(rows) for c, name in enumerate(row) if name}
        return cls(cells, {} if sides is None else sides)

    @classmethod
    def ring(cls, names: Sequence[str], sides: Mapping[str, str] | None = None) -> "Layout":
        """A ring on two rows: the first half above from the left, the rest below from the right."""
        names = list(names)
        _check_once(names)
        top = math.ceil(len(names) / 2)
        below = names[top:][::-1]
        cells = {name: (float(c), 0) for c, name in enumerate(names[:top])}
        step = (top - 1) / max(1, len(below) - 1) if len(below) > 1 else 0.0
        cells |= {name: (c * step, 1) for c, name in enumerate(below)}
        return cls(cells, {} if sides is None else sides)

    @classmethod
    def tree(cls, network: Network, root: str, sides: Mapping[str, str] | None = None) -> "Layout":
        """The root on top, and every node above the middle of those it carries."""
        neighbours = _neighbours(network)
        if root not in neighbours:
            raise ValueError(f"the network has no node {root!r} for a root; its nodes are {', '.join(neighbours)}.")
        return cls(_tree(neighbours, root), {} if sides is None else sides)


def _check_cell(name: str, cell: object) -> None:
    """Raises TypeError or ValueError, naming the node, where its cell is no column and whole row."""
    needed = "it needs a tuple of its column and its row, two numbers, the row whole, as (1.5, 0)."
    if not isinstance(cell, tuple) or len(cell) != 2 or not all(isinstance(number, Real) for number in cell):
        raise TypeError(f"node {name!r} has the cell {cell!r}; {needed}")
    column, row = cell
    if not (math.isfinite(column) and math.isfinite(row) and row == int(row)):
        raise ValueError(f"node {name!r} has the cell {cell!r}; {needed}")
    if abs(column) > FARTHEST:
        raise ValueError(
            f"node {name!r} has the column {column}; a picture has columns from -{FARTHEST} to {FARTHEST}."
        )


def _check_once(names: Sequence[str]) -> None:
    for name, n in Counter(names).items():
        if n > 1:
            raise ValueError(f"node {name!r} stands {n} times in the layout; give it one place.")


def auto_layout(network: Network, sides: Mapping[str, str]) -> dict[str, Cell]:
    """Cells by the network's own shape: chain, ring or tree; else rows of nodes equally far from the first.

    Parts that share no bond stand side by side. `sides` are those that legs must leave on: a chain is turned so
    that a leg to the left is at its left end.
    """
    neighbours = _neighbours(network)
    cells: dict[str, Cell] = {}
    column = 0.0
    for part in _parts(neighbours):
        own = _place_part(network, {name: neighbours[name] for name in part}, sides)
        first = min(c for c, _ in own.values())
        cells |= {name: (column + c - first, r) for name, (c, r) in own.items()}
        column = math.floor(max(c for c, _ in cells.values())) + 1.0
    return cells


def _place_part(network: Network, neighbours: dict[str, list[str]], sides: Mapping[str, str]) -> dict[str, Cell]:
    degree = {name: len(others) for name, others in neighbours.items()}
    n_edges = sum(degree.values()) // 2
    names = list(neighbours)
    if n_edges == len(names) - 1 and max(degree.values()) <= 2:
        return {name: (float(c), 0) for c, name in enumerate(_along(network, neighbours, sides))}
    if n_edges == len(names) and set(degree.values()) == {2}:
        order = _walk(neighbours, names[0])
        if len(names) <= LONGEST_LOOP:
            return {name: (float(c), 0) for c, name in enumerate(order)}
        return dict(Layout.ring(order).cells)
    if n_edges == len(names) - 1:
        return _tree(neighbours, _centre(neighbours))
    if all(b in neighbours[a] for a, b in pairwise(names)):  # named along a chain that has further bonds
        return _grid(neighbours) or {name: (float(c), 0) for c, name in enumerate(names)}
    return _grid(neighbours) or _by_distance(neighbours)


def _along(network: Network, neighbours: dict[str, list[str]], sides: Mapping[str, str]) -> list[str]:
    """A chain's nodes from left to right: as the sides ask, else from the end that was named first."""
    ends = [name for name, others in neighbours.items() if len(others) < 2]
    node_of = {node.name: node for node in network.nodes}

    def leftness(name: str) -> int:
        own = [sides.get(leg) for leg in node_of[name].legs]
        return own.count("left") - own.count("right")

    first = ends[0]
    if len(ends) > 1 and leftness(ends[1]) > leftness(ends[0]):
        first = ends[1]
    return _walk(neighbours, first)


def _walk(neighbours: dict[str, list[str]], first: str) -> list[str]:
    """Names along a chain or once round a ring."""
    order, here = {first: None}, first
    while here is not None:
        here = next((name for name in neighbours[here] if name not in order), None)
        if here is not None:
            order[here] = None
    return list(order)


def _centre(neighbours: dict[str, list[str]]) -> str:
    """The node of a tree that the farthest other is nearest to; of two, the one with more bonds, then the first.

    It is in the middle of a longest way, which leads from the node farthest from any to the one farthest from that.
    """
    before = _walked(neighbours, next(iter(neighbours)))
    before = _walked(neighbours, next(reversed(before)))
    way = [next(reversed(before))]
    while (parent := before[way[-1]]) is not None:
        way.append(parent)
    middles = way[(len(way) - 1) // 2], way[len(way) // 2]
    number = {name: k for k, name in enumerate(neighbours)}
    return min(middles, key=lambda name: (-len(neighbours[name]), number[name]))


def _walked(neighbours: dict[str, list[str]], first: str) -> dict[str, str | None]:
    """All that are joined to the first, the farthest last, each with the one before it on the way from there."""
    before: dict[str, str | None] = {first: None}
    layer = [first]
    while layer:
        found = {other: name for name in layer for other in neighbours[name] if other not in before}
        before |= found
        layer = list(found)
    return before


def _grid(neighbours: dict[str, list[str]]) -> dict[str, Cell]:
    """A ladder or a lattice named row by row, or rung by rung; nothing where the bonds are not those of one."""
    rows: list[list[str]] = []
    for name in neighbours:
        if rows and rows[-1][-1] in neighbours[name]:
            rows[-1].append(name)
        else:
            rows.append([name])
    if len(rows) < 2 or len({len(row) for row in rows}) > 1:
        return {}
    if len(rows[0]) == 2 < len(rows):
        rows = [list(row) for row in zip(*rows, strict=True)]
    cells = {name: (float(c), r) for r, row in enumerate(rows) for c, name in enumerate(row)}
    for name, others in neighbours.items():
        (c, r) = cells[name]
        if any(abs(cells[other][0] - c) + abs(cells[other][1] - r) != 1 for other in others):
            return {}
    return cells


def _tree(neighbours: dict[str, list[str]], root: str) -> dict[str, Cell]:
    cells: dict[str, Cell] = {root: (0.0, 0)}  # at once, so that no child goes back to it
    next_column = 0.0
    begun: list[tuple[str, Iterator[str], list[float]]] = [(root, iter(neighbours[root]), [])]
    while begun:
        name, others, columns = begun[-1]
        child = next((other for other in others if other not in cells), None)
        if child is not None:
            cells[child] = (0.0, len(begun))
            begun.append((child, iter(neighbours[child]), []))
            continue
        begun.pop()
        if columns:
            column = (columns[0] + columns[-1]) / 2
        else:
            column, next_column = next_column, next_column + 1
        cells[name] = (column, len(begun))
        if begun:
            begun[-1][2].append(column)
    return cells


def _by_distance(neighbours: dict[str, list[str]]) -> dict[str, Cell]:
    """Row by row of nodes equally far from the first, each near those above that it is joined to."""
    layer, row, cells = [next(iter(neighbours))], 0, {}
    while layer:
        cells |= {name: (float(column), row) for column, name in enumerate(layer)}
        row += 1
        found = dict.fromkeys(other for name in layer for other in neighbours[name] if other not in cells)
        above = {name: [cells[other][0] for other in neighbours[name] if other in cells] for name in found}
        layer = sorted(found, key=lambda name, above=above: sum(above[name]) / len(above[name]))
    return cells


def _neighbours(network: Network) -> dict[str, list[str]]:
    """Of every node those it shares a bond with, each once, in the order of the nodes."""
    found: dict[str, list[str]] = {node.name: [] for node in network.nodes}
    for ends in network.ends.values():
        names = dict.fromkeys(name for name, _ in ends)
        if len(names) == 2:
            a, b = names
            if b not in found[a]:
                found[a].append(b)
                found[b].append(a)
    number = {node.name: k for k, node in enumerate(network.nodes)}
    return {name: sorted(others, key=number.__getitem__) for name, others in found.items()}


def _parts(neighbours: dict[str, list[str]]) -> list[list[str]]:
    """The connected parts, each in the order of the nodes."""
    part_of: dict[str, int] = {}
    parts: list[list[str]] = []
    for name in neighbours:
        waiting = [] if name in part_of else [name]
        parts += [[] for _ in waiting]
        while waiting:
            here = waiting.pop()
            if here not in part_of:
                part_of[here] = len(parts) - 1
                waiting += neighbours[here]
        parts[part_of[name]].append(name)
    return parts


@dataclass(frozen=True)
class Place:
    """What a node's place means for its open legs."""

    row: int
    n_rows: int
    first: bool  # of its row
    last: bool
    single: bool  # no node but this one
    is_train: bool  # of one row whose inner nodes have open legs
    free_above: bool  # no bond to a row above
    free_below: bool
    at_left: bool  # no node in any row stands farther left
    at_right: bool


def open_sides(own: Sequence[str], place: Place) -> dict[str, str]:
    """The side on which each of a node's open legs leaves, where nobody has said."""
    if place.single:  # a tensor by itself: first leg to the left, last to the right, the others below
        if len(own) < 2:
            return dict.fromkeys(own, "right")
        return {own[0]: "left", **dict.fromkeys(own[1:-1], "down"), own[-1]: "right"}
    if place.n_rows == 1:
        if place.is_train:
            return dict.fromkeys(own, "down")
        return dict.fromkeys(own, "left" if place.first else "right" if place.last else "down")
    if place.row in (0, place.n_rows - 1):
        return dict.fromkeys(own, "up" if place.row == 0 else "down")
    if place.free_above or place.free_below:
        return dict.fromkeys(own, "down" if place.free_below else "up")
    return dict.fromkeys(own, "left" if place.at_left else "right" if place.at_right else "out")
