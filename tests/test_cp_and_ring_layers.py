"""A weight matrix as outer products and as a ring: what they stand for, how they are fitted, a layer's family."""

import math
from itertools import pairwise

import jaxtyping
import pytest
import tensorly
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorly.decomposition import parafac
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from workbench.compress.layers import BondLinear
from workbench.compress.methods import cp, ring
from workbench.compress.place import Place
from workbench.compress.recipe import Recipe
from workbench.decompose.cp import CanonicalPolyadic
from workbench.decompose.leg_fit import leg_step, usual_legs
from workbench.decompose.metric import PLAIN, Metric
from workbench.decompose.outer_sum import OuterSum, outer_sums
from workbench.decompose.protocol import Decomposition
from workbench.decompose.ring import TensorRing
from workbench.decompose.ring_operator import RingOperator, ring_operators

few = settings(max_examples=20)
sides = st.lists(st.integers(1, 4), min_size=1, max_size=3).map(tuple)
FITS = pytest.mark.parametrize("fit", [outer_sums, ring_operators], ids=["cp", "ring"])
METHODS = pytest.mark.parametrize(("method", "name"), [(cp, "cp"), (ring, "ring")], ids=["cp", "ring"])


def norm(tensor: Tensor) -> float:
    return float(torch.linalg.vector_norm(tensor))


def weight_of(outs: tuple[int, ...], ins: tuple[int, ...]) -> Tensor:
    return torch.randn(math.prod(outs), math.prod(ins), dtype=torch.float64)


def summed(form: OuterSum | RingOperator) -> Tensor:
    """The matrix of the stored numbers by their definition, one entry after another: the second way."""
    tensors = form.tensors()
    flat = []
    for index in torch.cartesian_prod(*[torch.arange(size) for size in form.out_dims + form.in_dims]).tolist():
        if isinstance(form, OuterSum):
            terms = tensors["weights"].clone()
            for k, i in enumerate(index):
                terms = terms * tensors[f"factor.{k}"][i]
            flat.append(terms.sum())
        else:
            product = torch.eye(tensors["core.0"].shape[0], dtype=torch.float64)
            for k, i in enumerate(index):
                product = product @ tensors[f"core.{k}"][:, i]
            flat.append(product.trace())
    return torch.stack(flat).reshape(form.shape)


def random_form(kind: str, outs: tuple[int, ...], ins: tuple[int, ...], bond: int) -> OuterSum | RingOperator:
    """A form of random numbers; a ring has bonds of three sizes."""
    legs = (*outs, *ins)
    if kind == "cp":
        factors = tuple([torch.randn(size, bond, dtype=torch.float64) for size in legs])
        return OuterSum(CanonicalPolyadic(torch.rand(bond, dtype=torch.float64), factors), outs, ins, 0.0, 1.0)
    bonds = [bond + k % 3 for k in range(len(legs))]
    shapes = [(bonds[k], size, bonds[(k + 1) % len(legs)]) for k, size in enumerate(legs)]
    cores = tuple([torch.randn(shape, dtype=torch.float64) for shape in shapes])
    return RingOperator(TensorRing(cores), outs, ins, 0.0, 1.0)


def counted(call) -> int:
    """The multiply-adds of the matrix products that really run."""
    with FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops() // 2


@few
@given(st.sampled_from(["cp", "ring"]), sides, sides, st.integers(1, 3))
def test_it_is_applied_as_the_matrix_that_its_numbers_stand_for(kind, outs, ins, bond):
    if len(outs + ins) < 2:
        return
    form = random_form(kind, outs, ins, bond)
    assert isinstance(form, Decomposition)
    assert not form.nested
    assert form.shape == (math.prod(outs), math.prod(ins))
    weight = summed(form)
    pair = form.merged()
    bias = torch.randn(form.shape[0], dtype=torch.float64)
    for batch in ((), (5,), (2, 3), (0,)):
        x = torch.randn(*batch, form.shape[1], dtype=torch.float64)
        for runs in (form, pair):
            assert torch.allclose(runs.apply(x), x @ weight.T, atol=1e-10 * (1 + norm(weight)))
            assert torch.allclose(runs.apply(x, bias), x @ weight.T + bias, atol=1e-10 * (1 + norm(weight)))
    for same in (form.dense(), pair.dense(), form.to(torch.device("cpu")).dense()):
        assert torch.allclose(same, weight, atol=1e-10 * (1 + norm(weight)))
    assert form.n_params == sum(part.numel() for part in form.tensors().values())
    assert len(pair.tensors()) == (3 if kind == "cp" else 2)
    assert pair.merged_costs() == (0, pair.apply_cost())
    assert pair.apply_moves() == form.merged_moves() == 0
    assert pair.apply_cost() == form.merged_costs()[1]


