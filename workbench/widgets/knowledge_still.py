"""Printed twins of a map of what a model's bonds know: the share of each kind of knowledge that a cut takes."""

import matplotlib.pyplot as plt
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor

from workbench.explore.bond_knowledge import KnowledgeMap

_UNCUT = "uncut: lost already"


def knowledge_still(found: KnowledgeMap, bond: int) -> Figure:
    """All matrices, each cut alone to one bond: shares lost as numbers on shades, and above them the whole model's.

    Raises ValueError for a bond that is not in the map, or a map of no matrix yet.
    """
    if not found.matrices:
        raise ValueError(f"no matrix of {found.model} is measured yet; take a later map.")
    found.at(found.matrices[0], bond)
    names = [f"{matrix} ({full})" for matrix, full in zip(found.matrices, found.full_bonds, strict=True)]
    title = (
        f"{found.model}: the share lost when one matrix is cut to bond {bond}\n({found.cut}; full bonds in brackets)"
    )
    return _shares(found, names, found.lost[:, found.bonds.index(bond)], title)


def knowledge_bonds_still(found: KnowledgeMap, matrix: str) -> Figure:
    """One matrix at every bond of the map, drawn the same way. Raises ValueError for a matrix that is not in it."""
    found.at(matrix, found.bonds[0])
    names = [f"bond {bond}" for bond in found.bonds]
    title = f"{found.model}: the share lost when {matrix} is cut\n({found.cut}), all else uncut"
    return _shares(found, names, found.lost[found.matrices.index(matrix)], title)


def _shares(found: KnowledgeMap, names: list[str], shares: Float[Tensor, "rows kinds"], title: str) -> Figure:
    """Numbers on shades from nothing lost to all; the first row is what the whole model lacks."""
    rows = [(found.uncut / found.nothing).tolist(), *shares.tolist()]
    figure, axes = plt.subplots(figsize=(9.0, 2.6 + 0.3 * len(rows)), layout="constrained")
    plt.close(figure)  # the figure is the value; a notebook would otherwise show it twice
    image = axes.imshow(rows, cmap="cividis", vmin=0, vmax=1, aspect="auto")
    for row, values in enumerate(rows):
        for column, share in enumerate(values):
            ink = "black" if share > 0.5 else "white"
            axes.text(column, row, _told(share, 2 if row else 3), ha="center", va="center", fontsize=8, color=ink)
    axes.axhline(0.5, color="white", lw=3)
    axes.set_xticks(
        range(len(found.kinds)),
        [kind.replace(", ", ",\n") for kind in found.kinds],
        rotation=40,
        ha="right",
        parse_math=False,
    )
    axes.set_yticks(range(len(rows)), [_UNCUT, *names])
    axes.tick_params(labelsize=8)
    axes.set_xlabel(f"{found.n_streams} streams of {found.n_sites} words; 1 is as bad as knowing nothing", fontsize=8)
    figure.colorbar(image, ax=axes, label="share lost", extend="max")
    figure.suptitle(title, fontsize=9, parse_math=False)
    return figure


def _told(share: float, digits: int) -> str:
    """Without the sign of a loss that is none."""
    return f"{round(share, digits) + 0.0:.{digits}f}"
