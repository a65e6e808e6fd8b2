"""What strings tell of the hidden state: the mixed states of a process, how they follow one another, and their entropy.

A belief is the normalised left environment start · T(x_1) … T(x_k) / p(x): all that the past tells of the future.
Beliefs are states of a process of their own, in which the symbol tells the next one (Blackwell 1957).
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.truth.strings import MOST_STRINGS

MOST_MIXED = 1024  # mixed states of which the chain is solved, by matrices of this size
_SAME = 2.0**40  # beliefs that agree to this many parts are one
_IMPOSSIBLE = 1e-12  # a conditional probability below this is rounding


@dataclass(frozen=True, eq=False)
class MixedStates:
    """All beliefs that strings leave, the first being that of the empty one, and the chain that they form.

    `entropies` are those of the next symbol, in nats.
    """

    beliefs: Float[Tensor, "m state"]
    chain: Float[Tensor, "m m"]
    entropies: Float[Tensor, " m"]

    def entropy_rate(self) -> float:
        """The mean of the entropies over what the chain comes to, from the first belief."""
        return float(self._limit[0] @ self.entropies)

    def excess_entropy(self) -> float:
        """The sum over positions of the entropy there beyond the rate: what the past tells of the future, in nats.

        By the group inverse of 1 − chain: one inverse.
        Source: Crutchfield, Ellison & Riechers (2016), Exact complexity.
        """
        limit = self._limit
        inverse = torch.linalg.inv(torch.eye(len(limit), dtype=torch.float64) - self.chain + limit) - limit
        return float(inverse[0] @ self.entropies)

    @property
    def _limit(self) -> Float[Tensor, "m m"]:
        """The projector on what the chain leaves as it is: the mean of its powers."""
        u, s, vh = torch.linalg.svd(torch.eye(len(self.chain), dtype=torch.float64) - self.chain)
        kept = s < 1e-9
        left, right = u[:, kept].T, vh[kept].T
        return right @ torch.linalg.solve(left @ right, left)


def finite_mixed_states(
    matrices: Float[Tensor, "symbols state next"], start: Float[Tensor, " state"], stop: Float[Tensor, " state"]
) -> MixedStates | None:
    """The mixed states, those within 1e-12 of each other taken as one; None if there are more than 1,024."""
    beliefs, seen, moves = [start], {_key(start): 0}, []
    while len(moves) < len(beliefs):
        own = beliefs[len(moves)]
        after = own @ matrices  # (symbols, next)
        p = _sound(after @ stop)
        move: dict[int, float] = {}
        for belief, share in zip(after, p.tolist(), strict=True):
            if share:
                place = seen.setdefault(_key(belief / share), len(beliefs))
                if place == len(beliefs):
                    beliefs.append(belief / share)
                move[place] = move.get(place, 0.0) + share
        if len(beliefs) > MOST_MIXED:
            return None
        moves.append((move, float(torch.special.entr(p).sum())))
    chain = torch.zeros(len(beliefs), len(beliefs), dtype=torch.float64)
    for row, (move, _) in enumerate(moves):
        for place, share in move.items():
            chain[row, place] = share
    return MixedStates(torch.stack(beliefs), chain, torch.tensor([h for _, h in moves], dtype=torch.float64))


def mixed_states(
    matrices: Float[Tensor, "symbols state next"],
    start: Float[Tensor, " state"],
    stop: Float[Tensor, " state"],
    n_symbols: int,
) -> tuple[Float[Tensor, "m state"], Float[Tensor, " m"]]:
    """The beliefs that strings of so many symbols leave, and how probable each is; equal ones are taken together.

    Raises ValueError beyond 2^24 numbers.
    """
    beliefs, weights = start[None], torch.ones(1, dtype=torch.float64)
    for k in range(n_symbols):
        size = len(beliefs) * matrices.shape[0] * len(start)
        if size > MOST_STRINGS:
            raise ValueError(
                f"strings of {k} symbols leave {len(beliefs):,} different beliefs; {n_symbols} symbols are too many."
            )
        after = torch.einsum("ns,kst->nkt", beliefs, matrices)
        p = _sound(after @ stop)
        possible = p > 0
        found = after[possible] / p[possible][:, None]
        _, place = torch.unique((found * _SAME).round(), dim=0, return_inverse=True)
        beliefs = found.new_empty(int(place.max()) + 1, len(start))
        beliefs[place] = found  # of those that are the same, any one
        weights = found.new_zeros(len(beliefs)).index_add(0, place, (weights[:, None] * p)[possible])
    return beliefs, weights


def _key(belief: Float[Tensor, " state"]) -> tuple[float, ...]:
    return tuple(((belief * _SAME).round() + 0.0).tolist())  # a negative zero is zero


def _sound(p: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    return torch.where(p < _IMPOSSIBLE, 0.0, p)
