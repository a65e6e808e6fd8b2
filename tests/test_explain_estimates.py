"""Information and entropy from samples: their bias is the predicted one, their error covers the truth."""

import math

import pytest
import torch

from workbench.born.explain.estimates import (
    estimate_entropy,
    estimate_information,
    information_bias,
    pair_counts,
    sample_information,
)
from workbench.born.explain.pairs import information_map, pair_marginals
from workbench.transformer.string_gpt import StringGPTRecipe, learn_strings
from workbench.truth.enumerated import TableSource, log_table
from workbench.truth.processes import mess3
from workbench.truth.source import Description


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("symbols", [2, 4])
def test_the_mean_estimate_of_independent_symbols_is_the_bias_to_first_order(symbols):
    n, runs = 400, 300
    # Sites are independent, so each pair of 2 runs is a draw of its own: 300 of 6 sites are 4,500 pairs.
    maps = torch.stack(
        [sample_information(torch.randint(symbols, (n, 6), generator=seeded(k)), symbols) for k in range(runs)]
    )
    pairs, own = maps.mean(0)[*torch.triu_indices(6, 6, offset=1)], maps.mean(0).diagonal()
    assert float(pairs.mean()) == pytest.approx((symbols - 1) ** 2 / (2 * n), rel=0.05)
    assert float(math.log(symbols) - own.mean()) == pytest.approx((symbols - 1) / (2 * n), rel=0.1)
    true = torch.full((6, 6, symbols, symbols), symbols**-2.0, dtype=torch.float64)
    true[range(6), range(6)] = torch.eye(symbols, dtype=torch.float64) / symbols
    bias = information_bias(true, n)
    assert bias[0, 1] == (symbols - 1) ** 2 / (2 * n)
    assert bias[3, 3] == -(symbols - 1) / (2 * n)


def test_the_bias_counts_only_what_can_come():
    joint = torch.zeros(2, 2, 3, 3, dtype=torch.float64)
    joint[0, 1] = torch.tensor([[0.2, 0.3, 0], [0, 0.5, 0], [0, 0, 0]])  # 3 cells, 2 rows, 2 columns
    assert float(information_bias(joint, 50)[0, 1]) == 0
    joint[0, 1, 1, 0] = 0.1
    assert float(information_bias(joint, 50)[0, 1]) == pytest.approx(1 / 100)


def test_estimates_of_dependent_sites_agree_with_the_exact_map_within_their_error():
    source = mess3().source(5)
    exact = information_map(pair_marginals(source))
    told = [estimate_information(source.sample(1500, seeded(k)), 3, seeded(k), resamples=50) for k in range(20)]
    off = torch.stack([(estimate.corrected - exact) / estimate.standard_error for estimate in told])
    assert float((off.abs() < 2).double().mean()) > 0.9
    assert float((off.abs() > 0.2).double().mean()) > 0.6, "the error is not far too large"


def test_the_correction_takes_most_of_the_bias_of_dependent_sites_away():
    source, n = mess3().source(5), 200
    exact, counted, corrected = information_map(pair_marginals(source)), 0, 0
    for k in range(300):
        joint = pair_counts(source.sample(n, seeded(k)), 3)
        counted = counted + (information_map(joint) - exact) / 300
        corrected = corrected + (information_map(joint) - information_bias(joint, n) - exact) / 300
    rows, columns = torch.triu_indices(5, 5, offset=1)
    assert float(counted[rows, columns].mean()) == pytest.approx(4 / (2 * n), rel=0.25)
    assert float(counted.diagonal().mean()) == pytest.approx(-2 / (2 * n), rel=0.25)
    assert float(corrected[rows, columns].mean().abs()) < 1 / (2 * n)
    assert float(corrected.diagonal().mean().abs()) < 0.5 / (2 * n)


def test_the_standard_error_is_the_spread_over_new_samples_where_sites_depend():
    source = mess3().source(2)
    draws = [source.sample(500, seeded(k)) for k in range(200)]
    spread = torch.stack([sample_information(x, 3) for x in draws]).std(0)
    told = torch.stack([estimate_information(x, 3, seeded(k)).standard_error for k, x in enumerate(draws[:10])]).mean(0)
    assert float(told[0, 1]) == pytest.approx(float(spread[0, 1]), rel=0.2)


