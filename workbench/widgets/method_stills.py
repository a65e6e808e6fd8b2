"""Methods side by side, printed: cost at equal size, what the Frobenius error says of it, and where bonds matter."""

import math
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from workbench.compress.sensitivity import SHARES, Profile
from workbench.decompose.ladder import Ladder
from workbench.widgets.axes import log_ticks
from workbench.widgets.colours import METHOD_COLOURS, METRIC_SHAPES

# A row of data/results/methods.json, or one made alike: `model`, `method` (its whole name), `recipe` by field,
# `budget`, `compensated`, `healed`, `kept` (the share asked for), `ratio` and `frobenius`.
Row = Mapping
SMALLEST = 1e-5  # a smaller excess or loss is drawn here: it is below what the text can tell
_SIZE = 7.5  # points, of the letters in a legend


def methods_still(rows: Sequence[Row], title: str = "") -> Figure:
    """Excess perplexity, its ratio to the dense model's less 1, against the share kept: a line a method.

    Of several calibration sets the median is drawn. Bare cuts on the left, healed ones, if any, on the right. The best
    line of each decomposition is strong, the others are faint; the legend has the order of the lines at the smallest
    share. Raises ValueError if there are no rows, or those of more than one model.
    """
    _check(rows)
    panels_of = {"no training": _by_method(rows, healed=False), "after healing": _by_method(rows, healed=True)}
    panels_of = {name: own for name, own in panels_of.items() if own}
    widths = [1 + len({row["kept"] for row in rows if row["healed"] == healed}) for healed in (False, True)]
    widths = [width for width in widths if width > 1]
    figure, panels = plt.subplots(
        1, len(panels_of), figsize=(4.4 + 0.95 * sum(widths), _height(rows)), layout="constrained", sharey=True,
        squeeze=False, width_ratios=widths, dpi=64,
    )  # fmt: skip
    plt.close(figure)  # the figure is the value; a notebook would otherwise show it twice
    lines = {}
    for axes, (name, methods) in zip(panels[0], panels_of.items(), strict=True):
        strong = _best_of_each(methods)
        for method, own in methods.items():
            shares = sorted({row["kept"] for row in own})
            lines.setdefault(method, _line(axes, own[0], shares, [_excess(own, k) for k in shares], method in strong))
        axes.set(title=name, yscale="log")
        axes.set_xticks(sorted({row["kept"] for own in methods.values() for row in own}))
        axes.grid(alpha=0.2)
    first = next(iter(panels_of.values()))
    order = sorted(lines, key=lambda method: -_at_smallest(first[method]) if method in first else math.inf)
    _labelled(panels[0][0])
    figure.legend(
        [lines[method] for method in order], order, loc="outside right upper", fontsize=_SIZE, labelspacing=0.3
    )
    figure.supxlabel("share of the block matrices' numbers kept", fontsize=10)
    figure.suptitle(title, parse_math=False)
    return figure


