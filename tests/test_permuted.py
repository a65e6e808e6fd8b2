"""Permuted: a matrix in another order of rows and columns; and the Kronecker method, which may use it."""

import jaxtyping
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from workbench.compress.methods import kronecker
from workbench.compress.place import Place
from workbench.compress.recipe import Recipe
from workbench.decompose.family import Family
from workbench.decompose.kronecker import KroneckerSum
from workbench.decompose.metric import PLAIN, Metric
from workbench.decompose.operator import TrainOperator
from workbench.decompose.permuted import Permuted, permuted_metric
from workbench.decompose.protocol import Decomposition

few = settings(max_examples=25)  # small matrices, but many operations on each
PLACE = Place("W_in", 4)
OUTS, INS = (3, 4), (5, 2)


def norm(matrix: Tensor) -> float:
    return float(torch.linalg.norm(matrix))


def weight_of(out_features: int = 12, in_features: int = 10) -> Tensor:
    return torch.randn(out_features, in_features, dtype=torch.float64)


def permuted(weight: Tensor, outs: tuple[int, ...] = OUTS, ins: tuple[int, ...] = INS) -> Permuted:
    """`weight` in an order drawn at random."""
    rows, columns = (torch.randperm(size) for size in weight.shape)
    return Permuted(TrainOperator.from_weight(weight[rows][:, columns], None, outs, ins), rows, columns)


def moment_of(size: int) -> Tensor:
    half = torch.randn(size, size, dtype=torch.float64)
    return half @ half.T


@few
@given(st.integers(1, 8), st.integers(0, 10**6))
def test_every_cut_is_the_form_with_rows_and_columns_put_back_one_by_one(bond, seed):
    torch.manual_seed(seed)
    weight = weight_of()
    uncut = permuted(weight)
    assert isinstance(uncut, Decomposition)
    assert uncut.shape == (12, 10)
    assert uncut.full_bond == uncut.bond == 8
    assert torch.allclose(uncut.dense(), weight, atol=1e-12)
    cut = uncut.truncate(bond)
    held, expected = cut.form.dense(), torch.zeros_like(weight)
    for a, row in enumerate(cut.rows.tolist()):
        for b, column in enumerate(cut.columns.tolist()):
            expected[row, column] = held[a, b]
    assert torch.equal(cut.dense(), expected)
    assert cut.error_bound() == pytest.approx(norm(weight - expected), rel=1e-9, abs=1e-12)
    share = norm(weight - expected) ** 2 / norm(weight) ** 2
    assert cut.discarded_weight() == pytest.approx(share, rel=1e-9, abs=1e-12)


@few
@given(st.integers(1, 8), st.lists(st.integers(1, 3), max_size=2), st.booleans())
def test_applying_it_is_the_product_with_its_matrix(bond, batch, biased):
    cut = permuted(weight_of()).truncate(bond)
    x = torch.randn(*batch, 10, dtype=torch.float64)
    bias = torch.randn(12, dtype=torch.float64) if biased else None
    expected = x @ cut.dense().T + (bias if bias is not None else 0)
    assert torch.allclose(cut.apply(x, bias), expected, atol=1e-12)


@few
@given(st.integers(1, 8), st.integers(1, 8))
def test_cuts_are_nested_views_that_keep_the_order(first, second):
    uncut = permuted(weight_of())
    twice, once = uncut.truncate(first).truncate(second), uncut.truncate(min(first, second))
    assert torch.equal(twice.dense(), once.dense())
    assert twice.bond == min(first, second)
    for ours, whole in zip(twice.form.train.cores, uncut.form.train.cores, strict=True):
        assert ours.untyped_storage().data_ptr() == whole.untyped_storage().data_ptr()
    assert twice.rows is uncut.rows
    assert twice.columns is uncut.columns


