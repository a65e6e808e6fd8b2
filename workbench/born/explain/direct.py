"""How much two symbols know of each other when all others are known: ties that no third site carries.

I(x_i; x_j | all others) is 0 for two sites that share no factor of p; where p is positive, the pairs for which it is
not 0 are the graph of its Markov field (Hammersley & Clifford 1971). In a hidden parity it is ln 2 for two sites of the
subset, whose mutual information is 0.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.born.environments import LinearWeights, Weights
from workbench.born.explain.pairs import check_one_alphabet, information_map
from workbench.born.questions import ChainModel
from workbench.memory import check_fits
from workbench.truth.strings import check_enumerable, table_entropy

_MOST_STRINGS = 2**20  # seconds
_MISSED = 1e-9  # by what probabilities may miss a sum of 1
_NUMBERS = 2**21  # in the rows that go along the chain together


def direct_dependence(table: Float[Tensor, "*symbols"]) -> Float[Tensor, "i j"]:
    """I(x_i; x_j | all others) of a table of p, in nats, exact; where i = j, the entropy of x_i given all others.

    Raises ValueError for axes of unequal size, above 2^20 strings, or where the table is no distribution.
    Cost: the entropies of N² / 2 tables. Differences of entropies: good to 1e-13 or so.
    """
    _check_distribution(table)
    n_sites, whole = table.ndim, table_entropy(table)
    unknown = table.new_zeros(n_sites, n_sites)  # H(x_i, x_j | all others)
    for i in range(n_sites):
        others = table.sum(i)
        unknown[i, i] = whole - table_entropy(others)
        for j in range(i):
            unknown[i, j] = unknown[j, i] = whole - table_entropy(others.sum(j))
    alone = unknown.diagonal()
    shared = (unknown - alone[:, None] - alone).clamp_min(0)  # below 0 is rounding
    return shared.diagonal_scatter(alone)


def direct_dependence_estimate(
    model: ChainModel, n: int, generator: torch.Generator
) -> tuple[Float[Tensor, "i j"], Float[Tensor, "i j"]]:
    """An estimate of `direct_dependence` from `n` strings of the model, and its standard error; at any length.

    Of each string it takes the exact information of the two symbols given all others, whose mean is unbiased.
    Raises ValueError for less than two strings, or where sites differ in their number of symbols.
    Cost: n N² / 2 rows a symbol past a core; a row has the bond's size, squared in a purified train. Ours.
    """
    if n < 2:
        raise ValueError(f"a standard error is of two or more strings, not {n}; ask for more.")
    symbols, n_sites = check_one_alphabet(model.shape), model.n_sites
    cores, power = _row_cores(model.weights)
    check_fits(2 * n * n_sites**2, cores[0], f"the dependences in {n} strings of {n_sites} sites")
    widest = max(core.shape[0] for core in cores)
    at_once = max(1, _NUMBERS // (widest * (n_sites * symbols + widest)))
    with torch.no_grad():
        parts = model.sample(n, generator).split(at_once)
        spread, mean = torch.std_mean(torch.cat([_in_contexts(cores, power, x) for x in parts]), 0)
    return mean, spread / n**0.5


def _in_contexts(
    cores: Sequence[Float[Tensor, "_ _ _"]], power: int, x: Int[Tensor, "n sites"]
) -> Float[Tensor, "n i j"]:
    """The information of every two symbols given the others of a string; where i = j, the entropy of one."""
    (n, n_sites), symbols = x.shape, cores[0].shape[1]
    found = cores[0].new_zeros(n, n_sites, n_sites)
    waiting = cores[0].new_ones(n, 1, 1)  # the string's own row; then by first site and any symbol there
    for k, (core, behind) in enumerate(zip(cores, _rows_behind(cores, x), strict=True)):
        closed = torch.einsum("lbr,nr->nlb", core, behind)
        shares = (waiting @ closed).clamp_min(0) if power == 1 else (waiting @ closed) ** power
        alone, pairs = shares[:, 0], shares[:, 1:].unflatten(1, (k, symbols))  # (n, b), (n, k, a, b)
        found[:, k, k] = torch.special.entr(alone / alone.sum(1, keepdim=True)).sum(1)
        found[:, :k, k] = information_map(pairs / pairs.sum((2, 3), keepdim=True))
        found[:, k, :k] = found[:, :k, k]
        passed = waiting @ core[:, x[:, k]].transpose(0, 1)
        started = torch.tensordot(waiting[:, 0], core, dims=1)  # (n, a, right)
        waiting = torch.cat([passed, started], 1)
        waiting = waiting / torch.linalg.vector_norm(passed[:, :1], dim=2, keepdim=True)
    return found


def _rows_behind(cores: Sequence[Float[Tensor, "_ _ _"]], x: Int[Tensor, "n sites"]) -> list[Float[Tensor, "n _"]]:
    """Behind each site what the symbols after it come to, at size 1."""
    behind = [cores[0].new_ones(len(x), 1)]
    for k in range(len(cores) - 1, 0, -1):
        moved = torch.einsum("lnr,nr->nl", cores[k][:, x[:, k]], behind[-1])
        behind.append(moved / torch.linalg.vector_norm(moved, dim=1, keepdim=True))
    return behind[::-1]


def _row_cores(weights: Weights) -> tuple[list[Float[Tensor, "_ _ _"]], int]:
    """Cores (left, site, right) whose product along a string, to a power, is its weight."""
    if isinstance(weights, LinearWeights):
        return [core.squeeze(2) for core in weights.cores], 1
    if all(core.shape[2] == 1 for core in weights.cores):
        return [core.squeeze(2) for core in weights.cores], 2
    doubled = [torch.einsum("lahr,mahs->lmars", core, core) for core in weights.cores]
    return [core.flatten(3, 4).flatten(0, 1) for core in doubled], 1


def _check_distribution(table: Float[Tensor, "*symbols"]) -> None:
    if table.ndim == 0:
        raise ValueError("a table of no sites has no pairs; give one an axis a site.")
    check_enumerable(
        check_one_alphabet(table.shape), table.ndim, "estimate it from strings of the model instead", _MOST_STRINGS
    )
    least, total = float(table.min()), float(table.sum())
    if not (least >= 0 and abs(total - 1) <= _MISSED):
        raise ValueError(
            f"the table sums to {total:.6g} and its least entry is {least:.3g}; direct dependence is of probabilities, "
            "0 or more, that sum to 1: divide by the sum."
        )
