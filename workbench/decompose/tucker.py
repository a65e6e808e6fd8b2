"""A tensor as a small core with one isometry an axis, decomposed once and then cut on any axes by slicing.

Column r of factor k is the r-th left singular vector of the tensor unfolded at axis k. Cutting axis k to
r_k therefore applies the orthogonal projector Q_k on the first r_k of them. Projectors of different axes
commute, and as for a train (`workbench.decompose.train`)
    ‖T − Q_1 Q_2 … T‖² ≤ ε_1² + ε_2² + …,
the bound of De Lathauwer, De Moor & Vandewalle (2000, property 10). No tensor of rank r_k at axis k comes nearer
than ε_k, so the root of the sum is at most √order times the least error of any tensor of those ranks.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.decompose.exact import check_finite, right_isometry_factors
from workbench.decompose.ladder import check_bond
from workbench.spectrum import Spectrum


@dataclass(frozen=True, eq=False)
class Tucker:
    """A core with one leg an axis, each joined by a bond to a factor `(site, r)`, an isometry.

    Also called multilinear or higher-order SVD (HOSVD). `spectra` are those of the uncut tensor, one an axis.
    """

    core: Float[Tensor, "*ranks"]
    factors: tuple[Float[Tensor, "_ _"], ...]
    spectra: tuple[Spectrum, ...]

    def __post_init__(self) -> None:
        order = self.core.ndim
        if not order == len(self.factors) == len(self.spectra):
            raise ValueError(
                f"a core of {order} axes needs that many factors and spectra, "
                f"not {len(self.factors)} and {len(self.spectra)}."
            )
        for k, (factor, spectrum) in enumerate(zip(self.factors, self.spectra, strict=True)):
            rank = self.core.shape[k]
            if factor.ndim != 2 or factor.shape[1] != rank:
                raise ValueError(
                    f"factor {k} needs the axes (site, r) with r = {rank}, not shape {tuple(factor.shape)}."
                )
            if rank > len(spectrum):
                raise ValueError(f"axis {k} of the core has size {rank}, but its spectrum has {len(spectrum)} values.")

    @classmethod
    def from_dense(cls, tensor: Float[Tensor, "*sites"]) -> "Tucker":
        """The uncut decomposition of `tensor`; `dense` gives it back.

        Each axis is rotated into the singular basis of its unfolding before the next is looked at: nothing
        is cut, so the next unfolding keeps its singular values.
        Cost: at each axis two products (tensor, r) and one eigendecomposition (r, r), r its full rank.
        Source: De Lathauwer, De Moor & Vandewalle (2000), theorem 2; axes one after another as in
        Vannieuwenhoven, Vandebril & Meerbergen (2012).
        """
        if tensor.ndim == 0 or tensor.numel() == 0:
            raise ValueError(f"a Tucker form needs one or more axes, none of size 0, not shape {tuple(tensor.shape)}.")
        check_finite(tensor, "tensor")
        core, factors, spectra = tensor, [], []
        for size in tensor.shape:
            rotated, uh, values = right_isometry_factors(core.reshape(size, -1).T)  # (all others, r), (r, site)
            core = rotated.reshape(*core.shape[1:], -1)  # the first axis goes, its bond comes last
            factors.append(uh.T)
            spectra.append(Spectrum(values))
        return cls(core, tuple(factors), tuple(spectra))

    @property
    def shape(self) -> tuple[int, ...]:
        """The site sizes: the shape of the tensor it stands for."""
        return tuple([factor.shape[0] for factor in self.factors])

    @property
    def ranks(self) -> tuple[int, ...]:
        """The size of each bond as it is cut now: the shape of the core."""
        return tuple(self.core.shape)

    @property
    def full_ranks(self) -> tuple[int, ...]:
        """The size of each bond, uncut."""
        return tuple([len(spectrum) for spectrum in self.spectra])

    @property
    def n_params(self) -> int:
        """Numbers stored: the core's, and those of all factors."""
        return self.core.numel() + sum(factor.numel() for factor in self.factors)

    def truncate(self, ranks: int | Sequence[int]) -> "Tucker":
        """The same decomposition cut to `ranks`, one an axis or one cap on all, as views (nested).

        A cut above the present one leaves that axis as it is.
        """
        if isinstance(ranks, int):
            check_bond(ranks, max(self.full_ranks))
            caps = (ranks,) * len(self.factors)
        else:
            if len(ranks) != len(self.factors):
                raise ValueError(f"a core of {len(self.factors)} axes is cut to that many ranks, not {len(ranks)}.")
            for rank, full in zip(ranks, self.full_ranks, strict=True):
                check_bond(rank, full)
            caps = tuple(ranks)
        core = self.core[tuple([slice(cap) for cap in caps])]
        factors = tuple([factor[:, :cap] for factor, cap in zip(self.factors, caps, strict=True)])
        return Tucker(core, factors, self.spectra)

    def error_bound(self) -> float:
        """At most this Frobenius norm was dropped: the root of Σ ε_k²; exact for one cut axis."""
        return math.hypot(*(spectrum.error(rank) for spectrum, rank in zip(self.spectra, self.ranks, strict=True)))

    def dense(self) -> Float[Tensor, "*sites"]:
        """The tensor this cut stands for. Cost: a product of the growing core with one factor after another."""
        tensor = self.core
        for factor in self.factors:  # the first bond goes, its site comes last
            tensor = torch.tensordot(tensor, factor, dims=([0], [1]))  # pyright: ignore[reportArgumentType]
        return tensor
