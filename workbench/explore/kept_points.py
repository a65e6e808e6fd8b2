"""Measured points kept in a file of their own, named by what they depend on: nothing is measured twice."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from workbench.whole_files import write_json


@dataclass(frozen=True, eq=False)
class PointFile:
    """Rows of numbers under a `key` that says everything they depend on; without a directory nothing is kept."""

    directory: Path | None
    key: Mapping[str, object]

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
                raise ValueError("another source or learner")
            return list(record["points"])
        except (ValueError, LookupError, TypeError) as error:
            raise self.unreadable(error) from error

    def write(self, rows: Iterable[Mapping]) -> None:
        """Puts these rows in the place of those kept."""
        if self.path is not None:
            write_json(self.path, dict(self.key) | {"points": list(rows)})

    def unreadable(self, error: Exception) -> ValueError:
        """What to raise for a file whose rows are no points."""
        return ValueError(f"{self.path} holds no points of these ({error}); remove it, or give another cache.")
