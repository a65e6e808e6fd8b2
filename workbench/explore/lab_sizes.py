"""What a cut model stores, counted."""

from collections.abc import Mapping
from dataclasses import dataclass

from workbench.compress.layers import BondLinear
from workbench.transformer.load import LanguageModel


@dataclass(frozen=True)
class LabSizes:
    """Numbers and bytes of a model: its block matrices as they are cut and as they were, and all else.

    Tied tensors count once. `quantised_bytes` are those of the block matrices where they are stored in fewer bits.
    """

    block_params: int
    dense_block_params: int
    other_params: int
    item_bytes: int
    quantised_bytes: int | None

    @classmethod
    def of(cls, lm: LanguageModel, layers: Mapping[str, BondLinear], quantised_bytes: int | None) -> "LabSizes":
        """Those of a model whose block matrices run as these layers."""
        total = sum(parameter.numel() for parameter in lm.model.parameters())
        dense = sum(layer.dense_params for layer in layers.values())
        item_bytes = next(lm.model.parameters()).element_size()
        return cls(sum(layer.n_params for layer in layers.values()), dense, total - dense, item_bytes, quantised_bytes)

    @property
    def kept(self) -> float:
        """The share of the block matrices' numbers that is stored."""
        return self.block_params / self.dense_block_params

    @property
    def n_params(self) -> int:
        """Numbers stored, in the whole model."""
        return self.other_params + self.block_params

    @property
    def dense_n_params(self) -> int:
        """Numbers of the dense model."""
        return self.other_params + self.dense_block_params

    @property
    def bytes(self) -> int:
        """Bytes stored, in the whole model."""
        blocks = self.block_params * self.item_bytes if self.quantised_bytes is None else self.quantised_bytes
        return self.other_params * self.item_bytes + blocks

    @property
    def dense_bytes(self) -> int:
        """Bytes of the dense model."""
        return self.dense_n_params * self.item_bytes
