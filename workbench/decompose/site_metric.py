"""Coordinates of a weight in which each site of a train, seen alone, counts all its directions alike.

The second moment A of the inputs has no site structure, but its partial traces have: A_k is what is left of A when
every site but k is summed over. The map A_1^½ ⊗ A_2^½ ⊗ … takes the metric towards the plain one, and a train to a
train of the same bonds, since it acts on each core alone. So does the same map of the outputs. The metric itself is
carried along exactly: these are coordinates, no approximation.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.decompose.metric import Metric
from workbench.decompose.moment import Moment, diagonal, power, times

# A direction that holds less than this share of a site's mean counts as holding it: nothing is divided by zero.
FLOOR = 1e-3

Matrices = Sequence[Float[Tensor, "_ _"] | Float[Tensor, " _"]]  # a diagonal matrix as a vector, as a moment is


@dataclass(frozen=True, eq=False)
class Side:
    """The maps to the sites' coordinates and back, one a site in float64, and the moment of mean 1 in them."""

    there: Matrices
    back: Matrices
    moment: Moment | None

    @classmethod
    def of(cls, moment: Moment | None, dims: Sequence[int], exponent: float, like: Tensor) -> "Side":
        """The maps A_k^exponent of `moment`, which is not zero; identities if it is None. Its new form is as `like` is.

        Those of a diagonal moment are diagonal, and so is its new form.
        """
        if moment is None:
            ones = tuple([torch.ones(n, dtype=torch.float64, device=like.device) for n in dims])
            return cls(ones, ones, None)
        moment = moment.to(like.device, torch.float64) / float(diagonal(moment).mean())
        sites = [marginal(moment, dims, k) for k in range(len(dims))]
        there = tuple([power(site, exponent, FLOOR) for site in sites])
        back = tuple([power(site, -exponent, FLOOR) for site in sites])
        if moment.ndim == 1:
            twice = kronecker_times(back, kronecker_times(back, moment[:, None]))[:, 0]
        else:
            twice = kronecker_times(back, kronecker_times(back, moment).T)
        return cls(there, back, twice.to(like))


@dataclass(frozen=True, eq=False)
class SiteCoordinates:
    """`weight`, of squared norm 1 in `metric`, and `metric`, both in the coordinates of the sites; `scale` is undone by
    `from_sites`.
    """

    weight: Float[Tensor, "out in"]
    metric: Metric
    outs: Side
    ins: Side
    scale: float

    @classmethod
    def of(
        cls,
        weight: Float[Tensor, "out in"],
        metric: Metric,
        out_dims: Sequence[int],
        in_dims: Sequence[int],
        exponent: float = 0.5,
    ) -> "SiteCoordinates":
        """The coordinates that suit `metric`, in the precision of `weight`, which is not zero in it.

        With an `exponent` of 0 they are those of the weight, but for the scale; ½ suits the metric's sites fully.
        Cost: at each site a product of the site's size with each moment and with the weight.
        """
        outs = Side.of(metric.outputs, out_dims, exponent, weight)
        ins = Side.of(metric.inputs, in_dims, exponent, weight)
        moved = kronecker_times(ins.there, kronecker_times(outs.there, weight.double()).T).T
        inner = Metric(ins.moment, outs.moment)
        scale = math.sqrt(inner.squared(moved))
        return cls((moved / scale).to(weight), inner, outs, ins, scale)

    def to_sites(self, cores: Sequence[Float[Tensor, "_ _ _"]]) -> list[Tensor]:
        """Cores (left, site, right) of an operator in these coordinates, from those of the operator; in float64."""
        moved = _moved(cores, self.outs.there, self.ins.there)
        return [moved[0] / self.scale, *moved[1:]]

    def from_sites(self, cores: Sequence[Float[Tensor, "_ _ _"]]) -> list[Tensor]:
        """`to_sites` undone."""
        moved = _moved(cores, self.outs.back, self.ins.back)
        return [moved[0] * self.scale, *moved[1:]]


def marginal(moment: Moment, dims: Sequence[int], site: int) -> Float[Tensor, "m m"] | Float[Tensor, " m"]:
    """The partial trace of `moment` over all sites but one, over the number of directions summed."""
    before, after = math.prod(dims[:site]), math.prod(dims[site + 1 :])
    if moment.ndim == 1:
        return moment.reshape(before, dims[site], after).mean((0, 2))
    legs = moment.reshape(before, dims[site], after, before, dims[site], after)
    return torch.einsum("aibajb->ij", legs) / (before * after)


def kronecker_times(matrices: Matrices, rows: Float[Tensor, "n m"]) -> Float[Tensor, "n m"]:
    """(M_1 ⊗ M_2 ⊗ …) `rows`, one square matrix after another. Cost: n m multiply-adds for each of their sizes."""
    legs = rows
    for k, matrix in enumerate(matrices):
        after = math.prod(len(other) for other in matrices[k + 1 :])
        legs = legs.reshape(-1, len(matrix), after * rows.shape[1])  # (before, site, after and columns)
        legs = matrix @ legs if matrix.ndim == 2 else matrix[:, None] * legs
    return legs.reshape(rows.shape)


def _moved(cores: Sequence[Tensor], outs: Matrices, ins: Matrices) -> list[Tensor]:
    """Cores (left, site, right) in float64, their outputs and inputs each multiplied with a matrix."""
    moved = []
    for core, i, j in zip(cores, outs, ins, strict=True):
        legs = core.double().unflatten(1, (len(i), len(j)))  # (left, out, in, right)
        for axis, matrix in ((1, i), (2, j)):
            first = legs.movedim(axis, 0)
            legs = times(matrix, first.flatten(1)).reshape(first.shape).movedim(0, axis)
        moved.append(legs.flatten(1, 2))
    return moved
