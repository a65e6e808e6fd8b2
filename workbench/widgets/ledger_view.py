"""The path ledger under the hand: the logits as a sum of small drawings, sorted by share, and each opens below."""

# pyright: reportAttributeAccessIssue=false, reportArgumentType=false
# (traits are typed when they run)

from collections.abc import Callable
from html import escape
from pathlib import Path

import anywidget
import ipywidgets as widgets
import traitlets

from workbench.diagram.scene import Scene
from workbench.diagram.svg import svg
from workbench.explore.path_ledger import SORTS, LedgerFrame, LedgerLab, LedgerRow
from workbench.widgets.attempt import attempted
from workbench.widgets.own_keys import OwnKeys
from workbench.widgets.scene_view import SceneView
from workbench.widgets.small_charts import heatmap_svg

_LABEL = {"description_width": "6em"}
_SHOWN = 12  # paths at first, and more at a time
_WIDE, _HIGH, _ZOOM = 242.0, 82.0, 0.5  # pixels of a small drawing, at most, and of the full one's scale


class PathCards(anywidget.AnyWidget):
    """The terms of a sum as buttons, each with a drawing and two bars; `selected` is the name of the one pressed last.

    Built once; `cards` and `rest`, the words for what is not shown, change.
    """

    _esm = Path(__file__).with_name("ledger_view.js")
    _css = Path(__file__).with_name("ledger_view.css")

    cards = traitlets.List(traitlets.Dict()).tag(sync=True)
    rest = traitlets.Unicode("").tag(sync=True)
    aria = traitlets.Unicode("paths whose logits sum to the model's").tag(sync=True)
    selected = traitlets.Unicode("").tag(sync=True)


class LedgerView(widgets.VBox):
    """A `LedgerLab` to look at and to move. Choose what paths are sorted by and which positions count, and press one.

    The twelve first paths are shown, and more on request; the pressed one is drawn below, with its numbers, the
    tokens it raises, and its pattern or logits.
    """

    def __init__(self, lab: LedgerLab) -> None:
        self.lab = lab
        self._n_shown = _SHOWN
        first, last = lab.positions
        self.sort = widgets.Dropdown(
            options=SORTS, value=lab.sort, description="Sorted by", style=_LABEL, layout=widgets.Layout(width="20em")
        )
        self.positions = widgets.IntRangeSlider(
            value=(first, last), min=0, max=lab.n_positions - 1, description="Positions", style=_LABEL,
            layout=widgets.Layout(width="min(420px, 98%)"),
        )  # fmt: skip
        self.told, self.status = widgets.HTML(), widgets.HTML()
        self.cards = PathCards()
        self.more = widgets.Button(tooltip="Show more paths", layout=widgets.Layout(width="auto"))
        self.fewer = widgets.Button(
            description="Show fewer", tooltip="Show the first paths only", layout=widgets.Layout(width="auto")
        )
        self.scene = SceneView(lab.scene(lab.selected))
        self.numbers, self.shown = widgets.HTML(), widgets.HTML()
        self.sort.observe(lambda change: self._do(lambda: setattr(lab, "sort", change["new"])), "value")
        self.positions.observe(lambda change: self._do(lambda: setattr(lab, "positions", change["new"])), "value")
        self.cards.observe(lambda change: self._do(lambda: setattr(lab, "selected", change["new"])), "selected")
        self.more.on_click(lambda button: self._show(self._n_shown + _SHOWN))
        self.fewer.on_click(lambda button: self._show(_SHOWN))
        wrap = widgets.Layout(flex_flow="row wrap")
        top = widgets.Box([self.sort, self.positions], layout=wrap)
        buttons = widgets.Box([self.more, self.fewer], layout=wrap)
        below = widgets.Box([self.numbers, self.shown], layout=wrap)
        super().__init__([top, self.status, self.told, self.cards, buttons, self.scene, below])
        OwnKeys.within(self)
        self._draw()

    def _do(self, action: Callable[[], None]) -> None:
        """Does it and draws what came of it; what does not fit is said, and changes nothing."""
        attempted(self.status, action)
        self._draw()

    def _show(self, n: int) -> None:
        self._n_shown = n
        self._draw()

    def _draw(self) -> None:
        frame = self.lab.frame()
        rows = frame.rows[: self._n_shown]
        left = len(frame.rows) - len(rows)
        with self.cards.hold_sync():
            self.cards.cards = [_card(row, self.lab.scene(row.name), frame.reach) for row in rows]
            self.cards.rest = f"{left} more path{'s' * (left != 1)}" if left else ""
            self.cards.selected = frame.selected
        self.more.description = f"Show {min(left, _SHOWN)} more"
        self.more.layout.display = "" if left else "none"
        self.fewer.layout.display = "" if self._n_shown > _SHOWN else "none"
        self.scene.show(frame.scene)
        self.told.value = _equation(frame)
        self.numbers.value = _numbers(frame)
        self.shown.value = (
            f"<div>{escape(frame.shown.name)}<br>{heatmap_svg(frame.shown.heatmap, *frame.shown.sides)}</div>"
        )


def _card(row: LedgerRow, scene: Scene, reach: tuple[float, float]) -> dict:
    zoom = min(_ZOOM, _WIDE / scene.width, _HIGH / scene.height)
    share, right = f"{row.share:.1%}", f"{row.right:+.2f}"
    return {
        "name": row.name,
        "aria": f"path {row.name}, {share} of the logits, right logit {right}",
        "svg": svg(scene, inline=True, zoom=zoom),
        "bars": [
            {"label": "share", "told": share, "length": row.share / reach[0] if reach[0] else 0.0},
            {"label": "right logit", "told": right, "length": row.right / reach[1] if reach[1] else 0.0},
        ],
    }


def _equation(frame: LedgerFrame) -> str:
    """What the sum is true to, and what the freezing of norms hides."""
    *scales, changed = map(escape, str(frame.hidden).split("\n"))
    over = f"over positions {frame.first} to {frame.last}; logits less their mean over the vocabulary"
    more = f"<details><summary>{changed}</summary>{'<br>'.join(scales)}</details>" if scales else f"<br>{changed}"
    return (
        f"<div role='status' aria-live='polite' style='line-height:1.45'><b>{escape(frame.equation)}</b><br>{over}"
        f"{more}</div>"
    )


def _numbers(frame: LedgerFrame) -> str:
    """The selected path's numbers as a small table."""
    row = frame.row
    raised = ", ".join(f"{token!r} {value:+.2f}" for token, value in frame.favoured)
    rows = [
        ("path", f"{row.name} ({row.kind})" if row.kind != row.name else row.name),
        ("share: ⟨path, logits⟩ / ⟨logits, logits⟩", f"{row.share:.2%}"),
        ("size: ‖path‖² / ‖logits‖²", f"{row.size:.2%}"),
        ("right logit, of all paths' sum", f"{row.right:+.3f} of {frame.total_right:+.3f}"),
        ("tokens it raises most, on average", raised),
    ]
    cells = "".join(
        f"<tr><td style='padding-right:1em'>{escape(what)}</td><td>{escape(told)}</td></tr>" for what, told in rows
    )
    return f"<table>{cells}</table>"
