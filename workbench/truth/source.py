"""What every source of strings answers about its own distribution, exactly and in nats."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.decompose.train import TensorTrain


@dataclass(frozen=True)
class Description:
    """What a source is, in words: its name and numbers, where it comes from, and whether its answers are exact.

    `exact` is False for a distribution estimated from somebody's samples.
    """

    name: str
    parameters: str
    origin: str
    exact: bool = True

    def __str__(self) -> str:
        told = f"{self.name} ({self.parameters})" if self.parameters else self.name
        return f"{told}; {self.origin}; {'exact' if self.exact else 'an estimate'}, in nats"


@runtime_checkable  # annotations are checked in the tests
class Source(Protocol):
    """A distribution over strings of `n_sites` symbols, each an index into `alphabet`.

    Entropies are in nats. What a source cannot say exactly it refuses, with the reason; it never approximates.
    """

    @property
    def n_sites(self) -> int:
        """The length of a string."""
        ...

    @property
    def alphabet(self) -> tuple[str, ...]:
        """The symbols of a site, by name."""
        ...

    def sample(self, n: int, generator: torch.Generator) -> Int[Tensor, "n sites"]:
        """So many independent strings."""
        ...

    def log_prob(self, x: Int[Tensor, "n sites"]) -> Float[Tensor, " n"]:
        """ln p of each string, float64; -inf outside the support.

        Raises ValueError for strings of another length or alphabet.
        """
        ...

    def entropy(self) -> float:
        """Of a whole string. Raises ValueError where no closed form is known and strings are too many to sum over."""
        ...

    def entropy_rate(self) -> float:
        """Of a further symbol, as strings grow. Raises ValueError for a distribution of one length only."""
        ...

    def marginal(self, sites: Sequence[int]) -> Float[Tensor, "*symbols"]:
        """The joint distribution of the symbols at `sites`, an axis a site in the order given, float64."""
        ...

    def mutual_information(self, i: int, j: int) -> float:
        """Between the symbols at two sites."""
        ...

    def mps(self) -> TensorTrain:
        """The amplitudes ψ with p = ψ², float64, normalised: a state's own, else √p.

        Raises ValueError where no train of them is known and there are too many strings to make it of all.
        """
        ...

    def bond_dims(self) -> tuple[int, ...]:
        """The sizes of the bonds of `mps`, no larger than needed: its ranks."""
        ...

    def describe(self) -> Description:
        """What it is and where it comes from."""
        ...


if TYPE_CHECKING:
    from workbench.truth.chain import ChainSource
    from workbench.truth.enumerated import TableSource
    from workbench.truth.grammar_stream import GrammarStream
    from workbench.truth.ising_torus import IsingTorus
    from workbench.truth.listed import ListedSource
    from workbench.truth.state import StateSource

    _sources: tuple[type[Source], ...] = (
        ChainSource, TableSource, ListedSource, StateSource, IsingTorus, GrammarStream
    )  # fmt: skip
