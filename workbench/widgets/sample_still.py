"""How many samples, printed: the twin of the live chart, for a page without a kernel."""

import math
from collections.abc import Sequence

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from workbench.explore.sample_frame import SampleFrame
from workbench.widgets.axes import legend_text, log_ticks
from workbench.widgets.colours import DROPPED, LEARNER_COLOURS, LEARNER_SHAPES


def samples_still(frames: Sequence[SampleFrame], learners: Sequence[str] | None = None) -> Figure:
    """Quality against the number of samples, a line a learner: medians, quartiles, and where the target is reached.

    `learners` are the names whose order gives the colours, those of the frames if nothing else is said.
    Raises ValueError if there is no frame, or they are asked different things.
    """
    if len({(frame.metric, frame.target) for frame in frames}) != 1:
        raise ValueError(f"give one or more frames that are asked the same, not {len(frames)} asked different things.")
    figure, axes = plt.subplots(figsize=(7.2, 4.2), dpi=80, layout="constrained")
    plt.close(figure)  # the figure is the value; a notebook would otherwise show it twice
    names = [frame.learner for frame in frames] if learners is None else list(learners)
    for frame in frames:
        place = names.index(frame.learner)
        _line(
            axes,
            frame,
            LEARNER_COLOURS[place % len(LEARNER_COLOURS)],
            LEARNER_SHAPES[place % len(LEARNER_SHAPES)].matplotlib,
        )
    first = frames[0]
    axes.axhline(1.0, color=DROPPED, lw=1, label="the truth")
    axes.axhline(first.target, color=DROPPED, lw=1, ls="--", label=f"{first.target:.0%}, wanted")
    sizes = [size for frame in frames for size in frame.sizes]
    axes.set(xscale="log", ylim=(-0.02, 1.07), xlabel="samples", ylabel=f"quality: {first.metric}")
    if sizes:
        ticks = log_ticks(min(sizes), max(min(sizes) * 2, max(sizes)))
        axes.set_xticks(ticks, [f"{tick:,.0f}" for tick in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.grid(alpha=0.2)
    axes.set_title(f"{first.source}, {first.n_sites} sites", fontsize=10, parse_math=False)
    figure.legend(loc="outside lower center", fontsize=8, ncols=1, frameon=False)
    return figure


def _line(axes: Axes, frame: SampleFrame, colour: str, shape: str) -> None:
    sizes, needed = frame.sizes, frame.needed
    told = "not reached" if needed is None else f"{needed.n:,.0f} samples for {frame.target:.0%}"
    medians, bands = [frame.median(n) for n in sizes], [frame.band(n) for n in sizes]
    axes.fill_between(sizes, [low for low, _ in bands], [high for _, high in bands], color=colour, alpha=0.2, lw=0)
    axes.plot(sizes, medians, marker=shape, ms=5, color=colour, label=legend_text(f"{frame.learner}: {told}"))
    if needed is not None:
        high = needed.high if math.isfinite(needed.high) else max(sizes)
        axes.plot([needed.low, high], [frame.target] * 2, color=colour, lw=4, alpha=0.5, solid_capstyle="butt")
        axes.plot([needed.n], [frame.target], marker="|", ms=14, mew=2, color=colour)
