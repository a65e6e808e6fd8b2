"""HeadTucker: what it stands for at every place of its path, how the path is chosen, and the method built on it."""

import math
from itertools import pairwise

import jaxtyping
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from workbench.compress.methods import tucker
from workbench.compress.place import Place
from workbench.compress.recipe import Recipe
from workbench.decompose.head_tucker import HeadTucker, RankPath
from workbench.decompose.low_rank import LowRank
from workbench.decompose.metric import PLAIN, Metric
from workbench.decompose.protocol import Decomposition
from workbench.decompose.tucker import Tucker

few = settings(max_examples=25)  # small matrices, but many operations on each
ROOT_PRECISION = 2e-8  # a Gram matrix squares its input: singular values are right to this share of the largest
N, K, D = 3, 4, 7  # heads, their size, that of the model


def norm(tensor: Tensor) -> float:
    return float(torch.linalg.vector_norm(tensor))


def weight_of(reads: bool, n: int = N, k: int = K, d: int = D) -> Tensor:
    weight = torch.randn(n * k, d, dtype=torch.float64)
    return weight.T.contiguous() if reads else weight


def form_of(reads: bool) -> HeadTucker:
    return HeadTucker.from_weight(weight_of(reads), K, reads)


def head_by_head(form: HeadTucker) -> Tensor:
    """The matrix, one head after another: the second way."""
    heads = [form.head_factor @ slice_ @ form.model_factor.T for slice_ in form.core]
    stacked = torch.cat(heads)
    return stacked.T if form.reads else stacked


def counted(call) -> int:
    """The multiply-adds of the matrix products that really run."""
    with FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops() // 2


places = st.integers(1, K + D - 1)


@few
@given(places, st.booleans(), st.integers(0, 10**6))
def test_every_cut_is_its_heads_one_after_another_and_drops_what_it_says(bond, reads, seed):
    torch.manual_seed(seed)
    weight = weight_of(reads)
    uncut = HeadTucker.from_weight(weight, K, reads)
    assert isinstance(uncut, Decomposition)
    assert uncut.shape == tuple(weight.shape)
    assert uncut.bond == uncut.full_bond == K + D - 1
    assert torch.allclose(uncut.dense(), weight, atol=1e-12)
    assert uncut.error() == 0
    cut = uncut.truncate(bond)
    assert cut.bond == bond
    assert torch.allclose(cut.dense(), head_by_head(cut), atol=1e-12)
    error = norm(weight - cut.dense())
    assert cut.error() == cut.error_bound() == pytest.approx(error, rel=1e-9, abs=1e-12)
    assert cut.discarded_weight() == pytest.approx(error**2 / norm(weight) ** 2, rel=1e-9, abs=1e-12)
    dropped = [spectrum.error(rank) for spectrum, rank in zip(cut.spectra, cut.ranks, strict=True)]
    assert max(dropped) - 1e-7 <= error <= math.hypot(*dropped) + 1e-7


@pytest.mark.parametrize("reads", [False, True])
def test_its_bonds_carry_the_singular_values_of_both_axes_and_isometries(reads):
    weight = weight_of(reads)
    form = HeadTucker.from_weight(weight, K, reads)
    stacked = (weight.T if reads else weight).reshape(N, K, D)
    for axis, (spectrum, factor) in enumerate(zip(form.spectra, (form.head_factor, form.model_factor), strict=True), 1):
        expected = torch.linalg.svdvals(stacked.movedim(axis, 0).flatten(1))
        assert torch.allclose(spectrum.values, expected, atol=ROOT_PRECISION * norm(weight))
        assert torch.allclose(factor.T @ factor, torch.eye(factor.shape[1], dtype=torch.float64), atol=1e-12)


@few
@given(places)
def test_a_cut_is_that_of_a_tucker_form_whose_axis_of_heads_is_whole(bond):
    weight = weight_of(False)
    cut = HeadTucker.from_weight(weight, K).truncate(bond)
    other = Tucker.from_dense(weight.reshape(N, K, D)).truncate((N, *cut.ranks))
    assert torch.allclose(cut.dense(), other.dense().flatten(0, 1), atol=1e-10)


@few
@given(places, places, st.booleans())
def test_cuts_are_nested_views(first, second, reads):
    uncut = form_of(reads)
    twice, once = uncut.truncate(first).truncate(second), uncut.truncate(min(first, second))
    for name, tensor in twice.tensors().items():
        assert torch.equal(tensor, once.tensors()[name])
        assert tensor.untyped_storage().data_ptr() == uncut.tensors()[name].untyped_storage().data_ptr()
    assert twice.spectra is uncut.spectra


