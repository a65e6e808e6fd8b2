"""The basis in which each spin of a state is measured: real rotations in the plane of x and z."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

Basis = str | Sequence[float]  # "z", "x", a letter a site, or an angle a site

_ANGLES = {"z": 0.0, "x": math.pi / 2}
_TOLD = 8  # angles listed in a description


def outcomes(basis: Basis, n_sites: int) -> Float[Tensor, "sites outcome component"]:
    """The two states of each site that are told apart, outcome 0 along cos θ z + sin θ x and outcome 1 against it.

    `basis` is "z" (θ = 0) or "x" (θ = π/2) for all sites, such a letter for each, or the angle θ of each, in radians.
    Raises ValueError for other letters, or for another number of them.
    """
    named = basis if not isinstance(basis, str) or len(basis) != 1 else basis * n_sites
    if len(named) != n_sites:
        raise ValueError(f"{n_sites} sites are measured in a letter or an angle each, or one letter, not {len(named)}.")
    wrong = [entry for entry in named if isinstance(entry, str) and entry not in _ANGLES]
    if wrong:
        raise ValueError(f"sites are measured in z, in x or at an angle in radians, not in {wrong[0]!r}.")
    angles = [_ANGLES[entry] if isinstance(entry, str) else float(entry) for entry in named]
    half = torch.tensor(angles, dtype=torch.float64) / 2
    along, against = torch.stack([half.cos(), half.sin()], 1), torch.stack([-half.sin(), half.cos()], 1)
    return torch.stack([along, against], 1)


def measured_table(state: Float[Tensor, "*sites"], basis: Basis) -> Float[Tensor, "*sites"]:
    """The amplitudes of a state vector, an axis a site, in another basis. Cost: two numbers a site and amplitude."""
    for site, told_apart in enumerate(outcomes(basis, state.ndim)):
        state = (told_apart @ state.movedim(site, -2)).movedim(-2, site)
    return state.contiguous()


def measured_cores(cores: Sequence[Float[Tensor, "_ _ _"]], basis: Basis) -> tuple[Float[Tensor, "_ _ _"], ...]:
    """The cores of a state's train in another basis."""
    told_apart = outcomes(basis, len(cores))
    return tuple(torch.einsum("asc,os->aoc", core, each) for core, each in zip(cores, told_apart, strict=True))


def told(basis: Basis) -> str:
    """The basis in a few words."""
    if isinstance(basis, str):
        return f"measured in {basis}"
    angles = ", ".join(entry if isinstance(entry, str) else f"{entry:.3g}" for entry in basis[:_TOLD])
    return f"measured at {angles}{', …' if len(basis) > _TOLD else ''}"
