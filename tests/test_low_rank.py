"""LowRank: its reported errors against measured ones, its optimality against LAPACK, its cuts and costs.

Errors are measured in float64: a float32 norm of a residual is itself off by 4e-5.
Tolerances: a Gram matrix squares its input, so singular values are right to the root of the machine
precision of the largest (1.5e-8 of it in float64), while reported and measured errors agree to 1e-12.
"""

import jaxtyping
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from workbench.decompose.exact import check_finite, ordered_factors, right_isometry_factors
from workbench.decompose.low_rank import LowRank
from workbench.decompose.metric import PLAIN, Metric
from workbench.decompose.protocol import Decomposition

few = settings(max_examples=40)
ROOT_PRECISION = 2e-8


@st.composite
def weights(draw) -> Tensor:
    """Small float64 matrices: of full rank, of low rank, with equal singular values, with zeros, of all scales."""
    rows, columns = draw(st.integers(1, 6)), draw(st.integers(1, 6))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 10**6)))
    weight = torch.randn(rows, columns, generator=generator, dtype=torch.float64)
    kind = draw(st.sampled_from(["random", "low rank", "isometry", "zero", "large", "small"]))
    if kind == "low rank":
        weight = weight[:, :1] @ torch.randn(1, columns, generator=generator, dtype=torch.float64)
    elif kind == "isometry":
        weight = torch.linalg.qr(weight).Q
    return weight * {"zero": 0, "large": 1e6, "small": 1e-6}.get(kind, 1)


def second_moment_of(weight: Tensor, n_samples: int) -> Tensor:
    """E[x xᵀ] over `n_samples` inputs of unequal scales: singular where there are fewer samples than inputs."""
    inputs = torch.randn(n_samples, weight.shape[1], dtype=torch.float64)
    inputs = inputs * torch.logspace(0, -2, weight.shape[1], dtype=torch.float64)
    return inputs.T @ inputs / n_samples


