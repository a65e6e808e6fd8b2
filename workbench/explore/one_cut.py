"""A model of which one matrix at a time is cut: what a cut does when all else is left as it was."""

from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.explore.compression_lab import CompressionLab
from workbench.explore.frame import LayerState, layer_state
from workbench.transformer.load import LanguageModel
from workbench.transformer.matrices import shared_copy
from workbench.transformer.tables import layer_of

# Those a head's pattern is made of in its own layer. Where query, key and value are stored as one, that counts.
_MAKE_PATTERNS = ("W_QKV", "W_Q", "W_K")


class OneCut:
    """A copy of a lab's model that shares its weights and factors, with bonds of its own, all full at first.

    The lab's bonds are neither read nor moved. A cut only slices. Attention is the eager one of transformers, which
    alone gives patterns.
    """

    def __init__(self, lab: CompressionLab) -> None:
        self.full_bonds = {name: layer.uncut.full_bond for name, layer in lab.layers.items()}
        model = shared_copy(lab.present.model)
        model.set_attn_implementation("eager")  # pyright: ignore[reportCallIssue]
        self.model: LanguageModel = replace(lab.lm, model=model)
        self._layers = {name: layer_of(model, lab.matrices[name]) for name in lab.layers}
        for name, full in self.full_bonds.items():
            self._layers[name].cut(full)
        self._matrix = next(iter(self._layers))

    def cut(self, matrix: str, bond: int) -> None:
        """Cuts one matrix, and makes the one that was cut before whole again."""
        if matrix != self._matrix:
            self._layers[self._matrix].cut(self.full_bonds[self._matrix])
        self._layers[matrix].cut(bond)
        self._matrix = matrix

    def state(self, matrix: str) -> LayerState:
        """The numbers of one matrix as it is cut now."""
        return layer_state(matrix, self._layers[matrix])

    def read(self, rows: Int[Tensor, "n t"]) -> tuple[tuple[Float[Tensor, "n _ t t"], ...], Float[Tensor, "n t d"]]:
        """The patterns of each layer on each row, and what the head of the model makes logits of: one forward pass."""
        with torch.no_grad():
            run = self.model.model.base_model(rows, use_cache=False, output_attentions=True)  # pyright: ignore
        return tuple(run.attentions), run.last_hidden_state

    def logits(self, hidden: Float[Tensor, "n p d"]) -> Float[Tensor, "n p v"]:
        """The logits at some of the positions that were read."""
        with torch.no_grad():
            return self.model.model.get_output_embeddings()(hidden)  # pyright: ignore


def shapes_patterns(matrix: str, layer: int) -> bool:
    """Whether a matrix such as `blocks.0.attn.W_QKV` is one that the patterns of this layer depend on.

    All matrices of the layers before are, and of the layer itself those that make queries and keys. The table of the
    embedding is one for all layers, that of the head alone for none.
    """
    if not matrix.startswith("blocks."):
        return matrix.startswith("embed.")
    own, kind = int(matrix.split(".")[1]), matrix.rsplit(".", 1)[1]
    return own < layer or (own == layer and kind in _MAKE_PATTERNS)


def decompose_once(lab: CompressionLab, metric: str | None) -> None:
    """Decomposes the lab's matrices by SVD, in the plain metric unless told otherwise, if nothing is decomposed yet.

    Raises ValueError if something is, in a metric other than the one asked for.
    """
    if lab.recipe is None:
        lab.decompose("svd", metric or "plain")
    elif metric not in (None, lab.recipe.metric):
        raise ValueError(
            f"the lab is decomposed in the {lab.recipe.metric} metric and {metric!r} was asked for; leave it out, or "
            f"call lab.decompose('svd', {metric!r}) first."
        )
