"""A leader board of explanations: what each scored where the right explanation is known, with intervals over seeds."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import combinations

import torch
from scipy.special import stdtrit

from workbench.born.explain.score import rank_correlation

_LEVEL = 0.975  # of a two-sided interval of 95 %


@dataclass(frozen=True)
class Judged:
    """What one explanation of one learned model scored. `values` are those of its pairs, by which seeds are compared.

    `faithfulness` is the rank correlation with the model's own direct dependence: an explanation may be true to a model
    that is wrong. `seconds` are those of explaining alone.
    """

    explanation: str
    auc: float | None
    rank_correlation: float | None
    faithfulness: float
    seconds: float
    values: tuple[float, ...]


@dataclass(frozen=True)
class Attributed:
    """What one attribution of the surprise of strings to their sites scored (see `score.attribution_score`).

    None where the model excludes all of the strings. `seconds` are those of all strings together.
    """

    attribution: str
    rank_correlation: float | None
    seconds: float


@dataclass(frozen=True)
class ExplanationPoint:
    """What one learner made of one draw of `n` samples, and how its explanations scored.

    `kl` is the divergence from the truth in nats a string, `counterfactual_error` that of its answers to "what if this
    site were so" (see `score.counterfactual_error`), and `excess_entropy` the entanglement entropy of its √p in the
    middle beyond the truth's, in nats. `n` is 0 for the truth itself.
    """

    learner: str
    n: int
    seed: int
    kl: float
    counterfactual_error: float
    excess_entropy: float
    judged: tuple[Judged, ...]
    attributed: tuple[Attributed, ...] = ()

    def as_row(self) -> dict:
        """Its numbers by name, for JSON, which has no infinity: an infinite divergence is None there."""
        return asdict(self) | {"kl": self.kl if math.isfinite(self.kl) else None}

    @classmethod
    def of_row(cls, row: Mapping) -> "ExplanationPoint":
        """What `as_row` gave. Raises LookupError or TypeError for something else."""
        judged = tuple([Judged(**{**own, "values": tuple(own["values"])}) for own in row["judged"]])
        attributed = tuple([Attributed(**own) for own in row["attributed"]])
        kl = math.inf if row["kl"] is None else row["kl"]
        return cls(**{**row, "kl": kl, "judged": judged, "attributed": attributed})


@dataclass(frozen=True)
class Interval:
    """A mean over seeds and the half-width of its 95 % interval (Student's); nan for a single seed."""

    mean: float
    half_width: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Interval":
        """That of one or more values, which are taken as independent draws."""
        if len(values) < 2:
            return cls(values[0], math.nan)
        spread = statistics.stdev(values) / math.sqrt(len(values))
        return cls(statistics.mean(values), float(stdtrit(len(values) - 1, _LEVEL)) * spread)

    def __str__(self) -> str:
        return f"{self.mean:.3f}" if math.isnan(self.half_width) else f"{self.mean:.3f} ± {self.half_width:.3f}"


@dataclass(frozen=True)
class BoardRow:
    """One explanation of one learner at one number of samples, over seeds.

    `stability` is the mean rank correlation of the maps of two seeds; None for a single one.
    """

    learner: str
    n: int
    explanation: str
    auc: Interval | None
    rank_correlation: Interval | None
    faithfulness: Interval
    stability: float | None
    seconds: float


@dataclass(frozen=True)
class AttributionRow:
    """One attribution of one learner at one number of samples, over seeds: None if the model excludes all strings."""

    learner: str
    n: int
    attribution: str
    rank_correlation: Interval | None
    seconds: float


@dataclass(frozen=True)
class BoardFrame:
    """All points of one planted truth so far, and the board they make."""

    planted: str
    n_sites: int
    points: tuple[ExplanationPoint, ...]

    @cached_property
    def board(self) -> tuple[BoardRow, ...]:
        """A row for every learner, number of samples and explanation, in the order in which they were asked for."""
        groups: dict[tuple[str, int, str], list[Judged]] = {}
        for point in self.points:
            for judged in point.judged:
                groups.setdefault((point.learner, point.n, judged.explanation), []).append(judged)
        return tuple([_row(*place, own) for place, own in groups.items()])

    @cached_property
    def attributions(self) -> tuple[AttributionRow, ...]:
        """A row for every learner, number of samples and attribution, in the order in which they were asked for."""
        groups: dict[tuple[str, int, str], list[Attributed]] = {}
        for point in self.points:
            for own in point.attributed:
                groups.setdefault((point.learner, point.n, own.attribution), []).append(own)
        return tuple(
            [
                AttributionRow(
                    *place,
                    _interval([one.rank_correlation for one in own]),
                    statistics.median(one.seconds for one in own),
                )
                for place, own in groups.items()
            ]
        )

    def row(self, learner: str, n: int, explanation: str) -> BoardRow:
        """One row. Raises ValueError if there is none such."""
        for row in self.board:
            if (row.learner, row.n, row.explanation) == (learner, n, explanation):
                return row
        raise ValueError(f"there is no {explanation!r} of {learner!r} at {n:,} samples on the board of {self.planted}.")

    def errors(self, learner: str, n: int) -> Interval:
        """The counterfactual error of a learner at this many samples. Raises ValueError if there is no such point."""
        found = [point.counterfactual_error for point in self.points if (point.learner, point.n) == (learner, n)]
        if not found:
            raise ValueError(f"{learner!r} has no point at {n:,} samples on the board of {self.planted}.")
        return Interval.of(found)

    def __str__(self) -> str:
        lines = [
            f"{self.planted}, {self.n_sites} sites",
            f"{'':42}{'AUC':>15}{'rank correlation':>18}{'stability':>11}",
        ]
        for learner, n in dict.fromkeys((point.learner, point.n) for point in self.points):
            samples = f", {n:,} samples" if n else ""
            lines.append(f"{learner}{samples}; counterfactual error {self.errors(learner, n)}")
            for row in self.board:
                if (row.learner, row.n) == (learner, n):
                    stability = "" if row.stability is None else f"{row.stability:.3f}"
                    lines.append(
                        f"{f'  {row.explanation}':42}{_told(row.auc)}{_told(row.rank_correlation)}{stability:>13}"
                    )
            for own in self.attributions:
                if (own.learner, own.n) == (learner, n):
                    lines.append(f"{f'  of strings: {own.attribution}':57}{_told(own.rank_correlation)}")
        return "\n".join(line.rstrip() for line in lines)


def _row(learner: str, n: int, explanation: str, judged: Sequence[Judged]) -> BoardRow:
    maps = [torch.tensor(own.values, dtype=torch.float64) for own in judged]
    pairs = [rank_correlation(one, other) for one, other in combinations(maps, 2)]
    return BoardRow(
        learner, n, explanation,
        _interval([own.auc for own in judged]), _interval([own.rank_correlation for own in judged]),
        Interval.of([own.faithfulness for own in judged]),
        statistics.mean(pairs) if pairs else None,
        statistics.median(own.seconds for own in judged),
    )  # fmt: skip


def _interval(values: Sequence[float | None]) -> Interval | None:
    known = [value for value in values if value is not None]
    return Interval.of(known) if known else None


def _told(interval: Interval | None) -> str:
    return f"{'' if interval is None else interval!s:>15}"
