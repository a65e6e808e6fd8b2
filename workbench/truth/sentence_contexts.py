"""Where in a sentence of the known English a word stands: the nearest noun before it, and the verbs still owed."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from workbench.truth.grammar import Grammar
from workbench.truth.grammar_agreement import NOUNS, VERBS
from workbench.truth.grammar_english import STOP

SINGULAR, PLURAL = 1, 2

_NUMBERS = {"name": SINGULAR, "place-word": SINGULAR, "pronoun.sg": SINGULAR, "pronoun.pl": PLURAL} | {
    f"{noun}.{ending}": number for noun in NOUNS for ending, number in (("sg", SINGULAR), ("pl", PLURAL))
}
_CLAUSE_MARKS = ("that", ",")  # after which a subject comes, or a verb
_OBJECT_MARKS = ("of", "preposition")  # after which no subject comes


@dataclass(frozen=True, eq=False)
class Contexts:
    """Of every site of streams, what the words of its sentence before it tell.

    `nearest` is the number of the nearest noun, name or subject pronoun: 1 singular, 2 plural, 0 where there is none.
    `pair` says that it is the second of two that are joined to one subject. `owed` counts the clauses begun, relative
    ones too, less the verbs: over 1 where one is open within another whose verb is still to come.
    """

    nearest: Int[Tensor, "n sites"]
    pair: Bool[Tensor, "n sites"]
    owed: Int[Tensor, "n sites"]

    @classmethod
    def of(cls, grammar: Grammar, x: Int[Tensor, "n sites"]) -> "Contexts":
        """Of streams of sentences of the English, each from the first word of one on. Cost: a step a word."""
        category = categories(grammar)
        kinds = [category[word] for word in grammar.alphabet]
        rows = [[state.seen for state in _states([kinds[token] for token in tokens])] for tokens in x.tolist()]
        nearest, pair, owed = torch.tensor(rows).reshape(*x.shape, 3).unbind(-1)
        return cls(nearest, pair.bool(), owed)


def categories(grammar: Grammar) -> Mapping[str, str]:
    """The category of each terminal: the symbol whose rules are all single terminals, or else the terminal itself."""
    single = {rule.left: True for rule in grammar.rules}
    known = set(grammar.nonterminals)
    for rule in grammar.rules:
        single[rule.left] &= len(rule.right) == 1 and rule.right[0] not in known
    found = {terminal: terminal for terminal in grammar.alphabet}
    return found | {rule.right[0]: rule.left for rule in grammar.rules if single[rule.left]}


@dataclass(frozen=True)
class _State:
    """What is known between two words of a sentence."""

    before: str = STOP
    nearest: int = 0
    pair: bool = False
    owed: int = 1
    opened: bool = False  # by a word that a comma parts from the first clause
    subject: bool = True  # whether a noun now would be a subject, or a part of one
    joined: bool = False  # whether it would be the second of two

    @property
    def seen(self) -> tuple[int, int, int]:
        return self.nearest, int(self.pair), self.owed

    def after(self, kind: str) -> "_State":
        """After a word of this category."""
        if kind == STOP:
            return _State()
        now = replace(self, before=kind)
        if kind in _NUMBERS:
            return replace(now, nearest=_NUMBERS[kind], pair=self.joined and self.subject, joined=False)
        if kind.split(".")[0] in VERBS:
            return replace(now, owed=self.owed - 1, subject=False)
        if kind in _CLAUSE_MARKS:
            return replace(now, owed=self.owed + (kind == "that" or not self.opened), subject=True)
        if kind in _OBJECT_MARKS:
            return replace(now, subject=False)
        if kind == "and":
            return replace(now, joined=self.before != ",")
        return replace(now, opened=self.opened or kind == "opener")


def _states(kinds: Sequence[str]) -> Iterator[_State]:
    """Before each word."""
    state = _State()
    for kind in kinds:
        yield state
        state = state.after(kind)
