"""The cheapest order to contract a train, by counted multiply-adds."""

import math
from collections.abc import Sequence
from functools import cache, lru_cache
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor


def contract_chain(cores: Sequence[Float[Tensor, "_ _ _"]]) -> Float[Tensor, "_ _ _"]:
    """Neighbouring cores as one, (left, all sites, right), in the order of fewest multiply-adds."""
    if len(cores) == 1:
        return cores[0]
    bonds = (*(core.shape[0] for core in cores), cores[-1].shape[2])
    _, split = chain_order(tuple(core.shape[1] for core in cores), bonds)
    left, right = contract_chain(cores[:split]), contract_chain(cores[split:])
    return torch.tensordot(left, right, dims=1).reshape(left.shape[0], -1, right.shape[2])


@lru_cache(maxsize=4096)
def chain_order(sites: tuple[int, ...], bonds: tuple[int, ...]) -> tuple[int, int]:
    """The fewest multiply-adds that contract a chain to one core, and where its last contraction splits it."""
    if len(sites) == 1:
        return 0, 0
    size = bonds[0] * math.prod(sites) * bonds[-1]
    return min(
        (chain_order(sites[:k], bonds[: k + 1])[0] + chain_order(sites[k:], bonds[k:])[0] + size * bonds[k], k)
        for k in range(1, len(sites))
    )


class Sweep(NamedTuple):
    """An order in which x absorbs the cores: its multiply-adds a row, the numbers it writes a row, all of which
    are put in another order once, and the axes to contract at each step.
    """

    cost: int
    moved: int
    steps: tuple[tuple[int, list[int], list[int]], ...]
    out_axes: list[int]


@lru_cache(maxsize=4096)
def sweep(out_dims: tuple[int, ...], in_dims: tuple[int, ...], bonds: tuple[int, ...]) -> Sweep:
    """The order of fewest multiply-adds, over all orders, by the set of cores absorbed so far."""
    sites = range(len(out_dims))

    def step_cost(done: frozenset[int], site: int) -> int:
        legs = [out_dims[k] if k in done else in_dims[k] for k in sites if k != site]
        # A bond is open while one of its two cores is absorbed; the core brings its own two.
        open_bonds = [bonds[k] for k in sites[1:] if ((k - 1 in done) != (k in done)) and k not in (site, site + 1)]
        own = out_dims[site] * in_dims[site] * bonds[site] * bonds[site + 1]
        return own * math.prod(legs) * math.prod(open_bonds)

    @cache
    def cheapest(done: frozenset[int]) -> tuple[int, tuple[int, ...]]:
        ways = []
        for site in sites:
            if site not in done:
                cost, order = cheapest(done | {site})
                ways.append((step_cost(done, site) + cost, (site, *order)))
        return min(ways, default=(0, ()))

    cost, order = cheapest(frozenset())
    legs = [("rows", 0), *(("in", k) for k in sites)]
    steps, moved = [], 0
    sizes = {"in": in_dims, "out": out_dims, "bond": bonds}
    for site in order:
        core = [("bond", site), ("out", site), ("in", site), ("bond", site + 1)]
        shared = [leg for leg in core if leg in legs]
        steps.append((site, [legs.index(leg) for leg in shared], [core.index(leg) for leg in shared]))
        legs = [leg for leg in legs if leg not in shared] + [leg for leg in core if leg not in shared]
        moved += math.prod(sizes[kind][k] for kind, k in legs[1:])
    outs = [("rows", 0), *(("out", k) for k in sites), ("bond", 0), ("bond", len(out_dims))]
    return Sweep(cost, moved, tuple(steps), [legs.index(leg) for leg in outs])
