"""A model's calibration and its decomposition, each made once and kept; what an interrupt left is gone on with."""

from collections.abc import Mapping
from pathlib import Path

from workbench.compress.calibrate import Calibration, calibrate
from workbench.compress.decompositions import decompose_all
from workbench.compress.kept_forms import KeptForms
from workbench.compress.recipe import Recipe
from workbench.compress.windows import Windows, windows_of_text
from workbench.decompose.protocol import Decomposition
from workbench.explore.progress import Progress
from workbench.transformer.load import LanguageModel
from workbench.transformer.matrices import BlockMatrix


class LabCalibration:
    """The calibration windows of a lab, what was measured on them, and the matrices decomposed so far."""

    def __init__(self, lm: LanguageModel, windows: Windows) -> None:
        self._lm = lm
        self.windows = windows
        self.measured: Calibration | None = None
        self._partial: tuple[tuple[Recipe, KeptForms | None], dict[str, Decomposition]] | None = None

    def measure(self, text: str | Windows | None, gradients: bool, table: bool, progress: Progress) -> Calibration:
        """The moments on the calibration windows, or on others, which from then on are the calibration windows."""
        windows = self.windows if text is None else text
        windows = windows_of_text(self._lm, windows) if isinstance(windows, str) else windows
        measured = calibrate(self._lm.model, windows, gradients, progress=progress, table=table)
        if windows is not self.windows:
            self._partial = None  # what an interrupt left was measured on another text
        self.windows, self.measured = windows, measured
        return measured

    def lacks(self, recipe: Recipe) -> bool:
        """Whether the recipe's metric needs moments that were not measured yet."""
        if self.measured is None:
            return recipe.needs_calibration
        return self.wants(recipe) != (self.measured.two_sided, self.measured.table is not None)

    def wants(self, recipe: Recipe) -> tuple[bool, bool]:
        """Whether gradients, and whether the token table, are to be measured: for the recipe, or as before."""
        table = recipe.needs_calibration and recipe.table != "whole"
        if self.measured is None:
            return recipe.needs_gradients, table
        return recipe.needs_gradients or self.measured.two_sided, table or self.measured.table is not None

    def decompose(
        self,
        recipe: Recipe,
        matrices: Mapping[str, BlockMatrix],
        progress: Progress,
        cache: str | Path | None = None,
    ) -> dict[str, Decomposition]:
        """Every matrix uncut; interrupted, the next call with the same recipe goes on, and with a `cache` directory any
        later one.
        """
        kept = None if cache is None else KeptForms(Path(cache))
        if self._partial is None or self._partial[0] != (recipe, kept):
            self._partial = ((recipe, kept), {})
        return decompose_all(recipe, matrices, self.measured, self._partial[1], progress, kept)
