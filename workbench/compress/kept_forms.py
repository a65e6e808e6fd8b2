"""Decompositions kept on disk, one file a matrix, so that none is made twice: not after a kill, nor in another process.

A file is named by the hash of all that its decomposition depends on. What is found under that name is what would be
computed, so two processes may use one directory at the same time: whichever writes last puts the same numbers there.
"""

import hashlib
import json
import warnings
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from workbench.compress.place import Place
from workbench.compress.recipe import Recipe
from workbench.compress.stored_forms import restored_uncut, stored_uncut
from workbench.decompose.metric import Metric
from workbench.decompose.protocol import Decomposition
from workbench.whole_files import write_tensors

_FORMAT = 1  # to be raised whenever a method gives other numbers than before
_ELSEWHERE = ("table",)  # what of a recipe says nothing of one matrix


@dataclass(frozen=True)
class KeptForms:
    """The finished decompositions in a directory, each one safetensors file, written whole or not at all.

    Nothing is ever removed; the directory may be, at any time. A kill while a file is written leaves a hidden temporary
    one, which is never read.
    """

    directory: Path

    def __post_init__(self) -> None:
        if self.directory.exists() and not self.directory.is_dir():
            raise NotADirectoryError(f"{self.directory} is a file; name a directory to keep decompositions in.")

    def file(self, recipe: Recipe, weight: Tensor, metric: Metric, place: Place) -> Path:
        """Where the decomposition of this weight by this recipe lies, or would lie.

        Cost: SHA-256 of the weight and of the metric's moments, about a second a gigabyte.
        """
        words = {name: value for name, value in asdict(recipe).items() if name not in _ELSEWHERE}
        described = {"format": _FORMAT, "recipe": words, "place": asdict(place)}
        digest = hashlib.sha256(json.dumps(described).encode())
        for tensor in (weight, metric.inputs, metric.outputs):
            digest.update(_digest([("", tensor)] if tensor is not None else []).encode())
        return self.directory / f"{place.kind}-{digest.hexdigest()[:40]}.safetensors"

    def keep(self, file: Path, form: Decomposition) -> None:
        """Writes an uncut decomposition. Raises OSError if the directory cannot be written, or the disk is full."""
        tensors, described = stored_uncut(form)
        # One entry, since safetensors writes several in any order, and equal forms are to be equal files.
        metadata = {"kept": json.dumps({"sha256": _digest(sorted(tensors.items())), "form": described})}
        # Copies, since the members of a family share the spectra of the train that they were refitted from.
        write_tensors(file, {name: tensor.clone() for name, tensor in tensors.items()}, metadata)

    def kept(self, file: Path, device: torch.device) -> Decomposition | None:
        """The decomposition in a file, on `device`; None where there is no such file, or no whole one.

        Its tensors are copies, which no later fate of the file can reach. A file that is damaged is told of and left to
        be written anew: it holds nothing but what can be computed again.
        """
        if not file.exists():
            return None
        try:
            with safe_open(file, framework="pt") as handle:
                metadata = json.loads((handle.metadata() or {})["kept"])
                tensors = {name: handle.get_tensor(name).clone() for name in handle.keys()}  # noqa: SIM118  # no mapping
            if metadata["sha256"] != _digest(sorted(tensors.items())):
                raise ValueError("its numbers are not those that were written")
            return restored_uncut(metadata["form"], tensors.__getitem__).to(device)
        except (SafetensorError, ValueError, TypeError, LookupError) as error:
            warnings.warn(
                f"{file} is damaged ({error}); the matrix is decomposed again and the file replaced.",
                RuntimeWarning,
                stacklevel=4,
            )
            return None


def _digest(tensors: Iterable[tuple[str, Tensor]]) -> str:
    """SHA-256 of names, dtypes, shapes and numbers."""
    digest = hashlib.sha256()
    for name, tensor in tensors:
        whole = tensor.detach().cpu().contiguous()
        digest.update(f"{name}:{whole.dtype}:{tuple(whole.shape)}:".encode())
        digest.update(whole.view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
