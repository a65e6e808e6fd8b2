"""A GPT-2 trained on the known language: its rows and tokenizer, its card, and the one that is shipped."""

import json
import math

import pytest
import torch

from workbench import load
from workbench.cli import main
from workbench.transformer import grammar_recipe
from workbench.transformer.grammar_card import said, score, write_grammar_card
from workbench.transformer.grammar_recipe import GrammarRecipe, training_rows, word_tokenizer
from workbench.transformer.training import train
from workbench.truth.grammar import Grammar
from workbench.truth.grammar_english import STOP, english
from workbench.truth.grammar_stream import GrammarStream

RECIPE = GrammarRecipe(d_model=16, n_layers=1, n_heads=2, context=12, batch=3, steps=6, warmup=2)


def test_a_row_is_a_stop_and_a_possible_stream_and_follows_from_the_seed_and_the_step():
    rows = training_rows(RECIPE, 4)
    assert rows.shape == (3, 13)
    assert rows[:, 0].tolist() == [english().alphabet.index(STOP)] * 3
    assert bool(GrammarStream(english(), 12).log_prob(rows[:, 1:]).isfinite().all())
    assert torch.equal(rows, training_rows(RECIPE, 4))
    assert not torch.equal(rows, training_rows(RECIPE, 5))
    assert not torch.equal(rows, training_rows(GrammarRecipe(**{**RECIPE.__dict__, "seed": 1}), 4))


def test_a_word_is_a_token_and_the_tokens_are_the_text():
    grammar, tokenizer = english(), word_tokenizer(english(), STOP)
    assert len(tokenizer) == len(grammar.alphabet)
    for sentence in grammar.sample(20, torch.Generator().manual_seed(0)):
        assert tokenizer(grammar.text(sentence))["input_ids"] == list(sentence)
        assert tokenizer.decode(sentence) == grammar.text(sentence)
    assert tokenizer.bos_token_id == grammar.alphabet.index(STOP)


def test_what_is_no_word_of_the_language_is_passed_over():
    grammar, tokenizer = english(), word_tokenizer(english(), STOP)
    expected = list(grammar.ids("the girl sleeps . Anna runs , and"))
    assert tokenizer("the 3 girl\n (sleeps).Anna, unheard runs, andx and")["input_ids"] == [
        *expected[:5], grammar.alphabet.index(","), *expected[5:]
    ]  # fmt: skip


def test_the_longer_of_two_terminals_that_begin_alike_is_read():
    tokenizer = word_tokenizer(Grammar.from_table("S", {"S": {"+ .": 0.5, "++ .": 0.25, "a+ .": 0.25}}), ".")
    assert tokenizer("++ . a+ + .")["input_ids"] == [2, 1, 3, 0, 1]


def test_a_run_on_the_grammar_interrupted_in_the_middle_resumes_to_the_same_bits(tmp_path, monkeypatch):
    whole = train(tmp_path / "whole", RECIPE)
    original, calls = grammar_recipe.training_rows, []

    def interrupted(recipe, step):
        calls.append(step)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return original(recipe, step)

    monkeypatch.setattr(grammar_recipe, "training_rows", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "broken", RECIPE, save_every=2)
    record = train(tmp_path / "broken", RECIPE, save_every=2)
    assert calls == [0, 1, 2, 3, 2, 3, 4, 5]
    assert record["recipe"] == whole["recipe"]
    one, two = (load(tmp_path / name, "cpu") for name in ("whole", "broken"))
    assert one.model.config.eos_token_id is None
    for (_, first), (_, second) in zip(one.model.named_parameters(), two.model.named_parameters(), strict=True):
        assert torch.equal(first, second)


