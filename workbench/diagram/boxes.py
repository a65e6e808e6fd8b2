"""Nodes that hold pictures: a bubble round one, and several joined by +."""

from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise

from workbench.diagram.block import Block, Style, block
from workbench.diagram.picture import Inside
from workbench.diagram.scene import Mark, Path, Text, Wire, rounded, text_width
from workbench.diagram.shapes import PITCH
from workbench.diagram.ways import TRACK, Item, across
from workbench.network import Node

PAD = 14.0
HEADER = 18.0  # for the name of a bubble's function
FAN = 26.0  # where the legs of a sum's terms come together
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
            wire = replace(wire, path=_lengthened(wire.path, end), ends=(wire.ends[0], name), label="")
            exits[wire.leg] = (*end, side)
        wires.append(wire)
    for leg in inside.legs:  # a leg that the function makes
        if leg not in exits:
            side = sides[leg]
            exits[leg] = (*_wall((left + right) / 2, 0.0, side, (left, top, right, bottom)), side)
    mark = _frame(name, node.name, "bubble", (left, top, right, bottom), inside.label)
    label = Text(_clear_x(inside.label, left, right, exits), top + 10, inside.label, "function", 11)
    return Block((left, top, right, bottom), (mark, *body.marks), tuple(wires), (label, *body.texts), exits)


def _sum(node: Node, inside: Inside, style: Style, sides: Mapping[str, str]) -> Block:
    """Terms one below the other; the legs of all terms that are the same leg of the sum come together."""
    name = style.prefix + node.name
    turned = {leg: side if side == "right" else "left" for leg, side in sides.items()}
    bodies, y = [], 0.0
    for number, part in enumerate(inside.parts):
        asked = {leg: turned[leg] for leg in part.network.open_legs}
        body = block(part, style.inside(f"{node.name}.{number}"), asked, stub=PAD)
        y += PLUS - body.box[1] if number else 0.0  # the first one's line is the sum's
        bodies.append(body.at(-(body.box[0] + body.box[2]) / 2, y))
        y += body.box[3]
    inner_left, inner_right = min(b.box[0] for b in bodies), max(b.box[2] for b in bodies)
    top, bottom = bodies[0].box[1] - PAD / 2, bodies[-1].box[3] + PAD / 2
    vertical = [leg for leg in inside.legs if sides[leg] in ("up", "down")]
    left = inner_left - FAN - TRACK * len(vertical)
    right = inner_right + FAN
    exits = {}
    for side in ("left", "right"):
        own = [leg for leg in inside.legs if sides[leg] == side]
        for k, leg in enumerate(own):
            exits[leg] = (left if side == "left" else right, (k - (len(own) - 1) / 2) * PITCH, side)
    for k, leg in enumerate(vertical):
        exits[leg] = (left + TRACK * (k + 0.6), top if sides[leg] == "up" else bottom, sides[leg])
    wires = [wire for body in bodies for wire in _gathered(body, name, exits)]
    texts = [
        Text((inner_left + inner_right) / 2, (a.box[3] + b.box[1]) / 2, "+", "glyph", 16) for a, b in pairwise(bodies)
    ]
    mark = _frame(name, node.name, "sum", (left, top, right, bottom), "sum")
    marks = tuple(mark for body in bodies for mark in body.marks)
    return Block(
        (left, top, right, bottom),
        (mark, *marks),
        tuple(wires),
        (*texts, *(text for body in bodies for text in body.texts)),
        exits,
    )


def _gathered(body: Block, name: str, exits: Mapping[str, tuple[float, float, str]]) -> list[Wire]:
    """A term's wires, its free ends led to where the sum's legs leave."""
    wires = []
    for wire in body.wires:
        if wire.ends[1] is None:
            x, y, side = exits[wire.leg]
            tail = wire.path[-1][-2:]
            if side in ("left", "right"):
                more = across((tail[0], tail[1]), (x, y))
                path: Path = (*wire.path, *more[1:])
            else:
                corner = rounded([(tail[0], tail[1]), (x, tail[1]), (x, y)])
                path = (*wire.path, *corner[1:])
            wire = replace(wire, path=path, ends=(wire.ends[0], name), label="")
        wires.append(wire)
    return wires


def _clear_x(label: str, left: float, right: float, exits: Mapping[str, tuple[float, float, str]]) -> float:
    """The middle of a label under the bubble's upper wall, beside the legs that leave there."""
    half = text_width(label, 11) / 2 + 4
    legs = [x for x, _, side in exits.values() if side == "up"]
    places = [(left + right) / 2, left + half + 6, right - half - 6]
    return next((x for x in places if all(abs(x - leg) > half for leg in legs)), places[1])


def _frame(name: str, node: str, kind: str, box: tuple[float, float, float, float], title: str) -> Mark:
    left, top, right, bottom = box
    return Mark(name, node, kind, (left + right) / 2, (top + bottom) / 2, right - left, bottom - top, kind, title=title)


def _wall(x: float, y: float, side: str, box: tuple[float, float, float, float]) -> tuple[float, float]:
    left, top, right, bottom = box
    return {"left": (left, y), "right": (right, y), "up": (x, top), "down": (x, bottom)}[side]


def _lengthened(path: Path, end: tuple[float, float]) -> Path:
    return path if path[-1][-2:] == end else (*path, end)
