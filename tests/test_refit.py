"""Refitted operators: their errors by brute force, closed forms where there are any, and laws along the bonds."""

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from workbench.decompose.chain_fit import ChainFit
from workbench.decompose.descent import quasi_newton
from workbench.decompose.family import Family
from workbench.decompose.low_rank import LowRank
from workbench.decompose.metric import PLAIN, Metric
from workbench.decompose.operator import TrainOperator
from workbench.decompose.refit import Fitting, refitted
from workbench.decompose.site_metric import SiteCoordinates, kronecker_times, marginal

EXACT = Fitting(input_ridge=0, output_ridge=0)
LONG = Fitting(steps=400, tolerance=1e-9, input_ridge=0, output_ridge=0)


def moment_of(size: int, samples: int) -> Tensor:
    """E[x xᵀ] of a few correlated samples: singular where there are fewer than `size`."""
    rows = torch.randn(samples, size, dtype=torch.float64) @ torch.randn(size, size, dtype=torch.float64)
    return rows.T @ rows / samples


def problem(out_dims: Sequence[int], in_dims: Sequence[int], samples: int = 50) -> tuple[Tensor, Metric, TrainOperator]:
    weight = torch.randn(math.prod(out_dims), math.prod(in_dims), dtype=torch.float64)
    metric = Metric(moment_of(weight.shape[1], samples), moment_of(weight.shape[0], samples))
    return weight, metric, TrainOperator.from_weight(weight, None, out_dims, in_dims)


def brute_squared(metric: Metric, difference: Tensor) -> float:
    """The squared norm as a quadratic form of all entries: the second way."""
    whole = torch.kron(metric.outputs, metric.inputs)
    flat = difference.double().reshape(-1)
    return float(flat @ whole @ flat)


def dense_of(form: TrainOperator) -> Tensor:
    """The matrix, one pair of indices after another along the cores."""
    total = form.cores[0]
    for core in form.cores[1:]:
        joined = torch.einsum("aijb,bklc->aikjlc", total, core)
        total = joined.flatten(3, 4).flatten(1, 2)
    return total[0, :, :, 0]


def fit_of(out_dims: Sequence[int], in_dims: Sequence[int], bond: int) -> tuple[ChainFit, Tensor]:
    """A fit in scaled coordinates, and the point of the cut at `bond`."""
    weight, metric, operator = problem(out_dims, in_dims)
    cores = operator.truncate(bond).train.cores
    scales = [torch.linspace(1, 2, core.shape[0], dtype=torch.float64)[:, None, None] for core in cores]
    fit = ChainFit(weight, metric, tuple(out_dims), tuple(in_dims), tuple(scales))
    return fit, fit.point(cores)


@settings(max_examples=15)
@given(
    dims=st.lists(st.tuples(st.integers(1, 3), st.integers(2, 4)), min_size=2, max_size=4),
    samples=st.sampled_from([1, 3, 50]),
    alternating=st.booleans(),
)
def test_no_member_is_worse_than_the_cut_and_none_worse_than_a_smaller_one(dims, samples, alternating):
    torch.manual_seed(0)  # for each example, so that it fails again if it fails
    dims = dims[:3] if math.prod(i * j for i, j in dims) > 2000 else dims
    weight, metric, operator = problem([i for i, _ in dims], [j for _, j in dims], samples)
    bonds = tuple(range(1, operator.full_bond + 1, 2))
    fitting = Fitting(steps=2 if alternating else 8, alternating=alternating, output_ridge=samples % 2)
    family = refitted(weight, metric, operator, bonds, fitting)
    noise = 1e-12 * family.total
    for bond, member, squared_error in zip(family.bonds, family.members, family.squared_errors, strict=True):
        assert squared_error == pytest.approx(metric.squared(weight - dense_of(member)), rel=1e-9, abs=noise)
        assert squared_error <= metric.squared(weight - operator.truncate(bond).dense())
        assert [core.shape for core in member.cores] == [core.shape for core in operator.truncate(bond).cores]
    assert list(family.squared_errors) == sorted(family.squared_errors, reverse=True)


@pytest.mark.parametrize("seed", range(6))
def test_a_fit_that_ends_above_the_cut_is_not_taken(seed):
    torch.manual_seed(seed)
    weight, metric, operator = problem((3, 4), (4, 3), samples=3)
    family = refitted(weight, metric, operator, [5], Fitting(steps=0))  # the start alone, which is often worse
    assert family.squared_errors[0] <= metric.squared(weight - operator.truncate(5).dense())


