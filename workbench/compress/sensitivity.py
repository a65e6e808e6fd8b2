"""How much each matrix's bond matters, measured: one matrix cut at a time, and the model scored.

It is what CompactifAI (2024) calls a sensitivity profile. The points are measured one by one and can be saved, so an
interrupted sweep goes on from those it has.
"""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from workbench.compress.budget import Rungs
from workbench.decompose.ladder import Ladder
from workbench.file_locks import turn_at
from workbench.whole_files import write_json

SHARES = (0.05, 0.1, 0.2, 0.3, 0.45, 0.6, 0.8)  # of a matrix's numbers, at which a sweep cuts it
_FORMAT = 1


@dataclass
class Profile:
    """The loss added, in nats a token, by one matrix cut to one bond while all others are whole, point by point.

    `of` says what was measured: model, recipe and text. Points of something else are never mixed in.
    """

    of: str
    points: dict[str, dict[int, float]] = field(default_factory=dict)

    def missing(self, ladders: Mapping[str, tuple[Ladder, tuple[int, int]]]) -> list[tuple[str, int]]:
        """The points that a whole sweep has and this profile has not, in the order of the model."""
        wanted = []
        for name, (ladder, shape) in ladders.items():
            bonds = dict.fromkeys(ladder.bond_within(share * math.prod(shape)) for share in SHARES)
            wanted += [(name, bond) for bond in bonds if bond not in self.points.get(name, {})]
        return wanted

    def measure(
        self,
        ladders: Mapping[str, tuple[Ladder, tuple[int, int]]],
        added_loss: Callable[[str, int], float],
        progress: Callable[[str, int, int], None] | None = None,
        file: Path | None = None,
    ) -> None:
        """Measures what is missing; with a `file`, every point is kept there as soon as it is known.

        Processes may share the file: what another has measured meanwhile is not measured again.
        """
        wanted = self.missing(ladders)
        for index, (name, bond) in enumerate(wanted):
            if bond not in self.points.get(name, {}):
                self.points.setdefault(name, {})[bond] = added_loss(name, bond)
                if file is not None:
                    self.save(file)
            if progress:
                progress("sweep", index + 1, len(wanted))

    def rungs(self, name: str, ladder: Ladder, shape: tuple[int, int], cost: str = "n_params") -> Rungs:
        """The settings of one matrix with the harm measured, between the points interpolated over the numbers stored.

        A smaller bond never counts as less harmful than a larger one: what the noise of a score says otherwise is
        taken out. Raises ValueError if no point of the matrix was measured.
        """
        if not self.points.get(name):
            raise ValueError(f"the profile has no point of {name}; let the sweep go on to the end.")
        sizes = dict(zip(ladder.bonds, ladder.n_params, strict=True))
        known = sorted(self.points[name].items())
        harms = np.maximum.accumulate([max(0.0, harm) for _, harm in reversed(known)])[::-1]
        at = [*(sizes[bond] for bond, _ in known), math.prod(shape)]
        values = np.interp(ladder.n_params, at, [*harms, 0.0])
        measured = Ladder(ladder.bonds, ladder.n_params, ladder.multiply_adds, tuple(values.tolist()))
        return Rungs.of(measured, shape, cost)  # pyright: ignore[reportArgumentType]

    def save(self, file: Path) -> None:
        """Writes the points as JSON, whole or not at all, and takes in those that another process has put there.

        Raises ValueError if the file is something else by now.
        """
        with turn_at(file):
            for name, others in Profile.load(file, self.of).points.items():
                self.points[name] = others | self.points.get(name, {})
            write_json(file, {"format": _FORMAT, "of": self.of, "points": self.points})

    @classmethod
    def load(cls, file: Path, of: str) -> "Profile":
        """The profile in a file, or an empty one if there is no such file.

        Raises ValueError if the file is something else, or was measured on something else.
        """
        if not file.exists():
            return cls(of)
        try:
            record = json.loads(file.read_text(encoding="utf-8"))
            points = {
                name: {int(bond): float(harm) for bond, harm in own.items()} for name, own in record["points"].items()
            }
            measured_on, version = record["of"], record["format"]
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise ValueError(f"{file} is no sensitivity profile ({error}); name another file.") from error
        if version != _FORMAT or measured_on != of:
            raise ValueError(
                f"{file} was measured on {measured_on} (format {version}), not on {of}; name another file, "
                "or remove it."
            )
        return cls(of, points)
