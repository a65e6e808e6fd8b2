"""The compression lab under the hand: sliders, linked charts, text, export. No arithmetic is done here."""

# pyright: reportAttributeAccessIssue=false, reportArgumentType=false
# (traits are typed when they run)

from collections.abc import Iterator
from html import escape
from itertools import islice
from threading import RLock

import ipywidgets as widgets

from workbench.compress.budget import BUDGETS
from workbench.compress.recipe import METHODS, METRICS, OPTIONS, Recipe
from workbench.explore.compression_lab import CompressionLab
from workbench.transformer.tables import TABLES
from workbench.widgets.charts import apply_theme, draw, figures
from workbench.widgets.colours import DARK, LIGHT
from workbench.widgets.latest import Latest
from workbench.widgets.own_keys import OwnKeys
from workbench.widgets.page import Page
from workbench.widgets.passages import Passages
from workbench.widgets.repair_controls import RepairControls

_WIDE = widgets.Layout(width="min(560px, 98%)")
_LABEL = {"description_width": "11em"}
_PROMPT = 'def read_config(path):\n    """'


class CompressionView(widgets.VBox):
    """A `CompressionLab` to look at and to move.

    Built once; every move changes traits. After a move the numbers come as a quick estimate, then finer
    while nothing moves, from a thread of their own: the sliders are heard meanwhile.
    """

    def __init__(self, lab: CompressionLab, prompt: str = _PROMPT) -> None:
        self.lab = lab
        if lab.recipe is None:
            lab.decompose()
        self._estimates = Latest(self._steps, self._failed)
        self._drawing = RLock()
        self._quiet = False
        self._placed: dict[widgets.Widget, float] = {}
        self._build(prompt)
        frame = lab.frame()
        self._charts = figures(frame)
        self.page.observe(self._theme_changed, "dark")
        self._charts[1].data[0].on_click(self._cell_clicked)
        self._theme_changed()
        self._connect()
        charts = widgets.Box(self._charts, layout=widgets.Layout(flex_flow="row wrap"))
        super().__init__([self.page, *self._control_rows(), self.numbers, self.status, charts, self.passages])
        OwnKeys.within(self)
        self._moved()

    def _build(self, prompt: str) -> None:
        lab, frame = self.lab, self.lab.frame()
        assert lab.recipe is not None
        self.page = Page()
        self.kept = widgets.FloatSlider(
            value=round(lab.kept, 2), min=0.02, max=1.0, step=0.01, description="Whole model kept",
            readout_format=".0%", continuous_update=True, layout=_WIDE, style=_LABEL,
        )  # fmt: skip
        self.kinds = {
            kind: widgets.FloatSlider(
                value=1.0, min=0.02, max=1.0, step=0.01, description=f"All {kind} kept",
                readout_format=".0%", layout=_WIDE, style=_LABEL,
            )
            for kind in frame.kinds
        }  # fmt: skip
        self.selected = widgets.Dropdown(
            options=[layer.name for layer in frame.layers], description="Matrix", layout=_WIDE, style=_LABEL
        )
        full = frame.layers[0].full_bond
        self.bond = widgets.IntSlider(
            value=full, min=1, max=full, description="Its bond dimension", layout=_WIDE, style=_LABEL
        )
        self.method = widgets.Dropdown(
            options=METHODS, value=lab.recipe.method, description="Method", layout=widgets.Layout(width="16em")
        )
        self.metric = widgets.Dropdown(
            options=METRICS[lab.recipe.method], value=lab.recipe.metric, description="Metric",
            layout=widgets.Layout(width="16em"),
        )  # fmt: skip
        self.sites = widgets.Dropdown(
            options=(2, 3, 4), value=lab.recipe.sites, description="Sites", layout=widgets.Layout(width="12em")
        )
        self.gauge = widgets.Checkbox(
            value=lab.recipe.gauge_fixed, description="gauge fixed", indent=False, layout=widgets.Layout(width="8em")
        )
        self.budget = widgets.Dropdown(
            options=BUDGETS, value=lab.budget, description="Budget", layout=widgets.Layout(width="16em")
        )
        self.table = widgets.Dropdown(
            options=TABLES, value=lab.recipe.table, description="Token table", layout=widgets.Layout(width="16em")
        )
        self.repairs = RepairControls(lab, self._repaired)
        self.progress = widgets.IntProgress(description="ready", layout=widgets.Layout(width="16em"))
        self.reset = widgets.Button(description="Reset", tooltip="Every bond full again")
        self.copy = widgets.Button(description="Copy code", tooltip="The lines of Python that make this setting")
        self.directory = widgets.Text(value="compressed-model", description="Directory", style=_LABEL)
        self.export = widgets.Button(description="Export", tooltip="Write the compressed checkpoint")
        self.code = widgets.Textarea(
            description="Code", layout=widgets.Layout(width="98%", height="7em", display="none")
        )
        self.passages = Passages(lab, prompt)
        self.numbers, self.status = widgets.HTML(), widgets.HTML()

    def _control_rows(self) -> list[widgets.Widget]:
        folded = widgets.Layout(width="min(600px, 98%)")
        kinds, one = widgets.VBox(list(self.kinds.values())), widgets.VBox([self.selected, self.bond])
        per_kind = widgets.Accordion([kinds], titles=("By kind of matrix",), layout=folded)
        one_matrix = widgets.Accordion([one], titles=("One matrix",), layout=folded)
        beyond = widgets.Accordion(
            [self.repairs], titles=("Beyond cutting: compensate, heal, quantise",), layout=folded
        )
        row = widgets.Layout(flex_flow="row wrap")
        return [
            widgets.Box([self.method, self.metric, self.sites, self.gauge, self.progress], layout=row),
            widgets.Box([self.kept, self.budget, self.table], layout=row),
            widgets.Box([per_kind, one_matrix, beyond], layout=row),
            widgets.Box([self.reset, self.copy, self.directory, self.export], layout=row),
            self.code,
        ]

    def _connect(self) -> None:
        self.kept.observe(self._kept_moved, "value")
        for slider in self.kinds.values():
            slider.observe(self._kind_moved, "value")
        self.bond.observe(self._bond_moved, "value")
        self.selected.observe(self._matrix_chosen, "value")
        self.method.observe(self._method_changed, "value")
        for picker in (self.metric, self.sites, self.gauge, self.table):
            picker.observe(lambda change: self._recipe_changed(), "value")
        self.budget.observe(self._budget_changed, "value")
        self.passages.prompt.observe(lambda change: self._estimates.restart(), "value")
        self.reset.on_click(self._reset)
        self.copy.on_click(lambda button: self._copy())
        self.export.on_click(lambda button: self._export())

    def _by_hand(self, change: dict) -> bool:
        """Whether a slider's change is news: not one made here, nor the page's echo of it, rounded to its step."""
        slider, value = change["owner"], change["new"]
        news = not self._quiet and abs(value - self._placed.get(slider, -1)) > slider.step / 2
        if news:
            self._placed[slider] = value
        return news

    def _kept_moved(self, change: dict) -> None:
        if self._by_hand(change):
            self._cut(change["new"])

    def _kind_moved(self, change: dict) -> None:
        if self._by_hand(change):
            kind = next(kind for kind, slider in self.kinds.items() if slider is change["owner"])
            self.lab.keep(change["new"], f"*.{kind}", "uniform")
            self._moved(change["owner"])

    def _bond_moved(self, change: dict) -> None:
        if self._by_hand(change):
            self.lab.bond[self.selected.value] = change["new"]
            self._moved(self.bond)

    def _matrix_chosen(self, change: dict) -> None:
        self._place_controls(self.kept)
        self._show()

    def _reset(self, button: widgets.Button) -> None:
        self.lab.reset()
        self._moved()

    def _moved(self, hand: widgets.Widget | None = None) -> None:
        self.status.value = ""
        self._place_controls(hand)
        self._show()
        self._estimates.restart()

    def _cell_clicked(self, trace, points, state) -> None:
        for kind, block in zip(points.ys, points.xs, strict=True):
            chosen = (layer for layer in self.lab.frame().layers if (layer.kind, layer.block) == (kind, block))
            self.selected.value = next(chosen).name

    def _method_changed(self, change: dict) -> None:
        was, self._quiet = self._quiet, True
        self.metric.options = METRICS[change["new"]]
        self._quiet = was
        self._recipe_changed()

    def _recipe_changed(self) -> None:
        if self._quiet:
            return
        kept, method = self.kept.value, self.method.value
        sites = self.sites.value if "sites" in OPTIONS[method] else 2
        gauge = self.gauge.value and "gauge_fixed" in OPTIONS[method]
        recipe = Recipe(method, self.metric.value, sites, gauge_fixed=gauge, table=self.table.value)
        self.lab.decompose(recipe, progress=self._progressed)
        if list(self.selected.options) != list(self.lab.layers):  # the table's matrices come and go
            self.selected.options = list(self.lab.layers)
        self._cut(kept)

    def _budget_changed(self, change: dict) -> None:
        if change["new"] == "measured" and self.lab.profile is None:
            self.lab.sweep(progress=self._progressed)
        self.lab.budget = change["new"]
        self._cut(self.kept.value)

    def _cut(self, kept: float) -> None:
        """Cuts the whole model; a share below the smallest possible is said, and nothing moves."""
        try:
            if self.lab.budget == "measured" and self.lab.profile is None:  # a new recipe is not measured yet
                self.lab.sweep(progress=self._progressed)
            self.lab.keep(kept)
        except ValueError as error:
            self._moved()
            self._failed(error)
        else:
            self._moved(self.kept)

    def _repaired(self) -> None:
        self._show()
        self._estimates.restart()

    def _progressed(self, what: str, done: int, total: int) -> None:
        with self.progress.hold_sync():
            self.progress.max, self.progress.value = total, done
            self.progress.description = "ready" if done == total else what

    def _theme_changed(self, change: dict | None = None) -> None:
        apply_theme((*self._charts, self.repairs.figure), DARK if self.page.dark else LIGHT)

    def _place_controls(self, hand: widgets.Widget | None = None) -> None:
        """Every slider at its bond's present size, except the one under the `hand`: it stays where the hand put it.

        Only a move places sliders. An estimate that did would pull one back from under a hand that has gone on.
        """
        frame = self.lab.frame(self.selected.value)
        layer = next(layer for layer in frame.layers if layer.name == frame.selected)
        values = {self.kept: frame.sizes.kept, self.bond: layer.bond}
        values |= {slider: frame.kept_of(kind) for kind, slider in self.kinds.items() if kind in frame.kinds}
        was, self._quiet = self._quiet, True
        self.bond.max = max(layer.full_bond, self.bond.value)
        for slider, value in values.items():
            if slider is not hand:
                slider.value = self._placed[slider] = round(value, 2)
        self.bond.max = layer.full_bond
        self._quiet = was
        for picker, option in ((self.sites, "sites"), (self.gauge, "gauge_fixed")):
            picker.layout.display = None if option in OPTIONS[frame.recipe.method] else "none"

    def _show(self) -> None:
        """The numbers and the charts at the lab's present state."""
        with self._drawing:  # a hand and an estimate may both draw
            frame = self.lab.frame(self.selected.value)
            lines = escape(str(frame)).split("\n")
            self.numbers.value = f"<div role='status' aria-live='polite'>{'<br>'.join(lines)}</div>"
            draw(self._charts, frame)

    def settle(self, seconds: float | None = None) -> None:
        """Waits until the present setting is scored on all windows; for scripts and tests."""
        self._estimates.settle(seconds)

    def _failed(self, error: BaseException) -> None:
        self.status.value = f"<b>{escape(type(error).__name__)}</b>: {escape(str(error))}"

    def _steps(self) -> Iterator[None]:
        """The quick estimate, the text, then the finer estimates; a newer move ends it at any yield.

        A prompt that the model cannot continue is said at once, and raised when the numbers are final.
        """
        points, error = self.lab.refine(), None
        for _ in islice(points, 1):
            self._show()
            yield
        try:
            yield from self.passages.written()
        except ValueError as caught:
            error = caught
            self._failed(caught)
        for _ in points:
            self._show()
            yield
        if error is not None:
            raise error

    def _copy(self) -> None:
        self.code.layout.display = None
        self.code.value = self.lab.code()
        self.page.clipboard = self.code.value

    def _export(self) -> None:
        try:
            out = self.lab.export(self.directory.value)
        except (ValueError, OSError) as error:
            self.status.value = f"<b>not exported</b>: {escape(str(error))}"
        else:
            self.status.value = f"written to {escape(str(out))}; its dense/ loads in plain transformers"
