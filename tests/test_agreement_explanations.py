"""Explanations of a verb's number: each by a second way on the shipped model, and their scores by hand."""

import math

import pytest
import torch

from workbench import load
from workbench.transformer.agreement_explanations import (
    EXPLANATIONS,
    VerbPrompts,
    ablation,
    added_log_odds,
    attention,
    gradient_times_input,
    gradient_times_number,
    integrated_number,
    nothing,
    number_swap,
    rollout,
)
from workbench.transformer.agreement_scores import (
    Share,
    agreement_fidelity,
    controller_score,
    explanation_scores,
)
from workbench.transformer.attribution_rules import mean_on_line, rolled_out
from workbench.transformer.capture import activations
from workbench.transformer.grammar_card import said
from workbench.transformer.matrices import shared_copy
from workbench.truth.grammar_agreement import NumberedWords, agreement_cases, cases_of
from workbench.truth.grammar_english import english

WORDS = NumberedWords.of(english())
TEXTS = ("the girl that the boys see", "my doctors", "the keys of a lonely king always")


@pytest.fixture(scope="module")
def lm():
    return load("truth-gpt", device="cpu")


@pytest.fixture(scope="module")
def prompts(lm) -> VerbPrompts:
    return VerbPrompts.of(lm, WORDS, [english().ids(text) for text in TEXTS])


def log_odds(lm, text: str) -> float:
    """By the model's own logits: what is read is the text itself, one row, not filled up."""
    p = said(lm, torch.tensor([english().ids(f". {text}")]))[0, -1].double().softmax(-1)
    return math.log(float(p[WORDS.verbs[0]].sum()) / float(p[WORDS.verbs[1]].sum()))


def test_the_log_odds_are_those_of_the_models_own_logits(lm, prompts):
    found = prompts.log_odds(prompts.embedded(prompts.tokens))
    assert found.tolist() == pytest.approx([log_odds(lm, text) for text in TEXTS], abs=1e-4)


@pytest.mark.parametrize("name", EXPLANATIONS)
def test_an_explanation_gives_every_word_a_number_that_other_rows_do_not_alter(name, lm, prompts):
    found = EXPLANATIONS[name](prompts)
    lengths = [len(text.split()) for text in TEXTS]
    assert found.shape == (3, max(lengths))
    for row, length in enumerate(lengths):
        assert bool((found[row, :length] >= 0).all())
        assert bool(found[row, length:].isnan().all())
        alone = EXPLANATIONS[name](VerbPrompts.of(lm, WORDS, [english().ids(TEXTS[row])]))
        assert alone[0].tolist() == pytest.approx(found[row, :length].tolist(), rel=2e-3, abs=2e-4)


def test_attention_and_rollout_are_those_of_the_captured_patterns(lm, prompts):
    for row, text in enumerate(TEXTS):
        inside = activations(lm, list(english().ids(f". {text}")))
        patterns = [inside[f"blocks.{layer}.pattern"].double().mean(0) for layer in range(4)]
        n = len(text.split())
        mean = sum(pattern[-1, 1:] for pattern in patterns) / 4
        assert attention(prompts)[row, :n].tolist() == pytest.approx(mean.tolist(), abs=1e-5)
        flow = torch.zeros(n + 1, dtype=torch.float64)
        flow[-1] = 1
        for pattern in reversed(patterns):  # from the prediction back, a vector at a time
            flow = flow / 2 + flow @ pattern / 2
        assert rollout(prompts)[row, :n].tolist() == pytest.approx(flow[1:].tolist(), abs=1e-5)


def test_a_number_swap_is_what_the_model_says_of_the_other_text(lm, prompts):
    found = number_swap(prompts)
    own = log_odds(lm, TEXTS[0])
    for place, text in ((1, "the girls that the boys see"), (4, "the girl that the boy see"),
                        (5, "the girl that the boys sees")):  # fmt: skip
        assert found[0, place].item() == pytest.approx(abs(log_odds(lm, text) - own), abs=1e-3)
    assert found[0, [0, 2, 3]].tolist() == pytest.approx([0, 0, 0], abs=1e-5)


def test_ablation_is_reading_the_mean_word(lm, prompts):
    """By a model whose table holds the mean embedding in the place of one word; its head keeps the table as it was."""
    blind = shared_copy(lm.model)
    table = lm.model.transformer.wte.weight
    blind.transformer.wte = torch.nn.Embedding.from_pretrained(table.clone())
    blind.transformer.wte.weight[english().ids("girl")[0]] = table.mean(0)
    with torch.no_grad():
        logits = blind(torch.tensor([english().ids(f". {TEXTS[0]}")])).logits[0, -1].double()
    odds = logits[WORDS.verbs[0]].logsumexp(0) - logits[WORDS.verbs[1]].logsumexp(0)
    assert ablation(prompts)[0, 1].item() == pytest.approx(abs(float(odds) - log_odds(lm, TEXTS[0])), abs=1e-3)


def test_gradients_are_what_a_small_step_changes(prompts):
    embedded, step = prompts.embedded(prompts.tokens), 1e-2

    def along(direction):
        up, down = (prompts.log_odds(embedded + sign * step * direction) for sign in (1, -1))
        return (up - down).abs() / (2 * step)

    for place in (1, 2):
        for explain, size in ((gradient_times_input, embedded), (gradient_times_number, embedded - prompts.numberless)):
            direction = torch.zeros_like(embedded)
            direction[:, place] = size[:, place]
            with torch.no_grad():
                expected = along(direction)
            assert explain(prompts)[:, place - 1].tolist() == pytest.approx(expected.tolist(), rel=0.03, abs=0.01)


