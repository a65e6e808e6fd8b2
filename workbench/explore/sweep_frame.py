"""How far a sweep is: what is done, what failed, how long the rest takes, and which settings no other beats."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean, median

from workbench.compress.curve import unbeaten

FLOOR = 1e-6  # where a harm of nothing, or of rounding, is drawn: a logarithmic axis has no zero


@dataclass(frozen=True)
class SweepPoint:
    """One measured point: `size` is what it costs and `harm` what that does.

    For compression these are the share of the block matrices' numbers that is stored, and perplexity over the dense
    model's, or nats a token above the truth where that is known (`above_truth`). For learning, samples and the
    Kullback-Leibler divergence from the truth, nats a string, infinite where the learner excludes what may come.
    """

    subject: str
    series: str
    asked: str
    seed: int
    size: float
    harm: float
    seconds: float
    above_truth: bool = False


@dataclass(frozen=True)
class SweepFailure:
    """A point that could not be measured: its name, why, and how often it was tried."""

    name: str
    error: str
    attempts: int


@dataclass(frozen=True)
class AtWork:
    """A point under way: the process id, or the address in a cluster, of the worker that has it."""

    name: str
    worker: int | str
    attempt: int


@dataclass(frozen=True)
class SweepSetting:
    """All seeds of one setting together: medians of size and harm, and the range of the harm."""

    subject: str
    series: str
    asked: str
    size: float
    harm: float
    low: float
    high: float
    seeds: int

    @property
    def drawn(self) -> float:
        """The harm as an axis shows it: not below the floor."""
        return max(self.harm, FLOOR)


@dataclass(frozen=True)
class SweepFrame:
    """A sweep at one moment. `n_tasks` counts all points: those done, those that failed and those left."""

    kind: str
    n_tasks: int
    points: tuple[SweepPoint, ...]
    failures: tuple[SweepFailure, ...]
    at_work: tuple[AtWork, ...]

    @property
    def n_left(self) -> int:
        """Points neither done nor failed, those under way among them."""
        return self.n_tasks - len(self.points) - len(self.failures)

    @property
    def seconds_left(self) -> float | None:
        """An estimate: what is left takes as long as what is done did, on the workers there are now; None before the
        first point.
        """
        if not self.n_left:
            return 0.0
        if not self.points:
            return None
        return self.n_left * fmean(point.seconds for point in self.points) / max(1, len(self.at_work))

    @property
    def told(self) -> str:
        """How far it is, in words."""
        parts = [f"{len(self.points)} of {self.n_tasks} points"]
        if self.failures:
            parts.append(f"{len(self.failures)} failed")
        if self.n_left:
            seconds = self.seconds_left
            parts.append(f"{self.n_left} left" + ("" if seconds is None else f", about {told_seconds(seconds)}"))
        return ", ".join(parts)

    @property
    def subjects(self) -> tuple[str, ...]:
        """Models or sources with a point, in the sweep's order."""
        return tuple(dict.fromkeys(point.subject for point in self.points))

    @property
    def series(self) -> tuple[str, ...]:
        """Recipes with their budgets, or learners, with a point, in the sweep's order."""
        return tuple(dict.fromkeys(point.series for point in self.points))

    def settings(self, subject: str) -> tuple[SweepSetting, ...]:
        """What was measured of one model or source, its seeds taken together."""
        return tuple([setting for setting in self._settings if setting.subject == subject])

    def front(self, subject: str) -> tuple[SweepSetting, ...]:
        """Those of its settings that no other beats in both size and harm, smallest first."""
        finite = [setting for setting in self.settings(subject) if math.isfinite(setting.harm)]
        return unbeaten(finite, lambda setting: setting.size, lambda setting: setting.harm)

    def axes(self, subject: str) -> tuple[str, str]:
        """What size and harm are, in words."""
        if self.kind == "learning":
            return "samples", "divergence from the truth, nats a string"
        above = any(point.above_truth for point in self.points if point.subject == subject)
        harm = "nats a token above the truth" if above else "perplexity ÷ dense"
        return "share of the block matrices kept", harm

    @cached_property
    def _settings(self) -> tuple[SweepSetting, ...]:
        alike: dict[tuple[str, str, str], list[SweepPoint]] = {}
        for point in self.points:
            alike.setdefault((point.subject, point.series, point.asked), []).append(point)
        made = []
        for names, own in alike.items():
            harms = [point.harm for point in own]
            size = median(point.size for point in own)
            made.append(SweepSetting(*names, size, median(harms), min(harms), max(harms), len(own)))
        return tuple(made)

    def __str__(self) -> str:
        lines = [self.told]
        for subject in self.subjects:
            size, harm = self.axes(subject)
            lines.append(f"{subject}: Pareto front of {size} and {harm}")
            lines += [
                f"  {_sized(self.kind, own.size):>9}  {own.harm:9.4f}  {own.series}" for own in self.front(subject)
            ]
        lines += [f"failed {own.attempts} times: {own.name}: {own.error}" for own in self.failures]
        return "\n".join(lines)

    def as_dict(self) -> dict:
        """The frame by name, for JSON: infinite divergences and unknown seconds are None."""
        return {
            "kind": self.kind, "tasks": self.n_tasks, "left": self.n_left,
            "points": [_finite(vars(point)) for point in self.points],
            "failures": [vars(failure) for failure in self.failures],
            "front": {subject: [_finite(vars(own)) for own in self.front(subject)] for subject in self.subjects},
        }  # fmt: skip


def told_seconds(seconds: float) -> str:
    """Seconds as a person says them."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _sized(kind: str, size: float) -> str:
    return f"{size:,.0f}" if kind == "learning" else f"{size:.1%}"


def _finite(row: Mapping) -> dict:
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in row.items()
    }