def test_the_reported_errors_are_those_of_the_quadratic_form_over_all_entries():
    weight, metric, operator = problem((3, 2), (2, 4))
    family = refitted(weight, metric, operator, [1, 3, 4])
    assert family.total == pytest.approx(brute_squared(metric, weight))
    for bond in (1, 3, 4):
        form = family.truncate(bond)
        assert form.error_bound() ** 2 == pytest.approx(brute_squared(metric, weight - form.dense()))
    assert (family.bonds, family.full_bond, family.norm) == ((1, 3, 4), 6, "loss")


def test_a_pair_of_all_outputs_and_all_inputs_is_fitted_to_the_closed_form():
    # Sites (out, 1) and (1, in) make the operator a pair of factors, whose best is known (Eckart & Young).
    weight, metric, operator = problem((8, 1), (1, 6))
    best = LowRank.from_weight(weight, metric)
    family = refitted(weight, metric, operator, [1, 2, 4], EXACT)
    for bond, squared_error in zip(family.bonds, family.squared_errors, strict=True):
        assert squared_error == pytest.approx(best.truncate(bond).error() ** 2, rel=1e-6)


def test_a_metric_that_is_a_product_of_sites_is_fitted_to_the_closed_form():
    outs, ins = [moment_of(3, 9), moment_of(4, 9)], [moment_of(4, 9), moment_of(2, 9)]
    weight = torch.randn(12, 8, dtype=torch.float64)
    metric = Metric(torch.kron(*ins), torch.kron(*outs))
    operator = TrainOperator.from_weight(weight, None, (3, 4), (4, 2))
    halves = [torch.linalg.cholesky(torch.kron(i, j)) for i, j in zip(outs, ins, strict=True)]  # of each site
    legs = weight.reshape(3, 4, 4, 2).permute(0, 2, 1, 3).reshape(12, 8)
    values = torch.linalg.svdvals(halves[0].T @ legs @ halves[1])
    family = refitted(weight, metric, operator, [2, 5], EXACT)
    for bond, squared_error in zip(family.bonds, family.squared_errors, strict=True):
        assert squared_error == pytest.approx(float(values[bond:].square().sum()), rel=1e-6)


def test_in_the_plain_metric_nothing_beats_the_cut_of_two_sites():
    weight, _, operator = problem((3, 4), (4, 3))
    family = refitted(weight, PLAIN, operator, [2, 6])
    for bond, squared_error in zip(family.bonds, family.squared_errors, strict=True):
        assert squared_error == pytest.approx(operator.truncate(bond).error_bound() ** 2, rel=1e-9)


@pytest.mark.parametrize("sides", ["inputs", "outputs"])
def test_one_side_of_the_metric_is_enough(sides):
    weight, metric, operator = problem((3, 4), (4, 3))
    one = Metric(metric.inputs, None) if sides == "inputs" else Metric(None, metric.outputs)
    family = refitted(weight, one, operator, [4], LONG)
    assert family.squared_errors[0] < 0.7 * one.squared(weight - operator.truncate(4).dense())
    assert family.norm == one.norm


def test_the_cores_descend_far_below_the_cut_and_together_further_than_in_turn():
    weight, metric, operator = problem((4, 4, 4), (2, 3, 2), samples=20)
    cut = metric.squared(weight - operator.truncate(6).dense())
    together = refitted(weight, metric, operator, [6], LONG).squared_errors[0]
    in_turn = refitted(
        weight, metric, operator, [6], Fitting(20, alternating=True, input_ridge=0, output_ridge=0)
    ).squared_errors[0]
    assert together < in_turn < 0.5 * cut


@pytest.mark.parametrize(("out_dims", "in_dims", "bond"), [((3, 2), (2, 4), 4), ((2, 3, 2), (2, 2, 3), 3)])
def test_the_gradient_is_that_of_the_quadratic_form(out_dims, in_dims, bond):
    fit, point = fit_of(out_dims, in_dims, bond)
    value, gradient = fit.value_and_gradient(point)
    free = point.clone().requires_grad_()
    cut = TrainOperator.from_weight(fit.weight, None, out_dims, in_dims).truncate(bond)
    form = cut.with_tensors({f"core.{k}": core for k, core in enumerate(fit.cores(free))})
    error = fit.weight - dense_of(form)
    squared = (error * (fit.metric.outputs @ error @ fit.metric.inputs)).sum()
    (expected,) = torch.autograd.grad(squared, free)
    assert value == pytest.approx(float(squared.detach()))
    torch.testing.assert_close(gradient, expected)


