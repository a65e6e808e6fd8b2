"""A transformer whose bonds can be moved, with what every move costs: the same in a script and under a widget."""

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from fnmatch import fnmatchcase
from pathlib import Path

from workbench.compress.budget import check_kept, uniform_bonds
from workbench.compress.calibrate import Calibration, calibrate
from workbench.compress.curve import Point
from workbench.compress.default_windows import default_windows
from workbench.compress.evaluate import Estimate, Evaluator
from workbench.compress.layers import BondLinear
from workbench.compress.recipe import Recipe, decompose_all
from workbench.compress.store import export
from workbench.compress.windows import Windows, windows_of_text
from workbench.decompose.protocol import Decomposition
from workbench.explore.bonds import Bonds
from workbench.explore.frame import Frame, layer_state
from workbench.explore.progress import Progress, shown, timed
from workbench.transformer.corpus import BUNDLED
from workbench.transformer.load import LanguageModel, load
from workbench.transformer.matrices import block_matrices, replace_module, shared_copy
from workbench.transformer.sampling import continuation, writing

_MAX_WINDOWS = 64
_CALIBRATION_TOKENS = 16_384


class CompressionLab:
    """One model, its block matrices decomposed once, and the present bonds.

    Setting a bond slices; nothing is decomposed again and no dense matrix is rebuilt. The model given is
    never changed: the lab runs a copy that shares its tensors. Every setting that was evaluated to the end
    stays in `curve`.
    """

    def __init__(self, lm: LanguageModel, windows: Windows, calibration_windows: Windows) -> None:
        if any(isinstance(module, BondLinear) for module in lm.model.modules()):
            raise ValueError(f"{lm.name} is compressed already; compress its dense/ instead, an ordinary checkpoint.")
        self.lm = lm
        self.matrices = block_matrices(lm.model)
        self.evaluator = Evaluator(lm.model, windows.shuffled())
        self.curve: tuple[Point, ...] = ()
        self._newest: Point | None = None
        self.recipe: Recipe | None = None
        self.bond = Bonds(lambda: self.layers, self._bond_moved)
        self._calibration_windows = calibration_windows
        self._calibration: Calibration | None = None
        self._compressed = shared_copy(lm.model)
        self._layers: dict[str, BondLinear] = {}
        self._partial: tuple[Recipe, dict[str, Decomposition]] | None = None
        self._moves = 0
        self._steps: dict[str, None] = {}  # the lines of code that led here, without those undone since
        self._default_text = False
        self._dense_samples: dict[tuple[str, int, int], str] = {}
        self.seconds: dict[str, float] = {}

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

        Without `text` it is scored and calibrated on its `default_windows`. With `text` alone, the second half is
        scored and the first half calibrates: a metric measured on the text it is judged by would flatter itself.
        """
        start = time.perf_counter()
        lm = model if isinstance(model, LanguageModel) else load(model, device)
        default_text = text is None
        if text is None:
            text, own = default_windows(lm)
            calibration = calibration or own
        windows = text if isinstance(text, Windows) else windows_of_text(lm, text)
        if calibration is None:
            calibration, windows = windows.halves()
        elif isinstance(calibration, str):
            calibration = windows_of_text(lm, calibration)
        rows = max(1, -(-_CALIBRATION_TOKENS // calibration.tokens.shape[1]))
        lab = cls(lm, windows.shuffled().rows(0, max_windows), calibration.shuffled().rows(0, rows))
        lab._default_text = default_text
        lab.seconds["load"] = time.perf_counter() - start
        return lab

    def calibrate(self, text: str | Windows | None = None, progress: Progress | None = None) -> Calibration:
        """Measures E[x xᵀ] at every matrix on the calibration text, or on another one; the next `decompose` uses it."""
        windows = self._calibration_windows if text is None else text
        windows = windows_of_text(self.lm, windows) if isinstance(windows, str) else windows
        with timed(self.seconds, "calibrate"), shown(progress) as told:
            measured = calibrate(self.lm.model, windows, told)
        if windows is not self._calibration_windows:
            self._partial = None  # what an interrupt left was measured on another text
        self._calibration_windows, self._calibration = windows, measured
        return measured

    def decompose(
        self, method: str = "svd", metric: str = "input", sites: int = 2, progress: Progress | None = None
    ) -> None:
        """Decomposes every block matrix once, uncut; interrupted, the next call with the same words goes on.

        The bonds start full. `progress` is told what is done, of how many; without it a bar is shown.
        Raises ValueError for an unknown method or metric, or non-finite weights.
        """
        recipe = Recipe(method, metric, sites) if method == "mpo" else Recipe(method, metric)  # a pair has no sites
        if recipe.needs_calibration and self._calibration is None:
            self.calibrate(progress=progress)
        if self._partial is None or self._partial[0] != recipe:
            self._partial = (recipe, {})
        with timed(self.seconds, "decompose"), shown(progress) as told:
            uncut = decompose_all(recipe, self.matrices, self._calibration, self._partial[1], told)
        layers = {name: BondLinear(matrix.module, matrix.bias, uncut[name]) for name, matrix in self.matrices.items()}
        for name, matrix in self.matrices.items():
            replace_module(self._compressed, matrix.path, layers[name])
        self._layers = layers
        self.recipe = recipe
        self._steps = {}
        self._moved("")

    @property
    def layers(self) -> dict[str, BondLinear]:
        """The running layers, by name. Raises RuntimeError before `decompose`."""
        if not self._layers:
            raise RuntimeError("nothing is decomposed yet; call lab.decompose() first.")
        return self._layers

    @property
    def present(self) -> LanguageModel:
        """The model as it is cut, to be opened by `view` and run by `activations`; its name says how it is cut.

        It is the running one: what is read of it later is as it is cut then. Its `source` gives the uncut model.
        Raises RuntimeError before `decompose`.
        """
        recipe = self._checked_recipe
        name = f"{self.lm.name} cut to {self.kept:.1%} ({recipe.method}, {recipe.metric} metric)"
        return LanguageModel(name, self.lm.source, self._compressed, self.lm.tokenizer)

    @property
    def kept(self) -> float:
        """The share of the block matrices' numbers that is stored now; set it to cut every bond alike."""
        return sum(layer.n_params for layer in self.layers.values()) / self._dense_block_params

    @kept.setter
    def kept(self, kept: float) -> None:
        self.keep(kept)

    def keep(self, kept: float, layers: str = "*") -> None:
        """Cuts the matrices whose names match the pattern, such as `*.W_in`, to a share `kept` of their numbers."""
        check_kept(kept)
        chosen = {name: layer.uncut for name, layer in self.layers.items() if fnmatchcase(name, layers)}
        if not chosen:
            raise ValueError(f"no matrix matches {layers!r}; the names are like {next(iter(self.layers))}.")
        for name, bond in uniform_bonds(chosen, kept).items():
            self.layers[name].cut(bond)
        if len(chosen) == len(self.layers):
            self._steps = {}
            self._moved(f"lab.kept = {kept!r}" if kept != 1 else "")
        else:
            self._moved(f"lab.keep({kept!r}, {layers!r})")

    def reset(self) -> None:
        """Every bond full again."""
        self.keep(1.0)

    def refine(self) -> Iterator[Point]:
        """Estimates of the present setting, from a quick one to all windows; a move of any bond ends it.

        The last one joins `curve`, in the place of an earlier one of the same setting.
        """
        moves, start, point_of = self._moves, time.perf_counter(), self._point_maker()
        for estimate in self.evaluator.estimates(self._compressed):
            if self._moves != moves:
                return
            point = point_of(estimate, time.perf_counter() - start)
            if estimate.n_windows == len(self.evaluator.windows):
                others = (old for old in self.curve if old.setting != point.setting)
                self.curve = (*others, point)
            self._newest = point
            yield point

    def evaluate(self) -> Point:
        """The present setting scored on all windows. Raises RuntimeError if a bond is moved meanwhile."""
        with timed(self.seconds, "evaluate"):
            points = list(self.refine())
        if not points or points[-1].estimate.n_windows < len(self.evaluator.windows):
            raise RuntimeError("a bond was moved while the setting was being scored; evaluate again.")
        return points[-1]

    def sample(self, prompt: str, n_tokens: int = 40, seed: int = 0) -> tuple[str, str]:
        """The continuation of `prompt` by the dense model and by the present one, with the same random draws."""
        return self.dense_sample(prompt, n_tokens, seed), continuation(
            self.lm, self._compressed, prompt, n_tokens, seed
        )

    def dense_sample(self, prompt: str, n_tokens: int = 40, seed: int = 0) -> str:
        """The continuation of `prompt` by the dense model; written once for each prompt."""
        key = (prompt, n_tokens, seed)
        if key not in self._dense_samples:
            self._dense_samples[key] = continuation(self.lm, self.lm.model, prompt, n_tokens, seed)
        return self._dense_samples[key]

    def write(self, prompt: str, n_tokens: int = 40, seed: int = 0) -> Iterator[str]:
        """The present model's continuation as it grows; a move of any bond ends it."""
        moves = self._moves
        for text in writing(self.lm, self._compressed, prompt, n_tokens, seed):
            if self._moves != moves:
                return
            yield text

    def export(self, out: str | Path) -> Path:
        """Writes the present model to the new directory `out`; `out/dense` loads in plain transformers."""
        return export(
            self.lm, self.layers, Path(out), {"recipe": asdict(self._checked_recipe), "kept_params": self.kept}
        )

    def code(self) -> str:
        """The lines of Python that make the present setting again."""
        recipe = self._checked_recipe
        sites = f", sites={recipe.sites}" if recipe.method == "mpo" else ""
        return "\n".join(
            [
                "from workbench import CompressionLab",
                f"lab = CompressionLab.from_model({self.lm.source!r}{'' if self._default_text else ', text'})",
                f"lab.decompose({recipe.method!r}, {recipe.metric!r}{sites})",
                *self._steps,
                "print(lab.evaluate().perplexity)",
            ]
        )

    def frame(self, selected: str | None = None) -> Frame:
        """The numbers of the present setting, with the spectrum of one matrix (the first by default)."""
        name = self.bond.checked(selected) if selected is not None else next(iter(self.layers))
        layer = self.layers[name]
        widest = max(layer.uncut.spectra, key=len)
        n_params = self.n_params
        return Frame(
            self.lm.name, str(self.lm.device), self._checked_recipe,
            tuple(layer_state(name, layer) for name, layer in self.layers.items()),
            selected=name, values=tuple(widest.values.tolist()), cut=min(layer.now.bond, len(widest)),
            kept_params=self.kept, n_params=n_params, dense_n_params=self.dense_n_params,
            bytes=n_params * self._item_bytes, dense_bytes=self.dense_n_params * self._item_bytes,
            dense_perplexity=self.evaluator.dense_perplexity, point=self.point, history=self.curve,
        )  # fmt: skip

    @property
    def point(self) -> Point | None:
        """The newest estimate of the present setting; None before the first."""
        return self._newest if self._newest is not None and self._newest.setting == self._setting() else None

    @property
    def n_params(self) -> int:
        """Numbers stored now, in the whole model."""
        return self.dense_n_params - self._dense_block_params + sum(layer.n_params for layer in self.layers.values())

    @property
    def dense_n_params(self) -> int:
        """Numbers of the dense model; tied tensors count once."""
        return sum(parameter.numel() for parameter in self.lm.model.parameters())

    @property
    def _dense_block_params(self) -> int:
        return sum(matrix.weight.numel() for matrix in self.matrices.values())

    @property
    def _item_bytes(self) -> int:
        return next(self.lm.model.parameters()).element_size()

    @property
    def _checked_recipe(self) -> Recipe:
        if self.recipe is None:
            raise RuntimeError("nothing is decomposed yet; call lab.decompose() first.")
        return self.recipe

    def _bond_moved(self, name: str, bond: int) -> None:
        prefix = f"lab.bond[{name!r}] = "
        self._steps = {line: None for line in self._steps if not line.startswith(prefix)}
        self._moved(f"{prefix}{bond}")

    def _moved(self, line: str) -> None:
        self._moves += 1
        if line:
            self._steps.pop(line, None)
            self._steps[line] = None

    def _setting(self) -> tuple:
        return self._checked_recipe, tuple((name, layer.now.bond) for name, layer in self.layers.items())

    def _point_maker(self) -> Callable[[Estimate, float], Point]:
        """What makes a point of an estimate and its seconds, at the setting of this moment."""
        n_params = self.n_params
        recipe, bonds = self._setting()
        kept, total, size = self.kept, n_params / self.dense_n_params, n_params * self._item_bytes
        return lambda estimate, seconds: Point(recipe, bonds, kept, total, n_params, size, estimate, seconds)
