"""Which decomposition of the block matrices, in which metric; and all of them decomposed once."""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.compress.calibrate import Calibration
from workbench.decompose.exact import check_finite
from workbench.decompose.low_rank import LowRank
from workbench.decompose.operator import TrainOperator
from workbench.decompose.protocol import Decomposition
from workbench.transformer.matrices import BlockMatrix

METRICS = {"svd": ("input", "plain"), "mpo": ("plain",)}
METHODS = tuple(METRICS)


@dataclass(frozen=True)
class Recipe:
    """A method (`svd`: a low-rank pair, `mpo`: a train operator of `sites` cores) and the metric it is cut in.

    `plain` is the Frobenius norm of the weight; `input` is the root mean square of the layer's output
    over the calibration text, E|(W - W_r) x|².
    """

    method: str = "svd"
    metric: str = "input"
    sites: int = 2

    def __post_init__(self) -> None:
        if self.method not in METRICS:
            raise ValueError(f"unknown method {self.method!r}; there are {', '.join(METHODS)}.")
        if self.metric not in METRICS[self.method]:
            raise ValueError(
                f"method {self.method!r} is not cut in metric {self.metric!r}; "
                f"give {' or '.join(METRICS[self.method])}."
            )
        if self.method == "mpo" and self.sites not in (2, 3, 4):
            raise ValueError(f"a train operator of a weight has 2, 3 or 4 sites here, not {self.sites!r}.")

    @property
    def needs_calibration(self) -> bool:
        """Whether the metric is measured on text."""
        return self.metric == "input"

    def decompose(
        self, weight: Float[Tensor, "out in"], second_moment: Float[Tensor, "in in"] | None = None
    ) -> Decomposition:
        """The uncut decomposition of one weight matrix."""
        if self.method == "mpo":
            return TrainOperator.from_weight(weight, self.sites)
        return LowRank.from_weight(weight, second_moment)


def decompose_all(
    recipe: Recipe,
    matrices: Mapping[str, BlockMatrix],
    calibration: Calibration | None,
    done: dict[str, Decomposition],
    progress: Callable[[str, int, int], None] | None = None,
) -> dict[str, Decomposition]:
    """Every matrix decomposed, by name. What is in `done` is kept, and each finished one is put there:
    after an interrupt, a call with the same `done` goes on where it stopped.
    """
    for matrix in matrices.values():
        check_finite(matrix.weight, f"weight {matrix.name}")
    for index, (name, matrix) in enumerate(matrices.items()):
        if name not in done:
            moment = calibration.second_moments[name] if calibration and recipe.needs_calibration else None
            done[name] = _on_device(recipe, name, matrix.weight, moment)
        if progress:
            progress("decompose", index + 1, len(matrices))
    return dict(done)


def _on_device(recipe: Recipe, name: str, weight: Tensor, moment: Tensor | None) -> Decomposition:
    """The decomposition where the weight is; where the GPU's memory is too small for it, by way of the CPU's."""
    try:
        return recipe.decompose(weight, moment)
    except torch.OutOfMemoryError:
        warnings.warn(
            f"{name}: the GPU has too little free memory to decompose it; done on the CPU.",
            RuntimeWarning,
            stacklevel=2,
        )
        done = recipe.decompose(weight.cpu(), None if moment is None else moment.cpu())
        return done.to(weight.device)
