"""A moment given as its diagonal is the diagonal matrix, wherever a metric is used."""

import jaxtyping
import pytest
import torch
from torch import Tensor

from workbench.decompose.low_rank import LowRank
from workbench.decompose.metric import Metric
from workbench.decompose.moment import Half, power, reordered, ridged, times
from workbench.decompose.operator import TrainOperator
from workbench.decompose.permuted import permuted_metric
from workbench.decompose.refit import Fitting, refitted
from workbench.decompose.site_metric import SiteCoordinates, marginal

OUT, IN = 12, 8
SIDES = ["outputs", "inputs", "both"]


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def positive(size: int, seed: int) -> Tensor:
    return random(size, seed=seed).square() + 0.05


def two_ways(sides: str) -> tuple[Metric, Metric]:
    """The metric with diagonals as vectors, and as matrices; on a side that is not asked for a full matrix."""
    x = random(30, IN, seed=7)
    full = x.T @ x / 30
    outs, ins = positive(OUT, 1), positive(IN, 2)
    if sides == "outputs":
        return Metric(full, outs), Metric(full, torch.diag(outs))
    if sides == "inputs":
        return Metric(ins), Metric(torch.diag(ins))
    return Metric(ins, outs), Metric(torch.diag(ins), torch.diag(outs))


@pytest.mark.parametrize("sides", SIDES)
def test_the_norm_its_gradient_and_the_best_pair_are_those_of_the_matrix(sides):
    weight, (short, long) = random(OUT, IN), two_ways(sides)
    assert short.norm == long.norm
    assert short.squared(weight) == pytest.approx(long.squared(weight), rel=1e-12)
    torch.testing.assert_close(short.gradient(weight), long.gradient(weight))
    pair, other = LowRank.from_weight(weight, short), LowRank.from_weight(weight, long)
    torch.testing.assert_close(pair.spectrum.values, other.spectrum.values)
    for bond in (1, 3, 8):
        torch.testing.assert_close(pair.truncate(bond).dense(), other.truncate(bond).dense())
        error = short.squared(weight - pair.truncate(bond).dense()) ** 0.5
        assert error == pytest.approx(pair.truncate(bond).error(), abs=1e-9)


@pytest.mark.parametrize("dims", [((3, 4), (4, 2)), ((12, 1), (2, 4)), ((2, 3, 2), (2, 2, 2))])
@pytest.mark.parametrize("sides", SIDES)
def test_the_sites_coordinates_and_a_refit_are_those_of_the_matrix(sides, dims):
    weight, (short, long) = random(OUT, IN), two_ways(sides)
    places, others = (SiteCoordinates.of(weight, metric, *dims) for metric in (short, long))
    torch.testing.assert_close(places.weight, others.weight)
    for moment, whole in ((places.metric.inputs, others.metric.inputs), (places.metric.outputs, others.metric.outputs)):
        if moment is not None:
            torch.testing.assert_close(torch.diag(moment) if moment.ndim == 1 else moment, whole)
    operator = TrainOperator.from_weight(weight, None, *dims)
    cores = [*operator.train.cores]
    for moved, other in zip(places.to_sites(cores), others.to_sites(cores), strict=True):
        torch.testing.assert_close(moved, other)
    for back, core in zip(places.from_sites(places.to_sites(cores)), cores, strict=True):
        torch.testing.assert_close(back, core)
    fits = [refitted(weight, metric, operator, (1, 2), Fitting(steps=5, tolerance=0)) for metric in (short, long)]
    assert fits[0].squared_errors == pytest.approx(fits[1].squared_errors, rel=1e-6)


def test_what_is_done_to_a_moment_is_done_to_its_diagonal():
    moment, rows, order = positive(OUT, 3), random(OUT, 5), torch.randperm(OUT, generator=torch.Generator())
    whole = torch.diag(moment)
    torch.testing.assert_close(times(moment, rows), whole @ rows)
    torch.testing.assert_close(torch.diag(ridged(moment, 0.5)), ridged(whole, 0.5))
    torch.testing.assert_close(torch.diag(power(moment, -0.5, 1e-3)), power(whole, -0.5, 1e-3))
    torch.testing.assert_close(torch.diag(reordered(moment, order)), reordered(whole, order))
    torch.testing.assert_close(torch.diag(marginal(moment, (3, 4), 1)), marginal(whole, (3, 4), 1))


def test_a_metric_in_another_order_measures_the_same():
    weight, (short, _) = random(OUT, IN), two_ways("both")
    rows, columns = (torch.randperm(size, generator=torch.Generator().manual_seed(size)) for size in (OUT, IN))
    moved = permuted_metric(short, rows, columns)
    assert moved.squared(weight[rows][:, columns]) == pytest.approx(short.squared(weight), rel=1e-12)


def test_rows_that_are_never_seen_cost_nothing_and_need_no_ridge():
    weight, seen = random(OUT, IN), torch.zeros(OUT, dtype=torch.float64)
    seen[[1, 4, 10]] = torch.tensor([2.0, 0.5, 1.0], dtype=torch.float64)
    pair = LowRank.from_weight(weight, Metric(None, seen))
    assert pair.full_bond == 3, "three rows are seen"
    torch.testing.assert_close(pair.dense()[seen > 0], weight[seen > 0])
    assert float(pair.dense()[seen == 0].abs().max()) == 0
    half = Half(torch.zeros(OUT, dtype=torch.float64))
    assert half.there(weight).shape == (1, IN), "one direction stands for nothing"


def test_the_norm_of_one_side_is_an_output_error_and_of_both_a_loss():
    assert Metric(None, positive(OUT, 1)).norm == "output"
    assert Metric(positive(IN, 1), positive(OUT, 2)).norm == "loss"


def test_a_moment_of_three_axes_is_refused(monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(ValueError, match=r"the moment of the inputs is square, or its diagonal alone, not \(3, 3, 3\)"):
        Metric(torch.ones(3, 3, 3))


def test_a_tall_weight_of_low_rank_is_decomposed_exactly():
    weight = random(40, 3) @ random(3, 8, seed=2)  # the Gram matrix of its columns is singular
    for metric in (Metric(None, positive(40, 5)), Metric(positive(8, 6), positive(40, 5))):
        pair = LowRank.from_weight(weight, metric)
        torch.testing.assert_close(pair.dense(), weight, atol=1e-9, rtol=1e-7)
        assert float(pair.spectrum.error(3)) < 1e-6 * float(pair.spectrum.values[0])
        assert metric.squared(weight - pair.truncate(2).dense()) ** 0.5 == pytest.approx(pair.truncate(2).error())
