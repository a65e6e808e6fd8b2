"""What heads attend to in repeated tokens, what the model gets right without them, and the controls of both."""

import copy
from dataclasses import replace

import pytest
import torch
from tiny_models import FAMILIES, lab
from tokenizers import Tokenizer, models
from torch import Tensor
from transformers import GPT2LMHeadModel, PreTrainedTokenizerFast

from workbench import LanguageModel, load
from workbench.rounding import largest_relative_error
from workbench.transformer.ablation import ablated_logits, mean_z, second_copy_accuracy, without_heads
from workbench.transformer.block_runs import run_blocks
from workbench.transformer.by_hand import induction_by_hand
from workbench.transformer.capture import activations
from workbench.transformer.circuit_tables import copying_scores
from workbench.transformer.composition import composition_scores
from workbench.transformer.controls import untrained
from workbench.transformer.head_scores import (
    BEHAVIOURS,
    duplicate_token_score,
    head_scores,
    head_table,
    induction_score,
    patterns_on,
    previous_token_score,
)
from workbench.transformer.matrices import block_module
from workbench.transformer.probe_rows import longest_period, ordinary_tokens, plain_rows, repeat_rows
from workbench.transformer.reading import anatomy_of
from workbench.transformer.repeats import RepeatsRecipe, letter_tokenizer, second_copy_hits
from workbench.transformer.score_parts import score_shares
from workbench.transformer.view import view


def attention_only() -> LanguageModel:
    recipe = RepeatsRecipe(d_model=16, n_heads=4, context=24, longest_prefix=0, longest_period=12)
    model = recipe.model()
    draw = torch.Generator().manual_seed(2)
    for parameter in model.parameters():
        parameter.data.normal_(0, 0.5, generator=draw)
    return LanguageModel("attention only", "none", model.eval().requires_grad_(False), letter_tokenizer())


def cut() -> LanguageModel:
    made = lab("gpt2")
    made.kept = 0.5
    return made.present


MODELS = {**FAMILIES, "attention only": attention_only, "cut": cut}


def rounding(lm: LanguageModel) -> float:
    """LLaMA takes norms and softmax in float32 whatever its dtype; a cut model is in float32 here."""
    return (
        1e-10 if isinstance(lm.model, GPT2LMHeadModel) and next(lm.model.parameters()).dtype == torch.float64 else 1e-5
    )


@pytest.fixture(scope="module", params=MODELS)
def lm(request) -> LanguageModel:
    made = MODELS[request.param]()
    return made if request.param == "cut" else replace(made, model=copy.deepcopy(made.model).double())


def close(found: Tensor, wanted: Tensor, error: float = 1e-10) -> None:
    """Equal to within `error` of the largest number, which float32 anywhere on the way makes larger."""
    assert found.shape == wanted.shape
    assert largest_relative_error(wanted, found.to(wanted.dtype)) <= error


def pattern_of(n: int, back: int, weight: float) -> Tensor:
    """Attention of `weight` to the position `back` before, the rest to the first."""
    pattern = torch.zeros(n, n, dtype=torch.float64)
    pattern[:, 0] = 1 - weight
    for t in range(n):
        pattern[t, max(t - back, 0)] += weight
    return pattern


def test_scores_are_the_attention_to_the_previous_the_same_and_the_next_token():
    n, period = 11, 5
    for back in (1, 4, 5):
        pattern = pattern_of(n, back, 0.75)
        found = [
            float(previous_token_score(pattern)),
            float(duplicate_token_score(pattern, period)),
            float(induction_score(pattern, period)),
        ]
        wanted = {1: [0.775, 0, 0], 4: [0.1, 0, 0.75], 5: [0.1, 0.75, 0]}[back]  # position 1 sees the first alone
        assert found == pytest.approx(wanted)


def test_scores_of_many_heads_are_those_of_each():
    draw = torch.Generator().manual_seed(0)
    patterns = torch.rand(2, 3, 9, 9, generator=draw, dtype=torch.float64)
    for scored in (previous_token_score, lambda p: duplicate_token_score(p, 4), lambda p: induction_score(p, 4)):
        close(scored(patterns), torch.stack([torch.stack([scored(head) for head in row]) for row in patterns]))
    second = range(5, 9)
    wanted = sum(patterns[1, 2, t, t - 3] for t in second) / 4
    close(induction_score(patterns, 4)[1, 2], wanted)


def test_a_pattern_too_short_for_a_score_is_refused():
    pattern = torch.eye(7).double()
    with pytest.raises(ValueError, match=r"a pattern over 7 positions has no two copies of 4; a period is 2 to 3 here"):
        induction_score(pattern, 4)
    with pytest.raises(ValueError, match=r"no two copies of 1;"):
        duplicate_token_score(pattern, 1)
    with pytest.raises(ValueError, match=r"a pattern over 1 position has no previous token; give 2 or more"):
        previous_token_score(pattern[:1, :1])


