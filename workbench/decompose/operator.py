"""A weight matrix as a train of cores, each with its share of the outputs and of the inputs."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.decompose.exact import check_finite
from workbench.decompose.ladder import Ladder
from workbench.decompose.orders import Sweep, chain_order, contract_chain, sweep
from workbench.decompose.row_digits import chain_rows
from workbench.decompose.train import TensorTrain
from workbench.spectrum import Spectrum


@dataclass(frozen=True, eq=False)
class TrainOperator:
    """A matrix (out, in) as cores `(left, out, in, right)`; also called MPO or TT-matrix.

    `train` holds the same cores with each site's outputs and inputs as one leg. Every bond is cut by a
    slice (nested); errors are Frobenius norms of the weight.
    """

    train: TensorTrain
    out_dims: tuple[int, ...]
    in_dims: tuple[int, ...]

    nested: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.train.shape != tuple([i * j for i, j in zip(self.out_dims, self.in_dims, strict=True)]):
            raise ValueError(
                f"a train of sites {self.train.shape} does not fit outputs {self.out_dims} and inputs {self.in_dims}."
            )

    @classmethod
    def from_weight(
        cls,
        weight: Float[Tensor, "out in"],
        sites: int | None = None,
        out_dims: Sequence[int] | None = None,
        in_dims: Sequence[int] | None = None,
    ) -> "TrainOperator":
        """The uncut operator of `weight`, of two sites unless told otherwise.

        Dimensions that are not given are `balanced_factors`: as equal as possible, smallest first.
        """
        check_finite(weight)
        sites = _n_sites(sites, out_dims, in_dims)
        outs = _site_dims("outputs", weight.shape[0], sites, out_dims)
        ins = _site_dims("inputs", weight.shape[1], sites, in_dims)
        legs = weight.reshape(*outs, *ins)  # (out 1, out 2, …, in 1, in 2, …)
        paired = legs.permute([axis for k in range(sites) for axis in (k, sites + k)])
        train = TensorTrain.from_dense(paired.reshape([i * j for i, j in zip(outs, ins, strict=True)]))
        return cls(train, outs, ins)

    @property
    def cores(self) -> tuple[Float[Tensor, "_ _ _ _"], ...]:
        """The cores `(left, out, in, right)`, as views."""
        dims = zip(self.train.cores, self.out_dims, self.in_dims, strict=True)
        return tuple(core.unflatten(1, (i, j)) for core, i, j in dims)

    @property
    def shape(self) -> tuple[int, int]:
        """(out, in) of the matrix it stands for."""
        return math.prod(self.out_dims), math.prod(self.in_dims)

    @property
    def bond(self) -> int:
        """The size of the largest bond as it is cut now."""
        return max(self.train.bonds)

    @property
    def full_bond(self) -> int:
        """The size of the largest bond, uncut."""
        return max(self.train.full_bonds)

    @property
    def n_params(self) -> int:
        """Numbers stored."""
        return self.train.n_params

    @property
    def spectra(self) -> tuple[Spectrum, ...]:
        """The spectrum at each bond, uncut."""
        return self.train.spectra

    def error_bound(self) -> float:
        """At most this Frobenius norm was dropped by this cut; exact for two sites."""
        return self.train.error_bound()

    def discarded_weight(self) -> float:
        """At most this share of the squared norm was dropped by this cut; exact for two sites."""
        train = self.train
        return min(1.0, sum(s.discarded_weight(bond) for s, bond in zip(self.spectra, train.bonds, strict=True)))

    def ladder(self) -> Ladder:
        """Every cap on the bonds, with what it stores, costs in the cheaper of cores and matrix, and drops at most."""
        caps = tuple(range(1, self.full_bond + 1))
        sizes, costs = _sizes_and_costs(self.out_dims, self.in_dims, self.train.full_bonds)
        tails = [spectrum.squared_errors().tolist() for spectrum in self.spectra]
        dropped = self.train.dropped**2
        errors = [dropped + sum(tail[min(cap, len(tail) - 1)] for tail in tails) for cap in caps]
        return Ladder(caps, sizes, costs, tuple(errors))

    def tensors(self) -> dict[str, Tensor]:
        """The cores `(left, site, right)` by name."""
        return {f"core.{k}": core for k, core in enumerate(self.train.cores)}

    def with_tensors(self, tensors: Mapping[str, Tensor]) -> "TrainOperator":
        """The same form with other cores of the same shapes; the spectra stay those of the decomposition."""
        cores = tuple([tensors[f"core.{k}"] for k in range(len(self.train.cores))])
        return TrainOperator(TensorTrain(cores, self.spectra, self.train.dropped), self.out_dims, self.in_dims)

    def truncate(self, bond: int | Sequence[int]) -> "TrainOperator":
        """The same operator with every bond cut to at most `bond`, or each to its own, as views."""
        cut = object.__new__(TrainOperator)  # unchecked, as in TensorTrain.truncate: the sites stay as they are
        cut.__dict__.update(self.__dict__, train=self.train.truncate(bond))
        return cut

    def to(self, device: torch.device) -> "TrainOperator":
        """The same operator with its tensors on `device`."""
        train = TensorTrain(tuple(core.to(device) for core in self.train.cores), self.train.spectra, self.train.dropped)
        return TrainOperator(train, self.out_dims, self.in_dims)

    def bond_within(self, n_params: int | float) -> int:
        """The largest cap on the bonds that stores at most `n_params` numbers, and at least 1."""
        return _largest_cap(self.train.shape, self.train.full_bonds, n_params)

    def dense(self) -> Float[Tensor, "out in"]:
        """The matrix this cut stands for."""
        return _split_sites(contract_chain(self.train.cores), self.out_dims, self.in_dims).reshape(self.shape)

    def dense_cost(self) -> int:
        """Multiply-adds of `dense`."""
        return chain_order(self.train.shape, self._all_bonds)[0]

    def rows_at(self, index: Int[Tensor, "*any"]) -> Float[Tensor, "*any in"]:
        """`dense()[index]`, core after core. Cost: that of `chain_rows`."""
        return chain_rows(self.cores, index)

    def apply(self, x: Float[Tensor, "*batch in"], bias: Tensor | None = None) -> Float[Tensor, "*batch out"]:
        """`x @ dense().T + bias`, by absorbing one core after another into x, in the cheapest order.

        Cores are not contracted with each other here: `merged` and `dense` do that, once for many calls.
        """
        if x.shape[-1] != self.shape[1]:
            raise ValueError(f"an operator of {self.shape[1]} inputs cannot be applied to rows of {x.shape[-1]}.")
        order = sweep(self.out_dims, self.in_dims, self._all_bonds)
        cores = self.cores
        y = x.reshape(x.shape[:-1].numel(), *self.in_dims)
        for site, axes, core_axes in order.steps:
            y = torch.tensordot(y, cores[site], dims=(axes, core_axes))  # pyright: ignore[reportArgumentType]
        y = y.permute(order.out_axes).reshape(*x.shape[:-1], self.shape[0])
        return y if bias is None else y + bias

    def apply_cost(self) -> int:
        """Multiply-adds of `apply` for one row of x."""
        return sweep(self.out_dims, self.in_dims, self._all_bonds).cost

    def apply_moves(self) -> int:
        """Numbers that `apply` puts in another order for one row of x: the result of every product."""
        return sweep(self.out_dims, self.in_dims, self._all_bonds).moved

    def merged(self) -> "TrainOperator":
        """The same matrix in two cores, neighbours contracted; the split that is quickest to apply."""
        if len(self.out_dims) == 2:
            return self
        split = self._merged_plan()[2]
        pair = []
        for group in (slice(None, split), slice(split, None)):
            core = contract_chain(self.train.cores[group])
            pair.append(_split_sites(core, self.out_dims[group], self.in_dims[group]).flatten(1, 2))
        kept = self.train.spectra[split - 1]
        inside = [k for k in range(len(self.spectra)) if k != split - 1]
        dropped = math.hypot(self.train.dropped, *(self.spectra[k].error(self.train.bonds[k]) for k in inside))
        train = TensorTrain(tuple(pair), (kept,), dropped)
        return TrainOperator(train, _grouped(self.out_dims, split), _grouped(self.in_dims, split))

    def merged_costs(self) -> tuple[int, int]:
        """Multiply-adds of `merged`, 0 if there is nothing to merge, and of its `apply` for one row of x."""
        return self._merged_plan()[:2]

    def merged_moves(self) -> int:
        """`apply_moves` of `merged`."""
        return self._merged_sweep(self._merged_plan()[2]).moved

    def _merged_plan(self) -> tuple[int, int, int]:
        """Multiply-adds to merge, multiply-adds of a row, and the split."""
        sites, bonds = self.train.shape, self._all_bonds
        plans = []
        for split in range(1, len(sites)):
            apply_cost = self._merged_sweep(split).cost
            build = chain_order(sites[:split], bonds[: split + 1])[0] + chain_order(sites[split:], bonds[split:])[0]
            plans.append((apply_cost, build, split))
        apply_cost, build, split = min(plans)
        return build, apply_cost, split

    def _merged_sweep(self, split: int) -> Sweep:
        """How two cores, of the sites before the split and of those after it, are applied."""
        outs, ins = _grouped(self.out_dims, split), _grouped(self.in_dims, split)
        return sweep(outs, ins, (1, self._all_bonds[split], 1))

    @property
    def _all_bonds(self) -> tuple[int, ...]:
        return (1, *self.train.bonds, 1)


@lru_cache(maxsize=4096)
def _largest_cap(sites: tuple[int, ...], full_bonds: tuple[int, ...], n_params: int | float) -> int:
    """The largest cap on the bonds that stores at most `n_params` numbers; layers of one shape share the search."""
    fits, too_large = 1, max(full_bonds) + 1
    while too_large - fits > 1:
        cap = (fits + too_large) // 2
        bonds = [1, *(min(cap, full) for full in full_bonds), 1]
        if sum(bonds[k] * site * bonds[k + 1] for k, site in enumerate(sites)) <= n_params:
            fits = cap
        else:
            too_large = cap
    return fits


@lru_cache(maxsize=256)
def _sizes_and_costs(
    out_dims: tuple[int, ...], in_dims: tuple[int, ...], full_bonds: tuple[int, ...]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Numbers stored, and the fewest multiply-adds of a row, at every cap on the bonds."""
    sites = [i * j for i, j in zip(out_dims, in_dims, strict=True)]
    dense, sizes, costs = math.prod(sites), [], []
    for cap in range(1, max(full_bonds) + 1):
        bonds = (1, *(min(cap, full) for full in full_bonds), 1)
        sizes.append(sum(bonds[k] * site * bonds[k + 1] for k, site in enumerate(sites)))
        costs.append(dense if costs and costs[-1] == dense else min(dense, sweep(out_dims, in_dims, bonds).cost))
    return tuple(sizes), tuple(costs)


