"""Explanations judged by a truth that is known: learners, samples and seeds against what was planted."""

import time
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.born.explain.direct import direct_dependence
from workbench.born.explain.pairs import information_map, pair_marginals
from workbench.born.explain.score import (
    attribution_score,
    counterfactual_error,
    map_score,
    off_diagonal,
    rank_correlation,
)
from workbench.born.explain.shapley import surprise_shapley
from workbench.born.machine import BornMachine
from workbench.explore.board_frame import Attributed, BoardFrame, ExplanationPoint, Judged
from workbench.explore.explanations import (
    Attribution,
    Explanation,
    Subject,
    fits,
    usual_attributions,
    usual_explanations,
)
from workbench.explore.kept_points import PointFile
from workbench.explore.progress import Progress, shown
from workbench.explore.sample_complexity import Learner
from workbench.truth.amplitudes import MOST_DECOMPOSED, amplitudes_of_table
from workbench.truth.enumerated import table_of
from workbench.truth.planted import Planted
from workbench.truth.scores import scores
from workbench.truth.strings import check_enumerable

_OF_TRUTH = 5_000  # samples that explanations of samples see of the truth
_STRINGS = 64  # whose surprise is attributed
TRUTH = "the truth's own train"


class ExplanationBoard:
    """One planted truth, and every explanation of what learners made of samples of it, scored.

    Every model is asked for all strings, so that its explanations are exact; the truth's own train is explained first,
    as the line that no AUC can be above. A point depends on the planted truth, learner, size, seed and explanations;
    with a `cache` directory it is kept there as it comes, and not measured again.
    Raises ValueError for a source of more than 2^20 strings, no size or seed, or explanations of one name.
    """

    def __init__(
        self, planted: Planted, learners: Sequence[Learner], sizes: Sequence[int] = (300, 1_000, 5_000),
        seeds: Sequence[int] = range(5),
        explanations: Sequence[Explanation | Attribution] | None = None, cache: str | Path | None = None,
    ) -> None:  # fmt: skip
        source = planted.source
        remedy = "models are asked for all of them: give fewer sites"
        check_enumerable(len(source.alphabet), source.n_sites, remedy, MOST_DECOMPOSED)
        self.planted, self.learners = planted, {learner.name: learner for learner in learners}
        self.sizes, self.seeds = tuple(sizes), tuple(seeds)
        if not self.sizes or min(self.sizes) < 2 or not self.seeds:
            raise ValueError(f"give one or more sizes of 2 or more, and one or more seeds, not {self.sizes}.")
        chosen = (*usual_explanations(), *usual_attributions()) if explanations is None else tuple(explanations)
        self.explanations = tuple([how for how in chosen if isinstance(how, Explanation)])
        self.attributions = tuple([how for how in chosen if isinstance(how, Attribution)])
        names = [how.name for how in chosen]
        if len(set(names)) != len(names):
            raise ValueError(f"explanations are told apart by their names, and of {names} some are the same.")
        key = {"planted": planted.name, "source": str(source.describe()), "explanations": names}
        self._file = PointFile(None if cache is None else Path(cache), key, ("learner", "n", "seed"))
        self._points = _kept(self._file)

    @property
    def wanted(self) -> tuple[tuple[str, int, int], ...]:
        """Learner, size and seed of all points; the truth first, which no samples change."""
        of_learners = [(name, n, seed) for name in self.learners for n in self.sizes for seed in self.seeds]
        return tuple([(TRUTH, 0, seed) for seed in self.seeds] + of_learners)

    def steps(self) -> Iterator[BoardFrame]:
        """Measures what is missing, with a frame after each point."""
        for place in self.wanted:
            if place not in self._points:
                self._points[place] = self._measured(*place)
                self._file.write(point.as_row() for point in self._points.values())
                yield self.frame()

    def run(self, progress: Progress | None = None) -> BoardFrame:
        """Measures all that is missing, and tells how far it is; interrupted, the next call goes on."""
        with shown(progress) as told:
            for frame in self.steps():
                told("explain", len(frame.points), len(self.wanted))
        return self.frame()

    def frame(self) -> BoardFrame:
        """What is measured so far, of these learners, sizes and seeds."""
        points = tuple([self._points[place] for place in self.wanted if place in self._points])
        return BoardFrame(self.planted.name, self.planted.source.n_sites, points)

    def subject(self, learner: str, n: int, seed: int) -> Subject:
        """What is explained at a point: learned anew, or the truth's own train for n = 0.

        Raises ValueError for a learner that is not there.
        """
        source = self.planted.source
        samples = source.sample(n or _OF_TRUTH, torch.Generator().manual_seed(seed))
        if learner == TRUTH:
            return Subject(BornMachine(source.mps()), samples, source, seed)
        if learner not in self.learners:
            raise ValueError(f"there is no learner {learner!r}; there are {', '.join(self.learners)}.")
        return Subject(self.learners[learner].learn(samples, len(source.alphabet), seed), samples, source, seed)

    def _measured(self, learner: str, n: int, seed: int) -> ExplanationPoint:
        subject = self.subject(learner, n, seed)
        entropy = _middle_entropy(BornMachine(subject.known.mps())) - self._entropy
        own = off_diagonal(direct_dependence(subject.known.table))
        judged = tuple([self._judged(how, subject, own) for how in self.explanations if fits(how, subject.model)])
        kl = scores(self._table.log(), subject.known.table.log()).kl
        return ExplanationPoint(
            learner, n, seed, kl, counterfactual_error(pair_marginals(subject.known), self._joint),
            entropy, judged, self._attributed(subject),
        )  # fmt: skip

    def _judged(self, how: Explanation, subject: Subject, own: Tensor) -> Judged:
        fresh = Subject(subject.model, subject.samples, subject.source, subject.seed)  # each pays for what it asks
        start = time.perf_counter()
        found = how.explain(fresh)
        seconds = time.perf_counter() - start
        score = map_score(found, self._amounts, self.planted.dependent)
        values = off_diagonal(found)
        faithful = rank_correlation(values, own)
        return Judged(how.name, score.auc, score.rank_correlation, faithful, seconds, tuple(values.tolist()))

    def _attributed(self, subject: Subject) -> tuple[Attributed, ...]:
        """The scores on strings of the truth, those left out that the model excludes."""
        said = subject.model.log_prob(self._strings).isfinite()
        found = []
        for how in self.attributions:
            if fits(how, subject.model):
                fresh = Subject(subject.model, subject.samples, subject.source, subject.seed)
                start, score = time.perf_counter(), None
                if bool(said.any()):
                    score = attribution_score(how.attribute(fresh, self._strings[said]), self._shapley[said])
                found.append(Attributed(how.name, score, time.perf_counter() - start))
        return tuple(found)

    @cached_property
    def _strings(self) -> Int[Tensor, "n sites"]:
        """Strings of the truth whose surprise is attributed; of no learner's samples."""
        return self.planted.source.sample(_STRINGS, torch.Generator().manual_seed(-1))

    @cached_property
    def _shapley(self) -> Float[Tensor, "n sites"]:
        return surprise_shapley(self._table, self._strings)

    @cached_property
    def _table(self) -> Float[Tensor, "*symbols"]:
        return table_of(self.planted.source)

    @cached_property
    def _joint(self) -> Float[Tensor, "i j a b"]:
        return pair_marginals(self.planted.source)

    @cached_property
    def _amounts(self) -> Float[Tensor, "i j"]:
        return information_map(self._joint)

    @cached_property
    def _entropy(self) -> float:
        """The entanglement entropy of the truth's √p in the middle."""
        return _middle_entropy(BornMachine(amplitudes_of_table(self._table)))


def _middle_entropy(machine: BornMachine) -> float:
    return machine.entropies()[machine.n_sites // 2 - 1]


def _kept(file: PointFile) -> dict[tuple[str, int, int], ExplanationPoint]:
    """The points in a file. Raises ValueError if it holds those of something else."""
    try:
        points = [ExplanationPoint.of_row(row) for row in file.read()]
    except (LookupError, TypeError) as error:
        raise file.unreadable(error) from error
    return {(point.learner, point.n, point.seed): point for point in points}
