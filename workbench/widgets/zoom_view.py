"""A model under the hand: click a part of the drawing, and it opens; down to the singular values of one circuit."""

# pyright: reportAttributeAccessIssue=false, reportArgumentType=false
# (traits are typed when they run)

from collections.abc import Callable
from html import escape

import ipywidgets as widgets

from workbench.explore.zoom import Zoom, ZoomFrame
from workbench.explore.zoom_targets import path_name
from workbench.widgets.inspector import TensorPanel
from workbench.widgets.own_keys import OwnKeys
from workbench.widgets.scene_view import SceneView
from workbench.widgets.small_charts import spectrum_svg
from workbench.widgets.token_charts import next_tokens_html, pattern_svg

_DEEPEST = 6  # views on the way from the model to the singular values of a circuit
_LABEL = {"description_width": "3.5em"}
_WRAP = widgets.Layout(flex_flow="row wrap", align_items="center")
_HINT = "Click to look, click again to open; by keys, arrows and Enter."


class ZoomView(widgets.VBox):
    """A `Zoom` to look at and to move: hover tells, a click selects, a second click or Enter opens what is there.

    The buttons on top lead back up; every part below is also in the menu "Part". Built once; moves change traits.
    """

    def __init__(self, zoom: Zoom) -> None:
        self.zoom = zoom
        self._drawing = False
        self.crumbs = [widgets.Button(layout=widgets.Layout(width="auto")) for _ in range(_DEEPEST)]
        self.back = widgets.Button(description="Back", tooltip="The view before", layout=widgets.Layout(width="auto"))
        self.part = widgets.Dropdown(description="Part", style=_LABEL, layout=widgets.Layout(width="14em"))
        self.enter = widgets.Button(
            description="Open", tooltip="Open the chosen part", layout=widgets.Layout(width="auto")
        )
        self.head = widgets.Dropdown(description="Head", style=_LABEL, layout=widgets.Layout(width="10em"))
        self.fold = widgets.ToggleButton(
            description="fold norms", tooltip="Draw the gains and shifts of norms within the weights that read them",
            layout=widgets.Layout(width="auto"),
        )  # fmt: skip
        self.deeper = widgets.Button(layout=widgets.Layout(width="auto"))
        self.status, self.tokens, self.formula = widgets.HTML(), widgets.HTML(), widgets.HTMLMath()
        self.panel = TensorPanel()
        self.scene_view = SceneView(zoom.diagram.scene)
        for number, button in enumerate(self.crumbs):
            button.on_click(lambda _, number=number: self._do(lambda: self._crumb(number)))
        self.back.on_click(lambda _: self._do(zoom.back))
        self.enter.on_click(lambda _: self._do(lambda: zoom.open(self.part.value)))
        self.deeper.on_click(lambda _: self._do(self._deeper))
        self.part.observe(lambda _: self._name_part(), "value")
        self.head.observe(lambda change: self._chosen(lambda: setattr(zoom, "head", change["new"])), "value")
        self.fold.observe(lambda change: self._chosen(lambda: setattr(zoom, "fold", change["new"])), "value")
        self.scene_view.observe(lambda _: self._select(), ["selected", "selected_kind"])
        self.scene_view.observe(lambda _: self._look(), ["hovered", "hovered_kind"])
        self.scene_view.observe(lambda _: self._used(), "activated")
        beside = widgets.VBox([self.tokens, self.formula], layout=widgets.Layout(flex="1 1 320px", min_width="0"))
        below = widgets.Box([self.panel, beside], layout=widgets.Layout(flex_flow="row wrap", align_items="flex-start"))
        ways = [self.back, self.part, self.enter, self.head, self.fold, self.deeper]
        rows = [widgets.Box(self.crumbs, layout=_WRAP), widgets.Box(ways, layout=_WRAP)]
        super().__init__([*rows, self.status, self.scene_view, below])
        OwnKeys.within(self)
        self._draw()

    def _do(self, move: Callable[[], None]) -> None:
        """Moves, and draws what is open then. Where that is another view, nothing of it is selected."""
        before = self.zoom.diagram
        move()
        if self.zoom.diagram is not before:
            with self.scene_view.hold_sync():
                self.scene_view.show(self.zoom.diagram.scene)
                self.scene_view.shifts = {}
                self.scene_view.hovered = self.scene_view.hovered_kind = ""
                self.scene_view.selected = self.scene_view.selected_kind = ""
        self._draw()

    def _chosen(self, move: Callable[[], None]) -> None:
        """A move of a menu or switch, unless it only follows what has been opened by other means."""
        if not self._drawing:
            self._do(move)

    def _name_part(self) -> None:
        """The button says which part it opens: what is chosen on the page comes here a moment later."""
        self.enter.description = f"Open {path_name(self.part.value)}" if self.part.value else "Open"

    def _crumb(self, number: int) -> None:
        self.zoom.open(self.zoom.frame().crumbs[number][1])

    def _deeper(self) -> None:
        if target := self.zoom.frame().target:
            self.zoom.open(target)

    def _select(self) -> None:
        view = self.scene_view
        self.zoom.select(view.selected, view.selected_kind)
        self._tell(self.zoom.frame())

    def _look(self) -> None:
        view = self.scene_view
        what = (view.hovered, view.hovered_kind) if view.hovered else (view.selected, view.selected_kind)
        self.panel.show(self.zoom.shown(*what))

    def _used(self) -> None:
        """A first click only selects."""
        view = self.scene_view
        target = self.zoom.target(view.activated_name, view.activated_kind)
        if view.activated_by != "click" and target is not None:
            self._do(lambda: self.zoom.open(target))

    def _draw(self) -> None:
        frame = self.zoom.frame()
        self._drawing = True
        try:
            for number, button in enumerate(self.crumbs):
                there = number < len(frame.crumbs)
                button.layout.display = None if there else "none"
                button.description = ("› " if number else "") + frame.crumbs[number][0] if there else ""
                button.disabled = number == len(frame.crumbs) - 1
            self.back.disabled = not self.zoom.has_before
            _offer(self.part, [(path_name(path), path) for path in frame.children])
            self.enter.disabled = self.part.disabled = not frame.children
            self._name_part()
            _offer(self.head, [(f"head {head}", head) for head in range(frame.n_heads)])
            self.head.value = frame.head if frame.n_heads else None
            self.head.layout.display = None if frame.n_heads > 1 else "none"
            self.fold.value = frame.fold
            self.tokens.value = _tokens_told(frame)
            self.formula.value = f"<details><summary>formula</summary>$${escape(frame.formula)}$$</details>"
        finally:
            self._drawing = False
        self._tell(frame)

    def _tell(self, frame: ZoomFrame) -> None:
        name = getattr(frame.shown, "name", None) or frame.selected
        self.deeper.description = f"open {name} › {path_name(frame.target)}" if frame.target else "nothing to open"
        self.deeper.disabled, self.deeper.button_style = not frame.target, "primary" if frame.target else ""
        self.status.value = (
            f'<div role="status" aria-live="polite" style="line-height:1.45">{escape(frame.model)} › '
            f"{escape(frame.path)}: {escape(frame.told)}.<br>{_HINT}</div>"
        )
        self._look()


def _offer(menu: widgets.Dropdown, options: list[tuple[str, object]]) -> None:
    """Other options in a menu, the first one chosen, where they are others: else it keeps what is chosen."""
    if list(menu.options) != options:
        menu.options = options
        menu.index = 0 if options else None


def _tokens_told(frame: ZoomFrame) -> str:
    """What a view tells beside its drawing: the pattern, what comes next, the singular values."""
    told = []
    if frame.pattern is not None:
        if len(frame.pattern.heatmap) == len(frame.tokens):
            drawn = pattern_svg(frame.pattern.heatmap, frame.tokens)
        else:
            drawn = f"too many tokens to name; {escape(frame.pattern.heatmap_told)}"
        told.append(f"<div>pattern of head {frame.head}<br>{drawn}</div>")
    if frame.next_tokens:
        told.append(next_tokens_html(frame.next_tokens))
    if frame.spectrum is not None:
        told.append(f"<div>singular values of the circuit<br>{spectrum_svg(frame.spectrum)}</div>")
    return f"<div style='display:flex;flex-wrap:wrap;gap:16px;line-height:1.45'>{''.join(told)}</div>" if told else ""
