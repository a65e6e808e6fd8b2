"""Sequences that repeat themselves, and the model that is shipped because it learnt to continue them."""

import json
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from transformers.modeling_outputs import CausalLMOutput

from workbench import load
from workbench.transformer.ablation import second_copy_accuracy
from workbench.transformer.repeats import (
    LETTERS,
    START,
    VOCABULARY,
    RepeatsRecipe,
    first_copy_loss,
    letter_tokenizer,
    repeated_tokens,
    second_copy_hits,
    training_rows,
)

RECIPE = RepeatsRecipe(context=40, batch=16, longest_prefix=6, shortest_period=3, longest_period=17)


class LooksBack(nn.Module):
    """Says, sure of itself, what came after the last place where the present token stood before; else token 1."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.sure = nn.Parameter(torch.full((vocabulary,), 9.0).diag(), requires_grad=False)
        self.batches: list[int] = []

    def forward(self, tokens: torch.Tensor, use_cache: bool) -> CausalLMOutput:
        self.batches.append(len(tokens))
        said = torch.ones_like(tokens)
        for row, wanted in zip(tokens, said, strict=True):
            for t in range(len(row)):
                before = [s for s in range(t) if row[s] == row[t]]
                if before:
                    wanted[t] = row[before[-1] + 1]
        return CausalLMOutput(logits=self.sure[said])


class Foresees(LooksBack):
    """Says, sure of itself, the next token, which it could not know."""

    def forward(self, tokens: torch.Tensor, use_cache: bool) -> CausalLMOutput:
        return CausalLMOutput(logits=self.sure[tokens.roll(-1, 1)])


@given(step=st.integers(0, 50), seed=st.integers(0, 5))
def test_a_training_row_is_a_start_a_prefix_and_one_segment_over_and_over(step, seed):
    rows = training_rows(RepeatsRecipe(**{**RECIPE.__dict__, "seed": seed}), step)
    assert rows.shape == (16, 41)
    for row in rows.tolist():
        assert row[0] == 0
        assert all(1 <= token < VOCABULARY for token in row[1:])
        fits = [
            (prefix, period)
            for prefix in range(7)
            for period in range(3, 18)
            if all(row[1 + t] == row[1 + t - period] for t in range(prefix + period, 40))
        ]
        assert fits, f"{row} repeats no segment"


def test_training_rows_are_a_function_of_seed_and_step():
    assert torch.equal(training_rows(RECIPE, 3), training_rows(RECIPE, 3))
    assert not torch.equal(training_rows(RECIPE, 3), training_rows(RECIPE, 4))
    other = RepeatsRecipe(**{**RECIPE.__dict__, "seed": 2})
    assert not torch.equal(training_rows(RECIPE, 3), training_rows(other, 3))


def test_every_prefix_every_period_and_every_letter_is_drawn():
    rows = torch.cat([training_rows(RECIPE, step) for step in range(60)])
    assert set(rows[:, 1:].flatten().tolist()) == set(range(1, VOCABULARY))
    shortest = []
    for row in rows[:, 1:].tolist():
        ends = [p for p in range(1, 18) if row[-2 * p : -p] == row[-p:]]
        shortest.append(min(ends))
    assert set(range(3, 18)) <= set(shortest)
    begins = [
        next(t for t in range(40) if row[t : 40 - p] == row[t + p :])
        for row, p in zip(rows[:, 1:].tolist(), shortest, strict=True)
    ]
    assert set(begins) >= set(range(7))
    alike = [row[:b] == row[b : 2 * b] for row, b in zip(rows[:, 1:].tolist(), begins, strict=True) if b]
    assert sum(alike) < 0.05 * len(alike), "a prefix is letters of its own, not the segment's"


@given(
    n_rows=st.integers(1, 5), period=st.integers(2, 12), more=st.integers(1, 9), seed=st.integers(0, 9), data=st.data()
)
def test_repeated_tokens_are_the_start_and_the_same_different_tokens_twice(n_rows, period, more, seed, data):
    vocabulary = period + more
    start = data.draw(st.integers(0, vocabulary - 1))
    rows = repeated_tokens(n_rows, period, vocabulary, seed, start)
    assert rows.shape == (n_rows, 1 + 2 * period)
    assert torch.equal(rows, repeated_tokens(n_rows, period, vocabulary, seed, start))
    assert torch.equal(rows[:, 1 : 1 + period], rows[:, 1 + period :])
    for row in rows.tolist():
        assert row[0] == start
        assert len({*row}) == 1 + period
        assert all(0 <= token < vocabulary for token in row)


def test_repeated_tokens_take_every_token_but_the_start_equally_often():
    counts = repeated_tokens(4000, 3, 8, start=5)[:, 1:4].flatten().bincount(minlength=8)
    expected = torch.full((8,), 4000 * 3 / 7)
    expected[5] = 0
    assert (counts - expected).abs().max() < 5 * math.sqrt(4000 * 3 / 7)


def test_other_seeds_give_other_rows():
    assert not torch.equal(repeated_tokens(3, 4, 20, seed=0), repeated_tokens(3, 4, 20, seed=1))


def test_a_model_that_looks_back_knows_all_of_the_second_copy_and_nothing_of_the_first():
    tokens = repeated_tokens(70, 6, 30, seed=2)
    model = LooksBack(30)
    assert second_copy_hits(model(tokens, use_cache=False).logits[:, -6:-1], tokens) == 1
    model.batches.clear()
    guessed = (tokens[:, 1:7] == 1).double().mean().item()
    log_p = torch.tensor([9.0] + [0.0] * 29).log_softmax(-1)
    expected = -(guessed * log_p[0] + (1 - guessed) * log_p[1]).item()
    assert first_copy_loss(model, tokens, 6) == pytest.approx(expected, rel=1e-6)
    assert model.batches == [32, 32, 6]


def test_each_token_of_the_first_copy_is_compared_with_what_was_said_before_it():
    right = torch.tensor([9.0] + [0.0] * 29).log_softmax(-1)[0].item()
    assert first_copy_loss(Foresees(30), repeated_tokens(5, 6, 30), 6) == pytest.approx(-right, rel=1e-4)


def test_the_token_that_begins_the_second_copy_is_not_counted():
    tokens = repeated_tokens(2, 3, 9, seed=0)
    spoilt = tokens.clone()
    spoilt[:, -1] = 0  # what is said of the last token alone is wrong now: one of two in each row
    assert second_copy_hits(LooksBack(9)(spoilt, use_cache=False).logits[:, -3:-1], spoilt) == 0.5


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((0, 4, 9), "0 rows of period 4 were asked for; give 1 or more"),
        ((3, 1, 9), "3 rows of period 1 were asked for; .* of period 2 or more"),
        ((3, 9, 9), "a vocabulary of 9 has not 9 different tokens beside the start 0"),
        ((3, 4, 9, 0, 11), "a vocabulary of 9 has not 4 different tokens beside the start 11"),
        ((3, 4, 9, 0, -1), "a vocabulary of 9 has not 4 different tokens beside the start -1"),
    ],
)
def test_rows_that_cannot_be_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        repeated_tokens(*given)


def test_rows_of_another_period_are_not_scored():
    with pytest.raises(ValueError, match="rows of 9 tokens are no start and two copies of 3, which are 7"):
        first_copy_loss(LooksBack(20), repeated_tokens(2, 4, 20), 3)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"context": 39}, "a context of 39 does not hold a prefix of 6 and 17 letters twice; give context=40 or more"),
        ({"shortest_period": 1}, "periods of 1 to 17 after a prefix of up to 6 are none"),
        ({"shortest_period": 18}, "periods of 18 to 17 after a prefix of up to 6 are none"),
        ({"longest_prefix": -1}, "periods of 3 to 17 after a prefix of up to -1 are none"),
    ],
)
def test_a_recipe_whose_rows_cannot_be_is_refused(changed, message):
    with pytest.raises(ValueError, match=message):
        RepeatsRecipe(**{**RECIPE.__dict__, **changed})


@given(st.text(LETTERS, max_size=30))
def test_a_letter_is_a_token_and_the_tokens_are_the_text(text):
    tokenizer = letter_tokenizer()
    ids = tokenizer(text)["input_ids"]
    assert ids == [1 + LETTERS.index(letter) for letter in text]
    assert tokenizer.decode(ids) == text


def test_the_start_is_read_and_what_is_no_letter_is_passed_over():
    tokenizer = letter_tokenizer()
    assert tokenizer.bos_token_id == 0
    assert tokenizer(f"{START}aé b\n1c")["input_ids"] == [0, *tokenizer("abc")["input_ids"]]
    assert len(tokenizer) == VOCABULARY


# The shipped model: what its card says, and the heads it is shipped for.


@pytest.fixture(scope="module")
def attn2():
    lm = load("attn2", device="cpu")
    lm.model.set_attn_implementation("eager")
    return lm


def scores(model: nn.Module, tokens: torch.Tensor, period: int) -> tuple[list[list[float]], list[list[float]]]:
    """Of every head by layer: how much it looks at the previous token, and at the one after the earlier occurrence."""
    previous, induction = [], []
    after = torch.arange(1, tokens.shape[1])
    second = torch.arange(period + 1, 2 * period + 1)
    with torch.no_grad():
        for pattern in model(tokens, output_attentions=True).attentions:  # (n, h, t, s)
            previous.append(pattern[:, :, after, after - 1].mean((0, 2)).tolist())
            induction.append(pattern[:, :, second, second - period + 1].mean((0, 2)).tolist())
    return previous, induction


def without(model: nn.Module, layer: int, heads: list[int]):
    """The model while the given heads of a layer write nothing; `remove()` undoes it."""
    d_head = model.config.n_embd // model.config.n_head

    def silenced(module, inputs):
        z = inputs[0].clone()
        for head in heads:
            z[..., head * d_head : (head + 1) * d_head] = 0
        return (z,)

    return model.transformer.h[layer].attn.c_proj.register_forward_pre_hook(silenced)


def test_the_shipped_model_is_the_one_its_record_and_its_card_describe(repository, attn2):
    folder = repository / "data" / "attn2"
    record, card = json.loads((folder / "training.json").read_text()), (folder / "README.md").read_text()
    assert record["recipe"] == RepeatsRecipe().__dict__
    assert record["step"] == record["recipe"]["steps"]
    assert sum(parameter.numel() for parameter in attn2.model.parameters()) == record["n_params"]
    assert f"{record['n_params']:,} parameters" in card
    for period, figures in record["periods"].items():
        tokens = repeated_tokens(record["scored_rows"], int(period), VOCABULARY, seed=1_000)
        assert second_copy_accuracy(attn2, tokens, int(period)) == pytest.approx(
            figures["second_copy_accuracy"], abs=1e-3
        )
        assert first_copy_loss(attn2.model, tokens, int(period)) == pytest.approx(figures["first_copy_loss"], abs=1e-3)
        assert f"| period {period} | {figures['second_copy_accuracy']:.2%} | {figures['first_copy_loss']:.3f} |" in card
    assert record["second_copy_accuracy"] >= 0.98
    assert sum(file.stat().st_size for file in folder.glob("*.*")) < 400e3


def test_the_shipped_model_has_a_head_that_looks_back_by_one_and_heads_that_continue_repeats(attn2):
    previous, induction = scores(attn2.model, repeated_tokens(64, 20, VOCABULARY, seed=7), 20)
    assert max(previous[0]) > 0.8
    assert max(induction[1]) > 0.6
    assert max(induction[0]) < 0.1


def test_without_its_induction_heads_it_continues_nothing_and_without_as_many_others_it_does(attn2):
    tokens = repeated_tokens(64, 20, VOCABULARY, seed=7)
    _, induction = scores(attn2.model, tokens, 20)
    heads = [head for head, score in enumerate(induction[1]) if score > 0.4]
    others = sorted(set(range(len(induction[1]))) - set(heads))[: len(heads)]
    assert len(others) == len(heads) > 0
    reached = []
    for silent in (heads, others):
        hook = without(attn2.model, 1, silent)
        reached.append(second_copy_accuracy(attn2, tokens, 20))
        hook.remove()
    assert reached[0] < 0.1
    assert reached[1] > 0.9


def test_an_untrained_model_looks_at_every_earlier_token_alike():
    torch.manual_seed(0)
    model = RepeatsRecipe().model().eval()
    model.set_attn_implementation("eager")
    previous, induction = scores(model, repeated_tokens(64, 20, VOCABULARY, seed=7), 20)
    expected_previous = sum(1 / (t + 1) for t in range(1, 41)) / 40
    expected_induction = sum(1 / (t + 1) for t in range(21, 41)) / 20
    for layer in (0, 1):
        assert previous[layer] == pytest.approx([expected_previous] * len(previous[layer]), rel=0.1)
        assert induction[layer] == pytest.approx([expected_induction] * len(induction[layer]), rel=0.1)
