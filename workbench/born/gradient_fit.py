"""Any chain model learned by stochastic gradients of all its cores at once."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.born.learning import Learning, Numbers
from workbench.born.likelihood import likelihood
from workbench.born.questions import ChainModel, mean_log_prob

_MOMENTS = ("exp_avg", "exp_avg_sq")  # what torch's Adam calls them
_ORDERS = 100_003  # epochs of a seed before the order of another seed's batches comes

Kind = TypeVar("Kind", bound=ChainModel)


@dataclass(frozen=True)
class FitRecipe:
    """Everything that decides a fit, apart from its strings, its start and the machine's floating point.

    A round is an epoch: all strings once, in batches of an order that follows from `seed` alone. The learning rate is
    Adam's, a share of each tensor's root mean square at the start.
    Raises ValueError for a count below 1, or a rate that is not above 0.
    """

    rounds: int = 100
    learning_rate: float = 0.01
    batch: int = 128
    patience: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("rounds", "batch", "patience"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is a whole number of 1 or more, not {getattr(self, name)}.")
        if not 0 < self.learning_rate < math.inf:
            raise ValueError(f"a learning rate is above 0 and finite, not {self.learning_rate}.")


def fit(
    start: Kind,
    samples: Int[Tensor, "n sites"],
    recipe: FitRecipe | None = None,
    held_out: Int[Tensor, "m _"] | None = None,
    checkpoint: str | Path | None = None,
) -> Learning[Kind]:
    """The run that learns `samples` from `start`, a model of any kind, which it stays: its bonds do not grow.

    `finish()` gives the model, `run()` the epochs one by one (see `Learning`, also for `held_out` and `checkpoint`). On
    the device of the start.
    Raises ValueError for strings of another length or alphabet, no strings, or a start that excludes one of them.
    Cost: about three times that of `log_prob` of all samples an epoch, and as much for the sum of all weights a batch.
    Source: Glasser et al. (2019); Kingma & Ba (2015).
    """
    lost = likelihood(start, samples).lost_mass
    if lost:
        raise ValueError(f"the start excludes {lost:.2%} of the samples, and has no slope there; give another.")
    return Learning(_Descent(start, start.checked(samples), recipe or FitRecipe()), samples, held_out, checkpoint)


class _Descent(Generic[Kind]):
    """The learner: all parameters in one row, each tensor of size 1 at the start, and what Adam remembers of it."""

    def __init__(self, start: Kind, samples: Int[Tensor, "n sites"], recipe: FitRecipe) -> None:
        self.recipe, self._start, self._samples = recipe, start, samples
        parameters = [parameter.detach() for parameter in start.parameters()]
        self._shapes = [parameter.shape for parameter in parameters]
        sizes = [parameter.square().mean().sqrt().expand(parameter.numel()) for parameter in parameters]
        self._sizes = torch.cat(sizes)
        point = torch.cat([parameter.flatten() for parameter in parameters]) / self._sizes
        self._point = point.requires_grad_()
        self._adam = torch.optim.Adam([self._point], lr=recipe.learning_rate)

    def advance(self, index: int, tell: Callable[[int, int], None]) -> float:
        """One epoch; the mean of -ln p is over its batches, each before its step."""
        generator = torch.Generator().manual_seed(_ORDERS * self.recipe.seed + index)
        order = torch.randperm(len(self._samples), generator=generator).to(self._samples.device)
        batches, total = order.split(self.recipe.batch), 0.0
        for done, rows in enumerate(batches, 1):
            weights = self._start.weights_of(self._parameters(self._point))
            loss = -mean_log_prob(weights, self._samples[rows])
            loss.backward()
            self._adam.step()
            self._adam.zero_grad()
            total += float(loss.detach()) * len(rows)
            tell(done, len(batches))
        return total / len(self._samples)

    def numbers(self) -> dict[str, Tensor]:
        """Copies of the point, and of what Adam remembers: nothing before its first step."""
        state = self._adam.state.get(self._point, {})
        return {"point": self._point.detach().clone()} | {name: state[name].clone() for name in state}

    def load(self, numbers: Numbers) -> None:
        """Back to this point, and to what Adam remembered then. Raises ValueError if it is of another start."""
        if numbers["point"].shape != self._point.shape:
            raise ValueError(
                f"the checkpoint holds {len(numbers['point'])} parameters, but the start has {len(self._point)}; give "
                "the start that the run began with, or another directory."
            )
        with torch.no_grad():
            self._point.copy_(numbers["point"])
        self._adam.state.clear()
        moments = {name: numbers[name].to(self._point.device, copy=True) for name in _MOMENTS if name in numbers}
        if moments:
            self._adam.state[self._point] = moments | {"step": numbers["step"].clone()}

    def model(self, numbers: Numbers) -> Kind:
        """The model at this point."""
        return self._start.with_parameters(self._parameters(numbers["point"].to(self._sizes.device)))

    def _parameters(self, point: Float[Tensor, " numbers"]) -> list[Tensor]:
        parts = (point * self._sizes).split([shape.numel() for shape in self._shapes])
        return [part.reshape(shape) for part, shape in zip(parts, self._shapes, strict=True)]
