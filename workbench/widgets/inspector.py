"""A diagram to look into: point at a tensor or leg, and a panel beside it tells what it holds."""

# pyright: reportAttributeAccessIssue=false, reportArgumentType=false
# (traits are typed when they run)

from html import escape

import ipywidgets as widgets

from workbench.diagram.drawing import Diagram
from workbench.explore.inspect import LegFrame, TensorFrame, leg_frame, picked, tensor_frame, value_at
from workbench.widgets.scene_view import SceneView
from workbench.widgets.small_charts import heatmap_svg, spectrum_svg

_NOTHING = "Point at a tensor or a leg; click to keep it here."


class TensorPanel(widgets.VBox):
    """What is told of one tensor or leg: its words, heatmap and spectrum."""

    def __init__(self) -> None:
        self.words, self.heatmap, self.spectrum = widgets.HTML(), widgets.HTML(), widgets.HTML()
        super().__init__(
            [self.words, self.heatmap, self.spectrum], layout=widgets.Layout(width="340px", min_height="440px")
        )

    def show(self, frame: TensorFrame | LegFrame | None) -> None:
        """Tells of this one instead; of none, what to do."""
        told = _NOTHING if frame is None else str(frame)
        heatmap = spectrum = ""
        if isinstance(frame, TensorFrame):
            heatmap = heatmap_svg(frame.heatmap, *frame.sides) if frame.heatmap else ""
            spectrum = spectrum_svg(frame.spectrum) if frame.spectrum else ""
        first, *more = escape(told).split("\n")
        self.words.value = f"<div style='line-height:1.45'><b>{first}</b><br>{'<br>'.join(more)}</div>"
        self.heatmap.value, self.spectrum.value = heatmap, spectrum


class Inspector(widgets.VBox):
    """A diagram, and beside it what is pointed at or, else, selected: legs, norm, heatmap and spectrum.

    The diagram is run once, when this is built; a diagram without arrays tells its legs alone.
    """

    def __init__(self, diagram: Diagram) -> None:
        self.diagram = diagram
        self.values = diagram.run() if diagram.arrays else {}
        self._frames: dict[str, TensorFrame | None] = {}  # by tensor: a spectrum is computed once
        self.scene_view = SceneView(diagram.scene)
        self.panel = TensorPanel()
        self.words, self.heatmap, self.spectrum = self.panel.words, self.panel.heatmap, self.panel.spectrum
        self.scene_view.observe(lambda change: self._show(), ["selected", "selected_kind", "hovered", "hovered_kind"])
        left = widgets.VBox([self.scene_view], layout=widgets.Layout(flex="1 1 320px", min_width="0"))
        row = widgets.Box([left, self.panel], layout=widgets.Layout(flex_flow="row wrap", align_items="flex-start"))
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
        self.panel.show(frame)
