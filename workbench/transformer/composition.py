"""How strongly each head reads what each earlier head writes, from the weights alone: Q-, K- and V-composition."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from workbench.transformer.anatomy import Anatomy
from workbench.transformer.circuit import Circuit, ov_circuit, qk_circuit
from workbench.transformer.load import LanguageModel
from workbench.transformer.reading import anatomy_of

KINDS = ("Q", "K", "V")
Head = tuple[int, int]  # layer, head


@dataclass(frozen=True)
class Composition:
    """One way in which one head reads another: `kind` is the side of `later` that the output of `earlier` enters."""

    kind: str
    later: Head
    earlier: Head
    score: float
    baseline: float

    def __str__(self) -> str:
        later, earlier = (f"{layer}.{head}" for layer, head in (self.later, self.earlier))
        side = "above" if self.score >= self.baseline else "below"
        return (
            f"{self.kind}-composition of head {later} with head {earlier}: {self.score:.3f}, "
            f"{abs(self.score - self.baseline):.3f} {side} chance"
        )


@dataclass(frozen=True, eq=False)
class CompositionScores:
    """Composition scores of all pairs of heads, 0 to 1: `values[kind, later, earlier]`, kinds in the order of `KINDS`.

    nan where the one head is not in a layer before the other's. `heads` names the rows, and the columns.
    """

    name: str
    heads: tuple[Head, ...]
    d_model: int
    values: Float[Tensor, "3 h h"]

    @property
    def baseline(self) -> float:
        """1/√d_model, the root-mean-square score of two heads turned at random against each other: exact.

        For a rotation R drawn evenly from all of them E‖A R B‖² = ‖A‖²‖B‖²/d, whatever A and B are: nothing is
        sampled here.
        """
        return self.d_model**-0.5

    @property
    def above_baseline(self) -> Float[Tensor, "3 h h"]:
        """The scores less the baseline: above zero for two heads that fit each other better than chance."""
        return self.values - self.baseline

    @property
    def layer_bounds(self) -> tuple[int, ...]:
        """The row at which each layer begins, and the number of rows: where a picture draws its lines."""
        return layer_bounds(self.heads)

    @property
    def is_pair(self) -> Bool[Tensor, "h h"]:
        """Which pairs have a score: those whose column is in a layer before their row's."""
        layers = torch.tensor([layer for layer, _ in self.heads])
        return layers[:, None] > layers

    def of(self, kind: str) -> Float[Tensor, "h h"]:
        """The scores of one kind, (later, earlier). Raises ValueError for a kind that is none of Q, K and V."""
        return self.values[_number(kind)]

    def between(self, kind: str, later: Head, earlier: Head) -> Composition:
        """One score. Raises ValueError for a head that is not there, or a pair that has none."""
        for head in (later, earlier):
            if head not in self.heads:
                raise ValueError(f"{self.name} has no head {head}; it has {self.heads[0]} to {self.heads[-1]}.")
        if earlier[0] >= later[0]:
            raise ValueError(
                f"head {later} does not come after head {earlier}; heads compose from an earlier layer to a later one."
            )
        score = self.of(kind)[self.heads.index(later), self.heads.index(earlier)]
        return Composition(kind, later, earlier, float(score), self.baseline)

    def strongest(self, n: int = 10, kinds: Sequence[str] = KINDS) -> tuple[Composition, ...]:
        """The `n` highest scores among these kinds, highest first; all of them where there are fewer."""
        chosen = [_number(kind) for kind in kinds]
        places = self.is_pair.nonzero().tolist()
        found = [
            Composition(KINDS[kind], self.heads[later], self.heads[earlier], score, self.baseline)
            for kind in chosen
            for (later, earlier), score in zip(places, self.values[kind][self.is_pair].tolist(), strict=True)
        ]
        return tuple(sorted(found, key=lambda one: -one.score)[:n])


