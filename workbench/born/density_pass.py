"""A Born machine from distinct strings in one pass along the sites, by the density matrices of their prefixes."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from workbench.born.density_step import Step, step_of
from workbench.born.environments import picked
from workbench.born.machine import BornMachine


@dataclass(frozen=True, eq=False)
class OnePass:
    """The machine that one pass gives, and what it saw at each bond, from left to right."""

    machine: BornMachine
    steps: tuple[Step, ...]

    @property
    def failure(self) -> str | None:
        """The first bond that keeps no vector of some sector, so that samples through it got probability 0; or None."""
        for step in self.steps:
            for sector in step.dropped:
                return (
                    f"the bond behind site {step.site} keeps no vector of the sector of prefixes like "
                    f"{sector.example}, {sector.weight:.2%} of the weight there: every string through it has "
                    "probability 0, so the KL divergence is infinite; give more samples or a larger bond."
                )
        return None


def one_pass(
    samples: Int[Tensor, "n sites"], max_bond: int, symbols: int = 2, counts: Int[Tensor, " counts"] | None = None
) -> OnePass:
    """The Born machine that keeps, bond by bond, the most probable part of the samples' own state.

    The samples, all different, of `symbols` symbols, are taken as the state ψ = Σ √(count / all) |x⟩, of equal
    amplitudes without `counts`. From left to right the density matrix of a prefix, the rest of the string traced out,
    keeps its `max_bond` leading eigenvectors as the core of that site, and all samples are projected on them. No
    gradient and no repetition: the result generalises where prefixes share suffixes. A `Step` tells of each bond.
    Raises ValueError for samples that repeat, no samples, other symbols, counts below 1, or a bond below 1.
    Cost: O(n max_bond² symbols) a site, for samples with the same suffix are summed before they are multiplied.
    Source: Bradley, Stoudenmire & Terilla (2019).
    """
    if max_bond < 1:
        raise ValueError(f"a bond has a size of 1 or more, not {max_bond}.")
    _check(samples, symbols)
    shares, (order, first_of_suffix) = _shares(samples, counts), _by_suffix(samples)
    samples = samples[order]
    environments, cores, steps = shares[order].sqrt()[:, None], [], []  # (n, left)
    for site in range(samples.shape[1] - 1):
        group = first_of_suffix[:, site].long().cumsum(0) - 1
        summed = _summed(environments, samples[:, site], group, symbols)
        step = step_of(site, summed, max_bond, environments, samples)
        cores.append(step.kept.reshape(environments.shape[1], symbols, -1))
        steps.append(step)
        environments = picked(torch.tensordot(environments, cores[-1], dims=1), samples[:, site])
    whole = samples.new_zeros(len(samples))
    cores.append(_summed(environments, samples[:, -1], whole, symbols).reshape(-1, symbols, 1))
    return OnePass(BornMachine.from_cores(cores), tuple(steps))


def drawn_share(
    strings: Int[Tensor, "n sites"], fraction: float, generator: torch.Generator
) -> Int[Tensor, "drawn sites"]:
    """⌊fraction · n⌋ of the strings, without replacement: of different ones, different ones.

    Raises ValueError for a fraction outside (0, 1], or one that leaves no string.
    """
    check_fraction(fraction)
    n = int(fraction * len(strings))
    if not n:
        raise ValueError(
            f"a fraction of {fraction} of {len(strings)} strings is no string; give 1/{len(strings)} or more."
        )
    return strings[torch.randperm(len(strings), generator=generator)[:n]]


def check_fraction(fraction: float) -> None:
    """Raises ValueError unless `fraction` is in (0, 1]."""
    if not 0 < fraction <= 1:
        raise ValueError(f"a sample fraction is above 0 and at most 1, not {fraction}.")


def _check(samples: Int[Tensor, "n sites"], symbols: int) -> None:
    if samples.ndim != 2 or not samples.numel():
        raise ValueError(f"samples are one or more strings, a row each, not shape {tuple(samples.shape)}.")
    low, high = int(samples.min()), int(samples.max())
    if low < 0 or high >= symbols:
        raise ValueError(
            f"a sample holds the symbol {low if low < 0 else high}, but there are {symbols} symbols, 0 to "
            f"{symbols - 1} by number; say how many by symbols=."
        )


def _by_suffix(samples: Int[Tensor, "n sites"]) -> tuple[Int[Tensor, " n"], Bool[Tensor, "n sites"]]:
    """An order in which samples with the same suffix are neighbours at every site, and whether each is the first of
    those that share what follows a site. Raises ValueError for samples that repeat.
    """
    order = torch.from_numpy(np.lexsort(samples.T.cpu().numpy())).to(samples.device)  # the last symbol counts most
    differs = samples[order].diff(dim=0) != 0
    repeated = len(samples) - 1 - int(differs.any(1).sum())
    if repeated:
        raise ValueError(
            f"{repeated} of {len(samples)} samples repeat another, and one pass needs different strings: give those of "
            "torch.unique(samples, dim=0, return_counts=True), and their counts."
        )
    beyond = differs.flip(1).cummax(1).values.flip(1)  # whether a symbol at this site or behind it differs
    beyond = torch.cat([beyond[:, 1:], torch.zeros_like(beyond[:, :1])], 1)
    return order, torch.cat([beyond.new_ones(1, samples.shape[1]), beyond])


def _shares(samples: Int[Tensor, "n sites"], counts: Int[Tensor, " counts"] | None) -> Float[Tensor, " n"]:
    if counts is None:
        counts = samples.new_ones(len(samples))
    if len(counts) != len(samples) or int(counts.min()) < 1:
        raise ValueError(
            f"{len(samples)} samples have as many counts of 1 or more, not {len(counts)} counts, the least "
            f"{int(counts.min())}."
        )
    return counts.double() / counts.sum()


def _summed(
    environments: Float[Tensor, "n left"], symbols: Int[Tensor, " n"], group: Int[Tensor, " n"], n_symbols: int
) -> Float[Tensor, "groups rows"]:
    """For each suffix the sum, over the samples that end in it, of what is before it: environment times symbol."""
    n_groups = int(group[-1]) + 1
    sums = environments.new_zeros(n_groups * n_symbols, environments.shape[1])
    sums.index_add_(0, group * n_symbols + symbols, environments)
    return sums.reshape(n_groups, n_symbols, -1).transpose(1, 2).flatten(1)
