"""A gauge-fixed pair: the same matrix in fewer numbers, and what it can no longer do."""

import jaxtyping
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.decompose.low_rank import LowRank
from workbench.decompose.pivots import PivotPair
from workbench.decompose.protocol import Decomposition

few = settings(max_examples=30)


@few
@given(st.integers(2, 9), st.integers(2, 9), st.data())
def test_it_is_the_same_matrix_in_r_squared_fewer_numbers(rows, columns, data):
    torch.manual_seed(0)
    pair = LowRank.from_weight(torch.randn(rows, columns, dtype=torch.float64), gauge_fixed=True)
    rank = data.draw(st.integers(1, min(rows, columns)))
    cut = pair.truncate(rank)
    fixed = cut.fixed()
    assert torch.allclose(fixed.dense(), cut.dense(), atol=1e-10)
    stored = sum(tensor.numel() for tensor in fixed.tensors().values())
    assert stored == fixed.n_params == cut.n_params == rank * (rows + columns) - rank * rank
    assert sorted(fixed.order.tolist()) == list(range(rows))
    x, bias = torch.randn(2, 3, columns, dtype=torch.float64), torch.randn(rows, dtype=torch.float64)
    assert torch.allclose(fixed.apply(x, bias), x @ cut.dense().T + bias, atol=1e-10)


@few
@given(st.integers(2, 9), st.integers(2, 9), st.booleans(), st.integers(1, 120))
def test_the_bond_within_a_number_is_the_largest_that_fits(rows, columns, gauge_fixed, n_params):
    pair = LowRank.from_weight(torch.randn(rows, columns, dtype=torch.float64), gauge_fixed=gauge_fixed)
    fitting = [bond for bond in range(1, pair.full_bond + 1) if pair.truncate(bond).n_params <= n_params]
    assert pair.bond_within(n_params) == max(fitting, default=1) == pair.ladder().bond_within(n_params)


def test_a_full_gauge_fixed_pair_stores_no_more_than_the_matrix():
    pair = LowRank.from_weight(torch.randn(7, 5), gauge_fixed=True)
    assert pair.n_params == 35
    assert LowRank.from_weight(torch.randn(7, 5)).n_params == 60


def test_the_combinations_stay_small():
    torch.manual_seed(1)
    pair = LowRank.from_weight(torch.randn(60, 40, dtype=torch.float64)).truncate(20)
    assert float(pair.fixed().rest.abs().max()) < 20, "partial pivoting bounds their growth"


def test_other_numbers_of_the_same_shapes_keep_the_rows_where_they_are():
    fixed = LowRank.from_weight(torch.randn(6, 4, dtype=torch.float64)).truncate(2).fixed()
    doubled = fixed.with_tensors({"right": 2 * fixed.right, "rest": fixed.rest})
    assert torch.allclose(doubled.dense(), 2 * fixed.dense())
    assert isinstance(fixed, Decomposition)
    assert fixed.ladder().bonds == (2,)


def test_it_cannot_be_cut_again():
    fixed = LowRank.from_weight(torch.randn(6, 4)).truncate(3).fixed()
    assert fixed.truncate(3) is fixed
    with pytest.raises(ValueError, match="a gauge-fixed pair of rank 3 is not nested; cut the pair it was made of"):
        fixed.truncate(2)


def test_parts_that_do_not_fit_are_refused(monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    spectrum = LowRank.from_weight(torch.randn(3, 4)).spectrum
    with pytest.raises(ValueError, match=r"belong together, not \(2, 4\), \(1, 3\) and \(3,\)"):
        PivotPair(torch.ones(2, 4), torch.ones(1, 3), torch.arange(3), spectrum)
