"""A weight matrix as a sum of outer products of three or more legs, fitted for one number of terms (CP)."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import TYPE_CHECKING, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from workbench.decompose.cp import CanonicalPolyadic
from workbench.decompose.ladder import Ladder, check_bond
from workbench.decompose.leg_fit import (
    SWEEPS,
    TOLERANCE,
    check_ranks,
    checked_legs,
    leg_step,
    scaled_to_one,
    squared_distance,
    swept,
)
from workbench.decompose.protocol import Decomposition
from workbench.decompose.row_digits import row_digits, taken
from workbench.spectrum import Spectrum


@dataclass(frozen=True, eq=False)
class OuterSum:
    """A matrix (out, in) whose sides are split into legs, `out_dims` and `in_dims`, as a CP tensor of all of them.

    Not nested: fewer terms are a new fit (`outer_sums`). `squared_error` is what the fit left out, measured, of
    `total`, both squared Frobenius norms of the weight. Source: Lebedev et al. (2015), for convolutions.
    """

    terms: CanonicalPolyadic
    out_dims: tuple[int, ...]
    in_dims: tuple[int, ...]
    squared_error: float
    total: float

    nested: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.terms.shape != self.out_dims + self.in_dims or not self.out_dims or not self.in_dims:
            raise ValueError(
                f"terms of legs {self.terms.shape} do not fit outputs {self.out_dims} and inputs {self.in_dims}."
            )

    @property
    def shape(self) -> tuple[int, int]:
        """(out, in) of the matrix it stands for."""
        return math.prod(self.out_dims), math.prod(self.in_dims)

    @property
    def bond(self) -> int:
        """The number of terms."""
        return self.terms.rank

    @property
    def full_bond(self) -> int:
        """The number of terms: there is nothing uncut to go back to."""
        return self.bond

    @property
    def n_params(self) -> int:
        """Numbers stored: r (1 + the sum of the legs)."""
        return self.terms.n_params

    @property
    def spectra(self) -> tuple[Spectrum, ...]:
        """None: a tensor of three or more legs has no spectrum."""
        return ()

    def error_bound(self) -> float:
        """The Frobenius norm of what the fit left out (measured)."""
        return math.sqrt(self.squared_error)

    def discarded_weight(self) -> float:
        """The share of the squared norm that the fit left out, 0 to 1 (measured)."""
        return min(1.0, self.squared_error / self.total) if self.total > 0 else 0.0

    def ladder(self) -> Ladder:
        """One setting: its own."""
        cost = min(self.apply_cost(), self.merged_costs()[1], math.prod(self.shape))
        return Ladder((self.bond,), (self.n_params,), (cost,), (self.squared_error,))

    def bond_within(self, n_params: int | float) -> int:
        """Its own number of terms, whatever is asked: there is no other."""
        return self.bond

    def truncate(self, bond: int) -> "OuterSum":
        """Itself. Raises ValueError for fewer terms, which are a fit of their own."""
        check_bond(bond, self.bond)
        if bond < self.bond:
            raise ValueError(f"a sum of {self.bond} fitted terms is not nested; fit one of {bond} by `outer_sums`.")
        return self

    def to(self, device: torch.device) -> "OuterSum":
        """The same sum with its tensors on `device`."""
        return self.with_tensors({name: tensor.to(device) for name, tensor in self.tensors().items()})

    def tensors(self) -> dict[str, Tensor]:
        """The weights of the terms and a factor (leg, r) for each leg, outputs first, by name."""
        return {"weights": self.terms.weights} | {f"factor.{k}": f for k, f in enumerate(self.terms.factors)}

    def with_tensors(self, tensors: Mapping[str, Tensor]) -> "OuterSum":
        """The same form with other numbers; what it says of its error stays that of the fit."""
        factors = tuple([tensors[f"factor.{k}"] for k in range(len(self.terms.factors))])
        return replace(self, terms=CanonicalPolyadic(tensors["weights"], factors))

    def dense(self) -> Float[Tensor, "out in"]:
        """The matrix it stands for."""
        return self.terms.dense().reshape(self.shape)

    def dense_cost(self) -> int:
        """Multiply-adds of `dense`: all entries for each term, and the products of legs before."""
        first, *others = self.terms.shape
        return self.bond * (math.prod(self.shape) + first + _growing(others))

    def rows_at(self, index: Int[Tensor, "*any"]) -> Float[Tensor, "*any in"]:
        """`dense()[index]`. Cost: r · in multiply-adds a row, and for all rows together as many."""
        n_outs = len(self.out_dims)
        outs, ins = self.terms.factors[:n_outs], self.terms.factors[n_outs:]
        digits = row_digits(index, self.out_dims)
        terms = reduce(torch.mul, [taken(factor, digit) for factor, digit in zip(outs, digits, strict=True)])
        return (terms * self.terms.weights) @ joined_columns(ins).T

    def apply(self, x: Float[Tensor, "*batch in"], bias: Tensor | None = None) -> Float[Tensor, "*batch out"]:
        """`x @ dense().T + bias`, one leg after another; factors are not multiplied with each other."""
        n_outs = len(self.out_dims)
        outs, ins = self.terms.factors[:n_outs], self.terms.factors[n_outs:]
        y = functional.linear(x.reshape(*x.shape[:-1], *self.in_dims), ins[-1].T)
        for factor in reversed(ins[:-1]):
            y = (y * factor).sum(-2)
        y = y * self.terms.weights
        for factor in outs[:-1]:
            y = y[..., None, :] * factor
        y = functional.linear(y, outs[-1]).reshape(*x.shape[:-1], self.shape[0])
        return y if bias is None else y + bias

    def apply_cost(self) -> int:
        """Multiply-adds of `apply` for one row of x: r a number at every stage, of which `in` and `out` are most."""
        ins = sum(math.prod(self.in_dims[:k]) for k in range(1, len(self.in_dims) + 1))
        outs = sum(math.prod(self.out_dims[:k]) for k in range(1, len(self.out_dims) + 1))
        return self.bond * (ins + 1 + outs)

    def apply_moves(self) -> int:
        """None: the terms stay the last axis throughout."""
        return 0

    def merged(self) -> "OuterSum":
        """The same matrix as two factors, (out, r) and (in, r): the legs of each side multiplied out."""
        if len(self.terms.factors) == 2:
            return self
        n_outs = len(self.out_dims)
        sides = (self.terms.factors[:n_outs], self.terms.factors[n_outs:])
        pair = CanonicalPolyadic(self.terms.weights, (joined_columns(sides[0]), joined_columns(sides[1])))
        return replace(self, terms=pair, out_dims=self.shape[:1], in_dims=self.shape[1:])

    def merged_costs(self) -> tuple[int, int]:
        """Multiply-adds of `merged`, 0 if there is nothing to merge, and of its `apply` for one row of x."""
        return self.bond * (_growing(self.out_dims) + _growing(self.in_dims)), self.bond * (sum(self.shape) + 1)

    def merged_moves(self) -> int:
        """None, like `apply_moves`."""
        return 0


def outer_sums(
    weight: Float[Tensor, "out in"],
    out_dims: Sequence[int],
    in_dims: Sequence[int],
    ranks: Sequence[int],
    sweeps: int = SWEEPS,
    tolerance: float = TOLERANCE,
) -> tuple[OuterSum, ...]:
    """A fit of `weight` for each of `ranks`, by alternating least squares, each from the one before.

    The first starts from random columns, a later one from the terms found and random columns of weight zero, so that
    no rank has a larger error than a smaller one, up to rounding; the same numbers on every call. A rank takes at most
    `sweeps` over its legs, fewer once one takes less than `tolerance` off the error: near a local best, not at it.
    Four times as many sweeps took another 6 % off the error at 40 % of the numbers of a small GPT's matrix.

    Raises ValueError if the legs do not multiply to the weight's sizes, if it is not finite, or if the ranks do not
    grow; TypeError for a rank that is no whole number.
    Cost of a sweep: a leg, one product (weight, r) and one Cholesky decomposition (r, r).
    Source: Carroll & Chang (1970), Harshman (1970); the step is that of `leg_step`.
    """
    outs, ins = checked_legs(weight, out_dims, in_dims)
    check_ranks(ranks)
    if sweeps < 1 or not tolerance >= 0:
        raise ValueError(f"a fit takes one or more sweeps and a tolerance of 0 or more, not {sweeps} and {tolerance}.")
    scaled, norm = scaled_to_one(weight)
    generator = torch.Generator().manual_seed(0)
    terms = CanonicalPolyadic(weight.new_zeros(0), tuple([weight.new_zeros(size, 0) for size in (*outs, *ins)]))
    found = []
    for rank in ranks:
        terms = _widened(terms, rank, generator)
        if norm > 0:
            terms = _fitted(scaled, terms, len(outs), (sweeps, tolerance))
        form = OuterSum(replace(terms, weights=norm * terms.weights), outs, ins, 0.0, norm * norm)
        found.append(replace(form, squared_error=squared_distance(weight, form.dense())))
    return tuple(found)


def joined_columns(factors: Sequence[Float[Tensor, "_ r"]]) -> Float[Tensor, "sites r"]:
    """The outer product of the columns of each term, flattened; also called Khatri-Rao."""
    return reduce(lambda joined, factor: (joined[:, None] * factor).flatten(0, 1), factors)


def _widened(terms: CanonicalPolyadic, rank: int, generator: torch.Generator) -> CanonicalPolyadic:
    """The same tensor with more terms: random unit columns, of weight zero."""
    more = rank - terms.rank
    factors = []
    for known in terms.factors:
        drawn = torch.randn(len(known), more, generator=generator, dtype=torch.float64)
        factors.append(torch.cat([known, (drawn / torch.linalg.vector_norm(drawn, dim=0)).to(known)], dim=1))
    return CanonicalPolyadic(torch.cat([terms.weights, terms.weights.new_zeros(more)]), tuple(factors))


def _fitted(weight: Tensor, start: CanonicalPolyadic, n_outs: int, effort: tuple[int, float]) -> CanonicalPolyadic:
    """The terms that sweeps of alternating least squares from `start` end in, for a weight of norm 1."""
    weights, factors = start.weights, list(start.factors)

    def sweep() -> float:
        nonlocal weights
        error = 1.0  # the squared norm of the weight
        for k in range(len(factors)):
            gram = reduce(torch.mul, [factor.T @ factor for factor in (*factors[:k], *factors[k + 1 :])])
            moments = _moments(weight, factors, n_outs, k)
            solved = leg_step(gram, moments, factors[k] * weights)
            error = 1.0 + float((solved @ gram - 2 * moments).double().mul(solved.double()).sum())
            weights = torch.linalg.vector_norm(solved, dim=0)
            here = weights > 0
            factors[k] = torch.where(here, solved / weights.where(here, torch.ones_like(weights)), factors[k])
        return error

    swept(sweep, *effort)
    return CanonicalPolyadic(weights, tuple(factors))


def _moments(weight: Tensor, factors: Sequence[Tensor], n_outs: int, k: int) -> Float[Tensor, "_ r"]:
    """The weight contracted with the factors of all legs but k: the other side's at once, then this side's."""
    outs, ins = factors[:n_outs], factors[n_outs:]
    mine, others, place = (outs, ins, k) if k < n_outs else (ins, outs, k - n_outs)
    seen = (weight if k < n_outs else weight.T) @ joined_columns(others)  # (all legs of this side, r)
    legs = seen.unflatten(0, [len(factor) for factor in mine]).movedim(place, -2)  # (the other legs, leg k, r)
    aside = [*mine[:place], *mine[place + 1 :]]
    return (legs.flatten(0, -3) * joined_columns(aside)[:, None]).sum(0) if aside else legs


def _growing(sizes: Sequence[int]) -> int:
    """Numbers made when legs are multiplied out one after another."""
    return sum(math.prod(sizes[:k]) for k in range(2, len(sizes) + 1))


if TYPE_CHECKING:
    _form: type[Decomposition] = OuterSum
