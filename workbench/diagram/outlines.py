"""Outlines of marks as polygons, and what is inside, outside or near them."""

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from workbench.diagram.scene import Box, Mark, Path

_N_CORNERS = 32  # of the polygon that stands for a circle
_PIECE = 16  # points of a line that are looked up together


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


def points_on(path: Path, step: float) -> np.ndarray:
    """Points along a path, as `sampled` gives them."""
    found = [np.array([path[0]])]
    start = found[0][0]
    for piece in path[1:]:
        end = np.array(piece[-2:])
        share = np.arange(1, max(1, math.ceil(math.hypot(*(end - start)) / step)) + 1)[:, None]
        share = share / len(share)
        if len(piece) == 2:
            found.append(start + share * (end - start))
        else:
            back, (x1, y1, x2, y2) = 1 - share, piece[:4]
            about = 3 * back * share * (back * np.array([x1, y1]) + share * np.array([x2, y2]))
            found.append(back**3 * start + about + share**3 * end)
        start = end
    return np.concatenate(found)


class Lines:
    """Lines through points, and which of them a point is near to; found by the boxes of short pieces."""

    def __init__(self, near: float) -> None:
        self._near, self._n_lines, self._n_pieces = near, 0, 0
        self._boxes, self._line_of = np.empty((64, 4)), np.empty(64, dtype=int)
        self._pieces = np.empty((64, _PIECE + 1, 2))

    def add(self, points: np.ndarray) -> None:
        """One more line; they are numbered from 0."""
        pieces = _cut(points, _PIECE + 1)
        first, last = self._n_pieces, self._n_pieces + len(pieces)
        if last > len(self._boxes):
            n = 2 * last  # what is there comes first in an array that is resized
            self._boxes, self._line_of = np.resize(self._boxes, (n, 4)), np.resize(self._line_of, n)
            self._pieces = np.resize(self._pieces, (n, _PIECE + 1, 2))
        self._boxes[first:last] = _boxes(pieces)
        self._line_of[first:last] = self._n_lines
        self._pieces[first:last] = pieces
        self._n_lines, self._n_pieces = self._n_lines + 1, last

    def met(self, points: np.ndarray) -> dict[int, np.ndarray]:
        """By number of a line, which of the points are on it: nearer to it than `near`."""
        boxes, near = self._boxes[: self._n_pieces], self._near
        left, top, right, bottom = box_of(points)
        reached = np.flatnonzero(
            (boxes[:, 0] < right + near)
            & (boxes[:, 1] < bottom + near)
            & (boxes[:, 2] > left - near)
            & (boxes[:, 3] > top - near)
        )
        if not len(reached):
            return {}
        own = _cut(points, _PIECE)
        low, high = np.split(_boxes(own)[:, None], 2, axis=2)
        other_low, other_high = np.split(boxes[reached], 2, axis=1)
        here, there = np.nonzero(((low < other_high + near) & (other_low < high + near)).all(axis=2))
        off = _off_pieces(own[here], self._pieces[reached[there]])
        pair, k = np.nonzero(off < near)
        number = np.minimum(here[pair] * _PIECE + k, len(points) - 1)
        found = np.unique(np.stack([self._line_of[reached[there[pair]]], number]), axis=1)
        return {int(line): found[1, found[0] == line] for line in np.unique(found[0])}


def _cut(points: np.ndarray, length: int) -> np.ndarray:
    """The points in pieces of `_PIECE`; where they are longer by one, each ends where the next begins."""
    count = max(1, math.ceil((len(points) - (length - _PIECE)) / _PIECE))
    number = np.arange(count)[:, None] * _PIECE + np.arange(length)
    return points[np.minimum(number, len(points) - 1)]


def _boxes(pieces: np.ndarray) -> np.ndarray:
    return np.concatenate([pieces.min(axis=1), pieces.max(axis=1)], axis=1)


def _off_pieces(points: np.ndarray, lines: np.ndarray) -> np.ndarray:
    """How far each point (pair, number, 2) is from the line (pair, corner, 2) of its pair."""
    start, along = lines[:, None, :-1], np.diff(lines, axis=1)[:, None]
    away = points[:, :, None] - start
    length = np.maximum((along**2).sum(axis=3), 1e-12)
    share = np.clip((away * along).sum(axis=3) / length, 0, 1)
    return np.hypot(*np.moveaxis(away - share[..., None] * along, 3, 0)).min(axis=2)


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
