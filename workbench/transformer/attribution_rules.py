"""Rules that explanations of transformers share: attention multiplied through layers, and means along a line."""

from collections.abc import Callable

import numpy
import torch
from jaxtyping import Float
from torch import Tensor


def rolled_out(patterns: Float[Tensor, "layers n t s"]) -> Float[Tensor, "n t s"]:
    """The share, 0 to 1, of each position that comes from each: attention rollout (Abnar & Zuidema 2020).

    In each layer half of a position is its own (the residual stream) and half what it attends to, a pattern that is a
    mean over heads; layers are multiplied. A heuristic: values and MLPs are not asked.
    """
    own = torch.eye(patterns.shape[-1], dtype=patterns.dtype, device=patterns.device)
    whole = own.expand(patterns.shape[1:])
    for pattern in patterns:
        whole = (own + pattern) / 2 @ whole
    return whole


def mean_on_line(value: Callable[[float], Float[Tensor, "*shape"]], nodes: int) -> Float[Tensor, "*shape"]:
    """The mean of a value over 0 to 1, by Gauss and Legendre's rule: exact for polynomials of degree 2 · nodes - 1."""
    places, weights = numpy.polynomial.legendre.leggauss(nodes)  # on [-1, 1]
    return sum(
        (weight / 2 * value((1 + place) / 2) for place, weight in zip(places.tolist(), weights.tolist(), strict=True)),
        start=torch.zeros(()),
    )
