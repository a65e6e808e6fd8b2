"""The same frame as a printed page: three matplotlib panels for a script, a README or a page without a kernel."""

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from workbench.compress.curve import Point
from workbench.explore.frame import FLOOR, Frame
from workbench.widgets.axes import log_ticks
from workbench.widgets.colours import DROPPED, KEPT, METHOD_COLOURS, METRIC_SHAPES, NOW, REPAIRED


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
    recipes = dict.fromkeys((point.recipe.method, point.recipe.metric) for point in frame.history)
    for method, metric in recipes:
        own = [p for p in frame.history if (p.recipe.method, p.recipe.metric) == (method, metric)]
        bare, repaired = [p for p in own if not p.after], [p for p in own if p.after]
        for points, shape, name in ((bare, METRIC_SHAPES[metric], metric), (repaired, REPAIRED, f"{metric}, repaired")):
            if points:
                axes.errorbar(
                    [_share(frame, p) for p in points],
                    [p.harm for p in points],
                    yerr=[p.harm_error for p in points],
                    fmt=shape.matplotlib,
                    color=METHOD_COLOURS[method],
                    label=f"{method}, {name}",
                )
    front = frame.front
    axes.step(
        [_share(frame, p) for p in front], [p.harm for p in front], where="post", color=DROPPED, ls=":",
        label="Pareto front",
    )  # fmt: skip
    if frame.point is not None:
        axes.plot(
            _share(frame, frame.point),
            frame.point.harm,
            "D",
            mfc="none",
            mec=NOW,
            ms=11,
            mew=2,
            label="now",
        )
    axes.axhline(frame.dense_harm, color=DROPPED, lw=1)
    axes.set(xlabel="bytes stored, % of the dense model", ylabel=frame.harm_told, title="Accuracy against size")
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    ticks = log_ticks(float(low), float(high))
    axes.set_yticks(ticks, [f"{tick:.3g}" for tick in ticks])
    axes.yaxis.set_minor_locator(NullLocator())
    axes.legend(fontsize=8)


def _share(frame: Frame, point: Point) -> float:
    return 100 * point.bytes / frame.sizes.dense_bytes


def _heatmap(figure: Figure, axes: Axes, frame: Frame) -> None:
    image = axes.imshow(frame.heatmap(), cmap="cividis", norm=LogNorm(FLOOR, 1), aspect="auto")
    chosen = next(layer for layer in frame.layers if layer.name == frame.selected)
    if chosen.block is not None:  # a token table is in no block
        axes.plot(chosen.block, frame.block_kinds.index(chosen.kind), "s", mfc="none", mec=NOW, ms=16, mew=2)
    axes.set(xlabel="block", title="Discarded weight", xticks=range(frame.n_blocks))
    axes.set_yticks(range(len(frame.block_kinds)), frame.block_kinds)
    figure.colorbar(image, ax=axes, shrink=0.9)


def _spectrum(axes: Axes, frame: Frame) -> None:
    if not frame.values:  # a form without a spectrum: fitted bond by bond
        axes.set_axis_off()
        axes.set_title(f"{frame.selected}: this form has no spectrum")
        return
    places = range(1, len(frame.values) + 1)
    floor = 1e-8 * max(frame.values[0], 1e-300)
    values = [max(value, floor) for value in frame.values]
    axes.semilogy(places[: frame.cut], values[: frame.cut], color=KEPT, label="kept")
    axes.semilogy(places[frame.cut :], values[frame.cut :], color=DROPPED, ls=":", label="dropped")
    axes.axvline(frame.cut + 0.5, color=NOW)
    axes.set(xlabel="singular value, by size", title=f"{frame.selected}, cut at {frame.cut} of {len(values)}")
    axes.legend(fontsize=8)
