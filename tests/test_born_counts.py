"""Learners without a model, beside sums over all strings."""

import math
from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.born.counts import AffineCode, Counted


def every(n_sites: int, n_symbols: int = 2) -> torch.Tensor:
    return torch.tensor(list(product(range(n_symbols), repeat=n_sites)))


def test_the_empirical_distribution_gives_each_string_its_share():
    samples = torch.tensor([[0, 2, 1], [0, 2, 1], [1, 1, 1], [0, 0, 0]])
    found = Counted.of(samples).log_prob(torch.tensor([[1, 1, 1], [0, 2, 1], [2, 2, 2]])).exp()
    assert found.tolist() == [0.25, 0.5, 0.0]
    assert float(Counted.of(samples).log_prob(every(3, 3)).exp().sum()) == pytest.approx(1.0)


def test_a_code_of_parity_is_found_from_as_many_samples_as_bits():
    even = every(6)[every(6).sum(1) % 2 == 0]
    few = torch.cat([even[:1], torch.eye(6, dtype=torch.int64)[:-1] + torch.eye(6, dtype=torch.int64)[1:]])
    code = AffineCode.of(few)
    assert code.dimension == 5
    log_q = code.log_prob(every(6))
    assert bool((log_q.isfinite() == (every(6).sum(1) % 2 == 0)).all())
    assert log_q.max() == pytest.approx(-5 * math.log(2))


@settings(deadline=None, max_examples=50)
@given(st.lists(st.lists(st.integers(0, 1), min_size=5, max_size=5), min_size=1, max_size=6))
def test_a_code_is_the_closure_of_its_samples_under_sums_of_three(rows):
    samples = torch.tensor(rows)
    inside = {tuple(row) for row in rows}
    while True:  # an affine space over GF(2) holds a + b + c with any a, b, c
        more = {tuple((x + y + z) % 2 for x, y, z in zip(*three, strict=True)) for three in product(inside, repeat=3)}
        if more <= inside:
            break
        inside |= more
    log_q = AffineCode.of(samples).log_prob(every(5))
    assert {tuple(row) for row in every(5)[log_q.isfinite()].tolist()} == inside
    assert float(log_q.exp().sum()) == pytest.approx(1.0)


def test_bad_samples_are_refused_with_what_they_have():
    with pytest.raises(ValueError, match=r"not shape \(0, 4\)"):
        Counted.of(torch.zeros(0, 4, dtype=torch.int64))
    with pytest.raises(ValueError, match="a sample holds -3"):
        Counted.of(torch.tensor([[0, -3]]))
    with pytest.raises(ValueError, match="made of bits, not of the symbol 2"):
        AffineCode.of(torch.tensor([[0, 2]]))
    for learner in (Counted, AffineCode):
        with pytest.raises(ValueError, match=r"strings of 3 symbols were learned, and shape \(2, 4\) holds others"):
            learner.of(torch.zeros(5, 3, dtype=torch.int64)).log_prob(torch.zeros(2, 4, dtype=torch.int64))
