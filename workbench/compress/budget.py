"""How a limit on the whole becomes a bond for each matrix."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from typing import Literal

import numpy as np

from workbench.decompose.ladder import Ladder

BUDGETS = ("uniform", "global", "measured")

Unit = Literal["n_params", "multiply_adds"]


@dataclass(frozen=True)
class Rungs:
    """The settings of one matrix that a budget chooses among: bonds, what each costs, and the harm it does.

    The last is the whole matrix, which costs what it is and does no harm.
    """

    bonds: tuple[int, ...]
    costs: tuple[int, ...]
    harms: tuple[float, ...]

    @classmethod
    def of(cls, ladder: Ladder, shape: tuple[int, int], unit: Unit = "n_params") -> "Rungs":
        """Those of a decomposition, whose harm is the square of what it drops, and which cost less than the whole."""
        dense, costs = math.prod(shape), getattr(ladder, unit)
        useful = [k for k in range(len(ladder.bonds) - 1) if costs[k] < dense]
        return cls(
            (*(ladder.bonds[k] for k in useful), ladder.bonds[-1]),
            (*(costs[k] for k in useful), dense),
            (*(ladder.squared_errors[k] for k in useful), 0.0),
        )


def check_kept(kept: object) -> float:
    """`kept` as a float. Raises ValueError unless it is in (0, 1]."""
    if isinstance(kept, bool) or not isinstance(kept, int | float) or not 0 < kept <= 1:
        raise ValueError(f"kept is the share of parameters to keep, above 0 and up to 1, not {kept!r}.")
    return float(kept)


def uniform_bonds(ladders: Mapping[str, tuple[Ladder, tuple[int, int]]], kept: float) -> dict[str, int]:
    """The largest bond for each matrix that stores at most the share `kept` of its dense numbers.

    1 keeps every bond full. A share too small for a bond of 1 gives a bond of 1. Each matrix comes with its shape.
    """
    share = check_kept(kept)
    if share == 1:
        return {name: ladder.bonds[-1] for name, (ladder, _) in ladders.items()}
    return {name: ladder.bond_within(share * math.prod(shape)) for name, (ladder, shape) in ladders.items()}


def least_harm(rungs: Mapping[str, Rungs], limit: float) -> dict[str, int]:
    """The bond of each matrix with which the harms sum to least while the costs sum to at most `limit`.

    One price for a unit of cost, the same for all matrices: each takes the rung whose harm and price sum to least, and
    the price is the lowest at which the costs fit. With r (out + in) numbers a rank that is one threshold for all
    singular values per number stored: a sort. Where the cost of a rank falls as the bond grows (gauge-fixed pairs),
    single ranks cannot be sorted, and whole rungs are compared. What the price leaves over goes to the best steps up.
    The result is the optimum but for what is left over, less than one step of one matrix.
    Raises ValueError if the smallest rungs together exceed the limit. Source: Everett (1963), Lagrange multipliers.
    """
    smallest = sum(own.costs[0] for own in rungs.values())
    if limit < smallest:
        raise ValueError(
            f"a budget of {math.floor(limit):,} is below the smallest possible: with every bond at its smallest, the "
            f"matrices take {smallest:,}; give at least that."
        )
    tables = {name: (np.array(own.costs, float), np.array(own.harms, float)) for name, own in rungs.items()}
    chosen = _at_one_price(list(tables.values()), limit)
    _spend_the_rest(list(tables.values()), chosen, limit)
    return {name: own.bonds[k] for (name, own), k in zip(rungs.items(), chosen, strict=True)}


def _at_one_price(tables: Sequence[tuple[np.ndarray, np.ndarray]], limit: float) -> list[int]:
    """The rung of each matrix at the lowest price whose costs fit, by bisection of its logarithm."""
    width = max(len(costs) for costs, _ in tables)
    costs, harms = (np.stack([np.pad(own[k], (0, width - len(own[k])), mode="edge") for own in tables]) for k in (0, 1))
    rows, scale = np.arange(len(tables)), max(harms.max(), 1e-300)

    def at(log_price: float) -> np.ndarray:
        # Of equal sums the cheapest: argmin takes the first, and rungs are in order of cost.
        return (harms / scale + math.exp(log_price) * costs).argmin(1)

    low, high = -80.0, 20.0
    if costs[rows, at(low)].sum() <= limit:
        return at(low).tolist()
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (low, middle) if costs[rows, at(middle)].sum() <= limit else (middle, high)
    chosen = at(high)
    return chosen.tolist() if costs[rows, chosen].sum() <= limit else [0] * len(tables)


def _spend_the_rest(tables: Sequence[tuple[np.ndarray, np.ndarray]], chosen: list[int], limit: float) -> None:
    """Takes steps up, the one that spares most harm for its cost first, while one fits.

    The best step of each matrix waits in a heap; what is left only shrinks, so one that still fits is still its best.
    """
    left = limit - sum(costs[k] for (costs, _), k in zip(tables, chosen, strict=True))
    waiting = [step for index in range(len(tables)) if (step := _best_step(tables[index], index, chosen[index], left))]
    heapify(waiting)
    while waiting:
        _, minus_index, k = heappop(waiting)
        index = -minus_index
        costs = tables[index][0]
        if costs[k] - costs[chosen[index]] <= left:
            left -= costs[k] - costs[chosen[index]]
            chosen[index] = k
        if step := _best_step(tables[index], index, chosen[index], left):
            heappush(waiting, step)


def _best_step(table: tuple[np.ndarray, np.ndarray], index: int, k: int, left: float) -> tuple[float, int, int] | None:
    """The step up from rung `k` that spares most harm for its cost, of those that cost at most `left`: minus what it
    spares, minus the matrix's place, and its rung; None if none does.
    """
    costs, harms = table
    fits = int(np.searchsorted(costs, costs[k] + left, side="right")) - 1
    if fits <= k:
        return None
    ahead = slice(k + 1, fits + 1)
    gains = (harms[k] - harms[ahead]) / np.maximum(costs[ahead] - costs[k], 1e-9)
    best = int(gains.argmax())
    return (-float(gains[best]), -index, k + 1 + best) if gains[best] > 0 else None
