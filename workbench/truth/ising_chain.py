"""The Ising model on a chain, solved by its transfer matrix."""

import math

import torch

from workbench.truth.chain import ChainSource
from workbench.truth.source import Description

SPINS = ("+", "-")
SPIN_VALUES = torch.tensor([1.0, -1.0], dtype=torch.float64)  # of symbols 0 and 1
_COLDEST = 300


def ising_chain(n_sites: int, beta: float, field: float = 0.0, periodic: bool = False) -> ChainSource:
    """Spins with p ∝ exp(β (Σ s_k s_(k+1) + field Σ s_k)), in a line or in a ring, at the inverse temperature `beta`.

    Symbol 0 is the spin +1, 1 the spin -1; energies are in units of the coupling. `log_partition` is ln Z. The chain's
    bond is the last spin, in a ring the first one too; its rate is that of the infinite chain.
    Raises ValueError for weights that overflow, or a ring of less than 3 spins.
    Source: Ising (1925); Kramers & Wannier (1941).
    """
    check_couplings(beta, field)
    if n_sites < (3 if periodic else 2):
        raise ValueError(f"a line of spins has 2 or more and a ring 3 or more, not {n_sites}.")
    one = torch.eye(2, dtype=torch.float64)
    link = (beta * SPIN_VALUES[:, None] * SPIN_VALUES).exp()  # (spin, next spin)
    alone = (beta * field * SPIN_VALUES).exp()
    first, step = torch.diag(alone)[None], (link * alone)[:, :, None] * one
    last = step.sum(2, keepdim=True)
    if periodic:  # bond (first spin, last spin)
        first = torch.einsum("s,sf,sl->sfl", alone, one, one).reshape(1, 2, 4)
        step = torch.einsum("fg,asb->fasgb", one, step).reshape(4, 2, 4)
        last = step @ link.flatten()[:, None]
    shape = "ring" if periodic else "line"
    told = f"{shape} of N = {n_sites}, β = {beta:g}, field {field:g}"
    cores = (first, *[step] * (n_sites - 2), last)
    return ChainSource(cores, SPINS, Description("Ising chain", told, "transfer matrix"), rate=ising_rate(beta, field))


def ising_rate(beta: float, field: float = 0.0) -> float:
    """The entropy of a further spin of the infinite chain, in nats."""
    up, down, opposed = _transfer(beta, field)
    lean = (up - down) / 2
    ratio = opposed / (math.hypot(lean, opposed) + lean)  # (1, ratio) is the first eigenvector; nothing cancels
    walk = torch.tensor([[up, opposed * ratio], [opposed, down * ratio]], dtype=torch.float64)
    walk = walk / walk.sum(1, keepdim=True)  # p(next spin | spin)
    there = torch.tensor([1.0, ratio**2], dtype=torch.float64)
    return float(there / there.sum() @ torch.special.entr(walk).sum(1))


def correlation_length(beta: float, field: float = 0.0) -> float:
    """In sites: the correlation of two spins falls as exp(-r / ξ) in the infinite chain, ξ = 1 / ln |λ_1 / λ_2|."""
    if beta == 0:
        check_couplings(beta, field)
        return 0.0
    up, down, opposed = _transfer(beta, field)
    root = math.hypot((up - down) / 2, opposed)
    second = 2 * math.sinh(2 * abs(beta)) / ((up + down) / 2 + root)  # from the determinant, without its sign
    return 1 / math.log1p((2 * root if beta > 0 else up + down) / second)


def check_couplings(beta: float, field: float = 0.0) -> None:
    """Raises ValueError unless both are finite and no weight of a spin and its link leaves the range of float64."""
    if not abs(beta) * (1 + abs(field)) <= _COLDEST:
        raise ValueError(
            f"β is {beta} and the field {field}; weights stay finite for |β| (1 + |field|) up to {_COLDEST}."
        )


def _transfer(beta: float, field: float) -> tuple[float, float, float]:
    """The weights of two equal spins along the field, of two against it, and of two that differ.

    Half of a spin's field is on either side of it.
    """
    check_couplings(beta, field)
    along = abs(beta * field)
    return math.exp(beta + along), math.exp(beta - along), math.exp(-beta)
