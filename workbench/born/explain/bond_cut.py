"""What a Born machine knows through one bond: which dependencies die when it is cut."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.born.explain.pairs import counterfactuals, pair_marginals
from workbench.born.machine import BornMachine
from workbench.truth.amplitudes import RANK_TOLERANCE

_EQUAL = 1e-6  # of the larger Schmidt value: by what two that are equal may differ


@dataclass(frozen=True, eq=False)
class BondCut:
    """What cutting the bond between sites `bond` and `bond` + 1 to `rank`, and no other, does to all pairs of sites.

    `change` [i, j] is the `conditional_change` of the machine by the cut. It is exact, and the same in whatever basis
    the bonds are, if `determined`: False where the last Schmidt value kept equals the first one dropped, so that any
    mixture of the two might have been kept, and the change is an accident of which was.
    """

    bond: int
    rank: int
    discarded_weight: float
    determined: bool
    change: Float[Tensor, "i j"]

    @property
    def across(self) -> float:
        """The mean change of the pairs with a site on either side of the bond, both ways."""
        left = self.bond + 1
        return float((self.change[:left, left:].mean() + self.change[left:, :left].mean()) / 2)


@dataclass(frozen=True, eq=False)
class BondCuts:
    """Cuts of one bond at a time, by bond and then by rank."""

    cuts: tuple[BondCut, ...]

    def __str__(self) -> str:
        rows = [
            f"{cut.bond:>4}  {cut.rank:>4}  {cut.discarded_weight:16.3e}  {cut.across:13.6f}"
            + ("" if cut.determined else "  between equal Schmidt values")
            for cut in self.cuts
        ]
        return "\n".join(["bond  rank  discarded weight  change across", *rows])


def cut_bond(machine: BornMachine, bond: int, rank: int) -> BondCut:
    """What cutting this bond to this rank does; the rest of the machine stays, and is normalised again.

    Raises ValueError for a bond that the machine does not have, for a rank below 1 or above the bond's, or where sites
    differ in their number of symbols. Cost: two sweeps of `pair_marginals`.
    """
    if not 0 <= bond < machine.n_sites - 1:
        raise ValueError(
            f"bond {bond} is not in a machine of {machine.n_sites} sites; give 0 to {machine.n_sites - 2}, that behind "
            "the site of the same number."
        )
    return _cut(machine, pair_marginals(machine), bond, rank)


def cut_each_bond(machine: BornMachine, ranks: Sequence[int]) -> BondCuts:
    """Every bond cut to each of the ranks below its own. Raises ValueError as `cut_bond`. Cost: a sweep for each."""
    joint = pair_marginals(machine)
    cuts = [
        _cut(machine, joint, bond, rank)
        for bond, full in enumerate(machine.train.bonds)
        for rank in sorted(set(ranks))
        if rank < full
    ]
    return BondCuts(tuple(cuts))


def conditional_change(joint: Float[Tensor, "i j a b"], changed: Float[Tensor, "i j a b"]) -> Float[Tensor, "i j"]:
    """How far p(x_j | x_i = a) is from that of `changed`: total variation, its mean over p(x_i = a), from 0 to 1.

    Exact for the tables it is given; 1 for a symbol that never comes any more. It is not symmetric, and where i = j it
    is the probability of such symbols.
    """
    before, after = counterfactuals(joint), counterfactuals(changed)
    moved = (before - after).abs().sum(3) / 2  # nan where one of them is
    return (joint.sum(3) * torch.where(after[..., 0].isnan(), 1, moved.nan_to_num(0))).sum(2)


def _cut(machine: BornMachine, joint: Float[Tensor, "i j a b"], bond: int, rank: int) -> BondCut:
    bonds, spectrum = list(machine.train.bonds), machine.train.spectra[bond]
    bonds[bond] = rank
    change = conditional_change(joint, pair_marginals(machine.truncate(bonds)))
    first, last, dropped = [[*spectrum.values.tolist(), 0.0][k] for k in (0, rank - 1, rank)]
    determined = last - dropped > _EQUAL * last or dropped < RANK_TOLERANCE * first
    return BondCut(bond, rank, spectrum.discarded_weight(rank), determined, change)
