"""Terminals that may stand in for one another everywhere: all that a string tells of its rules is their class."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.truth.grammar_normal_form import NormalForm

_SAME = 2.0**40  # shares that agree to this many parts are one


@dataclass(frozen=True, eq=False)
class WordClasses:
    """The class of each terminal, its share of the class, and the weight of each class under each symbol.

    Two terminals are of one class if every symbol writes them in the same proportion. Given the classes of a string,
    each terminal is drawn by its share, whatever stands beside it.
    """

    of_terminal: Int[Tensor, " v"]
    share: Float[Tensor, " v"]
    emitted: Float[Tensor, "m c"]

    @classmethod
    def of(cls, form: NormalForm) -> "WordClasses":
        """Those of a normal form."""
        total = form.lexical.sum(0)
        _, of_terminal = torch.unique((form.lexical / total * _SAME).round(), dim=1, return_inverse=True)
        n_classes = int(of_terminal.max()) + 1
        emitted = form.lexical.new_zeros(form.n_symbols, n_classes).index_add_(1, of_terminal, form.lexical)
        return cls(of_terminal, total / emitted.sum(0)[of_terminal], emitted)

    def names(self, alphabet: Sequence[str]) -> tuple[str, ...]:
        """The first terminal of each class."""
        first = dict(zip(reversed(self.of_terminal.tolist()), reversed(alphabet), strict=True))
        return tuple(first[c] for c in range(len(first)))

    def entropies(self) -> Float[Tensor, " c"]:
        """Of a terminal, given its class, in nats."""
        own = torch.special.entr(self.share)
        return own.new_zeros(self.emitted.shape[1]).index_add_(0, self.of_terminal, own)

    def spread(self, table: Float[Tensor, "*classes"]) -> Float[Tensor, "*terminals"]:
        """A joint distribution of classes as one of terminals, axis by axis."""
        for axis in range(table.ndim):
            table = table.movedim(axis, -1)[..., self.of_terminal] * self.share
            table = table.movedim(-1, axis)
        return table
