"""Tucker: what it stands for at every cut, its bound, its spectra, and the same numbers by a peer."""

import math

import jaxtyping
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from workbench.decompose.low_rank import LowRank
from workbench.decompose.tucker import Tucker

few = settings(max_examples=30)  # small tensors, but many operations on each
ROOT_PRECISION = 2e-8  # a Gram matrix squares its input: singular values are right to this share of the largest


@st.composite
def tensors(draw, min_order: int = 1) -> Tensor:
    """Small float64 tensors of one to four axes: of full rank, of rank one, of integers, of zeros."""
    shape = draw(st.lists(st.integers(1, 4), min_size=min_order, max_size=4))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 10**6)))
    kind = draw(st.sampled_from(["random", "rank one", "integers", "zero", "small"]))
    if kind == "rank one":
        letters = "abcd"[: len(shape)]
        vectors = [torch.randn(size, generator=generator, dtype=torch.float64) for size in shape]
        return torch.einsum(f"{','.join(letters)}->{letters}", *vectors)
    if kind == "integers":
        return torch.randint(-1, 2, shape, generator=generator).double()
    return torch.randn(shape, generator=generator, dtype=torch.float64) * {"zero": 0, "small": 1e-6}.get(kind, 1)


def norm(tensor: Tensor) -> float:
    return float(torch.linalg.vector_norm(tensor))


def unfolding(tensor: Tensor, axis: int) -> Tensor:
    return tensor.movedim(axis, 0).reshape(tensor.shape[axis], -1)


def product_of(form: Tucker) -> Tensor:
    """The dense tensor of a core and its factors, in one einsum: the second way."""
    order = form.core.ndim
    operands = [part for k, factor in enumerate(form.factors) for part in (factor, [10 + k, k])]
    return torch.einsum(form.core, [*range(order)], *operands, [10 + k for k in range(order)])


def any_ranks(data, form: Tucker) -> tuple[int, ...]:
    return tuple(data.draw(st.integers(1, full)) for full in form.full_ranks)


@few
@given(tensors())
def test_the_uncut_form_is_the_tensor_and_knows_the_spectrum_of_every_axis(tensor):
    form = Tucker.from_dense(tensor)
    assert form.shape == tensor.shape
    assert form.ranks == form.full_ranks
    assert form.error_bound() == 0
    assert torch.allclose(form.dense(), tensor, rtol=1e-12, atol=1e-13 * norm(tensor))
    for k, spectrum in enumerate(form.spectra):
        expected = torch.linalg.svdvals(unfolding(tensor, k))
        both = min(len(spectrum), len(expected))
        assert torch.allclose(spectrum.values[:both], expected[:both], atol=ROOT_PRECISION * norm(tensor))
        assert norm(spectrum.values[both:]) + norm(expected[both:]) <= ROOT_PRECISION * norm(tensor)


@few
@given(tensors())
def test_factors_are_isometries_and_slices_of_the_core_are_orthogonal(tensor):
    form = Tucker.from_dense(tensor)
    for k, (factor, spectrum) in enumerate(zip(form.factors, form.spectra, strict=True)):
        eye = torch.eye(factor.shape[1], dtype=torch.float64)
        assert torch.allclose(factor.T @ factor, eye, atol=1e-12)
        slices = unfolding(form.core, k)
        assert torch.allclose(slices @ slices.T, spectrum.values.square().diag(), atol=1e-12 * norm(tensor) ** 2)


