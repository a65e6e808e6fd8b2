"""The beginnings of a stream of strings as a hidden Markov chain: its states are what a writer still has to write.

Rewriting always the leftmost symbol, a writer who has put down k terminals keeps a stack of symbols; the next terminal
depends on the stack alone. Of a stack only as many symbols matter as there are terminals to come, for each makes one or
more; so the chain of the first n terminals is finite (our own arrangement of a pushdown automaton).
"""

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.truth.grammar_normal_form import NormalForm
from workbench.truth.strings import MOST_STRINGS

_Stack = tuple[int, ...]  # the leftmost symbol first


def stack_cores(form: NormalForm, emitted: Float[Tensor, "m c"], n_sites: int) -> tuple[Float[Tensor, "_ _ _"], ...]:
    """The chain of the first terminals of strings in a row, from the first of a string: bond values are stacks.

    `emitted` is the weight of each class of terminals under each symbol.
    Raises ValueError for a left-recursive grammar, whose stacks have no end, and where a core exceeds 2^24 numbers.
    """
    writer = _Writer(form)
    stacks: dict[_Stack, int] = {(form.start,): 0}
    cores = []
    for left in reversed(range(n_sites)):  # terminals to come after this one
        moves = [(row, move) for stack, row in stacks.items() for move in writer.moves(stack, left)]
        following: dict[_Stack, int] = {}
        for _, (_, after, _) in moves:
            following.setdefault(after, len(following))
        size = len(stacks) * emitted.shape[1] * len(following)
        if size > MOST_STRINGS:
            raise ValueError(
                f"site {n_sites - 1 - left} of {n_sites} joins {len(stacks):,} and {len(following):,} stacks of "
                f"unfinished rules, a core of {size:.3g} numbers, more than 2^24; give fewer sites."
            )
        core = torch.zeros(len(stacks), len(following), emitted.shape[1], dtype=torch.float64)
        for row, (symbol, after, weight) in moves:
            core[row, following[after]] += weight * emitted[symbol]
        cores.append(core.transpose(1, 2))
        stacks = following
    return tuple(cores)


class _Writer:
    """Leftmost rewriting under a normal form, each symbol's ways to its first terminal found once."""

    def __init__(self, form: NormalForm) -> None:
        self._start = form.start
        self._writes = (form.lexical > 0).any(1).tolist()
        self._pairs: dict[int, list[tuple[int, int, float]]] = {}
        rows = zip(form.parents.tolist(), form.lefts.tolist(), form.rights.tolist(), form.weights.tolist(), strict=True)
        for parent, left, right, weight in rows:
            self._pairs.setdefault(parent, []).append((left, right, weight))
        self._ways: dict[int, dict[tuple[int, _Stack], float]] = {}

    def moves(self, stack: _Stack, left: int) -> Iterator[tuple[int, _Stack, float]]:
        """The symbol that a terminal stands for, the stack after it, and the weight of all ways there."""
        for (symbol, pushed), weight in self._first(stack[0], ()).items():
            yield symbol, ((*pushed, *stack[1:]) or (self._start,))[:left], weight

    def _first(self, symbol: int, above: _Stack) -> dict[tuple[int, _Stack], float]:
        """By what writes the first terminal of `symbol`, and what is then still to be written of it."""
        if symbol in above:
            raise ValueError(
                "the grammar is left-recursive, so a writer's stacks have no end; begin its rules otherwise."
            )
        if symbol not in self._ways:
            ways: dict[tuple[int, _Stack], float] = {(symbol, ()): 1.0} if self._writes[symbol] else {}
            for left, right, weight in self._pairs.get(symbol, []):
                for (writes, pushed), inner in self._first(left, (*above, symbol)).items():
                    way = writes, (*pushed, right)
                    ways[way] = ways.get(way, 0.0) + weight * inner
            self._ways[symbol] = ways
        return self._ways[symbol]
