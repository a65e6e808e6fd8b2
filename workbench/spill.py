"""Numbers put by in temporary files, so that the system may have their memory back."""

import os
import tempfile

import torch
from jaxtyping import Shaped
from torch import Tensor

from workbench.memory import is_short


def held(tensor: Shaped[Tensor, "..."]) -> Shaped[Tensor, "..."]:
    """The tensor as it is, or `spilled` where memory is short."""
    return spilled(tensor) if not tensor.is_cuda and is_short(0) else tensor


def spilled(tensor: Shaped[Tensor, "..."]) -> Shaped[Tensor, "..."]:
    """The same numbers in a file that is mapped: what of it is not in use takes no memory that others need.

    The file has no name any more, and ends with the last tensor that looks at it; a change of the tensor changes it. It
    lies where temporary files do (TMPDIR), which should be a disk. Raises OSError if that is full.
    """
    whole = tensor.detach().contiguous()
    if whole.is_cuda or not whole.nbytes:
        return whole
    handle, name = tempfile.mkstemp(prefix="workbench.")
    try:
        with os.fdopen(handle, "wb") as file:  # not through the map: a full disk is then an error
            file.write(whole.view(-1).view(torch.uint8).numpy().data)
        return torch.from_file(name, shared=True, size=whole.numel(), dtype=whole.dtype).view(whole.shape)
    finally:
        os.unlink(name)
