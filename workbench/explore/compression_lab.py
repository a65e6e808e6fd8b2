"""A transformer whose bonds can be moved, with what every move costs: the same in a script and under a widget."""

import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from workbench.compress.curve import Point
from workbench.compress.default_windows import default_truth
from workbench.compress.evaluate import Evaluator, Truth
from workbench.compress.sensitivity import Profile
from workbench.compress.store import export
from workbench.compress.windows import Windows
from workbench.explore.alone_cut import AloneCut
from workbench.explore.cut_model import CutModel
from workbench.explore.frame import Frame, cut_spectrum, layer_state
from workbench.explore.lab_scores import LabScores, Setting
from workbench.explore.lab_texts import LabTexts
from workbench.explore.lab_windows import lab_windows
from workbench.explore.progress import Progress, shown, timed
from workbench.transformer.corpus import BUNDLED
from workbench.transformer.load import LanguageModel, load

_MAX_WINDOWS = 64


class CompressionLab(CutModel):
    """A model that is cut, and scored beside the dense one on text it was not calibrated on.

    It is a `CutModel`, whose bonds it scores: every setting that was evaluated to the end stays in `curve`. Where the
    `truth` is known, each score tells the nats a token above it.
    """

    def __init__(
        self, lm: LanguageModel, windows: Windows, calibration_windows: Windows, truth: Truth | None = None
    ) -> None:
        super().__init__(lm, calibration_windows)
        self.evaluator = Evaluator(lm.model, windows.shuffled(), truth)
        self.scores = LabScores(self.evaluator)
        self._default_text = False
        self._texts = LabTexts(lm, self._compressed)

    @classmethod
    def from_model(
        cls,
        model: str | Path | LanguageModel = BUNDLED,
        text: str | Windows | None = None,
        calibration: str | Windows | None = None,
        device: str = "auto",
        max_windows: int = _MAX_WINDOWS,
    ) -> "CompressionLab":
        """A lab on a model by name, path, or loaded, scored on `text` (at most `max_windows` windows).

        Without `text` it is scored and calibrated on its `default_windows`, beside the truth where that is known. With
        `text` alone, the second half is scored and the first half calibrates.
        """
        start = time.perf_counter()
        lm = model if isinstance(model, LanguageModel) else load(model, device)
        truth = default_truth(lm) if text is None else None
        lab = cls(lm, *lab_windows(lm, text, calibration, max_windows), truth)
        lab._default_text = text is None
        lab.seconds["load"] = time.perf_counter() - start
        return lab

    @property
    def present(self) -> LanguageModel:
        """The model as it is cut, to be opened by `view` and run by `activations`; its name says how it is cut.

        It is the running one: what is read of it later is as it is cut then. Its `source` gives the uncut model.
        Raises RuntimeError before `decompose`.
        """
        recipe = self._checked_recipe
        name = f"{self.lm.name} cut to {self.kept:.1%} ({recipe.method}, {recipe.metric} metric)"
        return LanguageModel(name, self.lm.source, self._compressed, self.lm.tokenizer)

    def refine(self) -> Iterator[Point]:
        """Estimates of the present setting, from a quick one to all windows; a move of any bond ends it.

        The last one joins `curve`, in the place of an earlier one of the same setting.
        """
        moves = self._moves
        yield from self.scores.refine(self._compressed, self._setting(), lambda: self._moves == moves)

    def evaluate(self) -> Point:
        """The present setting scored on all windows. Raises RuntimeError if a bond is moved meanwhile."""
        with timed(self.seconds, "evaluate"):
            points = list(self.refine())
        if not points or points[-1].estimate.n_windows < len(self.evaluator.windows):
            raise RuntimeError("a bond was moved while the setting was being scored; evaluate again.")
        return points[-1]

    def sweep(self, file: str | Path | None = None, progress: Progress | None = None) -> Profile:
        """Measures how much each matrix's bond matters, one cut at a time, for the budget `measured`.

        With a `file`, every point is kept there as it comes, and a sweep interrupted there goes on. The present setting
        is not touched. Cost: seven quick scores a matrix.
        """
        name = f"{self.lm.name}: {self._checked_recipe}, {self.evaluator.windows.n_tokens} tokens"
        profile = self.profile or (Profile(name) if file is None else Profile.load(Path(file), name))
        ladders = {name: (layer.ladder, layer.uncut.shape) for name, layer in self.layers.items()}
        alone = AloneCut(self._compressed, self.matrices, self.evaluator)
        with timed(self.seconds, "sweep"), shown(progress) as told:
            profile.measure(ladders, alone.added_loss, told, None if file is None else Path(file))
        self.profile = profile
        return profile

    def sample(self, prompt: str, n_tokens: int = 40, seed: int = 0) -> tuple[str, str]:
        """The continuation of `prompt` by the dense model and by the present one, with the same random draws."""
        return self.dense_sample(prompt, n_tokens, seed), self._texts.present(prompt, n_tokens, seed)

    def dense_sample(self, prompt: str, n_tokens: int = 40, seed: int = 0) -> str:
        """The continuation of `prompt` by the dense model; written once for each prompt."""
        return self._texts.dense(prompt, n_tokens, seed)

    def write(self, prompt: str, n_tokens: int = 40, seed: int = 0) -> Iterator[str]:
        """The present model's continuation as it grows; a move of any bond ends it."""
        moves = self._moves
        for text in self._texts.growing(prompt, n_tokens, seed):
            if self._moves != moves:
                return
            yield text

    def export(self, out: str | Path) -> Path:
        """Writes the present model to the new directory `out`; `out/dense` loads in plain transformers."""
        record = {"recipe": asdict(self._checked_recipe), "kept_params": self.kept, "after": self.repairs.done}
        return export(self.lm, self.matrices, self.layers, Path(out), record)

    def code(self) -> str:
        """The lines of Python that make the present setting again."""
        return self._code.text(self.lm.source, self._default_text, self._checked_recipe)

    def frame(self, selected: str | None = None) -> Frame:
        """The numbers of the present setting, with the spectrum of one matrix (the first by default)."""
        name = self.bond.checked(selected) if selected is not None else next(iter(self.layers))
        states = tuple([layer_state(name, layer) for name, layer in self.layers.items()])
        return Frame(
            self.lm.name, str(self.lm.device), self._checked_recipe, states, name, *cut_spectrum(self.layers[name]),
            self.sizes, self.evaluator.dense_perplexity, self.point, self.curve, self.predicted_loss, self.repairs.done,
        )  # fmt: skip

    @property
    def curve(self) -> tuple[Point, ...]:
        """Every setting that was scored to the end, oldest first."""
        return self.scores.curve

    @property
    def point(self) -> Point | None:
        """The newest estimate of the present setting; None before the first."""
        return self.scores.newest(self._setting())

    def _setting(self) -> Setting:
        bonds = tuple((name, layer.bond) for name, layer in self.layers.items())
        return Setting(self._checked_recipe, bonds, self.repairs.done, self.sizes)
