"""A small English whose grammar is known: verbs agree across relative clauses, and no sentence has two derivations."""

from collections.abc import Sequence
from functools import cache

from workbench.truth.grammar import Grammar

STOP = "."

# Phrases and how probable each of their forms is. A rule with # stands for two: once sg, once pl, throughout.
_PHRASES = {
    "sentence": {
        f"clause {STOP}": 0.64,
        f"opener , clause {STOP}": 0.10,
        f"clause , and clause {STOP}": 0.06,
        f"clause , conjunction clause {STOP}": 0.10,
        f"subordinator clause , clause {STOP}": 0.10,
    },
    "clause": {
        "subject.sg vp.sg": 0.48,
        "subject.pl vp.pl": 0.34,
        "goods-subject.sg event.sg": 0.10,
        "goods-subject.pl event.pl": 0.08,
    },
    # Who does something. What follows a noun ends its phrase: an of, or a relative clause, but never both.
    "subject.sg": {
        "pronoun.sg": 0.16, "name": 0.16, "being.sg": 0.46, "being.sg owner": 0.06, "being.sg relative.sg": 0.16,
    },
    "subject.pl": {
        "pronoun.pl": 0.20, "pair": 0.12, "being.pl": 0.46, "being.pl owner": 0.06, "being.pl relative.pl": 0.16,
    },
    "being.sg": {"determiner being-noun.sg": 0.66, "determiner.sg being-noun.sg": 0.34},
    "being.pl": {"determiner being-noun.pl": 0.66, "determiner.pl being-noun.pl": 0.34},
    "being-noun.#": {"being-word.#": 0.72, "adjective being-noun.#": 0.16, "being-adjective being-noun.#": 0.12},
    "pair": {"member and member": 1.0},
    "member": {"name": 0.4, "being.sg": 0.4, "being.pl": 0.2},
    "owner": {"of someone": 1.0},
    "someone": {
        "name": 0.35, "being.sg": 0.35, "being.pl": 0.14, "being.sg relative.sg": 0.10, "being.pl relative.pl": 0.06,
    },
    "relative.#": {
        "that vp.#": 0.55,
        "that subject.sg being-verb.sg": 0.19,
        "that subject.pl being-verb.pl": 0.13,
        "that subject.sg being-verb.sg place": 0.08,
        "that subject.pl being-verb.pl place": 0.05,
    },
    # What is done. Where a place ends the phrase, an object before it is plain: nothing but the verb could have it.
    "vp.#": {"predicate.#": 0.85, "adverb predicate.#": 0.15},
    "predicate.#": {
        "verb.#": 0.14,
        "verb.# place": 0.16,
        "being-verb.# object": 0.20,
        "being-verb.# plain-object place": 0.08,
        "goods-verb.# goods-object": 0.18,
        "goods-verb.# plain-goods place": 0.06,
        "giving-verb.# plain-object goods-object": 0.05,
        "saying-verb.# that clause": 0.07,
        "copula.# being-adjective": 0.06,
    },
    "object": {
        "plain-object": 0.70, "being.sg owner": 0.06, "being.pl owner": 0.04,
        "being.sg relative.sg": 0.12, "being.pl relative.pl": 0.08,
    },
    "plain-object": {"object-pronoun": 0.25, "name": 0.20, "being.sg": 0.33, "being.pl": 0.16, "pair": 0.06},
    # Things and places.
    "goods-subject.#": {"goods.#": 0.76, "goods.# owner": 0.08, "goods.# goods-relative.#": 0.16},
    "goods-object": {
        "plain-goods": 0.72, "goods.sg owner": 0.04, "goods.pl owner": 0.02,
        "goods.sg goods-relative.sg": 0.13, "goods.pl goods-relative.pl": 0.09,
    },
    "plain-goods": {"it": 0.12, "goods.sg": 0.56, "goods.pl": 0.32},
    "goods.sg": {"determiner goods-noun.sg": 0.66, "determiner.sg goods-noun.sg": 0.34},
    "goods.pl": {"determiner goods-noun.pl": 0.66, "determiner.pl goods-noun.pl": 0.34},
    "goods-noun.#": {"goods-word.#": 0.72, "adjective goods-noun.#": 0.12, "goods-adjective goods-noun.#": 0.16},
    "goods-relative.#": {
        "that event.#": 0.30, "that subject.sg goods-verb.sg": 0.40, "that subject.pl goods-verb.pl": 0.30,
    },
    "event.#": {"event-verb.#": 0.40, "event-verb.# place": 0.40, "copula.# goods-adjective": 0.20},
    "place": {"preposition spot": 1.0},
    "spot": {"determiner place-noun": 0.70, "determiner.sg place-noun": 0.12, "determiner place-noun owner": 0.18},
    "place-noun": {"place-word": 0.80, "adjective place-noun": 0.20},
}  # fmt: skip

