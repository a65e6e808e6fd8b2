"""Which noun decides a verb's number: by all sentences of a small language, and by the conditionals of the English."""

import math
from itertools import product

import pytest
import torch

from workbench.truth.grammar import Grammar
from workbench.truth.grammar_agreement import AgreementCase, NumberedWords, agreement_cases, cases_of
from workbench.truth.grammar_english import english

# Finite: an of-phrase, a relative clause whose verb agrees with its own subject, one whose verb agrees with the noun
# before it, and a determiner that tells the number beforehand.
SMALL = Grammar.from_table(
    "S",
    {
        "S": {"np.sg go.sg .": 0.4, "np.pl go.pl .": 0.6},
        "np.sg": {"the n.sg": 0.4, "a n.sg": 0.1, "the n.sg of end": 0.2, "the n.sg that see.sg": 0.2, "r.sg": 0.1},
        "np.pl": {"the n.pl": 0.5, "the n.pl of end": 0.2, "the n.pl that see.pl": 0.2, "r.pl": 0.1},
        "r.sg": {"the n.sg that the n.sg see.sg": 0.3, "the n.sg that the n.pl see.pl": 0.7},
        "r.pl": {"the n.pl that the n.sg see.sg": 0.6, "the n.pl that the n.pl see.pl": 0.4},
        "end": {"the n.sg": 0.5, "the n.pl": 0.5},
        "n.sg": {"cat": 0.7, "dog": 0.3},
        "n.pl": {"cats": 0.7, "dogs": 0.3},
        "see.sg": {"sees": 1.0},
        "see.pl": {"see": 1.0},
        "go.sg": {"goes": 0.5, "runs": 0.5},
        "go.pl": {"go": 0.9, "run": 0.1},
    },
)
SMALL_WORDS = NumberedWords.of(SMALL, ("n",), ("see", "go"))
WORDS = NumberedWords.of(english())


def all_sentences(grammar: Grammar) -> dict[tuple[int, ...], float]:
    """Every sentence and its probability, by rewriting: the second way to every conditional."""
    place = {word: i for i, word in enumerate(grammar.alphabet)}

    def strings_of(symbol: str) -> dict[tuple[int, ...], float]:
        if symbol in place:
            return {(place[symbol],): 1.0}
        found: dict[tuple[int, ...], float] = {}
        for rule in grammar.rules:
            if rule.left == symbol:
                for parts in product(*(strings_of(part).items() for part in rule.right)):
                    string = tuple(word for words, _ in parts for word in words)
                    found[string] = found.get(string, 0.0) + rule.probability * math.prod(p for _, p in parts)
        return found

    return strings_of(grammar.start)


def verbs_after(sentences, words, prefix) -> tuple[float, float] | None:
    """How probable a singular and a plural verb are after a prefix, None where no sentence begins so."""
    n = len(prefix)
    after = {sentence: p for sentence, p in sentences.items() if sentence[:n] == tuple(prefix) and len(sentence) > n}
    total = sum(after.values())
    if not total:
        return None
    return tuple(sum(p for s, p in after.items() if bool(words.verbs[k, s[n]])) / total for k in (0, 1))


def test_every_case_is_what_all_sentences_of_a_small_language_say():
    sentences = all_sentences(SMALL)
    assert sum(sentences.values()) == pytest.approx(1)
    n_cases = 0
    for sentence in sentences:
        found = {len(case.prefix): case for case in cases_of(SMALL, SMALL_WORDS, sentence)}
        for place, word in enumerate(sentence):
            if not bool(SMALL_WORDS.verbs[:, word].any()):
                assert place not in found
                continue
            own = verbs_after(sentences, SMALL_WORDS, sentence[:place])
            nouns = [i for i in range(place) if bool(SMALL_WORDS.nouns[:, sentence[i]].any())]
            swapped = {i: (*sentence[:i], int(SMALL_WORDS.other[sentence[i]]), *sentence[i + 1 : place]) for i in nouns}
            after = {i: verbs_after(sentences, SMALL_WORDS, prefix) for i, prefix in swapped.items()}
            flips = [i for i in nouns if after[i] and (after[i][0] > after[i][1]) != (own[0] > own[1])]
            assert (place in found) == (len(flips) == 1)
            if place in found:
                case = found[place]
                n_cases += 1
                assert (case.controller, case.nouns, case.swapped) == (flips[0], tuple(nouns), swapped[flips[0]])
                assert case.verbs == pytest.approx(own)
                assert case.swapped_verbs == pytest.approx(after[flips[0]])
    assert n_cases > 100


def named(sentence: str) -> list[tuple[str, str, list[str]]]:
    """Of each case of an English sentence: the verb, the word that decides it, and the attractors."""
    grammar, ids = english(), english().ids(sentence)
    return [
        (grammar.text([ids[len(case.prefix)]]), grammar.text([ids[case.controller]]),
         [grammar.text([ids[i]]) for i in case.attractors])
        for case in cases_of(grammar, WORDS, ids)
    ]  # fmt: skip


def test_the_noun_that_decides_is_the_subject_and_not_the_nearest():
    assert named("the girl that the boys see sleeps .") == [("see", "boys", []), ("sleeps", "girl", ["boys"])]
    assert named("the doctors of my cat sleep .") == [("sleep", "doctors", ["cat"])]
    assert named("the lamps that his dog wants fall .") == [("wants", "dog", []), ("fall", "lamps", ["dog"])]


