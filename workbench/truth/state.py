"""A state of a train, measured site by site: a Born machine as a source."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.born.machine import BornMachine
from workbench.decompose.train import TensorTrain
from workbench.truth.amplitudes import minimal
from workbench.truth.automaton import position_entropies
from workbench.truth.bases import Basis, measured_cores, told
from workbench.truth.chain import uniform_cores
from workbench.truth.parity import BITS
from workbench.truth.source import Description
from workbench.truth.strings import check_strings


@dataclass(frozen=True, eq=False)
class StateSource:
    """The distribution p = ψ² of a Born machine over bits: outcome 0 or 1 of a measurement at every site."""

    machine: BornMachine
    description: Description

    def __post_init__(self) -> None:
        if set(self.machine.shape) != {2}:
            raise ValueError(f"a measured state has two outcomes at every site, not {self.machine.shape}.")

    @property
    def n_sites(self) -> int:
        """The length of a string."""
        return self.machine.n_sites

    @property
    def alphabet(self) -> tuple[str, ...]:
        """The two outcomes."""
        return BITS

    def sample(self, n: int, generator: torch.Generator) -> Int[Tensor, "n sites"]:
        """So many independent strings, drawn symbol by symbol from the exact conditionals."""
        return self.machine.sample(n, generator)

    def log_prob(self, x: Int[Tensor, "n sites"]) -> Float[Tensor, " n"]:
        """ln p of each string. Raises ValueError for strings of another length or alphabet."""
        check_strings(x, self.n_sites, BITS)
        return self.machine.log_prob(x)

    def entropy(self) -> float:
        """Of a whole string: the sum of `position_entropies`, refused where that is."""
        return float(self.position_entropies().sum())

    def position_entropies(self) -> Float[Tensor, " sites"]:
        """The entropy of each outcome given all before it.

        The belief is the state that the outcomes so far leave; up to 22 sites or so, and at any length where these
        are few (see `automaton.position_entropies`).
        """
        return position_entropies(self.machine.train.cores, self._conditioned)

    def entropy_rate(self) -> float:
        """Raises ValueError: a state is of one length only."""
        raise ValueError(f"{self.description.name} is of one length only and has no entropy rate; ask entropy().")

    def marginal(self, sites: Sequence[int]) -> Float[Tensor, "*symbols"]:
        """The joint distribution of the outcomes at `sites`, an axis a site in the order given.

        Raises ValueError above 2^24 entries.
        """
        return self.machine.marginal(sites)

    def mutual_information(self, i: int, j: int) -> float:
        """Between the outcomes at two sites."""
        return self.machine.mutual_information(i, j)

    def mps(self) -> TensorTrain:
        """The state in the measured basis, at its smallest bonds (see `amplitudes.minimal`)."""
        return minimal(self.machine.train)

    def bond_dims(self) -> tuple[int, ...]:
        """The ranks of the state: the bonds of `mps`."""
        return self.mps().bonds

    def describe(self) -> Description:
        """What it is and where it comes from."""
        return self.description

    def _conditioned(self, k: int, after: Float[Tensor, "n symbols right"]) -> tuple[Tensor, Tensor]:
        """Cores are isometries from the right: the square of a row's length is its probability."""
        sizes = torch.linalg.vector_norm(after, dim=2)
        return sizes.square(), torch.where(sizes[:, :, None] > 0, after / sizes[:, :, None], 0)


def ghz(n_sites: int, basis: Basis = "z") -> StateSource:
    """(|00…0⟩ + |11…1⟩) / √2 measured in `basis` (see `bases.outcomes`): bond 2, ln 2 of entanglement at every bond.

    In z a string of zeros or one of ones, in x an even number of ones. Source: Greenberger, Horne & Zeilinger (1989).
    """
    same = torch.zeros(2, 2, 2, dtype=torch.float64)
    same[0, 0, 0] = same[1, 1, 1] = 1
    return _measured("GHZ state", n_sites, basis, same, same.new_ones(2), same.new_ones(2))


def w_state(n_sites: int, basis: Basis = "z") -> StateSource:
    """The even superposition of all strings with a single 1, measured in `basis`: bond 2, in z entropy ln n_sites.

    Source: Dür, Vidal & Cirac (2000).
    """
    step = torch.zeros(2, 2, 2, dtype=torch.float64)  # the bond tells whether the 1 has come
    step[0, 0, 0] = step[1, 0, 1] = step[0, 1, 1] = 1
    none, come = torch.eye(2, dtype=torch.float64)
    return _measured("W state", n_sites, basis, step, none, come)


def cluster(n_sites: int, basis: Basis = "z") -> StateSource:
    """Spins along x, joined to their neighbours by controlled phases; measured in `basis`.

    In z the outcomes are independent fair bits; what binds them, Z X Z = 1 at every site, is seen where a site is
    measured in x and its neighbours in z: "zxzxz". Source: Briegel & Raussendorf (2001).
    """
    step = torch.zeros(2, 2, 2, dtype=torch.float64)  # the bond is the last bit
    step[0, 0, 0] = step[1, 0, 0] = step[0, 1, 1] = 1
    step[1, 1, 1] = -1
    start = torch.eye(2, dtype=torch.float64)[0]
    return _measured("cluster state", n_sites, basis, step, start, step.new_ones(2))


def _measured(name: str, n_sites: int, basis: Basis, step: Tensor, start: Tensor, stop: Tensor) -> StateSource:
    """The state of one core at every site, closed at both ends."""
    if n_sites < 2:
        raise ValueError(f"a {name} has 2 or more sites, not {n_sites}.")
    cores = measured_cores(uniform_cores(step, n_sites, start, stop), basis)
    description = Description(name, f"N = {n_sites}, {told(basis)}", "its cores written down")
    return StateSource(BornMachine.from_cores(cores), description)
