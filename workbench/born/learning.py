"""Learning by rounds that can be watched, stopped, and resumed after a restart: one loop for every way to learn."""

import hashlib
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Int, Shaped
from torch import Tensor

from workbench.born.likelihood import likelihood
from workbench.born.questions import ChainModel
from workbench.run_files import RunFiles

_SAVE_EVERY = 10.0  # seconds
_BETTER = 1e-9  # nats: what a round must gain to count as one
_FREE = ("rounds", "patience")  # how long a run goes on may be chosen anew

Model = TypeVar("Model", bound=ChainModel, covariant=True)
Numbers = Mapping[str, Shaped[Tensor, "..."]]
Progress = Callable[[str, int, int], None]


@runtime_checkable  # annotations are checked in the tests
class LearningRecipe(Protocol):
    """What every recipe says, beside what its learner needs: a frozen dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def rounds(self) -> int:
        """How many at most."""
        ...

    @property
    def patience(self) -> int:
        """How many rounds in a row may fail to be better than the best."""
        ...


@runtime_checkable
class Rounds(Protocol[Model]):
    """What takes the rounds: its state is `numbers` alone, so that loading them gives the same rounds again."""

    @property
    def recipe(self) -> LearningRecipe:
        """Everything that decides the rounds, apart from the strings and the machine's floating point."""
        ...

    def advance(self, index: int, tell: Callable[[int, int], None]) -> float:
        """Round `index`, counted from 0: the training strings' mean -ln p, nats. `tell` hears how far it is."""
        ...

    def numbers(self) -> Numbers:
        """Copies of all that the next round depends on."""
        ...

    def load(self, numbers: Numbers) -> None:
        """Back to these numbers."""
        ...

    def model(self, numbers: Numbers) -> Model:
        """What was learned when the numbers were these."""
        ...


@dataclass(frozen=True)
class Round:
    """One round: the mean -ln p, in nats a string, of the training strings and, after it, of those held out (None: no
    such strings; infinite: the model excludes one); and seconds since the beginning.
    """

    number: int
    nll: float
    held_out: float | None
    seconds: float


@dataclass(frozen=True)
class LearningReport:
    """How learning went: `ended` is `finished`, `stopped` (`run` goes on), `no longer better` or `diverged`.

    `best_round` is the one whose model is the result, 0 for the start, and `best` what it was chosen by: its mean -ln p
    of the strings held out, or of the training strings where there are none.
    """

    ended: str
    rounds: int
    best_round: int
    best: float
    seconds: float

    def __str__(self) -> str:
        return (
            f"{self.ended} after {self.rounds} rounds and {self.seconds:.1f} s; best after round {self.best_round}, "
            f"{self.best:.4f} nats a string"
        )


