"""A weight matrix as an ordered pair of factors joined by one bond."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from workbench.decompose.exact import calibrated_factors, ordered_factors
from workbench.decompose.ladder import Ladder, check_bond
from workbench.decompose.metric import PLAIN, Metric
from workbench.decompose.pivots import PivotPair
from workbench.decompose.row_digits import taken
from workbench.spectrum import Spectrum


@dataclass(frozen=True, eq=False)
class LowRank:
    """`left @ right`, in order of importance, so that a cut to any rank is a slice (nested).

    `spectrum` is that of the uncut pair; `spectrum.error(rank)` is the error of this cut (exact). A pair has r² numbers
    too many, those of any change of basis at its bond: `gauge_fixed` says that they are not stored and not counted
    (`fixed` gives the r (out + in) - r² that are).
    """

    left: Float[Tensor, "out r"]
    right: Float[Tensor, "r in"]
    spectrum: Spectrum
    gauge_fixed: bool = False

    nested: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.left.ndim != 2 or self.right.ndim != 2 or self.left.shape[1] != self.right.shape[0]:
            raise ValueError(
                "the factors share one bond, (out, r) and (r, in), "
                f"not {tuple(self.left.shape)} and {tuple(self.right.shape)}."
            )

    @classmethod
    def from_weight(
        cls, weight: Float[Tensor, "out in"], metric: Metric = PLAIN, gauge_fixed: bool = False
    ) -> "LowRank":
        """The uncut pair of `weight`, best at every rank in `metric`; plain SVD if nothing is given."""
        metric.check(weight)
        if metric is PLAIN:
            left, right, values = ordered_factors(weight)
        else:
            left, right, values = calibrated_factors(weight, metric.inputs, metric.outputs)
        return cls(left, right, Spectrum(values, norm=metric.norm), gauge_fixed)

    @property
    def shape(self) -> tuple[int, int]:
        """(out, in) of the matrix it stands for."""
        return self.left.shape[0], self.right.shape[1]

    @property
    def bond(self) -> int:
        """The size of the bond as it is cut now: the rank."""
        return self.left.shape[1]

    @property
    def full_bond(self) -> int:
        """The size of the uncut bond."""
        return len(self.spectrum)

    @property
    def n_params(self) -> int:
        """Numbers stored: r (out + in), less r² where the gauge is fixed."""
        return self._n_params(self.bond)

    @property
    def spectra(self) -> tuple[Spectrum, ...]:
        """The spectrum at each bond, uncut: here one."""
        return (self.spectrum,)

    def error(self) -> float:
        """The norm, in `spectrum.norm`, of what this cut has dropped (exact)."""
        return self.spectrum.error(self.bond)

    def error_bound(self) -> float:
        """`error()`: for a pair the bound is exact."""
        return self.error()

    def truncate(self, bond: int) -> "LowRank":
        """The same pair cut to `bond`, as views; a cut above the present one leaves it as it is."""
        check_bond(bond, self.full_bond)
        return LowRank(self.left[:, :bond], self.right[:bond], self.spectrum, self.gauge_fixed)

    def to(self, device: torch.device) -> "LowRank":
        """The same pair with its tensors on `device`."""
        return LowRank(self.left.to(device), self.right.to(device), self.spectrum, self.gauge_fixed)

    def discarded_weight(self) -> float:
        """The share of the squared norm that this cut has dropped (exact)."""
        return self.spectrum.discarded_weight(self.bond)

    def ladder(self) -> Ladder:
        """Every rank, with what it stores, costs and drops (exact)."""
        bonds = range(1, self.full_bond + 1)
        dense = math.prod(self.shape)
        sizes = tuple([self._n_params(bond) for bond in bonds])
        costs = tuple([min(bond * sum(self.shape), dense) for bond in bonds])
        return Ladder(tuple(bonds), sizes, costs, tuple(self.spectrum.squared_errors()[1:].tolist()))

    def bond_within(self, n_params: int | float) -> int:
        """The largest bond that stores at most `n_params` numbers, and at least 1."""
        if self.gauge_fixed:  # r (out + in) - r² ≤ n, which grows with r up to the smaller side
            half = sum(self.shape) / 2
            fits = half - math.sqrt(max(0.0, half * half - n_params))
            bond = round(fits) if abs(fits - round(fits)) < 1e-9 else int(fits)
        else:
            bond = int(n_params // sum(self.shape))
        return max(1, min(self.full_bond, bond))

    def tensors(self) -> dict[str, Tensor]:
        """The factors by name."""
        return {"left": self.left, "right": self.right}

    def with_tensors(self, tensors: Mapping[str, Tensor]) -> "LowRank":
        """The same form with other factors of the same shapes; the spectrum stays that of the decomposition."""
        return LowRank(tensors["left"], tensors["right"], self.spectrum, self.gauge_fixed)

    def fixed(self) -> PivotPair:
        """The same matrix (up to rounding) in the r (out + in) - r² numbers that no change of basis can alter."""
        return PivotPair.from_pair(self.left, self.right, self.spectrum)

    def dense(self) -> Float[Tensor, "out in"]:
        """The matrix this cut stands for. Cost: out · r · in multiply-adds."""
        return self.left @ self.right

    def rows_at(self, index: Int[Tensor, "*any"]) -> Float[Tensor, "*any in"]:
        """`dense()[index]`. Cost: r · in multiply-adds a row."""
        return taken(self.left, index) @ self.right

    def apply(self, x: Float[Tensor, "*batch in"], bias: Tensor | None = None) -> Float[Tensor, "*batch out"]:
        """`x @ dense().T + bias`, through the bond. Cost: r (out + in) multiply-adds a row of x."""
        return functional.linear(functional.linear(x, self.right), self.left, bias)

    def apply_cost(self) -> int:
        """Multiply-adds of `apply` for one row of x: r (out + in)."""
        return self.bond * sum(self.shape)

    def apply_moves(self) -> int:
        """None: the products of a pair fit each other as they are."""
        return 0

    def dense_cost(self) -> int:
        """Multiply-adds of `dense`."""
        return self.shape[0] * self.bond * self.shape[1]

    def merged(self) -> "LowRank":
        """Itself: a pair has nothing to merge."""
        return self

    def merged_costs(self) -> tuple[int, int]:
        """Multiply-adds of `merged`, none, and of its `apply` for one row of x."""
        return 0, self.apply_cost()

    def merged_moves(self) -> int:
        """None, like `apply_moves`."""
        return 0

    def _n_params(self, bond: int) -> int:
        return bond * sum(self.shape) - (bond * bond if self.gauge_fixed else 0)
