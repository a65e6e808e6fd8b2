"""The shape of a node: how large it is for its label and legs, and where on its outline a leg begins."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from workbench.diagram.scene import text_width
from workbench.node import Node

PITCH = 16  # between two legs on one side
TEXT = 12
DOT = 9


@dataclass(frozen=True)
class Shape:
    """A node's outline about its centre. `tip` is the side that a triangle points to."""

    kind: str
    width: float
    height: float
    tone: str
    tip: str = ""

    def port(self, side: str, offset: float) -> tuple[float, float]:
        """Where a leg leaves on a side, `offset` pixels off the middle of that side, relative to the centre."""
        if self.kind == "dot":
            return 0.0, 0.0
        if side == "out":
            return self._out(offset)
        sign = -1 if side in ("left", "up") else 1
        across = side in ("left", "right")
        reach = self._reach(side, offset)
        return (sign * reach, offset) if across else (offset, sign * reach)

    def _out(self, offset: float) -> tuple[float, float]:
        """Where a leg leaves aslant: at the lower right corner, the further ones to the left of it."""
        half_width, half_height = self.width / 2, self.height / 2
        if self.kind == "disc":
            return math.sqrt(0.5) * half_width, math.sqrt(0.5) * half_height
        if self.kind == "diamond":
            return half_width / 2, half_height / 2
        if self.kind == "triangle":
            return -offset, self._reach("down", -offset)
        inset = 2.6 if self.kind == "box" else 0.3  # of a rounded corner
        return half_width - inset - offset, half_height - (0.0 if offset else inset)

    def _reach(self, side: str, offset: float) -> float:
        """How far the outline is from the centre line, `offset` off the middle of the side."""
        across = side in ("left", "right")
        far, wide = (self.width / 2, self.height / 2) if across else (self.height / 2, self.width / 2)
        if self.kind == "disc":
            return math.sqrt(max(0.0, far * far - offset * offset))
        if self.kind == "diamond":
            return far * (1 - abs(offset) / wide)
        if self.kind == "triangle":
            return self._triangle_reach(side, offset, far, wide)
        return far

    def _triangle_reach(self, side: str, offset: float, far: float, wide: float) -> float:
        opposite = {"left": "right", "right": "left", "up": "down", "down": "up"}
        if side == opposite[self.tip]:  # the base
            return far
        if side == self.tip:  # two slopes that meet in the tip
            return far - 2 * far * abs(offset) / wide
        along = offset if self.tip in ("right", "down") else -offset
        return far * (wide - along) / (2 * wide)

    def corners(self) -> tuple[tuple[float, float], ...]:
        """The corners of a triangle or diamond about its centre; none for other shapes."""
        w, h = self.width / 2, self.height / 2
        if self.kind == "diamond":
            return (-w, 0.0), (0.0, -h), (w, 0.0), (0.0, h)
        if self.kind != "triangle":
            return ()
        return {
            "right": ((-w, -h), (-w, h), (w, 0.0)),
            "left": ((w, -h), (w, h), (-w, 0.0)),
            "down": ((-w, -h), (w, -h), (0.0, h)),
            "up": ((-w, h), (w, h), (0.0, -h)),
        }[self.tip]

    def label_shift(self) -> tuple[float, float]:
        """Where the label's middle is, off the centre: away from the tip of a triangle."""
        if self.kind != "triangle":
            return 0.0, 0.0
        x, y = {"right": (-1, 0), "left": (1, 0), "down": (0, -1), "up": (0, 1)}[self.tip]
        return x * self.width * 0.14, y * self.height * 0.16


def shape_of(node: Node, label: str, sides: dict[str, list[str]], tone: str, pitches: Mapping[str, float]) -> Shape:
    """The shape of a plain node whose legs leave as `sides` says: by side, the legs in order and how far apart."""
    if node.copy:
        return Shape("dot", DOT, DOT, "dot")
    text = text_width(label, TEXT)
    n_across = max(len(sides["left"]), len(sides["right"]))
    below = len(sides["down"]) * pitches["down"] + max(0, 2 * len(sides["out"]) - 1) * pitches["out"]
    along = max(len(sides["up"]) * pitches["up"], below)
    height = max(34.0, PITCH * n_across + 6)
    width = max(34.0, text + 14, along + 6)
    if node.form == "diagonal":
        side = max(30.0, text + 18, max(PITCH * n_across, along) + 10)
        return Shape("diamond", side, side, "diagonal")
    if node.form == "isometry":
        tip = _tip_side(node, sides)
        across = tip in ("left", "right")
        wide = text + 32 if across else 1.9 * text + 20
        slopes = (1.6, 2.2) if across else (2.2, 1.6)  # room for legs along the slopes, and at the tip
        if not across:  # the base is as wide as its legs, the slopes wider
            base, tip_side = ("down", "up") if tip == "up" else ("up", "down")
            along = max(len(sides[base]) * pitches[base] / slopes[0], len(sides[tip_side]) * pitches[tip_side])
        size = max(46.0, wide, slopes[0] * along), max(40.0, slopes[1] * PITCH * n_across)
        return Shape("triangle", *size, "isometry", tip)
    if node.form == "unitary":
        side = max(width, height)
        return Shape("square", side, side, "unitary")
    if len(node.legs) < 2 and width <= 34 and height <= 34:
        return Shape("disc", 34, 34, tone)
    return Shape("box", width, height, tone)


def bar_of(sides: dict[str, list[str]]) -> Shape:
    """The bar at which lines run together or part: upright, or lying where most of them come from above or below."""
    across, along = (max(len(sides[a]), len(sides[b])) for a, b in (("left", "right"), ("up", "down")))
    long = max(20.0, PITCH * max(across, along) + 6)
    least = max(8.0, PITCH * min(across, along) - 8.0)
    return Shape("bar", *((least, long) if across >= along else (long, least)), "bar")


def _tip_side(node: Node, sides: dict[str, list[str]]) -> str:
    """The side on which most of an isometry's tip legs leave; to the right where none does."""
    counts = {side: sum(leg in node.tip for leg in legs) for side, legs in sides.items() if side != "out"}
    best = max(counts, key=lambda side: counts[side])
    return best if counts[best] else "right"
