"""Words of balanced brackets, all equally probable: a context-free language cut to one length."""

import torch
from torch import Tensor

from workbench.truth.chain import ChainSource
from workbench.truth.source import Description


def dyck(n_sites: int) -> ChainSource:
    """All balanced words of `n_sites` brackets, equally probable: entropy ln of a Catalan number.

    The bond is the height, how many brackets are open: up to n_sites / 2 + 1 values in the middle.
    Raises ValueError for an odd length.
    """
    if n_sites < 2 or n_sites % 2:
        raise ValueError(f"brackets balance in words of an even length of 2 or more, not {n_sites}.")
    return _words(n_sites, {"(": 1, ")": -1}, Description("Dyck words", f"N = {n_sites}", "counted by height"))


def motzkin(n_sites: int) -> ChainSource:
    """All words of `n_sites` brackets and dots whose brackets balance, equally probable: ln of a Motzkin number.

    √p is the ground state of a local Hamiltonian without gap, and its entropy at the middle bond grows as ½ ln N.
    Source: Bravyi, Caha, Movassagh, Nagaj & Shor (2012).
    """
    if n_sites < 1:
        raise ValueError(f"a word has one or more symbols, not {n_sites}.")
    steps = {"(": 1, ".": 0, ")": -1}
    return _words(n_sites, steps, Description("Motzkin words", f"N = {n_sites}", "counted by height"))


def _words(n_sites: int, steps: dict[str, int], description: Description) -> ChainSource:
    """At each bond the heights from which the word can still end at 0."""
    highest = [min(k, n_sites - k) for k in range(n_sites + 1)]
    cores = [_climb(highest[k] + 1, highest[k + 1] + 1, list(steps.values())) for k in range(n_sites)]
    return ChainSource(tuple(cores), tuple(steps), description)


def _climb(n_before: int, n_after: int, steps: list[int]) -> Tensor:
    """1 where a symbol goes from one height to another, (height, symbol, height)."""
    before = torch.arange(n_before)[:, None, None]
    return (before + torch.tensor(steps)[:, None] == torch.arange(n_after)).double()