def test_the_steepest_step_ends_where_the_linear_operator_is_lowest():
    fit, point = fit_of((3, 2), (2, 4), 4)
    _, gradient = fit.value_and_gradient(point)
    length = 1e-6  # so short that the operator is linear in its cores
    lower = fit.value_and_gradient(point - length * gradient)[0]
    value = fit.value_and_gradient(point)[0]
    slope, best = float(gradient @ gradient), fit.steepest(point)
    # A parabola that falls by slope · length · (1 - length / (2 best)).
    assert (value - lower) / (slope * length) == pytest.approx(1 - length / (2 * best), rel=1e-3)


@pytest.mark.parametrize("site", [0, 1, 2])
def test_a_step_of_one_core_ends_in_its_least_squares_solution(site):
    fit, point = fit_of((2, 3, 2), (2, 2, 3), 3)
    moved = fit._core_step(point, site, 500)
    before, after = fit.cores(point), fit.cores(moved)
    basis = torch.eye(before[site].numel(), dtype=torch.float64).reshape(-1, *before[site].shape)
    root = [torch.linalg.eigh(side) for side in (fit.metric.outputs, fit.metric.inputs)]
    half = [(v * e.clamp_min(0).sqrt()) @ v.T for e, v in root]
    columns = [half[0] @ fit._dense([*before[:site], unit, *before[site + 1 :]]) @ half[1] for unit in basis]
    seen = (half[0] @ fit.weight @ half[1]).flatten()
    design = torch.stack([column.flatten() for column in columns], dim=1)
    best = torch.linalg.lstsq(design, seen, driver="gelsd").solution
    lowest = float((seen - design @ best).square().sum())
    assert fit.value_and_gradient(moved)[0] == pytest.approx(lowest, rel=1e-6)
    for k in {0, 1, 2} - {site}:
        assert torch.equal(after[k], before[k])


def test_a_ridge_adds_its_share_of_the_mean_to_every_eigenvalue():
    metric = Metric(moment_of(4, 2), moment_of(3, 2))
    ridged = Fitting(input_ridge=0.5, output_ridge=2.0).ridged(metric)
    for moment, raised, share in ((metric.inputs, ridged.inputs, 0.5), (metric.outputs, ridged.outputs, 2.0)):
        values = torch.linalg.eigvalsh(moment)
        torch.testing.assert_close(torch.linalg.eigvalsh(raised), values + share * values.mean())
    assert Fitting().ridged(Metric(metric.inputs)).outputs is None
    assert Fitting(input_ridge=0, output_ridge=0).ridged(metric).inputs is metric.inputs


def test_a_ridge_keeps_the_error_small_where_little_is_seen():
    weight, _, operator = problem((3, 4), (4, 3))
    turns = [torch.linalg.qr(torch.randn(12, 12, dtype=torch.float64))[0] for _ in range(2)]
    steep = torch.logspace(0, -5, 12, dtype=torch.float64)
    metric = Metric(*[(turn * steep) @ turn.T for turn in turns])
    wild, tame = (refitted(weight, metric, operator, [5], way) for way in (LONG, Fitting(400, 1e-9)))
    assert PLAIN.squared(weight - tame.dense()) < 0.8 * PLAIN.squared(weight - wild.dense())
    assert wild.squared_errors < tame.squared_errors


def test_sweeps_go_there_and_back_and_each_ends_with_its_last_core_at_its_best():
    fit, point = fit_of((3, 2), (2, 4), 4)
    for sweeps, last in ((1, 1), (2, 0), (3, 1)):
        steep = [
            float(part.norm()) for part in fit._parts(fit.value_and_gradient(fit.alternating(point, sweeps, 99))[1])
        ]
        assert steep[last] < 1e-6 * steep[1 - last]


def test_a_core_stays_where_rounding_has_left_a_moment_without_a_positive_direction():
    fit, point = fit_of((3, 2), (2, 4), 4)
    sunk = replace(fit, metric=Metric(-1e-9 * torch.eye(8, dtype=torch.float64)))
    assert torch.equal(sunk._core_step(point, 0, 5), point)


