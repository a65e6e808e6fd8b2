"""Ising models: Boltzmann's weights summed by hand, Kaufman's and Onsager's formulas, and the guide's values."""

import itertools
import math

import pytest
import torch

from workbench.truth.enumerated import table_of
from workbench.truth.ising_chain import correlation_length, ising_chain, ising_rate
from workbench.truth.ising_torus import IsingTorus
from workbench.truth.onsager import CRITICAL_BETA, energy_per_site, entropy_per_site, log_partition_per_site
from workbench.truth.strings import table_entropy

CATALAN = 0.915965594177219


def boltzmann(
    n_sites: int, links: list[tuple[int, int]], beta: float, field: float = 0.0
) -> tuple[torch.Tensor, float]:
    """p of every configuration, and ln Z, by summing over links."""
    weights = []
    for bits in itertools.product((1, -1), repeat=n_sites):
        energy = sum(bits[i] * bits[j] for i, j in links) + field * sum(bits)
        weights.append(math.exp(beta * energy))
    return torch.tensor(weights, dtype=torch.float64) / sum(weights), math.log(sum(weights))


def torus_links(rows: int, columns: int) -> list[tuple[int, int]]:
    return [
        (row * columns + column, there[0] % rows * columns + there[1] % columns)
        for row in range(rows)
        for column in range(columns)
        for there in ((row + 1, column), (row, column + 1))
    ]


def kaufman(rows: int, columns: int, beta: float) -> float:
    """ln Z of a torus in closed form: four products over momenta (Kaufman 1949, equation 50)."""
    coupling = math.cosh(2 * beta) ** 2 / math.sinh(2 * beta)
    levels = [math.acosh(coupling - math.cos(math.pi * r / columns)) for r in range(1, 2 * columns)]
    lowest = 2 * beta + math.log(math.tanh(beta))  # changes its sign at the critical point
    odd, even = levels[0::2], [lowest, *levels[1::2]]
    products = [
        math.prod(2 * math.cosh(rows * level / 2) for level in odd),
        math.prod(2 * math.sinh(rows * level / 2) for level in odd),
        math.prod(2 * math.cosh(rows * level / 2) for level in even),
        math.prod(2 * math.sinh(rows * level / 2) for level in even),
    ]
    return rows * columns / 2 * math.log(2 * math.sinh(2 * beta)) + math.log(sum(products) / 2)


@pytest.mark.parametrize(("periodic", "log_z", "entropy"), [(False, 12.892072, 9.426194), (True, 13.012191, 9.315195)])
def test_a_chain_of_16_spins_has_the_listed_values(periodic, log_z, entropy):
    source = ising_chain(16, 0.5, periodic=periodic)
    assert source.log_partition == pytest.approx(log_z, abs=1e-6)
    assert source.entropy() == pytest.approx(entropy, abs=1e-6)
    assert source.entropy_rate() == pytest.approx(0.582203, abs=1e-6)
    assert correlation_length(0.5) == pytest.approx(1.29544, abs=1e-5)
    assert source.bond_dims() == ((2, *[4] * 13, 2) if periodic else (2,) * 15)


def test_information_falls_with_distance_as_listed():
    source = ising_chain(16, 0.5)
    assert source.mutual_information(7, 8) == pytest.approx(0.110944, abs=1e-6)
    assert source.mutual_information(4, 9) == pytest.approx(0.000222, abs=1e-6)


@pytest.mark.parametrize(("beta", "field"), [(0.5, 0.3), (-0.7, 0.4), (0.8, -0.2), (0.0, 0.5)])
@pytest.mark.parametrize("periodic", [False, True])
def test_a_chain_is_boltzmanns(beta, field, periodic):
    links = [(k, (k + 1) % 7) for k in range(7 if periodic else 6)]
    p, log_z = boltzmann(7, links, beta, field)
    source = ising_chain(7, beta, field, periodic)
    assert torch.allclose(table_of(source).flatten(), p)
    assert source.log_partition == pytest.approx(log_z)


