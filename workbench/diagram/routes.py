"""Which way each leg of a placed picture goes: straight to a neighbour, down to the next row, round, or out."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from workbench.diagram.picture import Picture
from workbench.diagram.place import Cell, Place, auto_layout, open_sides
from workbench.network import Network
from workbench.node import Node


@dataclass(frozen=True)
class End:
    """One end of a leg: a node, the axis there, and the side on which it leaves."""

    node: str
    axis: int
    side: str


@dataclass(frozen=True)
class Route:
    """A leg's way. `kind` is straight (within a row), column (between rows), arc (over a row), loop (round it), or
    open (`end` is None): then it `leaves` the picture on a side, which need not be the side of its node."""

    leg: str
    kind: str
    start: End
    end: End | None
    size: int | None
    leaves: str = ""
    label: str = ""  # what is written beside it; one of the legs of a spectator's dot names them all

    @property
    def runs_above(self) -> bool:
        """Whether it takes a track of its own above its row."""
        return self.kind in ("arc", "loop") or (self.start.side == "up" and self.leaves in ("left", "right"))


@dataclass(frozen=True)
class Placed:
    """A picture's nodes in their cells, and the ways of its legs. `diamonds` are drawn on a bond."""

    nodes: Mapping[str, Node]
    cells: Mapping[str, Cell]
    routes: tuple[Route, ...]
    diamonds: frozenset[str]


def placed(picture: Picture, sides: Mapping[str, str], cells: Mapping[str, Cell] | None = None) -> Placed:
    """The picture in its cells. `sides` are those that open legs must leave on; `cells` may place nodes beforehand."""
    network, diamonds = with_diamonds(picture.network.spectators_as_copies())
    before = {node.name for node in picture.network.nodes}
    lane = [node.name for node in network.nodes if node.copy and node.name not in before]
    rest = _without(network, lane)
    own = dict(cells or {})
    if own:
        missing = [node.name for node in rest.nodes if node.name not in own]
        if missing:
            raise ValueError(f"the layout places no {', '.join(missing)}; give each a cell, or none to have it found.")
        own = {name: cell for name, cell in own.items() if name in {node.name for node in network.nodes}}
    else:
        own = auto_layout(rest, sides)
    own |= _lane_cells(network, [name for name in lane if name not in own], own)
    nodes = {node.name: node for node in network.nodes}
    label = {leg: leg for leg in network.ends}
    for node in (each for each in network.nodes if each.name in lane):
        first = next((leg for leg in node.legs if leg in network.open_legs), node.legs[0])
        label |= {leg: node.name if leg == first else "" for leg in node.legs}
    routes = tuple(replace(route, label=label[route.leg]) for route in _routes(network, own, set(lane), sides))
    return Placed(nodes, own, routes, diamonds)


def with_diamonds(network: Network) -> tuple[Network, frozenset[str]]:
    """The network with each diagonal on a three-legged copy node drawn as one node on the bond, under its name."""
    nodes, ends = {node.name: node for node in network.nodes}, network.ends
    diamonds = set()
    for node in network.nodes:
        if node.form != "diagonal" or len(node.legs) != 1:
            continue
        other = next((name for name, _ in ends[node.legs[0]] if name != node.name), None)
        if other is None or not nodes[other].copy or len(nodes[other].legs) != 3:
            continue
        legs = tuple(leg for leg in nodes[other].legs if leg != node.legs[0])
        del nodes[other]
        nodes[node.name] = Node(node.name, legs, tensor=node.tensor, form="diagonal")
        diamonds.add(node.name)
    legs = {leg for node in nodes.values() for leg in node.legs}
    sizes = {leg: n for leg, n in network.sizes.items() if leg in legs}
    return Network(tuple(nodes.values()), network.open_legs, sizes, network.spectators), frozenset(diamonds)


def _without(network: Network, names: list[str]) -> Network:
    """The network without some nodes; the legs they held are spectators, so that each may have one end."""
    nodes = tuple(node for node in network.nodes if node.name not in names)
    legs = dict.fromkeys(leg for node in nodes for leg in node.legs)
    gone = {leg for node in network.nodes if node.name in names for leg in node.legs}
    return Network(nodes, tuple(leg for leg in network.open_legs if leg in legs), {}, tuple(legs.keys() & gone))


