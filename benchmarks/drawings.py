"""Drawings by quimb as scenes, and what is counted on any scene: the same counters for both libraries."""

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np
import quimb.tensor as qtn
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from matplotlib.text import Text as Label
from torch import Tensor

from workbench.diagram.defects import defects
from workbench.diagram.outlines import box_of
from workbench.diagram.scene import Box, Mark, Scene, Text, Wire, sampled
from workbench.network import Network

LABELS = {"show_inds": "all", "show_tags": True}
KINDS = {  # the words by which the sentences of `defects` tell the kinds of faults apart
    "label over something": " is over ",
    "label on another's wire": " is on wire ",
    "wire under a node": " runs under ",
    "wire through a wall": " wall of | leaves ",
    "wires on top of each other": " run on top of ",
    "free ends on one spot": " on one spot",
    "marks that overlap": " overlaps ",
    "clipped by the edge": " is clipped ",
    "label missing": " has no label",
}


HOW = {
    "settings": "workbench: nothing given, as for `quimb`; `workbench, placed`: Layout.rows, where that changes the "
    "drawing. quimb: TensorNetwork.draw(show_inds='all', show_tags=True), else its defaults, tags and indices named as "
    "ours. quimb, placed: also `fix` for every tensor, free end and joint on the grid a reader would draw, and a "
    "`figsize` of an inch for each step. Not used: node_shape, node_scale and color, by which a user may set the "
    "shape, size and colour of each tensor by hand.",
    "faults": "sentences of workbench.diagram.defects.defects, the same function for both, on each figure in its own "
    "pixels: ours 96 an inch, quimb's 100. Texts of quimb's have the boxes its renderer gives them, a turned one the "
    "largest upright box within it; ours have our own estimate. Every wire wants its label, an index on three tensors "
    "one. Not counted: labels on their own wire, and an index written on the point where its own lines meet.",
    "order_kept": "whether the centres of the sites of every chain come in site order from the left, or from the top "
    "where the chain extends farther downward; null where there is no chain",
    "bend": "the largest distance of a site's centre from the least-squares line through them, over their extent "
    "along it; of two chains the larger",
    "rung_angle": "the largest angle in degrees between two rungs, each from a site's centre to its conjugate's: 0 is "
    "parallel, 180 is twisted; null where there are no rungs",
    "shapes": "kinds of visible marks that are different; `roles` counts what the network tells apart: tensors, "
    "isometries, indices on three tensors",
    "free_leg_directions": "directions in which free legs end, those within 5° of one taken for it",
    "empty": "the share of the figure that is outside the box round all marks, wires and texts",
    "empty_cropped": "the same after Jupyter's crop of a matplotlib figure, to its tight box and 0.1 inch; null for us",
}


@dataclass(frozen=True)
class Measured(Text):
    """A text whose box was measured by the renderer that drew it."""

    measured: Box = (0.0, 0.0, 0.0, 0.0)

    @property
    def box(self) -> Box:
        return self.measured


