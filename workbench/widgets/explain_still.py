"""Truth and model given some symbols, printed: the twin of the live charts, for a page without a kernel."""

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from workbench.explore.explain_frame import MAPS, Conditional, ExplainFrame
from workbench.widgets.axes import legend_text, log_ticks
from workbench.widgets.colours import NOW
from workbench.widgets.explain_charts import (
    BLANK,
    MODEL,
    TRUTH,
    bond_told,
    map_reach,
    schmidt_shown,
    shade,
    share_told,
    shown_symbols,
)

_BAR = 0.38  # of the room of a site


def explain_still(frame: ExplainFrame) -> Figure:
    """Marginals on top, both maps on one colour scale, the entropies of all bonds and the Schmidt values of one."""
    figure = plt.figure(figsize=(9, 9.6), dpi=80, layout="constrained")
    plt.close(figure)  # the figure is the value; a notebook would otherwise show it twice
    grid = figure.add_gridspec(3, 2, height_ratios=(1, 1.9, 1.2))
    _marginals(figure.add_subplot(grid[0, :]), frame)
    maps = [figure.add_subplot(grid[1, column]) for column in (0, 1)]
    _maps(figure, maps, frame)
    _entropies(figure.add_subplot(grid[2, 0]), frame)
    _schmidt(figure.add_subplot(grid[2, 1]), frame)
    figure.suptitle("\n".join(str(frame).split("\n")[:3]), fontsize=9, parse_math=False)
    return figure


def _sides(frame: ExplainFrame) -> tuple[tuple[Conditional, str, str], ...]:
    """Truth and model, each with its name and its colour."""
    return (frame.truth, "truth", TRUTH), (frame.learned, frame.model, MODEL)


def _marginals(axes: Axes, frame: ExplainFrame) -> None:
    for place, (side, name, colour) in zip((-0.5, 0.5), _sides(frame), strict=True):
        below = [0.0] * frame.n_sites
        for k in shown_symbols(frame.alphabet):
            shares = [row[k] for row in side.marginals]
            first = k == shown_symbols(frame.alphabet)[0]
            axes.bar(
                [site + place * _BAR for site in range(frame.n_sites)], shares, _BAR, below, color=colour,
                alpha=shade(k, frame.alphabet), label=legend_text(name) if first else None,
            )  # fmt: skip
            below = [low + share for low, share in zip(below, shares, strict=True)]
    axes.set(ylim=(0, 1.02), xlabel="site; those in bold are fixed", xticks=range(frame.n_sites))
    axes.set_ylabel(share_told(frame.alphabet), parse_math=False)
    for site, _ in frame.given:
        axes.get_xticklabels()[site].set_fontweight("bold")
    axes.set_title("Marginals", fontsize=10, loc="left")
    axes.legend(fontsize=8, ncols=2, frameon=False, loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0.1)


def _maps(figure: Figure, panels: list[Axes], frame: ExplainFrame) -> None:
    reach, signed = map_reach(frame), MAPS[frame.map].signed
    for axes, (side, name, _) in zip(panels, _sides(frame), strict=True):
        image = axes.imshow(side.ties, cmap="PuOr" if signed else "cividis", vmin=-reach if signed else 0, vmax=reach)
        axes.set_facecolor(BLANK)
        sites = range(0, frame.n_sites, 1 + frame.n_sites // 17)
        axes.set(xticks=sites, yticks=sites)
        axes.tick_params(labelsize=8)
        axes.set_title(name, fontsize=10, parse_math=False)
    figure.colorbar(image, ax=panels, shrink=0.9, label=f"{frame.map}, {MAPS[frame.map].unit}")


def _entropies(axes: Axes, frame: ExplainFrame) -> None:
    bonds = [bond + 0.5 for bond in range(frame.n_sites - 1)]
    axes.axvline(frame.bond + 0.5, color=NOW)
    for (side, name, colour), shape in zip(_sides(frame), "so", strict=True):
        axes.plot(bonds, side.entropies, marker=shape, ms=5, color=colour, label=legend_text(name))
    axes.set(xlabel="site", ylabel="entropy, nats", xticks=range(0, frame.n_sites, 1 + frame.n_sites // 16))
    high = max(axes.get_ylim()[1], 0.1)
    axes.set_ylim(-0.04 * high, high)
    axes.set_title("Entanglement of √p", fontsize=10, loc="left")


def _schmidt(axes: Axes, frame: ExplainFrame) -> None:
    found = [schmidt_shown(side, frame.bond) for side, _, _ in _sides(frame)]
    for values, (_, name, colour), shape, fill in zip(found, _sides(frame), "so", ("none", "full"), strict=True):
        label = legend_text(name)
        axes.plot(range(1, 1 + len(values)), values, shape, ms=6, color=colour, fillstyle=fill, label=label, ls="")
    low = min(min(values) for values in found)
    ticks = log_ticks(min(low, 0.1), 1)
    axes.set(
        yscale="log", xlabel="by size", xlim=(0.5, max(4, *map(len, found)) + 0.5), ylim=(min(low, 0.1) / 1.3, 1.4)
    )
    axes.set_yticks(ticks, [f"{tick:.3g}" for tick in ticks])
    axes.minorticks_off()
    axes.set_title(f"Schmidt values at bond {bond_told(frame.bond)}", fontsize=10, loc="left")
