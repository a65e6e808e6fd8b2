"""The Ising model on the infinite square lattice, solved: per site, without field."""

import math

from scipy.integrate import quad
from scipy.special import ellipkm1

CRITICAL_BETA = math.log(1 + math.sqrt(2)) / 2  # 0.4406868


def log_partition_per_site(beta: float) -> float:
    """The limit of ln Z / N. Source: Onsager (1944); ln 2 / 2 + 2 G / π at the critical β, G Catalan's constant."""
    modulus = 2 * math.sinh(2 * abs(beta)) / math.cosh(2 * beta) ** 2
    total, _ = quad(
        lambda angle: math.log((1 + math.sqrt(max(0.0, 1 - (modulus * math.sin(angle)) ** 2))) / 2),
        0, math.pi / 2, epsabs=1e-13, epsrel=1e-13,
    )  # fmt: skip
    return math.log(2 * math.cosh(2 * beta)) + total / math.pi


def energy_per_site(beta: float) -> float:
    """The limit of the mean energy over N, in units of the coupling: -√2 at the critical β. Source: Onsager (1944)."""
    if beta == 0:
        return 0.0
    gap = (2 * math.tanh(2 * beta) ** 2 - 1) ** 2  # 1 - modulus², exactly
    if gap == 0:
        return -math.sqrt(2) * math.copysign(1, beta)
    return -(1 + 2 / math.pi * (2 * math.tanh(2 * beta) ** 2 - 1) * ellipkm1(gap)) / math.tanh(2 * beta)


def entropy_per_site(beta: float) -> float:
    """The limit of the entropy over N, in nats."""
    return log_partition_per_site(beta) + beta * energy_per_site(beta)
