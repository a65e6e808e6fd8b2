"""Chomsky normal form: a grammar's distribution over strings by rules of two nonterminals or one terminal."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.truth.grammar_rules import Rule, left_alone, rewritten

_Part = str | tuple[str, ...]  # a nonterminal, or what stands in a rule and needs a symbol of its own


@dataclass(frozen=True, eq=False)
class NormalForm:
    """Rules of two symbols, side by side, and the weight of every terminal under every symbol.

    A chain of rules with one symbol on the right, of any length, is summed into what it ends in.
    """

    start: int
    parents: Int[Tensor, " r"]
    lefts: Int[Tensor, " r"]
    rights: Int[Tensor, " r"]
    weights: Float[Tensor, " r"]
    lexical: Float[Tensor, "m v"]  # symbol by terminal

    @classmethod
    def of(cls, start: str, rules: Sequence[Rule], counted: bool = False) -> "NormalForm":
        """Of rules that keep to `check_rules`; `counted` gives each the weight one, so that sums count derivations.

        Raises ValueError for counted rules that lead from a symbol back to it alone: its derivations are endless.
        Cost: one matrix inverse over the symbols.
        """
        pairs, chains, words = _split(rules, counted)
        listed = [*rewritten(rules), *(part for pair, _ in pairs for part in pair), *(left for (left, _), _ in words)]
        index = {part: i for i, part in enumerate(dict.fromkeys(listed))}
        single = torch.zeros(len(index), len(index), dtype=torch.float64)
        for (left, right), weight in chains:
            single[index[left], index[right]] += weight
        if counted and bool(torch.linalg.matrix_power(single, len(index)).any()):
            raise ValueError("a symbol leads back to itself alone, so strings have derivations without end.")
        chained = _any_number_of(single)
        column = {terminal: i for i, terminal in enumerate(left_alone(rules))}
        lexical = torch.zeros(len(index), len(column), dtype=torch.float64)
        for (left, terminal), weight in words:
            lexical[index[left], column[terminal]] += weight
        found = [
            (parent, index[first], index[rest], float(chained[parent, index[left]]) * weight)
            for (left, first, rest), weight in pairs
            for parent in chained[:, index[left]].nonzero().flatten().tolist()
        ]
        parents, lefts, rights = torch.tensor([row[:3] for row in found], dtype=torch.long).reshape(-1, 3).unbind(1)
        weights = torch.tensor([row[3] for row in found], dtype=torch.float64)
        return cls(index[start], parents, lefts, rights, weights, chained @ lexical)

    @property
    def n_symbols(self) -> int:
        """Its nonterminals: the grammar's, and one for each terminal and each rest of a longer rule."""
        return len(self.lexical)

    @cached_property
    def left_corners(self) -> Float[Tensor, "m m"]:
        """How often a symbol (row) begins with another (column), at any depth and itself included.

        Left recursion of any depth is summed by one matrix inverse (Jelinek & Lafferty 1991; Stolcke 1995).
        """
        step = torch.zeros(self.n_symbols, self.n_symbols, dtype=torch.float64)
        step.index_put_((self.parents, self.lefts), self.weights, accumulate=True)
        return _any_number_of(step)


def _split(rules: Sequence[Rule], counted: bool) -> tuple[list, list, list]:
    """The rules as (left, first, rest), as (left, right) and as (left, terminal), each with its weight.

    A longer rule is cut after its first symbol again and again, and equal rests share a symbol.
    """
    terminals = set(left_alone(rules))
    pairs, chains, words = [], [], []
    made: dict[tuple[str, ...], None] = {}

    def part(symbols: tuple[str, ...]) -> _Part:
        if len(symbols) == 1 and symbols[0] not in terminals:
            return symbols[0]
        made[symbols] = None
        return symbols

    def add(left: _Part, right: tuple[str, ...], weight: float) -> None:
        first, rest = right[0], right[1:]
        if rest:
            pairs.append(((left, part((first,)), part(rest)), weight))
        else:
            (words if first in terminals else chains).append(((left, first), weight))

    for rule in rules:
        add(rule.left, rule.right, 1.0 if counted else rule.probability)
    done = 0
    while done < len(made):
        symbols = list(made)[done]
        add(symbols, symbols, 1.0)
        done += 1
    return pairs, chains, words


def _any_number_of(step: Float[Tensor, "m m"]) -> Float[Tensor, "m m"]:
    """1 + step + step² + … for a non-negative matrix of spectral radius below one, with its exact zeros."""
    one = torch.eye(len(step), dtype=torch.float64)
    leads = ((step > 0) | one.bool()).double()
    for _ in range(len(step).bit_length()):
        leads = (leads @ leads > 0).double()
    return torch.linalg.inv(one - step).clamp_min(0) * leads
