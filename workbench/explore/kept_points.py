"""Measured points kept in a file of their own, named by what they depend on: nothing is measured twice."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from workbench.file_locks import turn_at
from workbench.whole_files import write_json


@dataclass(frozen=True, eq=False)
class PointFile:
    """Rows of numbers under a `key` that says everything they depend on; without a directory nothing is kept.

    Of rows with the same `place`, the values of these names, one is kept. Processes may share a file.
    """

    directory: Path | None
    key: Mapping[str, object]
    place: tuple[str, ...]

    @property
    def path(self) -> Path | None:
        """Where they are kept: the name is a hash of the key."""
        if self.directory is None:
            return None
        digest = hashlib.sha256(json.dumps(self.key, sort_keys=True).encode()).hexdigest()[:20]
        return self.directory / f"{digest}.json"

    def read(self) -> list[dict]:
        """The rows kept so far. Raises ValueError if the file holds something else."""
        if self.path is None or not self.path.exists():
            return []
        try:
            record = json.loads(self.path.read_text(encoding="utf-8"))
            if {name: record[name] for name in self.key} != self.key:
                raise ValueError("they depend on something else")
            return list(record["points"])
        except (ValueError, LookupError, TypeError) as error:
            raise self.unreadable(error) from error

    def write(self, rows: Iterable[Mapping]) -> None:
        """Puts these rows beside those kept, which other processes may have added to, and in the place of their own."""
        if self.path is None:
            return
        with turn_at(self.path):
            try:
                placed = {tuple([row[name] for name in self.place]): row for row in [*self.read(), *rows]}
            except (LookupError, TypeError) as error:
                raise self.unreadable(error) from error
            write_json(self.path, dict(self.key) | {"points": [row for _, row in sorted(placed.items())]})

    def unreadable(self, error: Exception) -> ValueError:
        """What to raise for a file whose rows are no points."""
        return ValueError(f"{self.path} holds no points of these ({error}); remove it, or give another cache.")