@pytest.mark.parametrize(("outs", "ins"), [((2, 3), (4, 5)), ((3, 4), (5,)), ((5,), (2, 3, 4)), ((2, 3, 4), (5,))])
def test_a_ring_costs_the_multiply_adds_that_it_says(outs, ins):
    form = random_form("ring", outs, ins, 2)
    x = torch.randn(7, form.shape[1], dtype=torch.float64)
    assert counted(lambda: form.apply(x)) == 7 * form.apply_cost()
    assert counted(form.dense) == form.dense_cost()
    build, row = form.merged_costs()
    assert counted(form.merged) == build
    pair = form.merged()
    assert counted(lambda: pair.apply(x)) == 7 * row
    assert form.apply_moves() > 0
    assert form.ladder().multiply_adds == (min(form.apply_cost(), row, math.prod(form.shape)),)


def test_a_sum_of_outer_products_costs_the_multiply_adds_that_it_says():
    form = random_form("cp", (2, 3), (4, 5), 6)
    # By hand, for each of six terms: 20 inputs and then 4, a weight, 2 outputs and then 6.
    assert form.apply_cost() == 6 * (20 + 4 + 1 + 2 + 6)
    x = torch.randn(7, 20, dtype=torch.float64)
    assert counted(lambda: form.apply(x)) == 7 * 6 * (20 + 6)  # those that run as matrix products
    assert form.merged_costs() == (6 * (6 + 20), 6 * (6 + 1 + 20))
    assert counted(lambda: form.merged().apply(x)) == 7 * 6 * (6 + 20)
    assert form.dense_cost() == 6 * (120 + 2 + 12 + 60)
    assert counted(form.dense) == 6 * 120
    assert form.ladder().multiply_adds == (120,)  # the dense matrix is cheaper than six terms


@FITS
@settings(max_examples=12)
@given(sides, sides, st.data())
def test_a_fit_says_what_it_left_out_and_no_bond_leaves_more_than_a_smaller_one(fit, outs, ins, data):
    if len(outs + ins) < 2:
        return
    weight = weight_of(outs, ins)
    bonds = sorted(data.draw(st.sets(st.integers(1, 5), min_size=1, max_size=3)))
    forms = fit(weight, outs, ins, bonds, 3)
    again = fit(weight, outs, ins, bonds, 3)
    for form, other, bond in zip(forms, again, bonds, strict=True):
        assert form.bond == form.full_bond == form.bond_within(1) == bond
        assert form.shape == tuple(weight.shape)
        error = norm(weight - form.dense())
        assert form.error_bound() == pytest.approx(error, rel=1e-9, abs=1e-12)
        assert form.discarded_weight() == pytest.approx((error / norm(weight)) ** 2, abs=1e-12)
        assert form.ladder().squared_errors == (form.squared_error,)
        assert (form.ladder().bonds, form.ladder().n_params) == ((bond,), (form.n_params,))
        assert all(torch.equal(part, other.tensors()[name]) for name, part in form.tensors().items())
        assert form.spectra == ()
    errors = [form.error_bound() for form in forms]
    assert all(after <= before + 1e-9 * norm(weight) for before, after in pairwise(errors))


