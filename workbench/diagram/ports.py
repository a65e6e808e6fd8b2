"""Where on its node each leg begins: the order of the legs on a side, and how those of a dot spread."""

import math
from collections.abc import Mapping

from workbench.diagram.place import SIDES
from workbench.diagram.routes import Placed
from workbench.diagram.scene import LABEL, Path, Text, Wire, text_width
from workbench.diagram.shapes import PITCH

REACH = 12.0  # from the middle of a dot to where legs that leave it on one side run beside each other

Ends = Mapping[str, list[tuple[str, int]]]  # by side, the leg-ends (leg, axis) in the order they stand


def ends_by_side(plan: Placed) -> dict[str, Ends]:
    """Of every node, by side, its leg-ends in the order they stand: by where they go, then as declared."""
    found: dict[str, dict[str, list[tuple[float, int, str, int]]]] = {
        name: {side: [] for side in SIDES} for name in plan.nodes
    }
    for number, route in enumerate(plan.routes):
        for end, other in ((route.start, route.end), (route.end, route.start)):
            if end is None:
                continue
            towards = plan.cells[end.node if other is None else other.node][0]
            if route.kind == "arc" and other is not None and other.node == end.node:
                towards += -0.1 if end.axis == route.start.axis else 0.1
            key = towards if end.side in ("up", "down") else 0.0
            found[end.node][end.side].append((key, number, route.leg, end.axis))
    return {
        name: {side: [(leg, axis) for _, _, leg, axis in sorted(ends)] for side, ends in sides.items()}
        for name, sides in found.items()
    }


def spread_sides(plan: Placed) -> set[tuple[str, str]]:
    """The (dot, side) on which legs would run on top of each other as rays from its middle."""
    ways: dict[tuple[str, str], list[tuple[str, float]]] = {}
    for route in plan.routes:
        for end, other in ((route.start, route.end), (route.end, route.start)):
            if end is not None and plan.nodes[end.node].copy:
                towards = plan.cells[end.node if other is None else other.node][0]
                ways.setdefault((end.node, end.side), []).append((route.kind, towards))
    return {
        place
        for place, own in ways.items()
        if len(own) > 1 and (len(set(own)) < len(own) or any(kind != "column" for kind, _ in own))
    }


def named_bonds(plan: Placed) -> dict[str, float]:
    """The bonds along a row that have their names beside them, and what such a bond and its name take."""
    found = {}
    for route in plan.routes:
        if route.kind == "straight" and route.label:
            _, top, _, bottom = Text(0, 0, route.label, "leg", LABEL).box
            found[route.leg] = bottom - top + 4 + Wire(route.leg, route.leg, (), (None, None), route.size).width
    return found


def pitches_of(sides: Ends, opened: set[str], bonds: Mapping[str, float]) -> dict[str, float]:
    """By side, the distance between two legs: more where names stand between them.

    These are the names of open legs, beside each other, and of three bonds or more along a row, which `bonds` has.
    """
    found = {}
    for side, ends in sides.items():
        if side in ("up", "down", "out"):
            needed = [text_width(leg, LABEL) + 6 for leg, _ in ends if leg in opened and len(ends) > 1]
        else:
            needed = [bonds[leg] for leg, _ in ends if leg in bonds]
            needed = needed if len(needed) > 2 else []  # the names of two stand above and below them
        found[side] = max([PITCH, *needed])
    return found


def spread(side: str, number: int, count: int, pitch: float) -> Path:
    """The way from the middle of a dot to where the leg `number` of `count` on a side runs beside the others."""
    if side == "out":
        turn, reach = math.radians(10 + 70 * number / (count - 1)), REACH * max(1.0, count / 3)
        return (0.0, 0.0), (reach * math.cos(turn), reach * math.sin(turn))
    offset, sign = (number - (count - 1) / 2) * pitch, -1 if side in ("left", "up") else 1
    far = sign * max(REACH, 0.35 * (count - 1) / 2 * pitch)
    if side in ("up", "down"):
        return (0.0, 0.0), (0.6 * offset, 0.25 * far, offset, 0.45 * far, offset, far)
    return (0.0, 0.0), (0.25 * far, 0.6 * offset, 0.45 * far, offset, far, offset)
