"""A limit on the whole model as one bond for each matrix, by one of three budgets."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from workbench.compress.budget import BUDGETS, Rungs, Unit, check_kept, least_harm, uniform_bonds
from workbench.compress.layers import BondLinear
from workbench.compress.sensitivity import Profile


@dataclass(frozen=True)
class Limit:
    """One upper limit: a share of the numbers of the matrices that have a bond, or numbers, bytes, or multiply-adds a
    token.

    `n_params` and `bytes` are of the whole model, as a checkpoint has them; `multiply_adds` of those matrices as they
    are applied, without looking up rows of a token table.
    """

    kept: float | None = None
    n_params: int | None = None
    bytes: int | None = None
    multiply_adds: int | None = None

    def __post_init__(self) -> None:
        given = {name: value for name, value in vars(self).items() if value is not None}
        if len(given) != 1:
            raise ValueError(
                f"give one limit of kept, n_params, bytes and multiply_adds, not {', '.join(given) or 'none'}."
            )
        for name, value in given.items():
            if name == "kept":
                check_kept(value)
            elif isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
                raise ValueError(f"a limit of {name} is a number above 0, not {value!r}.")

    @property
    def told(self) -> str:
        """What a cut of a table that is only looked up does to it, in words."""
        return "adds multiply-adds" if self.multiply_adds is not None else "leaves the head a whole table of its own"

    @property
    def unit(self) -> Unit:
        """What of a rung counts: numbers stored, or multiply-adds."""
        return "multiply_adds" if self.multiply_adds is not None else "n_params"

    def of_blocks(self, dense_params: int, other_params: int, item_bytes: int) -> float:
        """The limit on the matrices to cut, in its unit; `other_params` are the model's numbers besides them.

        Raises ValueError if what is not compressed exceeds the limit already.
        """
        if self.kept is not None:
            return self.kept * dense_params
        if self.multiply_adds is not None:
            return self.multiply_adds
        asked = self.n_params if self.n_params is not None else (self.bytes or 0) / item_bytes
        if asked <= other_params:
            raise ValueError(
                f"a limit of {asked:,.0f} numbers leaves nothing for the matrices to cut: all else, such as norms and "
                f"biases, has {other_params:,}; give more."
            )
        return asked - other_params


def allocate(
    budget: str,
    layers: Mapping[str, BondLinear],
    limit: Limit,
    other_params: int,
    item_bytes: int,
    profile: Profile | None,
) -> dict[str, int]:
    """The bond of each layer under the limit: every matrix alike (`uniform`), or those that do least harm together, as
    the decompositions predict it (`global`) or as a `profile` measured it (`measured`).

    Raises ValueError for another budget, a limit below the smallest model, or no profile to go by.
    """
    check_budget(budget)
    ladders = {name: (layer.ladder, layer.uncut.shape) for name, layer in layers.items()}
    if budget == "uniform" and limit.kept is not None:
        return uniform_bonds(ladders, limit.kept)
    dense = sum(math.prod(shape) for _, shape in ladders.values())
    total = limit.of_blocks(dense, other_params, item_bytes)
    if total >= dense:
        return {name: layer.uncut.full_bond for name, layer in layers.items()}
    if budget == "measured":
        if profile is None:
            raise ValueError("a measured budget needs a profile; call lab.sweep() first.")
        rungs = {name: profile.rungs(name, *ladders[name], limit.unit) for name in layers}
        return least_harm(rungs, total)
    rungs = {name: layer.rungs(limit.unit) for name, layer in layers.items()}
    if budget == "global":
        return least_harm(rungs, total)
    return _alike(rungs, total, layers)


def matching(layers: Mapping[str, BondLinear], pattern: str) -> dict[str, BondLinear]:
    """The layers whose names match, such as `*.W_in`. Raises ValueError if none does."""
    chosen = {name: layer for name, layer in layers.items() if fnmatchcase(name, pattern)}
    if not chosen:
        raise ValueError(f"no matrix matches {pattern!r}; the names are like {next(iter(layers))}.")
    return chosen


def check_budget(budget: str) -> None:
    """Raises ValueError unless it is one of the budgets."""
    if budget not in BUDGETS:
        raise ValueError(f"there is no budget {budget!r}; there are {', '.join(BUDGETS)}.")


def _alike(rungs: Mapping[str, Rungs], total: float, layers: Mapping[str, BondLinear]) -> dict[str, int]:
    """The largest share that fits, the same for every matrix; found by halving."""

    def bonds(share: float) -> dict[str, int]:
        fits = {
            name: [k for k, cost in enumerate(own.costs) if cost <= share * own.costs[-1]]
            for name, own in rungs.items()
        }
        return {name: own.bonds[fits[name][-1] if fits[name] else 0] for name, own in rungs.items()}

    def cost(chosen: Mapping[str, int]) -> int:
        return sum(own.costs[own.bonds.index(chosen[name])] for name, own in rungs.items())

    if cost(bonds(0.0)) > total:
        least_harm(rungs, total)  # says what the smallest possible is
    low, high = 0.0, 1.0
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if cost(bonds(middle)) <= total else (low, middle)
    return bonds(low)
