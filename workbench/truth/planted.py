"""Distributions whose right explanation is known beforehand: which sites depend on each other was put in."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool
from torch import Tensor

from workbench.truth.hmm import HiddenMarkov
from workbench.truth.ising_graph import adjacency, ising_graph, random_tree
from workbench.truth.parity import hidden_parity
from workbench.truth.source import Source


@dataclass(frozen=True, eq=False)
class Planted:
    """A source, and which pairs of its sites depend on each other given all the others: what an explanation must find.

    `dependent` is symmetric and None for a process in which all sites do, so that only amounts can be compared.
    Raises ValueError for a table of another shape, or one with all pairs alike: there is nothing to find then.
    """

    name: str
    source: Source
    dependent: Bool[Tensor, "i j"] | None

    def __post_init__(self) -> None:
        if self.dependent is None:
            return
        n = self.source.n_sites
        if self.dependent.shape != (n, n) or not bool((self.dependent == self.dependent.T).all()):
            raise ValueError(
                f"dependencies of {n} sites are a symmetric table of ({n}, {n}), not {tuple(self.dependent.shape)}."
            )
        found = int(self.dependent.triu(1).sum())
        if found in (0, n * (n - 1) // 2):
            raise ValueError(f"{found} of {n * (n - 1) // 2} pairs of {self.name} depend on each other: none to find.")


def planted_parity(n_sites: int, sites: Sequence[int]) -> Planted:
    """Fair bits, those at `sites` of even parity: every pair of these depends, though no two share information alone.

    Raises ValueError for sites that are not there.
    """
    source = hidden_parity(n_sites, sites)
    pairs = tuple([(i, j) for i in sorted(sites) for j in sorted(sites) if i < j])
    return Planted(f"parity of {len(sites)} of {n_sites} bits", source, adjacency(n_sites, pairs))


def planted_chain(n_sites: int, coupling: float, seed: int | None = None) -> Planted:
    """An Ising chain: neighbours depend. With a `seed` the chain runs through the sites in a random order."""
    order = list(range(n_sites))
    if seed is not None:
        order = torch.randperm(n_sites, generator=torch.Generator().manual_seed(seed)).tolist()
    couplings = {(min(pair), max(pair)): coupling for pair in itertools.pairwise(order)}
    name = "Ising chain" if seed is None else "Ising chain, sites shuffled"
    return Planted(name, ising_graph(n_sites, couplings), adjacency(n_sites, couplings))


def planted_tree(n_sites: int, coupling: float, seed: int) -> Planted:
    """Spins on a random tree: those at either end of an edge depend."""
    couplings = dict.fromkeys(random_tree(n_sites, torch.Generator().manual_seed(seed)), coupling)
    return Planted("Ising tree", ising_graph(n_sites, couplings), adjacency(n_sites, couplings))


def planted_process(process: HiddenMarkov, n_sites: int) -> Planted:
    """A hidden Markov process: all symbols of a string depend on each other, by known amounts."""
    return Planted(process.description.name, process.source(n_sites), None)
