"""How well a model says given strings, and what it says of those that it excludes."""

import math
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from jaxtyping import Float, Int
from torch import Tensor


@runtime_checkable  # annotations are checked in the tests
class Probable(Protocol):
    """Whatever gives strings a probability: a model, a source, counts."""

    def log_prob(self, x: Int[Tensor, "n sites"]) -> Float[Tensor, " n"]:
        """ln p of each string, -inf for an impossible one."""
        ...


@dataclass(frozen=True)
class Likelihood:
    """The mean of -ln p over strings, in nats a string: `nll`, infinite if the model excludes any of them.

    `lost_mass` is the share of the strings that it excludes, and `nll_of_rest` the mean over the others (infinite if
    there are none): the two say what the infinity hides.
    """

    nll: float
    lost_mass: float
    nll_of_rest: float

    def __str__(self) -> str:
        if not self.lost_mass:
            return f"{self.nll:.4f} nats a string"
        return f"infinite: {self.lost_mass:.2%} of the strings are excluded; {self.nll_of_rest:.4f} nats on the rest"


def likelihood(model: Probable, x: Int[Tensor, "n sites"]) -> Likelihood:
    """That of `model` on the strings `x`. Raises ValueError for no strings, or those that the model refuses."""
    if not len(x):
        raise ValueError("a mean log-likelihood is over one or more strings, and none is given.")
    logs = model.log_prob(x)
    said = logs.isfinite()
    rest = -float(logs[said].mean()) if bool(said.any()) else math.inf
    lost = 1 - float(said.double().mean())
    return Likelihood(math.inf if lost else rest, lost, rest)
