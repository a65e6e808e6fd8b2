"""Strings of a grammar in a row: exact conditionals beside brute force, and the English that the workbench ships."""

import math
from collections import Counter
from itertools import pairwise

import pytest
import torch

from workbench.truth.enumerated import table_of
from workbench.truth.grammar import Grammar
from workbench.truth.grammar_english import STOP, english
from workbench.truth.grammar_score import excess_loss
from workbench.truth.grammar_stream import GrammarStream
from workbench.truth.source import Source
from workbench.truth.strings import table_entropy, table_information

# Agreement at a distance, recursion, words of one class with different shares, and a doubt that only the end resolves.
SMALL = Grammar.from_table(
    "S",
    {
        "S": {"one V1 .": 0.5, "two V2 .": 0.3, "W one .": 0.2},
        "V1": {"runs": 0.6, "that V1 V1": 0.2, "sits": 0.2},
        "V2": {"run": 0.7, "that V1 V2": 0.3},
        "W": {"one": 0.5, "two": 0.5},
    },
)
SITES = 5


@pytest.fixture(scope="module")
def stream() -> GrammarStream:
    return GrammarStream(SMALL, SITES)


@pytest.fixture(scope="module")
def table(stream):
    """p of all strings, from their prefix probabilities alone: the second way to everything that the stacks give."""
    return table_of(stream)


def test_it_is_a_source_whose_probabilities_sum_to_one(stream, table):
    assert isinstance(stream, Source)
    assert stream.alphabet == SMALL.alphabet
    assert table.sum().item() == pytest.approx(1, abs=1e-12)
    told = str(stream.describe())
    assert told.startswith(
        "probabilistic context-free grammar (10 rules, 7 terminals, the first 5 of a stream); prefix"
    )


def test_a_stream_is_whole_strings_and_the_beginning_of_one(stream):
    x = SMALL.ids("one runs . one that")
    expected = SMALL.log_prob([x[:3]]) + SMALL.log_prefix([x[3:]])
    assert stream.log_prob(torch.tensor([x])).item() == pytest.approx(expected.item())
    assert expected.exp().item() == pytest.approx(0.5 * 0.6 * 0.5 * 0.2)


@pytest.mark.parametrize("sites", [(0,), (3, 1), (0, 2, 4)])
def test_marginals_are_sums_over_all_streams(stream, table, sites):
    gone = [site for site in range(SITES) if site not in sites]
    order = sorted(sites)
    expected = table.sum(gone).permute([order.index(site) for site in sites])
    assert torch.allclose(stream.marginal(sites), expected, atol=1e-14)


def test_entropies_and_mutual_information_are_sums_over_all_streams(stream, table):
    assert stream.entropy() == pytest.approx(table_entropy(table))
    each = [
        table_entropy(table.sum(list(range(k + 1, SITES)))) if k + 1 < SITES else table_entropy(table)
        for k in range(SITES)
    ]
    assert stream.position_entropies().tolist() == pytest.approx([each[0], *(b - a for a, b in pairwise(each))])
    assert stream.mutual_information(0, 1) == pytest.approx(table_information(table.sum([2, 3, 4])))
    assert stream.mutual_information(1, 3) > 0.001


def test_the_amplitudes_squared_are_the_probabilities(stream, table):
    train = stream.mps()
    assert torch.allclose(train.dense().square(), table, atol=1e-14)
    assert stream.bond_dims() == train.bonds
    ranks = [int(torch.linalg.matrix_rank(table.sqrt().reshape(7**k, -1), rtol=1e-7)) for k in range(1, SITES)]
    assert stream.bond_dims() == tuple(ranks)


def test_a_conditional_is_the_ratio_of_two_prefix_probabilities(stream):
    x = stream.sample(40, torch.Generator().manual_seed(0))
    said = stream.conditionals(x)
    assert torch.allclose(said.sum(-1), torch.ones(40, SITES, dtype=torch.float64))
    for k in (0, 2, 4):
        shorter = GrammarStream(SMALL, k + 1)
        for word in range(len(SMALL.alphabet)):
            longer = torch.cat([x[:, :k], torch.full((40, 1), word)], 1)
            before = GrammarStream(SMALL, k).log_prob(x[:, :k]) if k else 0
            assert torch.allclose(said[:, k, word], (shorter.log_prob(longer) - before).exp(), atol=1e-14)


