"""A sweep, printed: the twin of the live chart, for a page without a kernel."""

import math

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from workbench.explore.sweep_frame import FLOOR, SweepFrame, SweepSetting
from workbench.widgets.axes import legend_text, log_ticks
from workbench.widgets.colours import DROPPED, LEARNER_COLOURS, LEARNER_SHAPES


def sweep_still(frame: SweepFrame) -> Figure:
    """Harm against size, a panel a model or source: medians over seeds, their range, and the Pareto front.

    Raises ValueError if nothing is measured yet.
    """
    if not frame.points:
        raise ValueError(f"there is nothing to draw of this sweep yet: {frame.told}.")
    n = len(frame.subjects)
    figure, panels = plt.subplots(1, n, figsize=(max(7.2, 4.8 * n), 4.6), dpi=80, layout="constrained", squeeze=False)
    plt.close(figure)  # the figure is the value; a notebook would otherwise show it twice
    for axes, subject in zip(panels[0], frame.subjects, strict=True):
        _panel(axes, frame, subject)
    listed = [axes.get_legend_handles_labels() for axes in panels[0]]
    named = {label: handle for own in listed for handle, label in zip(*own, strict=True)}
    figure.legend(list(named.values()), list(named), loc="outside lower center", fontsize=8, ncols=2, frameon=False)
    figure.suptitle(frame.told, fontsize=10, parse_math=False)
    return figure


def _panel(axes: Axes, frame: SweepFrame, subject: str) -> None:
    drawn = [own for own in frame.settings(subject) if own.harm < math.inf]
    for place, series in enumerate(frame.series):
        own = [setting for setting in drawn if setting.series == series]
        if own:
            axes.errorbar(
                [setting.size for setting in own], [setting.drawn for setting in own], yerr=_range(own),
                label=legend_text(series), fmt=LEARNER_SHAPES[place % len(LEARNER_SHAPES)].matplotlib, ms=6,
                color=LEARNER_COLOURS[place % len(LEARNER_COLOURS)],
            )  # fmt: skip
    front = frame.front(subject)
    axes.step(
        [own.size for own in front], [own.drawn for own in front], where="post", color=DROPPED, ls=":",
        label="Pareto front",
    )  # fmt: skip
    size, harm = frame.axes(subject)
    axes.set(xlabel=size, ylabel=harm, yscale="log", xscale="log" if frame.kind == "learning" else "linear")
    axes.set_title(subject, fontsize=10, parse_math=False)
    if drawn:
        _ticked(axes, frame.kind, sorted({own.size for own in drawn}))
    axes.grid(alpha=0.2)


def _range(own: list[SweepSetting]) -> list[list[float]]:
    """How far the harm of single seeds lies below and above the median; one that is infinite is not drawn."""
    below = [setting.drawn - max(setting.low, FLOOR) for setting in own]
    above = [max(setting.high, FLOOR) - setting.drawn if math.isfinite(setting.high) else 0.0 for setting in own]
    return [below, above]


def _ticked(axes: Axes, kind: str, sizes: list[float]) -> None:
    low, high = axes.get_ylim()
    ticks = log_ticks(float(low), float(high))
    axes.set_yticks(ticks, [f"{tick:.3g}" for tick in ticks])
    axes.yaxis.set_minor_locator(NullLocator())
    if kind == "learning":
        axes.set_xticks(sizes, [f"{size:,.0f}" for size in sizes])
        axes.xaxis.set_minor_locator(NullLocator())
    else:
        axes.xaxis.set_major_formatter(lambda share, place: f"{share:.0%}")
