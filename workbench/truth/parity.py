"""Bits and numbers tied by one equation: no two of them know anything of each other, all together do."""

from collections.abc import Sequence

import torch

from workbench.truth.chain import ChainSource
from workbench.truth.source import Description
from workbench.truth.strings import check_sites

BITS = ("0", "1")


def even_parity(n_sites: int) -> ChainSource:
    """All strings of `n_sites` bits with an even number of ones, equally probable: entropy (n_sites - 1) ln 2.

    √p has bond 2 and the entropy ln 2 at every bond, yet no two of three or more bits share any information.
    Source: Bradley, Stoudenmire & Terilla (2019).
    """
    if n_sites < 2:
        raise ValueError(f"parity ties two or more bits, not {n_sites}.")
    return _parity(n_sites, range(n_sites), Description("even parity", f"N = {n_sites}", "counted"))


def hidden_parity(n_sites: int, sites: Sequence[int]) -> ChainSource:
    """Fair bits, of which those at `sites` have an even number of ones: entropy (n_sites - 1) ln 2.

    What a learner must find is the subset. Raises ValueError for no site, one named twice or one beyond the string.
    """
    hidden = check_sites(sites, n_sites)
    if not hidden:
        raise ValueError("a hidden parity ties one or more sites; none is given.")
    told = f"N = {n_sites}, over sites {', '.join(str(site) for site in sorted(hidden))}"
    return _parity(n_sites, hidden, Description("hidden parity", told, "counted"))


def modular_addition(p: int) -> ChainSource:
    """(a, b, c) with a + b = c mod p, all p² equally probable: entropy 2 ln p, and ln p shared by all three only.

    An alphabet of p numbers; √p of it has bond p. Source: the task of Power et al. (2022), Grokking.
    """
    if p < 2:
        raise ValueError(f"addition is modulo 2 or more, not {p}.")
    numbers = torch.arange(p)
    first, last = torch.eye(p, dtype=torch.float64)[None], torch.eye(p, dtype=torch.float64)[:, :, None]
    add = torch.zeros(p, p, p, dtype=torch.float64)
    add[numbers[:, None], numbers, (numbers[:, None] + numbers) % p] = 1
    description = Description("modular addition", f"a + b = c mod {p}", "counted")
    return ChainSource((first, add, last), tuple(str(number) for number in range(p)), description)


def _parity(n_sites: int, sites: Sequence[int], description: Description) -> ChainSource:
    """The bond is the parity so far, which only the bits at `sites` turn."""
    stay, turn = torch.eye(2, dtype=torch.float64), torch.eye(2, dtype=torch.float64).flip(0)
    counted, passed = torch.stack([stay, turn], 1), torch.stack([stay, stay], 1)  # (parity, bit, parity)
    cores = [counted if site in sites else passed for site in range(n_sites)]
    cores[0], cores[-1] = cores[0][:1], cores[-1][:, :, :1]
    return ChainSource(tuple(cores), BITS, description)
