"""KroneckerSum: what it stands for by torch.kron, its error against blocks and LAPACK, and its cuts."""

import math

import jaxtyping
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from workbench.decompose.kronecker import KroneckerSum
from workbench.decompose.low_rank import LowRank
from workbench.decompose.operator import TrainOperator

few = settings(max_examples=30)  # small matrices, but many products on each
ROOT_PRECISION = 2e-8  # a Gram matrix squares its input: singular values are right to this share of the largest

Dims = tuple[int, int]
dims = st.tuples(st.integers(1, 3), st.integers(1, 4))


def weight_of(out_dims: Dims, in_dims: Dims) -> Tensor:
    return torch.randn(math.prod(out_dims), math.prod(in_dims), dtype=torch.float64)


def norm(tensor: Tensor) -> float:
    return float(torch.linalg.vector_norm(tensor))


def sum_of(form: KroneckerSum) -> Tensor:
    """The matrix, one product after another: the second way."""
    total = torch.zeros(form.shape, dtype=form.left.dtype)
    for left, right in zip(form.left, form.right, strict=True):
        total += torch.kron(left.contiguous(), right.contiguous())
    return total


def blocks_of(weight: Tensor, out_dims: Dims, in_dims: Dims) -> Tensor:
    """One block a row, as Van Loan and Pitsianis define the matrix whose rank is asked for."""
    rows = [band.chunk(in_dims[0], dim=1) for band in weight.chunk(out_dims[0], dim=0)]
    return torch.stack([block.flatten() for band in rows for block in band])


@few
@given(dims, dims, st.data())
def test_every_cut_is_the_sum_of_its_products_with_the_least_error(out_dims, in_dims, data):
    weight = weight_of(out_dims, in_dims)
    uncut = KroneckerSum.from_weight(weight, out_dims, in_dims)
    assert uncut.shape == weight.shape
    assert uncut.bond == uncut.full_bond == min(out_dims[0] * in_dims[0], out_dims[1] * in_dims[1])
    assert torch.allclose(uncut.dense(), weight, atol=1e-12 * norm(weight))
    cut = uncut.truncate(data.draw(st.integers(1, uncut.full_bond)))
    assert torch.allclose(cut.dense(), sum_of(cut), atol=1e-12 * norm(weight))
    assert cut.error() == pytest.approx(norm(weight - sum_of(cut)), rel=1e-9, abs=1e-13 * norm(weight))
    least = norm(torch.linalg.svdvals(blocks_of(weight, out_dims, in_dims))[cut.bond :])
    assert cut.error() == pytest.approx(least, abs=ROOT_PRECISION * norm(weight))
    assert cut.error_bound() == cut.error()
    assert cut.n_params == cut.bond * (out_dims[0] * in_dims[0] + out_dims[1] * in_dims[1])


@few
@given(dims, dims, st.data())
def test_cuts_are_nested_views(out_dims, in_dims, data):
    uncut = KroneckerSum.from_weight(weight_of(out_dims, in_dims), out_dims, in_dims)
    first, second = (data.draw(st.integers(1, uncut.full_bond)) for _ in range(2))
    twice, once = uncut.truncate(first).truncate(second), uncut.truncate(min(first, second))
    assert twice.bond == once.bond == min(first, second)
    for ours, theirs, whole in ((twice.left, once.left, uncut.left), (twice.right, once.right, uncut.right)):
        assert torch.equal(ours, theirs)
        assert ours.untyped_storage().data_ptr() == whole.untyped_storage().data_ptr()
    assert once.spectra == (uncut.spectrum,)


@few
@given(dims, dims)
def test_different_products_are_orthogonal_and_as_long_as_their_singular_value(out_dims, in_dims):
    weight = weight_of(out_dims, in_dims)
    form = KroneckerSum.from_weight(weight, out_dims, in_dims)
    terms = zip(form.left, form.right, strict=True)
    products = torch.stack([torch.kron(a.contiguous(), b.contiguous()).flatten() for a, b in terms])
    expected = form.spectrum.values.square().diag()
    assert torch.allclose(products @ products.T, expected, atol=1e-12 * norm(weight) ** 2)


@pytest.mark.parametrize(("left", "right"), [((2, 3), (5, 4)), ((6, 5), (2, 3)), ((1, 4), (7, 1))])
def test_a_planted_product_is_the_first_term_and_leaves_nothing(left, right):
    a, b = torch.randn(left, dtype=torch.float64), torch.randn(right, dtype=torch.float64)
    weight = torch.kron(a, b)
    uncut = KroneckerSum.from_weight(weight, (left[0], right[0]), (left[1], right[1]))
    cut = uncut.truncate(1)
    assert norm(weight - cut.dense()) <= 1e-12 * norm(weight)
    assert cut.error() <= 1e-12 * norm(weight)
    for ours, theirs in ((cut.left[0], a), (cut.right[0], b)):
        assert abs(float((ours * theirs).sum())) == pytest.approx(norm(ours) * norm(theirs), rel=1e-12)


