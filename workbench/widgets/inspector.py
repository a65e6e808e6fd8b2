"""A diagram to look into: point at a tensor or leg, and a panel beside it tells what it holds."""

# pyright: reportAttributeAccessIssue=false, reportArgumentType=false
# (traits are typed when they run)

import math
from html import escape

import ipywidgets as widgets
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from workbench.diagram.drawing import Diagram
from workbench.diagram.printed import drawn_on
from workbench.explore.inspect import LegFrame, TensorFrame, leg_frame, picked, tensor_frame, value_at
from workbench.widgets.axes import log_ticks
from workbench.widgets.colours import KEPT
from workbench.widgets.scene_view import SceneView
from workbench.widgets.small_charts import heatmap_svg, spectrum_svg

_NOTHING = "Point at a tensor or a leg; click to keep it here."


class Inspector(widgets.VBox):
    """A diagram, and beside it what is pointed at or, else, selected: legs, norm, heatmap and spectrum.

    The diagram is run once, when this is built; a diagram without arrays tells its legs alone.
    """

    def __init__(self, diagram: Diagram) -> None:
        self.diagram = diagram
        self.values = diagram.run() if diagram.arrays else {}
        self._frames: dict[str, TensorFrame | None] = {}  # by tensor: a spectrum is computed once
        self.scene_view = SceneView(diagram.scene)
        self.words, self.heatmap, self.spectrum = widgets.HTML(), widgets.HTML(), widgets.HTML()
        self.scene_view.observe(lambda change: self._show(), ["selected", "selected_kind", "hovered", "hovered_kind"])
        panel = widgets.VBox(
            [self.words, self.heatmap, self.spectrum], layout=widgets.Layout(width="340px", min_height="440px")
        )
        left = widgets.VBox([self.scene_view], layout=widgets.Layout(flex="1 1 320px", min_width="0"))
        row = widgets.Box([left, panel], layout=widgets.Layout(flex_flow="row wrap", align_items="flex-start"))
        super().__init__([row])
        self._show()

    def frame(self, name: str, kind: str = "") -> TensorFrame | LegFrame | None:
        """What the panel tells of a mark or wire of that name; None where it is there no longer, or holds nothing."""
        what = picked(self.diagram.scene, name, kind)
        if what is None:
            return None
        if isinstance(what, tuple):
            return leg_frame(self.diagram.scene, what)
        name = value_at(what)
        if name not in self._frames:
            self._frames[name] = tensor_frame(self.diagram, self.values, what)
        return self._frames[name]

    def _show(self) -> None:
        view = self.scene_view
        if view.hovered:
            frame = self.frame(view.hovered, view.hovered_kind)
        else:
            frame = self.frame(view.selected, view.selected_kind) if view.selected else None
        told = _NOTHING if frame is None else str(frame)
        heatmap = spectrum = ""
        if isinstance(frame, TensorFrame):
            heatmap = heatmap_svg(frame.heatmap, _side(frame.rows), _side(frame.columns)) if frame.heatmap else ""
            spectrum = spectrum_svg(frame.spectrum) if frame.spectrum else ""
        first, *more = escape(told).split("\n")
        self.words.value = f"<div style='line-height:1.45'><b>{first}</b><br>{'<br>'.join(more)}</div>"
        self.heatmap.value, self.spectrum.value = heatmap, spectrum


def _side(legs: tuple[str, ...]) -> str:
    """The legs of one side of a matrix, as its label."""
    return ", ".join(legs) or "one"


def inspector_still(diagram: Diagram, frame: TensorFrame) -> Figure:
    """The diagram, and the heatmap and the spectrum of one of its tensors, side by side."""
    scene = diagram.scene
    wide = max(4.0, min(9.0, scene.width / 96))
    figure, (drawing, heat, values) = plt.subplots(
        1, 3, figsize=(wide + 7, 3.6), layout="constrained", width_ratios=(wide, 3.5, 3.5)
    )
    plt.close(figure)  # the figure is the value; a notebook would otherwise show it twice
    drawn_on(drawing, scene)
    _heatmap(figure, heat, frame)
    _spectrum(values, frame)
    figure.suptitle("; ".join(str(frame).split("\n")[:3]))
    return figure


def _heatmap(figure: Figure, axes: Axes, frame: TensorFrame) -> None:
    axes.set_title("Heatmap", fontsize=10)
    if not frame.heatmap:
        axes.set_axis_off()
        axes.text(0.5, 0.5, frame.heatmap_told or "no array", ha="center", va="center", wrap=True)
        return
    reach = max((abs(value) for row in frame.heatmap for value in row if math.isfinite(value)), default=0.0) or 1.0
    image = axes.imshow(frame.heatmap, cmap="PuOr", vmin=-reach, vmax=reach, aspect="auto")
    axes.set(xlabel=_side(frame.columns), ylabel=_side(frame.rows), xticks=[], yticks=[])
    figure.colorbar(image, ax=axes, shrink=0.9)


def _spectrum(axes: Axes, frame: TensorFrame) -> None:
    axes.set_title("Spectrum", fontsize=10)
    if frame.spectrum is None or frame.spectrum.values[0] == 0:
        axes.set_axis_off()
        why = frame.spectrum_told if frame.spectrum is None else "all singular values are zero"
        axes.text(0.5, 0.5, why or "no array", ha="center", va="center", wrap=True)
        return
    largest, *_ = values = frame.spectrum.values.tolist()
    axes.semilogy(range(1, len(values) + 1), [max(value, 1e-8 * largest) for value in values], "o", color=KEPT, ms=4)
    low, high = (float(edge) for edge in axes.get_ylim())
    ticks = log_ticks(low, high)
    axes.set_yticks(ticks, [f"{tick:.3g}" for tick in ticks])
    axes.minorticks_off()
    axes.set(xlabel="singular value, by size", ylabel=f"{frame.spectrum.norm} norm")
