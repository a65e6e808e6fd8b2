"""A placed picture at coordinates: its nodes' sizes, the columns and rows they need, and the paths of its legs.

Coordinates are pixels, y downward; y = 0 is the line that the picture shares with what stands beside it.
"""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise

from workbench.diagram.apart import kept_apart
from workbench.diagram.picture import Inside, Picture
from workbench.diagram.place import Cell
from workbench.diagram.ports import Ends, ends_by_side, named_bonds, pitches_of, spread, spread_sides
from workbench.diagram.routes import Placed, placed
from workbench.diagram.scene import LABEL, Box, Mark, Text, Wire, moved, shifted_mark, text_width
from workbench.diagram.shapes import PITCH, TEXT, bar_of, shape_of
from workbench.diagram.ways import TRACK, Item, Ways
from workbench.node import Node

GAP = 40.0  # between columns
NOTHING = 4.0  # half the width of a column without nodes
CHANNEL = 46.0  # between rows
SLOPE, STEEPEST = 0.16, 50.0  # of a channel's height over how far its legs go aside
FAN = 2.8  # of a channel's height for every leg of a dot that goes down through it
STUB = 26.0  # a free leg

Exit = tuple[float, float, str]  # where an open leg ends, and on which side


@dataclass(frozen=True)
class Block:
    """A laid-out picture: what is drawn, its extent, and where each open leg ends on its edge."""

    box: Box
    marks: tuple[Mark, ...] = ()
    wires: tuple[Wire, ...] = ()
    texts: tuple[Text, ...] = ()
    exits: Mapping[str, Exit] = field(default_factory=dict)

    def at(self, dx: float, dy: float) -> "Block":
        """The same block, shifted."""
        left, top, right, bottom = self.box
        return Block(
            (left + dx, top + dy, right + dx, bottom + dy),
            tuple(shifted_mark(mark, dx, dy) for mark in self.marks),
            tuple(replace(wire, path=moved(wire.path, dx, dy)) for wire in self.wires),
            tuple(replace(text, x=text.x + dx, y=text.y + dy) for text in self.texts),
            {leg: (x + dx, y + dy, side) for leg, (x, y, side) in self.exits.items()},
        )


@dataclass(frozen=True)
class Style:
    """What nodes are called and told as: by node, its tone and hover text; and the prefix of their names."""

    tone: Mapping[str, str] = field(default_factory=dict)  # by tensor
    told: Mapping[str, str] = field(default_factory=dict)  # by tensor
    prefix: str = ""

    def inside(self, name: str) -> "Style":
        """The style of what is inside a node."""
        return replace(self, prefix=f"{self.prefix}{name}/")


def block(
    picture: Picture,
    style: Style,
    sides: Mapping[str, str] | None = None,
    cells: Mapping[str, Cell] | None = None,
    stub: float = STUB,
    widths: Mapping[float, float] | None = None,
) -> Block:
    """The picture at coordinates. `sides` are those its open legs must leave on."""
    from workbench.diagram.boxes import boxed  # bubbles and sums, which hold blocks in turn

    plan = placed(picture, {**_own_sides(picture), **(sides or {})}, cells)
    ports, spread_on = ends_by_side(plan), spread_sides(plan)
    items, opened, bonds = {}, {route.leg for route in plan.routes if route.end is None}, named_bonds(plan)
    for name, node in plan.nodes.items():
        inside = picture.inside.get(name)
        if inside is not None and inside.kind in ("bubble", "sum"):
            own = {inside.legs[axis]: side for side, ends in ports[name].items() for _, axis in ends}
            items[name] = boxed(node, inside, style, own)
        else:
            spread_here = {side for dot, side in spread_on if dot == name}
            items[name] = _plain(node, inside, style, ports[name], spread_here, pitches_of(ports[name], opened, bonds))
    return _laid(plan, items, style, stub, widths or {})


def _own_sides(picture: Picture) -> dict[str, str]:
    """Where the legs of a bubble that stands alone leave: where they would without it."""
    (node, *others) = picture.network.nodes
    inside = picture.inside.get(node.name)
    if others or inside is None or inside.kind != "bubble" or len(set(node.legs)) < len(node.legs):
        return {}
    (part,) = inside.parts
    given = _own_sides(part)
    leaves = {route.leg: route.leaves for route in placed(part, given).routes if route.end is None}
    outer = dict(zip(inside.legs, node.legs, strict=True))
    return {outer[leg]: "down" if side == "out" else side for leg, side in leaves.items() if leg in outer}


