"""Wires kept apart: a curve that would lie on another bends earlier or later on its way, and under no node."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from workbench.diagram.outlines import Lines, box_of, inside, meeting, points_on
from workbench.diagram.scene import Mark, Path, Wire

NEAR = 2.0  # between the middles of two wires that are told apart
STRETCH = 10.0  # for how long they may be nearer, as where they cross
MEETING = 18.0  # about a dot, where the wires it joins come together
STEP = 2.5
BENDS = (0.0, 0.2, -0.2, 0.35, -0.35, 0.1, -0.1)  # how much later a curve bends, as a share of its height


def kept_apart(wires: Sequence[Wire], marks: Sequence[Mark]) -> tuple[Wire, ...]:
    """The wires, each bent so that it lies on none before it, where one of a few bends does that."""
    place = {mark.name: np.array([mark.x, mark.y]) for mark in marks if mark.kind == "dot"}
    nodes = [mark for mark in marks if not mark.is_frame]
    kept, lines = list[Wire](), Lines(NEAR)
    for wire in wires:
        best = None
        for path in _bent(wire.path):
            points = points_on(path, STEP)
            if path is not wire.path and _under_a_node(wire, points, nodes):
                continue
            on_others = sum(_together(wire, kept[k], points[own], place) for k, own in lines.met(points).items())
            if best is None or on_others < best[0]:
                best = on_others, path, points
            if not on_others:
                break
        assert best is not None
        kept.append(replace(wire, path=best[1]))
        lines.add(best[2])
    return tuple(kept)


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


def _under_a_node(wire: Wire, points: np.ndarray, nodes: Sequence[Mark]) -> bool:
    """Whether a path leads under a node that it does not end on, or close by it."""
    near = [nodes[k] for _, k in meeting([box_of(points)], [mark.box for mark in nodes], 2 * NEAR)]
    return any(mark.name not in wire.ends and inside(mark, points, NEAR).any() for mark in near)


def _together(a: Wire, b: Wire, points: np.ndarray, dots: dict[str, np.ndarray]) -> float:
    """For how many pixels a wire lies on another, at its points there, where they are not at a dot that both end on."""
    for name in set(a.ends) & set(b.ends) & dots.keys():
        points = points[np.hypot(*(points - dots[name]).T) > MEETING]  # type: ignore[index]
    return length if (length := STEP * len(points)) > STRETCH else 0.0
