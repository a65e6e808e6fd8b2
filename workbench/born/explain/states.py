"""What the state of a Born machine says of a few of its sites, the others traced out.

The symbols of p = ψ² are one measurement of it; its entanglement is there before any, and may tie sites whose symbols
are independent. Everything is exact, in nats, and the same whatever basis the bonds are in.
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.born.explain.pairs import check_one_alphabet
from workbench.born.machine import BornMachine
from workbench.memory import check_fits
from workbench.truth.strings import check_sites

_MOST_ROWS = 2**12  # of a density matrix: 128 MiB of float64, and a minute to diagonalise


def reduced_state(machine: BornMachine, sites: Sequence[int]) -> Float[Tensor, "rows rows"]:
    """The density matrix of `sites`, rows numbered by their symbols in the order given, the last changing fastest.

    Its diagonal is their marginal, in one row. Raises ValueError above 2^12 rows.
    Cost: rows² environments at each site up to the last.
    """
    asked = check_sites(sites, machine.n_sites)
    order = sorted(asked)
    sizes = [machine.shape[site] for site in order]
    if math.prod(sizes) > _MOST_ROWS:
        raise ValueError(
            f"the state of {len(sizes)} sites has {math.prod(sizes)} rows, more than the 2^12 that are made; give "
            "fewer sites, or ask for a `block_entropy`."
        )
    with torch.no_grad():
        state = _state(machine.train.cores, order)
    axes = [order.index(site) for site in asked]
    state = state.reshape(sizes * 2).permute([*axes, *[len(axes) + axis for axis in axes]])
    return state.reshape(math.prod(sizes), -1)


def site_entropies(machine: BornMachine) -> Float[Tensor, " sites"]:
    """The entanglement entropy of each site with all others, exact. Cost: that of one environment along the chain."""
    before, found = machine.train.cores[0].new_ones(1, 1), []
    with torch.no_grad():
        for core in machine.train.cores:
            half = torch.tensordot(before, core, dims=1)  # (left, site, right)
            found.append(state_entropies(torch.einsum("lar,lbr->ab", half, core)))
            before = half.flatten(0, 1).T @ core.flatten(0, 1)
    return torch.stack(found)


def block_entropy(machine: BornMachine, sites: Sequence[int]) -> float:
    """The entanglement entropy of the sites of a block with all others, exact; 0 for none and for all.

    An end of the chain is read off its bond. Of other blocks each run of sites counts as one, with no more symbols than
    the product of its two bonds, which holds all that it can be in; the state is of the block or of the others, which
    have the same entropy. Raises ValueError where both have more than 2^12 rows.
    """
    block = sorted(check_sites(sites, machine.n_sites))
    others = [site for site in range(machine.n_sites) if site not in block]
    if not block or not others:
        return 0.0
    for end in (block, others):
        if end[-1] == len(end) - 1:
            return machine.train.spectra[end[-1]].entropy()
    runs, rows = min([_runs(machine, side) for side in (block, others)], key=lambda choice: choice[1])
    if rows > _MOST_ROWS:
        raise ValueError(
            f"a block of {len(block)} sites in {len(runs)} runs has a state of {rows} rows or more, and 2^12 are "
            "diagonalised; give fewer sites, an end of the chain, or cut the machine's bonds."
        )
    with torch.no_grad():
        return float(state_entropies(_state(*_fused(machine.train.cores, runs))))


def pair_states(machine: BornMachine) -> Float[Tensor, "i j ab ab"]:
    """The density matrices of all pairs of sites, exact; their diagonals are `pair_marginals`, in one row each.

    [i, i] is the site's own with its symbol written twice, which has the same entropy.
    Raises ValueError where sites differ in their number of symbols.
    Cost: one sweep, N² / 2 environments a symbol squared each past a core.
    """
    cores, n_sites, symbols = machine.train.cores, machine.n_sites, check_one_alphabet(machine.shape)
    check_fits(n_sites**2 * symbols**4, cores[0], f"the states of all pairs of {n_sites} sites")
    states = cores[0].new_zeros(n_sites, n_sites, *[symbols] * 4)  # i, j, and the symbols of i, j, i, j
    waiting = cores[0].new_ones(1, 1, 1)  # nothing seen; then by first site and its two symbols
    twice = torch.arange(symbols, device=cores[0].device)
    with torch.no_grad():
        for k, core in enumerate(cores):
            check_fits(len(waiting) * core.numel() * symbols * core.shape[2], core, "the states of all pairs of sites")
            half = torch.tensordot(waiting, core, dims=1)  # (waiting, left, b, right)
            seen = torch.einsum("nlbr,lcr->nbc", half, core)  # all behind is an isometry
            states[k, k, twice[:, None], twice[:, None], twice, twice] = seen[0]
            states[:k, k] = seen[1:].unflatten(0, (k, symbols, symbols)).transpose(2, 3)
            states[k, :k] = states[:k, k].permute(0, 2, 1, 4, 3)
            passed = torch.einsum("nlar,las->nrs", half, core)
            started = torch.einsum("lar,lbs->abrs", half[0], core).flatten(0, 1)
            waiting = torch.cat([passed.transpose(1, 2), started.transpose(1, 2)])
    return states.flatten(4, 5).flatten(2, 3)


def quantum_information_map(machine: BornMachine) -> Float[Tensor, "i j"]:
    """S_i + S_j - S_ij of every pair of sites, in nats, exact; the entropy of the site where i = j.

    Of two sites at least the mutual information of their symbols, and at most twice ln of the symbols' number. Raises
    and costs as `pair_states`; besides, the eigenvalues of N² matrices.
    """
    alone, pairs = site_entropies(machine), state_entropies(pair_states(machine))
    return (alone[:, None] + alone - pairs).clamp_min(0)  # below 0 is rounding


def excess_entanglement(machine: BornMachine, truth: BornMachine) -> tuple[float, ...]:
    """At each bond the entanglement entropy of a learned machine less that of the truth, in nats: above 0, overfit.

    Raises ValueError for machines of other sites.
    """
    if machine.shape != truth.shape:
        raise ValueError(f"excess entanglement is between equal sites, not {machine.shape} and {truth.shape}.")
    return tuple([own - true for own, true in zip(machine.entropies(), truth.entropies(), strict=True)])


def state_entropies(states: Float[Tensor, "*batch rows rows"]) -> Float[Tensor, "*batch"]:
    """The von Neumann entropy of each density matrix, divided by its trace, in nats."""
    shares = torch.linalg.eigvalsh(states).clamp_min(0)  # below 0 is rounding
    return torch.special.entr(shares / shares.sum(-1, keepdim=True)).sum(-1)


def _state(cores: Sequence[Float[Tensor, "_ _ _"]], kept: Sequence[int]) -> Float[Tensor, "rows rows"]:
    """The density matrix of the kept sites, in ascending order, of cores that are isometries from the right."""
    joined = cores[0].new_ones(1, 1, 1, 1)  # (ket rows, bra rows, ket bond, bra bond)
    for k, core in enumerate(cores[: kept[-1] + 1] if kept else ()):
        check_fits(len(joined) ** 2 * joined.shape[3] * core.numel(), core, f"the state of {len(kept)} sites")
        half = torch.tensordot(joined, core, dims=1)  # (ket rows, bra rows, ket bond, bra site, bra bond)
        if k not in kept:
            joined = torch.einsum("mnlas,lar->mnrs", half, core)
        elif k == kept[-1]:
            joined = torch.einsum("mnlbr,lar->manb", half, core).flatten(2, 3).flatten(0, 1)[:, :, None, None]
        else:
            joined = torch.einsum("mnlbs,lar->manbrs", half, core).flatten(2, 3).flatten(0, 1)
    return joined[:, :, 0, 0]


def _runs(machine: BornMachine, block: Sequence[int]) -> tuple[list[list[int]], int]:
    """The runs of neighbouring sites in a block, and how many rows the state of all has when each is `_reached`."""
    runs: list[list[int]] = []
    for site in block:
        if site - 1 in block:
            runs[-1].append(site)
        else:
            runs.append([site])
    bonds = (1, *machine.train.bonds, 1)
    sizes = [min(math.prod(machine.shape[k] for k in run), bonds[run[0]] * bonds[run[-1] + 1]) for run in runs]
    return runs, math.prod(sizes)


def _fused(cores: Sequence[Float[Tensor, "_ _ _"]], runs: Sequence[Sequence[int]]) -> tuple[list[Tensor], list[int]]:
    """Cores in which every run is one site, in a basis of what it can be in; and the places of the runs."""
    inside = {site: run[0] for run in runs for site in run}
    fused, kept = [], []
    for k, core in enumerate(cores):
        if k in inside and k > inside[k]:
            core = torch.tensordot(fused.pop(), core, dims=1).flatten(1, 2)  # (left, run, right)
        elif k in inside:
            kept.append(len(fused))
        fused.append(_reached(core) if k in inside else core)
    return fused, kept


def _reached(core: Float[Tensor, "left site right"]) -> Float[Tensor, "left r right"]:
    """The core in an orthonormal basis of the site's space that holds all of it, no larger than its two bonds."""
    left, size, right = core.shape
    if size <= left * right:
        return core
    rows = torch.linalg.qr(core.transpose(0, 1).flatten(1), mode="r").R  # (r, left right)
    return rows.unflatten(1, (left, right)).transpose(0, 1)