def test_the_standard_error_of_independent_bits_is_about_the_root_of_three_too_large():
    draws = [torch.randint(2, (300, 8), generator=seeded(k)) for k in range(40)]
    rows, columns = torch.triu_indices(8, 8, offset=1)
    told = torch.stack(
        [estimate_information(x, 2, seeded(k), 60).standard_error[rows, columns] for k, x in enumerate(draws)]
    )
    true = math.sqrt(2) / (2 * 300)  # 2 n I is χ² of one degree of freedom
    assert float(told.square().mean().sqrt()) / true == pytest.approx(math.sqrt(3), rel=0.15)


def test_counts_are_shares_of_pairs():
    x = torch.tensor([[0, 2, 1], [0, 1, 1], [1, 2, 1], [0, 2, 0]])
    joint = pair_counts(x, 3)
    for i in range(3):
        for j in range(3):
            for a in range(3):
                for b in range(3):
                    assert joint[i, j, a, b] == float(((x[:, i] == a) & (x[:, j] == b)).double().mean())


def test_the_entropy_of_a_block_of_samples_is_biased_as_told():
    estimates = [estimate_entropy(torch.randint(2, (500, 4), generator=seeded(k)), seeded(k), 40) for k in range(100)]
    mean = sum(estimate.plug_in for estimate in estimates) / 100
    assert 4 * math.log(2) - mean == pytest.approx(15 / 1000, rel=0.1)
    assert sum(estimate.corrected for estimate in estimates) / 100 == pytest.approx(4 * math.log(2), abs=0.002)
    first = estimates[0]
    assert (first.n, first.n_different) == (500, 16)
    skewed = (torch.rand(800, 3, generator=seeded(7)) < 0.2).long()
    told = estimate_entropy(skewed, seeded())
    assert told.corrected == pytest.approx(3 * 0.5004024, abs=3 * told.standard_error)
    assert 0.01 < told.standard_error < 0.05


def test_a_gpt_is_measured_from_its_own_samples_as_by_enumeration():
    x = torch.randint(2, (400, 6), generator=seeded())
    x[:, 4] = x[:, 1]
    gpt = learn_strings(x, 2, StringGPTRecipe(d_model=16, n_layers=1, steps=150, learning_rate=1e-2))
    table = log_table(gpt, 2, 6).exp()
    known = TableSource.of_probabilities(table, ("0", "1"), Description("learned", "", "enumerated", False))
    exact = information_map(pair_marginals(known))
    told = estimate_information(gpt.sample(4000, seeded(1)), 2, seeded(2), resamples=60)
    assert float(exact[1, 4]) > 0.1
    assert float(((told.corrected - exact).abs() / told.standard_error.clamp_min(1e-4)).max()) < 4
    assert torch.allclose(told.plug_in, told.plug_in.T, atol=1e-15)


def test_estimates_say_what_they_are():
    told = estimate_information(torch.tensor([[0, 0], [1, 1]] * 50), 2, seeded(), resamples=20)
    assert str(told).startswith("100 samples: 0.6931 nats a pair of sites as counted, 0.6981 less bias, each ± 0.0")
    told = estimate_entropy(torch.tensor([[0, 0], [1, 1]] * 50), seeded(), resamples=20)
    assert str(told).startswith("100 samples, 2 of them different: 0.6931 nats as counted, 0.6981 less bias, ± 0.0")


def test_bad_samples_are_refused_with_what_they_have():
    with pytest.raises(ValueError, match=r"and 1 is too few; give two or more\."):
        estimate_information(torch.zeros(1, 4, dtype=torch.long), 2, seeded())
    with pytest.raises(ValueError, match=r"and 0 is too few; give two or more\."):
        estimate_entropy(torch.zeros(0, 4, dtype=torch.long), seeded())
    with pytest.raises(ValueError, match="symbols are 0 to 1, and these samples hold -1 to 3"):
        pair_counts(torch.tensor([[0, -1, 0], [0, 3, 1]]), 2)
    with pytest.raises(ValueError, match=r"a row each, not shape \(0, 3\)"):
        sample_information(torch.zeros(0, 3, dtype=torch.long), 2)
