"""TrainOperator: what it stands for at every cut, what applying it costs, and how its sites are chosen."""

import math
from itertools import permutations, product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from workbench.decompose.low_rank import LowRank
from workbench.decompose.operator import TrainOperator, balanced_factors
from workbench.decompose.protocol import Decomposition

few = settings(max_examples=30)  # small operators, but many operations on each
dims = st.lists(st.tuples(st.integers(1, 3), st.integers(1, 3)), min_size=2, max_size=4)


def weight_of(pairs: list[tuple[int, int]]) -> Tensor:
    return torch.randn(math.prod(i for i, _ in pairs), math.prod(j for _, j in pairs), dtype=torch.float64)


def operator_of(pairs: list[tuple[int, int]]) -> TrainOperator:
    return TrainOperator.from_weight(weight_of(pairs), None, [i for i, _ in pairs], [j for _, j in pairs])


def norm(matrix: Tensor) -> float:
    return float(torch.linalg.norm(matrix))


def product_of(operator: TrainOperator) -> Tensor:
    """The matrix of the cores, in one einsum: the second way."""
    operands = [part for k, core in enumerate(operator.cores) for part in (core, [k, 10 + k, 20 + k, k + 1])]
    sites = range(len(operator.cores))
    legs = [0, *(10 + k for k in sites), *(20 + k for k in sites), len(operator.cores)]
    return torch.einsum(*operands, legs).reshape(operator.shape)


def counted(call) -> int:
    """The multiply-adds of the matrix products that really run."""
    with FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops() // 2


def cost_of_order(order: tuple[int, ...], operator: TrainOperator) -> int:
    """Multiply-adds of a row absorbing the cores in this order, by sets of named legs: the second way."""
    sizes, held, cost = {}, {f"in {k}" for k in range(len(order))}, 0
    for k, core in enumerate(operator.cores):
        sizes |= zip((f"bond {k}", f"out {k}", f"in {k}", f"bond {k + 1}"), core.shape, strict=True)
    for k in order:
        core = {f"bond {k}", f"out {k}", f"in {k}", f"bond {k + 1}"}
        cost += math.prod(sizes[leg] for leg in held | core)
        held ^= core
    return cost


def cost_of_split(k: int, operator: TrainOperator) -> int:
    """Multiply-adds of a row with the first `k` cores merged, and the others: either merged core may come first."""
    bond = operator.train.bonds[k - 1]
    out, rest_out = math.prod(operator.out_dims[:k]), math.prod(operator.out_dims[k:])
    into, rest_in = math.prod(operator.in_dims[:k]), math.prod(operator.in_dims[k:])
    return min(
        into * rest_in * out * bond + out * bond * rest_in * rest_out,
        into * rest_in * rest_out * bond + rest_out * bond * into * out,
    )


@few
@given(dims, st.data())
def test_every_cut_is_the_matrix_of_its_cores_within_its_bound(pairs, data):
    weight = weight_of(pairs)
    uncut = TrainOperator.from_weight(weight, None, [i for i, _ in pairs], [j for _, j in pairs])
    assert uncut.shape == weight.shape
    assert uncut.bond == uncut.full_bond
    assert torch.allclose(uncut.dense(), weight, atol=1e-12 * norm(weight))
    cut = uncut.truncate(data.draw(st.integers(1, uncut.full_bond)))
    assert torch.allclose(cut.dense(), product_of(cut), atol=1e-12 * norm(weight))
    error = norm(weight - cut.dense())
    assert error <= cut.error_bound() * (1 + 1e-12) + 1e-13 * norm(weight)
    if len(pairs) == 2:
        assert error == pytest.approx(cut.error_bound(), rel=1e-9, abs=1e-13 * norm(weight))


@few
@given(dims, st.data())
def test_applying_is_a_product_with_the_dense_matrix(pairs, data):
    uncut = operator_of(pairs)
    cut = uncut.truncate(data.draw(st.integers(1, uncut.full_bond)))
    for batch in ((), (5,), (2, 3), (0,)):
        x = torch.randn(*batch, cut.shape[1], dtype=torch.float64)
        assert torch.allclose(cut.apply(x), x @ cut.dense().T, atol=1e-12 * norm(uncut.dense()))


