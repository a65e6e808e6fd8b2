"""Named processes whose entropies are known: what a model of sequences is first tried on."""

import math

import torch

from workbench.truth.hmm import HiddenMarkov
from workbench.truth.hmm_quantum import quantum_process
from workbench.truth.source import Description


def mess3(x: float = 0.05, a: float = 0.85) -> HiddenMarkov:
    """Three states and symbols; a state is left with probability 2x, and its own symbol written with a.

    Strings leave ever new beliefs, a fractal in the triangle. Source: Marzen & Crutchfield (2017); with these numbers
    Shai et al. (2024), arXiv 2405.15943.
    """
    _check_share("x", x, 0.5)
    _check_share("a", a, 1)
    moved = torch.full((3, 3), x, dtype=torch.float64).fill_diagonal_(1 - 2 * x)
    written = torch.full((3, 3), (1 - a) / 2, dtype=torch.float64).fill_diagonal_(a)  # (symbol, next)
    return _named("Mess3", f"x = {x:g}, a = {a:g}", "Marzen & Crutchfield (2017)", written[:, None] * moved)


def z1r(p: float = 0.5) -> HiddenMarkov:
    """Zero, one, random: a 0, a 1, and a symbol that is 1 with probability p, over and over."""
    _check_share("p", p, 1)
    matrices = torch.zeros(2, 3, 3, dtype=torch.float64)
    matrices[0, 0, 1] = matrices[1, 1, 2] = 1
    matrices[0, 2, 0], matrices[1, 2, 0] = 1 - p, p
    return _named("Z1R", f"p = {p:g}", "Shai et al. (2024)", matrices)


def rrxor(p: float = 0.5, q: float = 0.5) -> HiddenMarkov:
    """Two random bits, the first 0 with probability p, the second with q, and their exclusive or, over and over."""
    _check_share("p", p, 1)
    _check_share("q", q, 1)
    matrices = torch.zeros(2, 5, 5, dtype=torch.float64)  # states: all done, read 0, read 1, must write 0, must write 1
    matrices[0, 0, 1], matrices[1, 0, 2] = p, 1 - p
    matrices[0, 1, 3], matrices[1, 1, 4] = q, 1 - q
    matrices[0, 2, 4], matrices[1, 2, 3] = q, 1 - q
    matrices[0, 3, 0] = matrices[1, 4, 0] = 1
    return _named("RRXOR", f"p = {p:g}, q = {q:g}", "Crutchfield & Feldman (2003)", matrices)


def golden_mean(p: float = 0.5) -> HiddenMarkov:
    """No two ones in a row; after a zero, a one comes with probability p."""
    _check_share("p", p, 1)
    matrices = torch.tensor([[[1 - p, 0], [1, 0]], [[0, p], [0, 0]]], dtype=torch.float64)
    return _named("golden mean", f"p = {p:g}", "Crutchfield & Feldman (2003)", matrices)


def even_process(p: float = 0.5) -> HiddenMarkov:
    """Ones in runs of even length only; a further two come with probability p. No finite memory of symbols knows it."""
    _check_share("p", p, 1)
    matrices = torch.tensor([[[1 - p, 0], [0, 0]], [[0, p], [1, 0]]], dtype=torch.float64)
    return _named("even process", f"p = {p:g}", "Crutchfield & Feldman (2003)", matrices)


def bloch_walk(alpha: float = 1.0, beta: float = math.sqrt(51)) -> HiddenMarkov:
    """A qubit measured weakly along Z or X by a fair coin: K = (α ± β Z) / 2√(α² + β²), and so for X. Four outcomes.

    Also called tom_quantum. For α = β the outcome of the last measurement is all that is known; for most other numbers
    strings leave ever new density matrices. Source: the Simplexity library (Astera Institute).
    """
    scale = 2 * math.hypot(alpha, beta)
    if scale == 0:
        raise ValueError("alpha and beta are both 0, so nothing is measured; give one that is not.")
    one = torch.eye(2, dtype=torch.complex128)
    z = torch.tensor([[1, 0], [0, -1]], dtype=torch.complex128)
    x = z.flip(0).abs().to(torch.complex128)
    kraus = [(alpha * one + sign * beta * axis)[None] / scale for axis in (z, x) for sign in (1, -1)]
    description = Description("Bloch walk", f"α = {alpha:g}, β = {beta:g}", "Simplexity's tom_quantum")
    return quantum_process(kraus, description, ("z+", "z-", "x+", "x-"))


def _named(name: str, parameters: str, origin: str, matrices: torch.Tensor) -> HiddenMarkov:
    return HiddenMarkov.from_matrices(matrices, Description(name, parameters, origin))


def _check_share(name: str, value: float, most: float) -> None:
    if not 0 < value < most:
        raise ValueError(f"{name} is a probability over 0 and below {most:g}, not {value:g}.")
