"""The files of a streamed compression: two checkpoints that grow shard by shard beside the place they will have."""

import errno
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import torch

from workbench.file_locks import only_run
from workbench.run_files import Numbers, RunFiles
from workbench.transformer.load import COMPRESSED
from workbench.transformer.shards import DTYPES, INDEX, StoredTensor, tensors_of_file
from workbench.transformer.skeleton import Skeleton
from workbench.whole_files import check_room, replaced_file, write_json, write_tensors

_SAFETENSORS = {dtype: name for name, dtype in DTYPES.items()}
_RECORD = "stream"


@dataclass(frozen=True)
class StreamFiles:
    """What is written for `out`: until all of it is there, in a hidden directory beside it.

    A shard is whole or not there at all, so that a run that was ended goes on at the first that is missing. Shards of
    the same number hold a matrix as factors, in `out`, and multiplied out, in `out/dense`; `numbers` says which, and
    number 0 holds all the rest.
    """

    out: Path
    numbers: Mapping[str, int]

    @property
    def directory(self) -> Path:
        """Where everything is until it is done."""
        return self.out.with_name(f".{self.out.name}.partial")

    @property
    def work(self) -> Path:
        """The directory of what is needed only on the way."""
        return self.directory / "work"

    @property
    def bytes(self) -> int:
        """The size of the shards of `out`."""
        return sum(file.stat().st_size for file in self.directory.glob("model-*.safetensors"))

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keeps other runs away, and says of an error of the disk what is left and how to go on.

        Raises FileExistsError if `out` exists, BlockingIOError if another run is at work on it.
        """
        if self.out.exists():
            raise FileExistsError(f"{self.out} already exists and is left as it is; name another directory.")
        with only_run(self.work):
            try:
                yield
            except OSError as error:
                if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                    raise
                told = f"{error.strerror}; what is finished stays in {self.directory}, and the same run goes on there"
                raise OSError(error.errno, told) from error

    def has(self, index: int) -> bool:
        """Whether a shard is finished."""
        return self._shard(index).exists()

    def begin(self, choices: Mapping) -> None:
        """Writes what the run depends on, or finds it written by one that ended before.

        Raises ValueError if the run that was left is one of other choices.
        """
        run = RunFiles(self.directory, _RECORD)
        if run.are_saved():
            try:
                saved = json.loads(run.record.read_text(encoding="utf-8"))
            except ValueError as error:
                raise run.damaged(run.record, str(error)) from error
            run.check_same(saved, choices)
        (self.directory / "dense").mkdir(exist_ok=True)
        write_json(run.record, choices)

    def write(self, index: int, factors: Numbers, dense: Numbers, words: Mapping[str, str]) -> None:
        """Writes one shard in both its forms, that of `out` last, with some words on it."""
        write_tensors(self._dense(index), dense, {"format": "pt"})
        write_tensors(self._shard(index), factors, {"format": "workbench"} | dict(words))

    def copy(self, index: int, tensors: Mapping[str, StoredTensor]) -> None:
        """Writes one shard of tensors as they are, byte by byte, for both checkpoints.

        Raises ValueError if one holds nan or inf.
        """
        _write_copies(self._dense(index), tensors, "pt")
        _write_copies(self._shard(index), tensors, "workbench")

    def finish(self, skeleton: Skeleton, record: Mapping) -> None:
        """Writes what belongs to the shards, and gives the directory its name."""
        tokenizer = skeleton.language_model().tokenizer
        for folder in (self.directory, self.directory / "dense"):
            for name in ("config.json", "generation_config.json"):
                if (skeleton.path / name).exists():
                    shutil.copyfile(skeleton.path / name, folder / name)
            tokenizer.save_pretrained(folder)
            _write_index(folder)
        write_json(self.directory / COMPRESSED, record)
        shutil.rmtree(self.work)
        os.rename(self.directory, self.out)

    def words(self, index: int) -> dict[str, str]:
        """The words that a finished shard was written with."""
        with open(self._shard(index), "rb") as handle:
            return json.loads(handle.read(int.from_bytes(handle.read(8), "little")))["__metadata__"]

    def _shard(self, index: int) -> Path:
        return self.directory / f"model-{index + 1:05}-of-{1 + len(self.numbers):05}.safetensors"

    def _dense(self, index: int) -> Path:
        return self.directory / "dense" / self._shard(index).name


def fingerprint(skeleton: Skeleton) -> str:
    """What changes when the checkpoint does: its config, and each file's header, size and time of change."""
    digest = sha256((skeleton.path / "config.json").read_bytes())
    for file in skeleton.files:
        with open(file, "rb") as handle:
            digest.update(handle.read(int.from_bytes(handle.read(8), "little")))
        digest.update(f"{file.name} {file.stat().st_size} {file.stat().st_mtime_ns}".encode())
    return digest.hexdigest()


def _write_copies(file: Path, tensors: Mapping[str, StoredTensor], kind: str) -> None:
    """Tensors of other files as one safetensors file, 2 MiB in memory at a time."""
    header: dict[str, object] = {"__metadata__": {"format": kind}}
    order = sorted(tensors, key=lambda name: (-tensors[name].dtype.itemsize, name))  # each begins where its kind may
    start = 0
    for name in order:
        tensor = tensors[name]
        offsets = [start, start + tensor.n_bytes]
        header[name] = {"dtype": _SAFETENSORS[tensor.dtype], "shape": list(tensor.shape), "data_offsets": offsets}
        start += tensor.n_bytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    check_room(file, start)
    with replaced_file(file) as temporary, open(temporary, "wb") as handle:
        handle.write(len(text).to_bytes(8, "little") + text)
        for name in order:
            for chunk in tensors[name].chunks():
                handle.write(chunk.view(torch.uint8).numpy().tobytes())


def _write_index(folder: Path) -> None:
    files = sorted(folder.glob("model-*.safetensors"))
    held = {file.name: tensors_of_file(file) for file in files}
    listed = {name: file for file, tensors in held.items() for name in tensors}
    total = sum(tensor.n_bytes for tensors in held.values() for tensor in tensors.values())
    write_json(folder / INDEX, {"metadata": {"total_size": total}, "weight_map": dict(sorted(listed.items()))})
