"""How many samples for X %, under the hand: choose a source and a learner, measure, and read the number off."""

# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportIndexIssue=false, reportCallIssue=false
# (traits and plotly's attributes are typed when they run)

import math
from collections.abc import Iterator
from html import escape

import ipywidgets as widgets
import plotly.graph_objects as go

from workbench.diagram.hovered import as_written
from workbench.explore.sample_explorer import SampleExplorer
from workbench.explore.sample_frame import QUALITIES, SampleFrame
from workbench.widgets.attempt import attempted
from workbench.widgets.axes import log_ticks
from workbench.widgets.charts import apply_theme
from workbench.widgets.colours import DARK, DROPPED, LEARNER_COLOURS, LEARNER_SHAPES, LIGHT
from workbench.widgets.latest import Latest
from workbench.widgets.own_keys import OwnKeys
from workbench.widgets.page import Page

_LABEL = {"description_width": "8em"}
_TRACES = 3  # of a learner: its band, its medians, and the interval of the number needed


class SampleView(widgets.VBox):
    """A `SampleExplorer` to look at and to move.

    Built once; every move changes traits. Points are measured on request in a thread of their own, and drawn as they
    come; stopped, they stay, and measuring goes on from there. The metric and the target ask of what is there already.
    """

    def __init__(self, explorer: SampleExplorer) -> None:
        self.explorer = explorer
        self._placing = False
        self._work = Latest(self._steps, self._failed)
        narrow, wide = widgets.Layout(width="24em"), widgets.Layout(width="min(480px, 98%)")
        self.page = Page()
        self.source = widgets.Dropdown(
            options=list(explorer.families), value=explorer.family.name, description="Source", style=_LABEL,
            layout=narrow,
        )  # fmt: skip
        self.n_sites = widgets.SelectionSlider(
            options=explorer.family.sites, value=explorer.n_sites, description="Sites", style=_LABEL, layout=wide
        )
        self.learner = widgets.Dropdown(
            options=list(explorer.learners), value=explorer.learner, description="Learner", style=_LABEL, layout=narrow
        )
        self.metric = widgets.Dropdown(
            options=list(QUALITIES), value=explorer.metric, description="Quality", style=_LABEL, layout=narrow
        )
        self.target = widgets.FloatSlider(
            value=explorer.target, min=0.5, max=0.99, step=0.01, readout_format=".0%", description="Wanted",
            style=_LABEL, layout=wide,
        )  # fmt: skip
        self.measure = widgets.Button(description="Measure", tooltip="Measure the points that are missing")
        self.stop = widgets.Button(description="Stop", tooltip="Keep what is measured", disabled=True)
        self.told, self.status = widgets.HTML(), widgets.HTML()
        self.figure = _figure(len(explorer.learners))
        self._connect()
        wrap = widgets.Layout(flex_flow="row wrap")
        rows = [self.source, self.n_sites], [self.learner, self.measure, self.stop], [self.metric, self.target]
        super().__init__(
            [self.page, *(widgets.Box(row, layout=wrap) for row in rows), self.told, self.status, self.figure]
        )
        OwnKeys.within(self)
        self._themed()
        self._draw()

    def settle(self, seconds: float | None = None) -> None:
        """Waits until what was asked for is measured or stopped; for scripts and tests."""
        self._work.settle(seconds)

    def _connect(self) -> None:
        self.page.observe(lambda change: self._themed(), "dark")
        self.source.observe(lambda change: self._source_chosen(change["new"]), "value")
        self.n_sites.observe(lambda change: self._chosen(n_sites=change["new"]), "value")
        self.learner.observe(lambda change: self._chosen(learner=change["new"]), "value")
        self.metric.observe(lambda change: self._asked(metric=change["new"]), "value")
        self.target.observe(lambda change: self._asked(target=change["new"]), "value")
        self.measure.on_click(lambda button: self._work.restart())
        self.stop.on_click(lambda button: self._work.end())

    def _source_chosen(self, name: str) -> None:
        self._chosen(source=name)
        n_sites = self.explorer.n_sites
        self._placing = True  # new options move the slider to the first of them
        self.n_sites.options = self.explorer.family.sites
        self.n_sites.value = n_sites
        self._placing = False

    def _chosen(self, **choice: str | int) -> None:
        if not self._placing:
            self._work.end()
            attempted(self.status, lambda: self.explorer.choose(**choice))
            self._draw()

    def _asked(self, **asked: str | float) -> None:
        attempted(self.status, lambda: self.explorer.ask(**asked))
        self._draw()

    def _steps(self) -> Iterator[None]:
        self.measure.disabled, self.stop.disabled = True, False
        try:
            for _ in self.explorer.steps():
                self._draw()
                yield
            self._draw()
        finally:
            self.measure.disabled, self.stop.disabled = False, True

    def _failed(self, error: BaseException) -> None:
        self.status.value = f'<span role="alert">{escape(str(error))}</span>'

    def _themed(self) -> None:
        apply_theme((self.figure,), DARK if self.page.dark else LIGHT)

    def _draw(self) -> None:
        frames = self.explorer.frames()
        present = next(frame for frame in frames if frame.learner == self.explorer.learner)
        places = list(self.explorer.learners)
        shown = {places.index(frame.learner): frame for frame in frames}
        with self.figure.batch_update():
            for place in range(len(places)):
                _draw_learner(self.figure, place, shown.get(place))
            self.figure.layout.shapes[1].y0 = self.figure.layout.shapes[1].y1 = present.target
            self.figure.layout.title.text = as_written(f"{present.source}, {present.n_sites} sites")
            self.figure.layout.yaxis.title.text = f"quality: {present.metric}"
            sizes = [size for frame in frames for size in frame.sizes]
            if sizes:
                axis = self.figure.layout.xaxis
                axis.tickvals = ticks = log_ticks(min(sizes), max(2 * min(sizes), *sizes))
                axis.ticktext = [f"{tick:,.0f}" for tick in ticks]
        # Each by itself: one update that sets it for some traces makes plotly 7 unset it in the others.
        for place in range(len(places)):
            self.figure.data[_TRACES * place + 1].showlegend = place in shown and bool(shown[place].points)
        told = _summary(present, len(self.explorer.lab.wanted))
        self.told.value = f'<div role="status" aria-live="polite" style="line-height:1.4">{escape(told)}</div>'


