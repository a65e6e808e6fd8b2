"""The rules of a probabilistic context-free grammar, and what they must keep to."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

ROUNDING = 1e-9  # by which the probabilities of a symbol may miss one


@dataclass(frozen=True)
class Rule:
    """A symbol, what it may be rewritten to, and the probability that it is."""

    left: str
    right: tuple[str, ...]
    probability: float

    def __str__(self) -> str:
        return f"{self.left} → {' '.join(self.right)}"


def rewritten(rules: Sequence[Rule]) -> tuple[str, ...]:
    """The nonterminals, in the order in which rules rewrite them."""
    return tuple(dict.fromkeys(rule.left for rule in rules))


def left_alone(rules: Sequence[Rule]) -> tuple[str, ...]:
    """The terminals, in the order in which they first stand in a rule."""
    known = set(rewritten(rules))
    return tuple(dict.fromkeys(symbol for rule in rules for symbol in rule.right if symbol not in known))


def expectation_matrix(rules: Sequence[Rule]) -> Float[Tensor, "m m"]:
    """How many of each nonterminal (column) one rewriting of each (row) makes on average."""
    index = {symbol: i for i, symbol in enumerate(rewritten(rules))}
    matrix = torch.zeros(len(index), len(index), dtype=torch.float64)
    for rule in rules:
        for symbol in rule.right:
            if symbol in index:
                matrix[index[rule.left], index[symbol]] += rule.probability
    return matrix


def check_rules(start: str, rules: Sequence[Rule]) -> None:
    """Raises ValueError, naming the rule or the symbol, unless the rules are proper, consistent and all of use."""
    _check_each(rules)
    if start not in rewritten(rules):
        raise ValueError(f"no rule rewrites the start symbol {start!r}; give one that does.")
    for symbol in rewritten(rules):
        total = math.fsum(rule.probability for rule in rules if rule.left == symbol)
        if abs(total - 1) > ROUNDING:
            raise ValueError(f"the rules of {symbol!r} have probabilities that sum to {total:.6g}; they must sum to 1.")
    _check_ends(rules)
    _check_reached(start, rules)
    radius = float(torch.linalg.eigvals(expectation_matrix(rules)).abs().max())
    if radius > 1 - ROUNDING:
        raise ValueError(
            f"the grammar's expectation matrix has spectral radius {radius:.6g}, so its strings are infinitely long on "
            "average; below 1 is needed: make the recursive rules rarer."
        )


def _check_each(rules: Sequence[Rule]) -> None:
    seen = set()
    for rule in rules:
        if not rule.right:
            raise ValueError(f"the rule {rule.left!r} → nothing is refused: a rule derives one symbol or more.")
        if not 0 < rule.probability <= 1:
            raise ValueError(f"the rule {rule} has probability {rule.probability}; it must be over 0, and at most 1.")
        if (rule.left, rule.right) in seen:
            raise ValueError(f"the rule {rule} is given twice; add the probabilities up in one.")
        seen.add((rule.left, rule.right))


def _check_ends(rules: Sequence[Rule]) -> None:
    ending = set(left_alone(rules))
    while new := {rule.left for rule in rules if ending.issuperset(rule.right)} - ending:
        ending |= new
    endless = [symbol for symbol in rewritten(rules) if symbol not in ending]
    if endless:
        raise ValueError(f"no derivation from {endless[0]!r} ever ends; give it a rule that leads to terminals.")


def _check_reached(start: str, rules: Sequence[Rule]) -> None:
    reached, found = set(), {start}
    while found:
        reached |= found
        found = {symbol for rule in rules if rule.left in found for symbol in rule.right} - reached
    apart = [symbol for symbol in rewritten(rules) if symbol not in reached]
    if apart:
        raise ValueError(f"nothing derived from {start!r} holds {apart[0]!r}; leave out its rules.")
