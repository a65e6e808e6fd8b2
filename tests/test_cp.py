"""CanonicalPolyadic: what a fit stands for, that steps never lead up, what it recovers, and where it cannot end."""

import math
from itertools import pairwise

import jaxtyping
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from workbench.decompose.cp import CanonicalPolyadic
from workbench.decompose.low_rank import LowRank
from workbench.decompose.tucker import Tucker

few = settings(max_examples=30)  # small tensors, but many products on each


@st.composite
def tensors(draw) -> Tensor:
    """Small float64 tensors of two to four axes: random, of integers, of zeros, small."""
    shape = draw(st.lists(st.integers(1, 4), min_size=2, max_size=4))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 10**6)))
    kind = draw(st.sampled_from(["random", "integers", "zero", "small"]))
    if kind == "integers":
        return torch.randint(-1, 2, shape, generator=generator).double()
    return torch.randn(shape, generator=generator, dtype=torch.float64) * {"zero": 0, "small": 1e-6}.get(kind, 1)


def norm(tensor: Tensor) -> float:
    return float(torch.linalg.vector_norm(tensor))


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def planted(shape: tuple[int, ...], weights: list[float], seed: int) -> CanonicalPolyadic:
    """A sum of these weights with random unit columns."""
    generator = seeded(seed)
    columns = [torch.randn(size, len(weights), generator=generator, dtype=torch.float64) for size in shape]
    factors = tuple(factor / torch.linalg.vector_norm(factor, dim=0) for factor in columns)
    return CanonicalPolyadic(torch.tensor(weights, dtype=torch.float64), factors)


def sum_of(fit: CanonicalPolyadic) -> Tensor:
    """The dense tensor, one outer product after another: the second way."""
    total = torch.zeros(fit.shape, dtype=fit.weights.dtype)
    for r, weight in enumerate(fit.weights):
        term = weight
        for factor in fit.factors:
            term = term[..., None] * factor[:, r]
        total = total + term
    return total


