"""Composition of heads: scores of all pairs against dense matrices, and what a head's scores are made of."""

import copy
import math
from dataclasses import replace

import pytest
import torch
from tiny_models import FAMILIES, lab
from torch import Tensor

from workbench import LanguageModel, load
from workbench.transformer.anatomy import Anatomy, Attention, Block
from workbench.transformer.by_hand import induction_by_hand
from workbench.transformer.circuit import ov_circuit, qk_circuit
from workbench.transformer.composition import KINDS, composition_scores
from workbench.transformer.probe_rows import repeat_rows
from workbench.transformer.reading import anatomy_of
from workbench.transformer.score_parts import score_shares
from workbench.transformer.view import view
from workbench.transformer.weight import Weight

TEXT = "tensor bond core"


def in_float64(lm: LanguageModel) -> LanguageModel:
    return replace(lm, model=copy.deepcopy(lm.model).double())


def head_of(W_Q: Tensor, W_K: Tensor, W_V: Tensor, W_O: Tensor) -> Block:
    return Block(
        Attention(
            Weight.of("W_Q", "hkd", W_Q[None]), Weight.of("W_K", "hkd", W_K[None]), Weight.of("W_V", "hkd", W_V[None]),
            Weight.of("W_O", "hdk", W_O[None]), 1.0,
        )
    )  # fmt: skip


def stack_of(*blocks: Block) -> Anatomy:
    d = blocks[0].attn.W_Q.size("d")
    draw = torch.Generator().manual_seed(5)
    W_E = torch.randn(d, 9, generator=draw, dtype=torch.float64)
    return Anatomy("stack", Weight.of("W_E", "dv", W_E), Weight.of("W_U", "vd", W_E.mT), blocks, 12)


def random_head(d: int, k: int, seed: int) -> Block:
    draw = torch.Generator().manual_seed(seed)
    shapes = ((k, d), (k, d), (k + 1, d), (d, k + 1))
    return head_of(*(torch.randn(shape, generator=draw, dtype=torch.float64) for shape in shapes))


def by_dense_matrices(model: Anatomy, later: tuple[int, int], earlier: tuple[int, int], fold: bool) -> list[float]:
    W_QK = qk_circuit(model, *later, fold).dense()
    W_OV = ov_circuit(model, *later, fold).dense()
    written = ov_circuit(model, *earlier, fold).dense()
    norm = torch.linalg.matrix_norm
    pairs = ((W_QK.mT, W_QK), (W_QK, W_QK), (W_OV, W_OV))
    return [float(norm(side @ written) / norm(whole) / norm(written)) for side, whole in pairs]


