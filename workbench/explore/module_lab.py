"""Any model of the transformers library, or of torch alone, compressed at the modules that one names."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

from torch import nn

from workbench.compress.batches import Batches, calibrate_at
from workbench.compress.calibrate import Calibration
from workbench.compress.decompositions import decompose_all
from workbench.compress.kept_forms import KeptForms
from workbench.compress.layers import BondLinear
from workbench.compress.recipe import Recipe, recipe_of
from workbench.compress.similarity import OutputComparison, Similarity
from workbench.compress.slot import Slot
from workbench.compress.store import densified
from workbench.decompose.protocol import Decomposition
from workbench.explore.allocation import Limit, allocate, matching
from workbench.explore.bonds import Bonds
from workbench.explore.lab_sizes import LabSizes
from workbench.explore.progress import Progress, shown, timed
from workbench.transformer.load import no_progress_bar
from workbench.transformer.matrices import replace_module, shared_copy
from workbench.transformer.named_matrices import matrices_at
from workbench.whole_files import check_room, new_directory

BUDGETS = ("uniform", "global")

Score = Callable[[nn.Module], float]


@dataclass(frozen=True)
class ModulePoint:
    """One setting of the bonds: what it stores, how near its outputs are to the dense model's, and how it scores.

    `kept_params` is the share of the named matrices' numbers; `n_params` and `bytes` are of the whole model. `score`
    and `dense_score` are what the given metric says of both models, None without one.
    """

    recipe: Recipe
    bonds: tuple[tuple[str, int], ...]
    kept_params: float
    n_params: int
    bytes: int
    similarity: Similarity
    score: float | None
    dense_score: float | None

    def as_dict(self) -> dict:
        """Every number by name, for JSON."""
        row = {name: value for name, value in vars(self).items() if name not in ("recipe", "bonds", "similarity")}
        return asdict(self.recipe) | row | {"bonds": dict(self.bonds)} | asdict(self.similarity)


class ModuleLab:
    """A model of any kind, the matrices of its named modules decomposed once, and the present bonds.

    `modules` are paths or patterns, such as `*.attention.*`, of `Linear` and `Conv1D` modules; `inputs` are batches of
    keyword arguments for `model(**batch)`. The first half of them calibrates and the second is held out, unless
    `calibration` has batches of its own. On those held out the main output (`logits`, `last_hidden_state`, or the first
    tensor) is compared with the dense model's, and `score`, a measure of your own such as an accuracy, is asked.
    The model given is never changed, and runs without dropout. Setting a bond slices; nothing is decomposed again.
    Raises ValueError for a module that the held-out batches never reach, and what `matrices_at` raises.
    """

    def __init__(
        self,
        model: nn.Module,
        modules: str | Sequence[str],
        inputs: Sequence[Mapping],
        calibration: Sequence[Mapping] | None = None,
        score: Score | None = None,
    ) -> None:
        if any(isinstance(module, BondLinear) for module in model.modules()):
            raise ValueError(f"this {type(model).__name__} is compressed already; compress the dense one instead.")
        batches = Batches(tuple(inputs))
        self._calibration_batches, held_out = (
            batches.halves() if calibration is None else (Batches(tuple(calibration)), batches)
        )
        self._dense = shared_copy(model).eval()
        self.matrices = matrices_at(self._dense, modules)
        self.model = shared_copy(self._dense)
        self._slots = {name: Slot(matrix.module) for name, matrix in self.matrices.items()}
        for name, slot in self._slots.items():
            replace_module(self.model, name, slot)
        self._comparison = OutputComparison(self.model, held_out)  # nothing is cut yet
        self._check_called()
        self._comparison.check_finite()
        self.recipe: Recipe | None = None
        self.calibration: Calibration | None = None
        self.bond = Bonds(lambda: self.layers, lambda: None, lambda name, bond: None)
        self.seconds: dict[str, float] = {}
        self._score = score
        self._layers: dict[str, BondLinear] = {}
        self._partial: tuple[Recipe, dict[str, Decomposition]] | None = None

    def calibrate(self, progress: Progress | None = None) -> Calibration:
        """Measures the moments of what every named matrix receives from the calibration batches."""
        with timed(self.seconds, "calibrate"), shown(progress) as told:
            self.calibration = calibrate_at(self._dense, self.matrices, self._calibration_batches, told)
        return self.calibration

    def decompose(
        self,
        method: str | Recipe = "svd",
        metric: str = "input",
        sites: int = 2,
        progress: Progress | None = None,
        cache: str | Path | None = None,
    ) -> None:
        """Decomposes every named matrix once, uncut; interrupted, the next call with the same words goes on.

        With a `cache` directory what is finished is kept there, and found again by any later run on the same numbers.
        The bonds start full. Raises ValueError for an unknown method or metric, for one that knows the matrices of a
        language model's blocks or its loss (`tucker`, a table, `two-sided`), and for non-finite weights.
        """
        recipe = recipe_of(method, metric, sites)
        _check_general(recipe)
        if recipe.needs_calibration and self.calibration is None:
            self.calibrate(progress)
        if self._partial is None or self._partial[0] != recipe:
            self._partial = (recipe, {})
        with timed(self.seconds, "decompose"), shown(progress) as told:
            kept = None if cache is None else KeptForms(Path(cache))
            uncut = decompose_all(recipe, self.matrices, self.calibration, self._partial[1], told, kept)
        self._layers = {
            name: BondLinear(matrix.module, matrix.bias, uncut[name]) for name, matrix in self.matrices.items()
        }
        for name, layer in self._layers.items():
            self._slots[name].runs = layer
        self.recipe = recipe

    @property
    def layers(self) -> dict[str, BondLinear]:
        """The running layers, by path. Raises RuntimeError before `decompose`."""
        if not self._layers:
            raise RuntimeError("nothing is decomposed yet; call lab.decompose() first.")
        return self._layers

    @property
    def kept(self) -> float:
        """The share that is stored now of the named matrices' numbers. Set it to cut them all within the budget."""
        return self.sizes.kept

    @kept.setter
    def kept(self, kept: float) -> None:
        self.keep(kept)

    @property
    def sizes(self) -> LabSizes:
        """What is stored now, counted."""
        return LabSizes.of(self._dense, self.matrices, self.layers, None)

    @cached_property
    def dense_score(self) -> float | None:
        """What the given metric says of the dense model; asked once. None without one."""
        return None if self._score is None else float(self._score(self._dense))

    def keep(self, kept: float | Limit, modules: str = "*", budget: str = "uniform") -> None:
        """Cuts the named modules that match to a share of their numbers, or to a `Limit`: all alike (`uniform`), or
        those that do least harm together, as the decompositions predict it (`global`).

        Raises ValueError for a pattern that matches none, another budget, or a limit below the smallest possible:
        nothing moves.
        """
        if budget not in BUDGETS:
            raise ValueError(f"any model's modules share a budget {' or '.join(BUDGETS)}, not {budget!r}.")
        chosen, sizes = matching(self.layers, modules), self.sizes
        staying = sum(layer.n_params for name, layer in self.layers.items() if name not in chosen)
        limit = kept if isinstance(kept, Limit) else Limit(kept)
        bonds = allocate(budget, chosen, limit, sizes.other_params + staying, sizes.item_bytes, None)
        for name, bond in bonds.items():
            chosen[name].cut(bond)

    def reset(self) -> None:
        """Every bond full again."""
        self.keep(1.0)

    def evaluate(self) -> ModulePoint:
        """The present setting compared with the dense model on the held-out batches, and scored if there is a metric.

        Cost: one forward pass over them, and what the metric takes.
        """
        sizes = self.sizes
        assert self.recipe is not None
        with timed(self.seconds, "evaluate"):
            similarity = self._comparison.similarity(self.model)
            score = None if self._score is None else float(self._score(self.model))
        bonds = tuple([(name, layer.bond) for name, layer in self.layers.items()])
        return ModulePoint(
            self.recipe, bonds, sizes.kept, sizes.n_params, sizes.bytes, similarity, score, self.dense_score
        )

    def export(self, out: str | Path) -> Path:
        """Writes the present model, its matrices multiplied out, as a checkpoint of the model's own class.

        `out` is a new directory and loads in plain transformers. All or nothing. Raises FileExistsError if it exists,
        OSError if its disk has no room, and TypeError for a model that the transformers library cannot save.
        """
        dense = densified(self._dense, self.matrices, self.layers)
        if not hasattr(dense, "save_pretrained"):
            raise TypeError(f"a {type(dense).__name__} has no save_pretrained; keep the state_dict of lab.model.")
        if not Path(out).exists():
            check_room(Path(out), sum(tensor.nbytes for tensor in dense.parameters()))
        with new_directory(Path(out)) as temporary, no_progress_bar():
            dense.save_pretrained(temporary)  # pyright: ignore[reportCallIssue]
        return Path(out)

    def _check_called(self) -> None:
        """Raises ValueError for a module that was never called while the dense outputs were made."""
        for name, slot in self._slots.items():
            if not slot.n_calls:
                raise ValueError(
                    f"{name} was never called on the held-out batches: they do not use it, or its parent multiplies "
                    "with its weight itself, as fused attention does; leave it out."
                )


def _check_general(recipe: Recipe) -> None:
    """Raises ValueError for a recipe that only the blocks of a language model can follow."""
    if recipe.method == "tucker":
        raise ValueError(
            "tucker stacks the heads of attention matrices, which it knows by their names in a language model's block; "
            "give svd, mpo, kronecker, cp or ring."
        )
    if recipe.needs_gradients:
        raise ValueError(
            "the two-sided metric needs the gradients of a loss, and any model's outputs have none; give input, "
            "diagonal or plain."
        )
    if recipe.table != "whole":
        raise ValueError(f"a token table ({recipe.table!r}) is no named module; leave it whole.")
