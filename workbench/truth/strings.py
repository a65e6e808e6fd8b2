"""Strings as rows of symbol numbers: checks, enumeration in lexicographic order, and what a joint table says."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

MOST_STRINGS = 2**24  # as many as are ever held in a table: 128 MiB of float64


def check_alphabet(alphabet: Sequence[str]) -> None:
    """Raises ValueError unless the symbols are one or more, and all different."""
    if not alphabet or len(set(alphabet)) != len(alphabet):
        raise ValueError(f"an alphabet is one or more different symbols, not {tuple(alphabet)!r}.")


def check_strings(x: Int[Tensor, "n sites"], n_sites: int, alphabet: Sequence[str]) -> None:
    """Raises ValueError unless every row of `x` is a string of `n_sites` indices into `alphabet`."""
    if x.ndim != 2 or x.shape[1] != n_sites:
        raise ValueError(f"strings of this source have {n_sites} symbols, a row each, not shape {tuple(x.shape)}.")
    if x.numel() and not 0 <= int(x.min()) <= int(x.max()) < len(alphabet):
        wrong = int(x.min()) if int(x.min()) < 0 else int(x.max())
        raise ValueError(
            f"a string holds the symbol {wrong}, but this source has {len(alphabet)} symbols, "
            f"0 to {len(alphabet) - 1} by number; strings are rows of such numbers."
        )


def check_symbols(x: Int[Tensor, "n sites"], shape: Sequence[int], whose: str) -> Int[Tensor, "n sites"]:
    """`x` as it is. Raises ValueError unless each symbol is one of the so many that its site has; `whose` is told."""
    if x.ndim != 2 or x.shape[1] != len(shape):
        raise ValueError(f"strings of this {whose} have {len(shape)} symbols, a row each, not {tuple(x.shape)}.")
    wrong = ((x < 0) | (x >= torch.tensor(shape, device=x.device))).nonzero()
    if len(wrong):
        row, site = wrong[0].tolist()
        raise ValueError(
            f"string {row} has the symbol {int(x[row, site])} at site {site}, which has {shape[site]} symbols, 0 to "
            f"{shape[site] - 1} by number."
        )
    return x


def check_sites(sites: Sequence[int], n_sites: int) -> tuple[int, ...]:
    """`sites` as they are. Raises ValueError unless they are different sites of a string of `n_sites`."""
    for site in sites:
        if not 0 <= site < n_sites:
            raise ValueError(f"site {site} is not in a string of {n_sites} symbols; give 0 to {n_sites - 1}.")
    if len(set(sites)) != len(sites):
        raise ValueError(f"the sites {tuple(sites)} name one twice; a marginal has an axis a site.")
    return tuple(sites)


def check_enumerable(n_symbols: int, n_sites: int, remedy: str, most: int = MOST_STRINGS) -> int:
    """How many strings there are. Raises ValueError, which ends in `remedy`, if they are more than `most`."""
    if n_sites * math.log(n_symbols) > math.log(most) + 1e-9:
        raise ValueError(
            f"{n_sites} sites of {n_symbols} symbols make {n_symbols}^{n_sites} strings, more than the "
            f"2^{most.bit_length() - 1} that are enumerated; {remedy}."
        )
    return n_symbols**n_sites


def numbered_strings(numbers: Int[Tensor, " n"], n_sites: int, n_symbols: int) -> Int[Tensor, "n sites"]:
    """The strings at these places of the lexicographic order, the last symbol changing fastest."""
    places = [n_symbols**k for k in reversed(range(n_sites))]
    return numbers[:, None].div(torch.tensor(places, dtype=torch.int64), rounding_mode="floor").remainder(n_symbols)


def string_numbers(x: Int[Tensor, "n sites"], n_symbols: int) -> Int[Tensor, " n"]:
    """The place of each string in the lexicographic order, the inverse of `numbered_strings`."""
    numbers = torch.zeros(len(x), dtype=torch.int64)
    for k in range(x.shape[1]):
        numbers = numbers * n_symbols + x[:, k]
    return numbers


def table_entropy(table: Float[Tensor, "*symbols"]) -> float:
    """The entropy of a table of probabilities, in nats."""
    return float(torch.special.entr(table).sum())


def table_information(joint: Float[Tensor, "left right"]) -> float:
    """The mutual information of the two axes of a table of probabilities, in nats."""
    apart = joint.sum(1, keepdim=True) * joint.sum(0, keepdim=True)
    seen = joint > 0
    return float((joint[seen] * (joint[seen] / apart[seen]).log()).sum())


def draw_many(weights: Float[Tensor, " choices"], n: int, generator: torch.Generator) -> Int[Tensor, " n"]:
    """So many choices of one distribution, drawn by weights that need not sum to one; never one of weight 0."""
    reached = weights.cumsum(0)
    # Divided by the last, every choice of a weight above 0 is reached by a draw in [0, 1), and no other.
    draws = torch.rand(n, dtype=torch.float64, generator=generator)
    return torch.searchsorted(reached / reached[-1], draws, right=True)


def draw(shares: Float[Tensor, "n symbols"], generator: torch.Generator) -> Int[Tensor, " n"]:
    """A symbol for each row, drawn by its shares, which need not sum to one; never one of share 0."""
    reached = shares.cumsum(1)
    reached = reached / reached[:, -1:]  # the last symbol of a share reaches 1 exactly, and a draw stays below it
    thresholds = torch.rand(len(shares), 1, dtype=torch.float64, generator=generator, device=generator.device)
    return torch.searchsorted(reached, thresholds.to(reached), right=True)[:, 0]
