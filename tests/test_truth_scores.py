"""Scores of a learned distribution against the truth, beside what sums over strings say."""

import math
from itertools import product

import pytest
import torch

from workbench.truth.scores import next_symbol_accuracy, scores


def table(*shape: int, seed: int = 0) -> torch.Tensor:
    numbers = torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + 0.1
    return numbers / numbers.sum()


def test_a_distribution_scores_perfectly_against_itself():
    p = table(2, 3, 2)
    same = scores(p.log(), p.log())
    assert (same.overlap, same.kl, same.lost_mass, same.invalid_mass, same.total_variation) == (
        pytest.approx(1.0, abs=1e-12), pytest.approx(0.0, abs=1e-12), 0.0, 0.0, 0.0,
    )  # fmt: skip
    assert same.next_symbol == same.best_next_symbol


def test_scores_are_the_sums_over_strings_that_define_them():
    p, q = table(2, 3, 4), table(2, 3, 4, seed=1)
    found = scores(p.log(), q.log())
    pairs = [(float(p[string]), float(q[string])) for string in product(*map(range, p.shape))]
    assert found.overlap == pytest.approx(sum(math.sqrt(a * b) for a, b in pairs))
    assert found.kl == pytest.approx(sum(a * math.log(a / b) for a, b in pairs))
    assert found.total_variation == pytest.approx(sum(max(0.0, a - b) for a, b in pairs))


def test_the_next_symbol_is_counted_prefix_by_prefix():
    p, q = table(2, 3, 4), table(2, 3, 4, seed=1)
    right = 0.0
    for string in product(*map(range, p.shape)):
        for site in range(3):
            prefix = string[:site]
            guess = int(q[prefix].reshape(p.shape[site], -1).sum(1).argmax())
            right += float(p[string]) * (guess == string[site])
    assert next_symbol_accuracy(p, q) == pytest.approx(right / 3)


def test_a_tie_counts_as_a_guess_among_the_tied():
    p = torch.tensor([0.7, 0.2, 0.1], dtype=torch.float64)
    assert next_symbol_accuracy(p, torch.full((3,), 1 / 3, dtype=torch.float64)) == pytest.approx(1 / 3)
    assert next_symbol_accuracy(p, torch.tensor([0.4, 0.4, 0.2], dtype=torch.float64)) == pytest.approx(0.45)


def test_what_is_excluded_makes_the_divergence_infinite_and_is_weighed():
    p = torch.tensor([[0.5, 0.25], [0.25, 0.0]], dtype=torch.float64)
    q = torch.tensor([[0.6, 0.0], [0.3, 0.1]], dtype=torch.float64)
    found = scores(p.log(), q.log())
    assert found.kl == math.inf
    assert found.lost_mass == pytest.approx(0.25)
    assert found.invalid_mass == pytest.approx(0.1)
    assert "infinite, 25.00% of the truth is lost" in str(found)


def test_bad_tables_are_refused_with_what_they_have():
    p = table(3, 4)
    with pytest.raises(ValueError, match=r"not \(3, 4\) and \(4, 3\)"):
        scores(p.log(), table(4, 3).log())
    with pytest.raises(ValueError, match=r"learned probabilities sum to 0\.75, not to 1"):
        scores(p.log(), (0.75 * p).log())