def frobenius_still(rows: Sequence[Row], kept: float) -> Figure:
    """Excess perplexity of each method at one share, not healed, against the relative Frobenius error of its weights.

    Of several calibration sets the median is drawn. The legend has the order of the points, the worst first. Raises
    ValueError if there are no such rows, or those of more than one model.
    """
    _check(rows)
    methods = _by_method([row for row in rows if row["kept"] == kept], healed=False)
    if not methods:
        shares = ", ".join(f"{share:g}" for share in sorted({row["kept"] for row in rows if not row["healed"]}))
        raise ValueError(f"no row keeps {kept:g} without healing; there are rows at {shares or 'no share'}.")
    figure, axes = plt.subplots(figsize=(9, _height(rows)), dpi=64, layout="constrained")
    plt.close(figure)
    for _, own in sorted(methods.items(), key=lambda item: -_excess(item[1], kept)):
        error = float(np.median([row["frobenius"] for row in own]))
        _line(axes, own[0], [error], [_excess(own, kept)], True)
    axes.set(xscale="log", yscale="log", title=f"{kept:.0%} kept")
    axes.set_xlabel("relative Frobenius error of the block matrices")
    axes.grid(alpha=0.2)
    axes.margins(0.08)
    low, high = axes.get_xlim()
    ticks = log_ticks(float(low), float(high))
    axes.set_xticks(ticks, [f"{tick:.3g}" for tick in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    _labelled(axes)
    figure.legend(loc="outside right upper", fontsize=_SIZE, labelspacing=0.3)
    return figure


def profile_still(profile: Profile, ladders: Mapping[str, tuple[Ladder, tuple[int, int]]]) -> Figure:
    """The loss that each matrix's cut alone adds, in nats a token: a row a matrix, a column a share of its numbers.

    What was not measured stays blank; a gain is drawn as the smallest loss. `ladders`: of each matrix its ladder and
    its shape, as a sweep takes them. Raises ValueError if the profile has no point of these matrices.
    """
    names = [name for name in ladders if profile.points.get(name)]
    if not names:
        raise ValueError(f"the profile of {profile.of} has no point of {', '.join(ladders)}; sweep first.")
    table = np.full((len(names), len(SHARES)), np.nan)
    for row, name in enumerate(names):
        ladder, shape = ladders[name]
        for column, share in enumerate(SHARES):
            harm = profile.points[name].get(ladder.bond_within(share * math.prod(shape)), math.nan)
            table[row, column] = harm if math.isnan(harm) else max(harm, SMALLEST)
    figure, axes = plt.subplots(figsize=(6.2, 0.18 * len(names) + 1.4), dpi=64, layout="constrained")
    plt.close(figure)
    most = max(1e-3, float(np.nanmax(table)))
    image = axes.imshow(table, aspect="auto", cmap="cividis", norm=LogNorm(SMALLEST, most))
    axes.set_yticks(range(len(names)), names, fontsize=8, parse_math=False)
    axes.set_xticks(range(len(SHARES)), [f"{share:.0%}" for share in SHARES])
    axes.set(xlabel="share of this matrix's numbers kept, all others whole", title="Loss added, nats a token")
    figure.colorbar(image, ax=axes, shrink=0.8)
    return figure


def _height(rows: Sequence[Row]) -> float:
    """Inches, in which a legend of all methods fits."""
    return max(4.4, 0.16 * len({row["method"] for row in rows}) + 0.7)


def _check(rows: Sequence[Row]) -> None:
    models = list(dict.fromkeys(row["model"] for row in rows))
    if len(models) != 1:
        raise ValueError(f"the rows are of {', '.join(models) or 'no model'}; give those of one model.")


def _by_method(rows: Sequence[Row], healed: bool) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in rows:
        if row["healed"] == healed:
            found.setdefault(row["method"], []).append(row)
    return found


def _excess(rows: Sequence[Row], kept: float) -> float:
    """The median over calibration sets of one method's excess at a share, as it is drawn."""
    return max(SMALLEST, float(np.median([row["ratio"] - 1 for row in rows if row["kept"] == kept])))


def _at_smallest(rows: Sequence[Row]) -> float:
    return _excess(rows, min(row["kept"] for row in rows))


def _best_of_each(methods: Mapping[str, Sequence[Row]]) -> set[str]:
    """Of each decomposition (svd, mpo, ...), the name with the least excess at the smallest share."""
    best: dict[str, str] = {}
    for name, own in methods.items():
        kind = own[0]["recipe"]["method"]
        if kind not in best or _at_smallest(own) < _at_smallest(methods[best[kind]]):
            best[kind] = name
    return set(best.values())


def _line(axes: Axes, row: Row, x: Sequence[float], y: Sequence[float], strong: bool) -> Line2D:
    """One method's line, as its row's recipe, budget and compensation say; hollow where the gauge is fixed."""
    recipe = row["recipe"]
    dashed = "--" if row["compensated"] else ":" if row["budget"] == "uniform" else "-"
    return axes.plot(
        x, y, dashed, color=METHOD_COLOURS[recipe["method"]], marker=METRIC_SHAPES[recipe["metric"]].matplotlib,
        mfc="none" if recipe["gauge_fixed"] else None, ms=6, lw=2.2 if strong else 1.0, alpha=1.0 if strong else 0.5,
        label=row["method"],
    )[0]  # fmt: skip


def _labelled(axes: Axes) -> None:
    """Round numbers on the logarithmic axis of excess."""
    low, high = axes.get_ylim()
    ticks = log_ticks(float(low), float(high))
    axes.set_yticks(ticks, [f"≤ {tick:g}" if tick == SMALLEST else f"{tick:g}" for tick in ticks])
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_ylabel("perplexity ÷ dense, less 1")
