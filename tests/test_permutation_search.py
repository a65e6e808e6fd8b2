"""The search for an order of rows and columns in which few Kronecker products come near a matrix."""

import math
from itertools import permutations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from workbench.decompose.permutation_search import by_span, by_sum, by_swap, permuted_kronecker

few = settings(max_examples=25)  # small matrices, but many operations on each
OUTS, INS = (3, 4), (5, 2)


def norm(matrix: Tensor) -> float:
    return float(torch.linalg.norm(matrix))


def weight_of(out_features: int = 12, in_features: int = 10) -> Tensor:
    return torch.randn(out_features, in_features, dtype=torch.float64)


def least_error(weight: Tensor, outs: tuple[int, int], ins: tuple[int, int], bond: int) -> float:
    """What the best Kronecker sum of `bond` products leaves of the weight as it stands, by LAPACK."""
    bands = [band.chunk(ins[0], dim=1) for band in weight.chunk(outs[0], dim=0)]
    blocks = torch.stack([block.flatten() for band in bands for block in band])
    return norm(torch.linalg.svdvals(blocks)[bond:])


@few
@given(st.sampled_from([((3, 4), (5, 2)), ((2, 4), (3, 4)), ((5, 2), (1, 3))]), st.data())
def test_the_search_gives_a_sum_no_worse_than_the_weight_as_it_stands(dims, data):
    outs, ins = dims
    weight = weight_of(math.prod(outs), math.prod(ins))
    bond = data.draw(st.integers(1, min(outs[0] * ins[0], outs[1] * ins[1])))
    found = permuted_kronecker(weight, dims, bond, starts=data.draw(st.integers(1, 3)))
    assert torch.allclose(found.dense(), weight, atol=1e-12)
    assert (found.form.out_dims, found.form.in_dims) == dims
    error = norm(weight - found.truncate(bond).dense())
    assert error == pytest.approx(least_error(weight[found.rows][:, found.columns], outs, ins, bond), abs=1e-7)
    assert error <= least_error(weight, outs, ins, bond) + 1e-7


def test_with_enough_starts_the_search_finds_the_best_order_of_all():
    weight = weight_of(4, 3)
    every = [least_error(weight[list(rows)], (2, 2), (3, 1), 1) for rows in permutations(range(4))]
    found = permuted_kronecker(weight, ((2, 2), (3, 1)), 1, starts=12)
    assert found.truncate(1).error_bound() == pytest.approx(min(every), rel=1e-7)
    assert min(every) < 0.9 * every[0]


def in_span(ordered: Tensor, right: Tensor) -> Tensor:
    """The squared norm of each band's share in the span of the right factors, block by block."""
    bands = [[block.flatten() for block in band.chunk(3, dim=1)] for band in ordered.chunk(3, dim=0)]
    basis = right.flatten(1)
    return torch.stack([torch.stack([basis @ block for block in blocks]).square().sum() for blocks in bands])


def three_bands() -> tuple[Tensor, Tensor, Tensor]:
    """A matrix in 3 × 3 blocks of (3, 2), and two products with orthonormal right factors."""
    right = torch.linalg.qr(weight_of(6, 2)).Q.T.unflatten(1, (3, 2))
    return weight_of(9, 6), torch.randn(3, 3, 2, dtype=torch.float64), right


@pytest.mark.parametrize("place", [0, 1, 2])
def test_rows_at_one_place_are_dealt_so_that_no_other_deal_leaves_more_in_the_span(place):
    ordered, left, right = three_bands()
    every = []
    for dealt in permutations(range(3)):
        order = torch.arange(9).reshape(3, 3)
        order[:, place] = order[list(dealt), place]
        every.append(float(in_span(ordered[order.flatten()], right).sum()))
    found = by_span(ordered, left, right, place)
    assert float(in_span(ordered[found], right).sum()) == pytest.approx(max(every), rel=1e-12)
    assert max(every) > 1.05 * min(every)


def test_in_every_band_no_other_swap_leaves_more_in_the_span():
    ordered, left, right = three_bands()
    every = []
    for way in ([0, 1, 2], [1, 0, 2], [2, 1, 0], [0, 2, 1]):
        order = torch.arange(9).reshape(3, 3)[:, way]
        every.append(in_span(ordered[order.flatten()], right))
    found = by_swap(ordered, left, right)
    best = torch.stack(every).max(0).values
    assert torch.allclose(in_span(ordered[found], right), best, rtol=1e-12)
    assert bool((best > every[0]).any())