def test_the_same_call_gives_the_same_numbers():
    weight, metric, operator = problem((3, 4), (4, 3))
    first, second = (refitted(weight, metric, operator, [2, 5]) for _ in range(2))
    for one, other in zip(first.members, second.members, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one.cores, other.cores, strict=True))


def test_a_weight_in_float32_gives_members_in_float32_with_errors_measured_in_float64():
    weight, metric, operator = problem((4, 4), (3, 4))
    single = TrainOperator.from_weight(weight.float(), None, (4, 4), (3, 4))
    family = refitted(weight.float(), metric, single, [3, 7])
    double = refitted(weight, metric, operator, [3, 7])
    assert {core.dtype for member in family.members for core in member.tensors().values()} == {torch.float32}
    assert family.squared_errors == pytest.approx(double.squared_errors, rel=0.05)
    for member, squared_error in zip(family.members, family.squared_errors, strict=True):
        assert squared_error == pytest.approx(
            brute_squared(metric, weight.float().double() - member.dense().double()), rel=1e-9
        )


def test_members_tell_the_plain_spectra_and_the_family_the_measured_error():
    weight, metric, operator = problem((3, 4), (4, 3))
    family = refitted(weight, metric, operator, [2, 5])
    assert isinstance(family, Family)
    assert family.spectra is operator.spectra
    assert family.n_params == operator.truncate(5).n_params


@pytest.mark.parametrize("nothing", ["weight", "inputs", "outputs"])
def test_what_the_metric_does_not_see_stays_the_plain_cut(nothing):
    weight, metric, operator = problem((3, 4), (4, 3))
    if nothing == "weight":
        weight = torch.zeros_like(weight)
        operator = TrainOperator.from_weight(weight, None, (3, 4), (4, 3))
    inputs = torch.zeros(12, 12, dtype=torch.float64) if nothing == "inputs" else metric.inputs
    outputs = torch.zeros(12, 12, dtype=torch.float64) if nothing == "outputs" else metric.outputs
    family = refitted(weight, Metric(inputs, outputs), operator, [2, 5])
    assert (family.total, family.squared_errors) == (0.0, (0.0, 0.0))
    assert torch.equal(family.dense(), operator.truncate(5).dense())
    assert family.discarded_weight() == 0


def test_a_train_of_smaller_rank_than_its_bond_is_left_exact():
    weight = torch.kron(torch.randn(3, 2, dtype=torch.float64), torch.randn(2, 4, dtype=torch.float64))
    metric = Metric(moment_of(8, 20), moment_of(6, 20))
    operator = TrainOperator.from_weight(weight, None, (3, 2), (2, 4))
    family = refitted(weight, metric, operator, [1, 2, 3])
    assert max(family.squared_errors) < 1e-20 * family.total


def test_the_coordinates_of_the_sites_keep_the_metric_and_come_back():
    weight, metric, operator = problem((3, 2), (2, 4))
    places = SiteCoordinates.of(weight, metric, (3, 2), (2, 4))
    assert places.metric.squared(places.weight) == pytest.approx(1)
    cut = operator.truncate(3)
    there = places.to_sites(cut.train.cores)
    moved = TrainOperator.from_weight(places.weight, None, (3, 2), (2, 4)).truncate(3)
    seen = moved.with_tensors({f"core.{k}": core for k, core in enumerate(there)}).dense()
    expected = metric.squared(weight - cut.dense()) / metric.squared(weight)
    assert places.metric.squared(places.weight - seen) == pytest.approx(expected)
    for core, back in zip(cut.train.cores, places.from_sites(there), strict=True):
        torch.testing.assert_close(back, core)


def test_in_the_coordinates_of_the_sites_each_site_alone_counts_all_directions_alike():
    weight, metric, _ = problem((3, 2), (2, 4))
    product = Metric(torch.kron(moment_of(2, 9), moment_of(4, 9)), None)
    places = SiteCoordinates.of(weight, product, (3, 2), (2, 4))
    torch.testing.assert_close(places.metric.inputs, torch.eye(8, dtype=torch.float64))
    assert places.metric.outputs is None
    assert SiteCoordinates.of(weight, metric, (3, 2), (2, 4)).metric.outputs is not None


def test_kronecker_times_and_marginal_are_those_of_torch_kron():
    one, two, three = (torch.randn(n, n, dtype=torch.float64) for n in (2, 3, 4))
    rows = torch.randn(24, 5, dtype=torch.float64)
    whole = torch.kron(torch.kron(one, two), three)
    torch.testing.assert_close(kronecker_times([one, two, three], rows), whole @ rows)
    torch.testing.assert_close(marginal(whole, (2, 3, 4), 1), two * one.trace() * three.trace() / 8)


