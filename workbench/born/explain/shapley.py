"""Shapley values of the sites of a string: what each adds to a number, averaged over all orders of finding them out.

A game gives every set S of sites a value v(S); site i gets the mean, over all orders of the sites, of v with i and all
before it less v with all before it alone, and all sites together get v(all) - v(none) (Shapley 1953). Two games:

* of a function f of strings: v(S) = E f(x_S, x'), the sites outside S drawn from a background that is independent at
  each site. For a chain of cores its multilinear extension F(q), where each site is in S with probability q, is a chain
  too, and a site's value is the integral of ∂_i F(q, ..., q) over q from 0 to 1 (Owen 1972). The integrand is a
  polynomial of degree N - 1, so ceil(N / 2) nodes of Gauss and Legendre give it exactly, each in a sweep forth and one
  back. That trains have exact Shapley values in polynomial time is known (arXiv 2510.21599); this way is ours.
* of the surprise: v(S) = -ln p(x_S), what is seen of the string in nats. It is no such function, since its sites
  outside S are summed over before the logarithm: all 2^N sets for short strings, else an estimate.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import one_hot

from workbench.born.environments import LinearWeights, Weights
from workbench.born.explain.seen_sites import (
    check_float64,
    check_subsets,
    check_weights,
    checked_background,
    log_marginal,
    log_marginals_of_subsets,
    mirrored,
    mixed,
    rows_at_once,
    starts,
)
from workbench.born.questions import ChainModel
from workbench.decompose.train import TensorTrain
from workbench.truth.strings import check_symbols

_NUMBERS = 2**22  # of the tables of several strings that are summed at a time

Table = Float[Tensor, "*symbols"]


@dataclass(frozen=True, eq=False)
class ShapleyEstimate:
    """Unbiased estimates of Shapley values from random orders of the sites, each with its standard error."""

    values: Float[Tensor, "n sites"]
    standard_errors: Float[Tensor, "n sites"]
    n_orders: int


def shapley_values(
    function: TensorTrain | ChainModel | Table,
    x: Int[Tensor, "n sites"],
    background: Sequence[Float[Tensor, " _"]] | None = None,
) -> Float[Tensor, "n sites"]:
    """Exact Shapley values of the sites of each string for a function, in its units: f(x) - E f in all.

    The function is a train's, the probability of a chain model, or a table with an axis a site. The background gives
    the shares of the symbols at each site; without one all are equal.
    Raises ValueError for strings that the function does not have, other numbers than float64, a background that is no
    distribution at each site, or a table above 20 sites.
    Cost: of a chain ceil(sites / 2) environments a string, each twice past every core; of a table, 2^sites values
    a string, each used once a site, and a few passes over the table.
    """
    shape = tuple(function.shape)
    x = function.checked(x) if isinstance(function, ChainModel) else check_symbols(x, shape, "function")
    shares = checked_background(background, shape, x)
    if isinstance(function, Tensor):
        check_float64(function, "the table")
        return values_of_game(_table_games(function, x, shares))
    if isinstance(function, ChainModel):
        weights = function.weights
        with torch.no_grad():
            per_core = (-weights.ends()[1] / (len(shape) * weights.n_bond_legs)).exp()  # makes all weights sum to 1
            weights = replace(weights, cores=tuple([core * per_core for core in weights.cores]))
    else:
        check_float64(function.cores[0], "the train")
        # Signs are free here: nothing below takes a logarithm.
        weights = LinearWeights(tuple([core.unsqueeze(2) for core in function.cores]))
    n_nodes = (len(shape) + 1) // 2
    with torch.no_grad():
        parts = x.split(rows_at_once(weights, n_nodes * len(shape)))
        return torch.cat([_chain_values(weights, rows, shares, n_nodes) for rows in parts])


def surprise_shapley(model: ChainModel | Table, x: Int[Tensor, "n sites"]) -> Float[Tensor, "n sites"]:
    """Exact Shapley values of the sites of each string for -ln p of what is seen of it, nats: -ln p(x) in all.

    A site on its own has the value -ln p(x_i); one that the others tell has less. The model is a chain or a table of
    probabilities, or of weights, of all strings, an axis a site: of a source, or of a transformer by enumeration.
    Raises ValueError above 20 sites, for a string that has no probability (then nothing finite can be shared out) or
    that the model does not have, or a table of other numbers than float64 of 0 or more.
    Cost: see `log_marginals_of_subsets`, of a table a few passes over it a string; and 2^sites numbers, each used
    once a site.
    """
    if isinstance(model, ChainModel):
        logs = log_marginals_of_subsets(model, x)
    else:
        check_weights(model)
        x = check_symbols(x, tuple(model.shape), "function")
        # The sum of all weights would be taken off every v, and a value is a difference of two.
        logs = _table_games(model, x, [model.new_ones(size) for size in model.shape]).log()
    _check_possible(logs)
    return values_of_game(-logs)


def surprise_shapley_estimate(
    model: ChainModel, x: Int[Tensor, "n sites"], n_orders: int, generator: torch.Generator
) -> ShapleyEstimate:
    """An estimate of `surprise_shapley` for strings of any length, from so many random orders of the sites of each.

    The values of a string sum to -ln p(x) whatever the orders. A standard error is that of the mean over orders.
    Raises ValueError below 2 orders, for a string that has no probability, or one that the model does not have.
    Cost: sites + 1 rows of `log_marginal` for each order of each string.
    Source: Castro, Gómez & Tejada (2009).
    """
    if n_orders < 2:
        raise ValueError(f"an estimate with a standard error needs 2 or more orders, not {n_orders}.")
    x = model.checked(x)
    n, n_sites = x.shape
    total, squares = (torch.zeros(n, n_sites, dtype=torch.float64, device=x.device) for _ in range(2))
    for _ in range(n_orders):
        draws = torch.rand(n, n_sites, generator=generator, dtype=torch.float64, device=generator.device).to(x.device)
        ranks = draws.argsort(1).argsort(1)
        seen = ranks[:, None] < torch.arange(n_sites + 1, device=x.device)[:, None]  # (n, how many are seen, sites)
        logs = log_marginal(model, x.repeat_interleave(n_sites + 1, 0), seen.flatten(0, 1)).reshape(n, n_sites + 1)
        _check_possible(logs)
        added = -logs.diff(dim=1).gather(1, ranks)
        total, squares = total + added, squares + added.square()
    mean = total / n_orders
    variance = (squares / n_orders - mean.square()).clamp_min(0) * n_orders / (n_orders - 1)
    return ShapleyEstimate(mean, (variance / n_orders).sqrt(), n_orders)


def values_of_game(game: Float[Tensor, "n subsets"]) -> Float[Tensor, "n sites"]:
    """The Shapley values of any games, by their definition, from v of every set of the sites.

    Set S is at the place Σ 2^(sites - 1 - i) over its sites i. Raises ValueError where the sets are not all of some
    sites. Cost: every v used once a site.
    """
    n, n_subsets = game.shape
    n_sites = n_subsets.bit_length() - 1
    if n_subsets != 2**n_sites or n_sites < 1:
        raise ValueError(f"N sites have 2^N sets, and a game gives each a value; {n_subsets} are none of 2, 4, 8, ...")
    others = torch.arange(n_subsets // 2, device=game.device)
    sizes = sum((others >> bit) & 1 for bit in range(n_sites)) + torch.zeros_like(others)
    # |S|! (N - |S| - 1)! / N!, the share of all orders in which S comes before the site and the others after it.
    shares = game.new_tensor([1 / (n_sites * math.comb(n_sites - 1, size)) for size in range(n_sites)])[sizes]
    views = [game.reshape(n, 2**site, 2, n_subsets // 2 ** (site + 1)) for site in range(n_sites)]
    return torch.stack([(view[:, :, 1] - view[:, :, 0]).flatten(1) @ shares for view in views], 1)


def _chain_values(
    weights: Weights, x: Int[Tensor, "n sites"], background: Sequence[Float[Tensor, " _"]], n_nodes: int
) -> Float[Tensor, "n sites"]:
    """The integral over q of ∂_i F(q, ..., q), by so many nodes."""
    nodes, node_shares = _unit_quadrature(n_nodes, weights.cores[0])
    # A site's symbols have the shares of the background, and at node q of the own symbol q of the way to 1.
    steps = [one_hot(own, len(b)).to(b) - b for b, own in zip(background, x.T, strict=True)]
    shares = [(b + nodes[:, None] * step[:, None]).flatten(0, 1) for b, step in zip(background, steps, strict=True)]
    behind, backwards = [starts(weights, len(shares[0]))], mirrored(weights)
    for core, share in zip(backwards.cores[:-1], reversed(shares[1:]), strict=True):
        behind.append(mixed(backwards.passed(behind[-1], core), share))  # (n nodes, left)
    before, found = starts(weights, len(shares[0])), []
    for core, share, step, end in zip(weights.cores, shares, steps, reversed(behind), strict=True):
        branches = weights.passed(before, core)  # (n nodes, site, right)
        values = (branches * end[:, None]).flatten(2).sum(2).reshape(len(x), len(nodes), core.shape[1])
        found.append(torch.einsum("nqi,q,ni->n", values, node_shares, step))
        before = mixed(branches, share)
    return torch.stack(found, 1)


def _unit_quadrature(n_nodes: int, like: Tensor) -> tuple[Float[Tensor, " nodes"], Float[Tensor, " nodes"]]:
    """The nodes of Gauss and Legendre from 0 to 1 and their shares, exact for polynomials of degree 2 n_nodes - 1."""
    nodes, shares = np.polynomial.legendre.leggauss(n_nodes)
    return torch.from_numpy(nodes + 1).to(like) / 2, torch.from_numpy(shares).to(like) / 2


def _table_games(
    table: Table, x: Int[Tensor, "n sites"], shares: Sequence[Float[Tensor, " _"]]
) -> Float[Tensor, "n subsets"]:
    """The sums over the table, with each string's symbols at the sites of a set and all others weighed by shares."""
    check_subsets(table.ndim)
    games = []
    for rows in x.split(max(1, _NUMBERS // max(table.numel(), 2**table.ndim))):
        game = table[None, None].expand(len(rows), *[-1] * (table.ndim + 1))  # (n, sets, *symbols)
        for symbols, share in zip(rows.T, shares, strict=True):
            left_out = (game.movedim(2, -1) * share).sum(-1)
            own = game[torch.arange(len(rows), device=x.device), :, symbols]
            game = torch.stack([left_out, own], 2).flatten(1, 2)
        games.append(game)
    return torch.cat(games)


def _check_possible(logs: Float[Tensor, "n subsets"]) -> None:
    lost = (logs == -torch.inf).any(1).nonzero()
    if len(lost):
        raise ValueError(
            f"string {int(lost[0])} has no probability, so its surprise is infinite and cannot be shared out among its "
            "sites; leave it out."
        )
