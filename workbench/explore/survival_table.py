"""How far each matrix can be cut before a head stops doing what it does: one table of smallest bonds."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from workbench.explore.one_cut import OneCut, shapes_patterns
from workbench.transformer.composition import Head
from workbench.transformer.head_scores import (
    HeadScores,
    duplicate_token_score,
    induction_score,
    previous_token_score,
    scores_of,
)
from workbench.transformer.reading import anatomy_of

EXACT_UP_TO = 128  # bonds: in wider ones only each so many is tried, so that 64 are, and then those in between
_GRID = 64
_TIMES_CHANCE = 2.0


@dataclass(frozen=True)
class SurvivalTable:
    """For each head (row) and matrix (column), the smallest bond at which the head keeps its score, all else uncut.

    A head keeps a score that is at least `keep` of the uncut one, at this bond and at every larger one that was tried;
    `exact` says whether all were. `bonds` holds None where the head has nothing to keep, its uncut score being below
    `floor`, twice what even attention would give, or where its pattern does not depend on the matrix. `seconds` and
    `n_passes` are what the measuring took. Columns that no head with a score depends on are left out.
    """

    model: str
    behaviour: str
    cut: str
    keep: float
    floor: float
    heads: tuple[Head, ...]
    scores: tuple[float, ...]
    matrices: tuple[str, ...]
    full_bonds: tuple[int, ...]
    bonds: tuple[tuple[int | None, ...], ...]  # by head, then matrix
    exact: bool
    n_passes: int
    seconds: float

    def bond(self, head: Head, matrix: str) -> int | None:
        """The smallest bond of a matrix that keeps a head's score. Raises ValueError for what is not in the table."""
        if head not in self.heads or matrix not in self.matrices:
            raise ValueError(
                f"head {told(head)} and {matrix!r} are no cell of this table; its matrices are "
                f"{', '.join(self.matrices)}, and its heads {', '.join(map(told, self.heads))}."
            )
        return self.bonds[self.heads.index(head)][self.matrices.index(matrix)]

    def keeps_nothing(self, head: Head) -> bool:
        """Whether the head's uncut score is too near chance to be worth keeping."""
        return self.scores[self.heads.index(head)] < self.floor

    def __str__(self) -> str:
        kept = [head for head in self.heads if not self.keeps_nothing(head)]
        head_line = ["head, score", *(f"{told(head)}, {self.scores[self.heads.index(head)]:.2f}" for head in kept)]
        lines = [head_line]
        for matrix, full in zip(self.matrices, self.full_bonds, strict=True):
            bonds = (self.bond(head, matrix) for head in kept)
            lines.append([f"{matrix} of {full}", *("–" if bond is None else str(bond) for bond in bonds)])
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        padded = ("  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]) for line in lines)
        n_without = len(self.heads) - len(kept)
        return "\n".join(
            [
                f"{self.model}: the smallest bond ({self.cut}) that keeps {self.keep:.0%} of a head's {self.behaviour} "
                f"score, all else uncut{'' if self.exact else '; wide bonds are tried on a grid, then refined'}",
                *padded,
                f"{n_without} of {len(self.heads)} heads score below {self.floor:.3f}, twice chance; "
                f"{self.n_passes} forward passes, {self.seconds:.1f} s",
            ]
        )


@dataclass(frozen=True, eq=False)
class Asked:
    """What a table is asked for: how the matrices are cut, the rows, the behaviour, and the share of it to keep."""

    cut: str
    rows: Int[Tensor, "n t"]
    period: int
    behaviour: str = "induction"
    keep: float = 0.95

    def __post_init__(self) -> None:
        if not 0 < self.keep <= 1:
            raise ValueError(f"the share of a score to keep is above 0 and at most 1, not {self.keep}.")


def tables(model: OneCut, asked: Asked, uncut: HeadScores) -> Iterator[SurvivalTable]:
    """The table with one matrix measured after another, from none to all. `uncut` are the scores of the whole model.

    Cost: for each matrix that a head with a score depends on, a forward pass for each bond tried, downward until all
    such heads have lost it; no decomposition.
    """
    start, anatomy = time.perf_counter(), anatomy_of(model.model)
    floor = _TIMES_CHANCE * _chance(asked)
    scores = uncut.of(asked.behaviour)
    table = SurvivalTable(
        uncut.name, asked.behaviour, asked.cut, asked.keep, floor, uncut.heads, tuple(scores.tolist()),
        (), (), ((),) * len(uncut.heads), True, 0, 0.0,
    )  # fmt: skip
    yield table
    for matrix, full in model.full_bonds.items():
        concerned = torch.tensor([shapes_patterns(matrix, layer) for layer, _ in uncut.heads]) & (scores >= floor)
        if not bool(concerned.any()):
            continue
        passes: list[int] = []

        def scores_at(bond: int, matrix: str = matrix, passes: list[int] = passes) -> Float[Tensor, " h"]:
            passes.append(bond)
            model.cut(matrix, bond)
            return scores_of(anatomy, model.read(asked.rows)[0], asked.period).of(asked.behaviour)

        found = smallest_bonds(scores_at, full, asked.keep * scores, concerned)
        table = replace(
            table, matrices=(*table.matrices, matrix), full_bonds=(*table.full_bonds, full),
            bonds=tuple((*row, bond) for row, bond in zip(table.bonds, found, strict=True)),
            exact=table.exact and full <= EXACT_UP_TO, n_passes=table.n_passes + len(passes),
            seconds=time.perf_counter() - start,
        )  # fmt: skip
        yield table


def smallest_bonds(
    scores_at: Callable[[int], Float[Tensor, " h"]],
    full: int,
    wanted: Float[Tensor, " h"],
    concerned: Bool[Tensor, " h"],
) -> tuple[int | None, ...]:
    """For each head concerned, the smallest bond at which its score, and at every larger one tried, is as wanted.

    At the full bond, which is not tried, it is. Up to `EXACT_UP_TO` every bond is tried until all heads have failed;
    of wider ones each on a grid of 64, and where a head fails all those back to the one before.
    """
    step = 1 if full <= EXACT_UP_TO else math.ceil(full / _GRID)
    alive = concerned.clone()
    found = torch.full((len(wanted),), full)
    last = full
    for bond in dict.fromkeys((*range(full - step, 1, -step), 1)) if full > 1 else ():
        now = scores_at(bond)
        between = range(last - 1, bond, -1) if bool((alive & (now < wanted)).any()) else ()
        for tried in (*between, bond):
            alive = alive & ((now if tried == bond else scores_at(tried)) >= wanted)
            found[alive] = tried
            if not bool(alive.any()):
                break
        if not bool(alive.any()):
            break
        last = bond
    return tuple(bond if own else None for bond, own in zip(found.tolist(), concerned.tolist(), strict=True))


def told(head: Head) -> str:
    """A head as layer.head."""
    return f"{head[0]}.{head[1]}"


def _chance(asked: Asked) -> float:
    """The score of a head that attends evenly to all it may."""
    n = asked.rows.shape[1]
    even = torch.ones(n, n, dtype=torch.float64).tril()
    even = even / even.sum(-1, keepdim=True)
    if asked.behaviour == "previous":
        return float(previous_token_score(even))
    score = duplicate_token_score if asked.behaviour == "duplicate" else induction_score
    return float(score(even, asked.period))
