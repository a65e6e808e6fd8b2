"""One state of the compression explorer, as numbers: what the script prints, the test asserts and the plots draw."""

import math
from dataclasses import dataclass

from workbench.compress.curve import Point, pareto
from workbench.compress.layers import BondLinear
from workbench.compress.recipe import Recipe
from workbench.explore.lab_sizes import LabSizes

FLOOR = 1e-6


@dataclass(frozen=True)
class LayerState:
    """One matrix at its present bond.

    `discarded_weight` is in the metric's norm, 0 to 1: exact for one bond, a bound for more.
    """

    name: str
    bond: int
    full_bond: int
    discarded_weight: float
    n_params: int
    dense_params: int

    @property
    def block(self) -> int | None:
        """The block's number; None of a token table, which is in no block."""
        return int(self.name.split(".")[1]) if self.name.startswith("blocks.") else None

    @property
    def kind(self) -> str:
        """The matrix's name within its block."""
        return self.name.rsplit(".", 1)[1]


def layer_state(name: str, layer: BondLinear) -> LayerState:
    """The numbers of one running layer. Across the bonds of a train the discarded weights add up to a bound."""
    out_features, in_features = layer.uncut.shape
    discarded = 0.0 if layer.bypassed else layer.now.discarded_weight()
    return LayerState(name, layer.bond, layer.uncut.full_bond, discarded, layer.n_params, out_features * in_features)


def cut_spectrum(layer: BondLinear) -> tuple[tuple[float, ...], int]:
    """The singular values at a layer's widest bond, none for a form that has no spectrum, and how many are kept."""
    spectra = layer.uncut.spectra
    if not spectra:
        return (), 0
    widest = max(spectra, key=len)
    return tuple(widest.values.tolist()), min(layer.bond, len(widest))


@dataclass(frozen=True)
class Frame:
    """Everything that the views of one setting show.

    `values` are the singular values at the selected matrix's bond (its widest one, for a train), largest
    first; `cut` is how many are kept. `point` is the newest estimate of the present setting, None before
    the first; `history` holds the settled points, oldest first, and `front` those none of them beats. `after` is what
    was done beyond cutting; `predicted_loss` what the cut is predicted to add, in nats a token.
    """

    model: str
    device: str
    recipe: Recipe
    layers: tuple[LayerState, ...]
    selected: str
    values: tuple[float, ...]
    cut: int
    sizes: LabSizes
    dense_perplexity: float | None
    point: Point | None
    history: tuple[Point, ...]
    predicted_loss: float | None = None
    after: tuple[str, ...] = ()

    @property
    def front(self) -> tuple[Point, ...]:
        """The settled points that no other beats."""
        return pareto(self.history)

    @property
    def dense_excess(self) -> float | None:
        """The dense model's nats a token above the truth, where that is known and something was scored."""
        points = (*filter(None, [self.point]), *self.history)
        return next((point.estimate.dense_excess for point in points), None)

    @property
    def dense_harm(self) -> float:
        """Where the dense model lies on the trade-off's axis, that of `Point.harm`."""
        return 1.0 if self.dense_excess is None else self.dense_excess

    @property
    def harm_told(self) -> str:
        """What that axis shows."""
        return "perplexity ÷ dense" if self.dense_excess is None else "nats a token above the truth"

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of matrices, in the order of a block; that of a token table is the last."""
        return tuple(dict.fromkeys(layer.kind for layer in self.layers))

    @property
    def block_kinds(self) -> tuple[str, ...]:
        """The kinds of the block matrices alone, in the order of a block."""
        return tuple(dict.fromkeys(layer.kind for layer in self.layers if layer.block is not None))

    @property
    def n_blocks(self) -> int:
        """How many blocks there are."""
        return 1 + max(layer.block for layer in self.layers if layer.block is not None)

    def kept_of(self, kind: str) -> float:
        """The share of the numbers of one kind of matrix that is stored."""
        chosen = [layer for layer in self.layers if layer.kind == kind]
        return sum(layer.n_params for layer in chosen) / sum(layer.dense_params for layer in chosen)

    def heatmap(self) -> list[list[float]]:
        """Discarded weight by `block_kinds` (rows) and block (columns), at least `FLOOR`: its views are logarithmic."""
        table = {(layer.kind, layer.block): max(FLOOR, layer.discarded_weight) for layer in self.layers}
        return [[table[kind, block] for block in range(self.n_blocks)] for kind in self.block_kinds]

    def __str__(self) -> str:
        sizes = self.sizes
        lines = [
            f"{self.model} on {self.device}: {', '.join([str(self.recipe), *self.after])}",
            f"{self.recipe.decomposed} kept {sizes.kept:.1%}, {sizes.n_params:,} of {sizes.dense_n_params:,} "
            f"numbers, {sizes.bytes / 2**20:.1f} of {sizes.dense_bytes / 2**20:.1f} MiB",
        ]
        if self.point is not None:
            score = self.point.estimate
            lines.append(
                f"perplexity {score.perplexity:.3f} ({score.ratio:.3f} ± {score.ratio_error:.3f} of dense), "
                f"next-token accuracy {score.accuracy:.1%}, top-1 agreement {score.top1_agreement:.1%}, "
                f"on {score.n_tokens:,} tokens"
            )
            if score.excess is not None:
                lines.append(f"{score.excess:.4f} nats a token above the truth, dense {score.dense_excess:.4f}")
        if self.predicted_loss is not None:
            lines.append(f"predicted from the cut alone: {math.exp(min(self.predicted_loss, 50)):.3f} of dense")
        return "\n".join(lines)
