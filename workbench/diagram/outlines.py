"""Outlines of marks as polygons, and what is inside, outside or near them."""

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from workbench.diagram.scene import Box, Mark

_N_CORNERS = 32  # of the polygon that stands for a circle


def outline(mark: Mark) -> np.ndarray:
    """The corners of a mark, in order round it; a circle as a polygon about it, a rounded box as a sharp one."""
    if mark.points:
        return np.array(mark.points)
    if mark.kind in ("disc", "dot"):
        turns = np.arange(_N_CORNERS) * (2 * math.pi / _N_CORNERS)
        return np.stack([mark.x + np.cos(turns) * mark.width / 2, mark.y + np.sin(turns) * mark.height / 2], axis=1)
    left, top, right, bottom = mark.box
    return np.array([(left, top), (right, top), (right, bottom), (left, bottom)])


def depth(mark: Mark, points: np.ndarray) -> np.ndarray:
    """How far inside the outline each point is, in pixels; negative outside (near a corner, at least so far)."""
    corners = outline(mark)
    middle = corners.mean(axis=0)
    deep = np.full(len(points), np.inf)
    for a, b in pairwise([*corners, corners[0]]):
        along = b - a
        normal = np.array([along[1], -along[0]]) / (np.hypot(*along) or 1.0)
        if (middle - a) @ normal < 0:
            normal = -normal
        deep = np.minimum(deep, (points - a) @ normal)
    return deep


def inside(mark: Mark, points: np.ndarray, margin: float) -> np.ndarray:
    """Which points are inside the mark's outline, moved outward by `margin`."""
    return depth(mark, points) > -margin


def holds(outer: Box, inner: Box) -> bool:
    """Whether a box lies within another, to half a pixel."""
    return (
        outer[0] <= inner[0] + 0.5
        and outer[1] <= inner[1] + 0.5
        and outer[2] >= inner[2] - 0.5
        and outer[3] >= inner[3] - 0.5
    )


def polygons_overlap(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two convex polygons share more than half a pixel: no line parallel to a side parts them."""
    for corners in (a, b):
        for first, second in pairwise([*corners, corners[0]]):
            along = second - first
            normal = np.array([along[1], -along[0]]) / (np.hypot(*along) or 1.0)
            one, other = a @ normal, b @ normal
            if one.max() < other.min() + 0.5 or other.max() < one.min() + 0.5:
                return False
    return True


def off_segments(points: np.ndarray, line: np.ndarray) -> np.ndarray:
    """How far each point is from a line through the points of `line`."""
    start, along = line[:-1], np.diff(line, axis=0)
    length = np.maximum((along**2).sum(axis=1), 1e-12)
    share = np.clip(((points[:, None] - start) * along).sum(axis=2) / length, 0, 1)
    nearest = start + share[..., None] * along
    return np.hypot(*np.moveaxis(points[:, None] - nearest, 2, 0)).min(axis=1)


def box_of(points: np.ndarray) -> Box:
    """The bounding box of points."""
    left, top = points.min(axis=0).tolist()
    right, bottom = points.max(axis=0).tolist()
    return left, top, right, bottom


def meeting(a: Sequence[Box], b: Sequence[Box], margin: float = 0.0) -> list[tuple[int, int]]:
    """The pairs of boxes, by their numbers, that share more than an edge once one is larger by `margin`."""
    if not a or not b:
        return []
    one, other = np.array(a)[:, None], np.array(b)[None]
    apart = (one[..., :2] >= other[..., 2:] + margin) | (other[..., :2] >= one[..., 2:] + margin)
    return [(int(i), int(k)) for i, k in np.argwhere(~apart.any(axis=2))]


def boxes_meet(a: Box, b: Box, margin: float = 0.0) -> bool:
    """Whether two boxes, one of them larger by `margin`, share more than an edge."""
    return a[0] < b[2] + margin and b[0] < a[2] + margin and a[1] < b[3] + margin and b[1] < a[3] + margin
