"""A family of fitted forms: which of them a cut picks, and what it says of itself."""

import jaxtyping
import pytest
import torch

from workbench.decompose.family import Family, bonds_at_shares
from workbench.decompose.low_rank import LowRank


def family(bonds: tuple[int, ...] = (1, 2, 4), full_bond: int = 6) -> tuple[torch.Tensor, Family]:
    weight = torch.randn(6, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    pair = LowRank.from_weight(weight)
    members = tuple(pair.truncate(bond) for bond in bonds)
    errors = tuple(float((weight - member.dense()).square().sum()) for member in members)
    return weight, Family(members, bonds, errors, float(weight.square().sum()), "Frobenius", full_bond)


@pytest.mark.parametrize(("asked", "got"), [(1, 1), (2, 2), (3, 2), (4, 4), (5, 4), (6, 4)])
def test_a_cut_picks_the_largest_member_that_is_not_above_it(asked, got):
    weight, uncut = family()
    cut = uncut.truncate(asked)
    assert (cut.bond, cut.n_params) == (got, got * 15)
    assert torch.equal(cut.dense(), uncut.members[cut.at].dense())
    lost = float(torch.linalg.norm(weight - cut.dense()))
    assert cut.error_bound() == pytest.approx(lost)
    assert cut.discarded_weight() == pytest.approx(lost**2 / float(weight.square().sum()))
    assert cut.truncate(6).bond == 4, "a family that was cut can be cut wider again"


def test_below_the_smallest_member_there_is_the_smallest():
    _, uncut = family((2, 4))
    assert uncut.truncate(1).bond == 2


def test_the_ladder_has_every_member_and_the_whole_matrix():
    _, uncut = family()
    ladder = uncut.ladder()
    assert ladder.bonds == (1, 2, 4, 6)
    assert ladder.n_params == (15, 30, 60, 54)
    assert ladder.squared_errors[-1] == 0
    assert list(ladder.squared_errors) == sorted(ladder.squared_errors, reverse=True)


def test_a_zero_matrix_discards_nothing():
    pair = LowRank.from_weight(torch.zeros(3, 4))
    assert Family((pair.truncate(1),), (1,), (0.0,), 0.0, "Frobenius", 3).discarded_weight() == 0


def test_bonds_at_shares_are_the_largest_that_fit():
    assert bonds_at_shares(lambda bond: 15 * bond, 6, 54, (0.3, 0.6, 0.61, 1.0)) == (1, 2, 3)
    assert bonds_at_shares(lambda bond: 15 * bond, 6, 54, (0.01,)) == (1,)


def test_bonds_that_do_not_grow_are_refused(monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(ValueError, match=r"the bonds of a family grow, up to its full bond 6; here \(2, 1\)"):
        family((2, 1))
    with pytest.raises(ValueError, match=r"up to its full bond 3; here \(1, 4\)"):
        family((1, 4), 3)
    with pytest.raises(ValueError, match="not 1 members, 2 bonds and 1 errors"):
        Family((LowRank.from_weight(torch.ones(3, 4)),), (1, 2), (0.0,), 1.0, "Frobenius", 3)
