"""Non-negative weights of strings as a chain of cores, and the sweeps along it that answer every question.

All sweeps carry environments: what the cores on one side of a bond come to, with symbols fixed there, summed over, or
kept as an axis. Two kinds of weight differ only in how an environment passes a core; a Born machine is the second kind
with hidden legs of size 1. Environments are scaled to size 1 on the way and the logarithms of their sizes summed, so
that strings of any length neither overflow nor underflow.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.memory import check_fits
from workbench.truth.strings import draw

_ROWS = 2**14  # strings at a time
_EVERY = 8  # sites an environment may shrink or grow before it is scaled, where no single step is looked at
_SMALLEST = torch.finfo(torch.float64).tiny  # environments of zeros stay zeros


@dataclass(frozen=True, eq=False)
class Weights(ABC):
    """w(x) ≥ 0 of every string, p = w / Σ w, from cores (left, site, hidden, right) with outer bonds of size 1.

    A hidden leg is summed over at its own site, and nobody sees it. No function here changes a tensor in place, so that
    all may be differentiated.
    """

    cores: tuple[Float[Tensor, "_ _ _ _"], ...]

    @property
    @abstractmethod
    def n_bond_legs(self) -> int:
        """How many times an environment has the leg of its bond."""

    @abstractmethod
    def passed(
        self, environments: Float[Tensor, "n *left"], core: Float[Tensor, "left site hidden right"]
    ) -> Float[Tensor, "n site *right"]:
        """Environments moved past a core, one for each symbol there."""

    @abstractmethod
    def traced(
        self, environments: Float[Tensor, "*n_right"], core: Float[Tensor, "left site hidden right"]
    ) -> Float[Tensor, "*n_left"]:
        """One environment or many, moved back past a core from the right, summed over the symbols there."""

    @abstractmethod
    def masses(
        self, rows: Float[Tensor, "n choices right"], end: Float[Tensor, "*right"]
    ) -> Float[Tensor, "n choices"]:
        """The weight of all strings that go on from each row of amplitudes or weights, `end` lying behind it."""

    @abstractmethod
    def log_values(self, x: Int[Tensor, "n sites"], rounding: float = 0.0) -> Float[Tensor, " n"]:
        """ln w of each string, -inf for 0 and for what `rounding` cannot tell from 0 (see `log_sizes`)."""

    def ends(self, rounding: float = 0.0) -> tuple[list[Float[Tensor, "..."]], Float[Tensor, ""]]:
        """Behind each site the sum over all that may follow, to a factor; and ln of the sum of all weights.

        The sum is -inf for 0 and for what `rounding` cannot tell from 0 (see `log_sizes`).
        Cost: one core a site times one environment.
        """
        environment, sizes, found = self._start(1)[0], [self.cores[0].new_ones(1)], []
        for k, core in enumerate(reversed(self.cores)):
            found.append(environment)
            environment = self.traced(environment, core)
            if rounding or k % _EVERY == _EVERY - 1:
                (environment,), size = scaled(environment[None])
                sizes.append(size)
        return found[::-1], (_summed_logs(sizes, rounding) + environment.flatten().log())[0]

    def sample(self, n: int, generator: torch.Generator) -> Int[Tensor, "n sites"]:
        """So many independent strings, symbol by symbol from the exact conditionals, hidden legs drawn along.

        Every row of a draw is a vector, also where the weight is a square: all before it is known by then.
        Cost: n products (left, site hidden right) a site.
        """
        ends, _ = self.ends()
        parts = [self._drawn(min(_ROWS, n - first), ends, generator) for first in range(0, n, _ROWS)]
        device = self.cores[0].device
        return torch.cat(parts) if parts else torch.empty(0, len(self.cores), dtype=torch.int64, device=device)

    def marginal(self, sites: Sequence[int]) -> Float[Tensor, "*symbols"]:
        """The joint weights of the symbols at `sites`, an axis a site in the order given, to a common factor.

        Cost: one core times as many environments as the table has entries, at each site up to the last.
        """
        ends, _ = self.ends()
        environments, order = self._start(1), sorted(sites)
        for k, core in enumerate(self.cores[: order[-1] + 1] if order else ()):
            largest = core[0].numel() * core.shape[0] ** (self.n_bond_legs - 1)  # on the way past the core
            check_fits(len(environments) * largest, core, f"the marginal of {len(order)} sites")
            if k in order:
                environments = self.passed(environments, core).flatten(0, 1)
            else:
                environments = self.traced(environments, core.transpose(0, 3))
            environments = environments / torch.linalg.vector_norm(environments).clamp_min(_SMALLEST)
        table = (environments * (ends[order[-1]] if order else 1)).flatten(1).sum(1)
        table = table.clamp_min(0).reshape([self.cores[site].shape[1] for site in order])  # below 0 is rounding
        return table.permute([order.index(site) for site in sites])

    def _start(self, n: int) -> Float[Tensor, "n *one"]:
        return self.cores[0].new_ones(n, *[1] * self.n_bond_legs)

    def _drawn(self, n: int, ends: Sequence[Tensor], generator: torch.Generator) -> Int[Tensor, "n sites"]:
        rows, drawn = self.cores[0].new_ones(n, 1), []
        for core, end in zip(self.cores, ends, strict=True):
            branches = (rows @ core.flatten(1)).reshape(n, -1, core.shape[3])  # (n, site hidden, right)
            choices = draw(self.masses(branches, end).clamp_min(0), generator)
            rows, _ = scaled(picked(branches, choices))
            drawn.append(choices.div(core.shape[2], rounding_mode="floor"))
        return torch.stack(drawn, 1)


@dataclass(frozen=True, eq=False)
class LinearWeights(Weights):
    """w(x) = Π core[:, x, 0, :], no core negative: those of a hidden Markov model. Hidden legs have size 1."""

    @property
    def n_bond_legs(self) -> int:
        return 1

    def passed(
        self, environments: Float[Tensor, "n left"], core: Float[Tensor, "left site 1 right"]
    ) -> Float[Tensor, "n site right"]:
        return _branches(environments, core.squeeze(2))

    def traced(
        self, environments: Float[Tensor, "*n_right"], core: Float[Tensor, "left site 1 right"]
    ) -> Float[Tensor, "*n_left"]:
        return environments @ core.sum((1, 2)).T

    def masses(
        self, rows: Float[Tensor, "n choices right"], end: Float[Tensor, " right"]
    ) -> Float[Tensor, "n choices"]:
        return rows @ end

    def log_values(self, x: Int[Tensor, "n sites"], rounding: float = 0.0) -> Float[Tensor, " n"]:
        """See `Weights`. Cost: n products (left, site right) a site."""
        return log_sizes([core.squeeze(2) for core in self.cores], x, rounding)


@dataclass(frozen=True, eq=False)
class SquaredWeights(Weights):
    """w(x) = Σ |Π core[:, x, h, :]|² over the hidden legs h: of a locally purified state; Born's rule with h = 1."""

    @property
    def n_bond_legs(self) -> int:
        return 2

    def passed(
        self, environments: Float[Tensor, "n left left"], core: Float[Tensor, "left site hidden right"]
    ) -> Float[Tensor, "n site right right"]:
        half = torch.tensordot(environments, core, dims=1)  # (n, left, site, hidden, right)
        half = half.transpose(1, 2).flatten(2, 3)  # (n, site, left hidden, right)
        return core.permute(1, 3, 0, 2).flatten(2) @ half

    def traced(
        self, environments: Float[Tensor, "*n_right"], core: Float[Tensor, "left site hidden right"]
    ) -> Float[Tensor, "*n_left"]:
        half = core.flatten(0, 2) @ environments  # (left site hidden, right)
        return half.reshape(*environments.shape[:-2], core.shape[0], -1) @ core.flatten(1).T

    def masses(
        self, rows: Float[Tensor, "n choices right"], end: Float[Tensor, "right right"]
    ) -> Float[Tensor, "n choices"]:
        return ((rows @ end) * rows).sum(2)

    def log_values(self, x: Int[Tensor, "n sites"], rounding: float = 0.0) -> Float[Tensor, " n"]:
        """See `Weights`. Cost: n products (left, site right) a site; with hidden legs (left², site hidden right)."""
        if all(core.shape[2] == 1 for core in self.cores):
            return 2 * log_sizes([core.squeeze(2) for core in self.cores], x, rounding)
        environments, sizes = self._start(len(x)), [self.cores[0].new_ones(len(x))]
        for k, core in enumerate(self.cores):
            environments = picked(self.passed(environments, core), x[:, k])
            if rounding or k % _EVERY == _EVERY - 1:
                environments, size = scaled(environments)
                sizes.append(size)
        return _summed_logs(sizes, rounding) + environments[:, 0, 0].abs().log()