def _lane_cells(network: Network, lane: list[str], cells: Mapping[str, Cell]) -> dict[str, Cell]:
    """Dots of spectators stand in rows of their own above all others, over the middle of what they join.

    Dots whose spans overlap take a row each, the wider one above; those of one span stand side by side.
    """
    top = min((r for _, r in cells.values()), default=0) - 1
    nodes, ends = {node.name: node for node in network.nodes}, network.ends
    spans: dict[str, tuple[float, float]] = {}
    for name in lane:
        joined = [other for leg in nodes[name].legs for other, _ in ends[leg] if other in cells]
        columns = [cells[other][0] for other in joined] or [0.0]
        spans[name] = min(columns), max(columns)
    found: dict[str, Cell] = {}
    for name in sorted(lane, key=lambda name: spans[name][1] - spans[name][0]):
        low, high = own = spans[name]
        column, row = (low + high) / 2, top
        while any(r == row and spans[other] != own and low <= spans[other][1] and spans[other][0] <= high
                  for other, (_, r) in found.items()):  # fmt: skip
            row -= 1
        while (column, row) in found.values():
            column += 0.5
        found[name] = (column, row)
    return found


def _routes(network: Network, cells: Mapping[str, Cell], lane: set[str], sides: Mapping[str, str]) -> tuple[Route, ...]:
    rows: dict[int, list[str]] = {}
    for name, (_, row) in sorted(cells.items(), key=lambda item: (item[1][1], item[1][0])):
        rows.setdefault(row, []).append(name)
    return (*_bonds(network, cells, rows), *_open_ways(network, cells, rows, lane, sides))


def _bonds(network: Network, cells: Mapping[str, Cell], rows: Mapping[int, list[str]]) -> list[Route]:
    """The routes of legs with two ends, each from the upper or left one."""
    place = {name: k for row in rows.values() for k, name in enumerate(row)}
    ends = {
        leg: sorted(own, key=lambda end: (cells[end[0]][1], cells[end[0]][0], end[1]))
        for leg, own in network.ends.items()
        if len(own) == 2
    }
    straight = {
        leg
        for leg, ((a, _), (b, _)) in ends.items()
        if a != b and cells[a][1] == cells[b][1] and abs(place[a] - place[b]) == 1
    }
    taken = {end for leg in straight for end in ((ends[leg][0][0], "right"), (ends[leg][1][0], "left"))}
    routes = []
    for leg, ((a, i), (b, k)) in ends.items():
        row = rows[cells[a][1]]
        if cells[a][1] != cells[b][1]:
            kind, first, last = "column", "down", "up"
        elif leg in straight:
            kind, first, last = "straight", "right", "left"
        elif a == row[0] and b == row[-1] and not {(a, "left"), (b, "right")} & taken:
            kind, first, last = "loop", "left", "right"
        else:
            kind, first, last = "arc", "up", "up"
        routes.append(Route(leg, kind, End(a, i, first), End(b, k, last), network.sizes.get(leg)))
    return routes


def _open_ways(
    network: Network,
    cells: Mapping[str, Cell],
    rows: Mapping[int, list[str]],
    lane: set[str],
    sides: Mapping[str, str],
) -> list[Route]:
    """The routes of legs with one end: on the side they are asked to leave on, up first where a neighbour is there."""
    ends = network.ends
    opened = set(network.open_legs) | {leg for leg, own in ends.items() if len(own) == 1}
    place_of = _places(network, cells, rows, lane)
    routes = []
    for node in network.nodes:
        own = [leg for leg in node.legs if leg in opened]
        asked = dict.fromkeys(own, "up") if node.name in lane else open_sides(own, place_of[node.name])
        row = rows[cells[node.name][1]]
        for axis, leg in enumerate(node.legs):
            if leg in opened:
                leaves = side = sides.get(leg, asked[leg])
                if (leaves == "left" and node.name != row[0]) or (leaves == "right" and node.name != row[-1]):
                    side = "up"  # a neighbour is in the way
                routes.append(Route(leg, "open", End(node.name, axis, side), None, network.sizes.get(leg), leaves))
    return routes


def _places(
    network: Network, cells: Mapping[str, Cell], rows: Mapping[int, list[str]], lane: set[str]
) -> dict[str, Place]:
    """What the place of every node means for its open legs; of those that are no dot in a lane."""
    nodes, ends, opened = {node.name: node for node in network.nodes}, network.ends, set(network.open_legs)
    main = [row for row, names in rows.items() if any(name not in lane for name in names)]
    columns = [column for name, (column, _) in cells.items() if name not in lane]
    low, high = min(columns, default=0.0), max(columns, default=0.0)
    found = {}
    for number, row in enumerate(main):
        inner = rows[row][1:-1]
        is_train = len(main) == 1 and any(leg in opened for name in inner for leg in nodes[name].legs)
        for name in (each for each in rows[row] if each not in lane):
            bonded = [cells[other][1] for leg in nodes[name].legs for other, _ in ends[leg] if other not in lane]
            found[name] = Place(
                row=number,
                n_rows=len(main),
                first=name == rows[row][0],
                last=name == rows[row][-1],
                single=len(columns) == 1,
                is_train=is_train,
                free_above=all(other >= row for other in bonded),
                free_below=all(other <= row for other in bonded),
                at_left=cells[name][0] == low,
                at_right=cells[name][0] == high,
            )
    return found
