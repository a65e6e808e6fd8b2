"""The paths of a picture's legs, once every node has its coordinates. No path crosses a node that is not its end."""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from workbench.diagram.routes import End, Placed, Route
from workbench.diagram.scene import Box, Path, moved, rounded, sampled, turned

TRACK = 13.0  # between two wires that run beside each other
CLEAR = 8.0  # between a wire and a node that it passes
BESIDE = 10.0  # between two wires that pass the same row
FAN = 4.0  # between two legs of a dot with many, where they part
MANY = 6  # legs of a dot to one side of it, from which on each leaves at an angle of its own


@dataclass(frozen=True)
class Item:
    """A node with its size about its own origin, and where each of its leg-ends (axis) begins."""

    box: Box
    ports: Mapping[int, tuple[float, float]]
    draw: Callable[[float, float], Any]  # a Block, at an origin
    leads: Mapping[int, Path] = field(default_factory=dict)  # from a dot's middle to the port, where legs spread


@dataclass(frozen=True)
class Ways:
    """Where everything is: nodes, their boxes, the tracks of legs that run above their row, and the block's edge."""

    plan: Placed
    at: Mapping[str, tuple[float, float]]
    items: Mapping[str, Item]
    boxes: Mapping[str, Box]
    tracks: Mapping[tuple[int, int], int]
    edge: Box
    taken: dict[int, list[float]] = field(default_factory=dict)  # by row, the x of the wires that pass it

    def path(self, number: int, route: Route) -> Path:
        """The path of one leg, from its first end to its second, or to the block's edge."""
        path = self._way(number, route)
        if lead := self._lead(route.start):
            path = (*lead, *path[1:])
        if route.end is not None and (lead := self._lead(route.end)):
            path = (*path, *turned(lead)[1:])
        return path

    def _way(self, number: int, route: Route) -> Path:
        start = self._port(route.start)
        row = self._row(route.start.node)
        if route.kind == "straight" and route.end is not None:
            return across(start, self._port(route.end))
        if route.runs_above:
            y = self._top(row) - 4 - TRACK * self.tracks[number, row]
            if route.end is None:
                wall = self.edge[0] if route.leaves == "left" else self.edge[2]
                return rounded([start, (start[0], y), (wall, y)])
            end = self._port(route.end)
            if route.kind == "arc":
                return rounded([start, (start[0], y), (end[0], y), end])
            left, right = self._loop_walls(number, row)
            return rounded([start, (left, start[1]), (left, y), (right, y), (right, end[1]), end])
        if route.end is not None:
            return self._down(start, row, self._port(route.end), self._row(route.end.node), route)
        if route.leaves in ("left", "right"):
            return start, (self.edge[0] if route.leaves == "left" else self.edge[2], start[1])
        if route.leaves == "out":
            return start, (start[0] + 15, start[1] + 15)
        return self._to_edge(start, row, route)

    def _down(self, start: tuple[float, float], row: int, end: tuple[float, float], last: int, route: Route) -> Path:
        """From a node's lower side to the upper side of one in a row farther down, between the nodes on the way."""
        passed = self._rows_between(row, last)
        if passed and all(self.plan.nodes[name].copy for name, (_, r) in self.plan.cells.items() if r in passed):
            path = self._past([], start, row, end, last, route)
            if self._clears(path, passed):
                return path
        return self._past(passed, start, row, end, last, route)

    def _clears(self, path: Path, rows: list[int]) -> bool:
        """Whether a path keeps off all nodes of the rows; if so, what passes them later keeps off it."""
        points = list(sampled(path, 4))
        for left, top, right, bottom in (box for row in rows for box in self._boxes_of[row]):
            if any(left - CLEAR < x < right + CLEAR and top - CLEAR < y < bottom + CLEAR for x, y in points):
                return False
        for row in rows:
            middle = (self._top(row) + self._bottom(row)) / 2
            self.taken.setdefault(row, []).append(min(points, key=lambda point: abs(point[1] - middle))[0])
        return True

    def _past(
        self,
        rows: list[int],
        start: tuple[float, float],
        row: int,
        end: tuple[float, float],
        last: int,
        route: Route,
    ) -> Path:
        """Down to a node, upright where it passes each of the rows."""
        assert route.end is not None
        path: list[tuple[float, ...]] = [start]
        here = start
        if not self._is_dot(route.start):
            here = self._line_to(path, (start[0], self._bottom(row)))
        for between in rows:
            x = self._free(between, here[0] + (end[0] - here[0]) / 2)
            self._curve_to(path, (x, self._top(between)), self._is_dot(route.start) and here == start, route=route)
            here = self._line_to(path, (x, self._bottom(between)))
        flat = abs(end[0] - here[0]) > 3 * abs(end[1] - here[1])  # a ray to a dot would run over its neighbours
        ray = self._is_dot(route.end) and not flat
        foot = end if ray else (end[0], self._top(last))
        self._curve_to(path, foot, self._is_dot(route.start) and here == start, ray, route)
        if foot != end:
            self._line_to(path, end)
        return tuple(path)

    def _to_edge(self, start: tuple[float, float], row: int, route: Route) -> Path:
        """From a node straight up or down to the block's edge, aside only where a node is in the way."""
        up = route.leaves == "up"
        on_the_way = [r for r in self._rows if (r < row if up else r > row)]
        path: list[tuple[float, ...]] = [start]
        x = start[0]
        for passed in reversed(on_the_way) if up else on_the_way:
            free = self._free(passed, x)
            if free != x:
                self._line_to(path, (x, self._top(row) if up else self._bottom(row)))
                x = free
                self._curve_to(path, (x, self._bottom(passed) if up else self._top(passed)))
            row = passed
        self._line_to(path, (x, self.edge[1] if up else self.edge[3]))
        return tuple(path)

    def _free(self, row: int, x: float) -> float:
        """The x nearest to the one given at which a wire passes the row clear of its nodes and of other wires."""
        walls = [(box[0] - CLEAR, box[2] + CLEAR) for box in self._boxes_of[row]]
        walls += [(other - BESIDE, other + BESIDE) for other in self.taken.get(row, [])]
        loops = [n for n, route in enumerate(self.plan.routes) if route.kind == "loop" and (n, row) in self.tracks]
        walls += [(wall - CLEAR, wall + CLEAR) for n in loops for wall in self._loop_walls(n, row)]
        places = [x, *(side for wall in walls for side in wall)]
        free = [p for p in places if not any(low < p < high for low, high in walls)]
        best = min(free, key=lambda p: (abs(p - x), p))
        self.taken.setdefault(row, []).append(best)
        return best

    def _loop_walls(self, number: int, row: int) -> tuple[float, float]:
        """The x at which a loop goes up on the left of its row, and down on the right."""
        reach = 6 + TRACK * self.tracks[number, row]
        own = self._boxes_of[row]
        return min(box[0] for box in own) - reach, max(box[2] for box in own) + reach

    @staticmethod
    def _line_to(path: list[tuple[float, ...]], end: tuple[float, float]) -> tuple[float, float]:
        if math.dist(path[-1][-2:], end) > 1e-6:
            path.append(end)
        return end

    def _curve_to(
        self,
        path: list[tuple[float, ...]],
        end: tuple[float, float],
        from_dot: bool = False,
        to_dot: bool = False,
        route: Route | None = None,
    ) -> None:
        """Down, aside and down again; to or from a dot as a ray, and from one with many legs in a fan."""
        x, y = path[-1][-2:]
        dx, dy = end[0] - x, end[1] - y
        if abs(dx) < 1e-6:
            path.append(end)
            return
        first = (x + 0.2 * dx, y + 0.45 * dy) if from_dot else (x, y + 0.5 * dy)
        second = (end[0] - 0.12 * dx, end[1] - 0.6 * dy) if to_dot else (end[0], end[1] - 0.5 * dy)
        if from_dot and route is not None and route.start in self._fans:
            turn, reach = self._fans[route.start]
            reach = min(reach, 0.6 * dy)
            aside, down = math.copysign(reach * math.cos(turn), dx), reach * math.sin(turn)
            path.append((x + aside, y + down))
            first = x + 1.5 * aside, y + 1.5 * down
            second = second if to_dot else (end[0], y + 1.5 * down)
        path.append((*first, *second, *end))

    @cached_property
    def _fans(self) -> dict[End, tuple[float, float]]:
        """Of the legs of dots with many: the angle at which each leaves, the farthest flattest, and for how long."""
        ways: dict[tuple[str, bool], list[tuple[float, End]]] = {}
        for route in self.plan.routes:
            if route.kind == "column" and route.end is not None and self._is_dot(route.start):
                aside = self._port(route.end)[0] - self.at[route.start.node][0]
                ways.setdefault((route.start.node, aside > 0), []).append((abs(aside), route.start))
        found = {}
        for own in (each for each in ways.values() if len(each) > MANY):
            step = math.pi / 2 / len(own)
            for k, (_, end) in enumerate(sorted(own, key=lambda leg: -leg[0])):
                found[end] = (k + 0.5) * step, FAN / step
        return found

    def _port(self, end: End) -> tuple[float, float]:
        (x, y), (dx, dy) = self.at[end.node], self.items[end.node].ports[end.axis]
        return x + dx, y + dy

    def _lead(self, end: End) -> Path:
        """From a dot's middle to the port, where its legs spread; else nothing."""
        lead = self.items[end.node].leads.get(end.axis, ())
        return moved(lead, *self.at[end.node]) if lead else ()

    def _row(self, name: str) -> int:
        return self.plan.cells[name][1]

    @cached_property
    def _boxes_of(self) -> dict[int, list[Box]]:
        """By row, from the top, the boxes of its nodes."""
        found: dict[int, list[Box]] = {row: [] for row in sorted({row for _, row in self.plan.cells.values()})}
        for name, box in self.boxes.items():
            found[self._row(name)].append(box)
        return found

    @cached_property
    def _extent(self) -> dict[int, tuple[float, float]]:
        """By row, its upper and lower edge."""
        return {row: (min(b[1] for b in own), max(b[3] for b in own)) for row, own in self._boxes_of.items()}

    @cached_property
    def _rows(self) -> list[int]:
        return list(self._boxes_of)

    def _rows_between(self, first: int, last: int) -> list[int]:
        return self._rows[bisect_right(self._rows, first) : bisect_left(self._rows, last)]

    def _top(self, row: int) -> float:
        return self._extent[row][0]

    def _bottom(self, row: int) -> float:
        return self._extent[row][1]

    def _is_dot(self, end: End) -> bool:
        return self.plan.nodes[end.node].copy and end.axis not in self.items[end.node].leads


def across(start: tuple[float, float], end: tuple[float, float]) -> Path:
    """From left to right: a line, or an S where the heights differ."""
    if abs(start[1] - end[1]) < 0.5:
        return start, end
    middle = (start[0] + end[0]) / 2
    return start, (middle, start[1], middle, end[1], *end)