def test_it_counts_the_numbers_of_its_form_and_the_bytes_of_its_orders_apart():
    uncut = permuted(weight_of())
    cut = uncut.truncate(2)
    assert cut.n_params == 2 * (3 * 5 + 4 * 2)
    assert cut.order_bytes == 8 * (12 + 10)
    assert cut.bond_within(3 * (3 * 5 + 4 * 2) - 1) == 2
    assert uncut.spectra is uncut.form.spectra
    assert uncut.ladder() == uncut.form.ladder()
    assert cut.dense_cost() == cut.form.dense_cost()
    assert cut.apply_cost() == cut.form.apply_cost()
    assert cut.apply_moves() == cut.form.apply_moves() + 12 + 10


def test_other_numbers_take_the_place_of_its_cores_and_keep_the_order():
    cut = permuted(weight_of()).truncate(3)
    assert list(cut.tensors()) == ["core.0", "core.1"]
    first, second = cut.tensors().values()
    doubled = cut.with_tensors({"core.0": 2 * first, "core.1": second})
    assert torch.allclose(doubled.dense(), 2 * cut.dense(), atol=1e-12)
    assert torch.equal(doubled.rows, cut.rows)
    assert doubled.error_bound() == cut.error_bound()


def test_moved_to_a_device_its_orders_move_too():
    moved = permuted(weight_of()).to(torch.device("meta"))
    held = (moved.rows, moved.columns, *moved.tensors().values())
    assert {tensor.device.type for tensor in held} == {"meta"}


def test_merging_gives_the_same_matrix_in_two_cores_and_leaves_two_as_they_are():
    weight = weight_of(12, 10)
    cut = permuted(weight, (2, 3, 2), (5, 1, 2)).truncate(3)
    merged = cut.merged()
    assert len(merged.form.cores) == 2
    assert torch.allclose(merged.dense(), cut.dense(), atol=1e-12)
    assert cut.merged_costs() == cut.form.merged_costs()
    assert merged.apply_cost() == cut.merged_costs()[1]
    assert merged.apply_moves() == cut.merged_moves()
    pair = permuted(weight)
    assert pair.merged() is pair


def test_a_metric_in_other_orders_measures_the_reordered_error_as_the_first_measures_the_error():
    difference, rows, columns = weight_of(3, 4), torch.randperm(3), torch.randperm(4)
    for metric in (Metric(moment_of(4), moment_of(3)), Metric(moment_of(4)), Metric(None, moment_of(3)), PLAIN):
        moved = permuted_metric(metric, rows, columns)
        assert moved.norm == metric.norm
        assert moved.squared(difference[rows][:, columns]) == pytest.approx(metric.squared(difference), rel=1e-12)


