"""Born machines: the probability of a string is the square of its amplitude in a normalised tensor train."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.born.environments import SquaredWeights, Weights
from workbench.born.questions import ChainModel
from workbench.decompose.exact import check_finite
from workbench.decompose.train import TensorTrain, check_chain

_ENUMERATED = 2**20  # strings whose amplitudes are all looked at
_CANONICAL = 1e-12  # what rows may miss of an isometry
_CHANGES = 0.05


@dataclass(frozen=True)
class Overlap:
    """|⟨ψ|φ⟩| of two Born machines: 1 for equal ones.

    Where no amplitude of either is negative it is the Bhattacharyya coefficient Σ √(p q) of their distributions
    (`bhattacharyya`); else, or where there are too many strings to know, the root of the fidelity of their states,
    which is at most that coefficient.
    """

    value: float
    bhattacharyya: bool

    def __str__(self) -> str:
        if self.bhattacharyya:
            return f"{self.value:.6f}, the Bhattacharyya coefficient"
        return f"{self.value:.6f}, the root of the fidelity, at most the Bhattacharyya coefficient"


@dataclass(frozen=True, eq=False)
class BornMachine(ChainModel):
    """p(x) = ψ(x)² with ψ a train of real float64 amplitudes, kept normalised, uncut and canonical.

    All cores but the first are isometries from the right, so that the row of a prefix has the root of the prefix's
    probability as its length. Any train is brought to this form. Also called a matrix-product Born machine.
    Raises ValueError for other numbers than finite float64, or a train of zeros. Source: Han et al. (2018).
    """

    train: TensorTrain

    def __post_init__(self) -> None:
        object.__setattr__(self, "train", canonical(self.train))

    @classmethod
    def from_cores(cls, cores: Sequence[Float[Tensor, "_ _ _"]]) -> "BornMachine":
        """That of any chain of cores (left, site, right). Cost: two QR and one eigendecomposition a core."""
        return cls(canonical_train(cores))

    @classmethod
    def random(cls, shape: Sequence[int], bond: int, generator: torch.Generator) -> "BornMachine":
        """That of `random_cores` with these symbols a site; bonds at the ends are no larger than they can be."""
        return cls.from_cores([core[:, :, 0] for core in random_cores(shape, bond, generator)])

    def parameters(self) -> tuple[Float[Tensor, "_ _ _"], ...]:
        """The cores."""
        return self.train.cores

    @staticmethod
    def weights_of(parameters: Sequence[Float[Tensor, "_ _ _"]]) -> Weights:
        """Those of cores, canonical or not."""
        return SquaredWeights(tuple([core.unsqueeze(2) for core in parameters]))

    def with_parameters(self, parameters: Sequence[Float[Tensor, "_ _ _"]]) -> "BornMachine":
        """The machine of other cores."""
        return BornMachine.from_cores(parameters)

    @property
    def rounding(self) -> float:
        return step_rounding(self.train)

    def entropies(self) -> tuple[float, ...]:
        """The entanglement entropy of the state at each bond."""
        return tuple([spectrum.entropy() for spectrum in self.train.spectra])

    def truncate(self, bonds: int | Sequence[int]) -> "BornMachine":
        """The machine with its bonds cut (see `TensorTrain.truncate`), normalised again."""
        return BornMachine(self.train.truncate(bonds))

    def overlap(self, other: "BornMachine") -> Overlap:
        """How much alike two machines are. Raises ValueError for other sites. Cost: linear in the number of sites.

        Besides, up to 2^20 strings, all amplitudes, to know their signs.
        """
        value = float(self.train.inner(other.train).abs())
        return Overlap(min(1.0, value), self._one_sign and other._one_sign)

    @cached_property
    def _one_sign(self) -> bool:
        if math.prod(self.shape) > _ENUMERATED:
            return False
        amplitudes = self.train.dense()
        smallest = self.rounding * self.n_sites
        return bool((amplitudes > -smallest).all()) or bool((amplitudes < smallest).all())


def random_cores(
    shape: Sequence[int], bond: int, generator: torch.Generator, hidden: int = 1
) -> list[Float[Tensor, "_ _ _ _"]]:
    """Positive cores (left, site, hidden, right): a bond's index mostly stays as it is, and weighs the symbols.

    So distant sites are tied from the start, which in a product of even cores they are not. All numbers are drawn from
    0 to 1, those that change the index from 0 to 0.05. Raises ValueError for a size below 1.
    """
    if not shape or min(*shape, bond, hidden) < 1:
        raise ValueError(f"sites, bonds and hidden legs have sizes of 1 or more, not {tuple(shape)}, {bond}, {hidden}.")
    bonds, cores = [1, *[bond] * (len(shape) - 1), 1], []
    for site, left, right in zip(shape, bonds[:-1], bonds[1:], strict=True):
        core = torch.rand(left, site, hidden, right, dtype=torch.float64, generator=generator, device=generator.device)
        stays = torch.eye(left, dtype=torch.bool, device=core.device)[:, None, None]
        cores.append(torch.where(stays, core, _CHANGES * core) if left == right else core)
    return cores


def canonical(train: TensorTrain) -> TensorTrain:
    """`train` itself if it is `canonical_train` of its cores already, else that."""
    return train if _is_canonical(train) else canonical_train(train.cores)


def canonical_train(cores: Sequence[Float[Tensor, "_ _ _"]]) -> TensorTrain:
    """The train of these cores over its norm, all but the first isometries from the right.

    Raises ValueError for other numbers than finite float64, or if the norm is 0.
    """
    check_chain(cores)
    carry, swept = torch.eye(1, dtype=torch.float64, device=cores[0].device), []
    for k, core in enumerate(cores):
        if core.dtype != torch.float64:
            raise ValueError(f"core {k} is {core.dtype}; probabilities are held in float64: convert it by .double().")
        check_finite(core, f"core {k}")
        moved = torch.tensordot(carry, core, dims=1)
        q, carry = torch.linalg.qr(moved.flatten(0, 1))
        size = carry.abs().max()  # taken out at every site, or it overflows along a thousand
        if size == 0:
            raise ValueError(f"the train's amplitudes are all 0 from core {k} on, so it is no distribution.")
        carry = carry / size
        swept.append(q.reshape(*moved.shape[:2], -1))
    swept[-1] = swept[-1] @ carry  # (1, 1): the sign
    return TensorTrain.from_cores(swept)


def step_rounding(train: TensorTrain) -> float:
    """What a row may be wrong by, as a share of itself, after one product with a core of a canonical train."""
    return 8 * max(train.bonds, default=1) * torch.finfo(torch.float64).eps


def _is_canonical(train: TensorTrain) -> bool:
    if train.bonds != train.full_bonds or train.dropped or train.cores[0].dtype != torch.float64:
        return False
    for core in train.cores[1:]:
        rows = core.flatten(1)
        missed = rows @ rows.T - torch.eye(len(rows), dtype=rows.dtype, device=rows.device)
        if float(missed.abs().max()) > _CANONICAL:
            return False
    return abs(float(torch.linalg.vector_norm(train.cores[0])) - 1) < _CANONICAL