def test_rows_hold_different_ordinary_tokens_twice_after_the_start(lm):
    period = 5
    rows = repeat_rows(lm, 3, period, seed=4)
    ordinary = set(ordinary_tokens(lm).tolist())
    assert rows.shape == (3, 11)
    for row in rows.tolist():
        assert row[0] == anatomy_of(lm).first
        assert row[1:6] == row[6:]
        assert len(set(row[1:6])) == 5
        assert set(row[1:]) <= ordinary
    assert torch.equal(repeat_rows(lm, 3, period, seed=4), rows)
    assert not torch.equal(repeat_rows(lm, 3, period, seed=5), rows)
    assert torch.equal(repeat_rows(lm, 3, period, seed=4, with_start=False), rows[:, 1:])


def test_plain_rows_are_as_long_and_hold_no_token_twice(lm):
    rows = plain_rows(lm, 3, 5, seed=4)
    assert rows.shape == (3, 11)
    assert all(len(set(row)) == len(row) for row in rows.tolist())
    assert set(rows[:, 1:].flatten().tolist()) <= set(ordinary_tokens(lm).tolist())


def test_ordinary_tokens_are_no_special_tokens_and_no_bytes(shared_data):
    llama = load(shared_data / "models" / "stories260K", "cpu")
    words = llama.tokenizer.convert_ids_to_tokens(ordinary_tokens(llama).tolist())
    assert len(words) == 512 - 3 - 256
    assert not [word for word in words if word.startswith("<") and len(word) > 1]
    assert ordinary_tokens(induction_by_hand()).tolist() == list(range(1, 13))


def test_a_model_without_a_start_token_has_rows_without_one(shared_data):
    names = load(shared_data / "models" / "names-gpt2", "cpu")
    assert longest_period(names) == 8  # of a context of 16
    assert repeat_rows(names, 2, 8).shape == (2, 16)
    assert 0 <= second_copy_accuracy(names, repeat_rows(names, 4, 8), 8) < 0.2


def test_a_period_that_does_not_fit_is_refused_with_the_one_that_does():
    lm = FAMILIES["gpt2"]()  # a context of 16
    assert longest_period(lm) == 7
    with pytest.raises(
        ValueError, match=r"a start and 2 × 8 tokens do not fit the context of tiny-gpt2, 16; give a period of 7 or"
    ):
        repeat_rows(lm, 2, 8)
    hand = induction_by_hand()
    with pytest.raises(ValueError, match=r"14 different tokens are needed for period 7, and induction by hand has 12"):
        plain_rows(hand, 2, 7)
    with pytest.raises(ValueError, match=r"ordinary; give a period of 6 or less"):
        plain_rows(hand, 2, 7)
    with pytest.raises(ValueError, match=r"13 different tokens are needed for period 13, and .* period of 12 or less"):
        repeat_rows(induction_by_hand(context=40), 2, 13)
    with pytest.raises(ValueError, match=r"0 rows of period 3 were asked for"):
        repeat_rows(lm, 0, 3)
    with pytest.raises(ValueError, match=r"2 rows of period 1 were asked for"):
        plain_rows(lm, 2, 1)


def test_patterns_on_rows_are_those_that_the_model_computes_on_each(lm):
    rows = repeat_rows(lm, 3, 4)
    patterns = patterns_on(lm, rows)
    for number, row in enumerate(rows):
        own = activations(lm, row)
        for layer, pattern in enumerate(patterns):
            close(pattern[number], own[f"blocks.{layer}.pattern"], rounding(lm))


def test_the_table_of_a_model_has_the_mean_scores_of_its_patterns(lm):
    rows = repeat_rows(lm, 3, 4)
    scores = head_scores(lm, rows, 4)
    assert (scores.n_rows, scores.period, scores.heads) == (3, 4, anatomy_of(lm).heads)
    runs = [activations(lm, row) for row in rows]
    for column, (layer, head) in enumerate(scores.heads):
        own = torch.stack([run[f"blocks.{layer}.pattern"][head] for run in runs]).double()
        close(scores.of("previous")[column], previous_token_score(own).mean(), rounding(lm))
        close(scores.of("duplicate")[column], duplicate_token_score(own, 4).mean(), rounding(lm))
        close(scores.of("induction")[column], induction_score(own, 4).mean(), rounding(lm))
    best = scores.strongest("induction", 2)
    assert best[0].score == float(scores.of("induction").max()) >= best[1].score
    assert scores.of("induction")[scores.heads.index(best[0].head)] == best[0].score
    assert scores.layer_bounds[-1] == len(scores.heads)