def test_a_stream_goes_on_losing_the_entropy_of_a_string_over_its_length():
    stop = Grammar.from_table("S", {"S": {"A .": 1.0}, "A": {"a A": 0.5, "b": 0.5}})
    stream = GrammarStream(stop, 9)
    assert stream.entropy_rate() == pytest.approx(2 * math.log(2) / 3)
    assert stream.entropy_rate() == pytest.approx(stop.entropy() / stop.mean_length())
    # How far the last token is from the rate halves, in turn above and below, at each further site.
    away = stream.position_entropies() - stream.entropy_rate()
    assert torch.allclose(away[1:] / away[:-1], torch.full((8,), -0.5, dtype=torch.float64))


def test_every_row_of_a_sample_begins_with_a_new_string_and_is_drawn_by_its_probability(stream, table):
    n = 20_000
    counts = Counter(map(tuple, stream.sample(n, torch.Generator().manual_seed(1)).tolist()))
    for x, count in counts.items():
        share = float(table[x])
        assert share > 0
        assert abs(count - n * share) < 5 * math.sqrt(n * share) + 1


def test_what_a_model_reads_is_a_stop_and_all_tokens_but_the_last(stream):
    x = torch.tensor([SMALL.ids("one runs . two run")])
    assert stream.inputs(x).tolist() == [list(SMALL.ids(". one runs . two"))]


def test_an_impossible_stream_has_no_probability_and_no_conditionals(stream):
    x = torch.tensor([SMALL.ids("one runs . two run"), SMALL.ids("one runs . two runs")])
    assert stream.log_prob(x).isfinite().tolist() == [True, False]
    with pytest.raises(ValueError, match="stream 1 cannot be: 'runs' at site 4 is impossible"):
        stream.conditionals(x)


def test_streams_of_another_kind_are_refused(stream):
    with pytest.raises(ValueError, match=r"strings of this source have 5 symbols, a row each, not shape \(3, 4\)"):
        stream.log_prob(torch.zeros(3, 4, dtype=torch.long))
    with pytest.raises(ValueError, match="a string holds the symbol 7, but this source has 7 symbols"):
        stream.conditionals(torch.full((3, 5), 7))
    with pytest.raises(ValueError, match="a stream has one or more tokens, not 0"):
        GrammarStream(SMALL, 0)


@pytest.mark.parametrize(
    "rules",
    [
        {"S": {"a .": 0.5, "b": 0.5}},
        {"S": {"a .": 0.5, "a . b .": 0.5}},
        {"S": {"S a .": 0.2, "b .": 0.8}},
        {"S": {"a A": 1.0}, "A": {"b": 1.0}},
    ],
)
def test_strings_that_do_not_show_where_they_end_make_no_stream(rules):
    with pytest.raises(ValueError, match=r"the rules of 'S' end in .*; strings in a row show their ends if all"):
        GrammarStream(Grammar.from_table("S", rules), 3)


def test_what_needs_stacks_is_refused_for_left_recursion_and_for_too_many():
    left = Grammar.from_table("S", {"S": {"A .": 1.0}, "A": {"A a": 0.4, "b": 0.6}})
    assert GrammarStream(left, 3).log_prob(torch.tensor([left.ids("b a a")])).exp().item() == pytest.approx(0.16)
    with pytest.raises(ValueError, match="the grammar is left-recursive, so a writer's stacks have no end"):
        GrammarStream(left, 3).entropy()
    with pytest.raises(ValueError, match=r"site \d of 12 joins [\d,]+ and [\d,]+ stacks of unfinished rules"):
        GrammarStream(english(), 12).mutual_information(0, 5)
    with pytest.raises(ValueError, match=r"3 sites of 399 symbols make 399\^3 strings"):
        GrammarStream(english(), 4).marginal((0, 1, 3))


def test_the_truth_loses_nothing_beyond_itself_and_a_guess_what_it_is_away(stream):
    x = stream.sample(300, torch.Generator().manual_seed(2))
    truth = stream.conditionals(x)
    right = excess_loss(truth, truth.log())
    assert right.excess == pytest.approx(0, abs=1e-14)
    assert right.impossible == 0
    assert right.loss == right.entropy
    even = excess_loss(truth, torch.zeros_like(truth, dtype=torch.float32))
    assert even.loss == pytest.approx(math.log(7))
    assert even.excess == pytest.approx(math.log(7) - even.entropy)
    assert even.impossible == pytest.approx((truth == 0).double().mean().item())
    rows = math.log(7) - torch.special.entr(truth).sum(-1).mean(1)
    assert even.error == pytest.approx(rows.std().item() / math.sqrt(300))
    assert str(even).startswith(
        f"{even.excess:.4f} ± {even.error:.4f} nats a token above the truth's {even.entropy:.4f}"
    )
    with pytest.raises(ValueError, match=r"of shape \(300, 5, 7\) .* and the logits of \(299, 5, 7\)"):
        excess_loss(truth, truth[1:])
    with pytest.raises(ValueError, match="both must be alike, and of two or more streams"):
        excess_loss(truth[:1], truth[:1])


