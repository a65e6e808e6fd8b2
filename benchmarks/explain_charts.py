"""The chart of explain.py: what each explanation scored, and what misleads."""

from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import SubFigure

from workbench.whole_files import replaced_file
from workbench.widgets.colours import LEARNER_COLOURS, LEARNER_SHAPES

_SHORT = {"Ising chain, sites shuffled": "chain, shuffled", "Ising chain": "chain", "Ising tree": "tree"}


def chart(parts: dict, file: Path) -> None:
    """Draws the parts that are there: the leader board, then one small panel each."""
    panels = {"bias": _bias, "excess": _excess, "features": _features, "beliefs": _beliefs}
    there = [name for name in panels if parts.get(name)]
    figure = plt.figure(figsize=(14, 9.5), layout="constrained")
    (above,), (below,) = figure.subfigures(2, 1, height_ratios=(1.5, 1), squeeze=False)
    if parts.get("boards"):
        _boards(above, [row for row in parts["boards"] if row["kind"] == "pairs"])
    if there:
        for name, axes in zip(there, below.subplots(1, len(there), squeeze=False)[0], strict=True):
            panels[name](axes, parts[name])
    with replaced_file(file) as temporary:
        figure.savefig(temporary, format="png", dpi=80)
    plt.close(figure)


def _boards(figure: SubFigure, rows: list[dict]) -> None:
    """AUC at the largest number of samples, and at the smallest in outline; a panel for each planted truth."""
    planted = [name for name in dict.fromkeys(row["planted"] for row in rows) if _has_auc(rows, name)]
    learners = list(dict.fromkeys(row["learner"] for row in rows))
    names = list(dict.fromkeys(row["explanation"] for row in rows))[::-1]
    panels = figure.subplots(1, len(planted), sharey=True)
    for axes, name in zip(panels, planted, strict=True):
        for place, learner in enumerate(learners):
            own = [row for row in rows if (row["planted"], row["learner"]) == (name, learner)]
            _learner(axes, own, names, place, label=learner)
        axes.axvline(0.5, color="#999999", lw=1, ls=":")
        axes.set(xlim=(0.2, 1.05), title=_SHORT.get(name, name), xlabel="AUC of the pairs that depend")
        axes.set_yticks(range(len(names)), names)
        axes.grid(alpha=0.2)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(learners), fontsize=9, frameon=False)


def _learner(axes: Axes, rows: list[dict], names: list[str], place: int, label: str) -> None:
    shift = 0.22 * (1 - place)
    sizes = sorted({row["n"] for row in rows})
    for n in dict.fromkeys((sizes[-1], sizes[0])):
        own = [row for row in rows if row["n"] == n]
        least = n == sizes[0] and len(sizes) > 1
        axes.errorbar(
            [row["auc"]["mean"] for row in own],
            [names.index(row["explanation"]) + shift for row in own],
            xerr=None if least else [row["auc"]["half_width"] for row in own],
            fmt=LEARNER_SHAPES[place].matplotlib, ms=5, color=LEARNER_COLOURS[place], lw=1,
            mfc="none" if least else LEARNER_COLOURS[place],
            label=label if len(sizes) == 1 else f"{label}: {n:,} samples",
        )  # fmt: skip


def _has_auc(rows: list[dict], name: str) -> bool:
    return any(row["auc"] is not None for row in rows if row["planted"] == name)


def _bias(axes: Axes, rows: list[dict]) -> None:
    sizes = [row["n"] for row in rows]
    axes.loglog(sizes, [row["plug_in"] for row in rows], "o", label="of the samples")
    axes.loglog(sizes, [row["first_order"] for row in rows], "--", color="#999999", label="1/2n")
    axes.set(xlabel="samples", ylabel="nats a pair", title="Mutual information of independent bits")
    axes.legend(fontsize=8)


def _excess(axes: Axes, rows: list[dict]) -> None:
    for place, bond in enumerate(dict.fromkeys(row["max_bond"] for row in rows)):
        own = [row for row in rows if row["max_bond"] == bond]
        axes.semilogx(
            [row["n"] for row in own], [row["excess_entropy"] for row in own],
            LEARNER_SHAPES[place].matplotlib + "-", color=LEARNER_COLOURS[place], ms=4, label=f"bond {bond}",
        )  # fmt: skip
    axes.axhline(0, color="#999999", lw=1)
    axes.set(xlabel="samples", ylabel="nats beyond the truth", title="Entanglement of a learned chain")
    axes.legend(fontsize=8)


def _features(axes: Axes, rows: list[dict]) -> None:
    for place, name in enumerate(dict.fromkeys(row["order"] for row in rows)):
        own = [row["accuracy"] for row in rows if row["order"] == name]
        counts = [int(count) for count in own[0]]
        means = [sum(each[str(count)] for each in own) / len(own) for count in counts]
        axes.plot(counts, means, LEARNER_SHAPES[place].matplotlib + "-", color=LEARNER_COLOURS[place], ms=4, label=name)
    axes.set(xlabel="pixels kept of 64", ylabel="digits right", title="Pixels chosen by")
    axes.legend(fontsize=8)


def _beliefs(axes: Axes, rows: list[dict]) -> None:
    last = [row for row in rows if row["steps"] == max(row["steps"] for row in rows)]
    names = {
        "one_symbol": "last symbol", "two_symbols": "last two", "all_symbols": "all, linearly",
        "untrained": "untrained GPT", "r2": "trained GPT",
    }  # fmt: skip
    means = [sum(row[name] for row in last) / len(last) for name in names]
    axes.plot([1 - mean for mean in means], list(names.values()), "o", ms=8, color=LEARNER_COLOURS[0])
    axes.grid(alpha=0.2)
    axes.set(xscale="log", xlabel="1 − R²: what is left open", title="Beliefs of Mess3, read linearly")