@dataclass(frozen=True)
class Peer:
    """The same network in quimb, its tensors named and told as ours are, and where its nodes are put by hand, if so."""

    network: qtn.TensorNetwork
    names: tuple[str, ...]
    fix: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    @classmethod
    def of(
        cls, network: Network, arrays: Mapping[str, Tensor], fix: Mapping[str, tuple[float, float]] | None = None
    ) -> "Peer":
        """The peer of a network without copy nodes: its legs are the indices."""
        held = network.arrays_by_node(arrays)
        tags = [node.tensor + "*" * node.conj for node in network.nodes]
        tensors = [qtn.Tensor(held[n.name].numpy(), n.legs, [tag]) for n, tag in zip(network.nodes, tags, strict=True)]
        return cls(qtn.TensorNetwork(tensors), tuple(node.name for node in network.nodes), dict(fix or {}))

    @property
    def settings(self) -> dict[str, Any]:
        """What `TensorNetwork.draw` is given: labels on; if placed by hand, positions, and an inch for each step."""
        if not self.fix:
            return LABELS
        ids = {name: tid for tid, name in self.name_of.items()}
        width, height = (max(at) - min(at) + 1.5 for at in zip(*self.fix.values(), strict=True))
        return LABELS | {"fix": {ids.get(name, name): at for name, at in self.fix.items()}, "figsize": (width, height)}

    @property
    def name_of(self) -> dict[int, str]:
        """The name of each tensor by its number in quimb."""
        return dict(zip(self.network.tensor_map, self.names, strict=True))

    def figure(self) -> Figure:
        """What quimb draws."""
        return self.network.draw(**self.settings, return_fig=True)

    def scene(self, figure: Figure) -> Scene:
        """The figure in its own pixels: circles as marks, lines as wires, texts with their measured boxes.

        Raises ValueError where the figure has what this does not know, or not where the graph says it is.
        """
        figure.canvas.draw()
        graph, places = self.network.draw(**self.settings, get="graph,pos")
        axes, (width, height) = figure.axes[0], figure.canvas.get_width_height()
        at = {node: _down(axes.transData.transform(place), height) for node, place in places.items()}
        ends = Counter(leg for _, _, data in graph.edges(data=True) for leg in data["ind"])
        name_of, marks = self.name_of, {}
        for circle in (own for own in axes.patches if isinstance(own, Circle)):
            node = _nearest(at, _down(axes.transData.transform(circle.center), height))
            if circle.radius or ends[node] > 1:  # one of no size ends a free leg, or joins the legs of one index
                name, kind = (name_of[node], "disc") if circle.radius else (node, "dot")
                across = axes.transData.transform([(0, 0), (2 * circle.radius, 0)])
                size = float(np.ptp(across[:, 0])) + circle.get_linewidth() * figure.dpi / 72
                marks[node] = Mark(name, name, kind, *at[node].tolist(), size, size)
        wires = self._wires(figure, graph, at, marks, ends)
        texts = [_measured(label, height, [at[node] for node in name_of]) for label in axes.texts]
        return Scene(width, height, tuple(marks.values()), tuple(wires), tuple(texts))

    def _wires(
        self, figure: Figure, graph: Any, at: Mapping[Any, np.ndarray], marks: Mapping[Any, Mark], ends: Counter[str]
    ) -> list[Wire]:
        axes, height = figure.axes[0], figure.canvas.get_width_height()[1]
        lines = []
        for own in [*axes.lines, *(own for own in axes.patches if not isinstance(own, Circle))]:
            (points,) = own.get_transform().transform_path(own.get_path()).to_polygons(closed_only=False)
            lines.append((_down(points, height), own.get_linewidth() * figure.dpi / 72))
        wires: list[Wire] = []
        for a, b, data in graph.edges(data=True):
            lines.sort(key=lambda line: min(_off(line[0], at[a], at[b]), _off(line[0], at[b], at[a])))
            for leg, label in zip(data["ind"], data["label"], strict=True):
                line, width = lines.pop(0)
                if _off(line, at[a], at[b]) > _off(line, at[b], at[a]):
                    line = line[::-1]
                names = tuple(marks[node].name if node in marks else None for node in (a, b))
                first = leg not in {wire.leg for wire in wires}  # quimb writes an index of several lines once
                name = leg if ends[leg] == 1 else f"{leg} of {names[0] if a != leg else names[1]}"
                size = max(1, round(2 ** ((width - 1.2) / 0.45)))  # that which makes our wires as wide as the line
                path = tuple((float(x), float(y)) for x, y in line)
                wires.append(Wire(name, leg, path, names, size, label=label or (leg if first else "")))
        if lines:
            raise ValueError(f"{len(lines)} lines of the figure belong to no edge of its graph.")
        return wires


def _down(points: np.ndarray, height: float) -> np.ndarray:
    """Points with y growing downward."""
    return np.asarray(points) * (1, -1) + (0, height)


def _nearest(at: dict[Any, np.ndarray], point: np.ndarray) -> Any:
    """The node at that point. Raises ValueError where there is none: then the figure is not of these places."""
    node = min(at, key=lambda other: math.dist(at[other], point))
    if math.dist(at[node], point) > 0.5:
        raise ValueError(f"a circle stands at {point}, and the nearest node {node!r} at {at[node]}.")
    return node


def _off(line: np.ndarray, start: np.ndarray, end: np.ndarray) -> float:
    """How far the line's ends are from two points."""
    return math.dist(line[0], start) + math.dist(line[-1], end)


