"""A low-rank matrix in the numbers that no change of basis at its bond can alter."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from workbench.decompose.ladder import Ladder, check_bond
from workbench.decompose.row_digits import taken
from workbench.spectrum import Spectrum


@dataclass(frozen=True, eq=False)
class PivotPair:
    """A matrix of rank r as r of its own rows, `right`, and the others as combinations of them, `rest`.

    `order` lists its rows: those of `right` first, then those of `rest`. r (out + in) - r² numbers are stored, and
    `order`, which is `out` small whole numbers. Not nested: its rows are in no order of importance, so a smaller bond
    is cut from the pair it was made of. Source: PIFA (2025).
    """

    right: Float[Tensor, "r in"]
    rest: Float[Tensor, "n r"]
    order: Int[Tensor, " out"]
    spectrum: Spectrum

    nested: ClassVar[bool] = False

    def __post_init__(self) -> None:
        rows = self.right.shape[0] + self.rest.shape[0]
        if self.rest.shape[1] != self.right.shape[0] or self.order.shape != (rows,):
            raise ValueError(
                "rows (r, in), combinations (out - r, r) and an order (out) belong together, not "
                f"{tuple(self.right.shape)}, {tuple(self.rest.shape)} and {tuple(self.order.shape)}."
            )

    @classmethod
    def from_pair(cls, left: Float[Tensor, "out r"], right: Float[Tensor, "r in"], spectrum: Spectrum) -> "PivotPair":
        """`left @ right`, its rows chosen by partial pivoting, which keeps the combinations small.

        Exact up to rounding, of any matrix of full rank; computed in float64. Cost: one LU (out, r), two products.
        """
        rank = left.shape[1]
        packed, pivots = torch.linalg.lu_factor(left.double())
        rows, _, _ = torch.lu_unpack(packed, pivots, unpack_data=False)
        order = rows.argmax(0)  # the row of `left` at each row of the triangle
        triangle = packed[:rank].tril(-1) + torch.eye(rank, dtype=packed.dtype, device=packed.device)
        rest = torch.linalg.solve_triangular(triangle, packed[rank:], upper=False, left=False, unitriangular=True)
        return cls((left[order[:rank]].double() @ right.double()).to(left), rest.to(left), order, spectrum)

    @classmethod
    def whole(cls, weight: Float[Tensor, "out in"]) -> "PivotPair":
        """The matrix itself: every row is kept, and nothing dropped."""
        rows = len(weight)
        order = torch.arange(rows, device=weight.device)
        return cls(weight, weight.new_zeros(0, rows), order, Spectrum(torch.zeros(rows)))

    @property
    def shape(self) -> tuple[int, int]:
        """(out, in) of the matrix it stands for."""
        return len(self.order), self.right.shape[1]

    @property
    def bond(self) -> int:
        """The rank."""
        return self.right.shape[0]

    @property
    def full_bond(self) -> int:
        """The rank: there is nothing uncut to go back to."""
        return self.bond

    @property
    def n_params(self) -> int:
        """Numbers stored: r (out + in) - r²."""
        return self.right.numel() + self.rest.numel()

    @property
    def spectra(self) -> tuple[Spectrum, ...]:
        """The spectrum of the pair it was made of, uncut."""
        return (self.spectrum,)

    def error_bound(self) -> float:
        """What the cut it was made of has dropped, in the norm of `spectrum`."""
        return self.spectrum.error(self.bond)

    def discarded_weight(self) -> float:
        """The share of the squared norm that the cut it was made of has dropped."""
        return self.spectrum.discarded_weight(self.bond)

    def ladder(self) -> Ladder:
        """One setting: its own."""
        return Ladder((self.bond,), (self.n_params,), (self.apply_cost(),), (self.error_bound() ** 2,))

    def bond_within(self, n_params: int | float) -> int:
        """Its own bond, whatever is asked: there is no other."""
        return self.bond

    def truncate(self, bond: int) -> "PivotPair":
        """Itself. Raises ValueError for a smaller bond: which rows matter most is no longer known."""
        check_bond(bond, self.bond)
        if bond < self.bond:
            raise ValueError(f"a gauge-fixed pair of rank {self.bond} is not nested; cut the pair it was made of.")
        return self

    def to(self, device: torch.device) -> "PivotPair":
        """The same rows with their tensors on `device`."""
        return PivotPair(self.right.to(device), self.rest.to(device), self.order.to(device), self.spectrum)

    def tensors(self) -> dict[str, Tensor]:
        """What is learned or stored, by name; the order of the rows is neither changed nor counted."""
        return {"right": self.right, "rest": self.rest}

    def with_tensors(self, tensors: Mapping[str, Tensor]) -> "PivotPair":
        """The same form with other numbers."""
        return PivotPair(tensors["right"], tensors["rest"], self.order, self.spectrum)

    def dense(self) -> Float[Tensor, "out in"]:
        """The matrix it stands for."""
        return torch.cat([self.right, self.rest @ self.right])[self._places()]

    def dense_cost(self) -> int:
        """Multiply-adds of `dense`."""
        return self.rest.numel() * self.shape[1]

    def rows_at(self, index: Int[Tensor, "*any"]) -> Float[Tensor, "*any in"]:
        """`dense()[index]`: rows that are kept, and combinations. Cost: r · in multiply-adds a row."""
        place = self._places()[index]
        kept = taken(self.right, place.clamp_max(self.bond - 1))
        if not len(self.rest):
            return kept
        combined = taken(self.rest, (place - self.bond).clamp_min(0)) @ self.right
        return torch.where((place < self.bond)[..., None], kept, combined)

    def apply(self, x: Float[Tensor, "*batch in"], bias: Tensor | None = None) -> Float[Tensor, "*batch out"]:
        """`x @ dense().T + bias`: the rows kept, their combinations, and each put in its place."""
        kept = functional.linear(x, self.right)
        y = torch.cat([kept, functional.linear(kept, self.rest)], dim=-1).index_select(-1, self._places())
        return y if bias is None else y + bias

    def apply_cost(self) -> int:
        """Multiply-adds of `apply` for one row of x: as many as it stores numbers."""
        return self.n_params

    def apply_moves(self) -> int:
        """Numbers put in another order for one row of x: all outputs."""
        return len(self.order)

    def merged(self) -> "PivotPair":
        """Itself: there is nothing to merge."""
        return self

    def merged_costs(self) -> tuple[int, int]:
        """Multiply-adds of `merged`, none, and of its `apply` for one row of x."""
        return 0, self.apply_cost()

    def merged_moves(self) -> int:
        """`apply_moves`."""
        return self.apply_moves()

    def _places(self) -> Int[Tensor, " out"]:
        places = torch.empty_like(self.order)
        places[self.order] = torch.arange(math.prod(self.order.shape), device=self.order.device)
        return places
