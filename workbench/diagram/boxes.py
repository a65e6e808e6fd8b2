"""Nodes that hold pictures: a bubble round one, and several joined by +."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

from workbench.diagram.block import Block, Exit, Style, block
from workbench.diagram.picture import Inside
from workbench.diagram.scene import Box, Mark, Path, Text, Wire, rounded, text_width
from workbench.diagram.shapes import PITCH
from workbench.diagram.ways import Item
from workbench.node import Node

PAD = 14.0
HEADER = 21.0  # for the name of a bubble's function
RAIL = 11.0  # between the lines along which the legs of a sum's terms come together
PLUS = 26.0  # between two terms


def boxed(node: Node, inside: Inside, style: Style, sides: Mapping[str, str]) -> Item:
    """The node as a bubble or a sum, its legs on the sides given by their names inside."""
    body = _bubble(node, inside, style, sides) if inside.kind == "bubble" else _sum(node, inside, style, sides)
    ports = {axis: body.exits[leg][:2] for axis, leg in enumerate(inside.legs)}
    return Item(body.box, ports, body.at)


def _bubble(node: Node, inside: Inside, style: Style, sides: Mapping[str, str]) -> Block:
    (part,) = inside.parts
    name = style.prefix + node.name
    asked = {leg: sides.get(leg, "down") for leg in part.network.open_legs}
    body = block(part, style.inside(node.name), asked, stub=PAD)
    left, top, right, bottom = body.box
    leaving = {side for _, _, side in body.exits.values()}
    left -= 0 if "left" in leaving else PAD
    right += 0 if "right" in leaving else PAD
    bottom += 0 if "down" in leaving else PAD
    top -= HEADER
    spare = text_width(inside.label, 11) + 2 * PAD - (right - left)
    left, right = left - max(0.0, spare / 2), right + max(0.0, spare / 2)
    wires, exits = [], {}
    for wire in body.wires:
        if wire.ends[1] is None:  # free ends reach the bubble
            x, y, side = body.exits[wire.leg]
            end = _wall(x, y, side, (left, top, right, bottom))
            wire = replace(wire, ends=(wire.ends[0], name), label="")
            exits[wire.leg] = (*end, side)
        wires.append(wire)
    made = [leg for leg in inside.legs if leg not in exits]
    for leg in made:
        exits[leg] = _made(sides[leg], exits, (left, top, right, bottom))
    for x, y, side in [exits[leg] for leg in made]:  # room for them
        if side in ("left", "right"):
            top, bottom = min(top, y - PAD), max(bottom, y + PAD)
        else:
            left, right = min(left, x - PAD), max(right, x + PAD)
    left = _label_room(inside.label, left, right, exits)
    exits = {leg: (*_wall(x, y, side, (left, top, right, bottom)), side) for leg, (x, y, side) in exits.items()}
    wires = [replace(w, path=_lengthened(w.path, exits[w.leg][:2])) if w.ends[1] == name else w for w in wires]
    mark = _frame(name, node, "bubble", (left, top, right, bottom), inside.label)
    label = Text(_clear_x(inside.label, left, right, exits), top + 10, inside.label, "function", 11)
    return Block((left, top, right, bottom), (mark, *body.marks), tuple(wires), (label, *body.texts), exits)


def _made(side: str, exits: Mapping[str, Exit], box: Box) -> Exit:
    """Where a leg that a function makes leaves its bubble: as near the middle of a side as others let it."""
    left, _, right, _ = box
    across = side in ("left", "right")
    taken = [(y if across else x) for x, y, other in exits.values() if other == side]
    spot = _spot(0.0 if across else (left + right) / 2, taken)
    return (*_wall(spot, spot, side, box), side)


def _spot(middle: float, taken: Sequence[float]) -> float:
    """The place nearest to the middle, whole pitches off it, at which no other leg is."""
    places = (middle + sign * k * PITCH for k in range(2 * len(taken) + 2) for sign in (1, -1))
    return next(place for place in places if all(abs(place - other) > PITCH - 4 for other in taken))


def _sum(node: Node, inside: Inside, style: Style, sides: Mapping[str, str]) -> Block:
    """Terms one below the other; the legs of all terms that are the same leg of the sum come together."""
    name = style.prefix + node.name
    turned = {leg: "right" if side == "right" else "left" for leg, side in sides.items()}
    bodies, y = [], 0.0
    for number, part in enumerate(inside.parts):
        asked = {leg: turned[leg] for leg in part.network.open_legs}
        body = block(part, style.inside(f"{node.name}.{number}"), asked, stub=PAD)
        y += PLUS - body.box[1] if number else 0.0  # the first one's line is the sum's
        bodies.append(body.at(-(body.box[0] + body.box[2]) / 2, y))
        y += body.box[3]
    edges = min(b.box[0] for b in bodies), max(b.box[2] for b in bodies)
    middle = (edges[0] + edges[1]) / 2
    marks = tuple(mark for body in bodies for mark in body.marks)
    pluses = [Text(middle, (a.box[3] + b.box[1]) / 2, "+", "glyph", 16) for a, b in pairwise(bodies)]
    texts = (*pluses, *(text for body in bodies for text in body.texts))
    box, rails, exits = _rails(inside.legs, sides, turned, bodies, edges)
    wires = tuple(wire for body in bodies for wire in _gathered(body, name, exits, rails))
    return Block(box, (_frame(name, node, "sum", box, "sum"), *marks), wires, texts, exits)


def _rails(
    legs: Sequence[str],
    sides: Mapping[str, str],
    turned: Mapping[str, str],
    bodies: Sequence[Block],
    edges: tuple[float, float],
) -> tuple[Box, dict[str, float], dict[str, Exit]]:
    """The sum's wall, the x at which the terms' legs come together, by leg, and where each leaves."""
    left = edges[0] - PAD / 2 - RAIL * sum(side == "left" for side in turned.values())
    right = edges[1] + PAD / 2 + RAIL * sum(side == "right" for side in turned.values())
    rails: dict[str, float] = {}
    exits: dict[str, Exit] = {}
    taken: dict[str, list[float]] = {"left": [], "right": []}
    for leg in sorted(legs, key=lambda leg: leg not in bodies[0].exits):  # those of the first term lie on its line
        side = turned[leg]
        sign, edge = (-1, edges[0]) if side == "left" else (1, edges[1])
        rails[leg] = edge + sign * RAIL * (0.7 + sum(turned[other] == side for other in rails))
        if sides[leg] == side:
            y = bodies[0].exits[leg][1] if leg in bodies[0].exits else _spot(0.0, taken[side])
            taken[side].append(y)
            exits[leg] = (left if side == "left" else right, y, side)
    reach = [y for _, y, _ in exits.values()] or [0.0]
    top = min(bodies[0].box[1] - PAD / 2, min(reach) - PAD / 2)
    bottom = max(bodies[-1].box[3] + PAD / 2, max(reach) + PAD / 2)
    exits |= {leg: (rails[leg], top if sides[leg] == "up" else bottom, sides[leg]) for leg in legs if leg not in exits}
    return (left, top, right, bottom), rails, exits


def _gathered(body: Block, name: str, exits: Mapping[str, Exit], rails: Mapping[str, float]) -> list[Wire]:
    """A term's wires, its free ends led along a rail to where the sum's legs leave."""
    wires = []
    for wire in body.wires:
        if wire.ends[1] is None:
            (end_x, end_y, side), (x, y) = exits[wire.leg], wire.path[-1][-2:]
            more = [(x, y), (rails[wire.leg], y), (rails[wire.leg], end_y), (end_x, end_y)]
            if side not in ("left", "right"):
                more = more[:3]
            elif abs(y - end_y) < 0.5:
                more = [more[0], more[3]]
            wire = replace(wire, path=(*wire.path, *rounded(more, 9)[1:]), ends=(wire.ends[0], name), label="")
        wires.append(wire)
    return wires


def _clear_x(label: str, left: float, right: float, exits: Mapping[str, Exit]) -> float:
    """The middle of a label under the bubble's upper wall, beside the legs that leave there."""
    half = text_width(label, 11) / 2 + 4
    legs = [x for x, _, side in exits.values() if side == "up"]
    places = [(left + right) / 2, left + half + 6, right - half - 6]
    return next((x for x in places if all(abs(x - leg) > half for leg in legs)), places[1])


def _label_room(label: str, left: float, right: float, exits: Mapping[str, Exit]) -> float:
    """The left wall, moved so far that the label has a place clear of the legs that leave above."""
    half = text_width(label, 11) / 2 + 4
    legs = [x for x, _, side in exits.values() if side == "up"]
    x = _clear_x(label, left, right, exits)
    return left if all(abs(x - leg) > half for leg in legs) else min(left, min(legs) - 2 * half - 7)


def _frame(name: str, node: Node, kind: str, box: tuple[float, float, float, float], title: str) -> Mark:
    left, top, right, bottom = box
    centre, size = ((left + right) / 2, (top + bottom) / 2), (right - left, bottom - top)
    return Mark(name, node.name, kind, *centre, *size, kind, title=title, tensor=node.tensor)


def _wall(x: float, y: float, side: str, box: tuple[float, float, float, float]) -> tuple[float, float]:
    left, top, right, bottom = box
    return {"left": (left, y), "right": (right, y), "up": (x, top), "down": (x, bottom)}[side]


def _lengthened(path: Path, end: tuple[float, float]) -> Path:
    return path if path[-1][-2:] == end else (*path, end)
