"""The singular values at a bond, and every question about cutting there."""

from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Spectrum:
    """Singular values at a bond, largest first, with the norm they are measured in.

    Cutting to rank r drops `values[r:]`; every number below is exact for a cut at this bond alone.
    Also called Schmidt or entanglement spectrum when the values are those of a normalised state.
    """

    values: Float[Tensor, " n"]
    norm: str = "Frobenius"  # "output": root of E|(W - W_r) x|² over the inputs; "loss": that seen by the gradients too
    _squared_tails: Float[Tensor, " n_plus_1"] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        values = self.values.detach().double().cpu()
        if values.ndim != 1 or len(values) == 0:
            raise ValueError(
                f"a spectrum needs one or more singular values in one row, not shape {tuple(values.shape)}."
            )
        if not bool(torch.isfinite(values).all()) or bool((values < 0).any()):
            raise ValueError(
                "a spectrum holds finite singular values of zero or more; check the tensor for nan or inf."
            )
        if bool((values.diff() > 0).any()):
            raise ValueError("a spectrum is ordered from the largest singular value down; sort it first.")
        # Summed from the small end: a tail far below the largest value keeps its digits.
        tails = torch.cat([values.square().flip(0).cumsum(0).flip(0), values.new_zeros(1)])
        object.__setattr__(self, "values", values)
        object.__setattr__(self, "_squared_tails", tails)

    def __len__(self) -> int:
        return self.values.numel()

    def error(self, rank: int) -> float:
        """The 2-norm, in this spectrum's norm, of what a cut to `rank` drops (Eckart & Young, 1936)."""
        return float(self._squared_tails[self._checked(rank)].sqrt())

    def squared_errors(self) -> Float[Tensor, " n_plus_1"]:
        """`error`² at every rank from 0 to the full one."""
        return self._squared_tails

    def discarded_weight(self, rank: int) -> float:
        """`error(rank)`² over the total squared, 0 to 1; 0 for a spectrum of zeros."""
        total = float(self._squared_tails[0])
        return float(self._squared_tails[self._checked(rank)]) / total if total > 0 else 0.0

    def discarded_weights(self) -> Float[Tensor, " n_plus_1"]:
        """`discarded_weight` at every rank from 0 to the full one."""
        total = self._squared_tails[0]
        return self._squared_tails / total if total > 0 else torch.zeros_like(self._squared_tails)

    def rank_for(self, discarded_weight: float) -> int:
        """The smallest rank whose discarded weight is at most the one given."""
        if not 0 <= discarded_weight <= 1:
            raise ValueError(f"discarded weight is a share from 0 to 1, not {discarded_weight}.")
        return int((self.discarded_weights() <= discarded_weight).nonzero()[0])

    def entropy(self) -> float:
        """The entropy, in nats, of the squared values as shares of their sum; 0 for a spectrum of zeros."""
        total = self._squared_tails[0]
        shares = self.values.square() / total if total > 0 else torch.zeros_like(self.values)
        return float(torch.special.entr(shares).sum())

    def _checked(self, rank: int) -> int:
        if not 0 <= rank <= len(self):
            raise ValueError(f"rank {rank} does not fit a spectrum of {len(self)} values; give 0 to {len(self)}.")
        return rank
