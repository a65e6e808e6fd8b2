"""Chains of spins whose ground state is known to have no negative amplitude: what flips, and what it costs to stay."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class SpinHamiltonian:
    """H = -flip Σ X_k + field Σ D_k + Σ_r couplings[r - 1] Σ_k D_k D_(k+r) on an open chain, D = diag(values).

    Where it is a `blockade`, a spin flips only while both its neighbours are in state 0, and no two neighbours are
    ever both in state 1. No element off the diagonal is positive, so the ground state is unique and has no negative
    amplitude (Perron & Frobenius).
    Raises ValueError for less than 2 sites, numbers that are not finite, or a flip that is not above 0.
    """

    name: str
    parameters: str
    n_sites: int
    values: tuple[float, float]
    flip: float
    field: float = 0.0
    couplings: tuple[float, ...] = ()
    blockade: bool = False

    def __post_init__(self) -> None:
        if self.n_sites < 2:
            raise ValueError(f"a chain of spins has 2 or more, not {self.n_sites}.")
        if not all(math.isfinite(number) for number in (self.flip, self.field, *self.couplings)) or self.flip <= 0:
            raise ValueError(
                f"{self.name} needs finite numbers, and a field that flips spins above 0, not {self.parameters}."
            )

    @property
    def is_even(self) -> bool:
        """Whether turning all spins over changes nothing."""
        return self.field == 0 and self.values[0] == -self.values[1] and not self.blockade

    def energies(self, numbers: np.ndarray) -> np.ndarray:
        """What configurations cost without flips; they are given by number, the first site the highest bit."""
        bits = [numbers >> (self.n_sites - 1 - site) & 1 for site in range(self.n_sites)]
        along = [np.array(self.values)[bit] for bit in bits]
        energy = self.field * np.sum(along, axis=0)
        for distance, coupling in enumerate(self.couplings[: self.n_sites - 1], 1):
            energy = energy + coupling * sum(left * right for left, right in zip(along, along[distance:], strict=False))
        return energy

    def turned(self, numbers: np.ndarray, site: int) -> tuple[np.ndarray, np.ndarray]:
        """The configurations with one spin flipped, and whether it may: with a blockade its neighbours are 0 then."""
        bit = 1 << (self.n_sites - 1 - site)
        beside = (bit << 1 | bit >> 1) if self.blockade else 0
        return numbers ^ bit, numbers & beside == 0

    def operator_cores(self) -> list[Float[Tensor, "left right out in"]]:
        """H as a train of operators, also called MPO: an automaton that has put down a D so many sites ago.

        Its bond is 2 more than the reach of the couplings, with a blockade 4. Source: Crosswhite & Bacon (2008).
        """
        one, turn = torch.eye(2, dtype=torch.float64), torch.eye(2, dtype=torch.float64).flip(0)
        weighed, free = torch.diag(torch.tensor(self.values, dtype=torch.float64)), torch.diag(one[0])
        reach = min(len(self.couplings), self.n_sites - 1)
        last = 3 if self.blockade else reach + 1
        core = torch.zeros(last + 1, last + 1, 2, 2, dtype=torch.float64)
        core[0, 0] = core[last, last] = one
        core[0, last] = self.field * weighed
        if self.blockade:  # a free site, a flip, a free site; beyond both ends all is free
            core[0, 1], core[1, 2], core[2, last] = free, -self.flip * turn, free
            return [core[:2].sum(0, keepdim=True), *[core] * (self.n_sites - 2), core[:, 2:].sum(1, keepdim=True)]
        core[0, last] -= self.flip * turn
        for distance in range(1, reach + 1):
            core[distance - 1, distance] = weighed if distance == 1 else one
            core[distance, last] = self.couplings[distance - 1] * weighed
        return [core[:1], *[core] * (self.n_sites - 2), core[:, last:]]


def transverse_ising(n_sites: int, field: float) -> SpinHamiltonian:
    """H = -Σ Z_k Z_(k+1) - field Σ X_k, an open chain; critical at field 1. Source: Pfeuty (1970)."""
    parameters = f"N = {n_sites}, h = {field:g}"
    return SpinHamiltonian("transverse-field Ising chain", parameters, n_sites, (1.0, -1.0), field, couplings=(-1.0,))


def rydberg(n_sites: int, detuning: float, interaction: float, reach: int = 6) -> SpinHamiltonian:
    """H = -½ Σ X_k - detuning Σ n_k + interaction Σ n_k n_l / |k - l|⁶ up to `reach` sites apart, energies in units of
    the Rabi frequency; n is 1 in the Rydberg state, symbol 1.

    The sign of the Rabi term is a choice of phases: measured in z nothing depends on it.
    Source: Bernien et al. (2017).
    """
    if reach < 1:
        raise ValueError(f"the interaction reaches 1 site or more, not {reach}.")
    couplings = tuple(interaction / distance**6 for distance in range(1, min(reach, n_sites - 1) + 1))
    parameters = f"N = {n_sites}, detuning {detuning:g}, interaction {interaction:g} up to {reach} sites apart"
    return SpinHamiltonian("Rydberg chain", parameters, n_sites, (0.0, 1.0), 0.5, -detuning, couplings)


def pxp(n_sites: int, detuning: float = 0.0) -> SpinHamiltonian:
    """H = -Σ P_(k-1) X_k P_(k+1) - detuning Σ n_k, P = 1 - n: a Rydberg chain whose neighbours exclude each other.

    Its configurations are the words without two ones in a row, a Fibonacci number of them.
    Source: Fendley, Sengupta & Sachdev (2004); Turner et al. (2018).
    """
    parameters = f"N = {n_sites}, detuning {detuning:g}"
    return SpinHamiltonian("PXP chain", parameters, n_sites, (0.0, 1.0), 1.0, -detuning, blockade=True)
