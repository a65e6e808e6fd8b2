"""States of a few sites of a Born machine beside its dense state vector, and the information they share."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_explain_pairs import LN2, SOURCES, random_cores
from torch import Tensor

from workbench.born.explain.blocks import block_information, quantum_block_information
from workbench.born.explain.pairs import information_map, pair_marginals
from workbench.born.explain.states import (
    block_entropy,
    excess_entanglement,
    pair_states,
    quantum_information_map,
    reduced_state,
    site_entropies,
    state_entropies,
)
from workbench.born.machine import BornMachine
from workbench.truth.ground_state import ground_state
from workbench.truth.hamiltonian import transverse_ising
from workbench.truth.parity import even_parity, hidden_parity, modular_addition
from workbench.truth.state import cluster, ghz, w_state

few = settings(max_examples=25)
shapes = st.lists(st.integers(2, 3), min_size=1, max_size=6)
seeds = st.integers(0, 10**6)


def machine_of(shape: list[int], bond: int, seed: int) -> BornMachine:
    return BornMachine.from_cores([core[:, :, 0] for core in random_cores(shape, bond, seed)])


def traced_out(machine: BornMachine, sites: tuple[int, ...]) -> Tensor:
    """The density matrix of sites from the dense state vector."""
    state = machine.train.dense()
    others = [site for site in range(machine.n_sites) if site not in sites]
    rows = state.permute(*sites, *others).reshape(math.prod(state.shape[site] for site in sites), -1)
    return rows @ rows.T


def entropy_of(rho: Tensor) -> float:
    values = torch.linalg.eigvalsh(rho)
    values = values[values > 1e-15]
    return -float((values * values.log()).sum())


@few
@given(shapes, st.integers(1, 4), seeds, st.data())
def test_the_state_of_any_sites_is_the_dense_state_traced_out(shape, bond, seed, data):
    machine = machine_of(shape, bond, seed)
    sites = tuple(data.draw(st.permutations(range(len(shape))))[: data.draw(st.integers(0, len(shape)))])
    state = reduced_state(machine, sites)
    assert torch.allclose(state, traced_out(machine, sites), atol=1e-12)
    assert torch.allclose(state.diagonal(), machine.marginal(sites).flatten(), atol=1e-12)
    assert float(state.trace()) == pytest.approx(1, abs=1e-12)


@few
@given(shapes, st.integers(1, 4), seeds)
def test_the_entropy_of_every_block_is_that_of_its_state(shape, bond, seed):
    machine = machine_of(shape, bond, seed)
    for size in range(len(shape) + 1):
        for sites in itertools.combinations(range(len(shape)), size):
            expected = entropy_of(traced_out(machine, sites))
            assert block_entropy(machine, sites[::-1]) == pytest.approx(expected, abs=1e-10)
    alone = [entropy_of(traced_out(machine, (site,))) for site in range(len(shape))]
    assert site_entropies(machine).tolist() == pytest.approx(alone, abs=1e-10)


@pytest.mark.parametrize("name", SOURCES)
def test_pair_states_are_the_dense_state_traced_out_and_their_diagonals_the_pair_marginals(name):
    machine = BornMachine(SOURCES[name]().mps())
    states, symbols = pair_states(machine), machine.shape[0]
    information, alone = quantum_information_map(machine), site_entropies(machine)
    diagonals = states.diagonal(dim1=2, dim2=3).unflatten(2, (symbols, symbols))
    assert torch.allclose(diagonals, pair_marginals(machine), atol=1e-12)
    for i, j in itertools.permutations(range(machine.n_sites), 2):
        expected = traced_out(machine, (i, j))
        assert torch.allclose(states[i, j], expected, atol=1e-12)
        shared = float(alone[i] + alone[j]) - entropy_of(expected)
        assert float(information[i, j]) == pytest.approx(shared, abs=1e-10)
    assert torch.allclose(information.diagonal(), alone, atol=1e-12)


@few
@given(st.integers(2, 6), st.integers(2, 3), st.integers(1, 4), seeds)
def test_a_measurement_shows_no_more_information_than_the_state_holds(n_sites, symbols, bond, seed):
    machine = machine_of([symbols] * n_sites, bond, seed)
    quantum, classical = quantum_information_map(machine), information_map(pair_marginals(machine))
    assert bool((quantum - classical).fill_diagonal_(0).min() > -1e-10)
    assert torch.allclose(quantum, quantum.T, atol=1e-12)
    assert float(quantum.fill_diagonal_(0).max()) < 2 * math.log(symbols) + 1e-10


def test_a_change_of_basis_at_a_bond_leaves_states_and_entropies():
    cores = [core[:, :, 0] for core in random_cores([2] * 7, 4, 1)]
    turn = torch.randn(4, 4, dtype=torch.float64) + 3 * torch.eye(4, dtype=torch.float64)
    turned = [*cores[:3], cores[3] @ turn, torch.tensordot(turn.inverse(), cores[4], dims=1), *cores[5:]]
    first, second = (BornMachine.from_cores(own) for own in (cores, turned))
    assert torch.allclose(pair_states(first), pair_states(second), atol=1e-12)
    assert torch.allclose(quantum_information_map(first), quantum_information_map(second), atol=1e-11)
    assert block_entropy(first, (1, 3, 4)) == pytest.approx(block_entropy(second, (1, 3, 4)), abs=1e-11)


def test_turning_the_measurement_leaves_the_quantum_information():
    maps = [quantum_information_map(w_state(6, basis).machine) for basis in ("z", "x", [0.3] * 6)]
    assert torch.allclose(maps[0], maps[1], atol=1e-12)
    assert torch.allclose(maps[0], maps[2], atol=1e-12)


def test_the_bits_of_a_hidden_parity_share_ln_2_in_the_state_and_nothing_in_the_strings():
    inside = torch.zeros(12, dtype=torch.float64)
    inside[[1, 4, 6, 9]] = 1
    source = hidden_parity(12, (1, 4, 6, 9))
    found = quantum_information_map(BornMachine(source.mps()))
    assert torch.allclose(found, LN2 * inside[:, None] * inside, atol=1e-12)
    assert float(information_map(pair_marginals(source)).fill_diagonal_(0).max()) < 1e-30


def test_what_is_known_of_states_in_closed_form():
    assert torch.allclose(quantum_information_map(ghz(5).machine), torch.full((5, 5), LN2, dtype=torch.float64))
    share = -sum(p * math.log(p) for p in (1 / 6, 5 / 6))
    assert site_entropies(w_state(6).machine).tolist() == pytest.approx([share] * 6)
    assert block_entropy(w_state(6).machine, (1, 3)) == pytest.approx(-sum(p * math.log(p) for p in (1 / 3, 2 / 3)))
    assert block_entropy(cluster(8).machine, (2, 4, 6)) == pytest.approx(3 * LN2)  # each joined to two others
    assert block_entropy(cluster(8).machine, (3, 4, 5)) == pytest.approx(2 * LN2)
    assert block_entropy(BornMachine(modular_addition(5).mps()), (1,)) == pytest.approx(math.log(5))
    spins = BornMachine(ground_state(transverse_ising(10, 1.0)).mps())
    assert block_entropy(spins, range(5)) == pytest.approx(0.379052, abs=1e-6)
    assert block_entropy(spins, range(5, 10)) == pytest.approx(0.379052, abs=1e-6)


def test_two_sides_of_a_bond_share_twice_its_entropy_in_the_state_and_once_in_the_strings():
    source = even_parity(9)
    machine = BornMachine(source.mps())
    assert quantum_block_information(machine, range(4), range(4, 9)) == pytest.approx(2 * LN2)
    assert block_information(source, range(4), range(4, 9)) == pytest.approx(LN2)
    drawn = machine_of([3] * 6, 4, 2)
    for k in (1, 3):
        found = quantum_block_information(drawn, range(k), range(k, 6))
        assert found == pytest.approx(2 * drawn.entropies()[k - 1], abs=1e-10)
        assert found >= block_information(drawn, range(k), range(k, 6))
    with pytest.raises(ValueError, match="site 3 is in both blocks"):
        quantum_block_information(drawn, (1, 3), (3, 5))


def test_a_block_inside_a_long_chain_costs_its_two_bonds():
    machine = machine_of([2] * 60, 6, 3)
    chain, alone = block_entropy(machine, range(20, 45)), block_entropy(machine, range(20))
    both = block_entropy(machine, range(45, 60))
    assert abs(alone - both) - 1e-9 < chain < alone + both + 1e-9  # Araki & Lieb (1970)
    assert block_entropy(machine, [*range(20), *range(45, 60)]) == pytest.approx(chain, abs=1e-10)
    assert torch.isfinite(quantum_information_map(machine)).all()


def test_entanglement_beyond_the_truth_is_told_bond_by_bond():
    truth = BornMachine(even_parity(5).mps())
    learned = machine_of([2] * 5, 4, 4)
    expected = [own - LN2 for own in learned.entropies()]
    assert excess_entanglement(learned, truth) == pytest.approx(expected)
    assert excess_entanglement(truth, truth) == pytest.approx([0] * 4)
    with pytest.raises(ValueError, match=r"between equal sites, not \(2, 2, 2\) and \(2, 2, 2, 2, 2\)"):
        excess_entanglement(ghz(3).machine, truth)


def test_entropies_of_states_are_those_of_their_shares():
    states = torch.stack([torch.eye(3), torch.diag(torch.tensor([2.0, 0.0, 0.0]))]).double()
    assert state_entropies(states).tolist() == pytest.approx([math.log(3), 0])


def test_states_that_are_too_large_are_refused():
    machine = ghz(30).machine
    with pytest.raises(ValueError, match=r"the state of 13 sites has 8192 rows, more than the 2\^12"):
        reduced_state(machine, range(13))
    with pytest.raises(ValueError, match="site 30 is not in a string of 30 symbols"):
        reduced_state(machine, (2, 30))
    with pytest.raises(ValueError, match=r"a block of 13 sites in 13 runs has a state of 8192 rows or more"):
        block_entropy(machine, range(1, 27, 2))
    with pytest.raises(ValueError, match="name one twice"):
        block_entropy(machine, (1, 1))
    uneven = BornMachine.from_cores([core[:, :, 0] for core in random_cores([3, 3, 4], 2, 0)])
    with pytest.raises(ValueError, match="site 2 has 4 symbols, but site 0 has 3"):
        pair_states(uneven)