@pytest.mark.parametrize(("beta", "field"), [(0.5, 0.0), (0.5, 0.3), (-0.7, 0.4), (0.9, -0.8), (-0.2, -0.1)])
def test_the_rate_is_the_growth_of_the_entropy_and_correlations_fall_by_the_length(beta, field):
    long, longer = ising_chain(300, beta, field), ising_chain(302, beta, field)
    assert ising_rate(beta, field) == pytest.approx((longer.entropy() - long.entropy()) / 2, abs=1e-10)

    def correlation(distance: int) -> float:
        joint = long.marginal((120, 120 + distance))
        return float(joint[0, 0] - joint[0].sum() * joint[:, 0].sum())

    assert abs(correlation(8) / correlation(10)) == pytest.approx(
        math.exp(2 / correlation_length(beta, field)), rel=1e-7
    )


def test_cold_and_free_spins_are_no_special_case():
    assert ising_rate(0) == pytest.approx(math.log(2))
    assert correlation_length(0, 0.4) == 0
    assert 0 < ising_rate(20) < 1e-14
    assert correlation_length(8) == pytest.approx(math.exp(16) / 2, rel=1e-6)
    assert math.isfinite(ising_rate(-290, 0.01))
    assert 0 < ising_rate(20, -0.5) < 1e-40
    assert 0 <= ising_rate(100, -2) < 1e-100
    assert ising_chain(500, 250).entropy() == pytest.approx(math.log(2))


@pytest.mark.parametrize(
    ("size", "log_z", "entropy"),
    [(3, 9.020213, None), (4, 15.521915, 4.482720), (6, 34.111541, 10.046767), (8, 60.141781, 18.073069)],
)
def test_a_critical_torus_has_the_listed_values_and_kaufmans(size, log_z, entropy):
    source = IsingTorus(size, size, CRITICAL_BETA)
    assert source.log_partition == pytest.approx(log_z, abs=1e-6)
    assert source.log_partition == pytest.approx(kaufman(size, size, CRITICAL_BETA), rel=1e-9)
    if entropy is not None:
        assert source.entropy() == pytest.approx(entropy, abs=1e-6)


@pytest.mark.parametrize(("rows", "columns", "beta"), [(5, 3, 0.3), (3, 5, 0.6), (4, 3, 0.9)])
def test_an_oblong_torus_is_kaufmans_either_way_round(rows, columns, beta):
    assert IsingTorus(rows, columns, beta).log_partition == pytest.approx(kaufman(rows, columns, beta), rel=1e-10)
    assert IsingTorus(columns, rows, beta).entropy() == pytest.approx(IsingTorus(rows, columns, beta).entropy())


@pytest.mark.parametrize("beta", [0.4, -0.25])
def test_a_torus_is_boltzmanns(beta):
    p, log_z = boltzmann(12, torus_links(4, 3), beta)
    source = IsingTorus(4, 3, beta)
    assert torch.allclose(table_of(source).flatten(), p)
    assert source.log_partition == pytest.approx(log_z)
    assert source.entropy() == pytest.approx(table_entropy(p), abs=1e-11)
    assert float(p @ p.log()) == pytest.approx(-source.log_partition - beta * source.energy())


def test_samples_of_a_torus_have_its_energy_and_its_correlations():
    source = IsingTorus(6, 5, 0.42)
    drawn = source.sample(4000, torch.Generator().manual_seed(0))
    log_p = source.log_prob(drawn)
    assert -float(log_p.mean()) == pytest.approx(source.entropy(), abs=4 * float(log_p.std()) / math.sqrt(4000))
    for site in (1, 5, 25, 17):
        alike = float((drawn[:, 0] == drawn[:, site]).double().mean())
        joint = source.marginal((0, site))
        assert alike == pytest.approx(float(joint[0, 0] + joint[1, 1]), abs=0.03)


