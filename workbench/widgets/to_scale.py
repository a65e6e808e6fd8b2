"""Where the tensors of every format are drawn, all in one scale: as much area as they hold numbers."""

import math
from dataclasses import dataclass

from workbench.explore.one_weight import FormatState, Sheets, WeightFrame
from workbench.widgets.colours import DROPPED, METHOD_COLOURS

PER_ROW = 4
WIDTH, ROOM = 236.0, (210.0, 140.0)  # pixels, of a format's place, and of its tensors at most
_SQUARER = 1.25  # sheets in rows are this much higher than a square of their numbers, at most
_TITLE = 22.0  # its height
GAP = 6.0  # between tensors
LINE, SIZE = 15.0, 11.0  # of the words
_APART = 4.0  # a sheet narrower than this is not told from the next by a line

Point = tuple[float, float]


@dataclass(frozen=True)
class Block:
    """One tensor: its sheets set below each other and then beside, with no space between; the last row may be short."""

    x: float
    y: float
    width: float  # of a sheet
    height: float
    n: int
    per_row: int

    @property
    def n_rows(self) -> int:
        """Rows of sheets."""
        return -(-self.n // self.per_row)

    @property
    def size(self) -> tuple[float, float]:
        """Width and height of them all."""
        return self.per_row * self.width, self.n_rows * self.height

    @property
    def outline(self) -> list[Point]:
        """The corners, clockwise from the upper left; its area is that of all sheets."""
        (width, height), in_last = self.size, self.n - (self.n_rows - 1) * self.per_row
        right, bottom = self.x + width, self.y + height
        if in_last == self.per_row:
            return [(self.x, self.y), (right, self.y), (right, bottom), (self.x, bottom)]
        inner, ledge = self.x + in_last * self.width, bottom - self.height
        return [
            (self.x, self.y), (right, self.y), (right, ledge), (inner, ledge), (inner, bottom), (self.x, bottom)
        ]  # fmt: skip

    @property
    def seams(self) -> list[tuple[Point, Point]]:
        """Lines between sheets; none where they are too small to be told apart."""
        if min(self.width, self.height) < _APART:
            return []
        width, _ = self.size
        last = self.n - (self.n_rows - 1) * self.per_row
        across = [self.y + k * self.height for k in range(1, self.n_rows)]
        found = [((self.x, y), (self.x + width, y)) for y in across]
        for k in range(1, self.per_row):
            bottom = self.y + (self.n_rows if k < last else self.n_rows - 1) * self.height
            found.append(((self.x + k * self.width, self.y), (self.x + k * self.width, bottom)))
        return found


@dataclass(frozen=True)
class Shown:
    """One format in its place: its tensors in the colour of its method, and words, each where its line begins."""

    title: tuple[float, float, str]
    words: tuple[tuple[float, float, str], ...]
    colour: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class ScaleDrawing:
    """The whole matrix and every format of it, placed."""

    width: float
    height: float
    shown: tuple[Shown, ...]


def drawn_to_scale(frame: WeightFrame) -> ScaleDrawing:
    """The whole matrix and every format of it, in rows of four; one scale for all, which no cut changes."""
    out, n_in = frame.shape
    # A pair is at most as wide as the matrix and its smaller side, a matrix as high as its outputs.
    scale = min(ROOM[1] / out, (ROOM[0] - GAP) / (n_in + min(out, n_in)))
    dense = out * n_in
    room = scale * max(out, _SQUARER * math.sqrt(dense))
    height = _TITLE + room + 4 * LINE
    whole = (f"{out} × {n_in}", f"{dense:,} numbers", f"{dense:,} multiply-adds")
    made = [_placed((0, 0, room), "the whole matrix", whole, DROPPED, (Sheets(1, out, n_in),), scale)]
    for number, own in enumerate(frame.formats, 1):
        place = (number % PER_ROW * WIDTH, number // PER_ROW * height, room)
        made.append(
            _placed(place, own.name, _words(own, dense), METHOD_COLOURS[own.method], own.sheets, scale)
        )  # fmt: skip
    return ScaleDrawing(PER_ROW * WIDTH, -(-len(made) // PER_ROW) * height, tuple(made))


def _words(own: FormatState, dense: int) -> tuple[str, ...]:
    cost, best = own.multiply_adds / dense, own.fewest / dense
    return (
        f"bond {own.bond}",
        f"{own.n_params:,} numbers, {own.n_params / dense:.1%}",
        f"{cost:.2f} × multiply-adds" + (f", {best:.2f} at best" if best < cost else ""),
    )


def _placed(
    place: tuple[float, float, float], title: str, lines: tuple[str, ...], colour: str, tensors: tuple[Sheets, ...],
    scale: float,
) -> Shown:  # fmt: skip
    x, y, room = place[0] + 8, place[1] + _TITLE, place[2]
    blocks, at = [], x
    for tensor in tensors:
        if 0 in (tensor.n, tensor.rows, tensor.columns):  # of a gauge-fixed pair of full rank nothing but rows is left
            continue
        width, height = tensor.columns * scale, tensor.rows * scale
        nearly_square = max(1, round(math.sqrt(tensor.n * height / width)))
        block = Block(at, y, width, height, tensor.n, min(tensor.n, nearly_square))
        blocks.append(block)
        at += block.size[0] + GAP
    words = tuple([(x, y + room + LINE * number, line) for number, line in enumerate(lines, 1)])
    return Shown((x, y - 8, title), words, colour, tuple(blocks))
