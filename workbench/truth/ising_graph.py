"""Spins on any graph: couplings planted between chosen pairs, so that it is known what depends on what."""

import math
from collections.abc import Iterable, Mapping

import torch
from jaxtyping import Bool
from torch import Tensor

from workbench.truth.amplitudes import MOST_DECOMPOSED
from workbench.truth.enumerated import TableSource
from workbench.truth.ising_chain import SPIN_VALUES, SPINS
from workbench.truth.source import Description
from workbench.truth.strings import check_enumerable, check_sites

Edge = tuple[int, int]


def ising_graph(n_sites: int, couplings: Mapping[Edge, float]) -> TableSource:
    """Spins with p ∝ exp(Σ J_ij s_i s_j) over the `couplings` J, by pair of sites: all 2^n_sites strings in a table.

    Two spins without a coupling are independent given all others (the Markov property of a graph); on a tree the
    correlation of two spins is the product of tanh J along the path between them. Symbol 0 is the spin +1, 1 the spin
    -1.
    Raises ValueError for a site that is not there, one coupled to itself, a pair named twice, a coupling that is not
    finite, or above 2^20 strings.
    """
    check_enumerable(2, n_sites, "give fewer spins, or a chain or torus, which are solved", MOST_DECOMPOSED)
    _check_edges(n_sites, couplings)
    exponents = torch.zeros([2] * n_sites, dtype=torch.float64)
    spins = [SPIN_VALUES.reshape([2 if k == site else 1 for k in range(n_sites)]) for site in range(n_sites)]
    for (i, j), coupling in couplings.items():
        if not math.isfinite(coupling):
            raise ValueError(f"the coupling of the pair {(i, j)} is {coupling}; a coupling is a finite number.")
        exponents = exponents + coupling * spins[i] * spins[j]
    told = ", ".join(f"{i}-{j}" for i, j in sorted(tuple(sorted(edge)) for edge in couplings))
    description = Description("Ising graph", f"N = {n_sites}, pairs {told or 'none'}", "enumerated")
    return TableSource.of_probabilities((exponents - exponents.max()).exp(), SPINS, description)


def random_tree(n_sites: int, generator: torch.Generator) -> tuple[Edge, ...]:
    """The edges of a tree over the sites in random order, each joined to one before it chosen evenly."""
    order = torch.randperm(n_sites, generator=generator).tolist()
    earlier = [order[int(torch.randint(k, (1,), generator=generator))] for k in range(1, n_sites)]
    return tuple([(min(pair), max(pair)) for pair in zip(order[1:], earlier, strict=True)])


def adjacency(n_sites: int, edges: Iterable[Edge]) -> Bool[Tensor, "i j"]:
    """Which pairs of sites are joined, both ways round. Raises ValueError as `ising_graph` does."""
    _check_edges(n_sites, edges)
    joined = torch.zeros(n_sites, n_sites, dtype=torch.bool)
    for i, j in edges:
        joined[i, j] = joined[j, i] = True
    return joined


def _check_edges(n_sites: int, edges: Iterable[Edge]) -> None:
    seen: set[frozenset[int]] = set()
    for edge in edges:
        check_sites((edge[0],), n_sites)
        check_sites((edge[1],), n_sites)
        if edge[0] == edge[1]:
            raise ValueError(f"site {edge[0]} is coupled to itself, which changes no probability; name two sites.")
        if frozenset(edge) in seen:
            raise ValueError(f"the pair {edge} is coupled twice; give the sum of both couplings once.")
        seen.add(frozenset(edge))
