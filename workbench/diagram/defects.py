"""What is wrong with a drawing, read from its geometry alone: the marks, wires and texts of any `Scene`."""

import math
from collections.abc import Iterator
from itertools import combinations

import numpy as np

from workbench.diagram.outlines import Lines, box_of, holds, inside, meeting, outline, points_on, polygons_overlap
from workbench.diagram.scene import Box, Mark, Scene, Text

STEP = 2.0  # pixels between two points at which a wire is looked at
SPOT = 6.0  # free ends nearer than this are taken for one
STRETCH = 12.0  # wires on top of each other for longer than this are taken for one
MEETING = 18.0  # about a dot, where the wires it joins come together
BESIDE = 16.0  # a label farther from its wire than this is beside another


def defects(scene: Scene) -> tuple[str, ...]:
    """One sentence for each fault that may mislead a reader; none for a drawing that says what it means.

    Faults are labels over nodes, walls, other labels or other wires; wires that run under a node, cross the wall of
    a frame they have no end in, or run on top of each other; free ends on one spot; marks that overlap; what the
    edge clips; and wires whose label is missing.
    """
    seen = _Seen(scene)
    found = [
        *_overlapping_marks(scene),
        *_wires_under_nodes(seen),
        *_crossed_walls(seen),
        *_wires_on_wires(seen),
        *_free_ends(seen),
        *_hidden_texts(seen),
        *_clipped(seen),
        *_without_label(seen),
    ]
    return tuple(found)


