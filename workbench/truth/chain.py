"""A distribution over strings as a train of cores: a weighted automaton, whose every question is a sweep along it.

p(x) = Π core_k[:, x_k, :] / Z. The right environments (what all continuations sum to) are found once; with them each
core becomes a step of conditional probabilities, so that nothing overflows or underflows in strings of any length.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.decompose.exact import check_finite
from workbench.decompose.train import TensorTrain, check_chain
from workbench.memory import check_fits
from workbench.truth.amplitudes import MOST_DECOMPOSED, amplitudes_of_table, minimal
from workbench.truth.automaton import chain_entropy, has_one_path, position_entropies
from workbench.truth.source import Description
from workbench.truth.strings import (
    check_alphabet,
    check_enumerable,
    check_sites,
    check_strings,
    draw,
    table_information,
)

_ROWS = 2**16  # strings at a time
_ROUNDING = 1e-12  # a conditional probability of a generalised chain below this is rounding, and taken as 0


@dataclass(frozen=True, eq=False)
class ChainSource:
    """The distribution p(x) = Π core_k[:, x_k, :] / Z of `cores` (left, site, right), float64, outer bonds of size 1.

    The cores hold no negative number, and p ≥ 0 follows; in a `generalised` chain they may (a quantum process, or the
    doubled train of a state): then p ≥ 0 is known from where they come, which is not checked for all strings, and a
    conditional probability below 1e-12 counts as 0. `rate` is the entropy rate of the process the chain is cut from.
    `log_partition` is ln Z.
    """

    cores: tuple[Float[Tensor, "_ _ _"], ...]
    alphabet: tuple[str, ...]
    description: Description
    rate: float | None = None
    generalised: bool = False
    # Cores with Σ_x steps[k][:, x] @ ends[k] = ends[k - 1]; all ends are ones where no core is negative.
    steps: tuple[Float[Tensor, "_ _ _"], ...] = field(init=False, repr=False)
    ends: tuple[Float[Tensor, " _"], ...] = field(init=False, repr=False)
    log_partition: float = field(init=False, repr=False)

    def __post_init__(self) -> None:
        check_alphabet(self.alphabet)
        check_chain(self.cores)
        for k, core in enumerate(self.cores):
            _check_core(k, core, len(self.alphabet), self.generalised)
        steps, ends, log_partition = _swept(self.cores, self.generalised)
        object.__setattr__(self, "steps", steps)
        object.__setattr__(self, "ends", ends)
        object.__setattr__(self, "log_partition", log_partition)

    @property
    def n_sites(self) -> int:
        """The length of a string."""
        return len(self.cores)

    def sample(self, n: int, generator: torch.Generator) -> Int[Tensor, "n sites"]:
        """So many independent strings, drawn symbol by symbol from the exact conditionals.

        Cost: n products (left, right) a site.
        """
        before, drawn = torch.ones(n, 1, dtype=torch.float64), torch.empty(n, self.n_sites, dtype=torch.int64)
        for k, (step, end) in enumerate(zip(self.steps, self.ends, strict=True)):
            drawn[:, k] = draw(self._sound(before @ (step @ end)), generator)
            before, _ = self._advanced(before, k, drawn[:, k])
        return drawn

    def log_prob(self, x: Int[Tensor, "n sites"]) -> Float[Tensor, " n"]:
        """ln p of each string, float64; -inf outside the support. Cost: n products (left, right) a site.

        Raises ValueError for strings of another length or alphabet.
        """
        check_strings(x, self.n_sites, self.alphabet)
        parts = [torch.zeros(0, dtype=torch.float64)]
        for rows in x.split(_ROWS):
            before, total = torch.ones(len(rows), 1, dtype=torch.float64), torch.zeros(len(rows), dtype=torch.float64)
            for k in range(self.n_sites):
                before, p = self._advanced(before, k, rows[:, k])
                total += p.log()
            parts.append(total)
        return torch.cat(parts)

    def entropy(self) -> float:
        """Of a whole string, exact at any length where every string has one path through the chain; else the sum of
        `position_entropies`, which is refused where strings leave too many different beliefs.
        """
        if self._one_path:
            return chain_entropy(self.steps)
        return float(self.position_entropies().sum())

    def position_entropies(self) -> Float[Tensor, " sites"]:
        """The entropy of each symbol given all before it: the least mean loss a model can have at each position.

        Raises ValueError where the strings leave too many different beliefs (see `automaton.position_entropies`).
        """
        return position_entropies(self.steps, self._conditioned)

    def entropy_rate(self) -> float:
        """Of a further symbol, as strings grow. Raises ValueError if this is no piece of a process."""
        if self.rate is None:
            raise ValueError(
                f"{self.description.name} is of one length only and has no entropy rate, or none in closed form; ask "
                "entropy()."
            )
        return self.rate

    def marginal(self, sites: Sequence[int]) -> Float[Tensor, "*symbols"]:
        """The joint distribution of the symbols at `sites`, an axis a site in the order given.

        Raises ValueError above 2^24 entries. Cost: as many products (left, right) a site as the table has entries.
        """
        kept, symbols = check_sites(sites, self.n_sites), len(self.alphabet)
        check_enumerable(symbols, len(kept), "give fewer sites, or count in samples")
        order = sorted(kept)
        before = torch.ones(1, 1, dtype=torch.float64)  # (entries so far, bond)
        for k, (step, end) in enumerate(zip(self.steps, self.ends, strict=True)):
            if order and k == order[-1]:
                before = before @ (step @ end)
                break
            check_fits(len(before) * symbols * step.shape[2], step, f"the marginal of {len(kept)} sites")
            before = torch.tensordot(before, step, dims=1).flatten(0, 1) if k in kept else before @ step.sum(1)
        table = before.reshape([symbols] * len(order))
        table = table.clamp_min(0) if self.generalised else table  # rounding alone is negative there
        return table.permute([order.index(site) for site in kept]) if kept else table

    def mutual_information(self, i: int, j: int) -> float:
        """Between the symbols at two sites."""
        return table_information(self.marginal((i, j)))

    def mps(self) -> TensorTrain:
        """√p, at its smallest bonds (see `amplitudes.minimal`).

        It is the train of the roots of all steps where every string has one path; else it is decomposed from the table.
        Raises ValueError then above 2^20 strings.
        """
        return self._train

    def bond_dims(self) -> tuple[int, ...]:
        """The ranks of √p: the bonds of `mps`."""
        return self._train.bonds

    def describe(self) -> Description:
        """What it is and where it comes from."""
        return self.description

    @cached_property
    def _one_path(self) -> bool:
        return not self.generalised and has_one_path(self.steps)

    @cached_property
    def _train(self) -> TensorTrain:
        if self._one_path:
            return minimal(TensorTrain.from_cores([step.sqrt() for step in self.steps]))
        remedy = "√p of a chain in which a string has several paths is only found for fewer sites"
        check_enumerable(len(self.alphabet), self.n_sites, remedy, MOST_DECOMPOSED)
        return amplitudes_of_table(self.marginal(range(self.n_sites)))

    def _advanced(self, before: Tensor, k: int, symbols: Int[Tensor, " n"]) -> tuple[Tensor, Tensor]:
        """The left environments after site k, such that all that may follow sums to 1, and p of the symbols there."""
        step = self.steps[k]
        after = torch.zeros(len(before), step.shape[2], dtype=torch.float64)
        for symbol in range(len(self.alphabet)):
            rows = (symbols == symbol).nonzero()[:, 0]
            after[rows] = before[rows] @ step[:, symbol]
        p = self._sound(after @ self.ends[k])
        return torch.where(p[:, None] > 0, after / p[:, None], 0), p

    def _conditioned(self, k: int, after: Float[Tensor, "n symbols right"]) -> tuple[Tensor, Tensor]:
        p = self._sound(after @ self.ends[k])
        return p, torch.where(p[:, :, None] > 0, after / p[:, :, None], 0)

    def _sound(self, p: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Probabilities without the rounding of a generalised chain. Raises ValueError if one is truly negative."""
        if not self.generalised:
            return p
        if p.numel() and float(p.min()) < -1e-9:
            raise ValueError(
                f"the cores of {self.description.name} give a probability of {float(p.min()):.3g}; they are no "
                "distribution: a generalised chain needs products that are never negative."
            )
        return torch.where(p < _ROUNDING, 0, p)


