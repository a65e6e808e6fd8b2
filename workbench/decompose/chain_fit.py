"""The cores of a train as the unknowns of a least-squares problem: its value, its gradient and its steps."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.decompose.metric import Metric
from workbench.decompose.orders import contract_chain

Point = Float[Tensor, " n"]


@dataclass(frozen=True, eq=False)
class ChainFit:
    """‖W − W'‖² in `metric` of an operator W' with sites `out_dims` and `in_dims`, as a function of all its cores.

    A point holds the cores (left, site, right) one after another, each times `scales`, one number for each index of
    its left bond. With the singular values there, and cores that are isometries from the right, every core is the
    centre of the train: the problem of one core alone is then about as well conditioned as the metric.
    """

    weight: Float[Tensor, "out in"]
    metric: Metric
    out_dims: tuple[int, ...]
    in_dims: tuple[int, ...]
    scales: tuple[Float[Tensor, "_ 1 1"], ...]

    def point(self, cores: Sequence[Float[Tensor, "_ _ _"]]) -> Point:
        """Where these cores lie."""
        return torch.cat([(core * scale).flatten() for core, scale in zip(cores, self.scales, strict=True)])

    def cores(self, point: Point) -> list[Tensor]:
        """The cores that lie there."""
        return [part / scale for part, scale in zip(self._parts(point), self.scales, strict=True)]

    def value_and_gradient(self, point: Point) -> tuple[float, Point]:
        """The squared norm of the error, summed in float64, and its gradient. Cost: one product with the metric."""
        cores = self.cores(point)
        error = self.weight - self._dense(cores)
        seen = self.metric.gradient(error)
        return float((error * seen).sum(dtype=torch.float64)), self._pulled(cores, seen).mul_(-2)

    def steepest(self, point: Point) -> float:
        """How many times the gradient to go from here down, if the operator were linear in its cores."""
        _, gradient = self.value_and_gradient(point)
        along = self._pushed(self.cores(point), gradient)
        curvature = float((along * self.metric.gradient(along)).sum(dtype=torch.float64))
        return float(gradient @ gradient) / (2 * curvature) if curvature > 0 else 0.0

    def alternating(self, point: Point, sweeps: int, products: int) -> Point:
        """The point after `sweeps` of alternating least squares, there and back along the train.

        Each core in turn goes to the minimum over that core alone, the others fixed, by at most `products` products
        with the metric: conjugate gradients from where it stands, so that no step raises the value.
        Source: Holtz, Rohwedder & Schneider (2012), ALS for trains; Hestenes & Stiefel (1952).
        """
        sites = range(len(self.scales))
        for sweep in range(sweeps):
            for site in sites if sweep % 2 == 0 else reversed(sites):
                point = self._core_step(point, site, products)
        return point

    def _core_step(self, point: Point, site: int, products: int) -> Point:
        """The point with the core at `site` at its best, to the precision of so many products."""
        cores = self.cores(point)
        alone = torch.cat([torch.full_like(part, k == site).flatten() for k, part in enumerate(self._parts(point))])
        rest = self.value_and_gradient(point)[1].mul(-0.5) * alone
        way, left = rest.clone(), float(rest @ rest)
        start = left
        for _ in range(products):
            if left <= torch.finfo(point.dtype).eps ** 2 * start:
                break
            image = self._pulled(cores, self.metric.gradient(self._pushed(cores, way))) * alone
            curvature = float(way @ image)
            if curvature <= 0:  # the metric sees nothing of what is left
                break
            point = point + left / curvature * way
            rest = rest - left / curvature * image
            left, before = float(rest @ rest), left
            way = rest + left / before * way
        return point

    def _parts(self, point: Point) -> list[Tensor]:
        """The stretches of a point, in the shapes of the cores."""
        bonds = (*(len(scale) for scale in self.scales), 1)
        sites = [i * j for i, j in zip(self.out_dims, self.in_dims, strict=True)]
        shapes = [(bonds[k], site, bonds[k + 1]) for k, site in enumerate(sites)]
        parts = point.split([math.prod(shape) for shape in shapes])
        return [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]

    def _dense(self, cores: Sequence[Tensor]) -> Float[Tensor, "out in"]:
        """The matrix of these cores."""
        sites = len(cores)
        legs = contract_chain(cores).reshape(
            [n for pair in zip(self.out_dims, self.in_dims, strict=True) for n in pair]
        )
        return legs.permute([*range(0, 2 * sites, 2), *range(1, 2 * sites, 2)]).reshape(self.weight.shape)

    def _pushed(self, cores: Sequence[Tensor], direction: Point) -> Float[Tensor, "out in"]:
        """The matrix's first-order change as the point moves in `direction`; a core that stays costs nothing."""
        change = torch.zeros_like(self.weight)
        for k, moved in enumerate(self.cores(direction)):
            if bool(moved.any()):
                change += self._dense([*cores[:k], moved, *cores[k + 1 :]])
        return change

    def _pulled(self, cores: Sequence[Tensor], seen: Float[Tensor, "out in"]) -> Point:
        """The transpose of `_pushed`: every other core contracted with `seen`, one core at a time."""
        sites = len(cores)
        legs = seen.reshape(*self.out_dims, *self.in_dims)
        rest = legs.permute([axis for k in range(sites) for axis in (k, sites + k)])  # (out 1, in 1, out 2, …)
        parts = []
        for k, core in enumerate(cores):
            part = rest
            for other in reversed(cores[k + 1 :]):  # from the right; (…, site, right) goes, (…, left) comes
                part = part.reshape(-1, math.prod(other.shape[1:])) @ other.flatten(1).T
            parts.append(part.reshape(core.shape))
            rest = core.flatten(0, 1).T @ rest.reshape(math.prod(core.shape[:2]), -1)
        return torch.cat([(part / scale).flatten() for part, scale in zip(parts, self.scales, strict=True)])
