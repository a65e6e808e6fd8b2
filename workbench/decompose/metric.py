"""The norm in which the error of a cut weight is measured: how large it is, as the model's data see it."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.decompose.exact import check_finite
from workbench.decompose.moment import Moment, times


@dataclass(frozen=True, eq=False)
class Metric:
    """‖G^½ D A^½‖, the norm of an error D of a weight (out, in); a side that is None counts every direction alike.

    `inputs` is A = E[x xᵀ] of what the weight receives, `outputs` is G = E[g gᵀ] of the loss's gradient at what it
    gives. With A alone the norm is the root mean square of the layer's output error; with both, half its square is
    the second-order estimate of the loss added, in nats a token, if A and G are taken as independent. A moment is a
    matrix or, as a vector, its diagonal: that of a table's rows is how often each is looked up, and with it alone the
    norm is the root mean square of what a lookup gets wrong.
    Source: Martens & Grosse (2015), K-FAC; as a metric of truncation GFWSVD (2025).
    """

    inputs: Moment | None = None
    outputs: Moment | None = None

    def __post_init__(self) -> None:
        for name, moment in (("inputs", self.inputs), ("outputs", self.outputs)):
            if moment is not None:
                if moment.ndim not in (1, 2) or moment.shape[0] != moment.shape[-1]:
                    raise ValueError(
                        f"the moment of the {name} is square, or its diagonal alone, not {tuple(moment.shape)}."
                    )
                check_finite(moment, f"moment of the {name}")

    @property
    def norm(self) -> str:
        """What a `Spectrum` in this metric calls its norm."""
        if self.inputs is None and self.outputs is None:
            return "Frobenius"
        return "output" if self.inputs is None or self.outputs is None else "loss"

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
            difference = times(self.inputs.to(difference), difference.T).T  # a moment is its own transpose
        return difference if self.outputs is None else times(self.outputs.to(difference), difference)

    def squared(self, difference: Float[Tensor, "out in"]) -> float:
        """The squared norm of D, tr(Dᵀ G D A), in float64."""
        difference = difference.double()
        return max(0.0, float((difference * self.gradient(difference)).sum()))

    def to(self, device: torch.device) -> "Metric":
        """The same metric with its moments on `device`."""
        moved = (moment if moment is None else moment.to(device) for moment in (self.inputs, self.outputs))
        return Metric(*moved)


PLAIN = Metric()
