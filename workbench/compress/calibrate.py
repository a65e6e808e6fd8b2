"""What a model's weight matrices really receive: the second moment E[x xᵀ] of each one's inputs."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from workbench.compress.windows import Windows
from workbench.transformer.matrices import BlockMatrix, block_matrices


@dataclass(frozen=True, eq=False)
class Calibration:
    """The second moment of each block matrix's inputs, and how many tokens it was measured on."""

    second_moments: dict[str, Float[Tensor, "_ _"]]
    n_tokens: int


def calibrate(
    model: nn.Module, windows: Windows, progress: Callable[[str, int, int], None] | None = None
) -> Calibration:
    """E[x xᵀ] of the inputs of every block matrix over the windows' tokens, float64.

    Raises ValueError if there are fewer tokens than some matrix has inputs: the estimate is then singular
    by construction. Cost: one forward pass, and in² multiply-adds a token for each matrix.
    """
    matrices = block_matrices(model)
    n_tokens = int(windows.scored.sum())
    widest = max(matrices.values(), key=lambda matrix: matrix.weight.shape[1])
    if n_tokens < widest.weight.shape[1]:
        raise ValueError(
            f"{n_tokens} calibration tokens are too few for {widest.name}, which has {widest.weight.shape[1]} inputs; "
            f"calibrate on at least {widest.weight.shape[1]} tokens, better ten times as many."
        )
    device = next(model.parameters()).device
    rows = windows.batch_rows
    sums: dict[str, Tensor] = {}
    with torch.no_grad():
        for index in range(0, len(windows), rows):
            batch = windows.rows(index, index + rows)
            with _input_sums(matrices, batch.scored.to(device), sums):
                model(batch.tokens[:, :-1].to(device), use_cache=False)
            if progress:
                progress("calibrate", index + len(batch), len(windows))
    return Calibration({name: total / n_tokens for name, total in sums.items()}, n_tokens)


@contextmanager
def _input_sums(matrices: dict[str, BlockMatrix], kept: Tensor, sums: dict[str, Tensor]) -> Iterator[None]:
    """Adds Σ x xᵀ over the kept positions of some rows to `sums`, for each matrix's inputs, while it lasts."""

    def hook_for(name: str) -> Callable:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            x = inputs[0][kept]
            total = (x.T @ x).double()
            sums[name] = sums[name] + total if name in sums else total

        return hook

    handles = [matrix.module.register_forward_pre_hook(hook_for(name)) for name, matrix in matrices.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
