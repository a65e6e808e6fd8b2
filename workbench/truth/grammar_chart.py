"""Strings read from the left under a grammar, many at once: prefix probabilities and what comes next, exactly."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.truth.grammar_normal_form import NormalForm

_CHART_NUMBERS = 2**24  # of float64 at a time: 128 MiB


@dataclass(frozen=True, eq=False)
class Reading:
    """Strings of equal length, read symbol by symbol: what is known before the first, and after each.

    `log_conditional` is ln p of each symbol given those before it, in nats; -inf from the first impossible one on.
    `pending` is how probable it is that each symbol of the normal form begins where the next terminal stands, which
    counts a symbol once for every depth it begins at; `finished`, that the string ends there. Both given what was read.
    """

    log_conditional: Float[Tensor, "n t"]
    pending: Float[Tensor, "n t_plus_1 m"]
    finished: Float[Tensor, "n t_plus_1"]

    def next_terminals(self, form: NormalForm) -> Float[Tensor, "n t_plus_1 v"]:
        """The probability of every terminal to come next; with `finished` it sums to one, after what is possible."""
        return self.pending @ form.lexical


def read(form: NormalForm, strings: Int[Tensor, "n t"]) -> Reading:
    """The reading of strings of terminals.

    Inside probabilities (Baker 1979) fill the chart column by column, and each column gives the expected number of
    symbols that begin after it: Jelinek & Lafferty's prefix probabilities (1991), kept as the forward probabilities of
    Stolcke (1995). Each column is scaled by the conditional probability of its symbol, so nothing underflows.
    Cost: for r rules of the normal form, n r t³ / 6 products.
    """
    n, t = strings.shape
    chart = torch.zeros(n, t + 1, t + 1, form.n_symbols, dtype=torch.float64)  # from, to, symbol
    pending = torch.zeros(n, t + 1, form.n_symbols, dtype=torch.float64)
    pending[:, 0] = form.left_corners[form.start]
    conditional = torch.zeros(n, t, dtype=torch.float64)
    for end in range(1, t + 1):
        leaves = form.lexical[:, strings[:, end - 1]].T  # (n, m)
        conditional[:, end - 1] = (pending[:, end - 1] * leaves).sum(1)
        scale = conditional[:, end - 1, None]
        chart[:, end - 1, end] = torch.where(scale > 0, leaves / scale, 0.0)
        _fill_column(form, chart, end)
        begun = pending[:, :end, form.parents] * chart[:, :end, end, form.lefts]  # (n, from, r)
        awaited = torch.zeros(n, form.n_symbols, dtype=torch.float64)
        awaited.index_add_(1, form.rights, begun.sum(1) * form.weights)
        pending[:, end] = awaited @ form.left_corners
    return Reading(conditional.log(), pending, chart[:, 0, :, form.start])


def _fill_column(form: NormalForm, chart: Float[Tensor, "n i j m"], end: int) -> None:
    """What may derive the symbols from every place up to `end`, the shortest spans first."""
    for begin in range(end - 2, -1, -1):
        lefts = chart[:, begin, begin + 1 : end, form.lefts]  # (n, split, r)
        rights = chart[:, begin + 1 : end, end, form.rights]
        chart[:, begin, end].index_add_(1, form.parents, (lefts * rights).sum(1) * form.weights)


def counted(form: NormalForm, strings: Int[Tensor, "n t"]) -> Float[Tensor, " n"]:
    """The number of derivations of each string, under a normal form made with `counted` (exact up to 2⁵³)."""
    n, t = strings.shape
    chart = torch.zeros(n, t + 1, t + 1, form.n_symbols, dtype=torch.float64)
    for end in range(1, t + 1):
        chart[:, end - 1, end] = form.lexical[:, strings[:, end - 1]].T
        _fill_column(form, chart, end)
    return chart[:, 0, t, form.start]


def batches(form: NormalForm, strings: Sequence[Sequence[int]]) -> Iterator[tuple[list[int], Int[Tensor, "n t"]]]:
    """Strings of equal length together, as many as a chart of 128 MiB holds: their places, and the strings."""
    by_length: dict[int, list[int]] = {}
    for place, string in enumerate(strings):
        by_length.setdefault(len(string), []).append(place)
    for length, places in sorted(by_length.items()):
        at_once = max(1, _CHART_NUMBERS // ((length + 1) ** 2 * form.n_symbols))
        for start in range(0, len(places), at_once):
            chosen = places[start : start + at_once]
            rows = torch.tensor([list(strings[place]) for place in chosen], dtype=torch.long)
            yield chosen, rows.reshape(len(chosen), length)
