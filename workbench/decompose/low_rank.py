"""A weight matrix as an ordered pair of factors joined by one bond."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from workbench.decompose.exact import calibrated_factors, ordered_factors
from workbench.spectrum import Spectrum


@dataclass(frozen=True, eq=False)
class LowRank:
    """`left @ right`, in order of importance, so that a cut to any rank is a slice (nested).

    `spectrum` is that of the uncut pair; `spectrum.error(rank)` is the error of this cut (exact).
    """

    left: Float[Tensor, "out r"]
    right: Float[Tensor, "r in"]
    spectrum: Spectrum

    def __post_init__(self) -> None:
        if self.left.ndim != 2 or self.right.ndim != 2 or self.left.shape[1] != self.right.shape[0]:
            raise ValueError(
                "the factors share one bond, (out, r) and (r, in), "
                f"not {tuple(self.left.shape)} and {tuple(self.right.shape)}."
            )

    @classmethod
    def from_weight(
        cls, weight: Float[Tensor, "out in"], second_moment: Float[Tensor, "in in"] | None = None
    ) -> "LowRank":
        """The uncut pair of `weight`: plain SVD, or calibrated under E[x xᵀ] = `second_moment`.

        Its errors are Frobenius norms of the weight, or, calibrated, root mean squares of the layer's output.
        """
        if second_moment is None:
            left, right, values = ordered_factors(weight)
            return cls(left, right, Spectrum(values))
        left, right, values = calibrated_factors(weight, second_moment)
        return cls(left, right, Spectrum(values, norm="output"))

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
        """Numbers stored: r (out + in)."""
        return self.left.numel() + self.right.numel()

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
        return LowRank(self.left[:, :bond], self.right[:bond], self.spectrum)

    def to(self, device: torch.device) -> "LowRank":
        """The same pair with its tensors on `device`."""
        return LowRank(self.left.to(device), self.right.to(device), self.spectrum)

    def bond_within(self, n_params: int | float) -> int:
        """The largest bond that stores at most `n_params` numbers, and at least 1."""
        return max(1, min(self.full_bond, int(n_params // sum(self.shape))))

    def dense(self) -> Float[Tensor, "out in"]:
        """The matrix this cut stands for. Cost: out · r · in multiply-adds."""
        return self.left @ self.right

    def apply(self, x: Float[Tensor, "*batch in"], bias: Tensor | None = None) -> Float[Tensor, "*batch out"]:
        """`x @ dense().T + bias`, through the bond. Cost: r (out + in) multiply-adds a row of x."""
        return functional.linear(functional.linear(x, self.right), self.left, bias)

    def apply_cost(self) -> int:
        """Multiply-adds of `apply` for one row of x."""
        return self.n_params

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


def check_bond(bond: object, full_bond: int) -> None:
    """Raises ValueError, or TypeError for what is no whole number, if a bond of `full_bond` cannot be cut to `bond`."""
    if not isinstance(bond, int) or isinstance(bond, bool):
        raise TypeError(f"a bond dimension is a whole number, not {bond!r}.")
    if not 1 <= bond <= full_bond:
        raise ValueError(f"bond {bond} does not fit: this bond can be cut to 1, 2, … {full_bond} (full).")
