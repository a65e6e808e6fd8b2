"""What two blocks of sites know of each other, where no two single sites may know anything."""

from collections.abc import Sequence

import torch

from workbench.born.explain.pairs import HasMarginals
from workbench.born.explain.states import block_entropy
from workbench.born.machine import BornMachine
from workbench.truth.strings import check_sites, table_information


def block_information(model: HasMarginals, left: Sequence[int], right: Sequence[int]) -> float:
    """The mutual information of the symbols of two blocks of sites, in nats, exact; of parity in two parts, ln 2.

    Raises ValueError for an empty block, for a site in both, and where the model makes no such table.
    Cost: that of the marginal of both blocks.
    """
    sites = _checked(left, right, model.n_sites)
    with torch.no_grad():
        table = model.marginal(sites)
    n_rows = table.shape[: len(left)].numel()
    return max(0.0, table_information(table.reshape(n_rows, -1)))  # below 0 is rounding


def quantum_block_information(machine: BornMachine, left: Sequence[int], right: Sequence[int]) -> float:
    """S_left + S_right - S_both of the state of a machine, in nats, exact; at least the `block_information`.

    Of the two sides of a bond it is twice the bond's entanglement entropy. Raises ValueError for an empty block, for a
    site in both, and for blocks of which `block_entropy` is refused. Cost: three of those.
    """
    sites = _checked(left, right, machine.n_sites)
    apart = block_entropy(machine, left) + block_entropy(machine, right)
    return max(0.0, apart - block_entropy(machine, sites))


def _checked(left: Sequence[int], right: Sequence[int], n_sites: int) -> tuple[int, ...]:
    """The sites of both blocks."""
    if not left or not right:
        raise ValueError(f"blocks of {len(left)} and {len(right)} sites are given; each needs one or more.")
    both = sorted(set(left) & set(right))
    if both:
        raise ValueError(f"site {both[0]} is in both blocks; what it knows of itself is its entropy: leave it out.")
    return check_sites((*left, *right), n_sites)
