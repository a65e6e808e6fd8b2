"""The norm in which the error of a cut weight is measured: how large it is, as the model's data see it."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.decompose.exact import check_finite


@dataclass(frozen=True, eq=False)
class Metric:
    """‖G^½ D A^½‖, the norm of an error D of a weight (out, in); a side that is None counts every direction alike.

    `inputs` is A = E[x xᵀ] of what the weight receives, `outputs` is G = E[g gᵀ] of the loss's gradient at what it
    gives. With A alone the norm is the root mean square of the layer's output error; with both, half its square is
    the second-order estimate of the loss added, in nats a token, if A and G are taken as independent.
    Source: Martens & Grosse (2015), K-FAC; as a metric of truncation GFWSVD (2025).
    """

    inputs: Float[Tensor, "in in"] | None = None
    outputs: Float[Tensor, "out out"] | None = None

    def __post_init__(self) -> None:
        for name, moment in (("inputs", self.inputs), ("outputs", self.outputs)):
            if moment is not None:
                if moment.ndim != 2 or moment.shape[0] != moment.shape[1]:
                    raise ValueError(f"the moment of the {name} is square, not {tuple(moment.shape)}.")
                check_finite(moment, f"moment of the {name}")

    @property
    def norm(self) -> str:
        """What a `Spectrum` in this metric calls its norm."""
        if self.outputs is not None:
            return "loss"
        return "Frobenius" if self.inputs is None else "output"

    def check(self, weight: Float[Tensor, "out in"]) -> None:
        """Raises ValueError if the moments are not of the weight's sizes."""
        for name, moment, size in (
            ("inputs", self.inputs, weight.shape[1]),
            ("outputs", self.outputs, weight.shape[0]),
        ):
            if moment is not None and len(moment) != size:
                raise ValueError(
                    f"a weight of {size} {name} needs a second moment of that size, not {tuple(moment.shape)}."
                )

    def gradient(self, difference: Float[Tensor, "out in"]) -> Float[Tensor, "out in"]:
        """G D A: half the gradient of the squared norm at D. Cost: one product a side that is given."""
        if self.inputs is not None:
            difference = difference @ self.inputs.to(difference)
        return difference if self.outputs is None else self.outputs.to(difference) @ difference

    def squared(self, difference: Float[Tensor, "out in"]) -> float:
        """The squared norm of D, tr(Dᵀ G D A), in float64."""
        difference = difference.double()
        return max(0.0, float((difference * self.gradient(difference)).sum()))

    def to(self, device: torch.device) -> "Metric":
        """The same metric with its moments on `device`."""
        moved = (moment if moment is None else moment.to(device) for moment in (self.inputs, self.outputs))
        return Metric(*moved)


PLAIN = Metric()