def test_what_numbers_add_sums_to_the_log_odds_less_those_without_number(prompts):
    added = added_log_odds(prompts, prompts.numberless, 24)
    with torch.no_grad():
        whole = prompts.log_odds(prompts.embedded(prompts.tokens))
        without = prompts.log_odds(prompts.numberless)
    assert added.sum(1).tolist() == pytest.approx((whole - without).tolist(), abs=0.01)
    assert whole.abs().min() > 4, "the model is sure"
    assert torch.allclose(prompts.of_words(added.abs()), integrated_number(prompts), equal_nan=True)


def test_the_rules_along_a_line_and_through_layers():
    assert mean_on_line(lambda x: torch.tensor([x**5, 1.0]), 3).tolist() == pytest.approx([1 / 6, 1])
    assert abs(float(mean_on_line(lambda x: torch.tensor(x**6), 3)) - 1 / 7) > 1e-5
    patterns = torch.rand(3, 2, 4, 4, dtype=torch.float64).tril()
    patterns /= patterns.sum(-1, keepdim=True)
    rolled = rolled_out(patterns)
    assert rolled.sum(-1).flatten().tolist() == pytest.approx([1.0] * 8)
    halves = (torch.eye(4, dtype=torch.float64) + patterns) / 2
    assert torch.allclose(rolled[1], halves[2, 1] @ halves[1, 1] @ halves[0, 1])


# Scores.


@pytest.fixture(scope="module")
def cases():
    return [case for text in ("the girl that the boys see sleeps .", "my doctors run .")
            for case in cases_of(english(), WORDS, english().ids(text))]  # fmt: skip


def test_scores_are_counts_over_cases(cases):
    assert [case.controller for case in cases] == [4, 1, 1]
    given = torch.full((3, 6), torch.nan, dtype=torch.float64)
    given[0, :5] = torch.tensor([0, 3, 0, 0, 2])  # see: boys second of five words, and of two nouns
    given[1] = torch.tensor([0, 2, 0, 1, 2, 0])  # sleeps: girl tied with boys for the first place
    given[2, :2] = torch.tensor([1, 5])
    found = controller_score(cases, given)
    assert found.first_word.value == pytest.approx((0 + 1 / 2 + 1) / 3)
    assert found.first_noun.value == pytest.approx((0 + 1 / 2 + 1) / 3)
    assert found.auc.value == pytest.approx((3 / 4 + 4.5 / 5 + 1) / 3)
    assert found.first_word.error == pytest.approx(math.sqrt(((0.5**2) * 2) / 2 / 3))
    assert str(found).startswith("first word 0.500 ± 0.289, first noun 0.500 ± 0.289, AUC 0.883 ±")
    assert math.isnan(Share.of(torch.ones(1)).error)


def test_knowing_nothing_is_scored_as_chance(lm, cases):
    prompts = VerbPrompts.of(lm, WORDS, [case.prefix for case in cases])
    found = controller_score(cases, nothing(prompts))
    assert found.first_word.value == pytest.approx((1 / 5 + 1 / 6 + 1 / 2) / 3)
    assert found.first_noun.value == pytest.approx((1 / 2 + 1 / 2 + 1) / 3)
    assert found.auc.value == 0.5


def test_fidelity_is_what_the_model_says_beside_the_truth(lm, cases):
    found = agreement_fidelity(lm, WORDS, cases)
    errors, odds = [], []
    for case in cases:
        before, after = (
            said(lm, torch.tensor([(lm.tokenizer.bos_token_id, *prefix)]))[0, -1].double().softmax(-1)
            for prefix in (case.prefix, case.swapped)
        )
        plural = [float(p[WORDS.verbs[1]].sum()) for p in (before, after)]
        truth = [
            float(p) for p in english().next_terminals([case.prefix, case.swapped])[:, :-1] @ WORDS.verbs[1].double()
        ]
        errors.append(abs((plural[1] - plural[0]) - (truth[1] - truth[0])))
        odds.append(math.log(plural[0] / float(before[WORDS.verbs[0]].sum())) * (1 if case.plural else -1))
    assert found.error.value == pytest.approx(sum(errors) / 3, abs=1e-5)
    assert found.odds.value == pytest.approx(sum(odds) / 3, abs=1e-3)
    assert found.right.value == 1.0
    assert "the right number is likelier in 1.000 ± 0.000, by" in str(found)


def test_only_some_explanations_of_the_shipped_model_name_the_word_that_decides(lm):
    across = agreement_cases(english(), WORDS, 16, torch.Generator().manual_seed(0))
    found = explanation_scores(lm, WORDS, across)
    assert list(found) == list(EXPLANATIONS)
    assert found["number swap"].first_word.value == found["integrated number"].first_word.value == 1.0
    assert found["attention"].first_word.value > 0.75
    assert found["integrated gradients"].auc.value < found["chance"].auc.value == 0.5
    assert found["chance"].first_word.value < 0.2


def test_prompts_and_scores_of_another_kind_are_refused(lm, cases):
    with pytest.raises(ValueError, match=r"truth-gpt reads 2 to 64 tokens, .* the longest of 2 prefixes has 64 words"):
        VerbPrompts.of(lm, WORDS, [(1, 2), tuple(range(64))])
    with pytest.raises(ValueError, match="the longest of 0 prefixes has 0 words; give others"):
        VerbPrompts.of(lm, WORDS, [])
    with pytest.raises(ValueError, match=r"attn2 has .* tokens and the language 399 words; they must be the same"):
        VerbPrompts.of(load("attn2", device="cpu"), WORDS, [(1, 2)])
    with pytest.raises(ValueError, match="3 cases are scored by a row each, and 4 rows are given"):
        controller_score(cases, torch.zeros(4, 6))
    with pytest.raises(ValueError, match="row 1 has no finite number for each of the 6 words of its case"):
        controller_score(cases, torch.zeros(3, 5))