@FITS
def test_more_sweeps_never_raise_the_error_and_a_tolerance_ends_them(fit):
    weight = weight_of((4, 6), (5,))
    errors = [fit(weight, (4, 6), (5,), (2,), sweeps, 0.0)[0].error_bound() for sweeps in range(1, 12)]
    assert all(after <= before * (1 + 1e-12) for before, after in pairwise(errors))
    assert errors[-1] < 0.999 * errors[0]
    first = next(k for k in range(1, 11) if errors[k - 1] - errors[k] <= 0.02 * errors[k - 1])
    assert fit(weight, (4, 6), (5,), (2,), 11, 0.02)[0].error_bound() == pytest.approx(errors[first], rel=1e-9)


@FITS
def test_enough_terms_are_the_matrix_itself(fit):
    weight = weight_of((3, 4), (2,))  # six fibres along the axis of four
    (form,) = fit(weight, (3, 4), (2,), (6 if fit is outer_sums else 3,), 3)
    assert form.error_bound() < 1e-8 * norm(weight)
    assert torch.allclose(form.dense(), weight, atol=1e-8)


@FITS
def test_a_planted_matrix_is_found(fit):
    planted = random_form("cp", (4, 5), (6,), 2) if fit is outer_sums else random_form("ring", (4, 5), (6,), 1)
    bond = 2 if fit is outer_sums else 3  # its largest
    weight = planted.dense()
    found = fit(weight, (4, 5), (6,), (bond,), 300, 0.0)[0]
    assert found.error_bound() < 1e-6 * norm(weight)


def test_outer_products_reach_the_error_of_another_library():
    weight = weight_of((4, 5), (6,))
    ours = outer_sums(weight, (4, 5), (6,), (3,), 500, 1e-9)[0]
    theirs = []
    for seed in range(3):
        tensor = weight.reshape(4, 5, 6).numpy()
        fit = parafac(tensor, 3, init="random", random_state=seed, n_iter_max=500, tol=1e-9)
        theirs.append(norm(weight.reshape(4, 5, 6) - torch.from_numpy(tensorly.cp_to_tensor(fit))))
    assert min(theirs) * 0.99 <= ours.error_bound() <= max(theirs) * 1.02


@FITS
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_matrix_of_zeros_and_one_of_equal_rows_are_fitted_without_a_fuss(fit, dtype):
    for form in fit(torch.zeros(12, 5, dtype=dtype), (3, 4), (5,), (1, 3)):
        assert form.squared_error == form.total == form.discarded_weight() == 0.0
        assert form.dense().count_nonzero() == 0
        assert form.dense().dtype == dtype
    same = torch.randn(5, dtype=dtype).expand(12, 5).contiguous()
    for form in fit(same, (3, 4), (5,), (1, 2, 7)):  # terms beyond the first cannot be told apart
        assert form.discarded_weight() < 1e-6
        assert form.dense().isfinite().all()


@FITS
def test_what_a_smaller_fit_has_right_a_larger_one_does_not_spoil(fit):
    weight = torch.outer(torch.randn(12), torch.randn(5))
    rows = torch.outer(torch.randn(3), torch.randn(4)).flatten()
    for exact in (weight, torch.outer(rows, weight[0])):  # the second is one term, and a ring of bond 1
        errors = [form.squared_error for form in fit(exact, (3, 4), (5,), (1, 2, 3, 4), 2)]
        assert errors[-1] < 1e-5 * norm(exact) ** 2
        if fit is ring_operators:
            assert errors == sorted(errors, reverse=True)


def test_a_step_is_made_even_where_rounding_leaves_a_gram_matrix_that_is_none():
    gram = torch.tensor([[1, 1 + 1e-6], [1 + 1e-6, 1]], dtype=torch.float64)  # an eigenvalue of -1e-6
    moments = torch.tensor([[2.0, 2.0], [-3.0, -3.0]], dtype=torch.float64)
    found = leg_step(gram, moments, torch.zeros(2, 2, dtype=torch.float64))
    assert torch.allclose(found, moments / 2, atol=1e-4)


@FITS
@pytest.mark.parametrize("size", [1e-30, 1e25])
def test_the_size_of_a_weight_does_not_matter(fit, size):
    weight = torch.randn(12, 5)
    forms, sized = fit(weight, (3, 4), (5,), (1, 2)), fit(size * weight, (3, 4), (5,), (1, 2))
    for form, other in zip(forms, sized, strict=True):
        assert torch.allclose(other.dense() / size, form.dense(), atol=1e-3)
        assert other.discarded_weight() == pytest.approx(form.discarded_weight(), rel=1e-3)


