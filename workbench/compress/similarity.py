"""How far the outputs of a compressed model of any kind are from the dense one's, without labels."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from workbench.compress.batches import Batches, Masks, run_batches
from workbench.compress.evaluate import mean_and_error


@dataclass(frozen=True)
class Similarity:
    """The outputs y of a model beside the dense model's y₀, over the positions that are no padding.

    `cosine` is the mean cosine of y and y₀, 1 where they are equal; its standard error takes each sample as one draw
    (nan for a single one). `relative_error` is ‖y - y₀‖ / ‖y₀‖ over all positions together. Where all outputs point one
    way, as logits with a large common part do, cosines are near 1 whatever is lost, and so is the relative error near
    0: compare them with those of other cuts of the same model.
    """

    cosine: float
    cosine_error: float
    relative_error: float
    n_samples: int
    n_positions: int


class OutputComparison:
    """The dense model's main outputs on batches, kept in memory, to hold those of other models against."""

    def __init__(self, dense: nn.Module, batches: Batches) -> None:
        if not len(batches):
            raise ValueError("a comparison of outputs needs one or more batches.")
        self._batches = batches
        self._outputs = [(output, _counted(masks, output)) for masks, output in run_batches(dense, batches)]

    def check_finite(self) -> None:
        """Raises ValueError if an output that counts is not finite."""
        for index, (output, counted) in enumerate(self._outputs):
            if not bool(output[counted].isfinite().all()):
                raise ValueError(
                    f"the outputs on batch {index} are not finite: the model's own are not, or the parent of a named "
                    "module multiplies with its weight beside calling it."
                )

    def similarity(self, model: nn.Module) -> Similarity:
        """That of the model's outputs (exact on these batches). Cost: one forward pass."""
        cosines, counts, squares = [], [], torch.zeros(2, dtype=torch.float64)
        for (own, counted), (_, now) in zip(self._outputs, run_batches(model, self._batches), strict=True):
            y, dense = now.double(), own.double()
            lost, whole = (y - dense).square().sum(-1), dense.square().sum(-1)
            # Chosen, not multiplied by 0: what a model says of padding may be nan.
            cosine, lost, whole = (torch.where(counted, own, 0.0) for own in (_cosines(y, dense), lost, whole))
            cosines.append(cosine.sum(1).cpu())
            counts.append(counted.sum(1).double().cpu())
            squares += torch.stack([lost.sum(), whole.sum()]).cpu()
        n_positions = torch.cat(counts)
        mean, error = mean_and_error(torch.cat(cosines), n_positions)
        all_lost, all_dense = squares.tolist()
        relative = math.sqrt(all_lost / all_dense) if all_dense else (math.inf if all_lost else 0.0)
        return Similarity(mean, error, relative, len(n_positions), int(n_positions.sum()))


def _counted(masks: Masks, output: Float[Tensor, "b p c"]) -> Bool[Tensor, "b p"]:
    """Which positions are no padding."""
    mask = masks.get(tuple(output.shape[:2]))
    return torch.ones(output.shape[:2], dtype=torch.bool, device=output.device) if mask is None else mask


def _cosines(y: Float[Tensor, "b p c"], dense: Float[Tensor, "b p c"]) -> Float[Tensor, "b p"]:
    """1 - ½‖ŷ - ŷ₀‖² of the unit vectors, which is exactly 1 for equal outputs; two zeros are equal."""
    units = (vectors / vectors.norm(dim=-1, keepdim=True).clamp_min(1e-300) for vectors in (y, dense))
    first, second = units
    either = (y.square().sum(-1) == 0) != (dense.square().sum(-1) == 0)
    return torch.where(either, 0.0, 1 - (first - second).square().sum(-1) / 2)
