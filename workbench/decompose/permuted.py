"""A weight matrix held as a form of its rows and columns in another order."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.decompose.ladder import Ladder
from workbench.decompose.metric import Metric
from workbench.decompose.moment import reordered
from workbench.decompose.operator import TrainOperator
from workbench.decompose.protocol import Decomposition
from workbench.spectrum import Spectrum


@dataclass(frozen=True, eq=False)
class Permuted:
    """The matrix W with `W[rows][:, columns]` = `form.dense()`; every bond of `form` is cut by a slice (nested).

    Neither order changes a Frobenius norm, so errors are those of `form`. `n_params` counts the numbers of `form`
    alone: the orders are out + in small whole numbers, which no training changes; PIFA and TQCompressor do not count
    theirs either. `order_bytes` is what they take as they are held.
    Source: the idea is TQCompressor's (2024).
    """

    form: TrainOperator
    rows: Int[Tensor, " out"]
    columns: Int[Tensor, " in"]

    nested: ClassVar[bool] = True

    def __post_init__(self) -> None:
        out_features, in_features = self.form.shape
        check_order(self.rows, out_features, "rows")
        check_order(self.columns, in_features, "columns")

    @property
    def order_bytes(self) -> int:
        """Bytes of both orders as they are held, which `n_params` does not count."""
        return sum(order.numel() * order.element_size() for order in (self.rows, self.columns))

    @property
    def shape(self) -> tuple[int, int]:
        """(out, in) of the matrix it stands for."""
        return self.form.shape

    @property
    def bond(self) -> int:
        """The size of the largest bond as it is cut now."""
        return self.form.bond

    @property
    def full_bond(self) -> int:
        """The size of the largest bond, uncut."""
        return self.form.full_bond

    @property
    def n_params(self) -> int:
        """Numbers stored, without the orders of rows and columns."""
        return self.form.n_params

    @property
    def spectra(self) -> tuple[Spectrum, ...]:
        """The spectrum at each bond, uncut."""
        return self.form.spectra

    def truncate(self, bond: int) -> "Permuted":
        """The same matrix with every bond cut to at most `bond`, as views."""
        return self._of(self.form.truncate(bond))

    def to(self, device: torch.device) -> "Permuted":
        """The same matrix with its tensors and its orders on `device`."""
        moved = object.__new__(Permuted)  # orders that were checked need no second check
        moved.__dict__.update(form=self.form.to(device), rows=self.rows.to(device), columns=self.columns.to(device))
        return moved

    def bond_within(self, n_params: int | float) -> int:
        """The largest bond that stores at most `n_params` numbers, and at least 1."""
        return self.form.bond_within(n_params)

    def error_bound(self) -> float:
        """At most this Frobenius norm was dropped by this cut; exact for two sites."""
        return self.form.error_bound()

    def discarded_weight(self) -> float:
        """At most this share of the squared norm was dropped by this cut; exact for two sites."""
        return self.form.discarded_weight()

    def ladder(self) -> Ladder:
        """Every setting of the bond; multiply-adds are those of `form`, since putting in order multiplies nothing."""
        return self.form.ladder()

    def tensors(self) -> dict[str, Tensor]:
        """The cores of `form` by name; the orders are neither learned nor quantised."""
        return self.form.tensors()

    def with_tensors(self, tensors: Mapping[str, Tensor]) -> "Permuted":
        """The same orders of a form with other cores of the same shapes."""
        return self._of(self.form.with_tensors(tensors))

    def dense(self) -> Float[Tensor, "out in"]:
        """The matrix this cut stands for, in its own order."""
        return self.form.dense()[self._row_places][:, self._column_places]

    def dense_cost(self) -> int:
        """Multiply-adds of `dense`."""
        return self.form.dense_cost()

    def rows_at(self, index: Int[Tensor, "*any"]) -> Float[Tensor, "*any in"]:
        """`dense()[index]`: the form's rows there, their numbers back in their own order."""
        return self.form.rows_at(self._row_places[index])[..., self._column_places]

    def apply(self, x: Float[Tensor, "*batch in"], bias: Tensor | None = None) -> Float[Tensor, "*batch out"]:
        """`x @ dense().T + bias`: inputs in the form's order, through its cores, outputs back in their own."""
        if x.shape[-1] != self.shape[1]:
            raise ValueError(f"a permuted matrix of {self.shape[1]} inputs cannot be applied to rows of {x.shape[-1]}.")
        y = self.form.apply(x[..., self.columns])[..., self._row_places]
        return y if bias is None else y + bias

    def apply_cost(self) -> int:
        """Multiply-adds of `apply` for one row of x: those of `form`."""
        return self.form.apply_cost()

    def apply_moves(self) -> int:
        """Numbers put in another order for one row of x: all inputs, all outputs, and what `form` moves."""
        return sum(self.shape) + self.form.apply_moves()

    def merged(self) -> "Permuted":
        """The same orders of the form in two cores; itself if it has no more."""
        merged = self.form.merged()
        return self if merged is self.form else self._of(merged)

    def merged_costs(self) -> tuple[int, int]:
        """Multiply-adds of `merged`, 0 if there is nothing to merge, and of its `apply` for one row of x."""
        return self.form.merged_costs()

    def merged_moves(self) -> int:
        """`apply_moves` of `merged`."""
        return sum(self.shape) + self.form.merged_moves()

    @cached_property
    def _row_places(self) -> Int[Tensor, " out"]:
        return self.rows.argsort()

    @cached_property
    def _column_places(self) -> Int[Tensor, " in"]:
        return self.columns.argsort()

    def _of(self, form: TrainOperator) -> "Permuted":
        """These orders of another form of the same shape: unchecked, with the places found so far, for a quick cut."""
        other = object.__new__(Permuted)
        other.__dict__.update(self.__dict__, form=form)
        return other


def permuted_metric(metric: Metric, rows: Int[Tensor, " out"], columns: Int[Tensor, " in"]) -> Metric:
    """The metric that measures `D[rows][:, columns]` as `metric` measures D: its moments in the same orders."""
    sides = ((metric.inputs, columns), (metric.outputs, rows))
    return Metric(*(None if moment is None else reordered(moment, order) for moment, order in sides))


def check_order(order: Int[Tensor, " n"], size: int, what: str) -> None:
    """Raises ValueError unless `order` names each of `size` rows or columns once."""
    if len(order) != size:
        raise ValueError(f"the form has {size} {what}, but the order of {what} lists {len(order)}.")
    if not torch.equal(order.long().sort().values, torch.arange(size, device=order.device)):
        raise ValueError(f"an order of {what} names each of 0 … {size - 1} once; this one leaves some out.")


if TYPE_CHECKING:
    _form: type[Decomposition] = Permuted
