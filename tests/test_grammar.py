"""A probabilistic context-free grammar: its probabilities beside the sum over all derivations, and its entropies."""

import math
from collections import Counter
from itertools import product

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from workbench.truth.grammar import Grammar

few = settings(max_examples=25)
LONGEST = 4  # of the strings that are summed over by hand

ANBN = Grammar.from_table("S", {"S": {"a S b": 0.3, "a b": 0.7}})
SUMS = Grammar.from_table("E", {"E": {"E + E": 0.3, "x": 0.7}})
CYCLE = Grammar.from_table("S", {"S": {"S a": 0.4, "b": 0.4, "T": 0.2}, "T": {"S": 0.5, "c T": 0.5}})
FINITE = Grammar.from_table(
    "S", {"S": {"A B": 0.5, "A": 0.3, "x A y": 0.2}, "A": {"a": 0.25, "a b": 0.75}, "B": {"b": 0.6, "A": 0.4}}
)


def derivations(grammar: Grammar, longest: int, least: float = 1e-13) -> list[tuple[tuple[str, ...], float]]:
    """The strings of all leftmost derivations up to a length, and the probability of each: the second way."""
    found, waiting = [], [((grammar.start,), 1.0)]
    known = set(grammar.nonterminals)
    while waiting:
        form, p = waiting.pop()
        if len(form) > longest or p < least:
            continue
        place = next((k for k, symbol in enumerate(form) if symbol in known), None)
        if place is None:
            found.append((form, p))
        else:
            for rule in grammar.rules:
                if rule.left == form[place]:
                    waiting.append((form[:place] + rule.right + form[place + 1 :], p * rule.probability))
    return found


def strings(grammar: Grammar, longest: int) -> list[tuple[int, ...]]:
    """All strings of terminals up to a length, in the language or not."""
    size = range(len(grammar.alphabet))
    return [string for length in range(longest + 1) for string in product(size, repeat=length)]


@st.composite
def tables(draw) -> dict[str, dict[str, float]]:
    """Small consistent grammars: ambiguous, left-recursive, with chains of single symbols and with long rules."""
    symbols = ["S", "A", "B"]
    sides = st.lists(st.sampled_from([*symbols, "a", "b"]), min_size=1, max_size=3).map(" ".join)
    table = {}
    for symbol in symbols:
        end = draw(st.sampled_from(["a", "b"]))
        own = draw(st.dictionaries(sides.filter(lambda side, end=end: side != end), st.integers(1, 5), max_size=3))
        # Three quarters of the weight end the derivation, so that the sum by hand ends too.
        table[symbol] = {side: weight / (4 * sum(own.values())) for side, weight in own.items()}
        table[symbol][end] = 1 - sum(table[symbol].values())
    reached, found = set(), {"S"}
    while found:
        reached |= found
        found = {s for symbol in found for side in table[symbol] for s in side.split() if s in symbols} - reached
    return {symbol: own for symbol, own in table.items() if symbol in reached}


@few
@given(tables())
def test_a_string_is_as_probable_as_all_its_derivations_together(table):
    grammar = Grammar.from_table("S", table)
    expected = Counter()
    for string, p in derivations(grammar, LONGEST):
        expected[grammar.ids(string)] += p
    every = strings(grammar, LONGEST)
    found = grammar.log_prob(every).exp()
    assert torch.allclose(found, torch.tensor([expected[string] for string in every], dtype=torch.float64), atol=1e-9)
    assert bool((grammar.log_prob(every).isfinite() == torch.tensor([expected[s] > 0 for s in every])).all())


@few
@given(tables())
def test_a_beginning_goes_on_with_some_terminal_or_ends(table):
    grammar = Grammar.from_table("S", table)
    begins = strings(grammar, 3)
    longer = [(*begin, i) for begin in begins for i in range(len(grammar.alphabet))]
    on = grammar.log_prefix(longer).exp().reshape(len(begins), -1).sum(1)
    ends = grammar.log_prob(begins).exp()
    assert grammar.log_prefix([()]).item() == 0
    whole = grammar.log_prefix(begins).exp()
    assert torch.allclose(whole, on + ends, atol=1e-12)
    possible = [k for k, p in enumerate(whole.tolist()) if p > 0]
    told = grammar.next_terminals([begins[k] for k in possible])
    assert torch.allclose(told.sum(1), torch.ones(len(possible), dtype=torch.float64))
    assert torch.allclose(told[:, -1] * whole[possible], ends[possible], atol=1e-12)
    each = grammar.log_prefix(longer).exp().reshape(len(begins), -1)
    assert torch.allclose(told[:, :-1] * whole[possible, None], each[possible], atol=1e-12)