@few
@given(tensors(), st.data())
def test_cutting_any_axes_drops_the_core_outside_the_cut_and_at_most_the_bound(tensor, data):
    form = Tucker.from_dense(tensor)
    cut = form.truncate(any_ranks(data, form))
    assert torch.allclose(cut.dense(), product_of(cut), atol=1e-13 * norm(tensor))
    outside = form.core.clone()
    outside[tuple(slice(rank) for rank in cut.ranks)] = 0
    error = norm(tensor - cut.dense())
    assert error == pytest.approx(norm(outside), rel=1e-9, abs=1e-13 * norm(tensor))
    dropped = [spectrum.error(rank) for spectrum, rank in zip(form.spectra, cut.ranks, strict=True)]
    assert cut.error_bound() == pytest.approx(sum(epsilon**2 for epsilon in dropped) ** 0.5, rel=1e-12, abs=0)
    assert error <= cut.error_bound() * (1 + 1e-12) + 1e-13 * norm(tensor)
    assert error >= max(dropped) - 2 * ROOT_PRECISION * norm(tensor)  # no matrix of that rank comes nearer


@few
@given(tensors(min_order=2), st.data())
def test_cutting_one_axis_drops_exactly_its_tail(tensor, data):
    form = Tucker.from_dense(tensor)
    ranks, k = list(form.full_ranks), data.draw(st.integers(0, tensor.ndim - 1))
    ranks[k] = data.draw(st.integers(1, ranks[k]))
    cut = form.truncate(ranks)
    tail = norm(torch.linalg.svdvals(unfolding(tensor, k))[ranks[k] :])
    assert cut.error_bound() == pytest.approx(norm(tensor - cut.dense()), rel=1e-9, abs=1e-13 * norm(tensor))
    assert cut.error_bound() == pytest.approx(tail, abs=2 * ROOT_PRECISION * norm(tensor))


@few
@given(tensors(), st.data())
def test_cuts_are_nested_views(tensor, data):
    form = Tucker.from_dense(tensor)
    first, second = any_ranks(data, form), any_ranks(data, form)
    twice = form.truncate(first).truncate(second)
    once = form.truncate([min(pair) for pair in zip(first, second, strict=True)])
    trios = zip((twice.core, *twice.factors), (once.core, *once.factors), (form.core, *form.factors), strict=True)
    for ours, theirs, whole in trios:
        assert torch.equal(ours, theirs)
        assert ours.untyped_storage().data_ptr() == whole.untyped_storage().data_ptr()
    assert twice.spectra is form.spectra


@few
@given(tensors(), st.data())
def test_one_number_is_a_cap_on_every_axis(tensor, data):
    form = Tucker.from_dense(tensor)
    cap = data.draw(st.integers(1, max(form.full_ranks)))
    assert form.truncate(cap).ranks == tuple(min(cap, full) for full in form.full_ranks)


@pytest.mark.parametrize("shape", [(4, 6), (6, 4)])
def test_both_axes_of_a_matrix_have_the_spectrum_of_its_low_rank_pair(shape):
    matrix = torch.randn(shape, dtype=torch.float64)
    form, pair = Tucker.from_dense(matrix), LowRank.from_weight(matrix)
    assert form.full_ranks == (4, 4)
    for rank in range(1, 5):
        cut = form.truncate(rank)
        assert torch.allclose(cut.dense(), pair.truncate(rank).dense(), atol=1e-12)
        assert cut.error_bound() == pytest.approx(math.sqrt(2) * pair.truncate(rank).error())
        assert torch.allclose(cut.core.abs(), cut.spectra[0].values[:rank].diag(), atol=1e-12)


def test_planted_ranks_are_found_and_kept_without_error():
    core = torch.randn(2, 3, 2, dtype=torch.float64)
    factors = [torch.randn(size, rank, dtype=torch.float64) for size, rank in zip((6, 5, 7), core.shape, strict=True)]
    tensor = torch.einsum("abc,ia,jb,kc->ijk", core, *factors)
    form = Tucker.from_dense(tensor)
    assert tuple(spectrum.rank_for(1e-20) for spectrum in form.spectra) == (2, 3, 2)
    cut = form.truncate((2, 3, 2))
    assert norm(tensor - cut.dense()) <= 1e-13 * norm(tensor)
    assert cut.n_params == 2 * 3 * 2 + 6 * 2 + 5 * 3 + 7 * 2