@lru_cache(maxsize=1024)
def balanced_factors(size: int, count: int) -> tuple[int, ...]:
    """`size` as the product of `count` whole numbers with the smallest sum, smallest first; a prime with ones."""
    if count == 1:
        return (size,)
    ways = []
    for factor in range(1, size + 1):
        if factor**count > size:  # the smallest factor is at most the root
            break
        if size % factor == 0:
            ways.append(tuple(sorted((factor, *balanced_factors(size // factor, count - 1)))))
    return min(ways, key=lambda way: (sum(way), way))


def _n_sites(sites: int | None, out_dims: Sequence[int] | None, in_dims: Sequence[int] | None) -> int:
    """The one number of sites that everything given agrees on; two if nothing is given."""
    given = {"sites": sites, "out_dims": out_dims, "in_dims": in_dims}
    numbers = {name: v if isinstance(v, int) else len(v) for name, v in given.items() if v is not None}
    if len(set(numbers.values())) > 1:
        raise ValueError(f"an operator has one number of sites, but these differ: {numbers}.")
    n_sites = next(iter(numbers.values()), 2)
    if n_sites < 2:
        raise ValueError(f"an operator has two or more sites, not {n_sites}.")
    return n_sites


def _site_dims(what: str, size: int, sites: int, given: Sequence[int] | None) -> tuple[int, ...]:
    dims = balanced_factors(size, sites) if given is None else tuple(given)
    if math.prod(dims) != size or min(dims) < 1:
        raise ValueError(f"the weight has {size} {what}, but the site dimensions {dims} multiply to {math.prod(dims)}.")
    return dims


def _grouped(dims: tuple[int, ...], split: int) -> tuple[int, int]:
    return math.prod(dims[:split]), math.prod(dims[split:])


def _split_sites(core: Tensor, out_dims: tuple[int, ...], in_dims: tuple[int, ...]) -> Tensor:
    """A core of many sites, (left, out 1, in 1, out 2, …, right), as (left, out, in, right)."""
    sites = len(out_dims)
    legs = core.unflatten(1, [size for pair in zip(out_dims, in_dims, strict=True) for size in pair])
    outs, ins = range(1, 2 * sites, 2), range(2, 2 * sites + 1, 2)
    paired = legs.permute(0, *outs, *ins, legs.ndim - 1)
    return paired.reshape(core.shape[0], math.prod(out_dims), math.prod(in_dims), core.shape[2])