class _Seen:
    """A scene with its wires as points, and the wire that each leg's label is nearest to."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.points = [points_on(wire.path, STEP) for wire in scene.wires]
        self.boxes = [box_of(points) for points in self.points]
        self.nodes = [mark for mark in scene.marks if not mark.is_frame]
        self.frames = [mark for mark in scene.marks if mark.is_frame]
        self.label_of = self._labels()

    def _labels(self) -> dict[int, int]:
        """By number of a wire, that of the text beside it: the nearest pairs first, each text for one wire."""
        texts, wires = self.scene.texts, self.scene.wires
        near = []
        for k, i in meeting([text.box for text in texts], self.boxes, BESIDE):
            if texts[k].role == "leg" and texts[k].content == wires[i].label:
                near.append((float(_gaps(self.points[i], texts[k].box).min()), i, k))
        found: dict[int, int] = {}
        for gap, i, k in sorted(near):
            if gap <= BESIDE and i not in found and k not in found.values():
                found[i] = k
        return found


def _overlapping_marks(scene: Scene) -> Iterator[str]:
    boxes = [mark.box for mark in scene.marks]
    for a, b in ((scene.marks[i], scene.marks[k]) for i, k in meeting(boxes, boxes) if i < k):
        if any(frame.is_frame and holds(frame.box, other.box) for frame, other in ((a, b), (b, a))):
            continue
        if polygons_overlap(outline(a), outline(b)):
            yield f"{_named(a)} overlaps {_named(b)}."


def _wires_under_nodes(seen: _Seen) -> Iterator[str]:
    for i, k in meeting(seen.boxes, [mark.box for mark in seen.nodes]):
        wire, mark = seen.scene.wires[i], seen.nodes[k]
        if mark.name not in wire.ends and inside(mark, seen.points[i], wire.width / 2).any():
            yield f"wire {wire.name!r} runs under {_named(mark)}, where it does not end."


def _crossed_walls(seen: _Seen) -> Iterator[str]:
    for i, k in meeting(seen.boxes, [frame.box for frame in seen.frames]):
        wire, frame, points = seen.scene.wires[i], seen.frames[k], seen.points[i]
        ends = inside(frame, points[[0, -1]], 1.0)
        if not ends.any() and inside(frame, points, -1.0).any():  # a point on the wall is neither in nor out
            yield f"wire {wire.name!r} crosses the wall of {_named(frame)}, in which it has no end."
        elif ends.all() and frame.name not in wire.ends and not inside(frame, points, 1.0).all():
            yield f"wire {wire.name!r} leaves {_named(frame)}, in which it has both ends."


def _wires_on_wires(seen: _Seen) -> Iterator[str]:
    dots = {mark.name: mark for mark in seen.nodes if mark.kind == "dot"}
    lines, found = Lines(1.5), []
    wires = seen.scene.wires
    for i in reversed(range(len(wires))):  # so that a wire's points are looked at beside those after it
        for number, own in lines.met(seen.points[i]).items():
            k, points = len(wires) - 1 - number, seen.points[i][own]
            shared = {end for end in wires[i].ends if end in wires[k].ends and end is not None}
            if wires[i].leg == wires[k].leg and shared:
                continue  # terms' legs that come together at a sum are one leg
            for dot in (dots[name] for name in shared if name in dots):
                points = points[np.hypot(points[:, 0] - dot.x, points[:, 1] - dot.y) > MEETING]
            if STEP * len(points) > STRETCH:
                found.append((i, k))
        lines.add(seen.points[i])
    for i, k in sorted(found):
        yield f"wires {wires[i].name!r} and {wires[k].name!r} run on top of each other."


def _free_ends(seen: _Seen) -> Iterator[str]:
    ends = []
    for wire, points in zip(seen.scene.wires, seen.points, strict=True):
        ends += [(wire.name, points[side]) for side, end in ((0, wire.ends[0]), (-1, wire.ends[1])) if end is None]
    for (a, first), (b, second) in combinations(ends, 2):
        if math.dist(first, second) < SPOT:
            yield f"the free ends of wires {a!r} and {b!r} are on one spot."


def _hidden_texts(seen: _Seen) -> Iterator[str]:
    texts = seen.scene.texts
    boxes = [text.box for text in texts]
    for i, k in meeting(boxes, boxes, -0.5):
        if i < k:
            yield f"{_told(texts[i])} is over {_told(texts[k])}."
    for k, frame in ((k, seen.frames[f]) for k, f in meeting(boxes, [frame.box for frame in seen.frames], -0.5)):
        if not holds(frame.box, boxes[k]):
            yield f"{_told(texts[k])} is over the wall of {_named(frame)}."
    own_mark: dict[int, Mark] = {}  # a node's name stands on its node, and on no other
    for k, mark in ((k, seen.nodes[m]) for k, m in meeting(boxes, [mark.box for mark in seen.nodes], -0.5)):
        if texts[k].role == "node" and inside(mark, np.array([[texts[k].x, texts[k].y]]), 0.0).any():
            own_mark.setdefault(k, mark)
        if own_mark.get(k) is not mark:
            yield f"{_told(texts[k])} is over {_named(mark)}."
    for k, i in meeting(boxes, seen.boxes, 5.0):
        wire, points = seen.scene.wires[i], seen.points[i]
        if seen.label_of.get(i) == k:
            continue
        if k in own_mark:
            points = points[~inside(own_mark[k], points, 0.0)]
        if len(points) and _gaps(points, boxes[k]).min() < wire.width / 2 - 0.5:
            yield f"{_told(texts[k])} is on wire {wire.name!r}, which is not its own."


def _clipped(seen: _Seen) -> Iterator[str]:
    edge = (0.0, 0.0, seen.scene.width, seen.scene.height)
    for mark in seen.scene.marks:
        if not holds(edge, mark.box):
            yield f"{_named(mark)} is clipped by the edge."
    for text in seen.scene.texts:
        if not holds(edge, text.box):
            yield f"{_told(text)} is clipped by the edge."
    for wire, box in zip(seen.scene.wires, seen.boxes, strict=True):
        if not holds(edge, box):
            yield f"wire {wire.name!r} is clipped by the edge."


def _without_label(seen: _Seen) -> Iterator[str]:
    for number, wire in enumerate(seen.scene.wires):
        if wire.label and number not in seen.label_of:
            yield f"wire {wire.name!r} has no label."


def _gaps(points: np.ndarray, box: Box) -> np.ndarray:
    """How far each point is from a box; 0 inside."""
    dx = np.maximum(np.maximum(box[0] - points[:, 0], points[:, 0] - box[2]), 0)
    dy = np.maximum(np.maximum(box[1] - points[:, 1], points[:, 1] - box[3]), 0)
    return np.hypot(dx, dy)


def _named(mark: Mark) -> str:
    return f"{mark.kind} {mark.name!r}"


def _told(text: Text) -> str:
    return f"the {text.role} text {text.content!r}"