# The English of the workbench.


def test_the_english_grammar_is_unambiguous_and_its_numbers_are_these():
    grammar = english()
    assert grammar.conflict is None
    assert len(grammar.alphabet) == 399
    assert grammar.mean_length() == pytest.approx(11.727939, abs=1e-6)
    assert grammar.entropy() == pytest.approx(33.935479, abs=1e-6)
    assert GrammarStream(grammar, 64).entropy_rate() == pytest.approx(2.893559, abs=1e-6)


def test_an_english_word_is_of_one_category_and_a_stands_before_no_vowel():
    grammar = english()
    words = [rule.right[0] for rule in grammar.rules if rule.right[0] in grammar.alphabet and len(rule.right) == 1]
    assert max(Counter(words).values()) == 1
    for rule in grammar.rules:
        if rule.left.endswith(("being-word.sg", "goods-word.sg", "place-word", "adjective")):
            assert rule.right[0][0] not in "aeiou", rule


def test_sampled_english_has_one_derivation_and_loses_its_entropy_a_sentence():
    grammar = english()
    sentences = grammar.sample(300, torch.Generator().manual_seed(0))
    lost = -grammar.log_prob(sentences)
    assert abs(lost.mean().item() - grammar.entropy()) < 4 * lost.std().item() / 300**0.5
    lengths = torch.tensor([len(sentence) for sentence in sentences], dtype=torch.float64)
    assert abs(lengths.mean().item() - grammar.mean_length()) < 4 * lengths.std().item() / 300**0.5
    assert set(grammar.n_derivations(sentences[:100]).tolist()) == {1}
    assert all(grammar.text(s).endswith(f" {STOP}") and grammar.text(s).count(STOP) == 1 for s in sentences)


@pytest.mark.parametrize(
    ("said", "may", "may_not"),
    [
        ("the girl that the dogs see", "sleeps", "sleep"),
        ("the girls that the dog sees", "sleep", "sleeps"),
        ("the girls that the dog that has a ball sees in the garden", "sleep", "sleeps"),
        ("the friend of the girls", "sleeps", "sleep"),
        ("the girl and the boy", "sleep", "sleeps"),
        ("the books that the girl buys", "fall", "falls"),
    ],
)
def test_an_english_verb_agrees_with_its_subject_and_not_with_the_nearest_noun(said, may, may_not):
    grammar = english()
    p = grammar.log_prefix([grammar.ids(f"{said} {verb}") for verb in (may, may_not)]).exp()
    assert p[0] > 0
    assert p[1] == 0


def test_the_first_english_words_are_as_uncertain_as_all_pairs_of_words_say():
    stream = GrammarStream(english(), 2)
    pairs = stream.marginal((0, 1))
    begins = pairs.sum(1).nonzero()[:, 0]
    said = stream.conditionals(torch.stack([begins, pairs[begins].argmax(1)], 1))  # by charts, the marginal by stacks
    assert torch.allclose(said[0, 0, begins, None] * said[:, 1], pairs[begins], atol=1e-15)
    assert pairs.sum().item() == pytest.approx(1)
    first = table_entropy(pairs.sum(1))
    assert stream.position_entropies().tolist() == pytest.approx([first, table_entropy(pairs) - first])
    assert stream.mutual_information(0, 1) == pytest.approx(table_information(pairs))


def test_a_long_english_stream_has_conditionals_and_forgets_its_beginning():
    stream = GrammarStream(english(), 30)
    x = stream.sample(16, torch.Generator().manual_seed(4))
    said = stream.conditionals(x)
    assert torch.allclose(said.sum(-1), torch.ones(16, 30, dtype=torch.float64))
    drawn = said.gather(2, x[:, :, None])[:, :, 0].log().sum(1)
    assert torch.allclose(stream.log_prob(x), drawn)
    after_stop = said[:, 1:][x[:, :-1] == stream.stop]
    assert torch.allclose(after_stop, stream.conditionals(x)[0, 0].expand_as(after_stop))
    assert len(after_stop) > 15
