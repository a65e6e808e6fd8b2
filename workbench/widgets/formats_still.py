"""Printed twins of the formats' view: the tensors of one weight to scale, and its errors metric by metric."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Polygon

from workbench.explore.one_weight import METRICS, WeightFrame
from workbench.widgets.axes import log_ticks
from workbench.widgets.colours import DROPPED, KEPT, METRIC_SHAPES, NOW
from workbench.widgets.to_scale import SIZE, Shown, drawn_to_scale

_INCH = 96  # pixels
_TITLE, _ERRORS = 0.35, 3.2  # inches
_METRIC_COLOURS = {"plain": DROPPED, "input": KEPT, "two-sided": NOW}
_SAID_OF = {"plain": "of the weight", "input": "of the outputs", "two-sided": "as the loss feels it"}


def formats_still(frame: WeightFrame) -> Figure:
    """Every format's tensors, as much area as they hold numbers, and below it their errors in each metric."""
    made = drawn_to_scale(frame)
    wide, high = made.width / _INCH, made.height / _INCH
    whole = high + _TITLE + _ERRORS
    figure = plt.figure(figsize=(wide, whole))
    plt.close(figure)  # the figure is the value; a notebook would otherwise show it twice
    # Placed by hand: the words have a size of their own, and fit only where a unit is a pixel.
    drawing = figure.add_axes((0, _ERRORS / whole, 1, high / whole))
    drawing.set(xlim=(0, made.width), ylim=(made.height, 0))
    drawing.set_axis_off()
    for own in made.shown:
        _draw(drawing, own)
    _errors_panel(figure.add_axes((0.07, 0.5 / whole, 0.91, (_ERRORS - 0.9) / whole)), frame)
    told = f"{frame.matrix} of {frame.model}, cut to {frame.kept:.0%}"
    figure.text(0.5, 1 - 0.5 * _TITLE / whole, told, ha="center", va="center", fontsize=11, parse_math=False)
    return figure


def metrics_still(bonds: Sequence[int], curves: Mapping[str, Mapping[str, Sequence[float]]]) -> Figure:
    """Error against bond, a panel for each metric that judges, a line for each metric a pair was made for."""
    figure, panels = plt.subplots(1, len(METRICS), figsize=(10, 3.2), layout="constrained")
    plt.close(figure)
    for axes, judge in zip(panels, METRICS, strict=True):
        for made_for, judged in curves.items():
            axes.plot(
                bonds, judged[judge], marker=METRIC_SHAPES[made_for].matplotlib, ms=5, lw=1.4,
                color=_METRIC_COLOURS[made_for], label=f"made for {made_for}",
            )  # fmt: skip
        axes.set(xlabel="bond", title=f"error {_SAID_OF[judge]} ({judge})", yscale="log")
        low, high = axes.get_ylim()
        ticks = log_ticks(float(low), float(high))
        axes.set_yticks(ticks, [f"{tick:.3g}" for tick in ticks])
        axes.minorticks_off()
        axes.grid(alpha=0.2)
    panels[0].set_ylabel("relative error")
    panels[0].legend(fontsize=8)
    return figure


def _draw(axes: Axes, own: Shown) -> None:
    x, y, name = own.title
    axes.text(x, y, name, fontsize=SIZE * 0.75, weight="bold", parse_math=False)  # 0.75 points are a pixel
    for block in own.blocks:
        axes.add_patch(Polygon(block.outline, closed=True, fc=own.colour, ec=own.colour, alpha=0.85, lw=1))
        for (x1, y1), (x2, y2) in block.seams:
            axes.plot((x1, x2), (y1, y2), color="white", lw=0.6)
    for x, y, line in own.words:
        axes.text(x, y, line, fontsize=SIZE * 0.75, parse_math=False)


def _errors_panel(axes: Axes, frame: WeightFrame) -> None:
    names = [own.name for own in frame.formats]
    for metric in METRICS:
        axes.plot(
            range(len(names)), [own.errors[metric] for own in frame.formats], METRIC_SHAPES[metric].matplotlib,
            color=_METRIC_COLOURS[metric], ms=8, label=f"{_SAID_OF[metric]} ({metric})",
        )  # fmt: skip
    axes.set_xticks(
        range(len(names)), [name.replace(", ", ",\n").replace(" of ", "\nof ") for name in names], fontsize=8
    )
    axes.set(ylabel="relative error", ylim=(0, None))
    axes.set_xlim(-0.5, len(names) - 0.5)
    axes.grid(axis="y", alpha=0.3)
    axes.legend(fontsize=8, loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=len(METRICS), frameon=False)
