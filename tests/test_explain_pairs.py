"""The tables and maps of all pairs beside sums over all strings, for every kind of source and model."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from workbench.born.explain.blocks import block_information
from workbench.born.explain.pairs import (
    HasMarginals,
    correlation_map,
    counterfactuals,
    influence_map,
    information_map,
    pair_marginals,
)
from workbench.born.machine import BornMachine
from workbench.born.nonnegative import NonNegativeTrain
from workbench.born.purified import PurifiedTrain
from workbench.born.questions import ChainModel
from workbench.truth.enumerated import TableSource, log_table, table_of
from workbench.truth.ground_state import ground_state
from workbench.truth.hamiltonian import transverse_ising
from workbench.truth.images import bars_and_stripes
from workbench.truth.ising_chain import SPIN_VALUES, ising_chain
from workbench.truth.ising_torus import IsingTorus
from workbench.truth.parity import even_parity, hidden_parity, modular_addition
from workbench.truth.processes import bloch_walk, mess3, rrxor, z1r
from workbench.truth.samples import from_samples
from workbench.truth.source import Description
from workbench.truth.state import cluster, ghz, w_state
from workbench.truth.strings import table_information
from workbench.truth.words import dyck, motzkin

few = settings(max_examples=25)
LN2 = math.log(2)

SOURCES = {
    "even parity": lambda: even_parity(8),
    "hidden parity": lambda: hidden_parity(12, (1, 4, 6, 9)),
    "modular addition": lambda: modular_addition(5),
    "Ising line": lambda: ising_chain(8, 0.5, 0.2),
    "Ising ring": lambda: ising_chain(7, -0.4, 0.3, periodic=True),
    "Ising torus": lambda: IsingTorus(4, 3, 0.35),
    "Mess3": lambda: mess3().source(6),
    "Z1R": lambda: z1r().source(7),
    "RRXOR": lambda: rrxor(0.4, 0.7).source(7),
    "Bloch walk": lambda: bloch_walk().source(4),
    "Dyck": lambda: dyck(8),
    "Motzkin": lambda: motzkin(7),
    "bars and stripes": lambda: bars_and_stripes(3, 3),
    "GHZ in z": lambda: ghz(6),
    "GHZ in x": lambda: ghz(6, "x"),
    "W in z": lambda: w_state(6),
    "W at angles": lambda: w_state(5, [0.3, 0.8, -0.4, 1.2, 2.0]),
    "cluster in z": lambda: cluster(6),
    "cluster in turn": lambda: cluster(6, "zxzxzx"),
    "transverse Ising in z": lambda: ground_state(transverse_ising(8, 1.0)),
    "transverse Ising in x": lambda: ground_state(transverse_ising(8, 1.0), "x"),
    "table": lambda: TableSource.of_probabilities(
        torch.rand(3, 3, 3, 3, dtype=torch.float64), ("x", "y", "z"), Description("table", "", "drawn")
    ),
    "samples": lambda: from_samples(torch.randint(0, 2, (70, 6))),
}


def random_cores(shape: list[int], bond: int, seed: int, hidden: int = 1) -> list[Tensor]:
    """Cores (left, site, hidden, right) of both signs, not canonical."""
    generator = torch.Generator().manual_seed(seed)
    bonds = [1, *[bond] * (len(shape) - 1), 1]
    return [
        torch.randn(bonds[k], site, hidden, bonds[k + 1], generator=generator, dtype=torch.float64)
        for k, site in enumerate(shape)
    ]


# A kind, how many sites and symbols, a bond that may be larger than needed, and a seed.
specs = st.tuples(
    st.sampled_from(["born", "non-negative", "purified"]),
    st.integers(1, 5), st.integers(2, 3), st.integers(1, 4), st.integers(0, 10**6),
)  # fmt: skip


def made(spec: tuple[str, int, int, int, int]) -> ChainModel:
    kind, n_sites, symbols, bond, seed = spec
    cores = random_cores([symbols] * n_sites, bond, seed, hidden=2 if kind == "purified" else 1)
    if kind == "born":
        return BornMachine.from_cores([core[:, :, 0] for core in cores])
    if kind == "purified":
        return PurifiedTrain.from_cores(cores)
    return NonNegativeTrain(tuple([core[:, :, 0].abs() for core in cores]))


def summed(table: Tensor, i: int, j: int) -> Tensor:
    """The joint table of two sites by sums alone; of a site with itself the diagonal matrix."""
    letters = "abcdefghijkl"[: table.ndim]
    if i == j:
        return torch.einsum(f"{letters}->{letters[i]}", table).diag()
    return torch.einsum(f"{letters}->{letters[i]}{letters[j]}", table)


def assert_pairs_are_sums(model: HasMarginals, table: Tensor) -> None:
    joint = pair_marginals(model)
    expected = [[summed(table, i, j) for j in range(table.ndim)] for i in range(table.ndim)]
    assert torch.allclose(joint, torch.stack([torch.stack(row) for row in expected]), atol=1e-12)
    information = information_map(joint)
    for i, row in enumerate(expected):
        for j, pair in enumerate(row):
            assert float(information[i, j]) == pytest.approx(table_information(pair), abs=1e-10)


@pytest.mark.parametrize("name", SOURCES)
def test_the_pairs_of_a_source_are_sums_over_its_strings(name):
    source = SOURCES[name]()
    assert isinstance(source, HasMarginals)
    assert_pairs_are_sums(source, table_of(source))


@pytest.mark.parametrize("name", ["even parity", "Motzkin", "W at angles", "bars and stripes", "Mess3"])
def test_the_machine_of_a_source_has_its_pairs(name):
    source = SOURCES[name]()
    assert torch.allclose(pair_marginals(BornMachine(source.mps())), pair_marginals(source), atol=1e-12)


@few
@given(specs)
def test_the_pairs_of_a_model_are_sums_over_its_strings(spec):
    model = made(spec)
    assert_pairs_are_sums(model, log_table(model, model.shape[0], model.n_sites).exp())


@few
@given(specs)
def test_information_and_influence_are_symmetric_not_negative_and_bound_each_other(spec):
    joint = pair_marginals(made(spec))
    information, influence = information_map(joint), influence_map(joint)
    assert torch.allclose(information, information.T, atol=1e-13)
    assert torch.allclose(influence, influence.T, atol=1e-13)
    assert float(information.min()) >= 0
    assert 0 <= float(influence.min()) <= float(influence.max()) <= 1
    assert bool((information >= 2 * influence.square() - 1e-12).all())  # Pinsker's inequality


def test_a_change_of_basis_at_a_bond_leaves_all_pairs():
    cores = [core[:, :, 0] for core in random_cores([3] * 6, 4, 1)]
    turn = torch.randn(4, 4, dtype=torch.float64) + 3 * torch.eye(4, dtype=torch.float64)
    turned = [*cores[:2], cores[2] @ turn, torch.tensordot(turn.inverse(), cores[3], dims=1), *cores[4:]]
    found = [pair_marginals(BornMachine.from_cores(own)) for own in (cores, turned)]
    assert torch.allclose(*found, atol=1e-12)


def test_a_long_chain_neither_underflows_nor_overflows():
    step = torch.tensor([[[3e5, 0], [0, 1e5]], [[1e5, 0], [0, 3e5]]], dtype=torch.float64)  # (spin, next, next)
    for scale in (1e-20, 1e3):
        cores = (step.sum(0, keepdim=True) * scale, *[step * scale] * 298, step.sum(2, keepdim=True) * scale)
        joint = pair_marginals(NonNegativeTrain(cores))
        correlation = correlation_map(joint, SPIN_VALUES)
        assert torch.allclose(correlation[100], 0.5 ** (torch.arange(300.0) - 100).abs().double(), atol=1e-12)
    state = BornMachine.from_cores([core.sqrt() for core in cores])  # every string has one path
    assert torch.allclose(pair_marginals(state), joint, atol=1e-11)


def test_the_spins_of_a_line_are_tied_as_its_correlation_length_says():
    joint = pair_marginals(ising_chain(16, 0.5))
    correlation, information = correlation_map(joint, SPIN_VALUES), information_map(joint)
    apart = (torch.arange(16)[:, None] - torch.arange(16)).abs()
    assert torch.allclose(correlation, math.tanh(0.5) ** apart.double(), atol=1e-12)
    assert float(information[4, 5]) == pytest.approx(0.110944, abs=1e-6)
    assert float(information[3, 8]) == pytest.approx(0.000222, abs=1e-6)


def test_a_covariance_is_the_mean_of_products_less_the_product_of_means():
    source, values = ising_chain(6, 0.4, 0.7), torch.tensor([2.0, -3.5], dtype=torch.float64)
    table, found = table_of(source), correlation_map(pair_marginals(source), values)
    x = torch.cartesian_prod(*[values] * 6)
    centred = x - table.flatten() @ x
    assert torch.allclose(found, centred.T @ (table.flatten()[:, None] * centred), atol=1e-12)
    assert float(found[0, 0] - found[2, 2]) != pytest.approx(0, abs=1e-3)  # the ends lean otherwise than the middle


def test_a_tie_far_below_rounding_of_entropies_still_has_its_digits():
    information = information_map(pair_marginals(ising_chain(40, 0.5)))
    first, last = float(information[0, 17]), float(information[0, 18])
    assert last < 1e-12
    assert last / first == pytest.approx(math.tanh(0.5) ** 2, rel=1e-4)


def test_no_two_bits_of_a_parity_know_anything_and_its_halves_share_one():
    source = hidden_parity(12, (1, 4, 6, 9))
    information = information_map(pair_marginals(source))
    assert torch.allclose(information.diagonal(), torch.full((12,), LN2, dtype=torch.float64), atol=1e-12)
    assert float(information.fill_diagonal_(0).max()) < 1e-30
    assert block_information(source, (1, 9, 0), (6, 4)) == pytest.approx(LN2, abs=1e-12)
    assert block_information(source, (1, 9), (6, 5, 11)) == pytest.approx(0, abs=1e-12)
    numbers = modular_addition(7)
    assert block_information(numbers, (2,), (1, 0)) == pytest.approx(math.log(7), abs=1e-12)


def test_the_information_of_blocks_is_that_of_their_table():
    model = BornMachine.from_cores([core[:, :, 0] for core in random_cores([2, 3, 2, 3, 2], 4, 9)])
    joint = model.marginal((4, 1, 2, 0)).reshape(2, 12)
    assert block_information(model, (4,), (1, 2, 0)) == pytest.approx(table_information(joint), abs=1e-12)
    assert block_information(model, (2, 1, 0), (4,)) == pytest.approx(table_information(joint), abs=1e-12)


def test_a_counterfactual_is_the_conditional_of_the_model():
    model = PurifiedTrain.from_cores(random_cores([3] * 5, 3, 8, hidden=2))
    told = counterfactuals(pair_marginals(model))
    for i, j, symbol in [(0, 3, 2), (4, 1, 0), (2, 3, 1)]:
        assert torch.allclose(told[i, j, symbol], model.conditional({i: symbol}, (j,)), atol=1e-12)
    assert torch.allclose(told[2, 2], torch.eye(3, dtype=torch.float64), atol=1e-12)


def test_nothing_is_told_by_a_symbol_that_never_comes():
    told = counterfactuals(pair_marginals(dyck(6)))  # the first bracket opens, the last closes
    assert bool(told[0, :, 1].isnan().all())
    assert bool(told[5, :, 0].isnan().all())
    assert bool(told[1:5].isfinite().all())
    for amplitude, comes in [(1e-7, True), (0.1 + 0.2 - 0.3, False)]:  # the second is rounding, squared
        core = torch.tensor([1.0, amplitude], dtype=torch.float64).reshape(1, 2, 1)
        told = counterfactuals(pair_marginals(BornMachine.from_cores([core] * 3)))
        assert bool(told[:, :, 0].isfinite().all())
        assert bool(told[:, :, 1].isfinite().all()) is comes


def test_influence_is_the_mean_total_variation_of_the_conditionals():
    joint = pair_marginals(motzkin(6))
    told, influence = counterfactuals(joint).nan_to_num(0), influence_map(joint)
    alone = torch.stack([joint[site, site].diagonal() for site in range(6)])
    for i in range(6):
        for j in range(6):
            moved = (told[i, j] - alone[j]).abs().sum(1) / 2
            assert float(influence[i, j]) == pytest.approx(float(alone[i] @ moved), abs=1e-12)
    assert float(influence_map(pair_marginals(ghz(4)))[0, 3]) == pytest.approx(0.5)


class Uneven:
    """Two independent sites of three and four symbols."""

    n_sites = 2

    def marginal(self, sites) -> Tensor:
        return torch.full([(3, 4)[site] for site in sites], 1.0, dtype=torch.float64)


def test_sites_of_unequal_alphabets_are_refused():
    chain = BornMachine.from_cores([core[:, :, 0] for core in random_cores([3, 3, 4], 2, 0)])
    with pytest.raises(ValueError, match="site 2 has 4 symbols, but site 0 has 3; maps of pairs need one alphabet"):
        pair_marginals(chain)
    with pytest.raises(ValueError, match="site 1 has 4 symbols, but site 0 has 3; maps of pairs need one alphabet"):
        pair_marginals(Uneven())


def test_values_and_blocks_that_do_not_fit_are_refused():
    source = motzkin(5)
    with pytest.raises(ValueError, match="4 values are given for 3 symbols; give one for each"):
        correlation_map(pair_marginals(source), torch.ones(4))
    with pytest.raises(ValueError, match="blocks of 3 and 0 sites are given; each needs one or more"):
        block_information(source, (0, 1, 2), ())
    with pytest.raises(ValueError, match="site 2 is in both blocks; what it knows of itself is its entropy"):
        block_information(source, (0, 2), (4, 2, 3))
    with pytest.raises(ValueError, match="site 5 is not in a string of 5 symbols"):
        block_information(source, (0, 2), (5,))
