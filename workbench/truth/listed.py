"""A distribution given by its support: the strings that can come, each with its weight."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.decompose.train import TensorTrain
from workbench.truth.amplitudes import minimal
from workbench.truth.source import Description
from workbench.truth.strings import (
    check_alphabet,
    check_enumerable,
    check_sites,
    check_strings,
    draw_many,
    string_numbers,
    table_entropy,
    table_information,
)

MOST_LISTED = 2**10  # strings of which a train is made: its bonds start at as many


@dataclass(frozen=True, eq=False)
class ListedSource:
    """Different strings and how probable each is, up to a common factor; all other strings are impossible."""

    strings: Int[Tensor, "listed sites"]
    weights: Float[Tensor, " listed"]
    alphabet: tuple[str, ...]
    description: Description

    def __post_init__(self) -> None:
        check_alphabet(self.alphabet)
        if self.strings.ndim != 2 or 0 in self.strings.shape or len(self.weights) != len(self.strings):
            raise ValueError(
                f"a list has one or more strings, a row each, and a weight for each, not shape "
                f"{tuple(self.strings.shape)} and {self.weights.numel()} weights."
            )
        check_strings(self.strings, self.strings.shape[1], self.alphabet)
        if not bool((self.weights > 0).all()) or not bool(torch.isfinite(self.weights.sum())):
            raise ValueError("the weight of a listed string is finite and above 0; leave out what is impossible.")
        object.__setattr__(self, "strings", self.strings.long().contiguous())
        object.__setattr__(self, "weights", self.weights.double() / self.weights.double().sum())
        repeated = len(self.strings) - len(self._places)
        if repeated:
            raise ValueError(
                f"{repeated} of {len(self.strings)} strings are listed before; list each once, its weights summed."
            )

    @property
    def n_sites(self) -> int:
        """The length of a string."""
        return self.strings.shape[1]

    def sample(self, n: int, generator: torch.Generator) -> Int[Tensor, "n sites"]:
        """So many independent strings."""
        return self.strings[draw_many(self.weights, n, generator)]

    def log_prob(self, x: Int[Tensor, "n sites"]) -> Float[Tensor, " n"]:
        """ln p of each string, looked up; -inf for one that is not listed.

        Raises ValueError for strings of another length or alphabet.
        """
        check_strings(x, self.n_sites, self.alphabet)
        known = torch.cat([self.weights, self.weights.new_zeros(1)]).log()
        return known[torch.tensor([self._places.get(key, -1) for key in _keys(x)], dtype=torch.int64)]

    def entropy(self) -> float:
        """Of a whole string: the sum over the list."""
        return table_entropy(self.weights)

    def entropy_rate(self) -> float:
        """Raises ValueError: a list is of one length only."""
        raise ValueError(f"{self.description.name} is of one length only and has no entropy rate; ask entropy().")

    def marginal(self, sites: Sequence[int]) -> Float[Tensor, "*symbols"]:
        """The joint distribution of the symbols at `sites`, an axis a site in the order given.

        Raises ValueError above 2^24 entries.
        """
        kept, symbols = check_sites(sites, self.n_sites), len(self.alphabet)
        size = check_enumerable(symbols, len(kept), "give fewer sites")
        places = string_numbers(self.strings[:, list(kept)], symbols)
        return self.weights.new_zeros(size).index_add(0, places, self.weights).reshape([symbols] * len(kept))

    def mutual_information(self, i: int, j: int) -> float:
        """Between the symbols at two sites."""
        return table_information(self.marginal((i, j)))

    def mps(self) -> TensorTrain:
        """√p at its smallest bonds (see `amplitudes.minimal`), from the tree of prefixes of the listed strings.

        Raises ValueError above 1,024 strings.
        """
        return self._train

    def bond_dims(self) -> tuple[int, ...]:
        """The ranks of √p: the bonds of `mps`."""
        return self._train.bonds

    def describe(self) -> Description:
        """What it is and where it comes from."""
        return self.description

    @cached_property
    def _places(self) -> dict[bytes, int]:
        return {key: place for place, key in enumerate(_keys(self.strings))}

    @cached_property
    def _train(self) -> TensorTrain:
        if len(self.strings) > MOST_LISTED:
            raise ValueError(
                f"{len(self.strings)} different strings are listed, and a train is made of at most {MOST_LISTED}: "
                "learn one from samples instead."
            )
        cores, symbols = [], len(self.alphabet)
        before = torch.zeros(len(self.strings), dtype=torch.int64)  # the number of each string's prefix
        for k in range(self.n_sites - 1):
            prefixes, after = torch.unique(before * symbols + self.strings[:, k], return_inverse=True)
            core = torch.zeros(int(before.max()) + 1, symbols, len(prefixes), dtype=torch.float64)
            core[before, self.strings[:, k], after] = 1
            cores.append(core)
            before = after
        last = torch.zeros(int(before.max()) + 1, symbols, 1, dtype=torch.float64)
        last[before, self.strings[:, -1], 0] = self.weights.sqrt()
        return minimal(TensorTrain.from_cores([*cores, last]))


def _keys(x: Int[Tensor, "n sites"]) -> list[bytes]:
    """Each string as something to look up."""
    rows = x.long().contiguous().numpy()
    return [row.tobytes() for row in rows]