@given(st.integers(1, 6), st.integers(1, 6), st.booleans())
@few
def test_a_step_is_the_least_squares_solution_and_stays_near_where_that_is_any(rank, sites, singular):
    columns = torch.randn(9, rank, dtype=torch.float64)
    if singular:
        columns[:, -1] = columns[:, 0]
    before = torch.randn(sites, rank, dtype=torch.float64)
    target = torch.randn(sites, 9, dtype=torch.float64)
    found = leg_step(columns.T @ columns, target @ columns, before)
    best = torch.linalg.lstsq(columns, target.T, driver="gelsd").solution.T
    assert norm(target - found @ columns.T) == pytest.approx(norm(target - best @ columns.T), rel=1e-6)
    if not singular:
        assert torch.allclose(found, best, atol=1e-5)
    elif rank > 1:  # what the columns do not decide is left as it was
        assert torch.allclose(found[:, 0] - found[:, -1], before[:, 0] - before[:, -1], atol=1e-4)


def test_the_usual_legs_split_the_longer_side_in_two():
    assert usual_legs(12, 5) == ((3, 4), (5,))
    assert usual_legs(5, 12) == ((5,), (3, 4))
    assert usual_legs(6, 6) == ((2, 3), (6,))
    assert usual_legs(7, 3) == ((1, 7), (3,))


@FITS
def test_other_numbers_keep_the_form_and_what_it_says(fit):
    (form,) = fit(weight_of((3, 4), (5,)), (3, 4), (5,), (2,))
    doubled = form.with_tensors({name: 2 * part for name, part in form.tensors().items()})
    factors = 4 if fit is outer_sums else 3  # three factors and the weights, or three cores
    assert torch.allclose(doubled.dense(), 2**factors * form.dense())
    assert doubled.squared_error == form.squared_error
    assert form.truncate(2) is form


@FITS
def test_what_cannot_be_fitted_is_refused(fit):
    weight = torch.randn(12, 5)
    with pytest.raises(ValueError, match=r"the weight has 12 outputs, but the legs \(3, 5\) multiply to 15"):
        fit(weight, (3, 5), (5,), (1,))
    with pytest.raises(ValueError, match=r"the weight has 5 inputs, but the legs \(2, 3\) multiply to 6"):
        fit(weight, (3, 4), (2, 3), (1,))
    with pytest.raises(ValueError, match=r"the weight has 12 outputs, but the legs \(-3, -4\)"):
        fit(weight, (-3, -4), (5,), (1,))
    with pytest.raises(ValueError, match="holds 60 non-finite values"):
        fit(weight * torch.nan, (3, 4), (5,), (1,))
    for ranks in ((), (2, 2), (3, 1), (0, 1)):
        with pytest.raises(ValueError, match="the ranks to fit grow, from 1 or more"):
            fit(weight, (3, 4), (5,), ranks)
    with pytest.raises(TypeError, match=r"a rank is a whole number, not True|beartype|type"):
        fit(weight, (3, 4), (5,), (True,))
    for sweeps, tolerance in ((0, 0.1), (1, -0.1), (1, math.nan)):
        with pytest.raises(ValueError, match=f"one or more sweeps .* not {sweeps} and {tolerance}"):
            fit(weight, (3, 4), (5,), (1,), sweeps, tolerance)


