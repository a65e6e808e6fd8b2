"""One weight matrix in every format, cut to one share of its numbers, and judged in every metric."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.compress.calibrate import Calibration, calibrate
from workbench.compress.decompositions import decomposition
from workbench.compress.default_windows import default_windows
from workbench.compress.methods.tucker import READS_HEADS, WRITES_HEADS
from workbench.compress.recipe import Recipe
from workbench.decompose.low_rank import LowRank
from workbench.decompose.metric import Metric
from workbench.decompose.operator import TrainOperator
from workbench.decompose.protocol import Decomposition
from workbench.explore.bonds import checked_name
from workbench.explore.lab_windows import enough_to_calibrate
from workbench.transformer.load import LanguageModel, load
from workbench.transformer.matrices import block_matrices

METRICS = ("plain", "input", "two-sided")
FORMATS: Mapping[str, Recipe] = {
    "svd": Recipe("svd", "plain"),
    "svd, gauge-fixed": Recipe("svd", "plain", gauge_fixed=True),
    "svd, input": Recipe("svd", "input"),
    "svd, two-sided": Recipe("svd", "two-sided"),
    "mpo of 2 sites": Recipe("mpo", "plain", 2),
    "mpo of 3 sites": Recipe("mpo", "plain", 3),
    "kronecker": Recipe("kronecker", "plain"),
}
TUCKER = "tucker of heads"  # of attention matrices only: the others have no heads


@dataclass(frozen=True)
class Sheets:
    """A tensor of numbers as `n` equal matrices: the slices that its legs beyond two count."""

    n: int
    rows: int
    columns: int


@dataclass(frozen=True)
class FormatState:
    """One format at its present bond: the shapes of its tensors, what they store and cost, and what they drop.

    `sheets` are the same tensors as matrices, those of a core (left, out, in, right) one for each (left, right).
    `multiply_adds` are those of one row of inputs through the factors, `fewest` those of the cheapest way there is,
    once it is made: the factors, cores merged into a pair, or the whole matrix multiplied out. `errors` are relative to
    the weight, each in its metric: plain, of the outputs, and as the loss feels them.
    """

    name: str
    method: str
    metric: str
    shapes: tuple[tuple[int, ...], ...]
    sheets: tuple[Sheets, ...]
    bond: int
    n_params: int
    multiply_adds: int
    fewest: int
    errors: Mapping[str, float]


@dataclass(frozen=True)
class WeightFrame:
    """All formats of one matrix, each at the largest bond that stores at most the share `kept` of its numbers.

    One whose smallest bond stores more stands at that: `n_params` tells.
    """

    model: str
    matrix: str
    shape: tuple[int, int]
    kept: float
    formats: tuple[FormatState, ...]

    def __str__(self) -> str:
        dense = math.prod(self.shape)
        lines = [
            f"{self.model}, {self.matrix}: {self.shape[0]} × {self.shape[1]}, at most {self.kept:.0%} of {dense:,}"
        ]
        for own in self.formats:
            errors = ", ".join(f"{metric} {error:.3f}" for metric, error in own.errors.items())
            lines.append(
                f"{own.name:<17} bond {own.bond:>4}, {own.n_params:>7,} numbers, "
                f"{own.multiply_adds / dense:>6.2f} of dense multiply-adds ({own.fewest / dense:.2f} at best); "
                f"relative error: {errors}"
            )
        return "\n".join(lines)


@dataclass(frozen=True)
class GaugeFrame:
    """One pair in two gauges, and with its gauge fixed: other numbers, the same matrix.

    `corner` is the upper left of `left`, as decomposed and turned. `changed` is how far the factors moved and
    `product_change` how far their product did, relative, as `fixed_change` is of the pair whose pivots are fixed.
    """

    bond: int
    corner: tuple[tuple[float, ...], ...]
    turned_corner: tuple[tuple[float, ...], ...]
    changed: float
    product_change: float
    n_params: int
    fixed_n_params: int
    fixed_change: float

    def __str__(self) -> str:
        rows = [
            f"{_numbers(before)}   →   {_numbers(after)}"
            for before, after in zip(self.corner, self.turned_corner, strict=True)
        ]
        return "\n".join(
            [
                f"a pair of rank {self.bond}, its upper left corner before and after a change of basis at the bond:",
                *rows,
                f"the left factor changed by {self.changed:.0%}, the product by {self.product_change:.1e}",
                f"gauge fixed: {self.n_params:,} − {self.n_params - self.fixed_n_params:,} = "
                f"{self.fixed_n_params:,} numbers, the product changed by {self.fixed_change:.1e}",
            ]
        )


class WeightLab:
    """One matrix of a model, decomposed once in every format; any share is then a slice.

    Calibrates on the model's default windows, about 16,384 tokens, gradients and all, unless a calibration is given.
    Raises ValueError for a matrix that the model has not.
    """

    def __init__(
        self, lm: LanguageModel | str, matrix: str = "blocks.3.mlp.W_in", calibration: Calibration | None = None
    ) -> None:
        self.lm = load(lm) if isinstance(lm, str) else lm
        matrices = block_matrices(self.lm.model)
        self.matrix = matrices[checked_name(matrix, list(matrices))]
        if calibration is None:
            windows = enough_to_calibrate(default_windows(self.lm)[1])
            calibration = calibrate(self.lm.model, windows, gradients=True)
        self.metrics = {kind: calibration.metric(matrix, kind) for kind in METRICS}
        self.recipes = dict(FORMATS)
        if self.matrix.kind in WRITES_HEADS + READS_HEADS:
            self.recipes[TUCKER] = Recipe("tucker", "plain")
        self.uncut: dict[str, Decomposition] = {
            name: decomposition(recipe, self.matrix, self.metrics[recipe.metric])
            for name, recipe in self.recipes.items()
        }

    @property
    def weight(self) -> Float[Tensor, "out in"]:
        """The matrix itself."""
        return self.matrix.weight

    def cut(self, name: str, kept: float) -> Decomposition:
        """A format at the largest bond that stores at most this share of the matrix's numbers, or at the smallest.

        Raises ValueError for a share that is not above 0 and at most 1.
        """
        if not 0 < kept <= 1:
            raise ValueError(f"a share of the numbers is above 0 and at most 1, not {kept}.")
        uncut = self.uncut[name]
        return uncut.truncate(uncut.bond_within(kept * self.weight.numel()))

    def frame(self, kept: float) -> WeightFrame:
        """Every format at one share."""
        states = tuple([self._state(name, self.cut(name, kept)) for name in self.uncut])
        out, n_in = self.weight.shape
        return WeightFrame(self.lm.name, self.matrix.name, (out, n_in), kept, states)

    def errors(self, form: Decomposition) -> dict[str, float]:
        """What a form drops of the weight, relative to it, in each metric."""
        weight = self.weight.double()
        difference = weight - form.dense().double()
        return {kind: relative(metric, difference, weight) for kind, metric in self.metrics.items()}

    def curves(self, bonds: list[int]) -> dict[str, dict[str, list[float]]]:
        """For the pair that is best in each metric, its relative error in each metric, at these bonds."""
        pairs = {
            "plain": self.uncut["svd"],
            "input": self.uncut["svd, input"],
            "two-sided": self.uncut["svd, two-sided"],
        }
        found: dict[str, dict[str, list[float]]] = {}
        for best_in, pair in pairs.items():
            judged = [self.errors(pair.truncate(min(bond, pair.full_bond))) for bond in bonds]
            found[best_in] = {kind: [one[kind] for one in judged] for kind in METRICS}
        return found

    def turned(self, bond: int, seed: int = 0) -> tuple[LowRank, LowRank]:
        """The plain pair at a bond, and the same product in another gauge: `left @ M` and `M⁻¹ @ right`."""
        pair = self.uncut["svd"].truncate(bond)
        assert isinstance(pair, LowRank)
        generator = torch.Generator().manual_seed(seed)
        m = torch.randn(bond, bond, generator=generator, dtype=torch.float64).to(self.weight.device)
        q, r = torch.linalg.qr(m)
        m = q @ (torch.eye(bond, dtype=m.dtype, device=m.device) + r / (4 * bond**0.5))  # far from singular
        left = (pair.left.double() @ m).to(pair.left)
        right = torch.linalg.solve(m, pair.right.double()).to(pair.right)
        return pair, LowRank(left, right, pair.spectrum)

    def gauge(self, bond: int, seed: int = 0) -> GaugeFrame:
        """What a change of basis at the bond does to a pair, and what is left of the pair once none is possible."""
        pair, turned = self.turned(bond, seed)
        fixed, product = pair.fixed(), pair.dense().double()
        return GaugeFrame(
            bond, _corner(pair.left), _corner(turned.left), _change(pair.left, turned.left),
            _change(product, turned.dense()), pair.n_params, fixed.n_params, _change(product, fixed.dense()),
        )  # fmt: skip

    def _state(self, name: str, form: Decomposition) -> FormatState:
        recipe, dense = self.recipes[name], self.weight.numel()
        stored = form.fixed() if isinstance(form, LowRank) and form.gauge_fixed else form
        tensors = stored.cores if isinstance(stored, TrainOperator) else stored.tensors().values()
        shapes = tuple([tuple(tensor.shape) for tensor in tensors])
        cost, (merging, merged) = stored.apply_cost(), stored.merged_costs()
        fewest = min(cost, dense, merged if merging else dense)
        return FormatState(
            name, recipe.method, recipe.metric, shapes, tuple([sheets(shape) for shape in shapes]), form.bond,
            form.n_params, cost, fewest, self.errors(form),
        )  # fmt: skip


def sheets(shape: tuple[int, ...]) -> Sheets:
    """A tensor's matrices: of a core (left, out, in, right) one for each (left, right), of (n, r, c) the n it lists."""
    if len(shape) == 4:
        return Sheets(shape[0] * shape[3], shape[1], shape[2])
    return Sheets(math.prod(shape[:-2]), shape[-2], shape[-1])


def relative(metric: Metric, difference: Tensor, weight: Tensor) -> float:
    """The norm of a difference over that of the weight."""
    return math.sqrt(metric.squared(difference) / metric.squared(weight))


def _change(before: Tensor, after: Tensor) -> float:
    return float((after.double() - before.double()).norm() / before.double().norm())


def _corner(factor: Float[Tensor, "out r"]) -> tuple[tuple[float, ...], ...]:
    return tuple([tuple(row) for row in factor[:2, :4].tolist()])


def _numbers(row: tuple[float, ...]) -> str:
    return " ".join(f"{value:+.3f}" for value in row)
