"""What every model along a chain answers, exactly: probabilities, samples, marginals, conditionals on any sites."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.born.environments import Weights
from workbench.truth.strings import MOST_STRINGS, check_sites, check_symbols, table_information

_ROWS = 2**14  # strings at a time

Kind = TypeVar("Kind", bound="ChainModel")


class ChainModel(ABC):
    """A distribution p = w / Σ w over strings, by its `weights`; one symbol a site, numbered from 0.

    Everything is exact, in float64 and in nats, on the device of the cores. `rounding` is what one step along the chain
    may err by, as a share of the row it moves; 0 where nothing cancels.
    """

    @abstractmethod
    def parameters(self) -> tuple[Float[Tensor, "..."], ...]:
        """Real numbers, one tensor a site, that stand for the model and may take any value."""

    @staticmethod
    @abstractmethod
    def weights_of(parameters: Sequence[Float[Tensor, "..."]]) -> Weights:
        """The weights that such parameters stand for, differentiable by them."""

    @abstractmethod
    def with_parameters(self: Kind, parameters: Sequence[Float[Tensor, "..."]]) -> Kind:
        """The model of the same kind with other parameters."""

    @cached_property
    def weights(self) -> Weights:
        """The weights w, in a form in which no step lengthens a row if `rounding` is not 0."""
        return self.weights_of(self.parameters())

    @property
    @abstractmethod
    def rounding(self) -> float:
        """See the class."""

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """How many symbols each site has."""
        return tuple([core.shape[1] for core in self.weights.cores])

    @property
    def n_sites(self) -> int:
        """The length of a string."""
        return len(self.weights.cores)

    def log_prob(self, x: Int[Tensor, "n sites"]) -> Float[Tensor, " n"]:
        """ln p of each string; -inf for one that has no weight, or none that rounding could tell from none.

        Raises ValueError for strings of another length or alphabet. Cost: see `Weights.log_values`.
        """
        x = self.checked(x)
        with torch.no_grad():
            parts = [self.weights.log_values(rows, self.rounding) for rows in x.split(_ROWS)]
        return torch.cat(parts) - self._log_total

    def sample(
        self, n: int, generator: torch.Generator, given: Mapping[int, int] | None = None
    ) -> Int[Tensor, "n sites"]:
        """So many independent strings; with `given`, symbol by site, of those that have these symbols there.

        Raises ValueError if no string has them. Cost: see `Weights.sample`.
        """
        with torch.no_grad():
            return self._weights_given(given or {}).sample(n, generator)

    def marginal(self, sites: Sequence[int]) -> Float[Tensor, "*symbols"]:
        """The joint distribution of the symbols at `sites`, an axis a site in the order given.

        Raises ValueError above 2^24 entries. Cost: see `Weights.marginal`.
        """
        return self.conditional({}, sites)

    def conditional(self, given: Mapping[int, int], sites: Sequence[int]) -> Float[Tensor, "*symbols"]:
        """The joint distribution of the symbols at `sites`, in strings whose symbols at other sites are `given`.

        Raises ValueError if no string has these symbols, for a site that is given and asked, or above 2^24 entries.
        """
        asked = check_sites(sites, self.n_sites)
        both = sorted(set(asked) & set(given))
        if both:
            raise ValueError(f"the symbol at site {both[0]} is given, so there is nothing to ask of it; leave one out.")
        entries = torch.tensor([self.shape[site] for site in asked], dtype=torch.float64).prod()
        if float(entries) > MOST_STRINGS:
            raise ValueError(
                f"a table of {len(asked)} sites has {float(entries):.3g} entries, more than the 2^24 that are made; "
                "give fewer sites, or count in samples."
            )
        with torch.no_grad():
            table = self._weights_given(given).marginal(asked)
        return table / table.sum()

    def mutual_information(self, i: int, j: int) -> float:
        """Between the symbols at two sites."""
        return table_information(self.marginal((i, j)))

    def checked(self, x: Int[Tensor, "n sites"]) -> Int[Tensor, "n sites"]:
        """The strings on the device of the cores. Raises ValueError for another length or alphabet."""
        return check_symbols(x.to(self._device), self.shape, "model")

    def gradient(self, x: Int[Tensor, "n sites"]) -> tuple[Float[Tensor, "..."], ...]:
        """The derivative of the mean ln p of strings by each of the `parameters`, the normalisation with it.

        Not finite if a string has no probability. Raises ValueError for strings of another length or alphabet.
        """
        leaves = [parameter.detach().requires_grad_() for parameter in self.parameters()]
        return torch.autograd.grad(mean_log_prob(self.weights_of(leaves), self.checked(x)), leaves)

    @property
    def _device(self) -> torch.device:
        return self.weights.cores[0].device

    @cached_property
    def _log_total(self) -> Float[Tensor, ""]:
        with torch.no_grad():
            return self.weights.ends()[1]

    def _weights_given(self, given: Mapping[int, int]) -> Weights:
        """The weights with every other symbol at the given sites taken out."""
        if not given:
            return self.weights
        cores = list(self.weights.cores)
        for site, symbol in given.items():
            check_sites((site,), self.n_sites)
            if not 0 <= symbol < self.shape[site]:
                raise ValueError(
                    f"the symbol {symbol} is given at site {site}, which has {self.shape[site]} symbols, "
                    f"0 to {self.shape[site] - 1} by number."
                )
            kept = torch.arange(self.shape[site], device=self._device) == symbol
            cores[site] = cores[site] * kept[:, None, None]
        weights = replace(self.weights, cores=tuple(cores))
        if weights.ends(self.rounding)[1] == -torch.inf:
            told = ", ".join(f"{symbol} at site {site}" for site, symbol in sorted(given.items()))
            raise ValueError(f"this model excludes every string with {told}, so nothing is conditional on it.")
        return weights


def mean_log_prob(weights: Weights, x: Int[Tensor, "n sites"]) -> Float[Tensor, ""]:
    """The mean of ln p over strings, differentiable by the cores of the weights."""
    return weights.log_values(x).mean() - weights.ends()[1]