def test_the_card_of_a_model_says_what_it_loses_beyond_the_truth(tmp_path):
    record = train(tmp_path, RECIPE)
    figures = write_grammar_card(tmp_path, record)
    assert figures["loss"] == pytest.approx(figures["entropy"] + figures["excess"])
    assert figures["loss"] == pytest.approx(math.log(399), abs=0.1), "after six steps it knows next to nothing"
    assert figures["n_tokens"] == 512 * 12
    assert json.loads((tmp_path / "training.json").read_text())["excess"] == figures["excess"]
    card = (tmp_path / "README.md").read_text()
    assert f"D(truth ‖ model) | {figures['excess']:.5f} ± {figures['error']:.5f} |\n" in card
    assert "399 words and marks. A sentence has 11.728 of them and an entropy of\n33.935 nats, both exact" in card
    assert "workbench train --task grammar --out truth-gpt-again --steps 6\n" in card


def test_train_on_the_grammar_takes_its_recipe(tmp_path, capsys, monkeypatch):
    calls = []

    def trained(out, recipe, device, report):
        calls.append(recipe)
        return {"step": 12, "seconds": 34.0}

    monkeypatch.setattr("workbench.transformer.training.train", trained)
    monkeypatch.setattr("workbench.transformer.grammar_card.write_grammar_card", lambda *call: {"excess": 0.04321})
    assert main(["train", "--task", "grammar", "--out", str(tmp_path / "run"), "--seed", "3", "--context", "32"]) == 0
    assert calls == [GrammarRecipe(seed=3, context=32)]
    assert capsys.readouterr().out.endswith("run: 12 steps in 34 s, 0.0432 nats a token above the entropy\n")
    assert main(["train", "--task", "grammar", "--out", str(tmp_path / "run"), "--vocabulary", "9"]) == 2
    assert "--task grammar has no --vocabulary; it has" in capsys.readouterr().err


# The shipped model.


@pytest.fixture(scope="module")
def truth_gpt():
    return load("truth-gpt", device="cpu")


def test_the_shipped_model_is_the_one_its_record_and_its_card_describe(repository, truth_gpt):
    folder = repository / "data" / "truth-gpt"
    record, card = json.loads((folder / "training.json").read_text()), (folder / "README.md").read_text()
    assert record["recipe"] == GrammarRecipe().__dict__
    assert record["step"] == record["recipe"]["steps"]
    assert sum(parameter.numel() for parameter in truth_gpt.model.parameters()) == record["n_params"]
    assert f"{record['n_params']:,} parameters" in card
    assert f"| {record['excess']:.5f} ± {record['error']:.5f} |" in card
    assert record["excess"] < 0.01
    assert record["language"]["entropy_rate"] == pytest.approx(english().entropy() / english().mean_length())
    assert tuple(truth_gpt.tokenizer.convert_ids_to_tokens(range(399))) == english().alphabet
    assert sum(file.stat().st_size for file in folder.glob("*.*")) < 4e6


def test_the_shipped_model_loses_as_much_on_other_streams_as_its_card_says(repository, truth_gpt):
    record = json.loads((repository / "data" / "truth-gpt" / "training.json").read_text())
    found = score(truth_gpt, n_streams=40, seed=7)
    assert abs(found.excess - record["excess"]) < 4 * math.hypot(found.error, record["error"])
    assert found.impossible < 0.03


def test_the_shipped_model_knows_that_verbs_agree_across_a_relative_clause(truth_gpt):
    grammar = english()
    singular = [rule.right[0] for rule in grammar.rules if rule.left == "verb.sg"]
    plural = [rule.right[0] for rule in grammar.rules if rule.left == "verb.pl"]
    for said_so_far, right, wrong in [
        (". the girl that the dogs see", singular, plural),
        (". the girls that the dog sees", plural, singular),
    ]:
        tokens = torch.tensor([grammar.ids(said_so_far)])
        p = said(truth_gpt, tokens)[0, -1].softmax(-1)
        agrees, clashes = (float(p[list(grammar.ids(" ".join(verbs)))].sum()) for verbs in (right, wrong))
        assert agrees > 20 * clashes, said_so_far
