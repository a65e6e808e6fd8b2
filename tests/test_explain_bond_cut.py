"""What a cut bond does to the conditionals of all pairs, beside tables of the machine before and after."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_explain_pairs import random_cores
from torch import Tensor

from workbench.born.explain.bond_cut import BondCut, BondCuts, conditional_change, cut_bond, cut_each_bond
from workbench.born.explain.pairs import counterfactuals, information_map, pair_marginals
from workbench.born.machine import BornMachine
from workbench.decompose.train import TensorTrain
from workbench.truth.ising_chain import ising_chain
from workbench.truth.parity import even_parity
from workbench.truth.state import ghz

few = settings(max_examples=20)


def machine_of(n_sites: int, bond: int, seed: int, symbols: int = 2) -> BornMachine:
    return BornMachine.from_cores([core[:, :, 0] for core in random_cores([symbols] * n_sites, bond, seed)])


def dense_cut(machine: BornMachine, bond: int, rank: int) -> BornMachine:
    """The machine whose state, unfolded at one bond, is cut by a dense SVD."""
    state = machine.train.dense()
    u, s, vh = torch.linalg.svd(state.flatten(0, bond).flatten(1), full_matrices=False)
    return BornMachine(TensorTrain.from_dense(((u[:, :rank] * s[:rank]) @ vh[:rank]).reshape(state.shape)))


def moved(joint: Tensor, changed: Tensor, i: int, j: int) -> float:
    """The mean over symbols at i of the total variation, one by one."""
    before, after, total = counterfactuals(joint)[i, j], counterfactuals(changed)[i, j], 0.0
    for symbol in range(joint.shape[2]):
        share = float(joint[i, i, symbol, symbol])
        total += share * float((before[symbol] - after[symbol]).abs().sum()) / 2
    return total


@few
@given(st.integers(2, 5), st.integers(2, 3), st.integers(1, 4), st.integers(0, 10**6), st.data())
def test_a_cut_changes_conditionals_as_a_dense_svd_does(n_sites, symbols, bond_size, seed, data):
    machine = machine_of(n_sites, bond_size, seed, symbols)
    bond = data.draw(st.integers(0, n_sites - 2))
    rank = data.draw(st.integers(1, machine.train.bonds[bond]))
    cut = cut_bond(machine, bond, rank)
    before, after = pair_marginals(machine), pair_marginals(dense_cut(machine, bond, rank))
    expected = [[moved(before, after, i, j) for j in range(n_sites)] for i in range(n_sites)]
    assert cut.determined
    assert torch.allclose(cut.change, torch.tensor(expected, dtype=torch.float64), atol=1e-9)
    assert cut.discarded_weight == pytest.approx(machine.train.spectra[bond].discarded_weight(rank))
    assert 0 <= float(cut.change.min()) <= float(cut.change.max()) <= 1


def test_a_bond_that_is_not_cut_changes_nothing():
    machine = machine_of(6, 4, 1)
    for bond, full in enumerate(machine.train.bonds):
        cut = cut_bond(machine, bond, full)
        assert (cut.discarded_weight, cut.determined) == (0, True)
        assert float(cut.change.abs().max()) < 1e-12


def test_a_bond_cut_to_one_leaves_no_tie_across_it():
    machine = machine_of(7, 4, 2)
    bonds = list(machine.train.bonds)
    bonds[3] = 1
    information = information_map(pair_marginals(machine.truncate(bonds)))
    assert float(information[:4, 4:].max()) < 1e-20
    cut = cut_bond(machine, 3, 1)
    others = [*cut.change[:4, 4:].flatten().tolist(), *cut.change[4:, :4].flatten().tolist()]
    assert cut.across == pytest.approx(sum(others) / len(others))
    uneven = cut_bond(machine, 1, 1)  # two sites on the left, five on the right
    assert uneven.across == pytest.approx(float(uneven.change[:2, 2:].sum() + uneven.change[2:, :2].sum()) / 20)


def test_in_a_line_of_spins_the_ties_across_the_cut_die_and_no_others():
    cut = cut_bond(BornMachine(ising_chain(10, 0.6).mps()), 4, 1)
    inside = cut.change.clone()
    inside[:5, 5:] = inside[5:, :5] = 0
    assert float(inside.max()) < 1e-12  # by the symmetry of up and down
    across = cut.change[4, 5:]
    assert bool((across.diff() < 0).all())  # the nearest knew most
    assert float(across[0]) == pytest.approx(torch.tensor(0.6).tanh().item() / 2)


def test_a_change_of_basis_at_a_bond_leaves_what_a_cut_does():
    cores = [core[:, :, 0] for core in random_cores([2] * 6, 4, 3)]
    turn = torch.randn(4, 4, dtype=torch.float64) + 3 * torch.eye(4, dtype=torch.float64)
    turned = [*cores[:2], cores[2] @ turn, torch.tensordot(turn.inverse(), cores[3], dims=1), *cores[4:]]
    first, second = (cut_each_bond(BornMachine.from_cores(own), (1, 2, 3)) for own in (cores, turned))
    for own, other in zip(first.cuts, second.cuts, strict=True):
        assert torch.allclose(own.change, other.change, atol=1e-10)


def test_a_cut_between_equal_schmidt_values_says_that_it_is_an_accident():
    parity = BornMachine(even_parity(6).mps())
    assert not any(cut.determined for cut in cut_each_bond(parity, (1,)).cuts)
    spare = BornMachine.from_cores([core[:, :, 0] for core in random_cores([2] * 6, 3, 4)])
    cores = [torch.nn.functional.pad(core, (0, 2 * (k < 5), 0, 0, 0, 2 * (k > 0))) for k, core in
             enumerate(spare.train.cores)]  # fmt: skip
    assert all(cut.determined for cut in cut_each_bond(BornMachine.from_cores(cores), range(1, 6)).cuts)


def test_a_symbol_that_comes_no_more_has_changed_wholly():
    joint = pair_marginals(ghz(3).machine)
    ones = pair_marginals(BornMachine.from_cores([torch.tensor([0.0, 1.0]).double().reshape(1, 2, 1)] * 3))
    assert torch.allclose(conditional_change(joint, ones), torch.full((3, 3), 0.5, dtype=torch.float64))
    assert torch.allclose(conditional_change(ones, joint), torch.zeros(3, 3, dtype=torch.float64))


def test_each_bond_is_cut_to_the_ranks_below_its_own_and_told_in_a_table():
    machine = machine_of(5, 4, 5)
    cuts = cut_each_bond(machine, (3, 1, 2, 3))
    assert [(cut.bond, cut.rank) for cut in cuts.cuts] == [
        (0, 1),
        *[(bond, rank) for bond in (1, 2) for rank in (1, 2, 3)],
        (3, 1),
    ]
    assert torch.equal(cuts.cuts[3].change, cut_bond(machine, 1, 3).change)
    change = torch.zeros(2, 2, dtype=torch.float64)
    change[0, 1] = 0.5
    told = BondCuts((BondCut(0, 1, 0.25, True, change), BondCut(0, 2, 0.0125, False, change)))
    assert str(told).splitlines() == [
        "bond  rank  discarded weight  change across",
        "   0     1         2.500e-01       0.250000",
        "   0     2         1.250e-02       0.250000  between equal Schmidt values",
    ]


def test_cuts_that_do_not_fit_are_refused():
    machine = machine_of(5, 4, 6)
    with pytest.raises(ValueError, match="bond 4 is not in a machine of 5 sites; give 0 to 3"):
        cut_bond(machine, 4, 1)
    with pytest.raises(ValueError, match=r"bond 3 does not fit: this bond can be cut to 1, 2, … 2"):
        cut_bond(machine, 0, 3)
    with pytest.raises(ValueError, match=r"bond 0 does not fit: this bond can be cut to 1, 2, … 2"):
        cut_each_bond(machine, (0,))
    uneven = BornMachine.from_cores([core[:, :, 0] for core in random_cores([3, 3, 4], 2, 0)])
    with pytest.raises(ValueError, match="site 2 has 4 symbols, but site 0 has 3"):
        cut_bond(uneven, 0, 1)
