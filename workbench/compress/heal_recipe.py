"""What a healing run is asked to do, and what it says of itself."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class HealRecipe:
    """Everything that decides a healing run, apart from its text and the machine's floating point.

    `learning_rate` is a share of each tensor's root mean square; None searches for one. It rises over `warmup` steps
    and falls as a cosine to zero. Minimised over `batch_tokens` a step is `kl_weight` times KL(dense || compressed) and
    the rest of 1 times the next token's loss: by default none of it, since a token tells less than the dense model's
    whole distribution (the shipped GPT-2 cut to 20 %, 60 steps: perplexity 2.27 of dense, with half of it 2.49).
    Every `check_every` steps rows that are not trained on are scored.
    Raises ValueError for a count below 1, a weight beyond 0 to 1, or a rate that is not above 0.
    """

    steps: int = 100
    learning_rate: float | None = None
    batch_tokens: int = 2048
    kl_weight: float = 1.0
    warmup: int = 10
    check_every: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "batch_tokens", "warmup", "check_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is a whole number of 1 or more, not {getattr(self, name)}.")
        if not 0 <= self.kl_weight <= 1:
            raise ValueError(f"kl_weight is a share of the loss, 0 to 1, not {self.kl_weight}.")
        if self.learning_rate is not None and not 0 < self.learning_rate < math.inf:
            raise ValueError(f"a learning rate is above 0 and finite, not {self.learning_rate}.")

    def share(self, step: int) -> float:
        """The share of the highest learning rate at `step`, counted from 0."""
        rises = min(self.warmup, self.steps)
        if step < rises:
            return (step + 1) / rises
        return 0.5 * (1 + math.cos(math.pi * (step - rises + 1) / (self.steps - rises + 1)))


@dataclass(frozen=True)
class RateTrial:
    """The loss on the held-back rows after a few steps at a learning rate; None if it diverged."""

    learning_rate: float
    loss: float | None


@dataclass(frozen=True)
class HealStep:
    """One step: `loss` and its KL part on the step's own batch before it, in nats a token; seconds since the beginning.

    `held_back` is the loss on the rows held back, after the step; None where it was not measured.
    """

    step: int
    loss: float
    kl: float
    learning_rate: float
    seconds: float
    held_back: float | None = None


@dataclass(frozen=True)
class HealReport:
    """How a healing run went: `before` and `after` are losses on the rows held back, in nats a token (None: unscored).

    `ended` is `finished`, `stopped` (`run` goes on), `diverged`, `moved` (a layer was, meanwhile) or `undone`.
    `best_step` is the one whose numbers the layers run, 0 for the start.
    """

    ended: str
    message: str
    steps: int
    best_step: int
    before: float | None
    after: float | None
    learning_rate: float | None
    trials: tuple[RateTrial, ...]
    seconds: float