def root_of(second_moment: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(second_moment)
    return (vectors * values.clamp_min(0).sqrt()) @ vectors.T


def norm(matrix: Tensor) -> float:
    return float(torch.linalg.norm(matrix))


@few
@given(weights())
def test_the_reported_error_is_the_measured_and_the_smallest_one(weight):
    uncut = LowRank.from_weight(weight)
    svdvals = torch.linalg.svdvals(weight)
    for rank in range(1, min(weight.shape) + 1):
        cut = uncut.truncate(rank)
        assert cut.error() == pytest.approx(norm(weight - cut.dense()), rel=1e-12, abs=1e-14 * norm(weight))
        assert cut.error() == pytest.approx(norm(svdvals[rank:]), abs=ROOT_PRECISION * norm(weight))
        assert cut.error_bound() == cut.error()


@few
@given(weights(), st.sampled_from([1, 3, 20]))
def test_the_calibrated_error_is_the_measured_and_the_smallest_one_at_the_output(weight, n_samples):
    second_moment = second_moment_of(weight, n_samples)
    root = root_of(second_moment)
    calibrated, plain = LowRank.from_weight(weight, Metric(second_moment)), LowRank.from_weight(weight)
    optimum = torch.linalg.svdvals(weight @ root)
    scale = norm(weight) * norm(root)
    assert calibrated.spectrum.norm == "output"
    for rank in range(1, min(weight.shape) + 1):
        residual = weight - calibrated.truncate(rank).dense()
        error = calibrated.truncate(rank).error()
        assert error == pytest.approx(norm(residual @ root), abs=10 * ROOT_PRECISION * scale)
        assert error == pytest.approx(norm(optimum[rank:]), abs=10 * ROOT_PRECISION * scale)
        assert error <= norm((weight - plain.truncate(rank).dense()) @ root) + 10 * ROOT_PRECISION * scale


@few
@given(weights(), st.booleans(), st.data())
def test_cuts_are_nested_views_and_the_full_bond_is_the_weight(weight, calibrated, data):
    uncut = LowRank.from_weight(weight, Metric(second_moment_of(weight, 3)) if calibrated else PLAIN)
    assert torch.allclose(uncut.dense(), weight, rtol=1e-12, atol=1e-13 * norm(weight))
    first, second = (data.draw(st.integers(1, uncut.full_bond)) for _ in range(2))
    twice, once = uncut.truncate(first).truncate(second), uncut.truncate(min(first, second))
    assert twice.bond == once.bond == min(first, second)
    for ours, theirs, whole in ((twice.left, once.left, uncut.left), (twice.right, once.right, uncut.right)):
        assert torch.equal(ours, theirs)
        assert ours.untyped_storage().data_ptr() == whole.untyped_storage().data_ptr()
    assert once.spectra[0] is uncut.spectra[0]


@few
@given(weights(), st.data())
def test_applying_is_a_product_with_the_dense_matrix(weight, data):
    cut = LowRank.from_weight(weight).truncate(data.draw(st.integers(1, min(weight.shape))))
    x = torch.randn(2, 3, weight.shape[1], dtype=torch.float64)
    assert torch.allclose(cut.apply(x), x @ cut.dense().T, rtol=1e-12, atol=1e-12 * norm(weight))


def test_costs_are_those_of_the_products_that_run():
    cut = LowRank.from_weight(torch.randn(5, 7)).truncate(2)
    x = torch.randn(11, 7)
    for cost, rows, call in ((cut.apply_cost(), 11, lambda: cut.apply(x)), (cut.dense_cost(), 1, cut.dense)):
        with FlopCounterMode(display=False) as counter:
            call()
        assert 2 * cost * rows == counter.get_total_flops()
    assert cut.merged() is cut
    assert cut.merged_costs() == (0, cut.apply_cost()) == (0, 2 * (5 + 7))


@few
@given(weights(), st.integers(0, 100) | st.floats(0, 100))
def test_the_bond_within_a_number_of_parameters_is_the_largest(weight, n_params):
    uncut = LowRank.from_weight(weight)
    fitting = [bond for bond in range(1, uncut.full_bond + 1) if uncut.truncate(bond).n_params <= n_params]
    assert uncut.bond_within(n_params) == max(fitting, default=1)
    for bond in range(1, uncut.full_bond + 1):
        assert uncut.bond_within(uncut.truncate(bond).n_params) == bond


@pytest.mark.parametrize("shape", [(60, 90), (90, 60), (64, 64)])
def test_float32_values_are_right_to_a_thousandth_and_errors_to_the_last_digits(shape):
    rank = min(shape)
    u, v = (torch.linalg.qr(torch.randn(size, rank, dtype=torch.float64)).Q for size in shape)
    weight = ((u * torch.arange(1, rank + 1, dtype=torch.float64) ** -0.6) @ v.T).float()
    uncut = LowRank.from_weight(weight)
    assert uncut.left.dtype == torch.float32
    assert torch.allclose(uncut.spectrum.values, torch.linalg.svdvals(weight.double()), rtol=1e-3)
    for bond in (1, 20, rank - 1):
        cut = uncut.truncate(bond)
        measured = norm(weight.double() - cut.left.double() @ cut.right.double())
        assert cut.error() == pytest.approx(measured, rel=1e-4)


@few
@given(weights())
def test_the_right_factor_is_an_isometry_on_request(weight):
    left, right, values = right_isometry_factors(weight)
    eye = torch.eye(min(weight.shape), dtype=torch.float64)
    assert torch.allclose(left @ right, weight, rtol=1e-12, atol=1e-13 * norm(weight))
    assert torch.allclose(right @ right.T, eye, atol=1e-12)
    assert torch.allclose(values, ordered_factors(weight)[2], atol=ROOT_PRECISION * norm(weight))


def test_the_zero_matrix_has_a_spectrum_of_zeros():
    eyes = torch.eye(4, dtype=torch.float64), torch.eye(3, dtype=torch.float64)
    for metric in (PLAIN, Metric(eyes[0]), Metric(*eyes)):
        uncut = LowRank.from_weight(torch.zeros(3, 4, dtype=torch.float64), metric)
        assert uncut.spectrum.values.tolist() == [0, 0, 0]
        assert uncut.truncate(1).error() == 0
        assert torch.equal(uncut.truncate(1).dense(), torch.zeros(3, 4, dtype=torch.float64))


def test_it_has_every_member_of_a_decomposition():
    members = {name for name in vars(Decomposition) if not name.startswith("_")}
    assert "truncate" in members
    assert members <= set(dir(LowRank))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_weight_that_is_not_finite_is_refused(bad):
    weight = torch.ones(3, 4)
    weight[1, 2] = bad
    with pytest.raises(ValueError, match=r"the weight of shape \(3, 4\) holds 1 non-finite values"):
        LowRank.from_weight(weight)
    with pytest.raises(ValueError, match=r"the moment of the inputs of shape \(3, 3\) holds 1 non-finite values"):
        Metric(torch.eye(3) * torch.tensor([1.0, bad, 1.0]).diag())


def test_finite_values_whose_sum_overflows_are_accepted():
    check_finite(torch.full((3, 4), 3e38))
    with pytest.raises(ValueError, match="holds 2 non-finite values"):
        check_finite(torch.tensor([1.0, float("inf"), -float("inf")]))


def test_a_bond_that_does_not_fit_is_refused():
    uncut = LowRank.from_weight(torch.randn(3, 4))
    for bond in (0, 4):
        with pytest.raises(ValueError, match=f"bond {bond} does not fit: this bond can be cut to 1, 2, … 3"):
            uncut.truncate(bond)
    with pytest.raises(TypeError, match="a bond dimension is a whole number, not True"):
        uncut.truncate(True)


def test_sizes_that_do_not_fit_are_refused(monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # or the annotations refuse them first
    with pytest.raises(ValueError, match=r"a weight of 4 inputs needs a second moment of that size, not \(3, 3\)"):
        LowRank.from_weight(torch.ones(3, 4), Metric(torch.eye(3)))
    with pytest.raises(ValueError, match=r"\(out, r\) and \(r, in\), not \(3, 2\) and \(4, 5\)"):
        LowRank(torch.ones(3, 2), torch.ones(4, 5), LowRank.from_weight(torch.ones(3, 4)).spectrum)
