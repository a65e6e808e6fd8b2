"""How well one pass should learn even parity: a mean-field theory of our own, drawn beside what is measured.

At bond k (counted from 1) a sector of prefixes spans a block [[d₁, s], [s, d₂]] of the density matrix, and its leading
vector lies at π/4 when d₁ = d₂, as with all strings. With a share f of them, a suffix has n ~ Bin(m, f) of its
m = 2^(k − 2) prefixes of one kind, and S = 2^(N − k − 1) suffixes add n² to d₁ or d₂. So d₁ − d₂ varies by 2 S Var(n²)
where 2 s is 2 S m² f² on average: x = Var(n²) / (2 S m⁴ f⁴) is the variance of their ratio, the vector turns by
δ = ½ arctan √x, and the overlap loses a factor cos δ. Bonds are taken as independent, so it holds while x is small.
The first bonds decide: there x ≈ (1 − f) / (2^(N − 2) f³), so the samples needed grow as 2^(2N/3).
"""

import math

from workbench.born.density_pass import check_fraction


def expected_overlap(n_sites: int, fraction: float) -> float:
    """The overlap of the one-pass machine of bond 2 with even parity, learned from this fraction of its strings.

    Mean-field (ours; see the module): beside 10 shuffles at 16 sites it is within a fifth of -ln overlap for a fraction
    of 0.05 and more, and far too hopeful below, where whole sectors are dropped.
    Raises ValueError for a fraction outside (0, 1], or fewer than 3 sites.
    """
    check_fraction(fraction)
    if n_sites < 3:
        raise ValueError(f"the theory is of 3 or more sites, since those of 2 share no suffix, not of {n_sites}.")
    angles = (math.atan(math.sqrt(_spread(n_sites, k, fraction))) / 2 for k in range(2, n_sites))
    return math.exp(sum(math.log(math.cos(angle)) for angle in angles))


def expected_samples(n_sites: int, overlap: float) -> float:
    """How many strings of even parity one pass of bond 2 needs for this overlap, by `expected_overlap`; all at most.

    Raises ValueError for an overlap outside (0, 1].
    """
    if not 0 < overlap <= 1:
        raise ValueError(f"an overlap to reach is above 0 and at most 1, not {overlap}.")
    low, high = 0.0, 1.0
    for _ in range(60):  # the overlap grows with the fraction
        middle = (low + high) / 2
        low, high = (low, middle) if expected_overlap(n_sites, middle) >= overlap else (middle, high)
    return high * 2 ** (n_sites - 1)


def _spread(n_sites: int, k: int, fraction: float) -> float:
    """x at bond k: Var(n²) / (2 S m⁴ f⁴)."""
    m, suffixes = 2 ** (k - 2), 2 ** (n_sites - k - 1)
    return _variance_of_square(m, fraction) / (2 * suffixes * m**4 * fraction**4)


def _variance_of_square(m: int, f: float) -> float:
    """Var(n²) of n ~ Bin(m, f), from its factorial moments m (m − 1) … f^j."""
    first, second = m * f, m * (m - 1) * f**2
    third = second * (m - 2) * f
    fourth = third * (m - 3) * f
    return max(0.0, first + 7 * second + 6 * third + fourth - (first + second) ** 2)