def _check_core(k: int, core: Tensor, n_symbols: int, generalised: bool) -> None:
    if core.dtype != torch.float64:
        raise ValueError(f"core {k} is {core.dtype}; known truth is held in float64: convert it by .double().")
    check_finite(core, f"core {k}")
    if core.shape[1] != n_symbols:
        raise ValueError(f"core {k} has {core.shape[1]} symbols, but the alphabet has {n_symbols}.")
    if not generalised and float(core.min()) < 0:
        raise ValueError(
            f"core {k} holds {float(core.min()):.3g}; weights of a chain are 0 or more, or it is a generalised one."
        )


def _swept(cores: Sequence[Tensor], generalised: bool) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...], float]:
    """Steps and ends of a chain, from right to left, and ln of what its products sum to, which must be above 0.

    Where no core is negative, each bond value is weighted by what may follow it: ends become ones, and steps the
    probabilities of a symbol and the next bond value, given this one. A bond value that nothing may follow gets zeros.
    """
    end = torch.ones(1, dtype=torch.float64)
    steps, ends, log_partition = [], [end], 0.0
    for core in reversed(cores):
        whole = (core @ end).sum(1)
        scale = float(whole.abs().max())
        if scale == 0:
            break
        if generalised:
            steps.append(core / scale)
        else:
            alive = whole > 0
            steps.append(torch.where(alive[:, None, None], core * end / whole.where(alive, 1)[:, None, None], 0))
        end = whole / scale
        ends.append(end if generalised else torch.ones_like(end))
        log_partition += math.log(scale)
    if len(steps) < len(cores) or float(end) < 0:
        raise ValueError("no string has a probability above 0: the products of the cores sum to nothing.")
    return tuple(reversed(steps)), tuple(reversed(ends[:-1])), log_partition


def uniform_cores(
    step: Float[Tensor, "state symbol next"],
    n_sites: int,
    start: Float[Tensor, " state"],
    stop: Float[Tensor, " next"],
) -> tuple[Float[Tensor, "_ _ _"], ...]:
    """The same core at every site, closed by a weight of each bond value at the start and at the end.

    Also called a uniform matrix product state. Raises ValueError for less than one site.
    """
    if n_sites < 1:
        raise ValueError(f"a chain has one or more sites, not {n_sites}.")
    cores = [step] * n_sites
    cores[0] = torch.tensordot(start[None], cores[0], dims=1)
    cores[-1] = (cores[-1] @ stop)[:, :, None]
    return tuple(cores)
