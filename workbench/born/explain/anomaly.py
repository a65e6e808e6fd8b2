"""Which symbols of a string are surprising: alone, after those before them, and between all others; exact.

A symbol that is common everywhere may be out of place here, which only its conditional probabilities tell. A chain
gives all of them in one sweep forth and one back (Aizpurua, Palmer & Orús 2024, arXiv 2401.00867).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.born.environments import LinearWeights, Weights, picked, scaled
from workbench.born.explain.seen_sites import (
    as_rows,
    check_weights,
    mirrored,
    rows_at_once,
    starts,
)
from workbench.born.questions import ChainModel
from workbench.truth.strings import check_symbols, table_entropy

Table = Float[Tensor, "*symbols"]


@dataclass(frozen=True, eq=False)
class SiteSurprises:
    """-ln p of each symbol of strings, in nats: `alone`, `given_before` (these sum to -ln p of the string), and
    `given_others`, all of them; `entropies` of the sites are the means of `alone`.

    A symbol that cannot be where it is has infinity, and one between others that no string has together has nan.
    """

    alone: Float[Tensor, "n sites"]
    given_before: Float[Tensor, "n sites"]
    given_others: Float[Tensor, "n sites"]
    entropies: Float[Tensor, " sites"]


def site_surprises(model: ChainModel | Table, x: Int[Tensor, "n sites"]) -> SiteSurprises:
    """The surprises of every symbol of strings, exact, by a chain or a table of all strings' weights.

    Of a chain, a share of less than `model.rounding` counts as none, as in `log_prob`: of amplitudes in a Born machine.
    Raises ValueError for strings of another length or alphabet, or a table of other numbers than float64 of 0 or more.
    Cost: of a chain two environments a string past every core, rows of amplitudes where it is a Born machine; of a
    table one pass a site.
    """
    if isinstance(model, ChainModel):
        x = model.checked(x)
        singles = site_marginals(model)
        with torch.no_grad():
            parts = [_chain_surprises(model, rows) for rows in x.split(_rows_kept(model.weights))]
    else:
        check_weights(model)
        x = check_symbols(x, tuple(model.shape), "function")
        singles = tuple([_summed_but(model, (site,)) / model.sum() for site in range(model.ndim)])
        parts = [_table_surprises(model, x)]
    alone = torch.stack([(1 / single[own]).log() for single, own in zip(singles, x.T, strict=True)], 1)
    before, others = (torch.cat(each) for each in zip(*parts, strict=True))
    entropies = torch.tensor([table_entropy(single) for single in singles], dtype=torch.float64)
    return SiteSurprises(alone, before, others, entropies)


def site_marginals(model: ChainModel) -> tuple[Float[Tensor, " _"], ...]:
    """The distribution of the symbols at each site. Cost: one environment past every core, forth and back."""
    with torch.no_grad():
        weights = model.weights
        ends, _ = weights.ends()
        before, found = starts(weights, 1), []
        for core, end in zip(weights.cores, ends, strict=True):
            branches = weights.passed(before, core)  # (1, site, right)
            masses = (branches * end).flatten(2).sum(2)[0].clamp_min(0)  # below 0 is rounding
            found.append(masses / masses.sum())
            before, _ = scaled(branches.sum(1))
    return tuple(found)


def _chain_surprises(model: ChainModel, x: Int[Tensor, "n sites"]) -> tuple[Tensor, Tensor]:
    """-ln p of each symbol given those before, and given all others."""
    weights, amplitudes = model.weights, as_rows(model.weights)
    # The environment of fixed symbols is a square in a Born machine: its root is carried, which keeps more digits.
    carried = LinearWeights(weights.cores) if amplitudes else weights
    behind = list(_environments(mirrored(carried), x.flip(1), model.rounding))[::-1]
    ends, _ = weights.ends()
    before, given_before, given_others = starts(carried, len(x)), [], []
    for core, own, after, end in zip(weights.cores, x.T, behind, ends, strict=True):
        branches = carried.passed(before, core)  # (n, site, right)
        masses = weights.masses(branches, end) if branches.ndim == 3 else (branches * end).flatten(2).sum(2)
        given_before.append(_surprise(masses.clamp_min(0), own, model.rounding**2 if amplitudes else model.rounding))
        between = (branches * after[:, None]).flatten(2).sum(2)
        between = torch.where(between.abs() > model.rounding, between, 0)
        given_others.append(_surprise(between.square() if amplitudes else between, own, 0))
        before = _moved(branches, own, model.rounding)
    return torch.stack(given_before, 1), torch.stack(given_others, 1)


def _environments(weights: Weights, x: Int[Tensor, "n sites"], rounding: float) -> Iterator[Float[Tensor, "n *left"]]:
    """Those of each string before every site, at size 1, or 0 where rounding cannot tell them from it."""
    environments = starts(weights, len(x))
    for core, own in zip(weights.cores, x.T, strict=True):
        yield environments
        environments = _moved(weights.passed(environments, core), own, rounding)


def _moved(
    branches: Float[Tensor, "n site *right"], own: Int[Tensor, " n"], rounding: float
) -> Float[Tensor, "n *right"]:
    environments, size = scaled(picked(branches, own))
    return environments * (size > rounding).reshape(-1, *[1] * (environments.ndim - 1))


def _surprise(masses: Float[Tensor, "n site"], own: Int[Tensor, " n"], least: float) -> Float[Tensor, " n"]:
    shares = masses / masses.sum(1, keepdim=True)  # nan where no symbol has any
    share = picked(shares, own)
    return (1 / torch.where(share < least, 0, share)).log()  # of a share of 1 it is 0, not -0


def _rows_kept(weights: Weights) -> int:
    carried = LinearWeights(weights.cores) if as_rows(weights) else weights
    return rows_at_once(carried, len(weights.cores))


def _table_surprises(table: Table, x: Int[Tensor, "n sites"]) -> tuple[Tensor, Tensor]:
    symbols = list(x.T)
    given_before, given_others = [], []
    for site in range(table.ndim):
        prefixes = _summed_but(table, range(site + 1))
        given_before.append(_surprise(_asked(prefixes, symbols[: site + 1], site), symbols[site], 0))
        given_others.append(_surprise(_asked(table, symbols, site), symbols[site], 0))
    return torch.stack(given_before, 1), torch.stack(given_others, 1)


def _asked(table: Table, symbols: Sequence[Int[Tensor, " n"]], site: int) -> Float[Tensor, "n site"]:
    """The weights of all symbols at a site, the others being those of each string."""
    others = [own for k, own in enumerate(symbols) if k != site]
    if not others:
        return table.expand(len(symbols[0]), -1)
    return table.movedim(site, -1)[tuple(others)]


def _summed_but(table: Table, kept: Sequence[int]) -> Float[Tensor, "*kept"]:
    gone = [site for site in range(table.ndim) if site not in kept]
    return table.sum(gone) if gone else table