@pytest.mark.parametrize("fold", [True, False], ids=["folded", "plain"])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_score_is_that_of_dense_matrices(family, fold):
    model = anatomy_of(in_float64(FAMILIES[family]()))
    scores = composition_scores(model, fold)
    pairs = 0
    for row, later in enumerate(model.heads):
        for column, earlier in enumerate(model.heads):
            found = scores.values[:, row, column]
            if earlier[0] < later[0]:
                wanted = by_dense_matrices(model, later, earlier, fold)
                assert found.tolist() == pytest.approx(wanted, rel=1e-10)
                pairs += 1
            else:
                assert bool(found.isnan().all())
    assert pairs == int(scores.is_pair.sum()) == (len(model.heads) // 2) ** 2


def test_heads_of_other_sizes_and_three_layers_have_the_scores_of_dense_matrices():
    model = stack_of(random_head(7, 2, 1), random_head(7, 3, 2), random_head(7, 5, 3))
    scores = composition_scores(model)
    for later, earlier in (((1, 0), (0, 0)), ((2, 0), (0, 0)), ((2, 0), (1, 0))):
        found = [scores.between(kind, later, earlier).score for kind in KINDS]
        assert found == pytest.approx(by_dense_matrices(model, later, earlier, True), rel=1e-10)
    assert scores.layer_bounds == (0, 1, 2, 3)


def test_a_cut_model_is_scored_as_the_matrices_that_its_factors_stand_for():
    cut = lab("gpt2")
    cut.kept = 0.4
    model = anatomy_of(cut.present)
    scores = composition_scores(model)
    found = [scores.between(kind, (1, 1), (0, 0)).score for kind in KINDS]
    assert found == pytest.approx(by_dense_matrices(model, (1, 1), (0, 0), True), rel=1e-5)


def by_reading(side: str) -> list[float]:
    """Q, K and V scores of a head that reads what the first one writes, direction 1 of 4, on one side alone."""
    e = torch.eye(4, dtype=torch.float64)
    first = head_of(e[:1], e[:1], e[:1], e[1:2].mT)  # writes direction 1
    read = {name: e[1:2] if name == side else e[2:3] for name in ("Q", "K", "V")}
    second = head_of(read["Q"], read["K"], read["V"], e[3:].mT)
    scores = composition_scores(stack_of(first, second))
    return scores.values[:, 1, 0].tolist()


@pytest.mark.parametrize(("side", "wanted"), [("Q", [1, 0, 0]), ("K", [0, 1, 0]), ("V", [0, 0, 1])])
def test_the_side_that_reads_the_earlier_head_is_the_one_that_scores(side, wanted):
    assert by_reading(side) == pytest.approx(wanted)


def test_the_induction_head_by_hand_composes_through_its_keys_alone():
    scores = composition_scores(induction_by_hand())
    assert scores.values[:, 1, 0].tolist() == pytest.approx([0, 13**-0.5, 0], abs=1e-15)
    best = scores.strongest(1)[0]
    assert (best.kind, best.later, best.earlier) == ("K", (1, 0), (0, 0))
    assert best.score > 1.9 * scores.baseline
    assert str(best) == "K-composition of head 1.0 with head 0.0: 0.277, 0.137 above chance"
    assert str(scores.strongest(2)[1]).endswith("0.000, 0.140 below chance")


def test_the_baseline_is_the_root_mean_square_score_of_a_head_turned_at_random():
    d, n = 6, 4000
    draw = torch.Generator().manual_seed(0)
    A, B = (torch.randn(shape, generator=draw, dtype=torch.float64) for shape in ((5, d), (d, 2)))
    A[0] *= 10  # whatever the matrices are
    q, r = torch.linalg.qr(torch.randn(n, d, d, generator=draw, dtype=torch.float64))
    turns = q * r.diagonal(dim1=-2, dim2=-1).sign()[:, None, :]  # evenly from all rotations (Mezzadri, 2007)
    squares = (A @ turns @ B).square().sum((1, 2)) / (A.square().sum() * B.square().sum())
    scores = composition_scores(stack_of(random_head(d, 2, 1), random_head(d, 2, 2)))
    off = float(squares.mean()) - scores.baseline**2
    assert scores.baseline == pytest.approx(1 / math.sqrt(d))
    assert abs(off) < 4 * float(squares.std()) / math.sqrt(n)


def test_scores_above_the_baseline_are_the_scores_less_it():
    scores = composition_scores(stack_of(random_head(7, 2, 1), random_head(7, 2, 2)))
    torch.testing.assert_close(scores.above_baseline + 7**-0.5, scores.values, equal_nan=True)
    torch.testing.assert_close(scores.of("K"), scores.values[1], equal_nan=True)


def test_the_strongest_are_in_order_and_of_the_kinds_asked_for():
    scores = composition_scores(anatomy_of(FAMILIES["llama"]()))
    every = scores.strongest(1000)
    assert len(every) == 3 * 16
    assert [one.score for one in every] == sorted((one.score for one in every), reverse=True)
    assert {one.kind for one in scores.strongest(1000, ["V"])} == {"V"}
    assert scores.strongest(3) == every[:3]
    assert scores.between(every[0].kind, every[0].later, every[0].earlier) == every[0]


def test_a_head_of_zeros_composes_with_nothing():
    one = random_head(5, 2, 1)
    zeros = replace(one, attn=replace(one.attn, W_O=Weight.of("W_O", "hdk", torch.zeros(1, 5, 3).double())))
    scores = composition_scores(stack_of(zeros, random_head(5, 2, 2)))
    assert scores.values[:, 1, 0].tolist() == [0, 0, 0]


def test_what_is_no_pair_and_no_kind_is_refused():
    scores = composition_scores(induction_by_hand())
    with pytest.raises(ValueError, match=r"'W' is no kind of composition; there are Q, K, V"):
        scores.of("W")
    with pytest.raises(ValueError, match=r"head \(0, 0\) does not come after head \(1, 0\); heads compose from"):
        scores.between("K", (0, 0), (1, 0))
    with pytest.raises(ValueError, match=r"induction by hand has no head \(1, 3\); it has \(0, 0\) to \(1, 0\)"):
        scores.between("K", (1, 3), (0, 0))


def test_the_scores_of_the_induction_head_by_hand_are_the_stream_asking_and_the_first_head_answering():
    hand = induction_by_hand()
    shares = score_shares(hand, 1, 0, repeat_rows(hand, 1, 12)[0])
    assert shares.parts == ("embed", "head 0.0")
    assert shares.share("embed", "head 0.0") == 1
    assert float(shares.shares.sum()) == 1
    assert str(shares.strongest(1)[0]) == "embed asks, head 0.0 answers: 100.0%"
    nothing = [shares.scores(asks, answers).any() for asks in shares.parts for answers in shares.parts]
    assert [bool(scored) for scored in nothing] == [False, True, False, False]


MODELS = ("tiny-gpt2", "tiny-llama", "pygpt", "stories260K")


@pytest.mark.parametrize("name", MODELS)
def test_the_scores_of_all_pairs_sum_to_the_heads_own(name, request):
    if name.startswith("tiny-"):
        lm = FAMILIES[name.removeprefix("tiny-")]()
    else:
        lm = load("pygpt" if name == "pygpt" else request.getfixturevalue("shared_data") / "models" / name, "cpu")
    for layer, head in ((0, 1), (1, 0), (len(anatomy_of(lm).blocks) - 1, 1)):
        shares = score_shares(lm, layer, head, TEXT)
        own = view(lm, f"blocks.{layer}.attn.head.{head}", TEXT).run()["scores"].double()
        seen = own.isfinite()
        assert int(seen.sum()) == len(own) * (len(own) + 1) // 2
        summed = sum(shares.scores(asks, answers) for asks in shares.parts for answers in shares.parts)
        for found in (summed, shares.total):
            assert float((found - own)[seen].abs().max()) <= 1e-5 * float(own[seen].abs().max())
        assert float(shares.shares.sum()) == pytest.approx(1)
        assert ("biases" in shares.parts) == (name == "pygpt")  # those of a random GPT-2 are zero


def test_shares_are_of_what_each_part_scores_beyond_the_mean_over_the_keys_that_a_query_sees():
    lm = in_float64(FAMILIES["llama"]())
    shares = score_shares(lm, 1, 2, TEXT)
    squares = {}
    for asks in shares.parts:
        for answers in shares.parts:
            rows = [row[: t + 1] for t, row in enumerate(shares.scores(asks, answers))]
            squares[asks, answers] = sum(float((row - row.mean()).square().sum()) for row in rows)
    total = sum(squares.values())
    for (asks, answers), square in squares.items():
        assert shares.share(asks, answers) == pytest.approx(square / total)
    in_order = sorted((square / total for square in squares.values()), reverse=True)
    assert [one.share for one in shares.strongest(1000)] == pytest.approx(in_order)


def test_a_part_that_is_not_there_is_named():
    hand = induction_by_hand()
    shares = score_shares(hand, 1, 0, repeat_rows(hand, 1, 4)[0])
    with pytest.raises(ValueError, match=r"head 1\.0 of induction by hand have no part 'mlp 0'; they have embed, head"):
        shares.share("mlp 0", "embed")
    with pytest.raises(ValueError, match=r"block 1 of induction by hand has no head 2; it has 0 alone"):
        score_shares(hand, 1, 2, repeat_rows(hand, 1, 4)[0])
