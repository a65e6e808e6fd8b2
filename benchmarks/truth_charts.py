"""The chart of truth.py: what one pass learns of parity, how samples grow, and when a larger bond pays."""

import math
import statistics
from pathlib import Path

import matplotlib.pyplot as plt

from workbench.whole_files import replaced_file


def chart(parts: dict, file: Path) -> None:
    """Draws the parts that are there, one panel each."""
    panels = {"parity": _parity, "needed": _needed, "crossover": _crossover, "images": _images}
    there = [name for name in panels if parts.get(name)]
    figure, axes = plt.subplots(1, len(there), figsize=(4.2 * len(there), 3.6), layout="constrained", squeeze=False)
    for name, own in zip(there, axes[0], strict=True):
        panels[name](own, parts[name])
    with replaced_file(file) as temporary:
        figure.savefig(temporary, format="png", dpi=90)
    plt.close(figure)


def _parity(axes: plt.Axes, rows: list[dict]) -> None:
    partial = [row for row in rows if row["fraction"] < 1]
    fractions = [row["fraction"] for row in partial]
    axes.errorbar(
        fractions,
        [row["overlap"] for row in partial],
        [row["sd"] for row in partial],
        fmt="o",
        ms=4,
        label="one pass, 10 shuffles",
    )
    axes.plot(fractions, [row["theory"] for row in partial], "--", color="#999999", label="mean field (ours)")
    dropped = [row for row in partial if row["dropped_sector"]]
    axes.plot(
        [row["fraction"] for row in dropped],
        [row["overlap"] for row in dropped],
        "x",
        color="#D55E00",
        ms=9,
        label="a sector was dropped",
    )
    axes.set(
        xscale="log", xlabel="share of the even strings", ylabel="overlap with the truth", title="Parity of 16 bits"
    )
    axes.legend(fontsize=8)


def _needed(axes: plt.Axes, rows: list[dict]) -> None:
    bits = [row["n_sites"] for row in rows]
    axes.semilogy(bits, [row["n"] for row in rows], "o", base=2, label="measured")
    axes.semilogy(bits, [row["theory"] for row in rows], "--", color="#999999", base=2, label="mean field (ours)")
    axes.semilogy(bits, bits, ":", color="#009E73", base=2, label="told that it is linear")
    axes.set(xlabel="bits", ylabel="strings for 90 % overlap", title="One pass on parity")
    axes.legend(fontsize=8)


def _crossover(axes: plt.Axes, rows: list[dict]) -> None:
    for model, colour, marker in (
        ("bond 2", "#0072B2", "o"),
        ("bond 4", "#E69F00", "s"),
        ("bond 8", "#CC79A7", "D"),
        ("GPT", "#009E73", "^"),
    ):
        own = [row for row in rows if row["model"] == model and row["kl"] is not None]
        sizes = sorted({row["n"] for row in own})
        medians = [statistics.median(row["kl"] for row in own if row["n"] == n) for n in sizes]
        axes.loglog(sizes, medians, marker + "-", ms=5, color=colour, label=model)
    axes.set(xlabel="samples", ylabel="divergence from the truth, nats", title="Quantum chain of 12 spins")
    axes.legend(fontsize=8)


def _images(axes: plt.Axes, rows: list[dict]) -> None:
    learned = [row for row in rows if "max_bond" in row]
    bonds = [row["max_bond"] for row in learned]
    axes.plot(bonds, [row["held_out"] for row in learned], "o-", label="held out")
    axes.plot(bonds, [row["train"] for row in learned], "s--", label="trained on")
    axes.set_xscale("log", base=2)
    axes.set_xticks(bonds, [str(bond) for bond in bonds])
    axes.set(xlabel="bond", ylabel="nats an image", title="Digits, 8 × 8 pixels")
    low = min(min(row["held_out"], row["train"]) for row in learned)
    axes.set_ylim(math.floor(low) - 0.5, None)
    axes.legend(fontsize=8)