@few
@given(dims, st.data())
def test_merging_leaves_the_matrix_and_its_bound(pairs, data):
    uncut = operator_of(pairs)
    cut = uncut.truncate(data.draw(st.integers(1, uncut.full_bond)))
    pair = cut.merged()
    assert len(pair.cores) == 2
    assert torch.allclose(pair.dense(), cut.dense(), atol=1e-12 * norm(uncut.dense()))
    assert pair.error_bound() == pytest.approx(cut.error_bound())
    assert pair.spectra[0] in cut.spectra
    further = pair.truncate(data.draw(st.integers(1, pair.full_bond)))
    error = norm(uncut.dense() - further.dense())
    assert error <= further.error_bound() * (1 + 1e-12) + 1e-13 * norm(uncut.dense())
    assert (pair is cut) == (len(pairs) == 2)


@few
@given(dims, st.data())
def test_the_order_of_applying_is_the_cheapest_of_all(pairs, data):
    uncut = operator_of(pairs)
    cut = uncut.truncate(data.draw(st.integers(1, uncut.full_bond)))
    assert cut.apply_cost() == min(cost_of_order(order, cut) for order in permutations(range(len(pairs))))
    build, row = cut.merged_costs()
    assert row == cut.merged().apply_cost() == min(cost_of_split(k, cut) for k in range(1, len(pairs)))
    assert (build == 0) == (len(pairs) == 2)


# Sizes of one are left out: torch skips the products, and their multiply-adds, that such a size makes trivial.
@pytest.mark.parametrize("pairs", [[(3, 4), (5, 2)], [(2, 3), (4, 2), (3, 5)], [(4, 3), (2, 2), (3, 2), (2, 4)]])
@pytest.mark.parametrize("bond", [2, 5])
def test_costs_are_those_of_the_products_that_run(pairs, bond):
    cut = operator_of(pairs).truncate(bond)
    x = torch.randn(7, cut.shape[1], dtype=torch.float64)
    assert counted(lambda: cut.apply(x)) == 7 * cut.apply_cost()
    assert counted(cut.dense) == cut.dense_cost()
    assert counted(cut.merged) == cut.merged_costs()[0]
    assert counted(lambda: cut.merged().apply(x)) == sum(cut.merged_costs()[k] * (1, 7)[k] for k in (0, 1))


def test_costs_of_two_sites_by_hand():
    cut = operator_of([(3, 4), (5, 2)]).truncate(2)
    # In first by site 0: 4·2 inputs with core (3, 4, bond 2), then 2·2·3 numbers with core (bond 2, 5, 2).
    assert cut.apply_cost() == min(4 * 2 * 3 * 2 + 3 * (2 * 2) * 5, 4 * 2 * 5 * 2 + 5 * (2 * 4) * 3)
    assert cut.dense_cost() == (3 * 4) * 2 * (5 * 2)
    assert cut.n_params == 3 * 4 * 2 + 2 * 5 * 2


@few
@given(dims, st.integers(0, 300) | st.floats(0, 300))
def test_the_bond_within_a_number_of_parameters_is_the_largest(pairs, n_params):
    uncut = operator_of(pairs)
    fitting = [bond for bond in range(1, uncut.full_bond + 1) if uncut.truncate(bond).n_params <= n_params]
    assert uncut.bond_within(n_params) == max(fitting, default=1)
    for bond in range(1, uncut.full_bond + 1):
        assert uncut.bond_within(uncut.truncate(bond).n_params) == bond
    assert uncut.truncate(1).bond_within(n_params) == uncut.bond_within(n_params)