def _plain(
    node: Node, inside: Inside | None, style: Style, sides: Ends, spread_on: set[str], pitches: Mapping[str, float]
) -> Item:
    """A tensor, dot, diamond, or the bar where lines run together. On some sides of a dot its legs spread."""
    label = f"{node.tensor}*" if node.conj else node.tensor
    legs = {side: [leg for leg, _ in ends] for side, ends in sides.items()}
    if inside is None:
        shape = shape_of(node, label, legs, style.tone.get(node.tensor, "tensor"), pitches)
    else:
        shape = bar_of(legs)
        label = ""
    if (more := max(pitches["left"], pitches["right"]) / PITCH) > 1 and shape.kind != "dot":
        wider = more if shape.kind in ("square", "diamond") else 1.0
        shape = replace(shape, width=shape.width * wider, height=shape.height * more)
    ports, leads = {}, {}
    for side, ends in sides.items():
        for k, (_, axis) in enumerate(ends):
            ports[axis] = shape.port(
                side, (len(ends) - 1 - k if side == "out" else k - (len(ends) - 1) / 2) * pitches[side]
            )
            if side in spread_on:
                leads[axis] = spread(side, k, len(ends), pitches[side])
                ports[axis] = leads[axis][-1][-2:]
    far = [(0.0, 0.0), *(ports[axis] for axis in leads)]
    half_width = max(shape.width / 2, *(abs(x) for x, _ in far))
    half_height = max(shape.height / 2, *(abs(y) for _, y in far))
    title = style.told.get(node.tensor, node.tensor if not node.copy else "copy: 1 where all its indices agree")
    name, tensor = style.prefix + node.name, "" if node.copy else node.tensor

    def draw(x: float, y: float) -> Block:
        points = tuple((x + px, y + py) for px, py in shape.corners())
        mark = Mark(name, node.name, shape.kind, x, y, shape.width, shape.height, shape.tone, points, title, tensor)
        dx, dy = shape.label_shift()
        texts = () if node.copy or not label else (Text(x + dx, y + dy, label, "node", TEXT),)
        return Block(mark.box, (mark,), (), texts)

    return Item((-half_width, -half_height, half_width, half_height), ports, draw, leads)


def _laid(plan: Placed, items: Mapping[str, Item], style: Style, stub: float, widths: Mapping[float, float]) -> Block:
    rows = sorted({row for _, row in plan.cells.values()})
    centre_x = _columns(plan, items, widths)
    tracks = _tracks(plan, centre_x)
    centre_y = _row_lines(plan, items, rows, tracks, centre_x)
    at = {name: (centre_x[name], centre_y[plan.cells[name][1]]) for name in plan.nodes}
    drawn = [items[name].draw(*at[name]) for name in plan.nodes]
    boxes = {name: _shift(items[name].box, *at[name]) for name in plan.nodes}
    left = min(box[0] for box in boxes.values())
    right = max(box[2] for box in boxes.values())
    top = min(box[1] for box in boxes.values())
    bottom = max(box[3] for box in boxes.values())
    loops = [route for route in plan.routes if route.kind == "loop"]
    arcs = max((level for (_, row), level in tracks.items() if row == rows[0]), default=0)
    top -= TRACK * arcs + (8 if arcs else 0)
    margin = 8 + TRACK * len(loops) if loops else 0.0
    left, right = left - margin, right + margin
    used = {route.leaves for route in plan.routes}
    edge = (
        left - (stub if "left" in used else 0),
        top - (stub if "up" in used else 0),
        right + (stub if "right" in used else 0),
        bottom + (stub if "down" in used else 0),
    )
    ways = Ways(plan, at, items, boxes, tracks, edge)
    wires, exits = [], {}
    for number, route in enumerate(plan.routes):
        path = ways.path(number, route)
        ends = (style.prefix + route.start.node, style.prefix + route.end.node if route.end else None)
        size = "" if route.size is None else f" = {route.size}"
        wires.append(Wire(style.prefix + route.leg, route.leg, path, ends, route.size, route.leg + size, route.label))
        if route.end is None:
            exits[route.leg] = (path[-1][-2], path[-1][-1], route.leaves)
    marks = tuple(mark for each in drawn for mark in each.marks)
    wires = kept_apart(wires, marks)
    inner_wires = tuple(wire for each in drawn for wire in each.wires)
    texts = tuple(text for each in drawn for text in each.texts)
    outs = [(x, y) for x, y, side in exits.values() if side == "out"]
    edge = (edge[0], edge[1], max([edge[2], *(x for x, _ in outs)]), max([edge[3], *(y for _, y in outs)]))
    return Block(edge, marks, (*inner_wires, *wires), texts, exits)


