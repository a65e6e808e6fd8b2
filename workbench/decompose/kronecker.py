"""A weight matrix as an ordered sum of Kronecker products.

The blocks of the weight, one a row, make a matrix whose rank is the number of products and whose singular
values are their weights (Van Loan & Pitsianis 1993). It is also a train operator of two sites, seen along its
bond: that is how it is computed.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.decompose.ladder import check_bond
from workbench.decompose.operator import TrainOperator
from workbench.spectrum import Spectrum


@dataclass(frozen=True, eq=False)
class KroneckerSum:
    """Σ_r left[r] ⊗ right[r], in order of importance, so that a cut to any bond is a slice (nested).

    Letters: o, i index the blocks; p, j the rows and columns inside one. Products of different r are
    orthogonal. `spectrum` is that of the uncut sum; `error` is a Frobenius norm of the weight.
    """

    left: Float[Tensor, "r o i"]
    right: Float[Tensor, "r p j"]
    spectrum: Spectrum

    def __post_init__(self) -> None:
        if self.left.ndim != 3 or self.right.ndim != 3 or len(self.left) != len(self.right):
            raise ValueError(
                "the factors share one bond, (r, o, i) and (r, p, j), "
                f"not {tuple(self.left.shape)} and {tuple(self.right.shape)}."
            )
        if self.bond > self.full_bond:
            raise ValueError(f"the bond has size {self.bond}, but its spectrum has {self.full_bond} values.")

    @classmethod
    def from_weight(
        cls,
        weight: Float[Tensor, "out in"],
        out_dims: tuple[int, int] | None = None,
        in_dims: tuple[int, int] | None = None,
    ) -> "KroneckerSum":
        """The uncut sum of `weight`, with outputs `out_dims` = (o, p) and inputs `in_dims` = (i, j).

        Dimensions that are not given are balanced: as equal as possible, smaller first.
        Raises ValueError if they do not multiply to the weight's, or if it is not finite.
        Cost: two products (weight, r) and one eigendecomposition (r, r), r the smaller of o·i and p·j.
        Source: Van Loan & Pitsianis (1993).
        """
        operator = TrainOperator.from_weight(weight, 2, out_dims, in_dims)
        first, second = operator.cores  # (1, o, i, r) and (r, p, j, 1)
        return cls(first[0].permute(2, 0, 1), second[..., 0], operator.spectra[0])

    @property
    def shape(self) -> tuple[int, int]:
        """(out, in) of the matrix it stands for."""
        (_, o, i), (_, p, j) = self.left.shape, self.right.shape
        return o * p, i * j

    @property
    def bond(self) -> int:
        """The size of the bond as it is cut now: the number of products."""
        return len(self.left)

    @property
    def full_bond(self) -> int:
        """The size of the uncut bond."""
        return len(self.spectrum)

    @property
    def n_params(self) -> int:
        """Numbers stored: r (o·i + p·j)."""
        return self.left.numel() + self.right.numel()

    @property
    def spectra(self) -> tuple[Spectrum, ...]:
        """The spectrum at each bond, uncut: here one."""
        return (self.spectrum,)

    def error(self) -> float:
        """The Frobenius norm of what this cut has dropped (exact)."""
        return self.spectrum.error(self.bond)

    def error_bound(self) -> float:
        """`error()`: for one bond the bound is exact."""
        return self.error()

    def truncate(self, bond: int) -> "KroneckerSum":
        """The same sum cut to its first `bond` products, as views; a cut above the present one leaves it as it is."""
        check_bond(bond, self.full_bond)
        return KroneckerSum(self.left[:bond], self.right[:bond], self.spectrum)

    def dense(self) -> Float[Tensor, "out in"]:
        """The matrix this cut stands for. Cost: out · in · r in multiply-adds."""
        return torch.einsum("roi,rpj->opij", self.left, self.right).reshape(self.shape)
