"""A distribution given string by string in one table, and the table of any other source: brute force, at most 2^24."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.born.likelihood import Probable
from workbench.decompose.exact import check_finite
from workbench.decompose.train import TensorTrain
from workbench.truth.amplitudes import MOST_DECOMPOSED, state_train
from workbench.truth.source import Description, Source
from workbench.truth.strings import (
    check_alphabet,
    check_enumerable,
    check_sites,
    check_strings,
    draw_many,
    numbered_strings,
    string_numbers,
    table_entropy,
    table_information,
)

_ROWS = 2**18  # strings at a time
_MISSED = 1e-3  # of a sum of probabilities: a transformer in float32 misses 1e-5


def table_of(source: Source) -> Float[Tensor, "*symbols"]:
    """p of every string of a source, an axis a site, by asking for each.

    Raises ValueError above 2^24 strings. Cost: as many rows of `log_prob`.
    """
    symbols, sites = len(source.alphabet), source.n_sites
    check_enumerable(symbols, sites, "give fewer sites, or ask for the marginal of a few")
    return log_table(source, symbols, sites).exp()


def log_table(model: Probable, n_symbols: int, n_sites: int) -> Float[Tensor, "*symbols"]:
    """ln of what a source or a model gives every string, float64, an axis a site; strings are made in parts, not kept.

    Raises ValueError above 2^24 strings. Cost: as many rows of `log_prob`.
    """
    parts = torch.arange(check_enumerable(n_symbols, n_sites, "give fewer sites")).split(_ROWS)
    logs = [model.log_prob(numbered_strings(numbers, n_sites, n_symbols)).double() for numbers in parts]
    return torch.cat(logs).reshape([n_symbols] * n_sites)


@dataclass(frozen=True, eq=False)
class TableSource:
    """The distribution p = ψ² of a table of `amplitudes`, an axis a site, float64, divided by their norm.

    Signs are free: a state in the basis of its axes. Of probabilities p it is made by their roots: `of_probabilities`.
    """

    amplitudes: Float[Tensor, "*symbols"]
    alphabet: tuple[str, ...]
    description: Description
    table: Float[Tensor, "*symbols"] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        check_alphabet(self.alphabet)
        _check_table(self.amplitudes, len(self.alphabet))
        amplitudes = self.amplitudes / torch.linalg.vector_norm(self.amplitudes)
        object.__setattr__(self, "amplitudes", amplitudes)
        object.__setattr__(self, "table", amplitudes.square())

    @classmethod
    def of_probabilities(
        cls, weights: Float[Tensor, "*symbols"], alphabet: tuple[str, ...], description: Description
    ) -> "TableSource":
        """That of weights of 0 or more, divided by their sum."""
        if weights.numel() and float(weights.min()) < 0:
            raise ValueError(f"the table holds {float(weights.min()):.3g}; probabilities are 0 or more.")
        return cls(weights.sqrt(), alphabet, description)

    @property
    def n_sites(self) -> int:
        """The length of a string."""
        return self.table.ndim

    def sample(self, n: int, generator: torch.Generator) -> Int[Tensor, "n sites"]:
        """So many independent strings. Cost: one search of the summed table each."""
        return numbered_strings(draw_many(self.table.flatten(), n, generator), self.n_sites, len(self.alphabet))

    def log_prob(self, x: Int[Tensor, "n sites"]) -> Float[Tensor, " n"]:
        """ln p of each string, read off the table. Raises ValueError for strings of another length or alphabet."""
        check_strings(x, self.n_sites, self.alphabet)
        return self.table.flatten()[string_numbers(x, len(self.alphabet))].log()

    def entropy(self) -> float:
        """Of a whole string: the sum over the table."""
        return table_entropy(self.table)

    def entropy_rate(self) -> float:
        """Raises ValueError: a table is of one length only."""
        raise ValueError(f"{self.description.name} is of one length only and has no entropy rate; ask entropy().")

    def marginal(self, sites: Sequence[int]) -> Float[Tensor, "*symbols"]:
        """The joint distribution of the symbols at `sites`, an axis a site in the order given: sums of the table."""
        kept = check_sites(sites, self.n_sites)
        gone = [site for site in range(self.n_sites) if site not in kept]
        order = sorted(kept)
        table = self.table.sum(gone) if gone else self.table
        return table.permute([order.index(site) for site in kept])

    def mutual_information(self, i: int, j: int) -> float:
        """Between the symbols at two sites."""
        return table_information(self.marginal((i, j)))

    def mps(self) -> TensorTrain:
        """The amplitudes, at their smallest bonds (see `amplitudes.minimal`). Raises ValueError above 2^20 strings."""
        return self._train

    def bond_dims(self) -> tuple[int, ...]:
        """The ranks of the amplitudes: the bonds of `mps`."""
        return self._train.bonds

    def describe(self) -> Description:
        """What it is and where it comes from."""
        return self.description

    @cached_property
    def _train(self) -> TensorTrain:
        check_enumerable(
            len(self.alphabet), self.n_sites, "a table is decomposed for fewer sites only", MOST_DECOMPOSED
        )
        return state_train(self.amplitudes)


def tabled(source: Source, model: Probable, name: str) -> TableSource:
    """A model of the strings of a source as the table of its probabilities: asked for every string.

    Raises ValueError above 2^24 strings, or if its probabilities do not sum to one within a thousandth.
    """
    table = log_table(model, len(source.alphabet), source.n_sites).exp()
    missed = float(table.sum()) - 1
    if not abs(missed) < _MISSED:
        raise ValueError(
            f"{name} gives the {table.numel()} strings of {source.describe().name} the sum {1 + missed:.4g}, not 1: "
            "give a model of the same sites and symbols, normalised."
        )
    return TableSource.of_probabilities(table, source.alphabet, Description(name, "", "every string asked for"))


def _check_table(table: Tensor, n_symbols: int) -> None:
    if table.ndim == 0 or set(table.shape) != {n_symbols}:
        raise ValueError(
            f"a table over an alphabet of {n_symbols} has an axis of that size a site, not shape {tuple(table.shape)}."
        )
    check_enumerable(n_symbols, table.ndim, "give fewer sites")
    if table.dtype != torch.float64:
        raise ValueError(f"the table is {table.dtype}; known truth is held in float64: convert it by .double().")
    check_finite(table, "table")
    if not bool(table.any()):
        raise ValueError("the table is all zeros: no string has a probability above 0.")
