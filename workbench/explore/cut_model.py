"""A model whose block matrices, and token table if asked for, are decomposed, cut, and repaired; without a score."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from workbench.compress.calibrate import Calibration
from workbench.compress.compensate import compensate
from workbench.compress.heal import Healing
from workbench.compress.heal_recipe import HealRecipe, HealReport, HealStep
from workbench.compress.layers import BondLinear
from workbench.compress.quantise import quantise_layers
from workbench.compress.recipe import Recipe, recipe_of
from workbench.compress.sensitivity import Profile
from workbench.compress.windows import Windows
from workbench.explore.allocation import Limit, allocate, check_budget, matching
from workbench.explore.bonds import Bonds
from workbench.explore.lab_calibration import LabCalibration
from workbench.explore.lab_code import LabCode
from workbench.explore.lab_sizes import LabSizes
from workbench.explore.progress import Progress, shown, timed
from workbench.explore.repairs import Repairs
from workbench.transformer.load import LanguageModel
from workbench.transformer.matrices import block_matrices, shared_copy
from workbench.transformer.tables import place_layer, restore_tables, table_matrices, untied_by


class CutModel:
    """One model, its block matrices decomposed once, its token table too if the recipe says so, and the present bonds:
    the part of a lab that changes the model.

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
        self,
        text: str | Windows | None = None,
        progress: Progress | None = None,
        gradients: bool = False,
        table: bool = False,
    ) -> Calibration:
        """Measures the moments at every matrix on the calibration text, or on another one, and those of the loss's
        gradients and of the token table if asked for; the next `decompose` uses them.
        """
        with timed(self.seconds, "calibrate"), shown(progress) as told:
            return self._calibration.measure(text, gradients, table, told)

    def decompose(
        self,
        method: str | Recipe = "svd",
        metric: str = "input",
        sites: int = 2,
        progress: Progress | None = None,
        cache: str | Path | None = None,
    ) -> None:
        """Decomposes every block matrix once, uncut; interrupted, the next call with the same words goes on.

        With a `cache` directory what is finished is kept there, and found again by any later run on the same numbers.
        The bonds start full. A `Recipe` says more than a method and a metric can, such as that the token table has a
        bond too. `progress` is told what is done, of how many; without it a bar is shown.
        Raises ValueError for an unknown method or metric, non-finite weights, or a table that cannot have a bond.
        """
        recipe = recipe_of(method, metric, sites)
        matrices = block_matrices(self.lm.model) | table_matrices(self.lm.model, recipe.table)
        if self._calibration.lacks(recipe):
            gradients, table = self._calibration.wants(recipe)
            self.calibrate(progress=progress, gradients=gradients, table=table)
        with timed(self.seconds, "decompose"), shown(progress) as told:
            uncut = self._calibration.decompose(recipe, matrices, told, cache)
        layers = {name: BondLinear(matrix.module, matrix.bias, uncut[name]) for name, matrix in matrices.items()}
        restore_tables(self._compressed, self.lm.model, self.matrices)
        for name, matrix in matrices.items():
            place_layer(self._compressed, matrix, layers[name])
        self.matrices, self._layers, self.recipe, self.profile = matrices, layers, recipe, None
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
        """The share that is stored now of the numbers of the matrices with a bond: those of the blocks, and the token
        table if the recipe says so. Set it to cut them all within the budget.
        """
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

        A table that is only looked up is left whole where its cut would add to what is limited: multiply-adds, of
        which a lookup has none, and of a tied model numbers and bytes too, since the head keeps the table.
        Raises ValueError for a pattern that matches nothing, or nothing else than that, or a limit below the smallest
        possible: nothing moves.
        """
        chosen = matching(self.layers, layers)
        limit, own = kept if isinstance(kept, Limit) else Limit(kept), budget or self.budget
        whole = self._spared(limit)
        spared = {name: layer.uncut.full_bond for name, layer in chosen.items() if name in whole}
        free = {name: layer for name, layer in chosen.items() if name not in whole}
        if not free:
            raise ValueError(
                f"{', '.join(spared)} is only looked up, and a cut of it {limit.told}; limit the share kept."
            )
        bonds = spared | allocate(own, free, limit, self._others(free, spared), self.sizes.item_bytes, self.profile)
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
        """Rounds the stored numbers of every matrix with a bond to 8 or 4 bits, cut or whole; `sizes` counts the bytes.

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
        return LabSizes.of(self.lm.model, self.matrices, self.layers, self.repairs.bytes)

    def _spared(self, limit: Limit) -> tuple[str, ...]:
        """The tables whose cut would add to what is limited."""
        if limit.multiply_adds is not None:
            return tuple([name for name, matrix in self.matrices.items() if not matrix.applied])
        return () if limit.kept is not None else untied_by(self.lm.model, self.matrices)

    def _others(self, free: Mapping[str, BondLinear], spared: Mapping[str, int]) -> int:
        """Numbers of the model besides the `free` matrices, once those `spared` are whole."""
        staying = (layer.dense_params if name in spared else layer.n_params for name, layer in self.layers.items()
                   if name not in free)  # fmt: skip
        sizes = self.sizes
        return sizes.other_params + sum(staying) + (0 if spared else sizes.untied_params)

    @property
    def _checked_recipe(self) -> Recipe:
        if self.recipe is None:
            raise RuntimeError("nothing is decomposed yet; call lab.decompose() first.")
        return self.recipe

    def _bond_moved(self, name: str, bond: int | tuple[int, ...]) -> None:
        self._code.moved(name, bond)
        self._moves += 1
