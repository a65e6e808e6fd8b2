"""The lowest point that a function reaches downhill from a start, by its gradients alone."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

Slope = Callable[[Float[Tensor, " n"]], tuple[float, Float[Tensor, " n"]]]

MEMORY = 20  # steps that the inverse Hessian is read from
WINDOW = 10  # steps over which a descent is judged
STEEP_ENOUGH = 1e-4  # a step lowers the value by this share or more of what the slope promises (Armijo 1966)
TRIES = 12  # of ever shorter steps, before the slope is taken to be rounding


def quasi_newton(
    value_and_gradient: Slope, start: Float[Tensor, " n"], first_step: float, steps: int, tolerance: float
) -> Float[Tensor, " n"]:
    """The point after at most `steps` steps downhill; the value never grows, and nothing is drawn at random.

    A step follows the gradient times the inverse Hessian as the last ones show it; the first, with nothing to look
    back on, goes `first_step` times the gradient. Ends early once ten steps together lower the value by less than
    `tolerance` of it, or none does.
    Cost: one value and gradient a step, seldom more. Source: Liu & Nocedal (1989), L-BFGS.
    """
    point, (value, gradient) = start, value_and_gradient(start)
    past: list[tuple[Tensor, Tensor, float]] = []
    values = [value]
    while len(values) <= steps and value > torch.finfo(start.dtype).eps ** 2:
        found = _downhill(value_and_gradient, point, (value, gradient), -_newton(gradient, past, first_step))
        if found is None:
            break
        moved, turned = found[0] - point, found[2] - gradient
        bent = float(moved @ turned)
        if bent > 0:  # else the function is not convex here, and this step says nothing of its inverse
            past = [*past[-MEMORY + 1 :], (moved, turned, bent)]
        point, value, gradient = found
        values.append(value)
        if len(values) > WINDOW and value > (1 - tolerance) * values[-1 - WINDOW]:
            break
    return point


def _newton(gradient: Tensor, past: list[tuple[Tensor, Tensor, float]], first_step: float) -> Tensor:
    """The inverse Hessian, as the steps of the past show it, times the gradient."""
    if not past:
        return first_step * gradient
    rest, shares = gradient.clone(), []
    for moved, turned, bent in reversed(past):
        shares.append(float(moved @ rest) / bent)
        rest.sub_(turned, alpha=shares[-1])
    _, turned, bent = past[-1]
    rest.mul_(bent / float(turned @ turned))
    for (moved, turned, bent), share in zip(past, reversed(shares), strict=True):
        rest.add_(moved, alpha=share - float(turned @ rest) / bent)
    return rest


def _downhill(
    value_and_gradient: Slope, point: Tensor, here: tuple[float, Tensor], step: Tensor
) -> tuple[Tensor, float, Tensor] | None:
    """The first point along `step`, from its end back, that is low enough, with value and gradient; None if none is."""
    value, gradient = here
    slope, length = float(gradient @ step), 1.0
    for _ in range(TRIES):
        tried = point + length * step
        tried_value, tried_gradient = value_and_gradient(tried)
        if tried_value <= value + STEEP_ENOUGH * length * slope:
            return tried, tried_value, tried_gradient
        bend = tried_value - value - length * slope  # of the parabola through all that is known
        length *= min(0.5, max(0.1, -0.5 * length * slope / bend)) if bend > 0 else 0.1
    return None
