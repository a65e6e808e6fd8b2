"""The same frame as a printed page: three matplotlib panels for a script, a README or a page without a kernel."""

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from workbench.explore.frame import FLOOR, Frame
from workbench.widgets.axes import log_ticks
from workbench.widgets.colours import DROPPED, KEPT, NOW, RECIPE_COLOURS


def still(frame: Frame) -> Figure:
    """The trade-off, the heatmap of discarded weight and the spectrum of the selected bond, side by side."""
    figure, (trade, heat, spectrum) = plt.subplots(1, 3, figsize=(14, 4), layout="constrained")
    plt.close(figure)  # the figure is the value; a notebook would otherwise show it twice
    _trade_off(trade, frame)
    _heatmap(figure, heat, frame)
    _spectrum(spectrum, frame)
    figure.suptitle(str(frame).split("\n")[0], parse_math=False)
    return figure


def _trade_off(axes: Axes, frame: Frame) -> None:
    for (method, metric), colour in RECIPE_COLOURS.items():
        points = [p for p in frame.history if (p.recipe.method, p.recipe.metric) == (method, metric)]
        if points:
            axes.errorbar(
                [100 * p.kept_total for p in points],
                [p.perplexity_ratio for p in points],
                yerr=[p.estimate.ratio_error for p in points],
                fmt="o",
                color=colour,
                label=f"{method}, {metric}",
            )
    front = frame.front
    axes.step(
        [100 * p.kept_total for p in front], [p.perplexity_ratio for p in front], where="post", color=DROPPED, ls=":",
        label="Pareto front",
    )  # fmt: skip
    if frame.point is not None:
        axes.plot(
            100 * frame.point.kept_total,
            frame.point.perplexity_ratio,
            "D",
            mfc="none",
            mec=NOW,
            ms=11,
            mew=2,
            label="now",
        )
    axes.axhline(1, color=DROPPED, lw=1)
    axes.set(xlabel="numbers stored, % of the dense model", ylabel="perplexity ÷ dense", title="Accuracy against size")
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    ticks = log_ticks(float(low), float(high))
    axes.set_yticks(ticks, [f"{tick:.3g}" for tick in ticks])
    axes.yaxis.set_minor_locator(NullLocator())
    axes.legend(fontsize=8)


def _heatmap(figure: Figure, axes: Axes, frame: Frame) -> None:
    image = axes.imshow(frame.heatmap(), cmap="cividis", norm=LogNorm(FLOOR, 1), aspect="auto")
    chosen = next(layer for layer in frame.layers if layer.name == frame.selected)
    axes.plot(chosen.block, frame.kinds.index(chosen.kind), "s", mfc="none", mec=NOW, ms=16, mew=2)
    axes.set(xlabel="block", title="Discarded weight", xticks=range(frame.n_blocks))
    axes.set_yticks(range(len(frame.kinds)), frame.kinds)
    figure.colorbar(image, ax=axes, shrink=0.9)


def _spectrum(axes: Axes, frame: Frame) -> None:
    places = range(1, len(frame.values) + 1)
    floor = 1e-8 * max(frame.values[0], 1e-300)
    values = [max(value, floor) for value in frame.values]
    axes.semilogy(places[: frame.cut], values[: frame.cut], color=KEPT, label="kept")
    axes.semilogy(places[frame.cut :], values[frame.cut :], color=DROPPED, ls=":", label="dropped")
    axes.axvline(frame.cut + 0.5, color=NOW)
    axes.set(xlabel="singular value, by size", title=f"{frame.selected}, cut at {frame.cut} of {len(values)}")
    axes.legend(fontsize=8)
