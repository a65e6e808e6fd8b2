"""What is known of a string when only some of its sites are seen: everything else summed out, for many strings at once.

A sweep carries one environment a string, and at every site passes the symbols there with weights of their own: 1 for
the symbol that is seen and 0 for the others, or 1 for all where none is seen.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from workbench.born.environments import SquaredWeights, Weights, picked, scaled
from workbench.born.questions import ChainModel
from workbench.memory import check_fits

MOST_SUBSETS = 2**20  # of the sites of one string: as many as are ever looked at
_OFF = 1e-9  # what the shares of a background may miss of 1
_NUMBERS = 2**22  # in the environments that are held at a time


def log_marginal(model: ChainModel, x: Int[Tensor, "n sites"], seen: Bool[Tensor, "_ sites"]) -> Float[Tensor, " n"]:
    """ln of the probability of the symbols of each string at its `seen` sites, all others summed out; exact.

    `seen` has a row for each string, or one for all. It is -inf where no string has these symbols, and where a
    symbol's probability given those seen before it is below `model.rounding`. Nothing seen gives 0.
    Raises ValueError for strings of another length or alphabet, or another number of rows of `seen`.
    Cost: n environments past one core a site.
    """
    x = model.checked(x)
    if seen.shape not in ((1, model.n_sites), (len(x), model.n_sites)):
        raise ValueError(
            f"sites are seen by a row for all {len(x)} strings or one each, of {model.n_sites} sites, not by shape "
            f"{tuple(seen.shape)}."
        )
    n_rows = rows_at_once(model.weights)
    parts = zip(x.split(n_rows), seen.to(x.device).expand(len(x), -1).split(n_rows), strict=True)
    with torch.no_grad():
        logs = [_log_seen(model.weights, rows, masks, model.rounding) for rows, masks in parts]
        return torch.cat(logs) - model.weights.ends()[1]


def log_marginals_of_subsets(model: ChainModel, x: Int[Tensor, "n sites"]) -> Float[Tensor, "n subsets"]:
    """`log_marginal` of every set of sites, exact: that of set s at the place Σ 2^(sites - 1 - i) over its sites i.

    Raises ValueError above 2^20 sets, or for strings of another length or alphabet; MemoryError where their
    environments would not fit. Cost: 2^(k + 1) environments a string past the core of site k.
    """
    check_subsets(model.n_sites)
    x, weights = model.checked(x), model.weights
    per_string = max(
        2**k * core.shape[1] * core.shape[3] ** weights.n_bond_legs for k, core in enumerate(weights.cores)
    )
    check_fits(per_string, weights.cores[0], f"the environments of all sets of {model.n_sites} sites")
    with torch.no_grad():
        parts = [_log_subsets(weights, rows, model.rounding) for rows in x.split(max(1, _NUMBERS // per_string))]
        return torch.cat(parts) - weights.ends()[1]


def mirrored(weights: Weights) -> Weights:
    """The weights of all strings read backwards."""
    return replace(weights, cores=tuple([core.transpose(0, 3) for core in reversed(weights.cores)]))


def mixed(branches: Float[Tensor, "n site *right"], shares: Float[Tensor, "n site"]) -> Float[Tensor, "n *right"]:
    """The sum of the branches of each row, weighted by its shares of the symbols."""
    n, _, *right = branches.shape
    return torch.bmm(shares[:, None], branches.flatten(2)).reshape(n, *right)


def starts(weights: Weights, n: int) -> Float[Tensor, "n *one"]:
    """So many environments before the first site."""
    return weights.cores[0].new_ones(n, *[1] * weights.n_bond_legs)


def rows_at_once(weights: Weights, kept: int = 1) -> int:
    """How many strings are swept at a time, if `kept` environments are held for each."""
    largest = max(core.shape[1] * max(core.shape[0], core.shape[3]) ** weights.n_bond_legs for core in weights.cores)
    return max(1, _NUMBERS // (largest * kept))


def as_rows(weights: Weights) -> bool:
    """Whether a square is that of one amplitude, so that a string's environment is a row."""
    return isinstance(weights, SquaredWeights) and all(core.shape[2] == 1 for core in weights.cores)


def check_subsets(n_sites: int) -> None:
    """Raises ValueError if there are more sets of sites than are looked at."""
    if 2**n_sites > MOST_SUBSETS:
        raise ValueError(
            f"{n_sites} sites have 2^{n_sites} sets, more than the 2^{MOST_SUBSETS.bit_length() - 1} looked at; "
            "estimate from random orders of the sites, or give shorter strings."
        )


def checked_background(
    background: Sequence[Float[Tensor, " _"]] | None, shape: Sequence[int], like: Tensor
) -> list[Float[Tensor, " _"]]:
    """The shares of the symbols at each site, equal ones where none are given, on the device of `like`.

    Raises ValueError unless they are a distribution over the so many symbols of each site.
    """
    if background is None:
        return [torch.full((size,), 1 / size, dtype=torch.float64, device=like.device) for size in shape]
    if [len(shares) for shares in background] != list(shape):
        raise ValueError(
            f"a background has the shares of {list(shape)} symbols, site by site, not of "
            f"{[len(shares) for shares in background]}."
        )
    for site, shares in enumerate(background):
        if float(shares.min()) < 0 or abs(float(shares.sum()) - 1) > _OFF:
            raise ValueError(f"the background at site {site} is no distribution: its shares are {shares.tolist()}.")
    return [shares.to(like.device, torch.float64) for shares in background]


def check_float64(numbers: Tensor, what: str) -> None:
    """Raises ValueError for numbers of another kind."""
    if numbers.dtype != torch.float64:
        raise ValueError(f"{what} is {numbers.dtype}; explanations are exact in float64: convert it by .double().")


def check_weights(table: Float[Tensor, "*symbols"]) -> None:
    """Raises ValueError unless the table holds float64 weights of strings: 0 or more, and finite, and not all 0."""
    check_float64(table, "the table")
    if not 0 <= float(table.min()) <= float(table.max()) < math.inf or not bool(table.any()):
        raise ValueError(
            f"the table holds numbers from {float(table.min()):.3g} to {float(table.max()):.3g}; weights of strings "
            "are finite, 0 or more, and not all 0."
        )


def _log_seen(
    weights: Weights, x: Int[Tensor, "n sites"], seen: Bool[Tensor, "n sites"], rounding: float
) -> Float[Tensor, " n"]:
    environments, logs = starts(weights, len(x)), weights.cores[0].new_zeros(len(x))
    for core, symbols, there in zip(weights.cores, x.T, seen.T, strict=True):
        shares = torch.arange(core.shape[1], device=x.device) == symbols[:, None]
        shares = (shares | ~there[:, None]).to(core)
        environments, size = scaled(mixed(weights.passed(environments, core), shares))
        logs = logs + torch.where(size > rounding, size, 0).log()
    return logs


def _log_subsets(weights: Weights, x: Int[Tensor, "n sites"], rounding: float) -> Float[Tensor, "n subsets"]:
    n = len(x)
    environments, logs = starts(weights, n), weights.cores[0].new_zeros(n)
    for core, symbols in zip(weights.cores, x.T, strict=True):
        branches = weights.passed(environments, core)  # (n sets, site, right)
        own = picked(branches, symbols.repeat_interleave(len(branches) // max(n, 1)))
        environments, size = scaled(torch.stack([branches.sum(1), own], 1).flatten(0, 1))  # (n sets unseen|seen, right)
        logs = logs.repeat_interleave(2) + torch.where(size > rounding, size, 0).log()
    return logs.reshape(n, 2 ** x.shape[1])
