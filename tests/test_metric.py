"""Metrics: the norm of an error, and the pair that is best in it, beside the plain formulas."""

import jaxtyping
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from workbench.decompose.low_rank import LowRank
from workbench.decompose.metric import PLAIN, Metric

few = settings(max_examples=30)
shapes = st.tuples(st.integers(2, 6), st.integers(2, 6))


def moment_of(size: int, n_samples: int) -> Tensor:
    x = torch.randn(n_samples, size, dtype=torch.float64) * torch.logspace(0, -1, size, dtype=torch.float64)
    return x.T @ x / n_samples


def root_of(moment: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(moment)
    return (vectors * values.clamp_min(0).sqrt()) @ vectors.T


def measured(difference: Tensor, metric: Metric) -> float:
    """‖G^½ D A^½‖, by the roots themselves."""
    seen = difference if metric.outputs is None else root_of(metric.outputs) @ difference
    return float(torch.linalg.norm(seen if metric.inputs is None else seen @ root_of(metric.inputs)))


def metric_of(shape: tuple[int, int], sides: str) -> Metric:
    out, n_in = shape
    return Metric(
        moment_of(n_in, 3 * n_in) if "inputs" in sides else None,
        moment_of(out, 3 * out) if "outputs" in sides else None,
    )


@few
@given(shapes, st.sampled_from(["", "inputs", "outputs", "inputs and outputs"]))
def test_the_squared_norm_is_that_of_the_error_between_the_roots(shape, sides):
    torch.manual_seed(0)
    difference, metric = torch.randn(shape, dtype=torch.float64), metric_of(shape, sides)
    assert metric.squared(difference) == pytest.approx(measured(difference, metric) ** 2, rel=1e-9)


@few
@given(shapes, st.sampled_from(["inputs", "outputs", "inputs and outputs"]))
def test_the_gradient_is_half_that_of_the_squared_norm(shape, sides):
    torch.manual_seed(1)
    metric = metric_of(shape, sides)
    difference = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    (difference * metric.gradient(difference)).sum().backward()
    assert torch.allclose(metric.gradient(difference.detach()), difference.grad / 2, rtol=1e-9, atol=1e-12)


@few
@given(shapes, st.sampled_from(["inputs", "outputs", "inputs and outputs"]), st.data())
def test_every_cut_of_a_pair_has_the_error_it_reports_and_no_pair_of_its_rank_a_smaller_one(shape, sides, data):
    torch.manual_seed(2)
    weight, metric = torch.randn(shape, dtype=torch.float64), metric_of(shape, sides)
    pair = LowRank.from_weight(weight, metric)
    rank = data.draw(st.integers(1, min(shape)))
    left = torch.eye(shape[0], dtype=torch.float64) if metric.outputs is None else root_of(metric.outputs)
    right = torch.eye(shape[1], dtype=torch.float64) if metric.inputs is None else root_of(metric.inputs)
    best = torch.linalg.svdvals(left @ weight @ right)[rank:].square().sum().sqrt()
    error = measured(weight - pair.truncate(rank).dense(), metric)
    assert error == pytest.approx(pair.spectrum.error(rank), abs=1e-7)
    assert error == pytest.approx(float(best), abs=1e-7)


def test_outputs_that_the_loss_never_feels_cost_nothing_and_need_no_ridge():
    torch.manual_seed(3)
    weight = torch.randn(3, 4, dtype=torch.float64)
    felt = torch.zeros(3, 3, dtype=torch.float64)
    felt[0, 0] = 2.0
    pair = LowRank.from_weight(weight, Metric(moment_of(4, 2), felt))
    assert pair.full_bond == 1, "one direction is felt, so one rank is enough"
    assert torch.allclose(pair.dense()[0], weight[0], atol=1e-12)
    assert torch.equal(pair.dense()[1:], torch.zeros(2, 4, dtype=torch.float64))


def test_the_norm_says_what_it_measures():
    eye3, eye4 = torch.eye(3), torch.eye(4)
    assert [metric.norm for metric in (PLAIN, Metric(eye4), Metric(eye4, eye3))] == ["Frobenius", "output", "loss"]
    assert LowRank.from_weight(torch.randn(3, 4), Metric(eye4, eye3)).spectrum.norm == "loss"


def test_moments_that_do_not_fit_are_refused(monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(ValueError, match=r"outputs is square, or its diagonal alone, not \(3, 4\)"):
        Metric(None, torch.ones(3, 4))
    with pytest.raises(ValueError, match=r"a weight of 3 outputs needs a second moment of that size, not \(4, 4\)"):
        LowRank.from_weight(torch.ones(3, 4), Metric(None, torch.eye(4)))
