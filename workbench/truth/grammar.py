"""A probabilistic context-free grammar: a language whose probabilities and whose entropy are exact."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.truth.grammar_chart import batches, counted, read
from workbench.truth.grammar_conflicts import Conflict, first_conflict
from workbench.truth.grammar_normal_form import NormalForm
from workbench.truth.grammar_rules import Rule, check_rules, expectation_matrix, left_alone, rewritten
from workbench.truth.grammar_sampling import strings


@dataclass(frozen=True)
class Grammar:
    """Rules that rewrite `start` until only terminals are left: the symbols that no rule rewrites.

    Proper (the probabilities of each symbol sum to one), consistent (the mean length is finite), and without symbols
    that no derivation holds. A rule derives one symbol or more, so no string is empty.
    Raises ValueError, naming the rule or the symbol, for rules of which this does not hold.
    """

    start: str
    rules: tuple[Rule, ...]

    def __post_init__(self) -> None:
        check_rules(self.start, self.rules)

    @classmethod
    def from_table(cls, start: str, table: Mapping[str, Mapping[str, float]]) -> "Grammar":
        """Of a table: under each symbol its right sides, their symbols apart by blanks, and how probable each is.

        `Grammar.from_table("S", {"S": {"a S b": 0.3, "a b": 0.7}})` writes some a, and then as many b.
        """
        rules = [
            Rule(left, tuple(right.split()), probability)
            for left, sides in table.items()
            for right, probability in sides.items()
        ]
        return cls(start, tuple(rules))

    @cached_property
    def nonterminals(self) -> tuple[str, ...]:
        """The symbols that rules rewrite, in the order in which they do."""
        return rewritten(self.rules)

    @cached_property
    def alphabet(self) -> tuple[str, ...]:
        """The terminals, in the order in which they first stand in a rule; a string is of their indices."""
        return left_alone(self.rules)

    @cached_property
    def normal_form(self) -> NormalForm:
        """The same distribution over strings by rules of two nonterminals or one terminal."""
        return NormalForm.of(self.start, self.rules)

    @cached_property
    def conflict(self) -> Conflict | None:
        """None if reading from the left with one symbol ahead always tells the rule; else the first place where not.

        None proves that no string has two derivations (Knuth 1965: an LR(1) grammar is unambiguous). A conflict proves
        nothing, for ambiguity is undecidable: `n_derivations` looks at single strings.
        """
        return first_conflict(self.start, self.rules)

    def mean_length(self) -> float:
        """Terminals of a string, on average (exact). Cost: one linear solve over the nonterminals."""
        known = set(self.nonterminals)
        return self._mean_sum([float(sum(symbol not in known for symbol in rule.right)) for rule in self.rules])

    def derivation_entropy(self) -> float:
        """Of a derivation, in nats (exact): what a string's is at most, and is where no string has two derivations.

        The entropy of each rewriting, times how often it happens (Grenander 1976): one linear solve.
        """
        probabilities = torch.tensor([rule.probability for rule in self.rules], dtype=torch.float64)
        return self._mean_sum((-probabilities.log()).tolist())

    def entropy(self) -> float:
        """Of a string, in nats (exact).

        Raises ValueError unless the grammar is proved to be unambiguous (see `conflict`).
        """
        if self.conflict is not None:
            raise ValueError(
                "the entropy of a string is known where each has one derivation, which is not proved here: "
                f"{self.conflict}. derivation_entropy() is an upper bound."
            )
        return self.derivation_entropy()

    def sample(self, n: int, generator: torch.Generator) -> list[tuple[int, ...]]:
        """So many independent strings."""
        if n < 1:
            raise ValueError(f"{n} strings were asked for; give 1 or more.")
        return list(islice(strings(self.start, self.rules, generator), n))

    def log_prob(self, sample: Sequence[Sequence[int]]) -> Float[Tensor, " n"]:
        """ln p of each string, in nats; -inf outside the language. Raises ValueError for indices of no terminal."""
        result = torch.empty(len(sample), dtype=torch.float64)
        for places, rows in batches(self.normal_form, self.checked(sample)):
            reading = read(self.normal_form, rows)
            result[places] = reading.log_conditional.sum(1) + reading.finished[:, -1].log()
        return result

    def log_prefix(self, sample: Sequence[Sequence[int]]) -> Float[Tensor, " n"]:
        """ln of the probability that a string begins so, whatever comes after; 0 for the empty beginning."""
        result = torch.empty(len(sample), dtype=torch.float64)
        for places, rows in batches(self.normal_form, self.checked(sample)):
            result[places] = read(self.normal_form, rows).log_conditional.sum(1)
        return result

    def next_terminals(self, sample: Sequence[Sequence[int]]) -> Float[Tensor, "n v_plus_1"]:
        """How probable each terminal is after each beginning of a string, and in the last column that it ends there.

        Raises ValueError for a beginning that no string has.
        """
        result = torch.empty(len(sample), len(self.alphabet) + 1, dtype=torch.float64)
        for places, rows in batches(self.normal_form, self.checked(sample)):
            reading = read(self.normal_form, rows)
            impossible = (~reading.log_conditional.isfinite()).any(1)
            if bool(impossible.any()):
                place = places[int(impossible.nonzero()[0])]
                raise ValueError(f"no string begins with string {place}, {self.text(sample[place])!r}.")
            result[places, :-1] = reading.next_terminals(self.normal_form)[:, -1]
            result[places, -1] = reading.finished[:, -1]
        return result

    def n_derivations(self, sample: Sequence[Sequence[int]]) -> Float[Tensor, " n"]:
        """How many derivations each string has: over 1 where the grammar is ambiguous, 0 outside the language.

        Raises ValueError if a symbol leads back to itself alone: then they are without end.
        """
        form = NormalForm.of(self.start, self.rules, counted=True)
        result = torch.empty(len(sample), dtype=torch.float64)
        for places, rows in batches(form, self.checked(sample)):
            result[places] = counted(form, rows)
        return result

    def ids(self, string: str | Sequence[str]) -> tuple[int, ...]:
        """Terminals, or a text of them apart by blanks, as indices. Raises ValueError for a symbol that is none."""
        symbols = string.split() if isinstance(string, str) else string
        index = {symbol: i for i, symbol in enumerate(self.alphabet)}
        strange = [symbol for symbol in symbols if symbol not in index]
        if strange:
            raise ValueError(f"{strange[0]!r} is none of the grammar's {len(index)} terminals.")
        return tuple(index[symbol] for symbol in symbols)

    def text(self, string: Sequence[int]) -> str:
        """The terminals of a string, apart by blanks."""
        return " ".join(self.alphabet[i] for i in string)

    def checked(self, sample: Sequence[Sequence[int]]) -> Sequence[Sequence[int]]:
        """The strings as they are. Raises ValueError if one holds an index of no terminal."""
        size = len(self.alphabet)
        for place, string in enumerate(sample):
            if any(not 0 <= i < size for i in string):
                strange = next(i for i in string if not 0 <= i < size)
                raise ValueError(f"string {place} holds the index {strange}, but there are {size} terminals.")
        return sample

    def _mean_sum(self, of_rules: Sequence[float]) -> float:
        """The mean over derivations of the sum of a number over the rules used."""
        index = {symbol: i for i, symbol in enumerate(self.nonterminals)}
        own = torch.zeros(len(index), dtype=torch.float64)
        for rule, number in zip(self.rules, of_rules, strict=True):
            own[index[rule.left]] += rule.probability * number
        one = torch.eye(len(index), dtype=torch.float64)
        return float(torch.linalg.solve(one - expectation_matrix(self.rules), own)[index[self.start]])