# Words by category, each in one only. Within a category the k-th word is 1/k times as probable as the first (Zipf).
_WORDS = {
    "opener": "today now sometimes tonight suddenly perhaps later finally",
    "conjunction": "but so or yet",
    "subordinator": "when if because while although before",
    "pronoun.sg": "he she",
    "pronoun.pl": "they we you",
    "object-pronoun": "him her me them us",
    "name": "Anna Tom Mary John Lucy Peter Clara Paul Rosa Max Emma",
    "determiner": "the my his our your their",
    "determiner.sg": "a this every one another",
    "determiner.pl": "these two some many three those few",
    "preposition": "in near behind beside outside",
    "adverb": "often always never still also really rarely quietly",
    "adjective": "little big good new beautiful small strange dark pretty famous",
    "being-adjective": "young happy tired kind hungry brave clever poor lazy rich sick lonely proud friendly",
    "goods-adjective": "red white heavy blue black green clean broken wooden dirty round cheap yellow golden",
    "place-word": "house garden kitchen school street shop park forest village river town field station church market "
                  "library hospital museum castle",
    "copula.sg": "is",
    "copula.pl": "are",
}  # fmt: skip

# Words of two numbers, singular/plural; a plural that only adds an s, and a verb that only loses one, are left out.
_NUMBERED = {
    "being-word": "girl boy dog man/men woman/women child/children cat teacher friend mother father baby/babies doctor "
                  "horse bird brother sister neighbour farmer king queen pupil baker painter singer sailor nurse "
                  "fox/foxes mouse/mice rabbit goat guest driver",
    "goods-word": "book ball cup table letter door chair bag hat box/boxes lamp key bottle coat picture window stone "
                  "basket cake pen knife/knives blanket bicycle candle mirror pot shoe clock newspaper bell",
    "verb": "sleeps runs laughs sings walks smiles waits dances cries/cry works dreams sits lives plays swims",
    "being-verb": "sees loves likes helps follows meets visits calls thanks watches/watch hears teaches/teach greets "
                  "trusts remembers feeds",
    "goods-verb": "has/have takes wants buys holds opens carries/carry uses brings makes finds paints needs sells "
                  "loses hides washes/wash keeps",
    "giving-verb": "gives shows sends offers lends",
    "saying-verb": "says thinks knows believes hopes forgets",
    "event-verb": "falls stands lies breaks hangs disappears moves burns shakes",
}  # fmt: skip


@cache
def english() -> Grammar:
    """The known language of the workbench: 397 English words, in sentences that end in a full stop.

    Subject and verb agree in number, across relative clauses that may hold further ones. Made to be unambiguous
    (`Grammar.conflict` is None), so its entropy is exact. The rules and their probabilities are the workbench's own.
    """
    table = {}
    for phrase, forms in _PHRASES.items():
        for number in ("sg", "pl") if "#" in phrase else ("",):
            table[phrase.replace("#", number)] = {form.replace("#", number): p for form, p in forms.items()}
    for category, words in _WORDS.items():
        table[category] = _zipf(words.split())
    for category, words in _NUMBERED.items():
        both = [_two_forms(word, is_noun=category.endswith("-word")) for word in words.split()]
        table[f"{category}.sg"] = _zipf([singular for singular, _ in both])
        table[f"{category}.pl"] = _zipf([plural for _, plural in both])
    return Grammar.from_table("sentence", table)


def _two_forms(word: str, is_noun: bool) -> tuple[str, str]:
    """The singular and the plural."""
    singular, _, plural = word.partition("/")
    return singular, plural or (f"{singular}s" if is_noun else singular.removesuffix("s"))


def _zipf(words: Sequence[str]) -> dict[str, float]:
    total = sum(1 / k for k in range(1, len(words) + 1))
    return {word: 1 / (k * total) for k, word in enumerate(words, 1)}
