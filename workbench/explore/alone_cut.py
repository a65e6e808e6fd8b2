"""The loss that one matrix's cut adds while every other matrix is whole."""

from collections.abc import Mapping
from itertools import islice

from torch import nn

from workbench.compress.evaluate import Evaluator
from workbench.compress.layers import BondLinear
from workbench.transformer.matrices import BlockMatrix, shared_copy
from workbench.transformer.tables import layer_of

_BATCHES = 4  # about 4,096 tokens: what is measured is a difference on the same tokens, which needs few


class AloneCut:
    """A copy of a decomposed model, sharing its weights and factors, with bonds of its own."""

    def __init__(self, compressed: nn.Module, matrices: Mapping[str, BlockMatrix], evaluator: Evaluator) -> None:
        self._model, self._evaluator = shared_copy(compressed), evaluator
        self._layers: dict[str, BondLinear] = {}
        for name, matrix in matrices.items():
            layer = layer_of(self._model, matrix)
            layer.cut(layer.uncut.full_bond)
            self._layers[name] = layer

    def added_loss(self, name: str, bond: int) -> float:
        """Nats a token that a cut of this matrix alone adds, on about 4,096 tokens."""
        layer = self._layers[name]
        layer.cut(bond)
        try:
            *_, estimate = islice(self._evaluator.estimates(self._model), _BATCHES)
        finally:
            layer.cut(layer.uncut.full_bond)
        return estimate.log_ratio