def test_a_behaviour_without_a_score_is_named():
    scores = head_scores(induction_by_hand(), repeat_rows(induction_by_hand(), 1, 4), 4)
    with pytest.raises(ValueError, match=r"no score is called 'copying'; there are previous, duplicate, induction"):
        scores.of("copying")


def test_the_heads_of_the_circuit_by_hand_are_what_they_were_written_as():
    table = head_table(induction_by_hand())
    assert table.repeats.period == 12
    assert table.plain is None  # twelve words are too few for 24 that differ
    assert table.untrained is None
    found = {name: [round(score, 9) for score in table.repeats.of(name).tolist()] for name in BEHAVIOURS}
    assert found["previous"][0] == 1
    assert found["induction"] == [0, 1]
    assert found["duplicate"] == [0, 0]
    assert str(table.repeats.strongest("induction", 1)[0]) == "induction score of head 1.0: 1.000"
    assert head_table(induction_by_hand(), period=6).plain is not None


def test_the_table_of_a_loaded_model_holds_both_controls():
    lm = FAMILIES["gpt2"]()
    table = head_table(lm, period=6, n_rows=4, seed=3)
    assert table.untrained is not None
    assert table.plain is not None
    assert table.untrained.name == "tiny-gpt2, untrained"
    wanted = head_scores(untrained(lm, 3), repeat_rows(lm, 4, 6, 3), 6)
    assert torch.equal(table.untrained.values, wanted.values)
    assert torch.equal(table.plain.values, head_scores(lm, plain_rows(lm, 4, 6, 3), 6).values)
    assert torch.equal(table.repeats.values, head_scores(lm, repeat_rows(lm, 4, 6, 3), 6).values)


def test_an_untrained_model_is_random_by_its_seed_and_leaves_the_generator_alone(lm):
    before = torch.random.get_rng_state()
    fresh, again, other = untrained(lm, 1), untrained(lm, 1), untrained(lm, 2)
    assert torch.equal(torch.random.get_rng_state(), before)
    own, same, differs = (anatomy_of(made).blocks[1].attn.W_Q.dense() for made in (fresh, again, other))
    assert torch.equal(own, same)
    assert not torch.equal(own, differs)
    trained = anatomy_of(lm).blocks[1].attn.W_Q.dense()
    assert (own.shape, own.dtype) == (trained.shape, trained.dtype)
    assert not torch.allclose(own, trained)
    assert not fresh.model.training
    assert not any(parameter.requires_grad for parameter in fresh.model.parameters())


def test_accuracy_on_the_second_copy_is_that_of_the_models_own_logits(lm):
    rows = repeat_rows(lm, 40, 4)
    found = second_copy_accuracy(lm, rows, 4)
    assert found == second_copy_hits(lm.model(rows).logits[:, -4:-1], rows)
    with pytest.raises(ValueError, match=r"rows of 9 tokens are no two copies of 5; a period is 2 to 4 here"):
        second_copy_accuracy(lm, rows, 5)


@pytest.mark.parametrize("seed", range(3))
def test_the_circuit_by_hand_is_right_but_for_the_word_that_has_no_predecessor(seed):
    hand = induction_by_hand()
    with_start = repeat_rows(hand, 4, 12, seed)
    without = repeat_rows(hand, 4, 12, seed, with_start=False)
    assert second_copy_accuracy(hand, with_start, 12) == 1
    assert second_copy_accuracy(hand, without, 12) == pytest.approx(10 / 11)
    for by in ("zero", "mean"):
        for head in hand.heads:
            assert second_copy_accuracy(hand, with_start, 12, [head], by) < 0.1


@pytest.mark.parametrize("by", ["zero", "mean"])
@pytest.mark.parametrize("heads", [[(0, 1)], [(1, 0)], [(0, 0), (1, 1), (0, 1)]], ids=str)
def test_an_ablated_model_gives_the_logits_of_its_views_without_those_heads(lm, by, heads):
    rows = repeat_rows(lm, 3, 4)
    anatomy = anatomy_of(lm)
    own = lm.model(rows, use_cache=False).logits
    found = ablated_logits(lm, rows, heads, by)
    means = {}
    runs = [activations(lm, row) for row in rows]
    for layer, head in heads:
        z = torch.cat([run[f"blocks.{layer}.z"][head] for run in runs])
        means[layer, head] = z.mean(0) if by == "mean" else torch.zeros(z.shape[1])
    other = without_heads(anatomy, means)
    for number, row in enumerate(rows):
        close(found[number], view(other, "model", row).result(), rounding(lm))
    assert not torch.allclose(found, own, rtol=1e-3, atol=1e-3)
    assert torch.equal(lm.model(rows, use_cache=False).logits, own)  # the model is as it was
    close(ablated_logits(lm, rows), own, rounding(lm))


