"""In which order the sites of strings go along a chain, and what the order costs in entanglement.

A bond carries all that its two sides know of each other, so sites that depend belong side by side. Which order has the
least is a hard problem; a greedy path through the pairs that depend most is cheap.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.born.likelihood import likelihood
from workbench.born.machine import BornMachine
from workbench.born.two_site import SweepRecipe, sweep
from workbench.truth.strings import check_sites


def greedy_path(information: Float[Tensor, "i j"]) -> tuple[int, ...]:
    """All sites in an order that keeps those close which depend on each other, by a symmetric map of how much.

    From the pair that depends most the path grows at both ends, each time by the site that depends most on an end. No
    optimum: what is left for last lies far from what it depends on. Raises ValueError for a map that is not square, or
    holds numbers that are not finite. Cost: sites² steps.
    """
    n = len(information)
    if information.shape != (n, n) or n < 1:
        raise ValueError(f"a path is found in a map with a row and a column a site, not {tuple(information.shape)}.")
    if not bool(information.isfinite().all()):
        raise ValueError("a path is found in a map of finite numbers, and this one holds nan or infinity.")
    pairs = information.clone().fill_diagonal_(-torch.inf)
    if n == 1:
        return (0,)
    path = list(divmod(int(pairs.argmax()), n))
    pairs[:, path] = -torch.inf  # columns of sites that are on the path
    while len(path) < n:
        ends = pairs[[path[0], path[-1]]]
        at_end, site = divmod(int(ends.argmax()), n)
        path.insert(len(path) if at_end else 0, site)
        pairs[:, site] = -torch.inf
    return tuple(path)


@dataclass(frozen=True, eq=False)
class OrderEffect:
    """A Born machine learned from strings whose sites are in some order: its bonds' entanglement entropies, nats.

    `nll` and `held_out` are the mean -ln p of the strings it learned from and of others, nats a string.
    """

    order: tuple[int, ...]
    entropies: Float[Tensor, " bonds"]
    nll: float
    held_out: float

    def __str__(self) -> str:
        return (
            f"bond entropies {float(self.entropies.mean()):.3f} nats on average, {float(self.entropies.max()):.3f} at "
            f"most; -ln p {self.nll:.3f} nats a string, {self.held_out:.3f} held out"
        )


def order_effect(
    x: Int[Tensor, "n sites"], held_out: Int[Tensor, "m sites"], order: Sequence[int], recipe: SweepRecipe
) -> OrderEffect:
    """What sweeps of the recipe learn of strings read in this order of their sites; a measurement of one run.

    Raises ValueError unless the order has each site once, and as `sweep` does. Cost: that of `sweep`.
    """
    sites = list(check_sites(order, x.shape[1]))
    if len(sites) != x.shape[1]:
        raise ValueError(f"an order of {x.shape[1]} sites has each of them once, and {len(sites)} are given.")
    machine: BornMachine = sweep(x[:, sites], recipe).finish()
    entropies = torch.tensor(machine.entropies(), dtype=torch.float64)
    said = [likelihood(machine, strings[:, sites]).nll for strings in (x, held_out)]
    return OrderEffect(tuple(sites), entropies, *said)