def test_orders_that_are_none_are_refused(monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # or the annotations refuse some first
    form = TrainOperator.from_weight(weight_of(4, 3))
    rows, columns = torch.arange(4), torch.arange(3)
    for given_rows, given_columns, message in [
        (columns, columns, "the form has 4 rows, but the order of rows lists 3"),
        (rows, rows, "the form has 3 columns, but the order of columns lists 4"),
        (torch.tensor([0, 1, 1, 3]), columns, r"an order of rows names each of 0 … 3 once"),
        (rows, torch.tensor([0, 1, 3]), r"an order of columns names each of 0 … 2 once"),
    ]:
        with pytest.raises(ValueError, match=message):
            Permuted(form, given_rows, given_columns)
    with pytest.raises(ValueError, match="a permuted matrix of 3 inputs cannot be applied to rows of 4"):
        Permuted(form, rows, columns).apply(torch.randn(2, 4, dtype=torch.float64))


@pytest.mark.parametrize(
    ("shape", "dims"),
    [
        ((3072, 768), ((768, 4), (384, 2))),
        ((768, 3072), ((384, 2), (768, 4))),
        ((768, 768), ((192, 4), (384, 2))),
        ((15, 9), ((3, 5), (3, 3))),
        ((14, 9), ((2, 7), (3, 3))),
        ((13, 50), ((1, 13), (10, 5))),
        ((34, 17), ((17, 2), (17, 1))),
        ((19, 17), ((1, 19), (17, 1))),
    ],
)
def test_small_blocks_are_four_by_two_or_as_near_as_the_sides_divide(shape, dims):
    assert kronecker.small_blocks(*shape) == dims


def test_the_method_gives_the_sum_of_small_blocks_or_of_those_asked_for():
    weight = weight_of(12, 8)
    plain = kronecker.decompose(Recipe("kronecker", "plain"), weight, PLAIN, PLACE)
    assert isinstance(plain, TrainOperator)
    assert (plain.out_dims, plain.in_dims) == ((3, 4), (4, 2))
    assert torch.allclose(
        plain.truncate(3).dense(), KroneckerSum.from_weight(weight, (3, 4), (4, 2)).truncate(3).dense()
    )
    asked = Recipe("kronecker", "plain", dims=(("W_in", (2, 6), (8, 1)),))
    given_dims = kronecker.decompose(asked, weight, PLAIN, PLACE)
    assert isinstance(given_dims, TrainOperator)
    assert (given_dims.out_dims, given_dims.in_dims) == ((2, 6), (8, 1))
    other = kronecker.decompose(asked, weight, PLAIN, Place("W_out", 4))
    assert isinstance(other, TrainOperator)
    assert other.out_dims == (3, 4)
    three = Recipe("kronecker", "plain", dims=(("W_in", (2, 3, 2), (2, 2, 2)),))
    with pytest.raises(ValueError, match=r"of W_in has two sites, not outputs \(2, 3, 2\) and inputs \(2, 2, 2\)"):
        kronecker.decompose(three, weight, PLAIN, PLACE)


def test_the_method_permutes_if_asked():
    weight = weight_of(12, 8)
    found = kronecker.decompose(Recipe("kronecker", "plain", permuted=True), weight, PLAIN, PLACE)
    assert isinstance(found, Permuted)
    assert torch.allclose(found.dense(), weight, atol=1e-12)
    as_it_stands = KroneckerSum.from_weight(weight, (3, 4), (4, 2))
    assert found.truncate(3).error_bound() < as_it_stands.truncate(3).error()


@pytest.mark.parametrize("is_permuted", [False, True])
@pytest.mark.parametrize("kind", ["input", "two-sided"])
def test_in_a_metric_every_member_is_refitted_and_its_error_is_measured_in_that_metric(is_permuted, kind):
    weight = weight_of(12, 8)
    metric = Metric(moment_of(8), moment_of(12) if kind == "two-sided" else None)
    family = kronecker.decompose(Recipe("kronecker", kind, permuted=is_permuted), weight, metric, PLACE)
    assert isinstance(family, Family)
    assert family.bonds == tuple(range(1, 8))
    assert family.norm == metric.norm
    plain = TrainOperator.from_weight(weight, None, (3, 4), (4, 2))
    for bond in family.bonds:
        cut = family.truncate(bond)
        assert isinstance(cut.present, Permuted) is is_permuted
        measured = metric.squared(weight - cut.dense())
        assert cut.error_bound() ** 2 == pytest.approx(measured, rel=1e-9)
        before = cut.present.truncate(bond) if is_permuted else plain.truncate(bond)
        assert before.n_params == cut.n_params
        if not is_permuted:
            assert measured <= metric.squared(weight - before.dense()) * (1 + 1e-9)


def test_many_products_are_refitted_at_shares_of_the_numbers_only():
    weight = weight_of(30, 20)
    recipe = Recipe("kronecker", "input", dims=(("W_in", (5, 6), (5, 4)),))
    family = kronecker.decompose(recipe, weight, Metric(moment_of(20)), PLACE)
    assert isinstance(family, Family)
    assert family.full_bond == 24
    assert family.bonds == (1, 2, 3, 4, 6, 7, 8, 9)  # at 49 numbers a product, from 0.1 to 0.8 of 600
