"""Entropy and mutual information from samples, in nats: with their bias to first order, and a standard error.

Counted shares put into the formula (plug-in) make what is independent look dependent: information comes out too large
by about (a - 1)(b - 1) / 2n for a and b symbols, entropy too small by (a - 1) / 2n. So a model too large to enumerate
is measured from samples drawn from it.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from workbench.born.explain.pairs import information_map

RESAMPLES = 200  # of a bootstrap: its standard errors are themselves good to one in twenty


@dataclass(frozen=True, eq=False)
class InformationEstimate:
    """The information of all pairs of sites, estimated from `n` samples, in nats; the entropy of the site where i = j.

    `plug_in` is that of the counted shares, `corrected` has its bias to first order taken off (Miller & Madow 1955) and
    may be below 0. `standard_error` is the spread of `plug_in` over samples drawn again from these: about √3 times too
    large for sites that are independent (ours, to first order), since in the samples they are not.
    """

    n: int
    plug_in: Float[Tensor, "i j"]
    corrected: Float[Tensor, "i j"]
    standard_error: Float[Tensor, "i j"]

    def __str__(self) -> str:
        rows, columns = torch.triu_indices(*self.plug_in.shape, offset=1)
        counted, corrected, error = (
            float(table[rows, columns].mean()) for table in (self.plug_in, self.corrected, self.standard_error)
        )
        return (
            f"{self.n:,} samples: {counted:.4f} nats a pair of sites as counted, {corrected:.4f} less bias, "
            f"each ± {error:.4f}"
        )


@dataclass(frozen=True)
class EntropyEstimate:
    """The entropy of strings estimated from `n` samples, in nats, of which `n_different` differ.

    Fields are those of `InformationEstimate`. With about as many different strings as samples, all are far too small;
    of a model that knows its ln p, the mean of -ln p over its samples is an estimate without a bias.
    """

    n: int
    n_different: int
    plug_in: float
    corrected: float
    standard_error: float

    def __str__(self) -> str:
        return (
            f"{self.n:,} samples, {self.n_different:,} of them different: {self.plug_in:.4f} nats as counted, "
            f"{self.corrected:.4f} less bias, ± {self.standard_error:.4f}"
        )


def estimate_information(
    x: Int[Tensor, "n sites"], n_symbols: int, generator: torch.Generator, resamples: int = RESAMPLES
) -> InformationEstimate:
    """The information of all pairs of sites from samples, with the error of a bootstrap (Efron 1979).

    Raises ValueError for fewer than two samples, or symbols that are not there.
    Cost: for each of the `resamples`, a product (sites × symbols, samples, sites × symbols).
    """
    _check_many(len(x))
    ones = _one_hot(x, n_symbols)
    joint = _shared(ones, ones.new_ones(len(x)), n_symbols)
    plug_in = information_map(joint)
    drawn = [information_map(_shared(ones, _drawn_again(len(x), generator), n_symbols)) for _ in range(resamples)]
    return InformationEstimate(len(x), plug_in, plug_in - information_bias(joint, len(x)), torch.stack(drawn).std(0))


def sample_information(x: Int[Tensor, "n sites"], n_symbols: int) -> Float[Tensor, "i j"]:
    """The plug-in estimate of `estimate_information` alone."""
    return information_map(pair_counts(x, n_symbols))


def pair_counts(x: Int[Tensor, "n sites"], n_symbols: int) -> Float[Tensor, "i j a b"]:
    """The share of samples with a at site i and b at site j: an estimate, without a bias, of `pair_marginals`.

    Raises ValueError where there are no samples, or symbols that are not there.
    """
    ones = _one_hot(x, n_symbols)
    return _shared(ones, ones.new_ones(len(x)), n_symbols)


def information_bias(joint: Float[Tensor, "i j a b"], n: int) -> Float[Tensor, "i j"]:
    """What n samples of pairs that are so distributed add to the plug-in information, to first order in 1/n, in nats.

    (cells - rows - columns + 1) / 2n of those with a probability above 0, which is (A - 1)² / 2n where all have one;
    where i = j, of the entropy: -(symbols - 1) / 2n. Exact to that order of the true table; of counted shares, in which
    rare pairs are missing, an estimate. Source: Miller (1955).
    """
    cells = (joint > 0).double()
    rows, columns = (cells.amax(axis).sum(2) for axis in (3, 2))
    return (cells.sum((2, 3)) - rows - columns + 1) / (2 * n)  # where i = j, all three are the number of symbols


def estimate_entropy(
    x: Int[Tensor, "n sites"], generator: torch.Generator, resamples: int = RESAMPLES
) -> EntropyEstimate:
    """The entropy of whole strings from samples; of a block of sites, give these columns alone.

    Raises ValueError for fewer than two samples.
    """
    _check_many(len(x))
    _, which, counts = torch.unique(x, dim=0, return_inverse=True, return_counts=True)
    plug_in = _entropy(counts.double())
    drawn = [
        _entropy(torch.zeros(len(counts), dtype=torch.float64).index_add(0, which, _drawn_again(len(x), generator)))
        for _ in range(resamples)
    ]
    return EntropyEstimate(
        n=len(x),
        n_different=len(counts),
        plug_in=plug_in,
        corrected=plug_in + (len(counts) - 1) / (2 * len(x)),
        standard_error=float(torch.tensor(drawn).std()),
    )


def _check_many(n: int) -> None:
    if n < 2:
        raise ValueError(f"an error is found by drawing samples again, and {n} is too few; give two or more.")


def _one_hot(x: Int[Tensor, "n sites"], n_symbols: int) -> Float[Tensor, "n sites symbols"]:
    if x.ndim != 2 or not x.numel():
        raise ValueError(f"samples are one or more strings, a row each, not shape {tuple(x.shape)}.")
    if not 0 <= int(x.min()) <= int(x.max()) < n_symbols:
        raise ValueError(f"symbols are 0 to {n_symbols - 1}, and these samples hold {int(x.min())} to {int(x.max())}.")
    return functional.one_hot(x.long(), n_symbols).double()


def _shared(
    ones: Float[Tensor, "n sites symbols"], weights: Float[Tensor, " n"], n_symbols: int
) -> Float[Tensor, "i j a b"]:
    """The joint shares of all pairs of sites, each sample as often as it is weighted."""
    flat = ones.flatten(1)
    joint = (flat * weights[:, None]).T @ flat / weights.sum()  # (i a, j b)
    return joint.unflatten(1, (-1, n_symbols)).unflatten(0, (-1, n_symbols)).transpose(1, 2)


def _drawn_again(n: int, generator: torch.Generator) -> Float[Tensor, " n"]:
    """How often each of n samples comes when n are drawn from them."""
    return torch.bincount(torch.randint(n, (n,), generator=generator), minlength=n).double()


def _entropy(counts: Float[Tensor, " strings"]) -> float:
    return float(torch.special.entr(counts / counts.sum()).sum())
