"""Where every tensor of a checkpoint lies on disk, and one of them read at a time: nothing is mapped, nothing stays."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from workbench.transformer.load import COMPRESSED, check_checkpoint

INDEX = "model.safetensors.index.json"
DTYPES = MappingProxyType({"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16})
SINGLE = "model.safetensors"
_CHUNK = 2**21  # bytes of a file that are held at once


@dataclass(frozen=True)
class StoredTensor:
    """One tensor of a safetensors file: its numbers begin at byte `offset` and take `n_bytes`, row after row.

    It is read with plain file reads: the pages of a mapped file would count as this program's memory.
    """

    name: str
    file: Path
    dtype: torch.dtype
    shape: tuple[int, ...]
    offset: int
    n_bytes: int

    @property
    def n_params(self) -> int:
        """How many numbers it holds."""
        return self.n_bytes // self.dtype.itemsize

    def read(self) -> Float[Tensor, "..."]:
        """The whole tensor in float32. Raises ValueError if a number of it is nan or inf."""
        whole, start = torch.empty(self.n_params), 0
        for chunk in self.chunks():
            whole[start : start + len(chunk)] = chunk
            start += len(chunk)
        return whole.view(self.shape)

    def rows(self, index: Int[Tensor, " n"]) -> Float[Tensor, "n columns"]:
        """Some rows of a matrix in float32, each read by itself.

        Raises ValueError for a row that it has not, and if they hold nan or inf.
        """
        if len(index) and not 0 <= int(index.min()) <= int(index.max()) < self.shape[0]:
            raise ValueError(
                f"row {int(index.max())} is beyond the {self.shape[0]} of {self.name}, as of another tokenizer."
            )
        width = self.n_bytes // self.shape[0]
        taken = bytearray(len(index) * width)
        with open(self.file, "rb", buffering=0) as handle:
            for place, row in enumerate(index.tolist()):
                handle.seek(self.offset + row * width)
                self._fill(handle, memoryview(taken)[place * width : (place + 1) * width])
        return self._checked(torch.frombuffer(taken, dtype=self.dtype)).float().view(len(index), -1)

    def chunks(self) -> Iterator[Shaped[Tensor, " n"]]:
        """The numbers in order and in their own dtype, at most 2 MiB at a time; each only until the next is asked for.

        Raises ValueError if one is nan or inf.
        """
        buffer = bytearray(min(self.n_bytes, _CHUNK))
        with open(self.file, "rb", buffering=0) as handle:
            handle.seek(self.offset)
            for start in range(0, self.n_bytes, _CHUNK):
                part = memoryview(buffer)[: min(_CHUNK, self.n_bytes - start)]
                self._fill(handle, part)
                yield self._checked(torch.frombuffer(part, dtype=self.dtype))

    def _fill(self, handle: BinaryIO, part: memoryview) -> None:
        while len(part):
            got = handle.readinto(part)  # pyright: ignore[reportAttributeAccessIssue]
            if not got:
                raise ValueError(f"{self.file} ends within {self.name}; copy it again.")
            part = part[got:]

    def _checked(self, numbers: Tensor) -> Tensor:
        if not bool(torch.isfinite(numbers).all()):
            raise ValueError(
                f"{self.file} holds non-finite values (nan or inf) in {self.name}; use another checkpoint."
            )
        return numbers


def stored_tensors(path: Path) -> dict[str, StoredTensor]:
    """Every tensor of the checkpoint in the directory `path`, by name; only headers are read.

    Raises ValueError, naming the file, for a checkpoint that is no whole one of safetensors in floating-point numbers,
    for an index that names a file elsewhere or one that is missing, and for an export of this library.
    """
    if not path.is_dir():
        raise FileNotFoundError(f"{path} is no directory; a checkpoint is streamed from one: download it first.")
    if (path / COMPRESSED).exists():
        raise ValueError(f"{path} is a compressed model already; give the checkpoint that it was made from.")
    check_checkpoint(path)
    held = {file.name: tensors_of_file(file) for file in checkpoint_files(path)}
    if (path / SINGLE).exists():
        return held[SINGLE]
    listed = _listed(path / INDEX)
    for name, file in listed.items():
        if name not in held[file]:
            raise ValueError(f"{path / INDEX} says that {file} holds {name}, and it does not; copy both again.")
    return {name: held[file][name] for name, file in listed.items()}


def checkpoint_files(path: Path) -> tuple[Path, ...]:
    """The safetensors files of a checkpoint: one, or those that its index names.

    Raises ValueError, naming the index, where it names a file elsewhere or one that is missing.
    """
    if (path / SINGLE).exists():
        return (path / SINGLE,)
    if not (path / INDEX).exists():
        raise ValueError(f"{path} holds neither {SINGLE} nor {INDEX}, which says what its shards hold; add it.")
    return tuple([path / file for file in sorted(set(_listed(path / INDEX).values()))])


def _listed(index: Path) -> dict[str, str]:
    """The file of each tensor, as the index has it: names of files beside it that are there."""
    try:
        listed = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        files = sorted(set(listed.values()))
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"{index} is no index of shards ({error}); copy it again.") from error
    for file in files:
        if not isinstance(file, str) or Path(file).name != file or not file.endswith(".safetensors"):
            raise ValueError(f"{index} names {file!r}; a shard is a *.safetensors file beside its index: refused.")
        if not (index.parent / file).is_file():
            raise ValueError(f"{index} names {file}, which is not there; copy the missing shard.")
    return listed


def tensors_of_file(file: Path) -> dict[str, StoredTensor]:
    """The tensors of one safetensors file that is known to be whole, by name; only its header is read."""
    with open(file, "rb") as handle:
        length = int.from_bytes(handle.read(8), "little")
        header = json.loads(handle.read(length))
    header.pop("__metadata__", None)
    found = {}
    for name, entry in header.items():
        if entry["dtype"] not in DTYPES:
            raise ValueError(
                f"{file} holds {name} as {entry['dtype']}; a checkpoint is streamed in {', '.join(DTYPES)}: "
                "convert it, or give the one that it was quantised from."
            )
        start, stop = entry["data_offsets"]
        dtype, shape = DTYPES[entry["dtype"]], tuple(entry["shape"])
        found[name] = StoredTensor(name, file, dtype, shape, 8 + length + start, stop - start)
    return found