def test_rows_are_put_where_no_other_order_is_nearer_to_the_sum():
    ordered, left, right = three_bands()
    ordered, left = ordered[:6], left[:2]
    held = sum(torch.kron(a.contiguous(), b.contiguous()) for a, b in zip(left.movedim(2, 0), right, strict=True))
    every = [norm(ordered[list(order)] - held) for order in permutations(range(6))]
    assert norm(ordered[by_sum(ordered, left, right)] - held) == pytest.approx(min(every), rel=1e-12)
    assert min(every) < every[0]


def shuffled_product(outs: tuple[int, int], ins: tuple[int, int], small: Tensor) -> Tensor:
    """One Kronecker product whose rows and columns were put in disorder."""
    large = torch.randn(outs[0], ins[0], dtype=torch.float64)
    product = torch.kron(large, small)
    return product[torch.randperm(math.prod(outs))][:, torch.randperm(math.prod(ins))]


@pytest.mark.parametrize(("outs", "ins"), [((9, 4), (7, 2)), ((8, 2), (6, 4))])
def test_one_product_in_disorder_is_found_again(outs, ins):
    small = torch.outer(10.0 ** -torch.arange(outs[1]), 10.0 ** -torch.arange(ins[1])).double()
    weight = shuffled_product(outs, ins, small)
    assert least_error(weight, outs, ins, 1) > 0.3 * norm(weight)
    found = permuted_kronecker(weight, (outs, ins), 1)
    assert norm(weight - found.truncate(1).dense()) < 1e-7 * norm(weight)


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("moved", [[6, 7], [1, 7, 10]])  # within one band; at one place of three bands
def test_rows_or_columns_that_left_their_places_are_put_back(axis, moved):
    outs, ins = ((9, 3), (7, 2)) if axis == 0 else ((7, 2), (9, 3))
    weight = torch.kron(weight_of(outs[0], ins[0]), weight_of(outs[1], ins[1]))
    order = torch.arange(27)
    order[moved] = order[moved[1:] + moved[:1]]
    weight = weight.index_select(axis, order)
    assert least_error(weight, outs, ins, 1) > 0.05 * norm(weight)
    found = permuted_kronecker(weight, (outs, ins), 1, starts=1)
    assert norm(weight - found.truncate(1).dense()) < 1e-7 * norm(weight)


def test_where_blocks_are_large_two_rows_and_columns_that_changed_places_are_put_back():
    weight = torch.kron(weight_of(3, 3), weight_of(4, 5))
    weight[[1, 9]] = weight[[9, 1]]
    weight[:, [0, 13]] = weight[:, [13, 0]]
    assert least_error(weight, (3, 4), (3, 5), 1) > 0.3 * norm(weight)
    found = permuted_kronecker(weight, ((3, 4), (3, 5)), 1, starts=1)
    assert norm(weight - found.truncate(1).dense()) < 1e-7 * norm(weight)


def test_the_search_is_the_same_on_every_call_and_draws_from_its_own_seed():
    weight, dims = weight_of().float(), (OUTS, INS)
    state = torch.get_rng_state()
    first, second = (permuted_kronecker(weight, dims, 3, starts=4, seed=7) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first.rows, second.rows)
    assert torch.equal(first.columns, second.columns)
    assert first.form.cores[0].dtype == torch.float32


def test_a_weight_of_zeros_is_searched_too():
    found = permuted_kronecker(torch.zeros(12, 10), (OUTS, INS), 2)
    assert found.truncate(2).error_bound() == found.truncate(2).discarded_weight() == 0


def test_searches_that_cannot_be_made_are_refused():
    weight = weight_of()
    with pytest.raises(ValueError, match="a search has one or more starts, not 0"):
        permuted_kronecker(weight, (OUTS, INS), 2, starts=0)
    with pytest.raises(ValueError, match="bond 9 does not fit: this bond can be cut to 1, 2, … 8"):
        permuted_kronecker(weight, (OUTS, INS), 9)
    with pytest.raises(ValueError, match=r"the weight has 10 inputs, but the site dimensions \(3, 4\) multiply to 12"):
        permuted_kronecker(weight, (OUTS, OUTS), 2)
    weight[3, 4] = math.nan
    with pytest.raises(ValueError, match=r"the weight of shape \(12, 10\) holds 1 non-finite values"):
        permuted_kronecker(weight, (OUTS, INS), 2)