def test_each_step_of_the_path_adds_the_rank_that_drops_most_for_each_number_it_adds():
    weight = weight_of(False)
    uncut = HeadTucker.from_weight(weight, K)
    whole = Tucker.from_dense(weight.reshape(N, K, D))

    def lost_and_stored(r_k: int, r_d: int) -> tuple[float, int]:
        lost = norm(weight.reshape(N, K, D) - whole.truncate((N, r_k, r_d)).dense()) ** 2
        return lost, N * r_k * r_d + K * r_k + D * r_d

    ranks = uncut.path.ranks
    assert ranks[0] == (1, 1)
    assert ranks[-1] == (K, D)
    for (r_k, r_d), taken in pairwise(ranks):
        ways = [(a, b) for a, b in ((r_k + 1, r_d), (r_k, r_d + 1)) if a <= K and b <= D]
        lost, stored = lost_and_stored(r_k, r_d)
        gains = {}
        for way in ways:
            less, more = lost_and_stored(*way)
            gains[way] = (lost - less) / (more - stored)
        assert gains[taken] == pytest.approx(max(gains.values()), rel=1e-9)
    assert {a - b for (b, _), (a, _) in pairwise(ranks)} == {0, 1}


@pytest.mark.parametrize("reads", [False, True])
def test_the_ladder_says_of_every_place_what_its_cut_says(reads):
    uncut = form_of(reads)
    ladder = uncut.ladder()
    assert ladder.bonds == tuple(range(1, uncut.full_bond + 1))
    for bond, n_params, cost, squared in zip(
        ladder.bonds, ladder.n_params, ladder.multiply_adds, ladder.squared_errors, strict=True
    ):
        cut = uncut.truncate(bond)
        assert n_params == cut.n_params == sum(tensor.numel() for tensor in cut.tensors().values())
        assert cost == min(cut.apply_cost(), N * K * D)
        assert squared == pytest.approx(cut.error() ** 2, rel=1e-12)
        assert uncut.bond_within(n_params) == cut.bond_within(n_params + 0.5) == bond
        assert uncut.bond_within(n_params - 1) == max(1, bond - 1)
        assert cut.ladder() == ladder
    assert sorted(set(ladder.n_params)) == list(ladder.n_params)
    assert sorted(ladder.squared_errors, reverse=True) == list(ladder.squared_errors)


@few
@given(places, st.booleans(), st.lists(st.integers(1, 3), max_size=2), st.booleans())
def test_applying_it_is_the_product_with_its_matrix(bond, reads, batch, biased):
    cut = form_of(reads).truncate(bond)
    out_features, in_features = cut.shape
    x = torch.randn(*batch, in_features, dtype=torch.float64)
    bias = torch.randn(out_features, dtype=torch.float64) if biased else None
    expected = x @ cut.dense().T + (bias if bias is not None else 0)
    assert torch.allclose(cut.apply(x, bias), expected, atol=1e-12)


@pytest.mark.parametrize("reads", [False, True])
def test_costs_are_the_multiply_adds_that_run(reads):
    for bond in (1, 5, K + D - 1):
        cut = form_of(reads).truncate(bond)
        x = torch.randn(5, cut.shape[1], dtype=torch.float64)
        assert counted(lambda cut=cut, x=x: cut.apply(x)) == 5 * cut.apply_cost()
        assert counted(cut.dense) == cut.dense_cost()
        assert cut.merged() is cut
        assert cut.merged_costs() == (0, cut.apply_cost())
        assert cut.apply_moves() == cut.merged_moves() == 0


def test_planted_factors_that_all_heads_share_are_found_and_kept_without_error():
    heads, left, right = torch.randn(N, 2, 3), torch.randn(K, 2), torch.randn(D, 3)
    weight = torch.einsum("nab,ka,db->nkd", heads.double(), left.double(), right.double()).flatten(0, 1)
    uncut = HeadTucker.from_weight(weight, K)
    cut = uncut.truncate(2 + 3 - 1)
    assert cut.ranks == (2, 3)
    assert norm(weight - cut.dense()) < 1e-12 * norm(weight)
    assert cut.error() < 1e-12 * norm(weight)
    assert cut.n_params == N * 2 * 3 + K * 2 + D * 3


