"""A chain of sites under the hand: give a symbol, and see what truth and model say of all the others then."""

# pyright: reportAttributeAccessIssue=false, reportArgumentType=false
# (traits are typed when they run)

from functools import partial
from html import escape

import ipywidgets as widgets

from workbench.explore.explain_frame import MAPS, ExplainFrame
from workbench.explore.explain_lab import ExplainLab
from workbench.widgets.arrow_keys import ArrowKeys
from workbench.widgets.attempt import attempted
from workbench.widgets.charts import apply_theme
from workbench.widgets.colours import DARK, LIGHT
from workbench.widgets.explain_charts import bond_told, explain_charts
from workbench.widgets.own_keys import OwnKeys
from workbench.widgets.page import Page

_LABEL = {"description_width": "5em"}


class ExplainView(widgets.VBox):
    """An `ExplainLab` to look at and to move.

    Built once; every move changes traits. A press on a site gives its first symbol, the next press the next symbol,
    and the last frees it; a symbol that the truth or the model excludes there is passed over, and that is said.
    """

    def __init__(self, lab: ExplainLab) -> None:
        self.lab = lab
        self._placing = False
        self.page = Page()
        self.model = widgets.Dropdown(
            options=lab.models, value=lab.model, description="Model", style=_LABEL,
            layout=widgets.Layout(width="24em"),
        )  # fmt: skip
        self.map = widgets.Dropdown(
            options=list(MAPS), value=lab.map, description="Map", style=_LABEL, layout=widgets.Layout(width="24em")
        )
        self.bond = widgets.SelectionSlider(
            options=[(bond_told(bond), bond) for bond in range(lab.n_sites - 1)], value=lab.bond, description="Bond",
            style=_LABEL, layout=widgets.Layout(width="min(480px, 98%)"),
        )  # fmt: skip
        self.release = widgets.Button(description="Release all", tooltip="Free every site")
        wide = widgets.Layout(width=f"{3.6 + 0.7 * max(map(len, lab.source.alphabet)):.1f}em", padding="0")
        self.sites = tuple([widgets.Button(layout=wide) for _ in range(lab.n_sites)])
        self.told, self.status = widgets.HTML(), widgets.HTML()
        self.charts = explain_charts(lab.n_sites, lab.source.alphabet)
        self._connect()
        wrap = widgets.Layout(flex_flow="row wrap")
        chain = widgets.Box(self.sites, layout=wrap)
        ArrowKeys.along(chain)
        rows = [self.model, self.map], [self.bond, self.release]
        super().__init__(
            [
                self.page,
                *(widgets.Box(row, layout=wrap) for row in rows),
                chain,
                self.told,
                self.status,
                widgets.Box(self.charts.figures, layout=wrap),
            ]
        )
        OwnKeys.within(self)
        self._themed()
        self._draw()

    def _connect(self) -> None:
        self.page.observe(lambda change: self._themed(), "dark")
        self.model.observe(lambda change: self._chosen(model=change["new"]), "value")
        self.map.observe(lambda change: self._chosen(map=change["new"]), "value")
        self.bond.observe(lambda change: self._chosen(bond=change["new"]), "value")
        self.release.on_click(lambda button: self._released())
        for site, button in enumerate(self.sites):
            button.on_click(partial(self._pressed, site))
        for trace in self.charts.entropies.data:
            trace.on_click(self._bond_clicked)

    def _pressed(self, site: int, button: widgets.Button) -> None:
        """The site's next symbol that is possible, or none after the last."""
        symbols = len(self.lab.source.alphabet)
        refused: list[str] = []
        for symbol in range(self.lab.given.get(site, -1) + 1, symbols):
            attempted(self.status, partial(self.lab.fix, site, symbol))
            if self.lab.given.get(site) == symbol:
                break
            refused.append(self.status.value)
        else:
            self.lab.release(site)
        self.status.value = "<br>".join(refused)
        self._draw()

    def _released(self) -> None:
        self.status.value = ""
        self.lab.release()
        self._draw()

    def _chosen(self, **choice: str | int) -> None:
        if not self._placing:
            attempted(self.status, partial(self.lab.choose, **choice))
            self._draw()

    def _bond_clicked(self, trace: object, points: object, state: object) -> None:
        if points.point_inds:
            self.bond.value = points.point_inds[0]

    def _themed(self) -> None:
        apply_theme(self.charts.figures, DARK if self.page.dark else LIGHT)

    def _draw(self) -> None:
        frame, given = self.lab.frame(), self.lab.given
        for site, button in enumerate(self.sites):
            symbol = frame.alphabet[given[site]] if site in given else None
            button.description = f"{site}" if symbol is None else f"{site} = {symbol}"
            button.tooltip = f"Site {site} is free" if symbol is None else f"Site {site} is {symbol}"
            button.button_style = "" if symbol is None else "primary"
        self._placing = True  # a choice that was refused goes back to what is looked at
        self.model.value = self.lab.model
        self._placing = False
        self.charts.draw(frame)
        self.told.value = f'<div role="status" aria-live="polite" style="line-height:1.4">{_summary(frame)}</div>'


def _summary(frame: ExplainFrame) -> str:
    given = (
        f"Given {frame.condition}: probability {frame.truth.probability:.4g} under the truth, "
        f"{frame.learned.probability:.4g} under {frame.model}."
        if frame.given
        else "Nothing is given."
    )
    told = f"The marginals differ by up to {frame.site_distance:.4f} in total variation, whole strings by"
    return escape(f"{given} {told} {frame.distance:.4f}.")
