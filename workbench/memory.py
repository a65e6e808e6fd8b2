"""How much memory is free, and whether a tensor about to be made would fit in it."""

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch
from torch import Tensor

_CGROUPS = "/sys/fs/cgroup"
_M_MMAP_THRESHOLD = -3  # glibc's name for the size from which a block is a mapping of its own
_WORKING = 192 * 2**20  # what a step needs besides what it keeps: batches, and what a library takes for itself


def free_bytes() -> int | None:
    """Bytes that this program could still have; None where the system does not say.

    On Linux the least of what the machine has free, what the container that it runs in may still have, and what the
    limits of the process (RLIMIT_DATA, RLIMIT_AS) leave it. What a file cache would give back counts as free.
    """
    found = [bytes_ for bytes_ in (_machine(), *_containers(), *_limits()) if bytes_ is not None]
    return max(0, min(found)) if found else None


def is_short(n_bytes: int) -> bool:
    """Whether fewer than so many bytes of memory, and some to work with, are free.

    Once they are not, tensors that are freed go back to the system at once, which costs a little time.
    """
    free = free_bytes()
    short = free is not None and free < n_bytes + _WORKING
    if short:
        give_back()
    return short


def peak_bytes() -> int | None:
    """The most memory that this program has held at once, mapped files included; None where the system does not say."""
    try:
        return _listed(Path("/proc/self/status"))["VmHWM"]
    except (OSError, KeyError):
        pass
    try:
        import resource
    except ImportError:
        return None
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


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


def give_back() -> None:
    """Has glibc hand every freed block of a MiB or more back to the system.

    Left alone it raises that size up to 32 MiB, keeps smaller blocks, and cannot give back what lies between others
    still in use: of a calibration at GPT-2's size that held 0.55 GiB.
    """
    with suppress(AttributeError):  # another C library, which has no such setting
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, 2**20)


@contextmanager
def gpu_memory_named(what: str) -> Iterator[None]:
    """Raises MemoryError, in words, where a GPU has too little free memory for `what` is done within."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise MemoryError(
            f"{what} needs more of the GPU's memory than is free; free some, or load the model with device='cpu'."
        ) from error


def _machine() -> int | None:
    try:  # Linux counts here what its file cache would give back
        return _listed(Path("/proc/meminfo"))["MemAvailable"]
    except (OSError, KeyError):
        pass
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):
        return None


def _containers() -> Iterator[int]:
    """What is left in each of the control groups that the process is in, of version 1 or 2."""
    try:
        lines = Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for _, controllers, path in (line.split(":", 2) for line in lines):
        if controllers == "":
            root, limit, used = Path(_CGROUPS), "memory.max", "memory.current"
        elif controllers == "memory":
            root, limit, used = Path(f"{_CGROUPS}/memory"), "memory.limit_in_bytes", "memory.usage_in_bytes"
        else:
            continue
        # In a container the path may be that of the host, which is not there; its root is the container's own.
        own = root / path.strip("/")
        for folder in {root, own, *own.parents}:
            left = _left(folder / limit, folder / used, folder / "memory.stat")
            if left is not None:
                yield left


def _left(limit: Path, used: Path, counts: Path) -> int | None:
    """A group's limit less what it uses and could not give back; None for a group without a limit."""
    try:
        most, now, of = limit.read_text().strip(), int(used.read_text()), _listed(counts)
    except (OSError, ValueError):
        return None
    if not most.isdecimal():  # "max"
        return None
    # Version 1 counts the groups within this one apart, in totals.
    given_back = sum(of.get(f"total_{name}", of.get(name, 0)) for name in ("inactive_file", "active_file"))
    return int(most) - now + given_back


def _limits() -> Iterator[int]:
    """What the limits of this process leave it."""
    try:
        import resource

        sizes = _listed(Path("/proc/self/status"))
    except (ImportError, OSError):
        return
    for limit, size in ((resource.RLIMIT_DATA, "VmData"), (resource.RLIMIT_AS, "VmSize")):
        most, _ = resource.getrlimit(limit)
        if most != resource.RLIM_INFINITY and size in sizes:
            yield most - sizes[size]


def _listed(file: Path) -> dict[str, int]:
    """The lines of a file that are a name and a number, in bytes."""
    words = [line.replace(":", " ").split() for line in file.read_text(encoding="utf-8").splitlines()]
    return {
        line[0]: int(line[1]) * (1024 if line[2:] == ["kB"] else 1)
        for line in words
        if len(line) > 1 and line[1].isdecimal()
    }


def _told(n_bytes: int) -> str:
    for unit, size in (("TiB", 2**40), ("GiB", 2**30), ("MiB", 2**20)):
        if n_bytes >= size:
            return f"{n_bytes / size:.3g} {unit}"
    return f"{n_bytes} bytes"
