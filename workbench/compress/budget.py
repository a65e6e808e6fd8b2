"""How a share of parameters to keep becomes a bond for each matrix."""

import math
from collections.abc import Mapping

from workbench.decompose.protocol import Decomposition


def check_kept(kept: object) -> float:
    """`kept` as a float. Raises ValueError unless it is in (0, 1]."""
    if isinstance(kept, bool) or not isinstance(kept, int | float) or not 0 < kept <= 1:
        raise ValueError(f"kept is the share of parameters to keep, above 0 and up to 1, not {kept!r}.")
    return float(kept)


def uniform_bonds(decompositions: Mapping[str, Decomposition], kept: float) -> dict[str, int]:
    """The largest bond for each matrix that stores at most the share `kept` of its dense numbers.

    1 keeps every bond full. A share too small for a bond of 1 gives a bond of 1.
    """
    share = check_kept(kept)
    if share == 1:
        return {name: uncut.full_bond for name, uncut in decompositions.items()}
    return {name: uncut.bond_within(share * math.prod(uncut.shape)) for name, uncut in decompositions.items()}
