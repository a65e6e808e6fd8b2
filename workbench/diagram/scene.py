"""Geometry fully decided: marks, wires and texts at their coordinates. A renderer makes no decision of its own."""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

# A path: its first point, then for each piece its end, or two control points and the end of a cubic Bézier curve.
Path = tuple[tuple[float, ...], ...]
Box = tuple[float, float, float, float]  # left, top, right, bottom

LABEL = 10.0  # the size of a leg's name

_LOWERED = re.compile(r"([^\s_,()]+)_([^\s,()]+)")


@dataclass(frozen=True)
class Mark:
    """A drawn node: its shape, centre and size, and what a reader is told who points at it.

    `points` are the corners of a triangle or diamond. `node` is the node's own name, under which it keeps its
    identity when the diagram is rewritten; `name` is unique in the scene. `tensor` is the value it stands for.
    """

    name: str
    node: str
    kind: str
    x: float
    y: float
    width: float
    height: float
    tone: str = "tensor"
    points: tuple[tuple[float, float], ...] = ()
    title: str = ""
    tensor: str = ""  # "" where it stands for none, as a copy node does

    @property
    def is_frame(self) -> bool:
        """Whether it stands round others, as a bubble or a sum does: it is painted first, and wires may cross it."""
        return self.kind in ("bubble", "sum")

    @property
    def radius(self) -> float:
        """Of the corners of a shape that has four, in pixels."""
        return {"box": 9.0, "bubble": 14.0, "sum": 6.0}.get(self.kind, 1.0)

    @property
    def box(self) -> Box:
        """Its bounding box."""
        return (
            self.x - self.width / 2,
            self.y - self.height / 2,
            self.x + self.width / 2,
            self.y + self.height / 2,
        )


@dataclass(frozen=True)
class Wire:
    """A drawn leg: its path, and the marks at its two ends (None where it is free). Its width grows as log χ."""

    name: str
    leg: str
    path: Path
    ends: tuple[str | None, str | None]
    size: int | None = None
    title: str = ""
    label: str = ""  # the text to place beside it, if any

    @property
    def width(self) -> float:
        """In pixels: 1.2 for a bond of one, and half a pixel more for each doubling; 1.6 where no size is known."""
        return 1.6 if self.size is None else 1.2 + 0.45 * math.log2(self.size)


@dataclass(frozen=True)
class Text:
    """A text centred on its point, `role` one of node, leg, function, glyph. In a word, what follows "_" is lowered."""

    x: float
    y: float
    content: str
    role: str = "node"
    size: float = 12

    @property
    def runs(self) -> tuple[tuple[str, bool], ...]:
        """The text in pieces, each with whether it is lowered: W_Q is W and a lowered Q."""
        pieces: list[tuple[str, bool]] = []
        done = 0
        for word in _LOWERED.finditer(self.content):
            pieces += [(self.content[done : word.start() + len(word[1])], False), (word[2], True)]
            done = word.end()
        if done < len(self.content) or not pieces:
            pieces.append((self.content[done:], False))
        return tuple(pieces)

    @property
    def width(self) -> float:
        """Its width in pixels in DejaVu Sans, a wide face: others take less."""
        return text_width(self.content, self.size)

    @property
    def box(self) -> Box:
        """Its bounding box, a lowered part included."""
        below = 0.75 if len(self.runs) > 1 else 0.6
        return (
            self.x - self.width / 2,
            self.y - 0.6 * self.size,
            self.x + self.width / 2,
            self.y + below * self.size,
        )


@dataclass(frozen=True)
class Scene:
    """A drawing: `width` × `height` pixels, with y downward, and the words that stand for it where it is not seen."""

    width: float
    height: float
    marks: tuple[Mark, ...]
    wires: tuple[Wire, ...]
    texts: tuple[Text, ...]
    title: str = ""
    description: str = ""
    unlabelled: tuple[str, ...] = field(default=())  # wires beside which no text fits


def text_width(content: str, size: float) -> float:
    """The width of a text in pixels, lowered parts at 0.75 of the size."""
    runs = Text(0, 0, content).runs
    return sum(sum(map(_advance, piece)) * size * (0.75 if low else 1) for piece, low in runs)


def _advance(letter: str) -> float:
    """The width of a letter in em, in DejaVu Sans, to the next twentieth above."""
    for width, letters in _ADVANCES.items():
        if letter in letters:
            return width
    return 0.65 if letter.isascii() else 0.8


_ADVANCES = {
    0.25: "'",
    0.3: ",.IJijl",
    0.35: "-/:;\\f| ",
    0.4: "!()[]rt",
    0.5: '*_`sz"',
    0.55: "?Lc",
    0.6: "FPTYaekovxy",
    0.7: "ABCRVXZ",
    0.75: "DGHNU",
    0.8: "&OQw",
    0.85: "#+<=>M^~",
    0.95: "%m",
    1.0: "@W",
}


def sampled(path: Path, step: float = 5) -> Iterator[tuple[float, float]]:
    """Points along the path, at most about `step` pixels apart, both ends included."""
    x, y = path[0]
    yield x, y
    for piece in path[1:]:
        end_x, end_y = piece[-2:]
        n = max(1, math.ceil(math.hypot(end_x - x, end_y - y) / step))
        for k in range(1, n + 1):
            yield point_on((x, y), piece, k / n)
        x, y = end_x, end_y


def point_on(start: tuple[float, float], piece: tuple[float, ...], t: float) -> tuple[float, float]:
    """The point at share `t` of one piece of a path that starts at `start`."""
    x, y = start
    if len(piece) == 2:
        return x + t * (piece[0] - x), y + t * (piece[1] - y)
    x1, y1, x2, y2, x3, y3 = piece
    a, b, c, d = (1 - t) ** 3, 3 * (1 - t) ** 2 * t, 3 * (1 - t) * t * t, t**3
    return a * x + b * x1 + c * x2 + d * x3, a * y + b * y1 + c * y2 + d * y3


def moved(path: Path, dx: float, dy: float) -> Path:
    """The path, shifted."""
    return tuple(tuple(v + (dy if k % 2 else dx) for k, v in enumerate(piece)) for piece in path)


def turned(path: Path) -> Path:
    """The path from its other end."""
    back: list[tuple[float, ...]] = [path[-1][-2:]]
    for before, piece in zip(path[-2::-1], path[:0:-1], strict=True):
        back.append((*piece[2:4], *piece[:2], *before[-2:]) if len(piece) > 2 else before[-2:])
    return tuple(back)


def shifted_mark(mark: Mark, dx: float, dy: float) -> Mark:
    """The mark, shifted."""
    points = tuple((x + dx, y + dy) for x, y in mark.points)
    return replace(mark, x=mark.x + dx, y=mark.y + dy, points=points)


def rounded(points: list[tuple[float, float]], radius: float = 12) -> Path:
    """A path along straight lines with its corners rounded."""
    path: list[tuple[float, ...]] = [points[0]]
    for before, corner, after in zip(points, points[1:], points[2:], strict=False):
        ends = []
        for other in (before, after):
            length = math.dist(corner, other)
            share = min(radius, length / 2) / length if length else 0.0
            ends.append((corner[0] + share * (other[0] - corner[0]), corner[1] + share * (other[1] - corner[1])))
        (ax, ay), (bx, by) = ends
        path += [(ax, ay), (ax + 0.55 * (corner[0] - ax), ay + 0.55 * (corner[1] - ay),
                            bx + 0.55 * (corner[0] - bx), by + 0.55 * (corner[1] - by), bx, by)]  # fmt: skip
    return (*path, points[-1])