def bowl(point: Tensor) -> tuple[float, Tensor]:
    """A long valley with its lowest point, of value 1, at (1, 1, …)."""
    steep = torch.logspace(0, 3, len(point), dtype=point.dtype)
    away = point - 1
    return 1 + float((steep * away.square()).sum()), 2 * steep * away


def test_the_descent_finds_the_bottom_of_a_valley_and_never_climbs():
    start = torch.zeros(12, dtype=torch.float64)
    values = [bowl(quasi_newton(bowl, start, 1e-3, steps, 0.0))[0] for steps in (0, 1, 2, 5, 20, 100)]
    assert values == sorted(values, reverse=True)
    assert values[0] == bowl(start)[0]
    assert values[-1] == pytest.approx(1, abs=1e-9)


def test_the_descent_shortens_a_step_that_overshoots_or_leaves_the_numbers():
    start = torch.full((3,), 4.0, dtype=torch.float64)
    assert bowl(quasi_newton(bowl, start, 1e3, 60, 0.0))[0] == pytest.approx(1, abs=1e-6)

    def edged(point: Tensor) -> tuple[float, Tensor]:
        value, slope = bowl(point)
        return (math.nan if float(point.abs().max()) > 5 else value), slope

    assert bowl(quasi_newton(edged, start, 1e3, 60, 0.0))[0] == pytest.approx(1, abs=1e-6)


def test_the_descent_ends_where_steps_gain_less_than_the_tolerance():
    asked = []

    def counted(point: Tensor) -> tuple[float, Tensor]:
        asked.append(point)
        return bowl(point)

    start = torch.zeros(40, dtype=torch.float64)
    quasi_newton(counted, start, 1e-4, 1000, 0.5)
    eager = len(asked)
    quasi_newton(counted, start, 1e-4, 1000, 1e-3)
    assert eager < len(asked) - eager < 200


def test_the_descent_stays_where_there_is_no_way_down():
    flat = torch.ones(3, dtype=torch.float64)
    assert torch.equal(quasi_newton(bowl, flat, 1.0, 10, 0.1), flat)


def test_the_descent_stays_where_every_step_leads_up():
    start = torch.zeros(3, dtype=torch.float64)

    def deceived(point: Tensor) -> tuple[float, Tensor]:
        value, gradient = bowl(point)
        return value, -gradient

    assert torch.equal(quasi_newton(deceived, start, 1e-3, 10, 0.1), start)


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        (
            {"weight": torch.zeros(3, 4)},
            ValueError,
            r"the operator stands for a matrix of \(12, 8\), the weight is \(3, 4\)",
        ),
        ({"bonds": []}, ValueError, "at one bond or more"),
        ({"bonds": [4, 3]}, ValueError, r"here \[4, 3\]"),
        ({"bonds": [3, 3]}, ValueError, r"here \[3, 3\]"),
        ({"bonds": [0, 3]}, ValueError, "bond 0 does not fit"),
        ({"bonds": [3, 9]}, ValueError, "bond 9 does not fit: .* 8 "),
        ({"cut": 3}, ValueError, r"cut, to bonds \(3,\) of \(8,\)"),
        ({"metric": Metric(torch.eye(3))}, ValueError, r"8 inputs needs .*\(3, 3\)"),
        ({"weight": torch.full((12, 8), math.nan)}, ValueError, "non-finite"),
    ],
)
def test_what_cannot_be_fitted_is_refused(change, kind, message):
    weight = torch.randn(12, 8)
    operator = TrainOperator.from_weight(weight, None, (3, 4), (4, 2)).truncate(change.get("cut", 8))
    given_weight, bonds = change.get("weight", weight), change.get("bonds", [2])
    with pytest.raises(kind, match=message):
        refitted(given_weight, change.get("metric", PLAIN), operator, bonds)


@pytest.mark.parametrize(
    ("field", "value"),
    [("steps", -1), ("tolerance", -0.5), ("products", 0), ("input_ridge", -0.1), ("output_ridge", -3.0)],
)
def test_a_fit_that_makes_no_sense_is_refused(field, value):
    with pytest.raises(ValueError, match=f"{field}={value}"):
        replace(Fitting(), **{field: value})
