"""A model whose block matrices are decomposed, cut, and repaired: what can be done to it, without a score."""

from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

from workbench.compress.calibrate import Calibration
from workbench.compress.compensate import compensate
from workbench.compress.heal import Healing
from workbench.compress.heal_recipe import HealRecipe, HealReport, HealStep
from workbench.compress.layers import BondLinear
from workbench.compress.quantise import quantise_layers
from workbench.compress.recipe import Recipe
from workbench.compress.sensitivity import Profile
from workbench.compress.windows import Windows
from workbench.explore.allocation import Limit, allocate, check_budget
from workbench.explore.bonds import Bonds
from workbench.explore.lab_calibration import LabCalibration
from workbench.explore.lab_code import LabCode
from workbench.explore.lab_sizes import LabSizes
from workbench.explore.progress import Progress, shown, timed
from workbench.explore.repairs import Repairs
from workbench.transformer.load import LanguageModel
from workbench.transformer.matrices import block_matrices, replace_module, shared_copy


class CutModel:
    """One model, its block matrices decomposed once, and the present bonds: the part of a lab that changes the model.

    Setting a bond slices; nothing is decomposed again and no dense matrix is rebuilt. The model given is never changed:
    what is cut is a copy that shares its tensors. What is done to a setting beyond cutting (`compensate`, `heal`,
    `quantise`) belongs to it: a move of a bond leaves it, and `undo` comes back.
    """

    def __init__(self, lm: LanguageModel, calibration_windows: Windows) -> None:
        if any(isinstance(module, BondLinear) for module in lm.model.modules()):
            raise ValueError(f"{lm.name} is compressed already; compress its dense/ instead, an ordinary checkpoint.")
        self.lm = lm
        self.matrices = block_matrices(lm.model)
        self.recipe: Recipe | None = None
        self.profile: Profile | None = None
        self.healed: HealReport | None = None
        self.repairs = Repairs()
        self.bond = Bonds(lambda: self.layers, self.repairs.leave, self._bond_moved)
        self.seconds: dict[str, float] = {}
        self._budget = "uniform"
        self._calibration = LabCalibration(lm, calibration_windows)
        self._compressed = shared_copy(lm.model)
        self._layers: dict[str, BondLinear] = {}
        self._moves = 0
        self._code = LabCode()

    def calibrate(
        self, text: str | Windows | None = None, progress: Progress | None = None, gradients: bool = False
    ) -> Calibration:
        """Measures the moments at every matrix on the calibration text, or on another one, and those of the loss's
        gradients if asked for; the next `decompose` uses them.
        """
        with timed(self.seconds, "calibrate"), shown(progress) as told:
            return self._calibration.measure(text, gradients, told)

    def decompose(
        self,
        method: str | Recipe = "svd",
        metric: str = "input",
        sites: int = 2,
        progress: Progress | None = None,
    ) -> None:
        """Decomposes every block matrix once, uncut; interrupted, the next call with the same words goes on.

        The bonds start full. A `Recipe` says more than a method and a metric can. `progress` is told what is done, of
        how many; without it a bar is shown.
        Raises ValueError for an unknown method or metric, or non-finite weights.
        """
        recipe = method if isinstance(method, Recipe) else Recipe(method, metric, sites if method == "mpo" else 2)
        if self._calibration.lacks(recipe):
            self.calibrate(progress=progress, gradients=recipe.needs_gradients)
        with timed(self.seconds, "decompose"), shown(progress) as told:
            uncut = self._calibration.decompose(recipe, self.matrices, told)
        layers = {name: BondLinear(matrix.module, matrix.bias, uncut[name]) for name, matrix in self.matrices.items()}
        for name, matrix in self.matrices.items():
            replace_module(self._compressed, matrix.path, layers[name])
        self._layers, self.recipe, self.profile = layers, recipe, None
        self.repairs.begin(layers)
        self._code.clear()
        self._moves += 1

    @property
    def layers(self) -> dict[str, BondLinear]:
        """The running layers, by name. Raises RuntimeError before `decompose`."""
        if not self._layers:
            raise RuntimeError("nothing is decomposed yet; call lab.decompose() first.")
        return self._layers

    @property
    def kept(self) -> float:
        """The share of the block matrices' numbers that is stored now; set it to cut them all within the budget."""
        return self.sizes.kept

    @kept.setter
    def kept(self, kept: float) -> None:
        self.keep(kept)

    @property
    def budget(self) -> str:
        """How a limit becomes bonds: `uniform`, `global` or `measured`; what `keep` uses if nothing else is said."""
        return self._budget

    @budget.setter
    def budget(self, budget: str) -> None:
        check_budget(budget)
        self._budget = budget

    def keep(self, kept: float | Limit, layers: str = "*", budget: str | None = None) -> None:
        """Cuts the matrices whose names match, such as `*.W_in`, to a share of their numbers, or to a `Limit`.

        Raises ValueError for a pattern that matches nothing, or a limit below the smallest possible: nothing moves.
        """
        chosen = {name: layer for name, layer in self.layers.items() if fnmatchcase(name, layers)}
        if not chosen:
            raise ValueError(f"no matrix matches {layers!r}; the names are like {next(iter(self.layers))}.")
        limit, own = kept if isinstance(kept, Limit) else Limit(kept), budget or self.budget
        sizes = self.sizes
        others = sizes.n_params - sum(layer.n_params for layer in chosen.values())
        bonds = allocate(own, chosen, limit, others, sizes.item_bytes, self.profile)
        self.repairs.leave()
        for name, bond in bonds.items():
            self.layers[name].cut(bond)
        self._code.kept(limit, "*" if len(chosen) == len(self.layers) else layers, own)
        self._moves += 1

    def reset(self) -> None:
        """Every bond full again."""
        self.keep(1.0)

    def compensate(self, progress: Progress | None = None) -> None:
        """Fits every cut matrix again behind the cut ones before it, in closed form; bonds and sizes stay."""
        metrics, windows = self._calibration.measured, self._calibration.windows
        with self.repairs.step("compensated"), timed(self.seconds, "compensate"), shown(progress) as told:
            compensate(self.lm.model, self._compressed, self.matrices, windows, metrics, told)
        self._code.add("lab.compensate()")
        self._moves += 1

    def healing(
        self, recipe: int | HealRecipe = 100, checkpoint: str | Path | None = None, progress: Progress | None = None
    ) -> Iterator[HealStep]:
        """Steps of healing: the cut matrices learn to say what the dense model says, on the calibration text.

        Whoever leaves the loop keeps the best state so far; a move of a bond ends it. With a `checkpoint` directory a
        run goes on after a restart. `healed` then tells how it went.
        """
        steps = recipe if isinstance(recipe, HealRecipe) else HealRecipe(recipe)
        windows, before = self._calibration.windows, self.repairs.mark()
        run = Healing(self._compressed, self.lm.model, self.layers, windows, steps, checkpoint)
        self._moves += 1
        moves = self._moves
        try:
            yield from run.run(progress)
        finally:
            self.healed = run.report
            if run.report.best_step and self._moves == moves:
                self.repairs.took(before, f"healed {run.report.best_step} steps")
                self._code.add(f"lab.heal({steps.steps})")
                self._moves += 1

    def heal(
        self, recipe: int | HealRecipe = 100, checkpoint: str | Path | None = None, progress: Progress | None = None
    ) -> HealReport:
        """Heals for so many steps and tells how it went; never worse than before on rows held back."""
        with timed(self.seconds, "heal"), shown(progress) as told:
            for step in self.healing(recipe, checkpoint, told):
                told("heal", step.step, recipe if isinstance(recipe, int) else recipe.steps)
        assert self.healed is not None
        return self.healed

    def quantise(self, bits: int) -> None:
        """Rounds the stored numbers of every block matrix to 8 or 4 bits, cut or whole; `sizes` counts the bytes.

        They run as floats, and are exported as such. Raises ValueError for other bits.
        """
        with self.repairs.step(f"int{bits}"):
            self.repairs.bytes = quantise_layers(self.layers, self.matrices, bits)
        self._code.add(f"lab.quantise({bits})")
        self._moves += 1

    def undo(self) -> None:
        """Takes back the last of `compensate`, `heal` and `quantise`, or the move of a bond that left them."""
        self.repairs.undo()
        self._moves += 1

    @property
    def predicted_loss(self) -> float | None:
        """The loss that this cut is predicted to add, in nats a token, to second order; None where none is predicted.

        Only the two-sided metric speaks of the loss, and of nothing that was done beyond cutting. It takes matrices one
        by one and errors as small: of a small cut it is right, of a large one much too hopeful.
        """
        if self._checked_recipe.metric != "two-sided" or self.repairs.done:
            return None
        return sum(layer.now.error_bound() ** 2 / 2 for layer in self.layers.values() if not layer.bypassed)

    @property
    def sizes(self) -> LabSizes:
        """What is stored now, counted."""
        return LabSizes.of(self.lm, self.layers, self.repairs.bytes)

    @property
    def _checked_recipe(self) -> Recipe:
        if self.recipe is None:
            raise RuntimeError("nothing is decomposed yet; call lab.decompose() first.")
        return self.recipe

    def _bond_moved(self, name: str, bond: int | tuple[int, ...]) -> None:
        self._code.moved(name, bond)
        self._moves += 1