@pytest.mark.parametrize(("n_out", "n_in"), [(5, 8), (8, 5)])
def test_two_sites_without_a_shared_axis_are_a_low_rank_pair(n_out, n_in):
    weight = torch.randn(n_out, n_in, dtype=torch.float64)
    operator, pair = TrainOperator.from_weight(weight, 2, (n_out, 1), (1, n_in)), LowRank.from_weight(weight)
    assert operator.full_bond == pair.full_bond
    for bond in range(1, 6):
        assert torch.allclose(operator.truncate(bond).dense(), pair.truncate(bond).dense(), atol=1e-12)
        assert operator.truncate(bond).error_bound() == pytest.approx(pair.truncate(bond).error())
        assert operator.truncate(bond).apply_cost() == pair.truncate(bond).apply_cost()
        assert operator.truncate(bond).n_params == pair.truncate(bond).n_params


def test_truncating_makes_views_and_keeps_the_spectra():
    uncut = TrainOperator.from_weight(torch.randn(12, 30), 3)
    cut = uncut.truncate(4).truncate(3)
    assert cut.bond == 3
    assert cut.spectra is uncut.spectra
    for ours, whole in zip(cut.cores, uncut.cores, strict=True):
        assert ours.untyped_storage().data_ptr() == whole.untyped_storage().data_ptr()


@few
@given(st.integers(1, 200), st.integers(1, 4))
def test_balanced_factors_have_the_smallest_sum(size, count):
    divisors = [number for number in range(1, size + 1) if size % number == 0]
    ways = [way for way in product(divisors, repeat=count - 1) if size % math.prod(way) == 0]
    factors = balanced_factors(size, count)
    assert math.prod(factors) == size
    assert list(factors) == sorted(factors)
    assert sum(factors) == min(sum(way) + size // math.prod(way) for way in ways)


def test_sites_are_balanced_and_primes_keep_to_one_site():
    operator = TrainOperator.from_weight(torch.randn(12, 7), 3)
    assert (operator.out_dims, operator.in_dims) == ((2, 2, 3), (1, 1, 7))
    assert balanced_factors(768, 2) == (24, 32)
    assert balanced_factors(3072, 4) == (6, 8, 8, 8)
    operator = TrainOperator.from_weight(torch.randn(12, 7), in_dims=(7, 1, 1))
    assert (operator.out_dims, operator.in_dims) == ((2, 2, 3), (7, 1, 1))
    assert len(TrainOperator.from_weight(torch.randn(12, 7)).cores) == 2


def test_it_has_every_member_of_a_decomposition():
    members = {name for name in vars(Decomposition) if not name.startswith("_")}
    assert "merged_costs" in members
    assert members <= set(dir(TrainOperator))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"out_dims": (3, 5)}, r"the weight has 12 outputs, but the site dimensions \(3, 5\) multiply to 15"),
        ({"in_dims": (3, 4)}, r"the weight has 10 inputs, but the site dimensions \(3, 4\) multiply to 12"),
        ({"in_dims": (-2, -5)}, r"the weight has 10 inputs, but the site dimensions \(-2, -5\)"),
        ({"sites": 3, "out_dims": (3, 4)}, r"these differ: \{'sites': 3, 'out_dims': 2\}"),
        ({"out_dims": (3, 2, 2), "in_dims": (2, 5)}, r"these differ: \{'out_dims': 3, 'in_dims': 2\}"),
        ({"sites": 1}, "an operator has two or more sites, not 1"),
        ({"out_dims": ()}, "an operator has two or more sites, not 0"),
    ],
)
def test_site_dimensions_that_do_not_fit_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        TrainOperator.from_weight(torch.randn(12, 10), **arguments)


def test_what_does_not_fit_the_operator_is_refused():
    operator = TrainOperator.from_weight(torch.randn(12, 10))
    with pytest.raises(ValueError, match="an operator of 10 inputs cannot be applied to rows of 5"):
        operator.apply(torch.randn(2, 5))
    with pytest.raises(ValueError, match="bond 7 does not fit: this bond can be cut to 1, 2, … 6"):
        operator.truncate(7)
    with pytest.raises(ValueError, match=r"sites \(6, 20\) does not fit outputs \(3, 4\) and inputs \(5, 2\)"):
        TrainOperator(operator.train, (3, 4), (5, 2))
    with pytest.raises(ValueError, match=r"the weight of shape \(3, 4\) holds 12 non-finite values"):
        TrainOperator.from_weight(torch.full((3, 4), math.nan))
