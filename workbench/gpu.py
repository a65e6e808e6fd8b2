"""Whether a GPU of this machine is used, and if not, why not and what would change it, in words."""

import os
import platform
import re
import shutil
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path

import torch

_HIDDEN = ("", "-1", "none", "NoDevFiles")  # values of CUDA_VISIBLE_DEVICES under which CUDA shows no device
_BYTES_WANTED = 2 * 2**30  # as of the CPU's memory: a GPT-2 of 124M parameters and what it makes
_CHOICE = "pytorch.org/get-started tells the command"


@dataclass(frozen=True)
class Gpu:
    """The first GPU that torch sees: its compute capability, the kernels this torch was built with, and its bytes."""

    name: str
    capability: tuple[int, int]
    kernels: tuple[str, ...]
    free: int
    total: int

    @property
    def has_kernels(self) -> bool:
        """Whether a kernel of this torch runs on it: one of its own generation, or one compiled when needed.

        Source: CUDA's rules of binary compatibility (same major, no later minor) and of PTX (any later device).
        """
        found = [(kind, int(number)) for kind, number in re.findall(r"(sm|compute)_(\d+)", " ".join(self.kernels))]
        major, minor = self.capability
        own = 10 * major + minor
        return any(number <= own and (kind == "compute" or number // 10 == major) for kind, number in found)


@dataclass(frozen=True)
class Surroundings:
    """What decides on the use of a GPU.

    `build` is what torch was built for, "CUDA 13.0" or "ROCm 6.4"; `maker` whose driver is loaded, "NVIDIA" or "AMD";
    `visible` the variable CUDA_VISIBLE_DEVICES; `chosen` whether the device "auto" is a GPU; `refusal` torch's own
    words where it cannot use one.
    """

    build: str | None
    maker: str | None
    visible: str | None
    apple: bool
    chosen: bool
    gpu: Gpu | None
    refusal: str

    def told(self) -> str:
        """One line: the GPU that is used, or why none is and what to do."""
        if self.gpu is not None:
            return self._used(self.gpu)
        if self.apple:
            return "Apple's, not used: it has no float64, in which exact work is done here; the CPU does all"
        if self.maker is None:
            build = f"{self.build} and would use one" if self.build else "the CPU alone"
            none = "none: no driver of one is loaded here (a container must be started with its GPUs)"
            return f"{none}; this torch is built for {build}"
        return f"{self.maker}'s, not used: {self._reason(self.maker)}"

    def problem(self) -> str | None:
        """Why the device "auto" would fail, and what to do; None where it works, be it on the CPU."""
        if not self.chosen:
            return None
        if self.gpu is None:
            return f"torch offers a GPU that it cannot use ({self.refusal}); free it, or set CUDA_VISIBLE_DEVICES=-1."
        if self.gpu.has_kernels:
            return None
        capability = ".".join(map(str, self.gpu.capability))
        return (
            f"{self.gpu.name} has compute capability {capability}, and this torch has kernels for "
            f"{', '.join(self.gpu.kernels)} only; install a build that has them ({_CHOICE}), or set "
            "CUDA_VISIBLE_DEVICES=-1 to work on the CPU."
        )

    def _used(self, gpu: Gpu) -> str:
        line = f"{gpu.name} by {self.build}, {gpu.free / 2**30:.1f} of {gpu.total / 2**30:.1f} GiB free"
        if gpu.free >= _BYTES_WANTED:
            return line
        held = "other programs hold the rest" if gpu.total >= 2 * _BYTES_WANTED else "it is a small one"
        return f"{line}: {held}, and a model that does not fit runs on the CPU"

    def _reason(self, maker: str) -> str:
        wanted = {"NVIDIA": "CUDA", "AMD": "ROCm"}[maker]
        if self.build is None or not self.build.startswith(wanted):
            return f"this torch, {torch.__version__}, is built without {wanted}; {_other_build(wanted)}"
        if self.visible is not None and self.visible.split(",")[0] in _HIDDEN:
            return f"CUDA_VISIBLE_DEVICES={self.visible!r} hides it; unset that variable"
        old = re.search(r"too old \(found version (\d+)\)", self.refusal)
        if old is not None:
            serves = f"{int(old[1]) // 1000}.{int(old[1]) % 1000 // 10}"
            return (
                f"its driver serves CUDA up to {serves}, and this torch is built for {self.build}; update the driver, "
                f"or install a torch for CUDA {serves} or older ({_CHOICE})"
            )
        return f"torch says: {self.refusal}"


def surroundings() -> Surroundings:
    """What this machine, this torch and the environment are now. Where there is a GPU, CUDA is started on it."""
    build = next(
        (f"{name} {number}" for name, number in (("CUDA", torch.version.cuda), ("ROCm", torch.version.hip)) if number),
        None,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the same is asked for below, as an error with all its words
        chosen = torch.cuda.is_available()
    gpu, refusal = (None, "") if build is None else _first_gpu()
    apple = sys.platform == "darwin" and torch.backends.mps.is_available()
    return Surroundings(build, _maker(), os.environ.get("CUDA_VISIBLE_DEVICES"), apple, chosen, gpu, refusal)


def _maker() -> str | None:
    if Path("/proc/driver/nvidia").exists() or shutil.which("nvidia-smi"):
        return "NVIDIA"
    return "AMD" if Path("/dev/kfd").exists() else None


def _first_gpu() -> tuple[Gpu | None, str]:
    """The GPU, or the first line of torch's reason why there is none."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of kernels that are missing, which `Gpu` tells
            torch.cuda.init()
            properties = torch.cuda.get_device_properties(0)
            free, total = torch.cuda.mem_get_info(0)
    except (RuntimeError, AssertionError) as error:
        return None, str(error).splitlines()[0]
    capability = (properties.major, properties.minor)
    return Gpu(properties.name, capability, tuple(torch.cuda.get_arch_list()), free, total), ""


def _other_build(wanted: str) -> str:
    if wanted == "CUDA" and platform.system() == "Linux":
        return f"`pip install --force-reinstall torch=={torch.__version__.partition('+')[0]}` brings the one with it"
    return f"install one with it ({_CHOICE})"
