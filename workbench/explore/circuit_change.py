"""A head's circuit before and after a change of the weights, compared in numbers that no gauge can alter."""

from dataclasses import dataclass

import torch
from torch import Tensor

from workbench.spectrum import Spectrum
from workbench.transformer.circuit import Circuit


@dataclass(frozen=True, eq=False)
class CircuitChange:
    """The singular values of a circuit before and after, and how far its leading directions have turned.

    `out_cosines` and `in_cosines` are the cosines of the principal angles, largest first, between the spaces spanned
    by the leading left (right) singular vectors before and after: all ones where the space is the same, and 0 for
    each direction that the changed circuit no longer has. Neither depends on how the circuit is factored.
    The spectra hold the singular values above rounding alone.
    """

    name: str
    before: Spectrum
    after: Spectrum
    out_cosines: tuple[float, ...]
    in_cosines: tuple[float, ...]

    @property
    def cosines(self) -> tuple[str, str]:
        """The cosines of both sides, in words."""
        out, into = (" ".join(f"{cosine:.2f}" for cosine in own) for own in (self.out_cosines, self.in_cosines))
        return f"out {out}", f"in {into}"

    def __str__(self) -> str:
        values = (f"{float(spectrum.values[0]):.3g}" for spectrum in (self.before, self.after))
        return (
            f"{self.name}: rank {len(self.before)} → {len(self.after)}, largest singular value {' → '.join(values)}, "
            f"cosines of leading directions {', '.join(self.cosines)}"
        )


def circuit_change(before: Circuit, after: Circuit, n_directions: int = 4) -> CircuitChange:
    """What became of a circuit: its spectra, and the angles between its `n_directions` leading directions.

    Cost: the SVD of the k × k middle of each circuit that has not had one. Raises ValueError for circuits of other
    shapes, or no direction. Source: Björck & Golub (1973) for the angles.
    """
    if before.shape != after.shape:
        raise ValueError(
            f"{before.name} is {before.shape[0]} × {before.shape[1]} before and {after.shape[0]} × {after.shape[1]} "
            "after; only circuits on the same legs are compared."
        )
    if n_directions < 1:
        raise ValueError(f"{n_directions} leading directions are none; give 1 or more.")
    (u, s, vh), (u_after, s_after, vh_after) = before.svd, after.svd
    rank, rank_after = _rank(s), _rank(s_after)
    n = min(n_directions, rank)
    kept = min(n, rank_after)
    return CircuitChange(
        before.name, Spectrum(s[: max(1, rank)]), Spectrum(s_after[: max(1, rank_after)]),
        _cosines(u[:, :n], u_after[:, :kept]), _cosines(vh[:n].mT, vh_after[:kept].mT),
    )  # fmt: skip


def _cosines(first: Tensor, second: Tensor) -> tuple[float, ...]:
    """As many as `first` has columns; where `second` has fewer, the last ones are 0."""
    cosines = torch.linalg.svdvals(first.double().mT @ second.double()).clamp(max=1.0).tolist()
    return (*cosines, *(0.0,) * (first.shape[1] - len(cosines)))


def _rank(values: Tensor) -> int:
    """How many singular values are above what rounding leaves of zeros."""
    floor = float(values.max()) * len(values) * torch.finfo(values.dtype).eps
    return int((values > floor).sum())