def log_sizes(
    cores: Sequence[Float[Tensor, "_ _ _"]], x: Int[Tensor, "n sites"], rounding: float = 0.0
) -> Float[Tensor, " n"]:
    """ln |Π core[:, x, :]| of each string, by rows of one number a bond.

    With cores that are isometries from the right no step lengthens a row, and the square of what it leaves of its
    length is the conditional probability of the symbol. A step that leaves less than `rounding` has left what the
    arithmetic makes of an exact zero: it counts as zero, and the logarithm is -inf.
    """
    rows, sizes = cores[0].new_ones(len(x), 1), [cores[0].new_ones(len(x))]
    for k, (core, symbols) in enumerate(zip(cores, x.T.contiguous(), strict=True)):
        rows = picked(_branches(rows, core), symbols)
        if rounding or k % _EVERY == _EVERY - 1:
            rows, size = scaled(rows)
            sizes.append(size)
    return _summed_logs(sizes, rounding) + rows[:, 0].abs().log()


def picked(branches: Float[Tensor, "n site *rest"], symbols: Int[Tensor, " n"]) -> Float[Tensor, "n *rest"]:
    """Of every row its branch by one symbol."""
    n, n_symbols = branches.shape[:2]
    places = torch.arange(0, n * n_symbols, n_symbols, device=branches.device) + symbols
    return branches.flatten(0, 1).index_select(0, places)  # a third of the time of indexing both axes


def scaled(environments: Float[Tensor, "n *shape"]) -> tuple[Float[Tensor, "n *shape"], Float[Tensor, " n"]]:
    """Each environment at size 1, and the size it had; one of zeros stays.

    No gradient flows through a size: the last environment carries all of it.
    """
    size = torch.linalg.vector_norm(environments.detach().flatten(1), dim=1)
    divisor = torch.where(size > 0, size, 1)
    return environments / divisor.reshape(-1, *[1] * (environments.ndim - 1)), size


def _branches(rows: Float[Tensor, "n left"], core: Float[Tensor, "left site right"]) -> Float[Tensor, "n site right"]:
    return (rows @ core.flatten(1)).unflatten(1, core.shape[1:])


def _summed_logs(sizes: Sequence[Float[Tensor, " n"]], rounding: float) -> Float[Tensor, " n"]:
    """Σ ln size, -inf where one is within rounding of 0."""
    found = torch.stack(list(sizes))
    return torch.where(found > rounding, found, 0).log().sum(0)