def _columns(plan: Placed, items: Mapping[str, Item], widths: Mapping[float, float]) -> dict[str, float]:
    """The x of every node: whole columns stand side by side, nodes between them where the middle is."""
    column_of = {name: cell[0] for name, cell in plan.cells.items()}
    names_in: dict[float, list[str]] = {}
    for name, column in column_of.items():
        names_in.setdefault(column, []).append(name)
    used = {whole(column) for column in (*column_of.values(), *widths) for whole in (math.floor, math.ceil)}
    gaps, x, at, before = _gaps(plan), 0.0, {}, min(used) - 1
    for column in sorted(used):
        x += (column - before - 1) * (2 * NOTHING + GAP)  # of the columns that stand empty
        names = names_in.get(column, [])
        dots = all(plan.nodes[name].copy for name in names)
        left = max((-items[name].box[0] for name in names), default=0.0)
        right = max((items[name].box[2] for name in names), default=0.0)
        half = max(widths.get(float(column), 0.0) / 2, NOTHING if dots else 0.0)
        at[float(column)] = x + max(left, half)
        x, before = at[float(column)] + max(right, half) + (GAP if widths else gaps.get(column, GAP)), column
    found = {}
    for name, column in column_of.items():
        below, above = float(math.floor(column)), float(math.ceil(column))
        found[name] = at[below] + (column - below) * (at[above] - at[below])
    by_row: dict[int, list[str]] = {}
    for name in sorted(plan.nodes, key=lambda name: found[name]):
        by_row.setdefault(plan.cells[name][1], []).append(name)
    for names in by_row.values():  # what stands between columns gives way to its neighbours
        for before, name in pairwise(names):
            space = items[before].box[2] - items[name].box[0] + GAP / 2
            found[name] = max(found[name], found[before] + space)
    return found


def _gaps(plan: Placed) -> dict[int, float]:
    """The space after a column, where it is more than usual: enough for the names of the bonds that cross it."""
    found: dict[int, float] = {}
    for route in plan.routes:
        if route.kind == "straight" and route.end is not None:
            first, last = (plan.cells[end.node][0] for end in (route.start, route.end))
            if last <= (column := math.floor(first)) + 1:
                found[column] = max(found.get(column, GAP), text_width(route.label, LABEL) + 6)
    return found


def _tracks(plan: Placed, x: Mapping[str, float]) -> dict[tuple[int, int], int]:
    """The height, in tracks over its row, of every arc and loop by (number of the route, row): wide over narrow."""
    spans = []
    for number, route in enumerate(plan.routes):
        if route.runs_above:
            width = math.inf if route.end is None else abs(x[route.end.node] - x[route.start.node])
            spans.append((plan.cells[route.start.node][1], width, number))
    levels: dict[tuple[int, int], int] = {}
    count: dict[int, int] = {}
    for row, _, number in sorted(spans):
        count[row] = count.get(row, 0) + 1
        levels[number, row] = count[row]
    return levels


def _row_lines(
    plan: Placed,
    items: Mapping[str, Item],
    rows: list[int],
    tracks: Mapping[tuple[int, int], int],
    x: Mapping[str, float],
) -> dict[int, float]:
    """The y of every row; one that stands alone, without its dots, is at 0, and several are about it."""
    names_in: dict[int, list[str]] = {row: [] for row in rows}
    for name, (_, row) in plan.cells.items():
        names_in[row].append(name)
    only_dots = {row: all(plan.nodes[name].copy for name in names) for row, names in names_in.items()}
    height = dict.fromkeys(rows, 0)
    for (_, row), level in tracks.items():
        height[row] = max(height[row], level)
    slopes = _slopes(plan, rows, x)
    line, y = {}, 0.0
    for number, row in enumerate(rows):
        own = [items[name].box for name in names_in[row]]
        if number:
            channel = (CHANNEL if not only_dots[rows[number - 1]] else 0.8 * CHANNEL) + slopes[number]
            y += channel + TRACK * height[row] + max(-box[1] for box in own)
        line[row] = y
        y += max(box[3] for box in own)
    main = [row for row in rows if not only_dots[row]] or rows
    middle = (line[main[0]] + line[main[-1]]) / 2
    return {row: value - middle for row, value in line.items()}


def _slopes(plan: Placed, rows: list[int], x: Mapping[str, float]) -> list[float]:
    """Further height between each row and the one above, so that legs which go far aside are not flat."""
    far, number = [0.0] * len(rows), {row: k for k, row in enumerate(rows)}
    legs = Counter(r.start.node for r in plan.routes if r.kind == "column" and plan.nodes[r.start.node].copy)
    fan = [0.0] * len(rows)
    for name, n in legs.items():  # a dot has a node below it, so its row is not the last
        below = number[plan.cells[name][1]] + 1
        fan[below] = max(fan[below], FAN * n - 0.8 * CHANNEL)
    for route in plan.routes:
        if route.kind == "column" and route.end is not None:
            first, last = (number[plan.cells[end.node][1]] for end in (route.start, route.end))
            aside = abs(x[route.end.node] - x[route.start.node]) / (last - first)
            for k in range(first + 1, last + 1):
                far[k] = max(far[k], aside)
    return [max(min(STEEPEST, max(0.0, SLOPE * each - 16)), own) for each, own in zip(far, fan, strict=True)]


def _shift(box: Box, dx: float, dy: float) -> Box:
    return box[0] + dx, box[1] + dy, box[2] + dx, box[3] + dy
