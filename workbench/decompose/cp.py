"""A tensor as a weighted sum of outer products, fitted for one rank.

The exact rank of a tensor of three or more axes is NP-hard to find (Håstad 1990), has no spectrum, and its
best approximation may not exist: terms that cancel grow without end while the error falls (de Silva & Lim
2008). So errors are measured, never predicted, and a smaller rank is a new fit.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.decompose.exact import check_finite
from workbench.decompose.tucker import Tucker


@dataclass(frozen=True, eq=False)
class CanonicalPolyadic:
    """Σ_r weights[r] · factors[0][:, r] ∘ factors[1][:, r] ∘ …, one factor `(site, r)` an axis.

    Also called CP, CANDECOMP or PARAFAC. Not nested: the first terms of a fit are not the best fit of fewer
    terms, so there is no cut and no bound.
    """

    weights: Float[Tensor, " r"]
    factors: tuple[Float[Tensor, "_ r"], ...]

    def __post_init__(self) -> None:
        if len(self.factors) < 2:
            raise ValueError(f"a sum of outer products has two or more factors, not {len(self.factors)}.")
        for k, factor in enumerate(self.factors):
            if factor.ndim != 2 or factor.shape[1] != len(self.weights):
                raise ValueError(
                    f"factor {k} needs the axes (site, r) with r = {len(self.weights)}, one column a weight, "
                    f"not shape {tuple(factor.shape)}."
                )

    @classmethod
    def from_dense(
        cls,
        tensor: Float[Tensor, "*sites"],
        rank: int,
        steps: int = 500,
        tolerance: float = 1e-10,
        generator: torch.Generator | None = None,
    ) -> "CanonicalPolyadic":
        """A fit of `rank` terms by alternating least squares; columns of unit norm, the largest weight first.

        A step solves for each factor in turn and cannot raise the error. Steps end when one lowers it by no more
        than `tolerance` times the tensor's norm. They start from the leading singular vectors of each unfolding
        (terms beyond their number at random, the same each time), or, given a `generator`, from random columns.
        The end may be a local best, and singular vectors of a tensor with symmetries may be a place from which no
        step leads down: compare `error` over a few starts.
        Directions in which the terms cannot be told apart are left at zero (pseudo-inverse, no ridge).

        Raises ValueError for fewer than two axes, non-finite values, or a rank, steps or tolerance out of range.
        Cost of a step: an axis, one product (tensor, r) and one eigendecomposition (r, r); one `error`.
        Source: Carroll & Chang (1970), Harshman (1970); as in Kolda & Bader (2009), figure 3.3.
        """
        _check_arguments(tensor, rank, steps, tolerance)
        fit = cls(tensor.new_zeros(rank), _starts(tensor, rank, generator))
        error = norm = fit.error(tensor)
        for _ in range(steps):
            fit = cls(*_step(tensor, fit.factors))
            before, error = error, fit.error(tensor)
            if before - error <= tolerance * norm:
                break
        return fit

    @property
    def shape(self) -> tuple[int, ...]:
        """The site sizes: the shape of the tensor it stands for."""
        return tuple([factor.shape[0] for factor in self.factors])

    @property
    def rank(self) -> int:
        """The number of terms."""
        return len(self.weights)

    @property
    def n_params(self) -> int:
        """Numbers stored: r (1 + the sum of the site sizes)."""
        return self.weights.numel() + sum(factor.numel() for factor in self.factors)

    def error(self, tensor: Float[Tensor, "*sites"]) -> float:
        """The Frobenius norm of `tensor` less this sum, measured: there is no spectrum to read it from."""
        if tensor.shape != self.shape:
            raise ValueError(f"a sum of shape {self.shape} cannot be compared with a tensor of {tuple(tensor.shape)}.")
        return float(torch.linalg.vector_norm(tensor - self.dense()))

    def dense(self) -> Float[Tensor, "*sites"]:
        """The tensor this sum stands for. Cost: tensor · r in multiply-adds, and less for the outer products."""
        head = self.factors[0] * self.weights
        return (head @ _outer_columns(self.factors[1:]).T).reshape(self.shape)


def _check_arguments(tensor: Tensor, rank: int, steps: int, tolerance: float) -> None:
    if tensor.ndim < 2 or tensor.numel() == 0:
        raise ValueError(
            f"a sum of outer products needs two or more axes, none of size 0, not shape {tuple(tensor.shape)}."
        )
    check_finite(tensor, "tensor")
    if not isinstance(rank, int) or isinstance(rank, bool):
        raise TypeError(f"a rank is a whole number, not {rank!r}.")
    most = tensor.numel() // max(tensor.shape)  # one term for each fibre along the longest axis is exact
    if not 1 <= rank <= most:
        raise ValueError(
            f"rank {rank} does not fit: {most} terms are enough for any tensor of shape {tuple(tensor.shape)}; "
            f"give 1 to {most}."
        )
    if steps < 1 or not tolerance >= 0:
        raise ValueError(f"a fit takes one or more steps and a tolerance of 0 or more, not {steps} and {tolerance}.")


def _starts(tensor: Tensor, rank: int, generator: torch.Generator | None) -> tuple[Tensor, ...]:
    """One factor (site, r) an axis, of unit columns."""
    if generator is None:
        found = [factor[:, :rank] for factor in Tucker.from_dense(tensor).factors]
        generator = torch.Generator().manual_seed(0)
    else:
        found = [tensor.new_empty(size, 0) for size in tensor.shape]
    starts = []
    for known in found:
        size, n_known = known.shape
        drawn = torch.randn(size, rank - n_known, generator=generator, dtype=tensor.dtype, device=generator.device).to(
            tensor.device
        )
        starts.append(torch.cat([known, drawn / torch.linalg.vector_norm(drawn, dim=0)], dim=1))
    return tuple(starts)


def _step(tensor: Tensor, starts: Sequence[Tensor]) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Weights, the largest first, and unit columns, after each factor was solved for once."""
    weights, factors = tensor.new_zeros(0), list(starts)
    for k in range(tensor.ndim):
        weights, factors[k] = _unit_columns(_solved(tensor, factors, k), factors[k])
    order = torch.argsort(weights, descending=True, stable=True)
    return weights[order], tuple([factor[:, order] for factor in factors])


def _solved(tensor: Tensor, factors: Sequence[Tensor], k: int) -> Tensor:
    """The factor at axis k, columns of any norm, that is best for the others as they are."""
    others = [*factors[:k], *factors[k + 1 :]]
    moments = tensor.movedim(k, 0).flatten(1) @ _outer_columns(others)  # (site, r)
    gram = torch.stack([factor.T @ factor for factor in others]).prod(0)  # (r, r), of the outer products
    return moments @ torch.linalg.pinv(gram, hermitian=True)


def _unit_columns(factor: Tensor, before: Tensor) -> tuple[Tensor, Tensor]:
    """The norms of the columns, and the columns over them; a column of zeros keeps the direction it had before."""
    norms = torch.linalg.vector_norm(factor, dim=0)
    return norms, torch.where(norms > 0, factor / norms.where(norms > 0, torch.ones_like(norms)), before)


def _outer_columns(factors: Sequence[Tensor]) -> Tensor:
    """The outer product of the columns of each term, flattened: (all sites, r), also called Khatri-Rao."""
    joined = factors[0]
    for factor in factors[1:]:
        joined = (joined[:, None] * factor).flatten(0, 1)
    return joined
