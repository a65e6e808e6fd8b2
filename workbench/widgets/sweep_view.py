"""A sweep under the eye: how far it is, how long the rest takes, what failed, and the Pareto front as it fills."""

# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportIndexIssue=false, reportCallIssue=false
# (traits and plotly's attributes are typed when they run)

import math
from collections.abc import Iterator
from html import escape

import ipywidgets as widgets
import plotly.graph_objects as go

from workbench.diagram.hovered import as_written
from workbench.explore.sweep import Sweep
from workbench.explore.sweep_frame import SweepFrame, SweepSetting
from workbench.widgets.charts import apply_theme, log_axis
from workbench.widgets.colours import DARK, DROPPED, LEARNER_COLOURS, LEARNER_SHAPES, LIGHT
from workbench.widgets.latest import Latest
from workbench.widgets.own_keys import OwnKeys
from workbench.widgets.page import Page
from workbench.workers.jobs import Workers

_FAILURES_TOLD = 5


class SweepView(widgets.VBox):
    """A `Sweep` to start, to watch and to stop, measured by the `workers` given, or by this process alone.

    Built once; every frame changes traits. The sweep runs in a thread of its own and is stopped at its next event;
    what is done is kept, and a later start goes on from there.
    """

    def __init__(self, sweep: Sweep, workers: Workers | None = None) -> None:
        self.sweep, self._workers, self._again = sweep, workers, False
        self._work = Latest(self._steps, self._failed)
        self.page = Page()
        self.start = widgets.Button(description="Start", tooltip="Measure the points that are missing")
        self.stop = widgets.Button(description="Stop", tooltip="Keep what is measured", disabled=True)
        self.retry = widgets.Button(description="Retry failed", tooltip="Measure also the points that failed")
        self.bar = widgets.IntProgress(max=len(sweep.tasks), layout=widgets.Layout(width="min(480px, 98%)"))
        self.subject = widgets.Dropdown(
            options=list(dict.fromkeys(task.subject for task in sweep.tasks)),
            description="Model" if sweep.kind == "compression" else "Source", layout=widgets.Layout(width="24em"),
        )  # fmt: skip
        self.told, self.status = widgets.HTML(), widgets.HTML()
        self._series = list(dict.fromkeys(task.series for task in sweep.tasks))
        self.figure = _figure(self._series, sweep.kind)
        self._connect()
        wrap = widgets.Layout(flex_flow="row wrap")
        rows = [self.start, self.stop, self.retry], [self.bar, self.subject]
        super().__init__(
            [self.page, *(widgets.Box(row, layout=wrap) for row in rows), self.told, self.status, self.figure]
        )
        OwnKeys.within(self)
        self._themed()
        self._draw(sweep.frame())

    def settle(self, seconds: float | None = None) -> None:
        """Waits until the sweep is done or stopped; for scripts and tests."""
        self._work.settle(seconds)

    def _connect(self) -> None:
        self.page.observe(lambda change: self._themed(), "dark")
        self.subject.observe(lambda change: self._draw(self.sweep.frame()), "value")
        self.start.on_click(lambda button: self._started(again=False))
        self.retry.on_click(lambda button: self._started(again=True))
        self.stop.on_click(lambda button: self._work.end())

    def _started(self, again: bool) -> None:
        self._again, self.status.value = again, ""
        self._work.restart()

    def _steps(self) -> Iterator[None]:
        self.start.disabled, self.stop.disabled, self.retry.disabled = True, False, True
        try:
            for frame in self.sweep.steps(self._workers, self._again):
                self._draw(frame)
                yield
        finally:
            self.start.disabled, self.stop.disabled = False, True
            self._draw(self.sweep.frame())

    def _failed(self, error: BaseException) -> None:
        self.status.value = f'<span role="alert">{escape(str(error))}</span>'

    def _themed(self) -> None:
        apply_theme((self.figure,), DARK if self.page.dark else LIGHT)

    def _draw(self, frame: SweepFrame) -> None:
        subject = self.subject.value
        self.bar.value = frame.n_tasks - frame.n_left
        self.bar.bar_style = "warning" if frame.failures else "success" if not frame.n_left else "info"
        self.retry.disabled = not frame.failures or bool(frame.at_work)
        settings = frame.settings(subject)
        by_series = [[own for own in settings if own.series == series] for series in self._series]
        drawn = [own for own in settings if own.harm < math.inf]
        front = list(frame.front(subject))
        with self.figure.batch_update():
            for trace, own in zip(self.figure.data, [*by_series, front], strict=True):
                own = [setting for setting in own if setting in drawn]
                trace.x, trace.y = [setting.size for setting in own], [setting.drawn for setting in own]
                trace.text = [_setting_told(setting) for setting in own]
            self.figure.layout.title.text = as_written(subject)
            self.figure.layout.xaxis.title.text, self.figure.layout.yaxis.title.text = frame.axes(subject)
            if drawn:
                low, high = min(own.drawn for own in drawn), max(own.drawn for own in drawn)
                log_axis(self.figure.layout.yaxis, low / 1.15, high * 1.15)
                if frame.kind == "learning":
                    low, high = min(own.size for own in drawn), max(own.size for own in drawn)
                    log_axis(self.figure.layout.xaxis, low / 1.3, high * 1.3, ",.0f")
        # Each by itself: one update that sets it for some traces makes plotly 7 unset it in the others.
        for trace, own in zip(self.figure.data, [*by_series, front], strict=True):
            trace.showlegend = bool(own)
        self.told.value = _told(frame)


