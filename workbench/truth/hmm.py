"""Hidden Markov models, and processes alike whose matrices are no chances: probabilities, beliefs and entropies."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.truth.chain import ChainSource, uniform_cores
from workbench.truth.hmm_beliefs import MOST_MIXED, MixedStates, finite_mixed_states, mixed_states
from workbench.truth.hmm_matrices import (
    bond_dim,
    check_matrices,
    check_preserved,
    check_start,
    is_unifilar,
    stationary,
)
from workbench.truth.source import Description
from workbench.truth.strings import check_alphabet, check_strings


@dataclass(frozen=True, eq=False)
class HiddenMarkov:
    """A stationary process p(x) = start · T(x_1) T(x_2) … · stop, of one matrix T (state, next) a symbol, float64.

    T(k)[s, s'] is the probability of writing symbol k and going to s' when in state s: none is negative, the rows of
    Σ_k T(k) sum to one, `start` is a stationary distribution and `stop` is ones. In a `generalised` model (an
    observable operator model, of which a quantum process is one) the numbers may have any sign, with
    Σ_k T(k) stop = stop; that p ≥ 0 is known from where they come, and not checked.

    Raises ValueError, naming the row or entry, for matrices of which this does not hold.
    """

    matrices: Float[Tensor, "symbols state next"]
    start: Float[Tensor, " state"]
    stop: Float[Tensor, " state"]
    alphabet: tuple[str, ...]
    description: Description
    generalised: bool = False

    def __post_init__(self) -> None:
        check_alphabet(self.alphabet)
        check_matrices(self.matrices, len(self.alphabet), self.generalised)
        check_preserved(self.matrices, self.stop)
        check_start(self.matrices, self.start, self.stop, self.generalised)

    @classmethod
    def from_matrices(
        cls,
        matrices: Float[Tensor, "symbols state next"],
        description: Description,
        start: Float[Tensor, " state"] | None = None,
        alphabet: Sequence[str] | None = None,
    ) -> "HiddenMarkov":
        """That of matrices of probabilities, with symbols by number if no `alphabet` names them.

        Raises ValueError if no `start` is given and the stationary distribution is not the only one.
        """
        symbols = tuple(map(str, range(len(matrices)))) if alphabet is None else tuple(alphabet)
        check_alphabet(symbols)
        check_matrices(matrices, len(symbols), False)
        stop = torch.ones(matrices.shape[1], dtype=torch.float64)
        check_preserved(matrices, stop)
        found = stationary(matrices, stop).clamp_min(0) if start is None else start
        return cls(matrices, found, stop, symbols, description)

    @property
    def n_states(self) -> int:
        """The size of the matrices: hidden states, or numbers that stand for one."""
        return self.matrices.shape[1]

    def source(self, n_sites: int) -> ChainSource:
        """The strings of so many symbols, as a chain of one core."""
        told = ", ".join(part for part in (self.description.parameters, f"N = {n_sites}") if part)
        cores = uniform_cores(self.matrices.transpose(0, 1), n_sites, self.start, self.stop)
        description = replace(self.description, parameters=told)
        return ChainSource(cores, self.alphabet, description, self._rate, generalised=self.generalised)

    def sample(self, n: int, n_sites: int, generator: torch.Generator) -> Int[Tensor, "n sites"]:
        """So many independent strings of `n_sites` symbols."""
        return self.source(n_sites).sample(n, generator)

    def log_prob(self, x: Int[Tensor, "n sites"]) -> Float[Tensor, " n"]:
        """ln p of strings of any one length, in nats; -inf for what cannot be."""
        return self.source(x.shape[1]).log_prob(x)

    def conditional_entropies(self, n_sites: int) -> Float[Tensor, " sites"]:
        """h_L of each position: the entropy of its symbol given all before it, in nats (exact).

        The least mean loss a model can have there. Raises ValueError where strings leave too many beliefs.
        """
        return self.source(n_sites).position_entropies()

    def entropy_rate(self) -> float:
        """Of a further symbol, in nats, exact: where a state and its symbol tell the next state (unifilar), the mean
        entropy of the symbol over states; else by the mixed states, where there are at most 1,024.

        Raises ValueError otherwise; `entropy_rate_bounds` encloses it.
        """
        if self._rate is None:
            instead = (
                "conditional_entropies(n) ends above it" if self.generalised else "entropy_rate_bounds(n) encloses it"
            )
            raise ValueError(self._no_closed_form("entropy rate", instead))
        return self._rate

    def entropy_rate_bounds(self, n_sites: int) -> tuple[float, float]:
        """What the entropy rate is at least and at most, in nats: h_n given the state at the start, and h_n.

        Both come together as n grows (Cover & Thomas, Elements of Information Theory, 4.5).
        Raises ValueError for a generalised model, whose start is no mixture of states: h_n alone is a bound.
        """
        if self.generalised:
            raise ValueError(
                f"{self.description.name} has no hidden states to start from, so no lower bound is known; "
                "conditional_entropies(n) ends in an upper one."
            )
        lower = 0.0
        for state, chance in enumerate(self.start.tolist()):
            if chance > 0:
                cores = uniform_cores(
                    self.matrices.transpose(0, 1),
                    n_sites,
                    torch.eye(self.n_states, dtype=torch.float64)[state],
                    self.stop,
                )
                lower += chance * float(ChainSource(cores, self.alphabet, self.description).position_entropies()[-1])
        return lower, float(self.conditional_entropies(n_sites)[-1])

    def excess_entropy(self) -> float:
        """The mutual information of past and future, in nats, exact: by the mixed states, where at most 1,024.

        Raises ValueError otherwise; `excess_entropy_bound` is a lower bound.
        """
        if self.mixed is None:
            raise ValueError(self._no_closed_form("excess entropy", "excess_entropy_bound(n) is at most that"))
        return self.mixed.excess_entropy()

    def excess_entropy_bound(self, n_sites: int) -> float:
        """H_n − n h_n, in nats: what the excess entropy is at least, and comes to as n grows."""
        each = self.conditional_entropies(n_sites)
        return float((each - each[-1]).sum())

    def belief(self, x: Int[Tensor, "n sites"]) -> Float[Tensor, "n state"]:
        """What each string tells of the state after it: its normalised left environment.

        Raises ValueError for a string that cannot be.
        """
        check_strings(x, x.shape[1], self.alphabet)
        beliefs = self.start.expand(len(x), -1)
        for k in range(x.shape[1]):
            after = torch.einsum("ns,nst->nt", beliefs, self.matrices[x[:, k]])
            p = after @ self.stop
            if bool((p <= 0).any()):
                row = int((p <= 0).nonzero()[0])
                raise ValueError(f"string {row} cannot be: symbol {self.alphabet[int(x[row, k])]!r} at site {k}.")
            beliefs = after / p[:, None]
        return beliefs

    def beliefs(self, n_symbols: int) -> tuple[Float[Tensor, "m state"], Float[Tensor, " m"]]:
        """The different beliefs that strings of so many symbols leave, and their probabilities (see `mixed_states`)."""
        return mixed_states(self.matrices, self.start, self.stop, n_symbols)

    def bond_dim(self) -> int:
        """The bond of the shortest chain of p: the fewest states of any generalised model of this process."""
        return bond_dim(self.matrices, self.start, self.stop)

    @cached_property
    def mixed(self) -> MixedStates | None:
        """All beliefs that strings leave and the chain they form, if they are at most 1,024."""
        return finite_mixed_states(self.matrices, self.start, self.stop)

    @cached_property
    def _rate(self) -> float | None:
        if not self.generalised and is_unifilar(self.matrices):
            return float(self.start @ torch.special.entr(self.matrices.sum(2)).sum(0))
        return None if self.mixed is None else self.mixed.entropy_rate()

    def _no_closed_form(self, what: str, instead: str) -> str:
        return (
            f"strings of {self.description.name} leave more than {MOST_MIXED:,} different beliefs, so its {what} has "
            f"no closed form; {instead}."
        )
