"""What a layer asks of a decomposed weight, whatever its form."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.decompose.ladder import Ladder
from workbench.spectrum import Spectrum


@runtime_checkable  # annotations are checked in the tests
class Decomposition(Protocol):
    """A weight matrix (out, in) held as factors. A cut of its bond computes nothing: where the form is `nested` it is a
    slice of the factors, else it picks one of the forms fitted before.
    """

    nested: ClassVar[bool]  # whether the factors of a smaller bond are slices of those of a larger one

    @property
    def shape(self) -> tuple[int, int]:
        """(out, in) of the matrix it stands for."""
        ...

    @property
    def bond(self) -> int:
        """The size of the largest bond as it is cut now."""
        ...

    @property
    def full_bond(self) -> int:
        """The size of the largest bond, uncut."""
        ...

    @property
    def n_params(self) -> int:
        """Numbers stored at this cut."""
        ...

    @property
    def spectra(self) -> tuple[Spectrum, ...]:
        """The spectrum at each bond, uncut."""
        ...

    def truncate(self, bond: int) -> "Decomposition":
        """The same decomposition with every bond cut to at most `bond`, as views; nothing is computed."""
        ...

    def to(self, device: torch.device) -> "Decomposition":
        """The same decomposition with its tensors on `device`."""
        ...

    def bond_within(self, n_params: int | float) -> int:
        """The largest bond that stores at most `n_params` numbers, and at least 1."""
        ...

    def error_bound(self) -> float:
        """At most this norm, that of `spectra`, was dropped by this cut."""
        ...

    def discarded_weight(self) -> float:
        """At most this share of the squared norm was dropped by this cut, 0 to 1."""
        ...

    def ladder(self) -> Ladder:
        """Every setting of the bond, with what it stores, costs and drops."""
        ...

    def tensors(self) -> dict[str, Tensor]:
        """The tensors of numbers that make this cut, by name: what is stored, healed and quantised."""
        ...

    def with_tensors(self, tensors: Mapping[str, Tensor]) -> "Decomposition":
        """This cut with other numbers of the same shapes; what it says of its error stays that of the decomposition."""
        ...

    def dense(self) -> Float[Tensor, "out in"]:
        """The matrix this cut stands for."""
        ...

    def dense_cost(self) -> int:
        """Multiply-adds of `dense`."""
        ...

    def rows_at(self, index: Int[Tensor, "*any"]) -> Float[Tensor, "*any in"]:
        """`dense()[index]`, through the factors: what a table of tokens is asked for. The matrix is not made."""
        ...

    def apply(self, x: Float[Tensor, "*batch in"], bias: Tensor | None = None) -> Float[Tensor, "*batch out"]:
        """`x @ dense().T + bias`, through the factors."""
        ...

    def apply_cost(self) -> int:
        """Multiply-adds of `apply` for one row of x."""
        ...

    def apply_moves(self) -> int:
        """Numbers that `apply` must put in another order between its products, for one row of x."""
        ...

    def merged(self) -> "Decomposition":
        """The same matrix in two factors, those quickest to apply; itself if it has no more."""
        ...

    def merged_costs(self) -> tuple[int, int]:
        """Multiply-adds of `merged`, 0 if there is nothing to merge, and of its `apply` for one row."""
        ...

    def merged_moves(self) -> int:
        """`apply_moves` of `merged`."""
        ...


if TYPE_CHECKING:
    from workbench.decompose.low_rank import LowRank
    from workbench.decompose.operator import TrainOperator
    from workbench.decompose.pivots import PivotPair

    _forms: tuple[type[Decomposition], ...] = (LowRank, PivotPair, TrainOperator)
