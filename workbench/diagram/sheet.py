"""Blocks on a page: one line for each value of a program, the terms of a sum joined by +, two sides by = or ≈."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from workbench.diagram.block import Block, Style, block
from workbench.diagram.labels import path_box, with_labels
from workbench.diagram.picture import Picture
from workbench.diagram.place import Layout
from workbench.diagram.scene import Box, Scene, Text, text_width

MARGIN = 14.0
SPACE = 12.0  # between a block and the sign beside it
LINE = 18.0  # between two lines
WIDEST = 1180.0  # a line longer than this is continued on the next


@dataclass(frozen=True)
class Line:
    """Blocks from left to right with a sign before each: "", "+", "=", "≈" or a value's name and "="."""

    signs: tuple[str, ...]
    blocks: tuple[Block, ...]


def picture_lines(
    pictures: Mapping[str, Picture], style: Style, layout: Layout, named: bool, widths: Mapping[float, float]
) -> list[Line]:
    """One line for each picture, its name before it if there are several; a sum's terms stand beside each other."""
    lines = []
    for name, picture in pictures.items():
        sign = f"{name} =" if named else ""
        (node, *others) = picture.network.nodes
        inside = None if others else picture.inside.get(node.name)
        own = Style(style.tone, style.told, f"{style.prefix}{name}/" if named else style.prefix)
        if inside is not None and inside.kind == "sum":
            parts = [
                block(part, Style(own.tone, own.told, f"{own.prefix}{node.name}.{number}/"), layout.sides)
                for number, part in enumerate(inside.parts)
            ]
            lines.append(Line((sign, *["+"] * (len(parts) - 1)), tuple(parts)))
        else:
            cells = layout.cells if set(layout.cells) >= {n.name for n in picture.network.nodes} else None
            drawn = block(
                picture, own, layout.sides, cells if cells or len(pictures) > 1 else layout.cells, widths=widths
            )
            lines.append(Line((sign,), (drawn,)))
    return lines


def sheet(lines: Sequence[Line], title: str, description: str) -> Scene:
    """The lines one below the other, long ones continued, with every leg labelled where there is room."""
    marks, wires, texts = [], [], []
    y, right = MARGIN, 0.0
    for line in (part for whole in lines for part in _broken(whole)):
        boxes = [_reach(each) for each in line.blocks]
        up, down = max(-box[1] for box in boxes), max(box[3] for box in boxes)
        x = MARGIN
        for sign, each, box in zip(line.signs, line.blocks, boxes, strict=True):
            if sign:
                size = 18 if len(sign) == 1 else 13
                width = text_width(sign, size)
                texts.append(Text(x + width / 2, y + up, sign, "glyph", size))
                x += width + SPACE
            placed = each.at(x - box[0], y + up)
            marks += placed.marks
            wires += placed.wires
            texts += placed.texts
            x += box[2] - box[0] + SPACE
        right = max(right, x - SPACE)
        y += up + down + LINE
    scene = Scene(right + MARGIN, y - LINE + MARGIN, tuple(marks), tuple(wires), tuple(texts), title, description)
    return with_labels(scene)


def _reach(each: Block) -> Box:
    """All that a block covers, and room for the names of its free legs."""
    left, top, right, bottom = each.box
    boxes = [path_box(wire.path) for wire in each.wires]
    left, top = min([left, *(b[0] for b in boxes)]), min([top, *(b[1] for b in boxes)])
    right, bottom = max([right, *(b[2] for b in boxes)]), max([bottom, *(b[3] for b in boxes)])
    for leg, (_, _, side) in each.exits.items():
        width = text_width(leg, 10) + 8
        left = min(left, each.box[0] - width) if side == "left" else left
        right = max(right, each.box[2] + width) if side in ("right", "out") else right
        top = min(top, each.box[1] - 18) if side == "up" else top
        bottom = max(bottom, each.box[3] + 18) if side in ("down", "out") else bottom
    return left, top, right, bottom


def _broken(line: Line) -> list[Line]:
    """The line in pieces no wider than a page, where it has more than one block."""
    pieces: list[tuple[list[str], list[Block]]] = [([], [])]
    width = 0.0
    for sign, each in zip(line.signs, line.blocks, strict=True):
        box = _reach(each)
        own = box[2] - box[0] + text_width(sign, 16) + 2 * SPACE
        if pieces[-1][1] and width + own > WIDEST:
            pieces.append(([], []))
            width = 0.0
        pieces[-1][0].append(sign)
        pieces[-1][1].append(each)
        width += own
    return [Line(tuple(signs), tuple(blocks)) for signs, blocks in pieces]