def test_the_mean_z_of_views_is_that_of_the_modules(lm):
    rows = repeat_rows(lm, 3, 4)
    heads = [(1, 1), (0, 0)]
    found, by_views = mean_z(lm, rows, heads), mean_z(anatomy_of(lm), rows, heads)
    assert set(found) == set(by_views) == set(heads)
    for head in heads:
        close(found[head], by_views[head], rounding(lm))


def test_blocks_run_one_after_another_give_the_models_values(lm):
    row = repeat_rows(lm, 1, 4)[0]
    own = activations(lm, row)
    for layer, values in enumerate(run_blocks(anatomy_of(lm), row)):
        for name in ("resid_pre", "pattern", "z", "resid_post"):
            close(values[name], own[f"blocks.{layer}.{name}"], rounding(lm))


def test_what_is_no_ablation_is_refused(lm):
    rows = repeat_rows(lm, 2, 4)
    with pytest.raises(ValueError, match=r"a head's z is replaced by zero or by its mean, not by 'noise'"):
        ablated_logits(lm, rows, [(0, 0)], "noise")
    with pytest.raises(ValueError, match=r"block 1 of .* has no head 7; it has 0 to"):
        second_copy_accuracy(lm, rows, 4, [(1, 7)])
    with pytest.raises(ValueError, match=r"were they made by another tokenizer"):
        head_scores(lm, rows + 10_000, 4)


def test_the_shipped_attention_only_model_has_the_heads_that_it_was_trained_to_need():
    """A previous-token head, and induction heads that read it through their keys and copy; none before training."""
    lm = load("attn2", "cpu")
    period = longest_period(lm)
    table, rows = head_table(lm, period), repeat_rows(lm, 32, period, seed=1)
    previous = table.repeats.strongest("previous", 1)[0]
    induction = [one for one in table.repeats.strongest("induction", 8) if one.score > 0.3]
    assert previous.head[0] == 0
    assert {one.head[0] for one in induction} == {1}
    assert previous.score > 0.5
    assert max(float(control.of("induction").max()) for control in (table.plain, table.untrained)) < 0.1
    assert float(table.untrained.of("previous").max()) < 0.15
    for one in induction:
        score = composition_scores(anatomy_of(lm)).between("K", one.head, previous.head)
        assert score.score > 2 * score.baseline
        shares = score_shares(lm, *one.head, rows[0])
        assert shares.strongest(1)[0].share == shares.share("embed", f"head 0.{previous.head[1]}") > 0.5
        assert float(copying_scores(anatomy_of(lm))[table.repeats.heads.index(one.head)]) > 0.9
    assert second_copy_accuracy(lm, rows, period) > 0.98
    assert second_copy_accuracy(untrained(lm), rows, period) < 0.1
    for by in ("zero", "mean"):
        assert second_copy_accuracy(lm, rows, period, [one.head for one in induction], by) < 0.2
        assert second_copy_accuracy(lm, rows, period, [previous.head], by) < 0.3


def test_a_tokenizer_with_gaps_in_its_numbers_is_drawn_from_where_it_has_words():
    backend = Tokenizer(models.WordLevel({"a": 0, "[U]": 1, "b": 3, "c": 5, "d": 63}, unk_token="[U]"))
    lm = replace(FAMILIES["gpt2"](), tokenizer=PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="a"))
    assert ordinary_tokens(lm).tolist() == [1, 3, 5, 63]
    assert longest_period(lm) == 4


def test_a_model_with_no_room_for_two_copies_says_so():
    small = replace(induction_by_hand(), context=4)
    with pytest.raises(ValueError, match="has a context of 4 and 12 ordinary tokens; rows that come twice need room"):
        longest_period(small)


def test_the_mean_of_a_head_that_is_not_there_is_refused():
    rows = repeat_rows(FAMILIES["gpt2"](), 2, 4)
    with pytest.raises(ValueError, match="has no head -1; it has 0 to 1"):
        mean_z(FAMILIES["gpt2"](), rows, [(0, -1)])


@pytest.mark.parametrize("family", FAMILIES)
def test_the_module_of_a_matrix_is_found_whether_its_bond_is_cut_or_not(family):
    own = lab(family)
    dense, cut = (block_module(model, 1, "attn.W_O") for model in (own.lm.model, own.present.model))
    assert dense is own.matrices["blocks.1.attn.W_O"].module
    assert cut is own.layers["blocks.1.attn.W_O"]
    with pytest.raises(ValueError, match=r"has no attn\.W_X in its blocks"):
        block_module(own.lm.model, 1, "attn.W_X")