def test_other_numbers_take_the_place_of_its_tensors():
    cut = form_of(True).truncate(4)
    tensors = cut.tensors()
    assert list(tensors) == ["core", "head_factor", "model_factor"]
    doubled = cut.with_tensors({**tensors, "core": 2 * tensors["core"]})
    assert torch.allclose(doubled.dense(), 2 * cut.dense(), atol=1e-12)
    assert doubled.error() == cut.error()
    moved = cut.to(torch.device("meta"))
    assert {tensor.device.type for tensor in moved.tensors().values()} == {"meta"}


def test_float32_stays_and_a_weight_of_zeros_drops_nothing():
    zeros = HeadTucker.from_weight(torch.zeros(12, 7), 4)
    assert {tensor.dtype for tensor in zeros.tensors().values()} == {torch.float32}
    cut = zeros.truncate(2)
    assert cut.error() == cut.discarded_weight() == 0
    assert torch.equal(cut.dense(), torch.zeros(12, 7))


def test_one_head_is_cut_on_both_sides_like_a_matrix():
    weight = weight_of(False, n=1)
    uncut, pair = HeadTucker.from_weight(weight, K), LowRank.from_weight(weight)
    assert uncut.path.ranks[-1] == (4, 4)  # a matrix of 4 rows spans 4 of the model's 7 directions
    for rank in range(1, 5):
        assert uncut.truncate(2 * rank - 1).ranks == (rank, rank)
        assert uncut.truncate(2 * rank - 1).error() == pytest.approx(pair.truncate(rank).error(), abs=1e-7)


def test_what_is_no_stack_of_heads_is_refused():
    for weight, reads, head_dim, message in [
        (weight_of(False), False, 5, "12 outputs are no stack of heads of 5; give the size of a head"),
        (weight_of(True), True, 5, "12 inputs are no stack of heads of 5"),
        (weight_of(False), True, 4, "7 inputs are no stack of heads of 4"),
        (weight_of(False), False, 0, "12 outputs are no stack of heads of 0"),
    ]:
        with pytest.raises(ValueError, match=message):
            HeadTucker.from_weight(weight, head_dim, reads)


def test_cuts_and_inputs_that_do_not_fit_are_refused():
    form = form_of(False)
    for bond in (0, 11):
        with pytest.raises(ValueError, match=f"bond {bond} does not fit: this bond can be cut to 1, 2, … 10"):
            form.truncate(bond)
    with pytest.raises(ValueError, match="a stack of heads of 7 inputs cannot be applied to rows of 12"):
        form.apply(torch.randn(2, 12, dtype=torch.float64))


def test_parts_that_do_not_fit_are_refused(monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # or the annotations refuse some first
    form = form_of(False)
    core, left, right = form.tensors().values()
    with pytest.raises(ValueError, match=r"a core of ranks \(4, 7\) needs factors of those ranks, not \(3, 7\)"):
        HeadTucker(core, left[:, :3], right, form.spectra, form.path)
    with pytest.raises(ValueError, match=r"ranks \(1, 7\) are not on the path from \(1, 1\) to \(4, 7\)"):
        HeadTucker(core[:, :1], left[:, :1], right, form.spectra, form.path)
    with pytest.raises(ValueError, match="each with its error, not 2 pairs and 1 errors"):
        RankPath(((1, 1), (1, 2)), (0.5,), 1.0)


@pytest.mark.parametrize("kind", ["W_QKV", "W_Q", "W_K", "W_V", "W_O"])
def test_the_method_stacks_the_heads_of_attention(kind):
    weight = weight_of(kind == "W_O")
    form = tucker.decompose(Recipe("tucker", "plain"), weight, PLAIN, Place(kind, K))
    assert isinstance(form, HeadTucker)
    assert form.reads is (kind == "W_O")
    assert form.core.shape == (N, K, D)


@pytest.mark.parametrize("kind", ["W_in", "W_out", "W_gate"])
def test_the_method_gives_the_mlp_low_rank_pairs(kind):
    weight = weight_of(False)
    form = tucker.decompose(Recipe("tucker", "plain"), weight, PLAIN, Place(kind, K))
    assert isinstance(form, LowRank)
    assert torch.equal(form.truncate(2).dense(), LowRank.from_weight(weight).truncate(2).dense())


def test_the_method_refuses_a_metric_that_it_cannot_see():
    metric = Metric(torch.eye(D, dtype=torch.float64))
    with pytest.raises(ValueError, match="stacked heads are cut in the plain metric, not in one of the output norm"):
        tucker.decompose(Recipe("tucker", "plain"), weight_of(False), metric, Place("W_Q", K))
