"""A second moment as it is held: a matrix (n, n), or its diagonal alone, a vector (n), where that is all there is.

A vocabulary of 50,257 has no moment that could be stored but its diagonal. Whoever multiplies with a moment does it
here, and need not know which of the two it is.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

Moment = Float[Tensor, "_ _"] | Float[Tensor, " _"]

UNSEEN = 1e-12  # of the largest eigenvalue: directions of a moment below it count as its null space


def times(moment: Moment, rows: Float[Tensor, "n m"]) -> Float[Tensor, "n m"]:
    """`moment @ rows`."""
    return moment @ rows if moment.ndim == 2 else moment[:, None] * rows


def diagonal(moment: Moment) -> Float[Tensor, " n"]:
    """The moment's diagonal."""
    return moment.diagonal() if moment.ndim == 2 else moment


def ridged(moment: Moment, share: float) -> Moment:
    """The moment with a share of its mean eigenvalue added to each, in float64."""
    moment = moment.double()
    added = share * diagonal(moment).mean()
    if moment.ndim == 1:
        return moment + added
    return moment + added * torch.eye(len(moment), dtype=moment.dtype, device=moment.device)


def reordered(moment: Moment, order: Int[Tensor, " n"]) -> Moment:
    """The moment of the same numbers in another order."""
    order = order.to(moment.device)
    return moment[order] if moment.ndim == 1 else moment[order][:, order]


def power(moment: Moment, exponent: float, floor: float) -> Moment:
    """The moment to some power, its eigenvalues taken as at least `floor`."""
    if moment.ndim == 1:
        return moment.clamp_min(floor) ** exponent
    values, vectors = torch.linalg.eigh(moment)
    return (vectors * values.clamp_min(floor) ** exponent) @ vectors.T


class Half:
    """H with Hᵀ H = `moment`, without its null space, and H⁺: the eigen form, which no singular moment breaks.

    Of a diagonal moment it is a choice of rows and a factor for each. A moment of zeros sees nothing, and one direction
    stands for nothing.
    """

    def __init__(self, moment: Moment) -> None:
        values, vectors = (moment, None) if moment.ndim == 1 else torch.linalg.eigh(moment)
        seen = values > values.max().clamp_min(0) * UNSEEN
        if not bool(seen.any()):
            seen[-1] = True
        self._seen, self._size = seen, len(moment)
        self._root = values[seen].clamp_min(torch.finfo(values.dtype).tiny).sqrt()[:, None]
        self._vectors = None if vectors is None else vectors[:, seen]

    def there(self, rows: Float[Tensor, "n m"]) -> Float[Tensor, "r m"]:
        """H `rows`, as many rows as the moment has rank."""
        return self._root * (rows[self._seen] if self._vectors is None else self._vectors.T @ rows)

    def back(self, rows: Float[Tensor, "r m"]) -> Float[Tensor, "n m"]:
        """H⁺ `rows`; zeros where the moment sees nothing."""
        if self._vectors is not None:
            return self._vectors @ (rows / self._root)
        wide = rows.new_zeros(self._size, rows.shape[1])
        wide[self._seen] = rows / self._root
        return wide