def test_marginals_of_a_torus_do_not_know_where_it_was_cut():
    source = IsingTorus(5, 4, 0.4)
    here = source.marginal((0, 1, 5, 14))
    moved = [(row + 3) % 5 * 4 + (column + 2) % 4 for row, column in (divmod(site, 4) for site in (0, 1, 5, 14))]
    assert torch.allclose(source.marginal(moved), here, atol=1e-13)


def test_the_infinite_lattice_at_its_critical_point_is_onsagers():
    assert pytest.approx(0.4406868, abs=1e-7) == CRITICAL_BETA
    assert log_partition_per_site(CRITICAL_BETA) == pytest.approx(math.log(2) / 2 + 2 * CATALAN / math.pi, abs=1e-12)
    assert log_partition_per_site(CRITICAL_BETA) == pytest.approx(0.929695, abs=1e-6)
    assert energy_per_site(CRITICAL_BETA) == pytest.approx(-math.sqrt(2), abs=1e-7)


@pytest.mark.parametrize("beta", [0.1, 0.3, 0.43, 0.46, 0.8, -0.5])
def test_the_energy_of_the_infinite_lattice_is_the_slope_of_its_partition(beta):
    step = 1e-5
    slope = (log_partition_per_site(beta + step) - log_partition_per_site(beta - step)) / (2 * step)
    assert energy_per_site(beta) == pytest.approx(-slope, abs=1e-7)
    assert log_partition_per_site(-beta) == pytest.approx(log_partition_per_site(beta))


def test_a_torus_far_from_criticality_is_the_infinite_lattice():
    source = IsingTorus(9, 9, 0.2)
    assert source.entropy() / 81 == pytest.approx(source.entropy_rate(), abs=1e-5)
    assert source.entropy_rate() == entropy_per_site(0.2)
    assert energy_per_site(0) == 0
    assert entropy_per_site(0) == pytest.approx(math.log(2))


def test_a_frozen_torus_is_one_bit_or_all_ways_to_be_frustrated():
    source = IsingTorus(4, 5, 100.0)
    assert source.entropy() == pytest.approx(math.log(2), abs=1e-9)
    assert source.log_partition == pytest.approx(4000 + math.log(2))
    energies = [sum(x[i] * x[j] for i, j in torus_links(3, 3)) for x in itertools.product((1, -1), repeat=9)]
    frustrated = IsingTorus(3, 3, -100.0)
    assert frustrated.entropy() == pytest.approx(math.log(energies.count(min(energies))), abs=1e-9)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ising_chain(1, 0.5), "a line of spins has 2 or more and a ring 3 or more, not 1"),
        (lambda: ising_chain(2, 0.5, periodic=True), "a line of spins has 2 or more and a ring 3 or more, not 2"),
        (lambda: ising_chain(4, math.nan), "β is nan and the field 0.0; weights stay finite"),
        (
            lambda: ising_chain(4, 200.0, 0.6),
            r"β is 200.0 and the field 0.6; .* for \|β\| \(1 \+ \|field\|\) up to 300",
        ),
        (lambda: IsingTorus(2, 4, 0.5), "a torus has sides of 3 or more, not 2 x 4"),
        (
            lambda: IsingTorus(3, 12, 0.5),
            r"over 12 columns and 3 rows hold 5.03e\+07 numbers, .* shorter side as columns",
        ),
        (lambda: IsingTorus(5, 4, math.inf), "β is inf and the field 0.0"),
        (lambda: IsingTorus(5, 5, 0.4).mps(), r"25 sites of 2 symbols make 2\^25 strings, more than the 2\^20"),
        (lambda: IsingTorus(5, 5, 0.4).marginal(range(25)), r"2\^25 strings, more than the 2\^24"),
        (
            lambda: IsingTorus(8, 8, 0.4).marginal((*range(8), *range(16, 24), *range(32, 35), 48)),
            r"20 sites in 4 rows of 8 takes 1.34e\+08 numbers, more than 2\^26; give sites of fewer rows",
        ),
    ],
)
def test_an_ising_model_that_cannot_be_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