def any_rank(data, tensor: Tensor) -> int:
    return data.draw(st.integers(1, tensor.numel() // max(tensor.shape)))


@few
@given(tensors(), st.booleans(), st.data())
def test_a_fit_is_the_sum_of_its_terms_in_order_and_of_unit_columns(tensor, drawn, data):
    rank = any_rank(data, tensor)
    fit = CanonicalPolyadic.from_dense(tensor, rank, steps=3, generator=seeded(5) if drawn else None)
    assert fit.shape == tensor.shape
    assert fit.rank == rank
    assert fit.n_params == rank * (1 + sum(tensor.shape))
    assert bool((fit.weights >= 0).all())
    assert bool((fit.weights.diff() <= 0).all())
    for factor in fit.factors:
        lengths = torch.linalg.vector_norm(factor, dim=0)
        assert torch.allclose(lengths, torch.ones_like(lengths), rtol=1e-12)
    scale = norm(fit.weights) + norm(tensor)
    assert torch.allclose(fit.dense(), sum_of(fit), atol=1e-13 * scale)
    assert fit.error(tensor) == pytest.approx(norm(tensor - sum_of(fit)), rel=1e-9, abs=1e-12 * scale)


@few
@given(tensors(), st.data())
def test_more_steps_never_raise_the_error(tensor, data):
    rank, start = any_rank(data, tensor), data.draw(st.integers(0, 100))
    errors = [
        CanonicalPolyadic.from_dense(tensor, rank, steps, tolerance=0, generator=seeded(start)).error(tensor)
        for steps in range(1, 6)
    ]
    assert errors[0] <= norm(tensor) * (1 + 1e-12)
    for before, after in pairwise(errors):
        assert after <= before + 1e-9 * norm(tensor)  # the pseudo-inverse drops directions of 1e-15


@few
@given(tensors(), st.data())
def test_what_a_fit_leaves_is_orthogonal_to_it_and_no_less_than_every_unfolding_leaves(tensor, data):
    rank = any_rank(data, tensor)
    fit = CanonicalPolyadic.from_dense(tensor, rank, steps=4)
    squares = norm(fit.dense()) ** 2 + fit.error(tensor) ** 2
    assert squares == pytest.approx(norm(tensor) ** 2, rel=1e-6, abs=0)
    for spectrum in Tucker.from_dense(tensor).spectra:
        assert fit.error(tensor) >= spectrum.error(min(rank, len(spectrum))) - 1e-7 * norm(tensor)


def test_a_step_ends_where_no_change_of_the_last_factor_lowers_the_error():
    scales = torch.logspace(0, -3, 4, dtype=torch.float64)  # steep, so that the terms are nearly dependent
    tensor = torch.randn(4, 4, 4, dtype=torch.float64) * scales * scales[:, None] * scales[:, None, None]
    fit = CanonicalPolyadic.from_dense(tensor, 3, steps=20, generator=seeded(0))
    last = (fit.factors[-1] * fit.weights).requires_grad_()
    changed = CanonicalPolyadic(torch.ones(3, dtype=torch.float64), (*fit.factors[:-1], last))
    (slope,) = torch.autograd.grad((tensor - changed.dense()).square().sum(), last)
    assert norm(slope) * norm(last.detach()) <= 1e-10 * norm(tensor) ** 2


@few
@given(tensors().filter(lambda tensor: tensor.ndim == 2), st.data())
def test_the_fit_of_a_matrix_is_its_best_of_that_rank(matrix, data):
    rank = data.draw(st.integers(1, min(matrix.shape)))
    fit, pair = CanonicalPolyadic.from_dense(matrix, rank), LowRank.from_weight(matrix).truncate(rank)
    assert fit.error(matrix) == pytest.approx(pair.error(), abs=1e-9 * norm(matrix))
    assert torch.allclose(fit.weights, pair.spectrum.values[:rank], atol=1e-7 * norm(matrix))


@pytest.mark.parametrize(("shape", "weights"), [((4, 5, 6), [3, 2, 1]), ((3, 4, 5), [2, 1]), ((6, 5, 4, 3), [3, 2, 1])])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_planted_sum_is_recovered_term_by_term(shape, weights, seed):
    truth = planted(shape, weights, seed)
    fit = CanonicalPolyadic.from_dense(truth.dense(), len(weights), steps=2000, tolerance=1e-14)
    assert fit.error(truth.dense()) <= 1e-12 * norm(truth.dense())
    overlaps = torch.stack(
        [ours.T @ theirs for ours, theirs in zip(fit.factors, truth.factors, strict=True)]
    )  # (axis, our term, their term)
    eye = torch.eye(len(weights), dtype=torch.float64)
    assert torch.allclose(overlaps.diagonal(dim1=1, dim2=2).abs(), torch.ones(len(shape), len(weights)).double())
    assert torch.allclose(overlaps.prod(0).diagonal(), eye.diagonal(), atol=1e-8)  # signs cancel in the product
    assert torch.allclose(fit.weights, truth.weights, atol=1e-8)


def test_tensorly_finds_the_same_noisy_sum():
    peer = pytest.importorskip("tensorly.decomposition")
    tensor = planted((4, 5, 6), [3, 2, 1], 0).dense() + 0.05 * torch.randn(4, 5, 6, dtype=torch.float64)
    fit = CanonicalPolyadic.from_dense(tensor, 3, steps=2000, tolerance=1e-14)
    theirs = peer.parafac(tensor.numpy(), 3, n_iter_max=2000, tol=1e-14, init="svd", normalize_factors=True)
    assert fit.error(tensor) == pytest.approx(norm(tensor - torch.as_tensor(theirs.to_tensor())), rel=1e-8)
    assert fit.weights.tolist() == pytest.approx(sorted(theirs.weights, reverse=True), rel=1e-5)


def one_excitation() -> Tensor:
    """The W state of three sites, unnormalised: rank 3, and as near as one likes to a tensor of rank 2."""
    w = torch.zeros(2, 2, 2, dtype=torch.float64)
    w[0, 0, 1] = w[0, 1, 0] = w[1, 0, 0] = 1
    return w


def test_where_no_best_fit_exists_the_error_falls_as_a_root_while_terms_grow_and_cancel():
    w, steps = one_excitation(), (50, 200, 800)
    fits = [CanonicalPolyadic.from_dense(w, 2, n, tolerance=0, generator=seeded(0)) for n in steps]
    slopes = [math.log(b.error(w) / a.error(w)) / math.log(4) for a, b in pairwise(fits)]
    assert slopes == pytest.approx([-0.5, -0.5], abs=0.02)
    weights = [float(fit.weights.sum()) for fit in fits]
    assert weights == sorted(weights)
    assert weights[-1] > 5 * norm(w)
    assert CanonicalPolyadic.from_dense(w, 3).error(w) <= 1e-9


def test_singular_vectors_of_a_symmetric_tensor_can_be_a_start_with_no_way_down():
    w = one_excitation()
    assert CanonicalPolyadic.from_dense(w, 1).error(w) == pytest.approx(math.sqrt(2))
    best = CanonicalPolyadic.from_dense(w, 1, generator=seeded(0))
    assert best.error(w) == pytest.approx(math.sqrt(5 / 3))  # the overlap with its nearest product is 2/√3
    assert float(best.weights[0]) == pytest.approx(2 / math.sqrt(3))


def test_a_fit_is_the_same_each_time_and_keeps_the_type():
    tensor = torch.randn(3, 4, 5)
    for generator in (lambda: None, lambda: seeded(7)):
        first, second = (CanonicalPolyadic.from_dense(tensor, 7, 5, generator=generator()) for _ in range(2))
        for ours, theirs in zip((first.weights, *first.factors), (second.weights, *second.factors), strict=True):
            assert torch.equal(ours, theirs)
            assert ours.dtype == torch.float32


def test_steps_end_at_the_tolerance():
    tensor = torch.randn(3, 4, 5, dtype=torch.float64)
    loose, one = (CanonicalPolyadic.from_dense(tensor, 3, steps, tolerance=1) for steps in (50, 1))
    assert torch.equal(loose.dense(), one.dense())
    assert CanonicalPolyadic.from_dense(tensor, 3, 50).error(tensor) < one.error(tensor)


def test_the_zero_tensor_has_terms_of_weight_zero():
    fit = CanonicalPolyadic.from_dense(torch.zeros(3, 4, 2, dtype=torch.float64), 5)
    assert fit.weights.tolist() == [0] * 5
    assert norm(fit.dense()) == 0


@pytest.mark.parametrize(
    ("rank", "rest", "message"),
    [
        (0, {}, r"rank 0 does not fit: 12 terms are enough for any tensor of shape \(3, 5, 4\); give 1 to 12"),
        (13, {}, "rank 13 does not fit: 12 terms are enough"),
        (2, {"steps": 0}, "one or more steps and a tolerance of 0 or more, not 0 and 1e-10"),
        (2, {"tolerance": -0.5}, "one or more steps and a tolerance of 0 or more, not 500 and -0.5"),
        (2, {"tolerance": math.nan}, "a tolerance of 0 or more, not 500 and nan"),
    ],
)
def test_a_fit_that_cannot_be_is_refused(rank, rest, message):
    with pytest.raises(ValueError, match=message):
        CanonicalPolyadic.from_dense(torch.randn(3, 5, 4), rank, **rest)


def test_tensors_and_ranks_of_the_wrong_kind_are_refused():
    with pytest.raises(TypeError, match="a rank is a whole number, not True"):
        CanonicalPolyadic.from_dense(torch.randn(3, 4), True)
    for tensor, shape in ((torch.randn(3), r"\(3,\)"), (torch.randn(3, 0, 4), r"\(3, 0, 4\)")):
        with pytest.raises(ValueError, match=f"two or more axes, none of size 0, not shape {shape}"):
            CanonicalPolyadic.from_dense(tensor, 1)
    for generator in (None, seeded(0)):
        with pytest.raises(ValueError, match=r"the tensor of shape \(3, 4\) holds 12 non-finite values"):
            CanonicalPolyadic.from_dense(torch.full((3, 4), math.inf), 1, generator=generator)
    with pytest.raises(ValueError, match=r"a sum of shape \(3, 4\) cannot be compared with a tensor of \(4, 3\)"):
        CanonicalPolyadic.from_dense(torch.randn(3, 4), 2).error(torch.randn(4, 3))


def test_factors_that_do_not_fit_are_refused(monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # or the annotations refuse them first
    for factors, message in [
        ((torch.ones(4, 3),), "two or more factors, not 1"),
        (
            (torch.ones(4, 3), torch.ones(5, 2)),
            r"factor 1 needs the axes \(site, r\) with r = 3, .* not shape \(5, 2\)",
        ),
        ((torch.ones(4), torch.ones(5, 3)), r"factor 0 needs the axes \(site, r\) with r = 3, .* not shape \(4,\)"),
    ]:
        with pytest.raises(ValueError, match=message):
            CanonicalPolyadic(torch.ones(3), factors)
