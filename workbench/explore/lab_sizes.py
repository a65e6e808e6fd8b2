"""What a cut model stores, counted."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn

from workbench.compress.layers import BondLinear
from workbench.transformer.matrices import BlockMatrix
from workbench.transformer.tables import untied_by


@dataclass(frozen=True)
class LabSizes:
    """Numbers and bytes of a model: its matrices with a bond as they are cut and as they were, and all else.

    These are the block matrices and, if the recipe asks for it, the token table. Tied tensors count once.
    `untied_params` are those of the head of a tied model whose lookup alone is cut: it then has a table of its own, as
    large as the one it shared. `quantised_bytes` are those of the matrices where they are stored in fewer bits.
    """

    bond_params: int
    dense_bond_params: int
    other_params: int
    item_bytes: int
    quantised_bytes: int | None
    untied_params: int = 0

    @classmethod
    def of(
        cls,
        model: nn.Module,
        matrices: Mapping[str, BlockMatrix],
        layers: Mapping[str, BondLinear],
        quantised_bytes: int | None,
    ) -> "LabSizes":
        """Those of a model whose matrices run as these layers."""
        total = sum(parameter.numel() for parameter in model.parameters())
        dense = sum(layer.dense_params for layer in layers.values())
        untied = sum(layers[name].dense_params for name in untied_by(model, matrices) if not layers[name].bypassed)
        item_bytes = next(model.parameters()).element_size()
        stored = sum(layer.n_params for layer in layers.values())
        return cls(stored, dense, total - dense, item_bytes, quantised_bytes, untied)

    @property
    def kept(self) -> float:
        """The share of the numbers of the matrices with a bond that is stored for them."""
        return self.bond_params / self.dense_bond_params

    @property
    def n_params(self) -> int:
        """Numbers stored, in the whole model."""
        return self.other_params + self.bond_params + self.untied_params

    @property
    def dense_n_params(self) -> int:
        """Numbers of the dense model."""
        return self.other_params + self.dense_bond_params

    @property
    def bytes(self) -> int:
        """Bytes stored, in the whole model."""
        cut = self.bond_params * self.item_bytes if self.quantised_bytes is None else self.quantised_bytes
        return (self.other_params + self.untied_params) * self.item_bytes + cut

    @property
    def dense_bytes(self) -> int:
        """Bytes of the dense model."""
        return self.dense_n_params * self.item_bytes
