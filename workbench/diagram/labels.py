"""Where the names of legs go: beside their wires, clear of nodes, of other wires and of each other."""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import pairwise

from workbench.diagram.scene import LABEL, Box, Mark, Path, Scene, Text, Wire, moved, sampled, shifted_mark, text_width

_CELL = 40.0  # of the grid that obstacles are looked up in
_ROUNDS = 2  # in which labels without a place are tried again
_SHARES = (0.5, 0.35, 0.65, 0.22, 0.78, 0.12, 0.88, 0.43, 0.57, 0.28, 0.72, 0.06, 0.94)


def with_labels(scene: Scene) -> Scene:
    """The scene with a text beside every wire that has a label; those that fit nowhere are in `unlabelled`."""
    taken = Obstacles()
    for mark in scene.marks:
        taken.add_all(_outline(mark))
    taken.add_all(text.box for text in scene.texts)
    samples = {id(wire): list(sampled(wire.path, 4)) for wire in scene.wires}
    for wire in scene.wires:
        half = wire.width / 2 + 0.5
        taken.add_all(
            (min(x, x1) - half, min(y, y1) - half, max(x, x1) + half, max(y, y1) + half)
            for (x, y), (x1, y1) in pairwise(samples[id(wire)])
        )
    # Free legs first: their place is at the end, and nowhere else.
    order = sorted(scene.wires, key=lambda wire: wire.ends[1] is not None)
    texts, left_out = _written(scene, order, samples, taken)
    for _ in range(_ROUNDS):  # those that found no place choose earlier, and beyond the edges
        if not left_out:
            break
        order.sort(key=lambda wire: (wire.ends[1] is not None, wire.name not in left_out))
        more = max(text_width(wire.label, LABEL) for wire in order if wire.name in left_out)
        again, still = _written(scene, order, samples, taken, more)
        if len(still) >= len(left_out):
            break
        texts, left_out = again, still
    scene = replace(scene, texts=(*scene.texts, *texts), unlabelled=tuple(left_out))
    return _with_room(scene, texts)


def _with_room(scene: Scene, texts: list[Text]) -> Scene:
    """The scene, wider where texts stand beyond its left or right edge."""
    left = max([0.0, *(2 - text.box[0] for text in texts if text.box[0] < 1)])
    right = max([scene.width, *(text.box[2] + 2 for text in texts if text.box[2] > scene.width - 1)])
    if not left:
        return replace(scene, width=right)
    return replace(
        scene,
        width=left + right,
        marks=tuple(shifted_mark(mark, left, 0) for mark in scene.marks),
        wires=tuple(replace(wire, path=moved(wire.path, left, 0)) for wire in scene.wires),
        texts=tuple(replace(text, x=text.x + left) for text in scene.texts),
    )


def _written(
    scene: Scene,
    order: Iterable[Wire],
    samples: Mapping[int, list[tuple[float, float]]],
    taken: "Obstacles",
    more: float = 0.0,
) -> tuple[list[Text], list[str]]:
    """The names of the wires, each where those before it let it stand, and the wires that have none.

    `more` is the room beyond the left and the right edge.
    """
    texts: list[Text] = []
    left_out: list[str] = []
    written = Obstacles()
    for wire in (each for each in order if each.label):
        for x, y in _candidates(wire, samples[id(wire)]):
            text = Text(x, y, wire.label, "leg", LABEL)
            box = text.box
            within = box[0] > 1 - more and box[2] < scene.width - 1 + more
            inside = within and box[1] > 1 and box[3] < scene.height - 1
            if inside and not taken.meets(box) and not written.meets(box):
                texts.append(text)
                written.add_all([box])
                break
        else:
            left_out.append(wire.name)
    return texts, left_out


def _candidates(wire: Wire, points: list[tuple[float, float]]) -> Iterator[tuple[float, float]]:
    """Centres to try: past a free end, then to either side of the wire, from its middle outwards."""
    text = Text(0, 0, wire.label, "leg", LABEL)
    left, top, right, bottom = text.box
    half_width, half_height = (right - left) / 2, (bottom - top) / 2
    gap = wire.width / 2 + 2.5
    if wire.ends[1] is None and len(points) > 1:
        (x0, y0), (x, y) = points[-2], points[-1]
        length = math.dist((x0, y0), (x, y)) or 1.0
        dx, dy = (x - x0) / length, (y - y0) / length
        far = abs(dx) * half_width + abs(dy) * half_height + 3
        yield x + dx * far, y + dy * far
    for more in (0.0, 3.0, 6.0):
        for share in _SHARES:
            k = round(share * (len(points) - 1))
            (x0, y0), (x1, y1) = points[max(0, k - 1)], points[min(len(points) - 1, k + 1)]
            x, y = points[k]
            length = math.hypot(x1 - x0, y1 - y0) or 1.0
            across, down = (y1 - y0) / length, (x0 - x1) / length  # square to the wire; first above it, or to its right
            if abs(down) > abs(across):
                across, down = (across, down) if down < 0 else (-across, -down)
            elif across < 0:
                across, down = -across, -down
            far = gap + more + abs(across) * half_width + abs(down) * half_height
            yield x + across * far, y + down * far
            yield x - across * far, y - down * far


def _outline(mark: Mark) -> Iterator[Box]:
    """What of a mark a text may not touch: all of a node, but only the walls of what holds others."""
    left, top, right, bottom = mark.box
    if not mark.is_frame:
        yield left - 1, top - 1, right + 1, bottom + 1
        return
    yield left - 2, top - 2, left + 2, bottom + 2
    yield right - 2, top - 2, right + 2, bottom + 2
    yield left - 2, top - 2, right + 2, top + 2
    yield left - 2, bottom - 2, right + 2, bottom + 2


class Obstacles:
    """Boxes, found by where they are."""

    def __init__(self) -> None:
        self._cells: dict[tuple[int, int], list[Box]] = defaultdict(list)

    def add_all(self, boxes: Iterable[Box]) -> None:
        """More boxes."""
        for box in boxes:
            for cell in self._under(box):
                self._cells[cell].append(box)

    def meets(self, box: Box) -> bool:
        """Whether the box overlaps one of them."""
        return any(overlap(box, other) for cell in self._under(box) for other in self._cells.get(cell, ()))

    @staticmethod
    def _under(box: Box) -> Iterator[tuple[int, int]]:
        for column in range(math.floor(box[0] / _CELL), math.floor(box[2] / _CELL) + 1):
            for row in range(math.floor(box[1] / _CELL), math.floor(box[3] / _CELL) + 1):
                yield column, row


def overlap(a: Box, b: Box) -> bool:
    """Whether two boxes share more than an edge."""
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def path_box(path: Path) -> Box:
    """The bounding box of a path, control points included."""
    xs = [v for piece in path for v in piece[0::2]]
    ys = [v for piece in path for v in piece[1::2]]
    return min(xs), min(ys), max(xs), max(ys)
