"""Steps of Adam on the factors of a compressed model, and the search for how large they may be."""

import math
from collections.abc import Iterator, Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.compress.heal_loss import Comparison, Loss
from workbench.compress.heal_recipe import RateTrial
from workbench.compress.heal_student import Student

_MOMENTS = ("exp_avg", "exp_avg_sq")  # what torch's Adam calls them
_SMALLEST = 0.01  # a bias of zeros has no size of its own to go by
_FIRST, _FACTOR = 0.03, 3.0
TRIALS, TRIAL_STEPS = 5, 10


class Descent:
    """Adam on a student's leaves, batch after batch of `comparison`, in an order that follows from `seed` alone.

    A learning rate is a share of each tensor's own size, its root mean square at the start: one rate then means the
    same for factors of any form and scale. Source: Kingma & Ba (2015); the relative step is Adafactor's (Shazeer &
    Stern 2018).
    """

    def __init__(self, student: Student, comparison: Comparison, seed: int) -> None:
        self._student, self._comparison, self._seed = student, comparison, seed
        self._leaves = student.leaves
        self._sizes = {name: _size(leaf) for name, leaf in self._leaves.items()}
        self._adam = self._new_adam()

    def step(self, index: int, rate: float) -> Loss:
        """Step `index`, counted from 0, at a learning rate; returns the loss before it.

        Where the loss or the gradient is not finite, nothing is changed, and the loss is returned as not a number.
        """
        leaves = list(self._leaves.values())
        loss, gradients = self._comparison.gradients(self._student.model, leaves, self._batch(index))
        norm = float(sum(torch.linalg.vector_norm(gradient) for gradient in gradients))
        if not math.isfinite(loss.total) or not math.isfinite(norm):
            return Loss(math.nan, math.nan)
        for leaf, gradient in zip(leaves, gradients, strict=True):
            leaf.grad = gradient
        for group, size in zip(self._adam.param_groups, self._sizes.values(), strict=True):
            group["lr"] = rate * size
        self._adam.step()
        self._adam.zero_grad()
        return loss

    def restart(self, numbers: Mapping[str, Float[Tensor, "..."]]) -> None:
        """Back to `numbers`, with nothing remembered of the steps before."""
        self._student.load(numbers)
        self._adam = self._new_adam()

    def moments(self) -> dict[str, Float[Tensor, "..."]]:
        """What Adam remembers, as `moment/leaf`; empty before the first step."""
        state = self._adam.state
        return {f"{m}/{name}": state[leaf][m] for m in _MOMENTS for name, leaf in self._leaves.items() if leaf in state}

    def remember(self, moments: Mapping[str, Float[Tensor, "..."]], steps: int) -> None:
        """Takes over what Adam remembered after so many steps."""
        for name, leaf in self._leaves.items():
            kept = {moment: moments[f"{moment}/{name}"].to(leaf.device) for moment in _MOMENTS}
            self._adam.state[leaf] = {"step": torch.tensor(float(steps), device=leaf.device)} | kept

    def _batch(self, index: int) -> int:
        epoch, place = divmod(index, len(self._comparison))
        generator = torch.Generator().manual_seed(1000 * self._seed + epoch)
        return int(torch.randperm(len(self._comparison), generator=generator)[place])

    def _new_adam(self) -> torch.optim.Adam:
        groups = [{"params": [leaf]} for leaf in self._leaves.values()]
        return torch.optim.Adam(groups, betas=(0.9, 0.95), fused=True)


def searched_rates(
    descent: Descent, student: Student, held_back: Comparison, start: Mapping[str, Float[Tensor, "..."]]
) -> Iterator[RateTrial | None]:
    """Trials of a few learning rates, each of `TRIAL_STEPS` steps from `start` on the same batches.

    From 0.03 upward by factors of 3 while that is better, else downward; at most 5. None is yielded after every step,
    so that a search can be left; at its end, or when it is left, the student is back at `start`.
    """
    losses: dict[float, float] = {}

    def trial(rate: float) -> Iterator[RateTrial | None]:
        descent.restart(start)
        losses[rate] = math.inf
        for index in range(TRIAL_STEPS):
            if not math.isfinite(descent.step(index, rate * (index + 1) / TRIAL_STEPS).total):
                break
            yield None
        else:
            loss = held_back.loss(student.model).total
            losses[rate] = loss if math.isfinite(loss) else math.inf
        yield RateTrial(rate, losses[rate] if math.isfinite(losses[rate]) else None)

    try:
        yield from trial(_FIRST)
        for factor in (_FACTOR, 1 / _FACTOR) if math.isfinite(losses[_FIRST]) else (1 / _FACTOR,):
            rate, worse = _FIRST, False
            while len(losses) < TRIALS and not worse:
                before, rate = losses[rate], rate * factor
                yield from trial(rate)
                worse = losses[rate] >= before and math.isfinite(before)
            if min(losses, key=losses.__getitem__) != _FIRST:
                return
    finally:
        descent.restart(start)


def _size(leaf: Float[Tensor, "..."]) -> float:
    return max(float(leaf.detach().square().mean().sqrt()), _SMALLEST)