def _figure(series: list[str], kind: str) -> go.FigureWidget:
    figure = go.FigureWidget()
    for place, name in enumerate(series):
        figure.add_scatter(
            x=[], y=[], mode="markers", name=as_written(name), hoverinfo="text", showlegend=False,
            marker={
                "color": LEARNER_COLOURS[place % len(LEARNER_COLOURS)],
                "symbol": LEARNER_SHAPES[place % len(LEARNER_SHAPES)].plotly,
                "size": 9,
            },
        )  # fmt: skip
    figure.add_scatter(
        x=[], y=[], mode="lines", name="Pareto front", line={"color": DROPPED, "dash": "dot", "shape": "hv"},
        hoverinfo="skip", showlegend=False,
    )  # fmt: skip
    figure.update_layout(
        width=680, height=420, margin={"l": 66, "r": 14, "t": 44, "b": 52}, paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)", title_font_size=14, title_text="", xaxis_title="", yaxis_title="",
        legend={"orientation": "h", "y": -0.18, "yanchor": "top", "font": {"size": 11}},
    )  # fmt: skip
    if kind == "learning":
        figure.update_xaxes(type="log")
    else:
        figure.update_xaxes(range=[0, 1.04], tickformat=".0%")
    figure.update_yaxes(type="log")
    return figure


def _setting_told(setting: SweepSetting) -> str:
    spread = "" if setting.seeds == 1 else f"<br>{setting.seeds} seeds, {setting.low:.4g} to {setting.high:.4g}"
    return f"{as_written(setting.series)}, {as_written(setting.asked)}: {setting.harm:.4g}{spread}"


def _told(frame: SweepFrame) -> str:
    """How far it is, who works on what, and what failed, in words."""
    lines = [f"<b>{escape(frame.told)}</b>"]
    for own in frame.at_work:
        attempt = "" if own.attempt == 1 else f", attempt {own.attempt}"
        lines.append(escape(f"worker {own.worker}: {own.name}{attempt}"))
    failures = [f"failed: {own.name}: {own.error}" for own in frame.failures[:_FAILURES_TOLD]]
    if len(frame.failures) > _FAILURES_TOLD:
        failures.append(f"and {len(frame.failures) - _FAILURES_TOLD} more failed")
    lines += [f'<span role="alert">{escape(line)}</span>' for line in failures]
    return f'<div role="status" aria-live="polite" style="line-height:1.4">{"<br>".join(lines)}</div>'
