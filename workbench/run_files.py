"""A long run on disk: numbers in safetensors and its record in JSON, each written whole or not at all."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from jaxtyping import Shaped
from torch import Tensor

from workbench.whole_files import write_json, write_tensors

_FORMAT = 1

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

    def save(self, record: Mapping, groups: Mapping[str, Numbers]) -> None:
        """Writes the numbers of every group, and the record, which has a `step`; an older one is then removed.

        The record is written last, so that an interrupt at any moment leaves one whole checkpoint or the other.
        """
        own = f"step{record['step']}.safetensors"
        tensors = {f"{group}:{name}": tensor for group, numbers in groups.items() for name, tensor in numbers.items()}
        write_tensors(self.directory / own, tensors)
        write_json(self.record, {"format": _FORMAT, "tensors": own} | dict(record))
        for old in self.directory.glob("step*.safetensors"):
            if old.name != own:
                old.unlink()

    def load(self) -> tuple[dict, dict[str, dict[str, Tensor]]]:
        """The record, and the numbers by group.

        Raises ValueError if the record is of another format, or damaged; FileNotFoundError if a file is missing.
        """
        from safetensors.torch import load_file

        try:
            record = json.loads(self.record.read_text(encoding="utf-8"))
        except json.JSONDecodeError as error:
            raise ValueError(f"{self.record} is damaged ({error}); remove {self.directory} and begin anew.") from error
        if not isinstance(record, dict) or record.get("format") != _FORMAT:
            raise ValueError(
                f"{self.record} is no {self.kind} run of format {_FORMAT}; give another directory, or remove it."
            )
        groups: dict[str, dict[str, Tensor]] = {}
        for key, tensor in load_file(self.directory / record["tensors"]).items():
            group, name = key.split(":", 1)
            groups.setdefault(group, {})[name] = tensor
        return record, groups

    def check_same(self, saved: Mapping, own: Mapping) -> None:
        """Raises ValueError if the saved choices differ from a run's own, which it names."""
        changed = [name for name in own if saved.get(name) != own[name]]
        if changed:
            raise ValueError(
                f"{self.directory} holds a run with other {', '.join(changed)}; give those values, or another "
                "directory."
            )
