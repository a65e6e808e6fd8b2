"""Learners without a model: the samples themselves, and the smallest linear code that holds them."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Counted:
    """The empirical distribution: each string as probable as it was frequent, every other impossible.

    Nothing can be nearer to the samples, and nothing generalises less.
    """

    strings: Int[Tensor, "distinct sites"]
    counts: Int[Tensor, " distinct"]

    @classmethod
    def of(cls, samples: Int[Tensor, "n sites"]) -> "Counted":
        """That of one or more samples."""
        _check(samples)
        strings, counts = torch.unique(samples, dim=0, return_counts=True)
        return cls(strings, counts)

    def log_prob(self, x: Int[Tensor, "n sites"]) -> Float[Tensor, " n"]:
        """ln of each string's share of the samples, -inf for one that is not among them."""
        _check_length(x, self.strings.shape[1])
        joined, place = torch.unique(torch.cat([self.strings, x]), dim=0, return_inverse=True)
        counts = torch.zeros(len(joined), dtype=torch.float64)
        counts[place[: len(self.strings)]] = self.counts.double()
        return (counts / counts.sum()).log()[place[len(self.strings) :]]


@dataclass(frozen=True, eq=False)
class AffineCode:
    """The smallest affine space over GF(2) that holds all samples, uniform: what a learner finds that is told the
    truth is linear.

    `basis` is reduced: each row has a 1 at its column of `pivots`, where no other row has one. Parity of N bits is such
    a space of dimension N - 1, so about N samples find it (Gaussian elimination); what is not linear it overestimates.
    """

    offset: Int[Tensor, " sites"]
    basis: Int[Tensor, "dimension sites"]
    pivots: tuple[int, ...]

    @classmethod
    def of(cls, samples: Int[Tensor, "n sites"]) -> "AffineCode":
        """That of one or more samples. Raises ValueError for symbols other than 0 and 1. Cost: one elimination."""
        _check(samples)
        if bool((samples > 1).any()):
            raise ValueError(f"a linear code is made of bits, not of the symbol {int(samples.max())}.")
        offset = samples[0]
        rows = torch.unique(samples ^ offset, dim=0)
        pivots: list[int] = []
        for column in range(samples.shape[1]):
            done = len(pivots)
            candidates = rows[done:, column].nonzero()
            if not len(candidates):
                continue
            chosen = done + int(candidates[0])
            rows[[done, chosen]] = rows[[chosen, done]]
            others = rows[:, column].bool()
            others[done] = False
            rows[others] ^= rows[done]
            pivots.append(column)
        return cls(offset, rows[: len(pivots)], tuple(pivots))

    @property
    def dimension(self) -> int:
        """How many bits of a string are free: the entropy is this many ln 2."""
        return len(self.pivots)

    def log_prob(self, x: Int[Tensor, "n sites"]) -> Float[Tensor, " n"]:
        """-dimension ln 2 for the strings of the space, -inf for all others."""
        _check_length(x, len(self.offset))
        moved = x ^ self.offset
        inside = (moved[:, list(self.pivots)] @ self.basis % 2 == moved).all(1)
        return inside.double().log() - self.dimension * torch.log(torch.tensor(2.0, dtype=torch.float64))


def _check(samples: Int[Tensor, "n sites"]) -> None:
    if samples.ndim != 2 or not samples.numel():
        raise ValueError(f"samples are one or more strings, a row each, not shape {tuple(samples.shape)}.")
    if bool((samples < 0).any()):
        raise ValueError(f"symbols are numbered from 0, and a sample holds {int(samples.min())}.")


def _check_length(x: Int[Tensor, "n sites"], n_sites: int) -> None:
    if x.ndim != 2 or x.shape[1] != n_sites:
        raise ValueError(f"strings of {n_sites} symbols were learned, and shape {tuple(x.shape)} holds others.")
