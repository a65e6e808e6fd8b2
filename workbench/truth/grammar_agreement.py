"""Which word decides the number of the next verb: places in sentences of a known language where exactly one noun does.

What is asked of an explanation of a language model has a planted answer here: a noun whose number, changed alone,
changes the number of the verb that must come. It is found in the exact conditionals, not in the shape of the sentence.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from workbench.truth.grammar import Grammar
from workbench.truth.grammar_chart import batches, read
from workbench.truth.grammar_sampling import strings

# Of the workbench's English: the categories of words that stand in two numbers.
NOUNS = ("being-word", "goods-word")
VERBS = ("verb", "being-verb", "goods-verb", "giving-verb", "saying-verb", "event-verb", "copula")

_AT_ONCE = 512  # sentences drawn together
_MOST_EMPTY = 8192  # sentences without a case, after which there is none
_STEP = 4  # sentences are read together with others that are as long, up to a multiple of this


@dataclass(frozen=True, eq=False)
class NumberedWords:
    """Which terminals are singular and plural nouns and verbs (rows: singular, plural), and each one's other form.

    `other` is the terminal itself where it has no other number.
    """

    nouns: Bool[Tensor, "2 v"]
    verbs: Bool[Tensor, "2 v"]
    other: Int[Tensor, " v"]

    @classmethod
    def of(cls, grammar: Grammar, nouns: Sequence[str] = NOUNS, verbs: Sequence[str] = VERBS) -> "NumberedWords":
        """Of a grammar that writes the words of a category `noun` by `noun.sg` and `noun.pl`, in the same order.

        Raises ValueError for a category without both, or with more words in one than in the other.
        """
        place = {terminal: i for i, terminal in enumerate(grammar.alphabet)}
        other = torch.arange(len(place))
        masks = torch.zeros(2, 2, len(place), dtype=torch.bool)
        for kind, names in enumerate((nouns, verbs)):
            for name in names:
                forms = [
                    [place[rule.right[0]] for rule in grammar.rules if rule.left == f"{name}.{number}"]
                    for number in ("sg", "pl")
                ]
                if not forms[0] or len(forms[0]) != len(forms[1]):
                    raise ValueError(
                        f"the grammar has {len(forms[0])} words {name}.sg and {len(forms[1])} words {name}.pl; a "
                        "category of two numbers has as many of each, one or more."
                    )
                singular, plural = map(torch.tensor, forms)
                other[singular], other[plural] = plural, singular
                masks[kind, 0, singular], masks[kind, 1, plural] = True, True
        return cls(masks[0], masks[1], other)


@dataclass(frozen=True)
class AgreementCase:
    """The beginning of a sentence that a verb follows, and the one noun before it that decides the verb's number.

    `verbs` are the exact probabilities that a singular and that a plural verb comes next. With the noun at `controller`
    in the other number, and nothing else changed, the beginning is `swapped`, as possible as before, and they are
    `swapped_verbs`: the odds between the numbers are reversed. No other noun alone does that. `attractors` are the
    nouns of the other number that stand between.
    """

    prefix: tuple[int, ...]
    controller: int
    attractors: tuple[int, ...]
    nouns: tuple[int, ...]
    verbs: tuple[float, float]
    swapped: tuple[int, ...]
    swapped_verbs: tuple[float, float]

    @property
    def plural(self) -> bool:
        """Whether the verb that must come is a plural one."""
        return self.verbs[1] > self.verbs[0]

    @property
    def distance(self) -> int:
        """From the controlling word to the verb."""
        return len(self.prefix) - self.controller


def agreement_cases(
    grammar: Grammar,
    words: NumberedWords,
    n: int,
    generator: torch.Generator,
    across: bool = True,
    longest: int = 16,
) -> tuple[AgreementCase, ...]:
    """So many cases from sentences of the grammar, at most one a sentence; each across an attractor, or across none.

    A verb that several words decide, as where one of the same subject went before, makes no case, nor does one with
    more than `longest` words before it. Each case is exact; which ones come is by the grammar's own probabilities.
    Cost: a chart for each sentence that may hold one, and for each noun in it.
    Raises ValueError for less than one case, and if thousands of sentences hold none.
    """
    if n < 1:
        raise ValueError(f"{n} cases were asked for; give 1 or more.")
    found: list[AgreementCase] = []
    sentences = strings(grammar.start, grammar.rules, generator)
    n_read = 0
    while len(found) < n:
        chosen = list(islice(sentences, _AT_ONCE))
        promising = [begin for sentence in chosen if (begin := _promising(words, sentence, across, longest))]
        for cases in _all_cases(grammar, words, promising):
            found += [case for case in cases if bool(case.attractors) == across][:1]
        n_read += len(chosen)
        if not found and n_read >= _MOST_EMPTY:
            raise ValueError(
                f"in {n_read:,} sentences no verb with {longest} words or fewer before it agrees with one noun across "
                f"{'one' if across else 'none'} of the other number; give longest more, or another grammar."
            )
    return tuple(found[:n])


def cases_of(grammar: Grammar, words: NumberedWords, sentence: Sequence[int]) -> list[AgreementCase]:
    """Every case in one sentence, from the first verb to the last. Raises ValueError for what is no sentence."""
    (log_p,) = grammar.log_prob([sentence])
    if not bool(log_p.isfinite()):
        raise ValueError(f"{grammar.text(sentence)!r} is no sentence of the grammar.")
    return _all_cases(grammar, words, [sentence])[0]


def _promising(words: NumberedWords, sentence: Sequence[int], across: bool, longest: int) -> Sequence[int]:
    """The beginning of a sentence up to its last verb that may make a case; nothing if there is none."""
    begin = torch.tensor(sentence[: longest + 1])
    nouns, verbs = words.nouns[:, begin], words.verbs[:, begin]
    agreeing = nouns.cummax(1).values  # of which numbers a noun went before
    if across:
        agreeing = (nouns.flip(0) & agreeing).cummax(1).values  # and one of the other number after it
    places = (verbs & agreeing).any(0).nonzero().flatten().tolist()
    return sentence[: places[-1] + 1] if places else ()


def _all_cases(grammar: Grammar, words: NumberedWords, sentences: Sequence[Sequence[int]]) -> list[list[AgreementCase]]:
    """The cases of each sentence, or beginning of one."""
    swaps = [_swaps(words, sentence) for sentence in sentences]
    masses = iter(_verb_masses(grammar, words, [row for rows in swaps for row in rows]))
    return [
        list(_cases(words, sentence, list(islice(masses, len(rows)))))
        for sentence, rows in zip(sentences, swaps, strict=True)
    ]


def _nouns(words: NumberedWords, sentence: Sequence[int]) -> list[int]:
    return words.nouns.any(0)[torch.tensor(sentence)].nonzero().flatten().tolist()


def _swaps(words: NumberedWords, sentence: Sequence[int]) -> list[tuple[int, ...]]:
    """The sentence as it is, and with the number of each noun in turn changed."""
    return [tuple(sentence), *(_swapped(words, sentence, noun) for noun in _nouns(words, sentence))]


def _swapped(words: NumberedWords, sentence: Sequence[int], noun: int) -> tuple[int, ...]:
    return (*sentence[:noun], int(words.other[sentence[noun]]), *sentence[noun + 1 :])


def _verb_masses(
    grammar: Grammar, words: NumberedWords, sentences: Sequence[Sequence[int]]
) -> list[Float[Tensor, "_ 2"]]:
    """The probabilities of a singular and a plural verb at each place of each sentence, nan after what cannot be."""
    form = grammar.normal_form
    said = form.lexical @ words.verbs.T.double()  # (m, 2)
    result: list[Tensor] = [torch.empty(0)] * len(sentences)
    # The last word is not read. What comes later alters nothing before, so a few words more make fewer lengths.
    before = [(*sentence[:-1], *(sentence[0],) * (-(len(sentence) - 1) % _STEP)) for sentence in sentences]
    for places, rows in batches(form, before):
        reading = read(form, rows)
        gone = ~reading.log_conditional.isfinite()
        masses = (reading.pending @ said).masked_fill(torch.nn.functional.pad(gone, (1, 0))[..., None], torch.nan)
        for place, own in zip(places, masses, strict=True):
            result[place] = own[: len(sentences[place])]
    return result


def _cases(
    words: NumberedWords, sentence: Sequence[int], masses: Sequence[Float[Tensor, "t 2"]]
) -> Iterator[AgreementCase]:
    """The cases of a sentence whose masses, and those of its swaps, are known."""
    nouns, is_verb = _nouns(words, sentence), words.verbs.any(0)[torch.tensor(sentence)]
    own, swapped = masses[0].tolist(), [mass.tolist() for mass in masses[1:]]
    for place in is_verb.nonzero().flatten().tolist():
        singular, plural = own[place]
        before = [noun for noun in nouns if noun < place]
        changed = [swapped[k][place] for k in range(len(before))]
        deciding = [k for k, (sg, pl) in enumerate(changed) if (sg - pl) * (singular - plural) < 0]
        if len(deciding) != 1:
            continue
        (k,) = deciding
        number = words.nouns[1, sentence[before[k]]]
        between = tuple(noun for noun in before[k + 1 :] if words.nouns[1, sentence[noun]] != number)
        prefix = tuple(sentence[:place])
        yield AgreementCase(
            prefix, before[k], between, tuple(before), (singular, plural),
            _swapped(words, prefix, before[k]), tuple(changed[k]),
        )  # fmt: skip