def test_tensorly_started_from_the_same_singular_vectors_finds_the_same_cut():
    peer = pytest.importorskip("tensorly.decomposition")
    tensor = torch.randn(4, 5, 6, dtype=torch.float64)
    cut = Tucker.from_dense(tensor).truncate((2, 4, 3))
    theirs = peer.tucker(tensor.numpy(), rank=[2, 4, 3], init="svd", n_iter_max=0).to_tensor()
    assert torch.allclose(cut.dense(), torch.as_tensor(theirs), atol=1e-10)
    refined = peer.tucker(tensor.numpy(), rank=[2, 4, 3], init="svd", n_iter_max=100).to_tensor()
    best = norm(tensor - torch.as_tensor(refined))
    assert best <= norm(tensor - cut.dense()) <= cut.error_bound() <= math.sqrt(3) * best


def test_float32_stays_and_its_bound_holds():
    scales = torch.arange(1, 9, dtype=torch.float64) ** -0.6
    tensor = torch.randn(8, 8, 8, dtype=torch.float64) * scales * scales[:, None] * scales[:, None, None]
    form = Tucker.from_dense(tensor.float())
    assert {part.dtype for part in (form.core, *form.factors)} == {torch.float32}
    for k, spectrum in enumerate(form.spectra):
        assert torch.allclose(spectrum.values, torch.linalg.svdvals(unfolding(tensor, k)), rtol=1e-3)
    for rank in (1, 4, 7):
        cut = form.truncate(rank)
        double = Tucker(cut.core.double(), tuple(factor.double() for factor in cut.factors), cut.spectra)
        assert norm(tensor - double.dense()) <= cut.error_bound() * (1 + 1e-5)


def test_a_tensor_that_cannot_be_decomposed_is_refused():
    for empty, shape in ((torch.tensor(1.0), r"\(\)"), (torch.zeros(3, 0, 4), r"\(3, 0, 4\)")):
        with pytest.raises(ValueError, match=f"one or more axes, none of size 0, not shape {shape}"):
            Tucker.from_dense(empty)
    with pytest.raises(ValueError, match=r"the tensor of shape \(3, 4\) holds 12 non-finite values"):
        Tucker.from_dense(torch.full((3, 4), math.nan))


def test_cuts_that_do_not_fit_are_refused():
    form = Tucker.from_dense(torch.randn(3, 5, 4))
    for ranks, message in [
        (6, "bond 6 does not fit: this bond can be cut to 1, 2, … 5"),
        ([4, 5, 4], "bond 4 does not fit: this bond can be cut to 1, 2, … 3"),
        ([3, 5, 0], "bond 0 does not fit: this bond can be cut to 1, 2, … 4"),
        ([3, 5], "a core of 3 axes is cut to that many ranks, not 2"),
    ]:
        with pytest.raises(ValueError, match=message):
            form.truncate(ranks)
    with pytest.raises(TypeError, match="a bond dimension is a whole number, not True"):
        form.truncate(True)


def test_parts_that_do_not_fit_are_refused(monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # or the annotations refuse some first
    form = Tucker.from_dense(torch.randn(3, 4))
    left, right = form.factors
    for core, factors, spectra, message in [
        (form.core, (left,), form.spectra, "a core of 2 axes needs that many factors and spectra, not 1 and 2"),
        (form.core, (left, right), form.spectra[:1], "that many factors and spectra, not 2 and 1"),
        (
            form.core,
            (left, right[:, :2]),
            form.spectra,
            r"factor 1 needs the axes \(site, r\) with r = 3, not shape \(4, 2\)",
        ),
        (
            form.core,
            (left[0], right),
            form.spectra,
            r"factor 0 needs the axes \(site, r\) with r = 3, not shape \(3,\)",
        ),
        (
            torch.ones(3, 4),
            (left, torch.ones(5, 4)),
            form.spectra,
            "axis 1 of the core has size 4, but its spectrum has 3 values",
        ),
    ]:
        with pytest.raises(ValueError, match=message):
            Tucker(core, factors, spectra)