def layer_bounds(heads: Sequence[Head]) -> tuple[int, ...]:
    """The row at which each layer begins in a table of these heads, in order, and the number of rows."""
    starts = [row for row, (layer, _) in enumerate(heads) if row == 0 or heads[row - 1][0] != layer]
    return (*starts, len(heads))


def composition_scores(model: LanguageModel | Anatomy, fold: bool = True) -> CompositionScores:
    """The composition of every pair of heads, the one in a layer before the other's.

    W_QK is W_Qᵀ W_K, rows for the query and columns for the key. With the earlier head's W_OV₁ a score is
    ‖W_QKᵀ W_OV₁‖ / ‖W_QK‖‖W_OV₁‖ for Q (the later query reads it), ‖W_QK W_OV₁‖ / ‖W_QK‖‖W_OV₁‖ for K, and
    ‖W_OV W_OV₁‖ / ‖W_OV‖‖W_OV₁‖ for V, in Frobenius norms; a head of zeros composes with nothing, 0. Biases, positions
    and norms other than their gains, which are in the weights with `fold`, have no part in it.

    Exact: what is thin is kept thin. The outer factor of each matrix is replaced by the triangle of its QR, which has
    the same norm on either side, so a pair costs O(d k²) and all pairs of two layers are one product.
    Source: Elhage et al. (2021).
    """
    model = anatomy_of(model)
    by_layer = _by_layer(model.heads)
    writers = [torch.stack([_written(ov_circuit(model, *head, fold)) for head in own]) for own in by_layer]
    n = len(model.heads)
    values = torch.full((3, n, n), torch.nan, dtype=torch.float64)
    row = len(by_layer[0])
    for later in range(1, len(by_layer)):
        own = by_layer[later]
        qk = [qk_circuit(model, *head, fold) for head in own]
        ov = [ov_circuit(model, *head, fold) for head in own]
        sides = ([one.mT for one in qk], qk, ov)
        for kind, circuits in enumerate(sides):
            readers = torch.stack([_read(circuit) for circuit in circuits])
            column = 0
            for written in writers[:later]:
                scores = _scores(readers, written)
                values[kind, row : row + len(own), column : column + len(written)] = scores.cpu()
                column += len(written)
        row += len(own)
    return CompositionScores(model.name, model.heads, model.d_model, values)


def _by_layer(heads: Sequence[Head]) -> list[list[Head]]:
    found: dict[int, list[Head]] = {}
    for layer, head in heads:
        found.setdefault(layer, []).append((layer, head))
    return list(found.values())


def _read(circuit: Circuit) -> Float[Tensor, "k d"]:
    """The thin matrix that gives, on the right of anything, the norms that the circuit gives."""
    triangle = torch.linalg.qr(circuit.left.double(), mode="r").R
    return (triangle @ circuit.right.double()).to(circuit.right)


def _written(circuit: Circuit) -> Float[Tensor, "d k"]:
    """The thin matrix that gives, on the left of anything, the norms that the circuit gives."""
    return _read(circuit.mT).mT


def _scores(readers: Float[Tensor, "h r d"], writers: Float[Tensor, "g d w"]) -> Float[Tensor, "h g"]:
    """The scores of two layers' heads, in float64: one product (h r, d) × (d, g w), then the norm of each block."""
    h, r, _ = readers.shape
    g, _, w = writers.shape
    product = readers.flatten(0, 1) @ writers.transpose(0, 1).flatten(1)
    squares = product.double().square().reshape(h, r, g, w).sum((1, 3))
    norms = [torch.linalg.vector_norm(part.double(), dim=(1, 2)) for part in (readers, writers)]
    scale = norms[0][:, None] * norms[1]
    return torch.where(scale > 0, squares.sqrt() / scale.clamp_min(torch.finfo(torch.float64).tiny), 0)


def _number(kind: str) -> int:
    if kind not in KINDS:
        raise ValueError(f"{kind!r} is no kind of composition; there are {', '.join(KINDS)}.")
    return KINDS.index(kind)
