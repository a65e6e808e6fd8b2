"""The heads of an attention matrix as slices of one tensor, with factors that all of them share.

A matrix that writes to heads, (n·k, d), or reads from them, (d, n·k), is a tensor (n, k, d): one slice (k, d) a head.
Its axes k and d are put in their singular bases (higher-order SVD), its axis of heads is left alone, and both bonds
are cut along one path of pairs (r_k, r_d), so that one number sets them. The factors are isometries, so what a pair
drops is what lies outside it in the core: exact, and at most the √(ε_k² + ε_d²) of De Lathauwer, De Moor & Vandewalle
(2000).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from workbench.decompose.ladder import Ladder, check_bond
from workbench.decompose.protocol import Decomposition
from workbench.decompose.row_digits import taken
from workbench.decompose.tucker import Tucker
from workbench.spectrum import Spectrum


@dataclass(frozen=True)
class RankPath:
    """Pairs (r_k, r_d) from (1, 1) to the full ones, each one rank larger than the last, with the square of what each
    drops (exact). `total` is the squared norm of all.
    """

    ranks: tuple[tuple[int, int], ...]
    squared_errors: tuple[float, ...]
    total: float

    def __post_init__(self) -> None:
        if not len(self.ranks) == len(self.squared_errors) > 0:
            raise ValueError(
                f"a path has one or more pairs of ranks, each with its error, "
                f"not {len(self.ranks)} pairs and {len(self.squared_errors)} errors."
            )

    @classmethod
    def greedy(cls, core: Float[Tensor, "n r_k r_d"], sizes: tuple[int, int]) -> "RankPath":
        """The path on which each step adds the rank that lowers the squared error most for each number it stores.

        `sizes` are those of the axes k and d. A step in k stores n·r_d + k more numbers, one in d n·r_k + d.
        """
        lost = _outside(core.detach().double().cpu().square().sum(0)).tolist()
        n, (full_k, full_d), (k, d) = core.shape[0], core.shape[1:], sizes
        r_k, r_d = 1, 1
        ranks = [(r_k, r_d)]
        while (r_k, r_d) != (full_k, full_d):
            here, ways = lost[r_k][r_d], []
            if r_k < full_k:
                ways.append(((here - lost[r_k + 1][r_d]) / (n * r_d + k), (r_k + 1, r_d)))
            if r_d < full_d:
                ways.append(((here - lost[r_k][r_d + 1]) / (n * r_k + d), (r_k, r_d + 1)))
            r_k, r_d = max(ways)[1]
            ranks.append((r_k, r_d))
        return cls(tuple(ranks), tuple([lost[a][b] for a, b in ranks]), lost[0][0])


@dataclass(frozen=True, eq=False)
class HeadTucker:
    """An attention matrix as a core (n, r_k, r_d) with a factor on the axis of a head and one on that of the model.

    Letters: n heads of k rows each, d the model's own axis. `reads` says that the matrix takes what heads give,
    (d, n·k), as W_O does; otherwise it is (n·k, d). `bond` is the place on `path`, from 1, which is r_k + r_d − 1: at
    every place both factors and the core are slices of the full ones (nested). `spectra` are those of the axes k and d.
    Source: shared factors of stacked heads are TensorLLM's (2025), which stacks W_Q, W_K, W_V and W_O too; here each
    weight is a tensor of its own.
    """

    core: Float[Tensor, "n r_k r_d"]
    head_factor: Float[Tensor, "k r_k"]
    model_factor: Float[Tensor, "d r_d"]
    spectra: tuple[Spectrum, Spectrum]
    path: RankPath
    reads: bool = False

    nested: ClassVar[bool] = True

    def __post_init__(self) -> None:
        factors = (self.head_factor.shape[1], self.model_factor.shape[1])
        if factors != self.ranks:
            raise ValueError(f"a core of ranks {self.ranks} needs factors of those ranks, not {factors}.")
        if self.ranks not in self.path.ranks:
            raise ValueError(f"ranks {self.ranks} are not on the path from (1, 1) to {self.path.ranks[-1]}.")

    @classmethod
    def from_weight(cls, weight: Float[Tensor, "out in"], head_dim: int, reads: bool = False) -> "HeadTucker":
        """The uncut form of a weight (n·k, d), or (d, n·k) if it `reads` from heads, with k = `head_dim`.

        Raises ValueError if the axis of heads is no multiple of `head_dim`.
        Cost: that of `Tucker.from_dense` on (n, k, d), and one product with the core.
        """
        stacked = weight.T if reads else weight
        if head_dim < 1 or len(stacked) % head_dim:
            side = "inputs" if reads else "outputs"
            raise ValueError(f"{len(stacked)} {side} are no stack of heads of {head_dim}; give the size of a head.")
        form = Tucker.from_dense(stacked.unflatten(0, (-1, head_dim)))
        core = torch.tensordot(form.factors[0], form.core, dims=1)  # the heads back in their own basis
        path = RankPath.greedy(core, (head_dim, stacked.shape[1]))
        return cls(core, form.factors[1], form.factors[2], (form.spectra[1], form.spectra[2]), path, reads)

    @property
    def ranks(self) -> tuple[int, int]:
        """(r_k, r_d): the sizes of both bonds as they are cut now."""
        return self.core.shape[1], self.core.shape[2]

    @property
    def shape(self) -> tuple[int, int]:
        """(out, in) of the matrix it stands for."""
        heads, model = len(self.core) * len(self.head_factor), len(self.model_factor)
        return (model, heads) if self.reads else (heads, model)

    @property
    def bond(self) -> int:
        """The place on the path as it is cut now: r_k + r_d − 1."""
        return sum(self.ranks) - 1

    @property
    def full_bond(self) -> int:
        """The length of the path."""
        return len(self.path.ranks)

    @property
    def n_params(self) -> int:
        """Numbers stored: those of the core and of both factors."""
        return self._n_params(self.ranks)

    def truncate(self, bond: int) -> "HeadTucker":
        """The same form at an earlier place of the path, as views; a later one than the present leaves it as it is."""
        check_bond(bond, self.full_bond)
        r_k, r_d = self.path.ranks[bond - 1]
        cut = object.__new__(HeadTucker)  # a cut of a checked form needs no check: a tick cuts every layer's
        parts = {
            "core": self.core[:, :r_k, :r_d],
            "head_factor": self.head_factor[:, :r_k],
            "model_factor": self.model_factor[:, :r_d],
        }
        cut.__dict__.update(self.__dict__, **parts)
        return cut

    def to(self, device: torch.device) -> "HeadTucker":
        """The same form with its tensors on `device`."""
        return self.with_tensors({name: tensor.to(device) for name, tensor in self.tensors().items()})

    def bond_within(self, n_params: int | float) -> int:
        """The last place on the path that stores at most `n_params` numbers, and at least 1."""
        return self.ladder().bond_within(n_params)

    def error(self) -> float:
        """The Frobenius norm of what this cut has dropped (exact)."""
        return math.sqrt(self.path.squared_errors[self.bond - 1])

    def error_bound(self) -> float:
        """`error()`: here the bound is exact, and at most that of both spectra together."""
        return self.error()

    def discarded_weight(self) -> float:
        """The share of the squared norm that this cut has dropped (exact)."""
        return self.path.squared_errors[self.bond - 1] / self.path.total if self.path.total > 0 else 0.0

    def ladder(self) -> Ladder:
        """Every place on the path, with what it stores, costs in the cheaper of factors and matrix, and drops."""
        return self._ladder

    def tensors(self) -> dict[str, Tensor]:
        """The core and both factors by name."""
        return {"core": self.core, "head_factor": self.head_factor, "model_factor": self.model_factor}

    def with_tensors(self, tensors: Mapping[str, Tensor]) -> "HeadTucker":
        """The same form with other numbers of the same shapes; spectra and path stay those of the decomposition."""
        return replace(
            self,
            core=tensors["core"],
            head_factor=tensors["head_factor"],
            model_factor=tensors["model_factor"],
        )

    def dense(self) -> Float[Tensor, "out in"]:
        """The matrix this cut stands for."""
        stacked = (self.head_factor @ self.core).flatten(0, 1) @ self.model_factor.T  # (n·k, d)
        return stacked.T if self.reads else stacked

    def dense_cost(self) -> int:
        """Multiply-adds of `dense`: n·k·r_d (r_k + d)."""
        r_k, r_d = self.ranks
        return len(self.core) * len(self.head_factor) * r_d * (r_k + len(self.model_factor))

    def rows_at(self, index: Int[Tensor, "*any"]) -> Float[Tensor, "*any in"]:
        """`dense()[index]`. Cost: r_d · in multiply-adds a row, and n·k·r_k·r_d for all rows together."""
        stacked = (self.head_factor @ self.core).flatten(0, 1)  # (n·k, r_d)
        own, other = (self.model_factor, stacked) if self.reads else (stacked, self.model_factor)
        return taken(own, index) @ other.T

    def apply(self, x: Float[Tensor, "*batch in"], bias: Tensor | None = None) -> Float[Tensor, "*batch out"]:
        """`x @ dense().T + bias`, through one factor, the core and the other factor."""
        if x.shape[-1] != self.shape[1]:
            raise ValueError(f"a stack of heads of {self.shape[1]} inputs cannot be applied to rows of {x.shape[-1]}.")
        n, r_k, _ = self.core.shape
        joined = self.core.flatten(0, 1)  # (n·r_k, r_d)
        if self.reads:
            seen = (x.unflatten(-1, (n, -1)) @ self.head_factor).flatten(-2)  # (…, n·r_k)
            return functional.linear(seen @ joined, self.model_factor, bias)
        seen = functional.linear(x @ self.model_factor, joined).unflatten(-1, (n, r_k))
        y = functional.linear(seen, self.head_factor).flatten(-2)
        return y if bias is None else y + bias

    def apply_cost(self) -> int:
        """Multiply-adds of `apply` for one row of x: d·r_d + n·r_k·r_d + n·k·r_k."""
        return self._apply_cost(self.ranks)

    def apply_moves(self) -> int:
        """None: heads lie one after another in each product's rows, as the next one reads them."""
        return 0

    def merged(self) -> "HeadTucker":
        """Itself: a pair, with the core inside a factor, would save few multiply-adds and no move."""
        return self

    def merged_costs(self) -> tuple[int, int]:
        """Multiply-adds of `merged`, none, and of its `apply` for one row of x."""
        return 0, self.apply_cost()

    def merged_moves(self) -> int:
        """None, like `apply_moves`."""
        return 0

    @cached_property
    def _ladder(self) -> Ladder:
        ranks, dense = self.path.ranks, math.prod(self.shape)
        sizes = tuple([self._n_params(pair) for pair in ranks])
        costs = tuple([min(self._apply_cost(pair), dense) for pair in ranks])
        return Ladder(tuple(range(1, len(ranks) + 1)), sizes, costs, self.path.squared_errors)

    def _n_params(self, ranks: tuple[int, int]) -> int:
        r_k, r_d = ranks
        return len(self.core) * r_k * r_d + len(self.head_factor) * r_k + len(self.model_factor) * r_d

    def _apply_cost(self, ranks: tuple[int, int]) -> int:
        r_k, r_d = ranks
        n = len(self.core)
        return len(self.model_factor) * r_d + n * r_k * r_d + n * len(self.head_factor) * r_k


def _outside(squares: Float[Tensor, "r_k r_d"]) -> Float[Tensor, "r_k_plus_1 r_d_plus_1"]:
    """At (a, b) the sum of all entries outside the first a rows and b columns; small numbers are added first."""
    tails = functional.pad(squares.flip(1).cumsum(1).flip(1), (0, 1))  # of each row, from every column on
    below = functional.pad(tails[:, 0].flip(0).cumsum(0).flip(0), (0, 1))  # whole rows, from every row on
    above = functional.pad(tails.cumsum(0), (0, 0, 1, 0))
    return below[:, None] + above


if TYPE_CHECKING:
    _form: type[Decomposition] = HeadTucker
