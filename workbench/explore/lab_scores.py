"""The settings of a lab that were scored, and those that are being scored."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from torch import nn

from workbench.compress.curve import Point
from workbench.compress.evaluate import Evaluator
from workbench.compress.recipe import Recipe
from workbench.explore.lab_sizes import LabSizes


@dataclass(frozen=True)
class Setting:
    """What is scored: the recipe, the bonds, what was done beyond cutting, and what all that stores."""

    recipe: Recipe
    bonds: tuple[tuple[str, int], ...]
    after: tuple[str, ...]
    sizes: LabSizes


class LabScores:
    """Points as they are measured: `curve` holds the settled ones, oldest first."""

    def __init__(self, evaluator: Evaluator) -> None:
        self.curve: tuple[Point, ...] = ()
        self._evaluator = evaluator
        self._newest: Point | None = None

    def refine(self, model: nn.Module, setting: Setting, stands: Callable[[], bool]) -> Iterator[Point]:
        """Points of a setting, from a quick one to all windows, for as long as it `stands`."""
        start, sizes = time.perf_counter(), setting.sizes
        counted = sizes.kept, sizes.n_params / sizes.dense_n_params, sizes.n_params, sizes.bytes
        for estimate in self._evaluator.estimates(model):
            if not stands():
                return
            seconds = time.perf_counter() - start
            point = Point(setting.recipe, setting.bonds, setting.after, *counted, estimate, seconds)
            if estimate.n_windows == len(self._evaluator.windows):
                self.curve = (*(old for old in self.curve if old.setting != point.setting), point)
            self._newest = point
            yield point

    def newest(self, setting: Setting) -> Point | None:
        """The newest point, if it is of this setting."""
        point = self._newest
        same = point is not None and point.setting == (setting.recipe, setting.bonds, setting.after)
        return point if same else None
