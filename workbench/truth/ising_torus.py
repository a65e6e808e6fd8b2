"""The Ising model on a square lattice closed to a torus, solved row by row: exact samples, entropy and marginals."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.decompose.train import TensorTrain
from workbench.truth.amplitudes import MOST_DECOMPOSED, amplitudes_of_table
from workbench.truth.ising_chain import SPIN_VALUES, SPINS, check_couplings
from workbench.truth.onsager import entropy_per_site
from workbench.truth.source import Description
from workbench.truth.strings import (
    MOST_STRINGS,
    check_enumerable,
    check_sites,
    check_strings,
    draw,
    numbered_strings,
    table_information,
)


@dataclass(frozen=True)
class IsingTorus:
    """Spins with p ∝ exp(β Σ s s') over the neighbours of a torus of rows x columns; a string is row by row.

    Symbol 0 is the spin +1, 1 the spin -1. The transfer matrix goes from one row to the next: 2^columns to a side, its
    powers kept, so give the shorter side as columns. Cost: 8 · rows · 4^columns bytes, as many products of matrices.
    Raises ValueError for a side below 3, where neighbours would count twice, or above 2^24 numbers kept.
    """

    rows: int
    columns: int
    beta: float

    def __post_init__(self) -> None:
        check_couplings(self.beta)
        if min(self.rows, self.columns) < 3:
            raise ValueError(f"a torus has sides of 3 or more, not {self.rows} x {self.columns}.")
        n_numbers = self.rows * 4**self.columns
        if n_numbers > MOST_STRINGS:
            raise ValueError(
                f"the powers of a transfer matrix over {self.columns} columns and {self.rows} rows hold "
                f"{n_numbers:.3g} numbers, more than 2^24; give the shorter side as columns, or a smaller torus."
            )

    @property
    def n_sites(self) -> int:
        """The number of spins."""
        return self.rows * self.columns

    @property
    def alphabet(self) -> tuple[str, ...]:
        """The two spins."""
        return SPINS

    @property
    def log_partition(self) -> float:
        """ln Z, as Kaufman's formula (1949) has it."""
        return self.rows * self._log_scale + math.log(float(self._powers[-1].trace()))

    def energy(self) -> float:
        """The mean energy, in units of the coupling: -d ln Z / dβ."""
        step, rest = self._powers[0], self._powers[-2]
        return -self.rows * float((step * self._couplings * rest).sum()) / float(self._powers[-1].trace())

    def sample(self, n: int, generator: torch.Generator) -> Int[Tensor, "n sites"]:
        """So many independent states, drawn row by row from the exact conditionals. Cost: 2^columns a row of each."""
        at_once = max(1, 2**22 >> self.columns)
        parts = [self._sampled(min(at_once, n - start), generator) for start in range(0, n, at_once)]
        return torch.cat([torch.zeros(0, self.n_sites, dtype=torch.int64), *parts])

    def log_prob(self, x: Int[Tensor, "n sites"]) -> Float[Tensor, " n"]:
        """ln p of each state: the energy and ln Z. Raises ValueError for strings of another length or alphabet."""
        check_strings(x, self.n_sites, SPINS)
        spins = SPIN_VALUES[x].reshape(-1, self.rows, self.columns)
        aligned = (spins * (spins.roll(1, 1) + spins.roll(1, 2))).sum((1, 2))
        return self.beta * aligned - self.log_partition

    def entropy(self) -> float:
        """Of the whole torus: ln Z + β times the mean energy."""
        return self.log_partition + self.beta * self.energy()

    def entropy_rate(self) -> float:
        """Of a spin of the infinite lattice (Onsager 1944)."""
        return entropy_per_site(self.beta)

    def marginal(self, sites: Sequence[int]) -> Float[Tensor, "*symbols"]:
        """The joint distribution of the symbols at `sites`, an axis a site in the order given.

        Raises ValueError where that takes more than 2^24 entries, or the rows between more than 2^26 numbers.
        """
        kept = check_sites(sites, self.n_sites)
        check_enumerable(2, len(kept), "give fewer sites, or count in samples")
        if not kept:
            return torch.ones((), dtype=torch.float64)
        of_row: dict[int, list[int]] = {}
        for site in sorted(kept):
            of_row.setdefault(site // self.columns, []).append(site % self.columns)
        first, *others = of_row
        between = 4**self.columns << sum(len(of_row[row]) for row in others[:-1])
        if between > 4 * MOST_STRINGS:
            raise ValueError(
                f"the marginal of {len(kept)} sites in {len(of_row)} rows of {self.columns} takes {between:.3g} "
                "numbers, more than 2^26; give sites of fewer rows, or count in samples."
            )
        table = self._joint(of_row)
        order = [site for row in (*others, first) for site in sorted(kept) if site // self.columns == row]
        return (table / table.sum()).reshape([2] * len(kept)).permute([order.index(site) for site in kept])

    def mutual_information(self, i: int, j: int) -> float:
        """Between two spins."""
        return table_information(self.marginal((i, j)))

    def mps(self) -> TensorTrain:
        """√p at its smallest bonds (see `amplitudes.minimal`), from the table. Raises ValueError above 2^20 states."""
        return self._train

    def bond_dims(self) -> tuple[int, ...]:
        """The ranks of √p: the bonds of `mps`."""
        return self._train.bonds

    def describe(self) -> Description:
        """What it is and where it comes from."""
        told = f"{self.rows} x {self.columns}, β = {self.beta:g}"
        return Description("Ising torus", told, "transfer matrix of the rows")

    @cached_property
    def _train(self) -> TensorTrain:
        check_enumerable(2, self.n_sites, "√p of a torus is decomposed for fewer spins only", MOST_DECOMPOSED)
        return amplitudes_of_table(self.marginal(range(self.n_sites)))

    @cached_property
    def _couplings(self) -> Float[Tensor, "row next"]:
        """Σ s s' over the links between two rows and half of those inside each."""
        spins = SPIN_VALUES[numbered_strings(torch.arange(2**self.columns), self.columns, 2)]
        inside = (spins * spins.roll(1, 1)).sum(1) / 2
        return spins @ spins.T + inside[:, None] + inside

    @cached_property
    def _log_scale(self) -> float:
        """ln of the largest eigenvalue of the transfer matrix exp(β couplings)."""
        exponents = self.beta * self._couplings
        top = float(exponents.max())
        return top + math.log(float(torch.linalg.eigvalsh((exponents - top).exp())[-1]))

    @cached_property
    def _powers(self) -> tuple[Float[Tensor, "row later"], ...]:
        """The first to the last power of the transfer matrix over its largest eigenvalue."""
        step = (self.beta * self._couplings - self._log_scale).exp()
        powers = [step]
        while len(powers) < self.rows:
            powers.append(powers[-1] @ step)
        return tuple(powers)

    def _sampled(self, n: int, generator: torch.Generator) -> Int[Tensor, "n sites"]:
        first = draw(self._powers[-1].diagonal().expand(n, -1), generator)
        drawn = [first]
        for left in range(self.rows - 1, 0, -1):  # so many steps lead back to the first row
            drawn.append(draw(self._powers[0][drawn[-1]] * self._powers[left - 1][first], generator))
        return torch.cat([numbered_strings(row, self.columns, 2) for row in drawn], 1)

    def _joint(self, of_row: dict[int, list[int]]) -> Float[Tensor, "seen first"]:
        """Weights of what is seen at some columns of some rows: those of the first row are the last axis."""
        (first, seen_first), *others = of_row.items()
        grouped = self._grouping(seen_first)  # (seen, unseen) numbers of rows
        if not others:
            return self._powers[-1].diagonal()[grouped].sum(1)[None]
        weights = self._powers[others[0][0] - first - 1][:, None]  # (first row, seen so far, this row)
        for (row, columns), following in zip(others, [*others[1:], None], strict=True):
            parts = weights[:, :, self._grouping(columns)]  # (first row, seen so far, seen here, unseen here)
            gap = following[0] - row if following else self.rows - row + first
            onward = self._powers[gap - 1][self._grouping(columns)]  # (seen here, unseen here, next row)
            if following:
                weights = torch.einsum("ftsu,sun->ftsn", parts, onward).flatten(1, 2)
            else:
                weights = torch.einsum("ftsu,suf->tsf", parts, onward).flatten(0, 1)
        return weights[:, grouped].sum(2)

    def _grouping(self, columns: list[int]) -> Int[Tensor, "seen unseen"]:
        """The numbers of all rows, by what is at `columns` and then by the rest."""
        unseen = [column for column in range(self.columns) if column not in columns]
        numbers = torch.arange(2**self.columns).reshape([2] * self.columns)
        return numbers.permute(*columns, *unseen).reshape(2 ** len(columns), -1)