def test_a_verb_that_two_nouns_decide_each_alone_is_no_case():
    either = {"n.sg n.sg v.sg .": 0.25, "n.sg n.pl v.pl .": 0.25, "n.pl n.sg v.pl .": 0.25, "n.pl n.pl v.sg .": 0.25}
    words = {"n.sg": {"cat": 1.0}, "n.pl": {"cats": 1.0}, "v.sg": {"goes": 1.0}, "v.pl": {"go": 1.0}}
    grammar = Grammar.from_table("S", {"S": either} | words)
    assert cases_of(grammar, NumberedWords.of(grammar, ("n",), ("v",)), grammar.ids("cat cats go .")) == []


def test_a_verb_that_several_words_decide_is_no_case():
    assert named("the girl that sees the boys sleeps .") == [("sees", "girl", [])], "sees tells the number again"
    assert named("a girl sleeps .") == [], "a determiner of one number tells it beforehand"
    assert named("Anna and the boys sleep .") == [], "two together are plural, whatever each is"


@pytest.mark.parametrize("across", [True, False])
def test_a_swap_reverses_the_odds_by_the_conditionals_of_the_grammar(across):
    cases = agreement_cases(english(), WORDS, 25, torch.Generator().manual_seed(1), across)
    for case in cases:
        assert bool(case.attractors) == across
        assert len(case.prefix) <= 16
        assert case.distance == len(case.prefix) - case.controller
        assert [i for i, (a, b) in enumerate(zip(case.prefix, case.swapped, strict=True)) if a != b] == [
            case.controller
        ]
        before, after = english().next_terminals([case.prefix, case.swapped])[:, :-1] @ WORDS.verbs.T.double()
        assert before.tolist() == pytest.approx(case.verbs, abs=1e-12)
        assert after.tolist() == pytest.approx(case.swapped_verbs, abs=1e-12)
        assert case.plural == bool(before[1] > before[0])
        assert case.plural != bool(after[1] > after[0])
        numbers = WORDS.nouns[1, list(case.prefix)]
        assert all(numbers[i] != numbers[case.controller] for i in case.attractors)


@pytest.mark.parametrize("across", [True, False])
def test_the_cases_drawn_are_the_first_of_each_sentence_drawn(across):
    drawn = SMALL.sample(200, torch.Generator().manual_seed(5))
    each = [[case for case in cases_of(SMALL, SMALL_WORDS, s) if bool(case.attractors) == across] for s in drawn]
    expected = [cases[0] for cases in each if cases]
    found = agreement_cases(SMALL, SMALL_WORDS, len(expected), torch.Generator().manual_seed(5), across)
    assert [case.prefix for case in found] == [case.prefix for case in expected]
    assert [case.controller for case in found] == [case.controller for case in expected]
    assert 10 < len(found) < 190


def test_cases_follow_from_the_generator_and_are_as_short_as_asked_for():
    few, more = (agreement_cases(english(), WORDS, n, torch.Generator().manual_seed(2), longest=9) for n in (3, 7))
    assert more[:3] == few
    assert max(len(case.prefix) for case in more) <= 9
    assert isinstance(few[0], AgreementCase)


def test_each_numbered_word_has_another_form_and_that_has_it_back():
    numbered = (WORDS.nouns | WORDS.verbs).any(0)
    assert torch.equal(WORDS.other[WORDS.other], torch.arange(399))
    assert torch.equal(WORDS.other != torch.arange(399), numbered)
    assert english().alphabet[int(WORDS.other[english().ids("women")[0]])] == "woman"
    assert torch.equal(WORDS.verbs[0][WORDS.other], WORDS.verbs[1])


def test_what_holds_no_case_is_refused():
    plain = Grammar.from_table(
        "S", {"S": {"n.sg v.sg .": 0.5, "n.pl v.pl .": 0.5}, "n.sg": {"cat": 1.0}, "n.pl": {"cats": 1.0},
              "v.sg": {"goes": 1.0}, "v.pl": {"go": 1.0}}
    )  # fmt: skip
    words = NumberedWords.of(plain, ("n",), ("v",))
    generator = torch.Generator().manual_seed(0)
    assert agreement_cases(plain, words, 2, generator, across=False)[0].controller == 0
    with pytest.raises(ValueError, match="in 8,192 sentences no verb with 5 words or fewer before it agrees with one"):
        agreement_cases(plain, words, 2, generator, longest=5)
    with pytest.raises(ValueError, match="0 cases were asked for; give 1 or more"):
        agreement_cases(plain, words, 0, generator)
    with pytest.raises(ValueError, match=r"'the girl sleep .' is no sentence of the grammar"):
        cases_of(english(), WORDS, english().ids("the girl sleep ."))


def test_a_category_without_as_many_words_in_each_number_is_refused():
    with pytest.raises(ValueError, match=r"the grammar has 2 words pronoun.sg and 3 words pronoun.pl; a category of"):
        NumberedWords.of(english(), ("pronoun",))
    with pytest.raises(ValueError, match=r"the grammar has 0 words house.sg and 0 words house.pl"):
        NumberedWords.of(english(), ("house",))
