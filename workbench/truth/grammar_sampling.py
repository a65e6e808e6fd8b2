"""Strings drawn from a grammar, one after the other."""

from bisect import bisect
from collections.abc import Iterator, Sequence
from itertools import accumulate

import torch

from workbench.truth.grammar_rules import Rule, left_alone, rewritten

_DRAWS = 1024  # random numbers drawn at a time


def strings(start: str, rules: Sequence[Rule], generator: torch.Generator) -> Iterator[tuple[int, ...]]:
    """Independent strings without end, as indices of terminals, from a random number for each symbol rewritten.

    What a string is follows from the generator's state and from how many came before it.
    """
    terminals = {terminal: i for i, terminal in enumerate(left_alone(rules))}
    choices = {}
    for symbol in rewritten(rules):
        own = [rule for rule in rules if rule.left == symbol]
        bounds = list(accumulate(rule.probability for rule in own))[:-1]
        choices[symbol] = bounds, [rule.right[::-1] for rule in own]
    draws = _draws(generator)
    while True:
        waiting, string = [start], []
        while waiting:
            symbol = waiting.pop()
            if symbol in terminals:
                string.append(terminals[symbol])
            else:
                bounds, sides = choices[symbol]
                waiting.extend(sides[bisect(bounds, next(draws))])
        yield tuple(string)


def _draws(generator: torch.Generator) -> Iterator[float]:
    while True:
        yield from torch.rand(_DRAWS, generator=generator, dtype=torch.float64).tolist()
