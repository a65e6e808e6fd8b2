"""Trains of non-negative cores: hidden Markov models, as a chain that may be learned."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.born.environments import LinearWeights, Weights
from workbench.born.machine import random_cores
from workbench.born.questions import ChainModel
from workbench.decompose.exact import check_finite
from workbench.decompose.train import check_chain
from workbench.truth.chain import ChainSource
from workbench.truth.source import Description


@dataclass(frozen=True, eq=False)
class NonNegativeTrain(ChainModel):
    """p(x) = Π core[:, x, :] / Z of cores (left, site, right) without a negative number.

    A hidden Markov model whose hidden state at a bond is the index there, and every such model is one (Glasser et al.
    2019). Nothing cancels, so an exact zero stays one at any length.
    Raises ValueError for other numbers than finite float64 of 0 or more, or if no string has a weight.
    """

    cores: tuple[Float[Tensor, "_ _ _"], ...]

    def __post_init__(self) -> None:
        check_chain(self.cores)
        for k, core in enumerate(self.cores):
            check_finite(core, f"core {k}")
            if core.dtype != torch.float64:
                raise ValueError(
                    f"core {k} is {core.dtype}; probabilities are held in float64: convert it by .double()."
                )
            if float(core.min()) < 0:
                raise ValueError(
                    f"core {k} holds {float(core.min()):.3g}; the cores of a hidden Markov model hold 0 or more."
                )
        if float(self._log_total) == -float("inf"):
            raise ValueError("no string has a weight above 0, so the cores are no distribution.")

    @classmethod
    def random(cls, shape: Sequence[int], bond: int, generator: torch.Generator) -> "NonNegativeTrain":
        """That of `random_cores` with these symbols a site and all bonds of this size."""
        return cls(tuple([core[:, :, 0] for core in random_cores(shape, bond, generator)]))

    def parameters(self) -> tuple[Float[Tensor, "_ _ _"], ...]:
        """The roots of the cores."""
        return tuple([core.sqrt() for core in self.cores])

    @staticmethod
    def weights_of(parameters: Sequence[Float[Tensor, "_ _ _"]]) -> Weights:
        """Those of the squares of the parameters."""
        return LinearWeights(tuple([root.square().unsqueeze(2) for root in parameters]))

    @cached_property
    def weights(self) -> Weights:
        """Those of the cores as they are, since a squared root rounds."""
        return LinearWeights(tuple([core.unsqueeze(2) for core in self.cores]))

    def with_parameters(self, parameters: Sequence[Float[Tensor, "_ _ _"]]) -> "NonNegativeTrain":
        """The train of the squares of these numbers."""
        return NonNegativeTrain(tuple([root.detach().square() for root in parameters]))

    @property
    def rounding(self) -> float:
        return 0.0

    def source(self, alphabet: Sequence[str]) -> ChainSource:
        """The same distribution as a source, which knows its entropies and its amplitudes besides.

        Raises ValueError unless every site has the symbols of `alphabet`.
        """
        told = Description("learned hidden Markov model", f"N = {self.n_sites}", "learned from samples", exact=False)
        return ChainSource(tuple([core.cpu() for core in self.cores]), tuple(alphabet), told)
