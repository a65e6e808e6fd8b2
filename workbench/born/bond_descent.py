"""Two neighbouring cores as one: how strings of data pull on it, and steps downhill along the line's own minimum."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

_FLAT = 1e-24  # squared slope of a merged core of norm about 1: downhill ends in rounding
_TRIES = 30  # of Newton's method along a line, which is convex: a handful does
_NEAR = 1e-4  # of the step: more digits of it are of no use


@dataclass(frozen=True, eq=False)
class BondProblem:
    """f(θ) = ‖θ‖² − 2 Σ share · ln |ψ(x)| of a merged core θ (left, site, site, right), the rest of the chain fixed.

    Its minimum has norm 1, and is that of the mean -ln p, p = ψ² / ‖θ‖². The rows of what lies on both sides of each
    string are in the order of its pair of symbols, `counts` strings a pair; their scales do not matter, and are left
    out of f.
    """

    left: Float[Tensor, "n left"]
    right: Float[Tensor, "n right"]
    shares: Float[Tensor, " n"]
    counts: tuple[int, ...]

    @classmethod
    def of(
        cls,
        left: Float[Tensor, "n left"],
        right: Float[Tensor, "n right"],
        shares: Float[Tensor, " n"],
        pairs: Int[Tensor, " n"],
        n_pairs: int,
    ) -> "BondProblem":
        """That of strings in any order; `pairs` numbers their pair of symbols at this bond."""
        order = pairs.argsort()
        counts = torch.bincount(pairs, minlength=n_pairs).tolist()
        return cls(left[order], right[order], shares[order], tuple(counts))

    def amplitudes(self, merged: Float[Tensor, "left site next right"]) -> Float[Tensor, " n"]:
        """ψ of every string, in the order of the rows."""
        by_pair = merged.permute(1, 2, 0, 3).flatten(0, 1)  # (pair, left, right)
        return torch.cat([((a @ m) * b).sum(1) for a, b, m in zip(*self._rows(), by_pair, strict=True)])

    def pulled(
        self, weights: Float[Tensor, " n"], like: Float[Tensor, "left site next right"]
    ) -> Float[Tensor, "left site next right"]:
        """Σ weight · ∂ψ(x)/∂θ over the strings."""
        rows = zip(*self._rows(), weights[:, None].split(self.counts), strict=True)
        by_pair = torch.stack([a.T @ (b * w) for a, b, w in rows])  # (pair, left, right)
        return by_pair.unflatten(0, like.shape[1:3]).permute(2, 0, 1, 3)

    def descended(
        self, merged: Float[Tensor, "left site next right"], steps: int, rate: float
    ) -> Float[Tensor, "left site next right"]:
        """θ after so many steps of conjugate gradients, each `rate` of the way to the minimum along its line.

        No amplitude changes its sign on the way, since f is infinite where one vanishes. A string without amplitude has
        no slope: then θ is returned as it is.
        Cost: twice the amplitudes of all strings a step. Source: Polak & Ribière (1969).
        """
        now = self.amplitudes(merged)
        if not bool((now != 0).all()):
            return merged
        way = before = torch.zeros_like(merged)
        for _ in range(steps):
            downhill = self.pulled(self.shares / now, merged) - merged  # minus half the gradient
            if float(downhill.square().sum()) < _FLAT:
                break
            way = downhill + _turn(downhill, before) * way
            if float((way * downhill).sum()) <= 0:
                way = downhill
            before = downhill
            moved = self.amplitudes(way)
            length = rate * self._lowest(now, moved, float((merged * way).sum()), float(way.square().sum()))
            merged, now = merged + length * way, now + length * moved
        return merged

    def _rows(self) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        return self.left.split(self.counts), self.right.split(self.counts)

    def _lowest(self, now: Tensor, moved: Tensor, along: float, curved: float) -> float:
        """t with the least 2 t along + t² curved − 2 Σ share ln |now + t moved|, by Newton's method from 0."""
        ratio = moved / now
        steepest = float(ratio.min())
        end, t = (-1 / steepest if steepest < 0 else math.inf), 0.0
        for _ in range(_TRIES):
            bent = ratio / (1 + t * ratio)
            slope = along + t * curved - float(self.shares @ bent)
            step = -slope / (curved + float(self.shares @ bent.square()))
            step = (end - t) / 2 if t + step >= end else step
            t = t / 2 if t + step <= 0 else t + step
            if abs(step) < _NEAR * t:
                break
        return t


def _turn(downhill: Tensor, before: Tensor) -> float:
    """How much of the last way is kept; none at the first step, and where the slope turns back."""
    squared = float(before.square().sum())
    return max(0.0, float((downhill * (downhill - before)).sum()) / squared) if squared else 0.0