@few
@given(tables())
def test_derivations_are_counted_one_by_one(table):
    assume(not any(side in table for own in table.values() for side in own))  # chains may go round without end
    grammar = Grammar.from_table("S", table)
    expected = Counter(grammar.ids(string) for string, _ in derivations(grammar, LONGEST, least=0.0))
    every = strings(grammar, LONGEST)
    assert grammar.n_derivations(every).tolist() == [expected[string] for string in every]
    if max(expected.values()) > 1:
        assert grammar.conflict is not None


def test_what_comes_next_is_what_was_begun_or_the_end():
    told = ANBN.next_terminals([(), ANBN.ids("a"), ANBN.ids("a a b"), ANBN.ids("a b")])
    expected = [[1, 0, 0], [0.3, 0.7, 0], [0, 1, 0], [0, 0, 1]]
    assert torch.allclose(told, torch.tensor(expected, dtype=torch.float64))


def test_left_recursion_is_summed_to_any_depth():
    grammar = Grammar.from_table("S", {"S": {"S a": 0.8, "b": 0.2}})
    begins = [grammar.ids("b" + " a" * n) for n in range(6)]
    assert grammar.log_prefix(begins).tolist() == pytest.approx([n * math.log(0.8) for n in range(6)])
    assert grammar.log_prob(begins).tolist() == pytest.approx([math.log(0.2) + n * math.log(0.8) for n in range(6)])


def test_a_symbol_that_leads_back_to_itself_is_summed_any_number_of_times():
    # S → T → S takes a tenth of the way round each time: 0.4 (1 + 0.1 + 0.01 + …) for b alone.
    assert CYCLE.log_prob([CYCLE.ids("b")]).exp().item() == pytest.approx(0.4 / 0.9)
    with pytest.raises(ValueError, match="a symbol leads back to itself alone, so strings have derivations without"):
        CYCLE.n_derivations([CYCLE.ids("b")])


def test_a_string_less_probable_than_the_smallest_number_keeps_its_logarithm():
    grammar = Grammar.from_table("S", {"S": {"a S b": 1e-4, "a b": 1 - 1e-4}})
    string = grammar.ids("a " * 90 + "b " * 90)
    expected = 89 * math.log(1e-4) + math.log(1 - 1e-4)
    assert expected < -800
    assert grammar.log_prob([string]).item() == pytest.approx(expected, rel=1e-12)


def test_strings_of_any_lengths_come_back_in_their_order():
    some = [ANBN.ids(text) for text in ("a a b b", "a b", "a b b", "a a a b b b", "a a b b")]
    assert ANBN.log_prob(some).exp().tolist() == pytest.approx([0.21, 0.7, 0.0, 0.063, 0.21])
    assert ANBN.text(some[0]) == "a a b b"


def test_the_grammar_of_sums_has_catalan_many_derivations():
    counts = SUMS.n_derivations([SUMS.ids("x" + " + x" * n) for n in range(8)])
    assert counts.tolist() == [1, 1, 2, 5, 14, 42, 132, 429]


def test_length_and_entropy_of_a_grammar_of_one_choice_are_those_of_a_geometric_law():
    assert ANBN.mean_length() == pytest.approx(2 / 0.7)
    assert ANBN.entropy() == pytest.approx(-(0.3 * math.log(0.3) + 0.7 * math.log(0.7)) / 0.7)


def test_lengths_and_entropies_of_finitely_many_strings_are_their_sums():
    every = derivations(FINITE, 9)
    by_string = Counter()
    for string, p in every:
        by_string[string] += p
    assert sum(by_string.values()) == pytest.approx(1)
    assert FINITE.mean_length() == pytest.approx(sum(p * len(string) for string, p in every))
    assert FINITE.derivation_entropy() == pytest.approx(-sum(p * math.log(p) for _, p in every))
    of_strings = -sum(p * math.log(p) for p in by_string.values())
    assert of_strings < FINITE.derivation_entropy() - 0.01, "a b has two derivations"
    with pytest.raises(
        ValueError, match=r"the entropy of a string is known where .*derivation_entropy\(\) is an upper"
    ):
        FINITE.entropy()


def test_a_grammar_read_without_doubt_has_no_conflict_and_an_ambiguous_one_says_where():
    assert ANBN.conflict is None
    assert str(SUMS.conflict) == (
        "after 'E + E' and before '+' a reader may take E → E + E as read or E → E + E as begun"
    )
    two_ways = Grammar.from_table("S", {"S": {"A": 0.5, "B": 0.5}, "A": {"a c": 1.0}, "B": {"a c": 1.0}})
    assert (
        str(two_ways.conflict)
        == "after 'a c' and before 'the end' a reader may take A → a c as read or B → a c as read"
    )


