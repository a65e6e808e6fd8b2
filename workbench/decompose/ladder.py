"""Everything a bond can be set to, with what each setting stores, costs and drops."""

from bisect import bisect_right
from dataclasses import dataclass


@dataclass(frozen=True)
class Ladder:
    """The settings of a bond, smallest first, each with the numbers it stores, the multiply-adds of one row of x in
    its cheapest form, and the square of what it drops in the decomposition's norm (a bound where `error_bound` is one).
    """

    bonds: tuple[int, ...]
    n_params: tuple[int, ...]
    multiply_adds: tuple[int, ...]
    squared_errors: tuple[float, ...]

    def __post_init__(self) -> None:
        if not len(self.bonds) == len(self.n_params) == len(self.multiply_adds) == len(self.squared_errors) > 0:
            raise ValueError(
                f"a ladder has one or more rungs, with one number of each kind a rung, not {len(self.bonds)} bonds, "
                f"{len(self.n_params)} sizes, {len(self.multiply_adds)} costs and {len(self.squared_errors)} errors."
            )

    def bond_within(self, n_params: int | float) -> int:
        """The largest bond that stores at most `n_params` numbers; the smallest there is if none does."""
        return self.bonds[max(0, bisect_right(self.n_params, n_params) - 1)]

    def rung(self, bond: int) -> int:
        """The place of the largest setting that is at most `bond`; that of the smallest if none is."""
        return max(0, bisect_right(self.bonds, bond) - 1)


def check_bond(bond: object, full_bond: int) -> None:
    """Raises ValueError, or TypeError for what is no whole number, if a bond of `full_bond` cannot be cut to `bond`."""
    if not isinstance(bond, int) or isinstance(bond, bool):
        raise TypeError(f"a bond dimension is a whole number, not {bond!r}.")
    if not 1 <= bond <= full_bond:
        raise ValueError(f"bond {bond} does not fit: this bond can be cut to 1, 2, … {full_bond} (full).")
