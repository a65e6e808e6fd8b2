"""The contraction theatre under the hand: a slider over the steps, and an order of one's own by clicking bonds."""

# pyright: reportAttributeAccessIssue=false, reportArgumentType=false
# (traits are typed when they run)

from collections.abc import Callable
from html import escape

import ipywidgets as widgets

from workbench.explore.inspect import TensorFrame
from workbench.explore.theatre import Theatre, TheatreFrame
from workbench.widgets.attempt import attempted
from workbench.widgets.own_keys import OwnKeys
from workbench.widgets.scene_view import SceneView
from workbench.widgets.small_charts import heatmap_svg

_OWN = "your own"
_LABEL = {"description_width": "6em"}


class TheatreView(widgets.VBox):
    """A `Theatre` to look at and to play. Choose an order and move through it; or play your own: click a bond, or
    one tensor after another, and they are merged.
    """

    def __init__(self, theatre: Theatre) -> None:
        self.theatre = theatre
        self._picked = ""
        frame = theatre.frame()
        self.scene = SceneView(frame.scene)
        self.order = widgets.Dropdown(
            options=(theatre.best, "greedy", _OWN), value=theatre.order,
            description="Order", style=_LABEL, layout=widgets.Layout(width="16em"),
        )  # fmt: skip
        self.step = widgets.IntSlider(
            value=frame.step, min=0, max=max(1, frame.n_steps), description="Step", style=_LABEL,
            layout=widgets.Layout(width="min(420px, 98%)"),
        )  # fmt: skip
        self.undo = widgets.Button(description="Take back", tooltip="Take back the last step of your own order")
        self.numbers, self.made, self.status = widgets.HTML(), widgets.HTML(), widgets.HTML()
        self.order.observe(lambda change: self._do(self._order_chosen), "value")
        self.step.observe(lambda change: self._do(lambda: theatre.go(min(change["new"], theatre.n_steps))), "value")
        self.undo.on_click(lambda button: self._do(theatre.undo))
        self.scene.observe(lambda change: self._do(self._clicked), "activated")
        row = widgets.Box([self.order, self.step, self.undo], layout=widgets.Layout(flex_flow="row wrap"))
        below = widgets.Box([self.numbers, self.made], layout=widgets.Layout(flex_flow="row wrap"))
        super().__init__([row, self.status, self.scene, below])
        OwnKeys.within(self)
        self._draw()

    def _do(self, action: Callable[[], None]) -> None:
        """Does it and draws what came of it; what does not fit is said, and changes nothing."""
        attempted(self.status, action)
        self._draw()

    def _order_chosen(self) -> None:
        self._picked = ""
        if self.order.value == _OWN:
            self.theatre.play_own()
        else:
            self.theatre.play(self.order.value)

    def _clicked(self) -> None:
        name = self.scene.activated_name
        if self.order.value != _OWN:
            self.order.value = _OWN  # which starts one's own order
        if self.scene.activated_kind == "wire":
            self._picked = ""
            self.theatre.contract_bond(name)
        elif not self._picked:
            self._picked = name
        else:
            first, self._picked = self._picked, ""
            self.theatre.contract(first, name)

    def _draw(self) -> None:
        frame = self.theatre.frame()
        self.step.max = max(1, frame.n_steps)
        self.step.value = frame.step
        self.undo.disabled = not frame.is_own
        self.scene.show(frame.scene)
        self.scene.highlight = [self._picked] if self._picked else [frame.made.name] if frame.made else []
        self.numbers.value = _told(frame)
        self.made.value = "" if frame.made is None else _heatmap(frame.made)
        if self._picked and not self.status.value:
            self.status.value = (
                f'<span role="status">{escape(self._picked)} is picked; now the tensor to merge it with.</span>'
            )


def _told(frame: TheatreFrame) -> str:
    """The costs of the step and so far, and of whole orders, as a small table."""
    best = max(1, min(cost for name, cost in frame.costs.items() if name != "yours"))
    rows = "".join(
        f"<tr><td>{escape(name)}</td><td style='text-align:right'>{cost:,}</td>"
        f"<td style='text-align:right'>{cost / best:,.3g} ×</td></tr>"
        for name, cost in frame.costs.items()
    )
    merged = (
        f"merged {escape(' and '.join(frame.merged))}: <code>{escape(frame.equation)}</code>"
        if frame.merged
        else "not begun"
    )
    return (
        f'<div role="status">step {frame.step} of {frame.n_steps}; {merged}<br>'
        f"{frame.cost:,} multiply-adds in this step, {frame.cost_so_far:,} so far<br>"
        f"{frame.held:,} numbers held, at most {frame.most_held:,}</div>"
        f"<table><tr><th>order</th><th>multiply-adds</th><th>over the best</th></tr>{rows}</table>"
    )


def _heatmap(made: TensorFrame) -> str:
    return f"<div>{escape(made.heatmap_told)}<br>{heatmap_svg(made.heatmap, *made.sides)}</div>"
