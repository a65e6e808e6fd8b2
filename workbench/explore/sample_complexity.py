"""How many samples a learner needs to come within X % of the truth: measured where the truth is known exactly."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.born.likelihood import Probable
from workbench.explore.kept_points import PointFile
from workbench.explore.progress import Progress, shown
from workbench.explore.sample_frame import QUALITIES, SampleFrame, SamplePoint
from workbench.truth.enumerated import log_table
from workbench.truth.scores import scores
from workbench.truth.source import Source
from workbench.truth.strings import check_enumerable, numbered_strings, table_entropy

MOST_SCORED = 2**20  # strings of which both tables are made for every point


@dataclass(frozen=True)
class Learner:
    """A way to learn: `learn(samples, n_symbols, seed)`. `distinct` ones see each string once at most.

    `name` says everything that decides what is learned, since points are kept under it.
    """

    name: str
    learn: Callable[[Int[Tensor, "n sites"], int, int], Probable]
    distinct: bool = False


class SampleLab:
    """One source, one learner, and how the learned distribution nears the true one as samples grow.

    Every point is exact: both distributions are compared on all strings. A point depends on source, learner, size and
    seed alone; with a `cache` directory it is kept there as it comes, and not measured again.
    Raises ValueError for a source of more than 2^20 strings, or an unknown metric.
    """

    def __init__(
        self, source: Source, learner: Learner, sizes: Sequence[int] | None = None, seeds: Sequence[int] = range(5),
        cache: str | Path | None = None,
    ) -> None:  # fmt: skip
        remedy = "a point compares both distributions on all of them: give fewer sites"
        check_enumerable(len(source.alphabet), source.n_sites, remedy, MOST_SCORED)
        self.source, self.learner, self.seeds = source, learner, tuple(seeds)
        self.sizes = usual_sizes(source.n_sites) if sizes is None else tuple(sizes)
        if not self.sizes or min(self.sizes) < 1 or not self.seeds:
            raise ValueError(f"give one or more sizes of 1 or more, and one or more seeds, not {self.sizes}.")
        self.metric, self.target = "overlap", 0.9
        self._file = PointFile(None if cache is None else Path(cache), self.key, ("n", "seed"))
        self._points: dict[tuple[int, int], SamplePoint] = _kept(self._file)

    @property
    def key(self) -> dict:
        """What every point depends on, beside its size and seed."""
        return {"source": str(self.source.describe()), "n_sites": self.source.n_sites, "learner": self.learner.name}

    def ask(self, metric: str | None = None, target: float | None = None) -> None:
        """Chooses the metric and the quality wanted, between 0 and 1. Nothing is measured anew."""
        if metric is not None and metric not in QUALITIES:
            raise ValueError(f"there is no metric {metric!r}; there are {', '.join(QUALITIES)}.")
        if target is not None and not 0 < target < 1:
            raise ValueError(f"the quality wanted lies between 0 and 1, which the truth has, not at {target}.")
        self.metric, self.target = metric or self.metric, self.target if target is None else target

    @property
    def wanted(self) -> tuple[tuple[int, int], ...]:
        """Sizes and seeds of all points; of different strings there are no more than the support has."""
        most = len(self._possible) if self.learner.distinct else max(self.sizes)
        return tuple([(n, seed) for seed in self.seeds for n in self.sizes if n <= most])

    def steps(self) -> Iterator[SampleFrame]:
        """Measures what is missing, seed by seed from small sizes to large ones, with a frame after each point."""
        for n, seed in self.wanted:
            if (n, seed) not in self._points:
                self._points[n, seed] = self.measure(n, seed)
                self._keep()
                yield self.frame()

    def run(self, progress: Progress | None = None) -> SampleFrame:
        """Measures all that is missing, and tells how far it is; interrupted, the next call goes on."""
        with shown(progress) as told:
            for frame in self.steps():
                told("measure", len(frame.points), len(self.wanted))
        return self.frame()

    def frame(self) -> SampleFrame:
        """What is measured so far, at these sizes and seeds."""
        points = tuple([self._points[key] for key in sorted(self.wanted) if key in self._points])
        return SampleFrame(
            self.source.describe().name, self.source.n_sites, self.learner.name, self.metric, self.target,
            self._entropy, points,
        )  # fmt: skip

    def samples(self, n: int, seed: int) -> Int[Tensor, "n sites"]:
        """The samples of a point: independent draws, or different strings of the support where the learner asks so."""
        generator = torch.Generator().manual_seed(seed)
        if not self.learner.distinct:
            return self.source.sample(n, generator)
        chosen = self._possible[torch.randperm(len(self._possible), generator=generator)[:n]]
        return numbered_strings(chosen, self.source.n_sites, len(self.source.alphabet))

    def measure(self, n: int, seed: int) -> SamplePoint:
        """The point of one draw, measured now, and not kept."""
        samples, start = self.samples(n, seed), time.perf_counter()
        learned = self.learner.learn(samples, len(self.source.alphabet), seed)
        seconds = time.perf_counter() - start
        log_q = log_table(learned, len(self.source.alphabet), self.source.n_sites)
        return SamplePoint(n, seed, scores(self._log_p, log_q), seconds)

    @cached_property
    def _log_p(self) -> Float[Tensor, "*symbols"]:
        """The truth, asked for once."""
        return log_table(self.source, len(self.source.alphabet), self.source.n_sites)

    @cached_property
    def _possible(self) -> Int[Tensor, " support"]:
        """The numbers of the strings that can come."""
        return self._log_p.flatten().isfinite().nonzero()[:, 0]

    @cached_property
    def _entropy(self) -> float:
        return table_entropy(self._log_p.exp())

    def _keep(self) -> None:
        self._file.write(point.as_row() for _, point in sorted(self._points.items()))


def usual_sizes(n_sites: int, most: int = 20_000) -> tuple[int, ...]:
    """Sizes from about the number of sites to `most`, each about 1.6 times the one before."""
    count = 1 + math.ceil(math.log(most / n_sites) / math.log(1.6))
    return tuple([round(n_sites * (most / n_sites) ** (k / (count - 1))) for k in range(count)])


def _kept(file: PointFile) -> dict[tuple[int, int], SamplePoint]:
    """The points in a file. Raises ValueError if it holds those of something else."""
    try:
        points = [SamplePoint.of_row(row) for row in file.read()]
    except (LookupError, TypeError) as error:
        raise file.unreadable(error) from error
    return {(point.n, point.seed): point for point in points}
