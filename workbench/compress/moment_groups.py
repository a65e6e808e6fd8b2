"""Moments of more matrices than memory has room for: some at a time, each put by in a file when it is finished."""

import warnings
from collections.abc import Callable, Iterator, Mapping

import torch
from torch import nn

from workbench.compress.block_calls import behind, first_call
from workbench.compress.moments import MomentSums, recorded
from workbench.compress.windows import Windows
from workbench.memory import free_bytes, is_short
from workbench.transformer.matrices import BlockMatrix, blocks_of


def moment_groups(matrices: Mapping[str, BlockMatrix], gradients: bool) -> list[dict[str, BlockMatrix]]:
    """The matrices in their order, as many in each group as memory has room for the float64 moments of.

    All are one group where memory is enough, on a GPU always. Raises MemoryError where it is not even for one matrix.
    """
    sizes = {name: _moment_bytes(matrix, gradients) for name, matrix in matrices.items()}
    largest = max(sizes, key=sizes.__getitem__)
    passing = sizes[largest] * 3 // 2  # one batch's own term, in float32 and in float64
    on_gpu = any(matrix.weight.is_cuda for matrix in matrices.values())
    if on_gpu or not is_short(sum(sizes.values()) + passing):
        return [dict(matrices)]
    if is_short(sizes[largest] + passing):
        raise MemoryError(
            f"{largest} has second moments of {sizes[largest] / 2**20:.0f} MiB, and {(free_bytes() or 0) / 2**20:.0f} "
            "MiB of memory are free, too few to measure them; use the plain metric, or a smaller model."
        )
    warnings.warn(
        "little memory is free: moments are measured in several steps and kept in temporary files (TMPDIR).",
        RuntimeWarning,
        stacklevel=3,
    )
    groups: list[dict[str, BlockMatrix]] = [{}]
    for name, matrix in matrices.items():
        if groups[-1] and is_short(sum(sizes[own] for own in groups[-1]) + sizes[name] + passing):
            groups.append({})
        groups[-1][name] = matrix
    return groups


def sums_by_block(
    model: nn.Module,
    windows: Windows,
    matrices: Mapping[str, BlockMatrix],
    told: Callable[[str, int, int], None],
) -> Iterator[MomentSums]:
    """The sums of each block's inputs in turn, the same as of all blocks at once, for one forward pass in all.

    Between blocks nothing stays but the streams: d_model numbers a token.
    """
    rows, device = windows.batch_rows(model), next(model.parameters()).device
    batches = []
    with torch.no_grad():
        for index in range(0, len(windows), rows):
            batch = windows.rows(index, index + rows)
            batches.append((*first_call(model, batch.tokens[:, :-1].to(device)), batch.scored.to(device)))
        blocks = blocks_of(model)
        for index, block in enumerate(blocks):
            sums = MomentSums()
            own = {name: matrix for name, matrix in matrices.items() if name.startswith(f"blocks.{index}.")}
            for place, (stream, arguments, scored) in enumerate(batches):
                with recorded(own, lambda x, scored=scored: x[scored], sums):
                    batches[place] = behind(block, stream, arguments), arguments, scored
            told("calibrate", index + 1, len(blocks))
            yield sums


def _moment_bytes(matrix: BlockMatrix, gradients: bool) -> int:
    out_features, in_features = matrix.weight.shape
    return 8 * (in_features**2 + (out_features**2 if gradients else 0))
