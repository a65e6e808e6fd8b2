"""Second moments of what block matrices receive or give, summed in files, strip by strip: never one whole in memory."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from workbench.whole_files import check_room, may_write

_STRIP = 2**25  # bytes of a moment that are mapped at once
_FLOAT64, _FLOAT32 = 8, 4


def of_outputs(shape: tuple[int, int]) -> bool:
    """Whether a matrix (out, in) is cut by the moment of what it gives, because that is no larger than its inputs'."""
    return shape[0] <= shape[1]


@dataclass(frozen=True)
class MomentFile:
    """A sum of z zᵀ (n, n) in a file of float64, on and below the diagonal; what lies above it is not meant."""

    file: Path
    size: int

    def begin(self) -> None:
        """Makes the file, of zeros. Raises OSError where the disk has no room for it."""
        allocate(self.file, self.size * self.size * _FLOAT64)

    def add(self, z: Float[Tensor, "n size"]) -> None:
        """Adds the sum over some rows: products in float32, sums in float64."""
        height = max(1, _STRIP // (_FLOAT64 * self.size))
        for start in range(0, self.size, height):
            stop = min(start + height, self.size)
            term = z[:, start:stop].T @ z[:, :stop]
            strip = torch.from_numpy(self._strip(start, stop))
            strip[:, :stop] += term.cpu()

    def read(self, n_tokens: int) -> Float[Tensor, "size size"]:
        """The mean over `n_tokens`, both halves of it."""
        moment = torch.from_numpy(np.fromfile(self.file, dtype=np.float64)).view(self.size, self.size)
        moment.tril_().div_(n_tokens)
        moment += moment.tril(-1).T
        return moment

    def _strip(self, start: int, stop: int) -> np.ndarray:
        offset, shape = start * self.size * _FLOAT64, (stop - start, self.size)
        return np.memmap(self.file, np.float64, "r+", offset, shape)


@dataclass(frozen=True)
class Activations:
    """What a block receives, (rows, positions, d_model), in a file of float32; a few rows are mapped at a time."""

    file: Path
    positions: int
    d_model: int

    def begin(self, rows: int) -> None:
        """Makes the file, of zeros. Raises OSError where the disk has no room for it."""
        allocate(self.file, rows * self.positions * self.d_model * _FLOAT32)

    def read(self, start: int, stop: int) -> Float[Tensor, "b t d"]:
        """Some rows, as a copy."""
        return torch.from_numpy(np.array(self._mapped(start, stop)))

    def write(self, start: int, values: Float[Tensor, "b t d"]) -> None:
        """Puts rows in their place."""
        self._mapped(start, start + len(values))[:] = values.numpy()

    def _mapped(self, start: int, stop: int) -> np.ndarray:
        offset = start * self.positions * self.d_model * _FLOAT32
        return np.memmap(self.file, np.float32, "r+", offset, (stop - start, self.positions, self.d_model))


def allocate(file: Path, n_bytes: int) -> None:
    """A file of zeros, written: a mapped page that the disk has no room for would end the program by a signal.

    Raises OSError, in words, where there is no room.
    """
    check_room(file, n_bytes)
    with may_write(file), open(file, "wb") as handle:
        for start in range(0, n_bytes, _STRIP):
            handle.write(bytes(min(_STRIP, n_bytes - start)))
