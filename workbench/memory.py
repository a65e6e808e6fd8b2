"""How much memory is free, and whether a tensor about to be made would fit in it."""

import os
from pathlib import Path

import torch
from torch import Tensor


def free_bytes() -> int | None:
    """Bytes that a new program could have; None where the system does not say."""
    try:  # Linux counts here what its file cache would give back
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        pass
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):
        return None


def free_gpu_bytes(device: torch.device) -> int:
    """Bytes that new tensors could have on a CUDA device, those that torch keeps for reuse among them."""
    idle = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + idle


def check_fits(n_numbers: int, like: Tensor, what: str) -> None:
    """Raises MemoryError if one tensor of `n_numbers`, of the dtype and on the device of `like`, would not fit.

    Nothing is asked of the system below 64 MiB.
    """
    wanted = n_numbers * like.element_size()
    if wanted < 2**26:
        return
    free = free_gpu_bytes(like.device) if like.is_cuda else free_bytes()
    if free is not None and wanted > free:
        raise MemoryError(
            f"{what} makes a tensor of {n_numbers:.3g} numbers, {_told(wanted)} in {like.dtype}, and {_told(free)} "
            "are free; contract in another order, cut bonds, or leave fewer legs open."
        )


def _told(n_bytes: int) -> str:
    for unit, size in (("TiB", 2**40), ("GiB", 2**30), ("MiB", 2**20)):
        if n_bytes >= size:
            return f"{n_bytes / size:.3g} {unit}"
    return f"{n_bytes} bytes"