def _figure(n_learners: int) -> go.FigureWidget:
    figure = go.FigureWidget()
    for place in range(n_learners):
        colour = LEARNER_COLOURS[place % len(LEARNER_COLOURS)]
        symbol = LEARNER_SHAPES[place % len(LEARNER_SHAPES)].plotly
        figure.add_scatter(
            x=[], y=[], mode="lines", fill="toself", line={"width": 0}, fillcolor=colour, opacity=0.2, hoverinfo="skip",
            showlegend=False,
        )  # fmt: skip
        figure.add_scatter(
            x=[], y=[], mode="lines+markers", line={"color": colour}, marker={"symbol": symbol, "size": 7},
            hovertemplate="%{x:,} samples: %{y:.3f}<extra></extra>",
        )  # fmt: skip
        figure.add_scatter(
            x=[], y=[], mode="lines", line={"color": colour, "width": 7}, opacity=0.5, hoverinfo="skip",
            showlegend=False,
        )  # fmt: skip
    for level, dash in ((1.0, "solid"), (0.9, "dash")):
        figure.add_shape(
            type="line", xref="paper", x0=0, x1=1, y0=level, y1=level,
            line={"color": DROPPED, "width": 1, "dash": dash}, layer="below",
        )  # fmt: skip
    figure.update_layout(
        width=680, height=420, margin={"l": 66, "r": 14, "t": 44, "b": 52}, paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)", title_font_size=14, title_text="", xaxis_title="samples", yaxis_title="quality",
        legend={"x": 0.99, "y": 0.02, "xanchor": "right", "yanchor": "bottom", "font": {"size": 11}},
    )  # fmt: skip
    figure.update_xaxes(type="log")
    figure.update_yaxes(range=[-0.02, 1.06])
    return figure


def _draw_learner(figure: go.FigureWidget, place: int, frame: SampleFrame | None) -> None:
    band, medians, needed = figure.data[_TRACES * place : _TRACES * (place + 1)]
    sizes = frame.sizes if frame is not None else ()
    if frame is None or not sizes:
        for trace in (band, medians, needed):
            trace.x, trace.y = [], []
        return
    lows, highs = zip(*(frame.band(n) for n in sizes), strict=True)
    band.x, band.y = [*sizes, *reversed(sizes)], [*lows, *reversed(highs)]
    medians.x, medians.y, medians.name = list(sizes), [frame.median(n) for n in sizes], as_written(frame.learner)
    found = frame.needed
    if found is None:
        needed.x, needed.y = [], []
    else:
        high = found.high if math.isfinite(found.high) else max(sizes)
        needed.x, needed.y = [found.low, high], [frame.target] * 2


def _summary(frame: SampleFrame, wanted: int) -> str:
    if not frame.points:
        return f"{frame.learner} on {frame.source}: nothing is measured yet; press Measure."
    told = f"{len(frame.points)} of {wanted} points; {frame.target:.0%} of {frame.metric}"
    needed = "is not reached within these sizes" if frame.needed is None else f"takes {frame.needed}"
    return f"{frame.learner} on {frame.source}, entropy {frame.entropy:.4f} nats: {told} {needed}."
