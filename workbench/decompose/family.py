"""Forms of one weight matrix fitted at several bonds, for what no slice of a larger one gives."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.decompose.ladder import Ladder, check_bond
from workbench.decompose.protocol import Decomposition
from workbench.spectrum import Spectrum


@dataclass(frozen=True, eq=False)
class Family:
    """`members`, fitted at growing `bonds`, and the one that runs now; a cut picks one and computes nothing.

    `squared_errors` are what each drops, measured in `norm`, whose square the whole matrix has `total` of. A bond
    between two members picks the smaller. At `full_bond` nothing is cut: there the matrix itself is meant, and the
    largest member stands in for it.
    """

    members: tuple[Decomposition, ...]
    bonds: tuple[int, ...]
    squared_errors: tuple[float, ...]
    total: float
    norm: str
    full_bond: int
    at: int = -1

    nested: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not len(self.members) == len(self.bonds) == len(self.squared_errors) > 0:
            raise ValueError(
                f"a family has one bond and one error a member, not {len(self.members)} members, "
                f"{len(self.bonds)} bonds and {len(self.squared_errors)} errors."
            )
        if list(self.bonds) != sorted(set(self.bonds)) or self.bonds[-1] > self.full_bond:
            raise ValueError(f"the bonds of a family grow, up to its full bond {self.full_bond}; here {self.bonds}.")

    @property
    def present(self) -> Decomposition:
        """The member that this cut picks."""
        return self.members[self.at]

    @property
    def shape(self) -> tuple[int, int]:
        """(out, in) of the matrix it stands for."""
        return self.present.shape

    @property
    def bond(self) -> int:
        """The bond of the present member."""
        return self.bonds[self.at]

    @property
    def n_params(self) -> int:
        """Numbers stored by the present member; the others are not stored with a model."""
        return self.present.n_params

    @property
    def spectra(self) -> tuple[Spectrum, ...]:
        """The spectra of the largest member, where its form has any."""
        return self.members[-1].spectra

    def truncate(self, bond: int) -> "Family":
        """The largest member of at most this bond; the smallest of all if none is."""
        check_bond(bond, self.full_bond)
        return replace(self, at=self._place(bond))

    def to(self, device: torch.device) -> "Family":
        """The same family with its tensors on `device`."""
        return replace(self, members=tuple([member.to(device) for member in self.members]))

    def bond_within(self, n_params: int | float) -> int:
        """The largest fitted bond that stores at most `n_params` numbers; the smallest if none does."""
        return self.ladder().bond_within(n_params)

    def error_bound(self) -> float:
        """What the present member drops, as measured when it was fitted."""
        return math.sqrt(self.squared_errors[self.at])

    def discarded_weight(self) -> float:
        """The share of the squared norm that the present member drops, as measured; at most 1."""
        return min(1.0, self.squared_errors[self.at] / self.total) if self.total > 0 else 0.0

    def ladder(self) -> Ladder:
        """The members, and the whole matrix at the full bond if no member is that."""
        dense = math.prod(self.shape)
        rungs = [
            (bond, member.n_params, min(dense, member.apply_cost()), error)
            for bond, member, error in zip(self.bonds, self.members, self.squared_errors, strict=True)
        ]
        if self.bonds[-1] < self.full_bond:
            rungs.append((self.full_bond, dense, dense, 0.0))
        return Ladder(*zip(*rungs, strict=True))

    def tensors(self) -> dict[str, Tensor]:
        """The present member's numbers by name."""
        return self.present.tensors()

    def with_tensors(self, tensors: Mapping[str, Tensor]) -> Decomposition:
        """The present member with other numbers."""
        return self.present.with_tensors(tensors)

    def dense(self) -> Float[Tensor, "out in"]:
        """The matrix of the present member."""
        return self.present.dense()

    def dense_cost(self) -> int:
        """Multiply-adds of `dense`."""
        return self.present.dense_cost()

    def rows_at(self, index: Int[Tensor, "*any"]) -> Float[Tensor, "*any in"]:
        """`dense()[index]`, through the present member's factors."""
        return self.present.rows_at(index)

    def apply(self, x: Float[Tensor, "*batch in"], bias: Tensor | None = None) -> Float[Tensor, "*batch out"]:
        """`x @ dense().T + bias`, through the present member's factors."""
        return self.present.apply(x, bias)

    def apply_cost(self) -> int:
        """Multiply-adds of `apply` for one row of x."""
        return self.present.apply_cost()

    def apply_moves(self) -> int:
        """Numbers that `apply` puts in another order, for one row of x."""
        return self.present.apply_moves()

    def merged(self) -> Decomposition:
        """The present member in two factors."""
        return self.present.merged()

    def merged_costs(self) -> tuple[int, int]:
        """Multiply-adds of `merged`, 0 if there is nothing to merge, and of its `apply` for one row."""
        return self.present.merged_costs()

    def merged_moves(self) -> int:
        """`apply_moves` of `merged`."""
        return self.present.merged_moves()

    def _place(self, bond: int) -> int:
        return max(0, sum(own <= bond for own in self.bonds) - 1)


def bonds_at_shares(
    n_params: Callable[[int], int], full_bond: int, dense_params: int, shares: tuple[float, ...]
) -> tuple[int, ...]:
    """The largest bonds, below the full one, that store at most these shares of a matrix; growing, none twice.

    `n_params` says what a bond stores, and grows with it.
    """
    found = set()
    for share in shares:
        fits, too_large = 1, full_bond + 1
        while too_large - fits > 1:
            middle = (fits + too_large) // 2
            fits, too_large = (middle, too_large) if n_params(middle) <= share * dense_params else (fits, middle)
        found.add(min(fits, max(1, full_bond - 1)))
    return tuple(sorted(found))


if TYPE_CHECKING:
    _form: type[Decomposition] = Family
