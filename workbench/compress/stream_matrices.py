"""One matrix of a checkpoint cut while nothing else of it is in memory."""

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from workbench.decompose.leading import (
    gram_of_columns,
    leading_directions,
    leading_factors,
    pair_within_columns,
    triangle,
    within_columns,
)
from workbench.decompose.low_rank import LowRank
from workbench.spectrum import Spectrum

Read = Callable[[], Float[Tensor, "out in"]]
ReadMoment = Callable[[], Float[Tensor, "n n"]]


def cut_plainly(read: Read, rank: int, device: torch.device) -> LowRank:
    """The best pair of the matrix in the Frobenius norm, cut to `rank`, on the CPU."""

    def made(on: torch.device) -> LowRank:
        left, right, values = leading_factors(read().to(on), rank)
        return _pair(left, right, values, "Frobenius")

    return _on(device, made)


def cut_by_outputs(read: Read, moment: ReadMoment, rank: int, device: torch.device) -> LowRank:
    """The best pair of the matrix in the root mean square of its output y, by E[y yᵀ] alone: U (Uᵀ W)."""

    def made(on: torch.device) -> LowRank:
        directions, values = leading_directions(moment().to(on), rank)
        left = directions.float()
        return _pair(left, left.T @ read().to(on), values, "output")

    return _on(device, made)


def cut_by_inputs(read: Read, moment: ReadMoment, rank: int, device: torch.device, scratch: Path) -> LowRank:
    """The best pair of the matrix in the root mean square of its output, by E[x xᵀ], for more outputs than inputs.

    Between its two uses a triangle (in, in) waits in the file `scratch`.
    """

    def made(on: torch.device) -> LowRank:
        lower = triangle(gram_of_columns(read().to(on)))
        lower.cpu().numpy().tofile(scratch)
        within = within_columns(lower, moment().to(on))
        size = len(lower)
        del lower
        directions, values = leading_directions(within, rank)
        del within
        lower = torch.from_numpy(np.fromfile(scratch)).view(size, size).to(on)
        scratch.unlink()
        return _pair(*pair_within_columns(read().to(on), lower, directions), values, "output")

    return _on(device, made)


def _pair(left: Tensor, right: Tensor, values: Tensor, norm: str) -> LowRank:
    spectrum = Spectrum(values, norm)
    return LowRank(left.cpu().contiguous(), right.cpu().contiguous(), spectrum)


def _on(device: torch.device, made: Callable[[torch.device], LowRank]) -> LowRank:
    """What is made on the device; where the GPU's memory is too small, on the CPU."""
    try:
        return made(device)
    except torch.OutOfMemoryError:
        warnings.warn("the GPU has too little free memory for a matrix; cut on the CPU.", RuntimeWarning, stacklevel=3)
    return made(torch.device("cpu"))
