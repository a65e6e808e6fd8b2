"""The place of a weight matrix in a model of any kind, whatever runs there."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn


class Slot(nn.Module):
    """What stands at the path of a linear layer, and passes its inputs to the module that `runs`.

    Some parents look at the layer's weight before they call it: T5 at its dtype. `weight` answers with a stand-in of
    the right shape, dtype and device that takes no memory; its numbers are nan, so that a parent which multiplies with
    it instead of calling the layer is found out.
    """

    def __init__(self, original: nn.Module) -> None:
        super().__init__()
        self.runs = original
        self.n_calls = 0
        self._like: Tensor = original.weight.detach()  # pyright: ignore[reportCallIssue, reportAttributeAccessIssue]

    @property
    def weight(self) -> Float[Tensor, "_ _"]:
        """Numbers that are none, of the shape that the layer stores."""
        return torch.full((), math.nan, dtype=self._like.dtype, device=self._like.device).expand(self._like.shape)

    def forward(self, x: Float[Tensor, "*batch in"]) -> Float[Tensor, "*batch out"]:
        """The output of what runs here."""
        self.n_calls += 1
        return self.runs(x)
