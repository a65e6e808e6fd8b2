"""How far a learned distribution is from the true one, from the tables of both: exact, nothing is sampled."""

import math
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

_TIE = 1e-9  # conditionals that differ by less than this share are tied: rounding must not choose between symbols


@dataclass(frozen=True)
class Scores:
    """A learned distribution q beside the true p; entropies and divergences in nats.

    `overlap` is the Bhattacharyya coefficient Σ √(p q), 1 if they are equal; `kl` is Σ p ln(p/q), infinite where q
    excludes what p allows, and `lost_mass` is the share of p that it excludes. `invalid_mass` is the share of q on
    strings that p excludes. `next_symbol` is how often q's most probable next symbol is right, over all positions of
    strings drawn from p, a tie counting as a guess among the tied; `best_next_symbol` is the same of p itself.
    """

    overlap: float
    kl: float
    lost_mass: float
    invalid_mass: float
    total_variation: float
    next_symbol: float
    best_next_symbol: float

    def __str__(self) -> str:
        kl = f"{self.kl:.4f} nats" if math.isfinite(self.kl) else f"infinite, {self.lost_mass:.2%} of the truth is lost"
        return (
            f"overlap {self.overlap:.4f}, KL {kl}, total variation {self.total_variation:.4f}, next symbol right "
            f"{self.next_symbol:.1%} of {self.best_next_symbol:.1%} at best, "
            f"{self.invalid_mass:.2%} on impossible strings"
        )


def scores(log_p: Float[Tensor, "*symbols"], log_q: Float[Tensor, "*learned"]) -> Scores:
    """The scores of a table ln q against ln p, an axis a site; both normalised, -inf for what is impossible.

    Raises ValueError for tables of other shapes than each other, or that do not sum to one within 1e-6.
    """
    if log_p.shape != log_q.shape or log_p.ndim == 0:
        raise ValueError(
            f"both tables have an axis a site, of the same sizes, not {tuple(log_p.shape)} and {tuple(log_q.shape)}."
        )
    p, q = log_p.double().exp(), log_q.double().exp()
    for name, table in (("true", p), ("learned", q)):
        total = float(table.sum())
        if not abs(total - 1) <= 1e-6:
            raise ValueError(f"the {name} probabilities sum to {total:.6g}, not to 1; normalise them first.")
    possible = p > 0
    lost = possible & (q == 0)
    kl = float((p[possible] * (log_p[possible] - log_q[possible]).double()).sum())  # infinite where some is lost
    return Scores(
        overlap=min(1.0, float((p * q).sqrt().sum())),
        kl=max(0.0, kl),  # rounding alone is below
        lost_mass=float(p[lost].sum()),
        invalid_mass=float(q[~possible].sum()),
        total_variation=float((p - q).abs().sum()) / 2,
        next_symbol=next_symbol_accuracy(p, q),
        best_next_symbol=next_symbol_accuracy(p, p),
    )


def next_symbol_accuracy(p: Float[Tensor, "*symbols"], q: Float[Tensor, "*symbols"]) -> float:
    """How often q's most probable next symbol is right, over all positions of strings drawn from p.

    Where several are tied, and behind a prefix that q excludes, one is guessed: the mean over them counts.
    """
    right, seen = 0.0, 1
    for size in p.shape:
        true, learned = (table.reshape(seen, size, -1).sum(-1) for table in (p, q))  # (prefix, symbol)
        best = learned >= learned.amax(1, keepdim=True) * (1 - _TIE)
        right += float(((true * best).sum(1) / best.sum(1)).sum())
        seen *= size
    return right / p.ndim
