"""What a worker does for one point of a sweep: names and words come in, numbers go out, the same ones everywhere."""

import math
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Generic, TypeVar

import torch

from workbench.compress.default_windows import default_truth
from workbench.compress.recipe import Recipe
from workbench.compress.windows import read_text
from workbench.explore.compression_lab import CompressionLab
from workbench.explore.digests import checkpoint_digest, default_text_digest, file_digest
from workbench.explore.lab_windows import lab_windows
from workbench.explore.sample_complexity import SampleLab
from workbench.explore.sweep_words import learner_of, source_of
from workbench.transformer.load import load

_Made = TypeVar("_Made")
_turn = threading.Lock()  # a process has one number of threads and one last lab, whoever asks


class _Last(Generic[_Made]):
    """The newest of the things that a worker makes; the one before is let go first, so that only one needs room."""

    def __init__(self) -> None:
        self._held: tuple[tuple, _Made] | None = None

    def of(self, key: tuple, make: Callable[[], _Made]) -> _Made:
        """The thing of that key, made unless it is the newest."""
        if self._held is None or self._held[0] != key:
            self._held = None
            self._held = (key, make())
        return self._held[1]

    def let_go(self) -> None:
        """Forgets it."""
        self._held = None


_labs, _sample_labs = _Last[CompressionLab](), _Last[SampleLab]()


def measured(given: Mapping) -> Mapping:
    """The numbers of the task whose `key` and `where` are given.

    Raises ValueError if what is found here is not what the key says, and whatever the measurement raises.
    """
    key, where = given["key"], given["where"]
    with _turn, _on_threads(key["threads"]):
        return _MEASURES[key["kind"]](key, where)


def let_go() -> None:
    """Frees what the last point left for the next one in this process."""
    _labs.let_go()
    _sample_labs.let_go()


def _compressed(key: Mapping, where: Mapping) -> Mapping:
    recipe = _recipe(key["recipe"])
    _check_same(key, where)
    # What a calibration measures beside the moments in question must not depend on which point came first.
    measures = (recipe.needs_calibration, recipe.needs_gradients, recipe.table)
    own = (key["weights"], key["text"], key["windows"], key["device"], key["seed"], *measures)
    lab = _labs.of(own, lambda: _lab(key, where))
    if lab.recipe != recipe:
        lab.decompose(recipe, progress=_quiet)
    if key["budget"] == "measured" and lab.profile is None:
        lab.sweep(progress=_quiet)
    lab.keep(key["kept"], budget=key["budget"])
    point = lab.evaluate()
    numbers = point.as_dict() | {"harm": point.harm, "harm_error": point.harm_error}
    del numbers["seconds"]
    return {name: _known(value) for name, value in numbers.items()}


def _learned(key: Mapping, where: Mapping) -> Mapping:
    lab = _sample_labs.of((where["source"], where["learner"]), lambda: _sample_lab(where))
    if any(key[name] != own for name, own in lab.key.items()):
        raise ValueError(f"{where['source']} and {where['learner']} mean something else here; use one workbench.")
    row = lab.measure(key["n"], key["seed"]).as_row()
    return {"n": row["n"], "scores": row["scores"]}


_MEASURES = {"compression": _compressed, "learning": _learned}


def _lab(key: Mapping, where: Mapping) -> CompressionLab:
    lm = load(where["model"], key["device"])
    text = None if where["text"] is None else read_text(Path(where["text"]))
    truth = default_truth(lm) if text is None else None
    return CompressionLab(lm, *lab_windows(lm, text, None, key["windows"], key["seed"]), truth)


def _sample_lab(where: Mapping) -> SampleLab:
    return SampleLab(source_of(where["source"]), learner_of(where["learner"]))


def _check_same(key: Mapping, where: Mapping) -> None:
    """Raises ValueError if the model or the text that lies here is another one than the sweep was begun with."""
    if checkpoint_digest(where["model"]) != key["weights"]:
        raise ValueError(
            f"{where['model']} holds other files on this machine than where the sweep was begun; copy the same "
            "checkpoint there."
        )
    text = default_text_digest() if where["text"] is None else file_digest(Path(where["text"]))
    if text != key["text"]:
        which = where["text"] or "the default text, taken from Python's own library,"
        raise ValueError(f"{which} is another one on this machine than where the sweep was begun; give the same text.")


def _recipe(words: Mapping) -> Recipe:
    dims = tuple([(kind, tuple(outs), tuple(ins)) for kind, outs, ins in words["dims"]])
    return Recipe(**{**words, "dims": dims})


@contextmanager
def _on_threads(n: int) -> Iterator[None]:
    """Torch on so many threads: their number moves the last digits of a sum."""
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _known(value: object) -> object:
    """JSON has no nan and no infinity: such a number is None there."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _quiet(what: str, done: int, total: int) -> None:
    """No bars: a sweep tells of whole points."""
