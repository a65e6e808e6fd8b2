"""Printed twins of the views of circuits, drawn from the same frames: for a page without a kernel."""

import math

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from workbench.diagram.printed import drawn_on
from workbench.explore.circuit_change import CircuitChange
from workbench.explore.path_ledger import LedgerFrame
from workbench.explore.survival import SurvivalFrame
from workbench.explore.survival_table import SurvivalTable, told
from workbench.transformer.composition import Head
from workbench.widgets.axes import log_ticks
from workbench.widgets.colours import DROPPED, KEPT, NOW
from workbench.widgets.stills import heatmap_panel, spectrum_panel

_INCH = 96  # pixels


def ledger_still(frame: LedgerFrame, most: int = 12) -> Figure:
    """The first paths with bars of their two shares; below, the selected one drawn, and its pattern or logits."""
    rows = frame.rows[:most]
    wide, high = max(5.0, frame.scene.width / _INCH), max(2.6, frame.scene.height / _INCH)
    bars = 0.9 + 0.26 * len(rows)
    figure, axes = plt.subplots(
        2, 2, figsize=(wide + 3.6, bars + high + 0.4), layout="constrained", squeeze=False,
        height_ratios=(bars, high), width_ratios=(wide, 3.6),
    )  # fmt: skip
    plt.close(figure)  # the figure is the value; a notebook would otherwise show it twice
    columns = (("share of the logits", [row.share for row in rows]), ("right logit", [row.right for row in rows]))
    for panel, (title, values) in zip(axes[0], columns, strict=True):
        panel.barh(range(len(rows)), values, color=[KEPT if value >= 0 else NOW for value in values])
        panel.axvline(0, color=DROPPED, lw=1)
        panel.set_title(title, fontsize=10)
        panel.set(yticks=[], ylim=(len(rows) - 0.4, -0.6))
        panel.locator_params(axis="x", nbins=5)
    axes[0, 0].set_yticks(range(len(rows)), [row.name for row in rows])
    for row, label in zip(rows, axes[0, 0].get_yticklabels(), strict=True):
        label.set_fontweight("bold" if row.name == frame.selected else "normal")
    drawn_on(axes[1, 0], frame.scene)
    heatmap_panel(figure, axes[1, 1], frame.shown)
    left = len(frame.rows) - len(rows)
    more = f"\n{left} more path{'s are' if left > 1 else ' is'} not shown" if left else ""
    figure.suptitle(f"{frame.model}: {frame.equation}{more}", fontsize=10, parse_math=False)
    return figure


def survival_still(frame: SurvivalFrame) -> Figure:
    """The head's pattern before and after the cut, the spectra of its circuits, and that of the matrix with the cut."""
    figure, axes = plt.subplots(2, 3, figsize=(11.5, 6.6), layout="constrained", height_ratios=(1.15, 1))
    plt.close(figure)  # the figure is the value; a notebook would otherwise show it twice
    patterns = (("before the cut", frame.pattern), ("after the cut", frame.pattern_after))
    for panel, (title, pattern) in zip(axes[0], patterns, strict=False):
        image = panel.imshow(pattern.tolist(), cmap="PuOr", vmin=-1, vmax=1)
        panel.set(xlabel="key", ylabel="query", xticks=[], yticks=[])
        panel.set_title(title, fontsize=10)
    figure.colorbar(image, ax=axes[0, 1], shrink=0.9)
    axes[0, 2].set_axis_off()
    rows = [[name, f"{before:.3f}", f"{after:.3f}"] for name, before, after in frame.numbers]
    table = axes[0, 2].table(rows, colLabels=["", "before", "after"], loc="center", colWidths=(0.56, 0.22, 0.22))
    table.auto_set_font_size(False)
    table.set_fontsize(9)
    table.scale(1, 1.5)
    for panel, change in zip(axes[1], (frame.qk, frame.ov), strict=False):
        _spectra_panel(panel, change)
    spectrum_panel(axes[1, 2], frame.spectrum, frame.kept)
    axes[1, 2].set_title(f"bond {frame.bond} of {frame.full_bond}", fontsize=10, parse_math=False)
    figure.suptitle(str(frame).split("\n")[0], fontsize=10, parse_math=False)
    return figure


def survival_table_still(table: SurvivalTable) -> Figure:
    """The smallest bonds that keep each head's score, as numbers on shades of their share of the full bond.

    Heads without a score to keep are counted beneath, not drawn. Raises ValueError where no head has one.
    """
    heads = [head for head in table.heads if not table.keeps_nothing(head)]
    if not heads:
        raise ValueError(f"no {table.behaviour} score of {table.model} is above {table.floor:.3f} to be drawn.")
    columns = range(len(table.matrices))
    shares = [[_share(table, head, column) for column in columns] for head in heads]
    figure, axes = plt.subplots(
        figsize=(max(6.0, 2.6 + 0.62 * len(columns)), 2.2 + 0.34 * len(heads)), layout="constrained"
    )
    plt.close(figure)  # the figure is the value; a notebook would otherwise show it twice
    image = axes.imshow(shares, cmap="cividis", vmin=0, vmax=1, aspect="auto")
    for row, head in enumerate(heads):
        for column, matrix in enumerate(table.matrices):
            bond = table.bond(head, matrix)
            ink = "black" if bond is not None and shares[row][column] > 0.5 else "white"
            axes.text(
                column, row, "–" if bond is None else str(bond), ha="center", va="center", fontsize=9,
                color=DROPPED if bond is None else ink,
            )  # fmt: skip
    names = zip(table.matrices, table.full_bonds, strict=True)
    axes.set_xticks(
        columns, [f"{name.replace('blocks.', '')} ({full})" for name, full in names], rotation=40, ha="right"
    )
    scores = (table.scores[table.heads.index(head)] for head in heads)
    axes.set_yticks(
        range(len(heads)), [f"{told(head)}, {score:.2f}" for head, score in zip(heads, scores, strict=True)]
    )
    axes.tick_params(labelsize=8)
    axes.set_xlabel(str(table).split("\n")[-1].replace("; ", "\n", 1), fontsize=8)
    axes.set_ylabel("head, score", fontsize=9)
    figure.colorbar(image, ax=axes, label="share of the full bond")
    figure.suptitle(
        str(table).split("\n")[0].replace(" that keeps", "\nthat keeps").replace("; ", ";\n"),
        fontsize=9,
        parse_math=False,
    )
    return figure


def _share(table: SurvivalTable, head: Head, column: int) -> float:
    bond = table.bond(head, table.matrices[column])
    return math.nan if bond is None else bond / table.full_bonds[column]


def _spectra_panel(axes: Axes, change: CircuitChange) -> None:
    """A circuit's singular values before, hollow, and after, filled."""
    for values, name, colour, fill in (
        (change.before.values.tolist(), "before", DROPPED, "none"),
        (change.after.values.tolist(), "after", KEPT, KEPT),
    ):
        axes.semilogy(range(1, len(values) + 1), values, "o", color=colour, mfc=fill, ms=4, label=name)
    low, high = (float(edge) for edge in axes.get_ylim())
    ticks = log_ticks(low, high)
    axes.set_yticks(ticks, [f"{tick:.3g}" for tick in ticks])
    axes.minorticks_off()
    axes.set(xlabel="singular value, by size", ylabel=f"{change.before.norm} norm")
    axes.set_title(
        f"{change.name}, rank {len(change.before)} → {len(change.after)}\ncosines: {'; '.join(change.cosines)}",
        fontsize=8,
    )
    axes.legend(fontsize=8)
