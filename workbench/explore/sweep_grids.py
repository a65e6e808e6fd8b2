"""What a sweep measures: every combination of a few choices, each as a task that says all it depends on."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch

from workbench.compress.budget import check_kept
from workbench.compress.recipe import Recipe
from workbench.compress.windows import read_text
from workbench.explore.allocation import check_budget
from workbench.explore.digests import checkpoint_digest, default_text_digest, file_digest
from workbench.explore.sample_complexity import SampleLab
from workbench.explore.sweep_words import learner_of, source_of
from workbench.transformer.corpus import SHIPPED

_FORMAT = 1  # of a point: another one where the same words come to mean other numbers
_DEVICES = ("auto", "cpu", "cuda")


@dataclass(frozen=True)
class SweepTask:
    """One point to measure: the `subject`, a model or a source; the `series`, a recipe and a budget, or a learner; how
    much is `asked` for, and the seed.

    `key` holds everything that the numbers depend on, as JSON; `where` is how a worker finds that, which may differ.
    Tasks of one `group` share a decomposition, or a table of probabilities.
    """

    subject: str
    series: str
    asked: str
    seed: int
    key: Mapping
    where: Mapping
    group: str
    gpu: bool = False

    @property
    def name(self) -> str:
        """The point in words."""
        return f"{self.subject}: {self.series}, {self.asked}, seed {self.seed}"


@runtime_checkable  # annotations are checked in the tests
class Grid(Protocol):
    """Whatever can be swept over."""

    @property
    def kind(self) -> str:
        """`compression` or `learning`."""
        ...

    def tasks(self) -> tuple[SweepTask, ...]:
        """Every point, those that share work beside each other."""
        ...


@dataclass(frozen=True)
class CompressionGrid:
    """Every model by every recipe, budget, share kept and seed, scored on at most `windows` windows of `text`.

    `models` are shipped names or directories. A seed draws the windows to calibrate on; a recipe that looks at none has
    the first seed alone. Without a `text` every model is scored as `CompressionLab` does it. Each point is measured
    on `threads` threads of the processor, since their number moves the last digits.
    Raises ValueError or FileNotFoundError for whatever cannot be measured, before anything is.
    """

    models: Sequence[str | Path]
    recipes: Sequence[Recipe]
    kept: Sequence[float] = (0.8, 0.6, 0.4)
    budgets: Sequence[str] = ("uniform",)
    seeds: Sequence[int] = (0,)
    text: Path | None = None
    windows: int = 64
    device: str = "auto"
    threads: int = 1

    def __post_init__(self) -> None:
        _check_given(self, "models", "recipes", "kept", "budgets", "seeds")
        for kept in self.kept:
            check_kept(kept)
        for budget in self.budgets:
            check_budget(budget)
        _check_counts(self, "windows", "threads")
        if self.device not in _DEVICES:
            raise ValueError(f"the device of a sweep is {', '.join(_DEVICES)}, not {self.device!r}.")

    @property
    def kind(self) -> str:
        """What is measured."""
        return "compression"

    def tasks(self) -> tuple[SweepTask, ...]:
        """Every point; reads every checkpoint once, for its digest."""
        text = None if self.text is None else Path(self.text).resolve()
        if text is not None:
            read_text(text)
        heard = default_text_digest() if text is None else file_digest(text)
        gpu = self.device == "cuda" or (self.device == "auto" and torch.cuda.is_available())
        shared = {
            "format": _FORMAT, "kind": self.kind, "text": heard, "windows": self.windows,
            "device": "cuda" if gpu else "cpu", "threads": self.threads,
        }  # fmt: skip
        weights = {str(model): checkpoint_digest(str(model)) for model in self.models}
        found = []
        labels = _labels(list(weights))
        for model, recipe in product(weights, self.recipes):
            where = {"model": _place(model), "text": None if text is None else str(text)}
            for seed in self.seeds if recipe.needs_calibration else self.seeds[:1]:
                own = shared | {"weights": weights[model], "recipe": asdict(recipe), "seed": seed}
                for budget, kept in product(self.budgets, self.kept):
                    key = json.loads(json.dumps(own | {"budget": budget, "kept": float(kept)}))
                    series, asked, group = f"{recipe}, {budget}", f"{kept:.3g} kept", f"{model}, {recipe}, {seed}"
                    found.append(SweepTask(labels[model], series, asked, seed, key, where, group, gpu))
        return tuple(found)


@dataclass(frozen=True)
class LearningGrid:
    """Every source by every learner, number of samples and seed, against the exact truth; what `SampleLab` measures.

    `sources` and `learners` are words such as "parity 10", "one-pass 4", "gpt 32" or "counts".
    Raises ValueError for words or numbers that cannot be measured, before anything is.
    """

    sources: Sequence[str]
    learners: Sequence[str]
    sizes: Sequence[int]
    seeds: Sequence[int] = (0,)
    threads: int = 1

    def __post_init__(self) -> None:
        _check_given(self, "sources", "learners", "sizes", "seeds")
        _check_counts(self, "threads")

    @property
    def kind(self) -> str:
        """What is measured."""
        return "learning"

    def tasks(self) -> tuple[SweepTask, ...]:
        """Every point; makes every source and learner once."""
        learners = {words: learner_of(words) for words in self.learners}
        sources = {words: source_of(words) for words in self.sources}
        found = []
        for (source, own), (words, learner) in product(sources.items(), learners.items()):
            lab = SampleLab(own, learner, self.sizes, self.seeds)
            depends = {"format": _FORMAT, "kind": self.kind, "threads": self.threads} | dict(lab.key)
            where = {"source": source, "learner": words}
            for seed, n in product(self.seeds, self.sizes):
                key, asked = depends | {"n": n, "seed": seed}, f"{n:,} samples"
                found.append(SweepTask(source, learner.name, asked, seed, key, where, f"{source}, {words}"))
        return tuple(found)


def merged(tasks: Sequence[SweepTask]) -> tuple[SweepTask, ...]:
    """The tasks without those that another one measures too."""
    return tuple({json.dumps(task.key, sort_keys=True): task for task in reversed(tasks)}.values())[::-1]


def _place(model: str) -> str:
    """How a worker finds the model: a shipped one by its name, a directory wherever that process was started."""
    return model if model in SHIPPED else str(Path(model).resolve())


def _labels(models: Sequence[str]) -> dict[str, str]:
    """What the models are called: a directory by its last name, where no other has the same."""
    short = {model: model if model in SHIPPED else Path(model).name for model in models}
    return {model: own if list(short.values()).count(own) == 1 else model for model, own in short.items()}


def _check_given(grid: object, *names: str) -> None:
    for name in names:
        given = getattr(grid, name)
        if isinstance(given, str) or not given:
            raise ValueError(f"{type(grid).__name__} needs one or more {name}, in a list, not {given!r}.")


def _check_counts(grid: object, *names: str) -> None:
    for name in names:
        given = getattr(grid, name)
        if isinstance(given, bool) or not isinstance(given, int) or given < 1:
            raise ValueError(f"{name} is how many there are, 1 or more, not {given!r}.")
