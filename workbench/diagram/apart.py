"""Wires kept apart: a curve that would lie on another bends earlier or later on its way."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from workbench.diagram.outlines import box_of, boxes_meet, off_segments
from workbench.diagram.scene import Box, Path, Wire, sampled

NEAR = 2.0  # between the middles of two wires that are told apart
STRETCH = 10.0  # for how long they may be nearer, as where they cross
MEETING = 18.0  # about a dot, where the wires it joins come together
STEP = 2.5
BENDS = (0.0, 0.2, -0.2, 0.35, -0.35, 0.1, -0.1)  # how much later a curve bends, as a share of its height


def kept_apart(wires: Sequence[Wire], dots: Sequence[tuple[str, float, float]]) -> tuple[Wire, ...]:
    """The wires, each bent so that it lies on none before it, where one of a few bends does that."""
    place = {name: np.array([x, y]) for name, x, y in dots}
    kept: list[tuple[Wire, np.ndarray, Box]] = []
    for wire in wires:
        best = None
        for path in _bent(wire.path):
            points = np.array(list(sampled(path, STEP)))
            box = box_of(points)
            met = [(other, line) for other, line, own in kept if boxes_meet(box, own, NEAR)]
            on_others = sum(_together(wire, points, other, line, place) for other, line in met)
            if best is None or on_others < best[0]:
                best = on_others, path, points, box
            if not on_others:
                break
        assert best is not None
        kept.append((replace(wire, path=best[1]), *best[2:]))
    return tuple(wire for wire, _, _ in kept)


def _bent(path: Path) -> Iterator[Path]:
    """The path, then others whose curves from above downward bend earlier or later."""
    yield path
    curved = [k for k in range(1, len(path)) if len(path[k]) == 6 and abs(path[k][1] - path[k - 1][-1]) > 20]
    for bend in BENDS[1:] if curved else ():
        pieces = list(path)
        for k in curved:
            (start, (x1, y1, x2, y2, x, y)) = path[k - 1][-1], path[k]
            low, high = min(start, y), max(start, y)
            moved = [min(high, max(low, value + bend * (y - start))) for value in (y1, y2)]
            pieces[k] = (x1, moved[0], x2, moved[1], x, y)
        yield tuple(pieces)


def _together(a: Wire, points: np.ndarray, b: Wire, line: np.ndarray, dots: dict[str, np.ndarray]) -> float:
    """For how many pixels a wire lies on another, where they are not at a dot that both end on."""
    for name in set(a.ends) & set(b.ends) & dots.keys():
        points = points[np.hypot(*(points - dots[name]).T) > MEETING]  # type: ignore[index]
    if not len(points):
        return 0.0
    length = STEP * float((off_segments(points, line) < NEAR).sum())
    return length if length > STRETCH else 0.0