def _measured(label: Label, height: float, nodes: Sequence[np.ndarray]) -> Measured:
    """A text with its box; of one that is turned, the largest upright box within the turned one."""
    turn = label.get_rotation()
    label.set_rotation(0)
    box = label.get_window_extent()
    label.set_rotation(turn)
    x, y = _down(label.get_transform().transform(label.get_position()), height).tolist()
    dx, dy = (side / 2 for side in _within(box.width, box.height, math.radians(turn)))
    role = "node" if min(math.dist(node, (x, y)) for node in nodes) < 0.5 else "leg"
    return Measured(x, y, label.get_text(), role, label.get_fontsize(), (x - dx, y - dy, x + dx, y + dy))


def _within(width: float, height: float, turn: float) -> tuple[float, float]:
    """The sides of the largest upright rectangle within a rectangle that is turned about its middle."""
    sin, cos = abs(math.sin(turn)), abs(math.cos(turn))
    long, short = max(width, height), min(width, height)
    if short <= 2 * sin * cos * long or abs(sin - cos) < 1e-9:
        half = short / 2
        return (half / sin, half / cos) if width >= height else (half / cos, half / sin)
    over = cos * cos - sin * sin
    return (width * cos - height * sin) / over, (height * cos - width * sin) / over


def counted(scene: Scene, chains: Sequence[Sequence[str]]) -> dict[str, Any]:
    """The counters of a scene; `chains` are the sites of each chain in order, two of them the rails of a ladder."""
    joints = {mark.name for mark in scene.marks if mark.kind == "dot"}
    found = [fault for fault in defects(scene) if not _on_own_joint(fault, joints)]
    at = {mark.node: np.array([mark.x, mark.y]) for mark in scene.marks}
    sites = [np.stack([at[name] for name in chain]) for chain in chains]
    return {
        "faults": len(found),
        "by_kind": by_kind(found),
        "sentences": found,
        "order_kept": all(_order_kept(line) for line in sites) if sites else None,
        "bend": max(map(_bend, sites)) if sites else None,
        "rung_angle": _spread(sites[1] - sites[0]) if len(sites) == 2 else None,
        "shapes": len({mark.kind for mark in scene.marks if mark.width > 1}),
        "free_leg_directions": _directions(scene),
        "empty": 1 - _area(drawn_box(scene)) / (scene.width * scene.height),
    }


def by_kind(found: Sequence[str]) -> dict[str, int]:
    """How many faults there are of each kind that there is."""
    kinds = {kind: sum(bool(re.search(word, fault)) for fault in found) for kind, word in KINDS.items()}
    return {kind: n for kind, n in kinds.items() if n}


def _on_own_joint(fault: str, joints: set[str]) -> bool:
    """Whether a fault is only that quimb writes an index on the point where its lines meet."""
    return any(
        re.fullmatch(
            rf"the leg text '{name}' is (over dot '{name}'|on wire '{name} of .*', which is not its own)\.", fault
        )
        for name in map(re.escape, joints)
    )


def _order_kept(line: np.ndarray) -> bool:
    """Whether the sites come in order from the left, or from the top where the chain runs more downward."""
    axis = int(np.ptp(line[:, 1]) > np.ptp(line[:, 0]))
    return bool((np.diff(line[:, axis]) > 0).all())


def _bend(line: np.ndarray) -> float:
    off = line - line.mean(axis=0)
    along = np.linalg.svd(off)[2]
    return float(np.abs(off @ along[1]).max() / np.ptp(off @ along[0]))


def _spread(directions: np.ndarray) -> float:
    """The largest angle between two of these directions, in degrees."""
    angles = np.degrees(np.arctan2(directions[:, 1], directions[:, 0]))
    return max(abs((a - b + 180) % 360 - 180) for a, b in combinations(angles.tolist(), 2))


def _directions(scene: Scene) -> int:
    """In how many directions free legs end, counting those within 5° of one as one."""
    found: list[float] = []
    for wire in scene.wires:
        points = np.array(list(sampled(wire.path, 2)))
        for end, (last, before) in zip(wire.ends, (points[[0, 1]], points[[-1, -2]]), strict=True):
            angle = math.degrees(math.atan2(*(last - before)[::-1]))
            if end is None and all(abs((angle - other + 180) % 360 - 180) > 5 for other in found):
                found.append(angle)
    return len(found)


def drawn_box(scene: Scene) -> Box:
    """The box round all that is drawn."""
    boxes = [item.box for item in (*scene.marks, *scene.texts)]
    boxes += [box_of(np.array(list(sampled(wire.path)))) for wire in scene.wires]
    corners = np.array(boxes)
    return (*corners[:, :2].min(axis=0).tolist(), *corners[:, 2:].max(axis=0).tolist())


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])
