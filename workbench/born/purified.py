"""Locally purified states: Born machines of which a hidden leg at every site is never seen."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.born.environments import SquaredWeights, Weights
from workbench.born.machine import canonical, canonical_train, random_cores, step_rounding
from workbench.born.questions import ChainModel
from workbench.decompose.train import TensorTrain


@dataclass(frozen=True, eq=False)
class PurifiedTrain(ChainModel):
    """p(x) = Σ_h ψ(x, h)²: `train` is the canonical train of ψ, the sites of which hold symbol and hidden index.

    `hidden` are the sizes of the hidden legs. With all of 1 it is a Born machine, and with those of the bond's size it
    holds every hidden Markov model, whose path is written on them: it is as expressive as both (Glasser et al. 2019). A
    conditional probability below a few times float64's rounding counts as 0, since squares are summed; a Born machine
    tells smaller ones from 0.
    Raises ValueError as `BornMachine` does, or where a site is no product of symbols and hidden indices.
    """

    train: TensorTrain
    hidden: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(self.hidden) != len(self.train.cores):
            raise ValueError(
                f"a purified train of {len(self.train.cores)} sites has as many hidden legs, not {len(self.hidden)}."
            )
        for k, (size, hidden) in enumerate(zip(self.train.shape, self.hidden, strict=True)):
            if hidden < 1 or size % hidden:
                raise ValueError(
                    f"site {k} has size {size}, which is no product of symbols and {hidden} hidden indices."
                )
        object.__setattr__(self, "train", canonical(self.train))

    @classmethod
    def from_cores(cls, cores: Sequence[Float[Tensor, "_ _ _ _"]]) -> "PurifiedTrain":
        """That of any chain of cores (left, site, hidden, right)."""
        return cls(canonical_train([core.flatten(1, 2) for core in cores]), tuple([core.shape[2] for core in cores]))

    @classmethod
    def random(cls, shape: Sequence[int], bond: int, generator: torch.Generator, hidden: int = 2) -> "PurifiedTrain":
        """That of `random_cores` with these symbols a site; bonds at the ends are no larger than they can be."""
        return cls.from_cores(random_cores(shape, bond, generator, hidden))

    def parameters(self) -> tuple[Float[Tensor, "_ _ _ _"], ...]:
        """The cores (left, site, hidden, right)."""
        pairs = zip(self.train.cores, self.hidden, strict=True)
        return tuple([core.unflatten(1, (-1, hidden)) for core, hidden in pairs])

    @staticmethod
    def weights_of(parameters: Sequence[Float[Tensor, "_ _ _ _"]]) -> Weights:
        """Those of cores, canonical or not."""
        return SquaredWeights(tuple(parameters))

    def with_parameters(self, parameters: Sequence[Float[Tensor, "_ _ _ _"]]) -> "PurifiedTrain":
        """The train of other cores."""
        return PurifiedTrain.from_cores(parameters)

    @property
    def rounding(self) -> float:
        return step_rounding(self.train)
