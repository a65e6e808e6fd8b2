"""A long run on disk: numbers in safetensors and its record in JSON, each written whole or not at all."""

import hashlib
import json
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from jaxtyping import Shaped
from torch import Tensor

from workbench.file_locks import only_run
from workbench.whole_files import remove_abandoned, write_json, write_tensors

_FORMAT = 2  # 1 had no digests

Numbers = Mapping[str, Shaped[Tensor, "..."]]


@dataclass(frozen=True)
class RunFiles:
    """The checkpoint of one run in a directory of its own: `kind` says what it is a run of, and names its record."""

    directory: Path
    kind: str

    @property
    def record(self) -> Path:
        """The file that says how far the run is, and which file holds its numbers."""
        return self.directory / f"{self.kind}.json"

    def are_saved(self) -> bool:
        """Whether the directory holds such a run."""
        return self.record.is_file()

    def alone(self) -> AbstractContextManager[None]:
        """Within it no other process runs here. Raises BlockingIOError if one does."""
        return only_run(self.directory)

    def save(self, record: Mapping, groups: Mapping[str, Numbers]) -> None:
        """Writes the numbers of every group, and the record, which has a `step`; an older one is then removed.

        The record is written last, so that an interrupt at any moment leaves one whole checkpoint or the other.
        """
        own = f"step{record['step']}.safetensors"
        tensors = {f"{group}:{name}": tensor for group, numbers in groups.items() for name, tensor in numbers.items()}
        write_tensors(self.directory / own, tensors)
        about = {"format": _FORMAT, "tensors": own, "header": _header_digest(self.directory / own)}
        written = json.loads(json.dumps(dict(record) | about))  # as it will be read: its keys are words
        write_json(self.record, written | {"digest": _digest(written)})
        for old in self.directory.glob("step*.safetensors"):
            if old.name != own:
                old.unlink()
        remove_abandoned(self.directory, "step*.safetensors")

    def load(self) -> tuple[dict, dict[str, dict[str, Tensor]]]:
        """The record, and the numbers by group.

        Raises ValueError if the record is of another format, or if it, or the names and shapes of the numbers, are not
        as they were written; the numbers themselves are not proved.
        """
        while True:
            record = self._read_record()
            try:
                return record, self._numbers(record)
            except ValueError:
                if self._read_record() == record:  # else another process has saved meanwhile, and removed these
                    raise

    def check_same(self, saved: Mapping, own: Mapping) -> None:
        """Raises ValueError if the saved choices differ from a run's own, which it names."""
        changed = [name for name in own if saved.get(name) != own[name]]
        if changed:
            raise ValueError(
                f"{self.directory} holds a run with other {', '.join(changed)}; give those values, or another "
                "directory."
            )

    def _numbers(self, record: Mapping) -> dict[str, dict[str, Tensor]]:
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        file = self.directory / record["tensors"]
        try:
            if _header_digest(file) != record["header"]:
                raise self.damaged(file, "its header is not the one that was written")
            loaded = load_file(file)
        except (OSError, SafetensorError) as error:
            raise self.damaged(file, str(error)) from error
        groups: dict[str, dict[str, Tensor]] = {}
        for key, tensor in loaded.items():
            group, name = key.split(":", 1)
            groups.setdefault(group, {})[name] = tensor
        return groups

    def _read_record(self) -> dict:
        try:
            record = json.loads(self.record.read_text(encoding="utf-8"))
        except ValueError as error:
            raise self.damaged(self.record, str(error)) from error
        if not isinstance(record, dict) or record.get("format") != _FORMAT:
            raise ValueError(
                f"{self.record} is no {self.kind} run of format {_FORMAT}; give another directory, or remove it."
            )
        if record.pop("digest", None) != _digest(record):
            raise self.damaged(self.record, "it is not what was written")
        return record

    def damaged(self, file: Path, why: str) -> ValueError:
        """What to raise for a file of the run that is not as it was written."""
        return ValueError(f"{file} is damaged ({why}); remove {self.directory} and begin anew.")


def _digest(record: Mapping) -> str:
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


def _header_digest(file: Path) -> str:
    """A hash of what a safetensors file says of its tensors: names, kinds, shapes, places."""
    with file.open("rb") as opened:
        size = opened.read(8)
        return hashlib.sha256(size + opened.read(min(int.from_bytes(size, "little"), file.stat().st_size))).hexdigest()