class Learning(Generic[Model]):
    """A run of a learner on `samples`, which keeps the best state it finds.

    Best is what says the strings of `held_out` best, or without them the samples; the run ends early once `patience`
    rounds in a row gain less than 1e-9 nats. With `checkpoint`, a directory, it is saved there every 10 seconds and
    whenever it is left, and goes on from there if it holds one: to the same numbers as if it had never been left.
    Raises ValueError for a checkpoint of other strings or another recipe, in which `rounds` and `patience` are free.
    """

    def __init__(
        self,
        learner: Rounds[Model],
        samples: Int[Tensor, "n sites"],
        held_out: Int[Tensor, "m _"] | None = None,
        checkpoint: str | Path | None = None,
    ) -> None:
        self._learner, self._samples, self._held_out = learner, samples, held_out
        self._now = self._best_numbers = learner.numbers()
        self._best, self._best_round = self._judged(self._now), 0
        self._curve: list[Round] = []
        self._seconds, self._saved_at = 0.0, 0.0
        self._diverged = self._stopping = False
        self._files = None if checkpoint is None else RunFiles(Path(checkpoint), "learning")
        if self._files is not None and self._files.are_saved():
            self._resume(self._files)

    @property
    def curve(self) -> tuple[Round, ...]:
        """Every round so far, those before a restart too."""
        return tuple(self._curve)

    @property
    def model(self) -> Model:
        """The best found so far; before the first round, the start."""
        return self._learner.model(self._best_numbers)

    @property
    def report(self) -> LearningReport:
        """How it went so far."""
        done = len(self._curve)
        return LearningReport(self._ended or "stopped", done, self._best_round, self._best, self._seconds)

    def stop(self) -> None:
        """Ends the run after the present round; `run` would go on."""
        self._stopping = True

    def finish(self, progress: Progress | None = None) -> Model:
        """All rounds still to do, and the best model."""
        for _ in self.run(progress):
            pass
        return self.model

    def run(self, progress: Progress | None = None) -> Iterator[Round]:
        """The rounds still to do, each as it is done; whoever leaves, even in the middle of one, may go on by calling
        again. `progress` is told what is being done, how much of it is done, and of how much.
        Raises BlockingIOError if another process runs in its checkpoint.
        """
        with nullcontext() if self._files is None else self._files.alone():
            yield from self._run(progress)

    @property
    def _ended(self) -> str:
        done, recipe = len(self._curve), self._learner.recipe
        if self._diverged:
            return "diverged"
        if done >= recipe.rounds:
            return "finished"
        return "no longer better" if done - self._best_round >= recipe.patience else ""

    def _run(self, progress: Progress | None) -> Iterator[Round]:
        self._stopping, began = False, time.perf_counter() - self._seconds
        self._learner.load(self._now)
        try:
            while not self._ended and not self._stopping:
                self._take_round(began, progress)
                if self._diverged:
                    return
                if self._seconds - self._saved_at > _SAVE_EVERY:
                    self._save()
                yield self._curve[-1]
        finally:
            self._save()

    def _take_round(self, began: float, progress: Progress | None) -> None:
        number = len(self._curve) + 1
        tell = _silent if progress is None else lambda done, total: progress(f"round {number}", done, total)
        nll = self._learner.advance(number - 1, tell)
        numbers = self._learner.numbers()
        if math.isnan(nll) or not all(bool(torch.isfinite(tensor).all()) for tensor in numbers.values()):
            self._diverged = True  # the last sound numbers stay
            return
        judged, seconds = self._judged(numbers), time.perf_counter() - began
        self._curve.append(Round(number, nll, None if self._held_out is None else judged, seconds))
        self._now, self._seconds = numbers, seconds
        if judged < self._best - _BETTER:
            self._best, self._best_round, self._best_numbers = judged, number, numbers

    def _judged(self, numbers: Numbers) -> float:
        strings = self._samples if self._held_out is None else self._held_out
        return likelihood(self._learner.model(numbers), strings).nll

    def _save(self) -> None:
        if self._files is None or not self._curve or self._saved_at == self._seconds:
            return
        record = {
            "choices": self._choices, "step": len(self._curve), "seconds": self._seconds,
            "best": self._best, "best_round": self._best_round, "curve": [asdict(made) for made in self._curve],
        }  # fmt: skip
        groups = {"now": self._now}
        if self._best_numbers is not self._now:
            groups["best"] = self._best_numbers
        self._files.save(record, groups)
        self._saved_at = self._seconds

    def _resume(self, files: RunFiles) -> None:
        record, groups = files.load()
        files.check_same(record["choices"], self._choices)
        self._now, self._best_numbers = groups["now"], groups.get("best", groups["now"])
        self._best, self._best_round = record["best"], record["best_round"]
        self._curve = [Round(**made) for made in record["curve"]]
        self._seconds = self._saved_at = record["seconds"]
        self._learner.load(self._now)

    @property
    def _choices(self) -> dict:
        """What a run must have in common with the one that it goes on from."""
        recipe = {name: value for name, value in asdict(self._learner.recipe).items() if name not in _FREE}
        strings = [self._samples] if self._held_out is None else [self._samples, self._held_out]
        parts = [str(tuple(part.shape)).encode() + part.long().cpu().contiguous().numpy().tobytes() for part in strings]
        return recipe | {"kind": type(self.model).__name__, "strings": hashlib.sha256(b"".join(parts)).hexdigest()}


def _silent(done: int, total: int) -> None:
    """For those who were not asked to tell."""