@pytest.mark.parametrize("kind", ["cp", "ring"])
def test_a_form_refuses_legs_and_cuts_that_are_not_its_own(kind):
    form = random_form(kind, (3, 4), (5,), 3)
    parts = (form.terms if isinstance(form, OuterSum) else form.ring, (3, 5), (4,), 0.0, 1.0)
    with pytest.raises(ValueError, match=r"\(3, 4, 5\) do(es)? not fit outputs \(3, 5\) and inputs \(4,\)"):
        type(form)(*parts)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match=r"do(es)? not fit outputs \(3, 4, 5\) and inputs \(\)"):
        type(form)(parts[0], (3, 4, 5), (), 0.0, 1.0)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match=rf"of {form.bond} .*|of bond {form.bond} is not nested"):
        form.truncate(2)
    with pytest.raises(ValueError, match=f"bond 7 does not fit: .* {form.bond} \\(full\\)"):
        form.truncate(7)
    with pytest.raises((TypeError, jaxtyping.TypeCheckError)):
        form.truncate(2.0)  # pyright: ignore[reportArgumentType]


@METHODS
def test_a_method_gives_a_family_at_shares_of_the_numbers(method, name):
    weight = torch.randn(48, 20)
    family = method.decompose(Recipe(name, "plain"), weight, PLAIN, Place("W_in", 4))
    assert isinstance(family, Decomposition)
    assert family.members[0].out_dims == (6, 8)
    assert family.members[0].in_dims == (20,)
    assert family.full_bond == family.bonds[-1] + 1
    per_bond = {"cp": lambda r: r * 35, "ring": lambda r: r * r * 34}[name]
    assert [member.n_params for member in family.members] == [per_bond(bond) for bond in family.bonds]
    for share in method.SHARES:
        cut = family.truncate(family.bond_within(share * weight.numel()))
        assert cut.n_params <= share * 960 < per_bond(cut.bond + 1)
        assert cut.error_bound() == pytest.approx(norm(weight - cut.dense()), rel=1e-5)
        assert cut.discarded_weight() == pytest.approx((norm(weight - cut.dense()) / norm(weight)) ** 2, rel=1e-4)
    assert list(family.squared_errors) == sorted(family.squared_errors, reverse=True)
    assert (family.norm, family.total) == ("Frobenius", pytest.approx(norm(weight) ** 2))


@METHODS
def test_a_recipe_chooses_the_legs_and_a_layer_runs_the_family(method, name):
    original = nn.Linear(20, 12)
    recipe = Recipe(name, "plain", dims=(("W_in", (2, 6), (4, 5)),))
    family = method.decompose(recipe, original.weight.detach(), PLAIN, Place("W_in", 4))
    assert (family.members[0].out_dims, family.members[0].in_dims) == ((2, 6), (4, 5))
    other = method.decompose(recipe, original.weight.detach(), PLAIN, Place("W_out", 4))
    assert (other.members[0].out_dims, other.members[0].in_dims) == ((12,), (4, 5))
    layer = BondLinear(original, original.bias, family)
    x = torch.randn(3, 20)
    assert torch.equal(layer(x), original(x))
    for bond in family.bonds:
        layer.cut(bond)
        expected = x @ family.truncate(bond).dense().T + original.bias
        assert torch.allclose(layer(x), expected, atol=1e-5)
    layer.cut(family.full_bond)
    assert torch.equal(layer(x), original(x))


@METHODS
@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (7, 1), (2, 3), (7, 5)])
def test_the_smallest_matrices_have_a_family_too(method, name, shape):
    weight = torch.randn(shape)
    family = method.decompose(Recipe(name, "plain"), weight, PLAIN, Place("W_in", 4))
    assert family.shape == shape
    assert family.truncate(1).dense().isfinite().all()


@METHODS
def test_a_method_refuses_what_its_fit_does_not_see(method, name):
    weight = torch.randn(12, 5)
    with pytest.raises(ValueError, match="fitted in the plain metric, not in one of the output norm"):
        method.decompose(Recipe(name, "plain"), weight, Metric(torch.eye(5)), Place("W_in", 4))
    with pytest.raises(ValueError, match="fitted in the plain metric, not in one of the loss norm"):
        method.decompose(Recipe(name, "plain"), weight, Metric(torch.eye(5), torch.eye(12)), Place("W_in", 4))
    recipe = Recipe(name, "plain", dims=(("W_in", (3, 3), (5,)),))
    with pytest.raises(ValueError, match=r"12 outputs, but the legs \(3, 3\) multiply to 9"):
        method.decompose(recipe, weight, PLAIN, Place("W_in", 4))