def test_one_terminal_in_two_categories_is_no_category():
    grammar = Grammar.from_table(
        "S", {"S": {"A x": 0.5, "B x": 0.5}, "A": {"a": 0.5, "c": 0.5}, "B": {"a": 0.1, "b": 0.9}}
    )
    assert grammar.conflict is not None
    assert grammar.conflict.before == "a"
    assert grammar.n_derivations([grammar.ids("a x"), grammar.ids("c x")]).tolist() == [2, 1]


def test_two_symbols_ahead_are_not_looked_at_though_the_grammar_is_unambiguous():
    grammar = Grammar.from_table("S", {"S": {"A x y": 0.5, "B x z": 0.5}, "A": {"a": 1.0}, "B": {"a": 1.0}})
    assert grammar.conflict is not None
    assert grammar.n_derivations([grammar.ids("a x y"), grammar.ids("a x z")]).tolist() == [1, 1]


def test_samples_are_as_frequent_as_they_are_probable():
    n = 20_000
    counts = Counter(FINITE.sample(n, torch.Generator().manual_seed(3)))
    p = FINITE.log_prob(list(counts)).exp().tolist()
    assert sum(p) == pytest.approx(1), "every string was drawn"
    for count, share in zip(counts.values(), p, strict=True):
        assert abs(count - n * share) < 5 * math.sqrt(n * share)


def test_the_same_seed_gives_the_same_strings_and_more_of_them_begin_alike():
    few_drawn, many = (SUMS.sample(n, torch.Generator().manual_seed(5)) for n in (3, 400))
    assert many[:3] == few_drawn
    assert len(set(many)) > 10


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"S": {"a": 0.5, "b": 0.4}}, "the rules of 'S' have probabilities that sum to 0.9; they must sum to 1"),
        ({"S": {"a": 1.5, "b": -0.5}}, "the rule S → a has probability 1.5; it must be over 0, and at most 1"),
        ({"S": {"a": 1.0, "b": 0.0}}, "the rule S → b has probability 0.0; it must be over 0"),
        ({"S": {"a": 0.5, "": 0.5}}, "the rule 'S' → nothing is refused"),
        ({"S": {"a b": 0.5, "a  b": 0.5}}, "the rule S → a b is given twice; add the probabilities up"),
        ({"T": {"a": 1.0}}, "no rule rewrites the start symbol 'S'"),
        ({"S": {"a": 0.5, "T b": 0.5}, "T": {"T c": 1.0}}, "no derivation from 'T' ever ends"),
        ({"S": {"a": 1.0}, "T": {"c": 1.0}}, "nothing derived from 'S' holds 'T'; leave out its rules"),
        ({"S": {"S S": 0.6, "a": 0.4}}, "expectation matrix has spectral radius 1.2, so its strings are infin"),
        ({"S": {"S S": 0.5, "a": 0.5}}, "expectation matrix has spectral radius 1, so"),
    ],
)  # fmt: skip
def test_rules_that_make_no_language_are_refused(table, message):
    with pytest.raises(ValueError, match=message):
        Grammar.from_table("S", table)


def test_what_is_no_terminal_is_refused():
    with pytest.raises(ValueError, match="'d' is none of the grammar's 2 terminals"):
        ANBN.ids("a d b")
    for ask in (ANBN.log_prob, ANBN.log_prefix, ANBN.n_derivations):
        with pytest.raises(ValueError, match="string 1 holds the index 2, but there are 2 terminals"):
            ask([(0, 1), (0, 2, 1)])
    with pytest.raises(ValueError, match="no string begins with string 2, 'b a'"):
        ANBN.next_terminals([(), ANBN.ids("a a"), ANBN.ids("b a")])
    with pytest.raises(ValueError, match="0 strings were asked for; give 1 or more"):
        ANBN.sample(0, torch.Generator())


def test_what_no_chain_of_rules_leads_to_has_no_probability_to_the_last_digit():
    n, generator = 6, torch.Generator().manual_seed(4)
    steps = torch.rand(n, n, generator=generator) * (torch.rand(n, n, generator=generator) < 0.35)
    steps = steps / steps.sum(1, keepdim=True).clamp_min(1e-9) * 0.9
    table = {"S": {f"N{i} m{i}": 1 / n for i in range(n)}}
    for i in range(n):
        table[f"N{i}"] = {f"N{j}": p for j, p in enumerate(steps[i].tolist()) if p}
        table[f"N{i}"][f"t{i}"] = 1 - sum(table[f"N{i}"].values())
    grammar = Grammar.from_table("S", table)
    leads = torch.linalg.matrix_power((steps > 0).double() + torch.eye(n, dtype=torch.float64), n) > 0
    found = grammar.log_prob([grammar.ids(f"t{j} m{i}") for i in range(n) for j in range(n)]).isfinite()
    assert torch.equal(found.reshape(n, n), leads)
    assert not bool(leads.all())