def test_a_planted_sum_of_products_has_as_many_singular_values():
    terms = [(torch.randn(3, 4, dtype=torch.float64), torch.randn(5, 2, dtype=torch.float64)) for _ in range(3)]
    weight = sum((torch.kron(a, b) for a, b in terms), torch.zeros(15, 8, dtype=torch.float64))
    uncut = KroneckerSum.from_weight(weight, (3, 5), (4, 2))
    assert uncut.full_bond == 10
    assert uncut.spectrum.rank_for(1e-20) == 3
    assert norm(weight - uncut.truncate(3).dense()) <= 1e-12 * norm(weight)
    assert uncut.truncate(2).error() > 0.01 * norm(weight)


def test_the_identity_is_one_product_of_any_sizes_and_of_full_rank():
    eye = torch.eye(12, dtype=torch.float64)
    for sizes in ((3, 4), (2, 6), (12, 1)):
        cut = KroneckerSum.from_weight(eye, sizes, sizes).truncate(1)
        assert torch.allclose(cut.dense(), eye, atol=1e-14)
    assert LowRank.from_weight(eye).truncate(11).error() == pytest.approx(1)


def test_it_is_a_train_operator_of_two_sites_with_balanced_dimensions():
    weight = torch.randn(12, 30, dtype=torch.float64)
    form, operator = KroneckerSum.from_weight(weight), TrainOperator.from_weight(weight, 2)
    assert form.left.shape == (15, 3, 5)
    assert form.right.shape == (15, 4, 6)
    for bond in (1, 7, 15):
        assert torch.allclose(form.truncate(bond).dense(), operator.truncate(bond).dense(), atol=1e-12)
        assert form.truncate(bond).n_params == operator.truncate(bond).n_params
        assert form.truncate(bond).error() == pytest.approx(operator.truncate(bond).error_bound())


def test_blocks_that_are_single_columns_make_a_low_rank_pair():
    weight = torch.randn(5, 8, dtype=torch.float64)
    form, pair = KroneckerSum.from_weight(weight, (5, 1), (1, 8)), LowRank.from_weight(weight)
    for bond in range(1, 6):
        assert torch.allclose(form.truncate(bond).dense(), pair.truncate(bond).dense(), atol=1e-12)
        assert form.truncate(bond).error() == pytest.approx(pair.truncate(bond).error(), abs=1e-12)


def test_float32_stays():
    form = KroneckerSum.from_weight(torch.randn(12, 30))
    assert form.left.dtype == form.right.dtype == form.dense().dtype == torch.float32


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"out_dims": (3, 5)}, r"the weight has 12 outputs, but the site dimensions \(3, 5\) multiply to 15"),
        ({"in_dims": (3, 4)}, r"the weight has 10 inputs, but the site dimensions \(3, 4\) multiply to 12"),
        ({"in_dims": (-2, -5)}, r"the weight has 10 inputs, but the site dimensions \(-2, -5\)"),
    ],
)
def test_dimensions_that_do_not_fit_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        KroneckerSum.from_weight(torch.randn(12, 10), **arguments)


def test_weights_and_bonds_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"the weight of shape \(3, 4\) holds 12 non-finite values"):
        KroneckerSum.from_weight(torch.full((3, 4), math.nan))
    uncut = KroneckerSum.from_weight(torch.randn(12, 10))
    for bond in (0, 7):
        with pytest.raises(ValueError, match=f"bond {bond} does not fit: this bond can be cut to 1, 2, … 6"):
            uncut.truncate(bond)


def test_factors_that_do_not_fit_are_refused(monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # or the annotations refuse some first
    spectrum = LowRank.from_weight(torch.randn(3, 4)).spectrum
    for left, right, message in [
        ((2, 3, 4), (3, 5, 6), r"\(r, o, i\) and \(r, p, j\), not \(2, 3, 4\) and \(3, 5, 6\)"),
        ((3, 4), (3, 5, 6), r"not \(3, 4\) and \(3, 5, 6\)"),
        ((4, 2, 3), (4, 5, 6), "the bond has size 4, but its spectrum has 3 values"),
    ]:
        with pytest.raises(ValueError, match=message):
            KroneckerSum(torch.ones(left), torch.ones(right), spectrum)
