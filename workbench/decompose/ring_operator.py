"""A weight matrix as a closed ring of cores, one for each leg of its outputs and of its inputs, fitted for one bond."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import opt_einsum
import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.decompose.ladder import Ladder, check_bond
from workbench.decompose.leg_fit import (
    SWEEPS,
    TOLERANCE,
    check_ranks,
    checked_legs,
    leg_step,
    scaled_to_one,
    squared_distance,
    swept,
)
from workbench.decompose.orders import chain_order, contract_chain
from workbench.decompose.protocol import Decomposition
from workbench.decompose.ring import TensorRing
from workbench.decompose.row_digits import row_digits
from workbench.spectrum import Spectrum

NEW = 0.1  # norm of what a core gains when its bonds grow, as a share of its own


@dataclass(frozen=True, eq=False)
class RingOperator:
    """A matrix (out, in) as a ring of cores `(left, site, right)`: first the legs of the outputs, then of the inputs.

    Between its two sides it is a pair of rank r², one bond to each end of a side. Cores of an output and an input
    each, as a train operator has, would make a ring of two sites nothing but a train with a bond of r². Not nested:
    smaller bonds are a new fit (`ring_operators`). `squared_error` is what the fit left out, measured, of `total`, both
    squared Frobenius norms of the weight. Source: Wang, Sun, Eriksson, Wang & Aggarwal (2018), tensor ring nets.
    """

    ring: TensorRing
    out_dims: tuple[int, ...]
    in_dims: tuple[int, ...]
    squared_error: float
    total: float

    nested: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.ring.shape != self.out_dims + self.in_dims or not self.out_dims or not self.in_dims:
            raise ValueError(
                f"a ring of sites {self.ring.shape} does not fit outputs {self.out_dims} and inputs {self.in_dims}."
            )

    @property
    def shape(self) -> tuple[int, int]:
        """(out, in) of the matrix it stands for."""
        return math.prod(self.out_dims), math.prod(self.in_dims)

    @property
    def bond(self) -> int:
        """The size of the largest bond."""
        return max(self.ring.bonds)

    @property
    def full_bond(self) -> int:
        """The size of the largest bond: there is nothing uncut to go back to."""
        return self.bond

    @property
    def n_params(self) -> int:
        """Numbers stored: r² times the sum of the legs, if all bonds are r."""
        return self.ring.n_params

    @property
    def spectra(self) -> tuple[Spectrum, ...]:
        """None: cutting a ring at one bond leaves a train, not two parts."""
        return ()

    def error_bound(self) -> float:
        """The Frobenius norm of what the fit left out (measured)."""
        return math.sqrt(self.squared_error)

    def discarded_weight(self) -> float:
        """The share of the squared norm that the fit left out, 0 to 1 (measured)."""
        return min(1.0, self.squared_error / self.total) if self.total > 0 else 0.0

    def ladder(self) -> Ladder:
        """One setting: its own."""
        cost = min(self.apply_cost(), self.merged_costs()[1], math.prod(self.shape))
        return Ladder((self.bond,), (self.n_params,), (cost,), (self.squared_error,))

    def bond_within(self, n_params: int | float) -> int:
        """Its own bond, whatever is asked: there is no other."""
        return self.bond

    def truncate(self, bond: int) -> "RingOperator":
        """Itself. Raises ValueError for a smaller bond, which is a fit of its own."""
        check_bond(bond, self.bond)
        if bond < self.bond:
            raise ValueError(f"a ring of bond {self.bond} is not nested; fit one of bond {bond} by `ring_operators`.")
        return self

    def to(self, device: torch.device) -> "RingOperator":
        """The same ring with its tensors on `device`."""
        return self.with_tensors({name: tensor.to(device) for name, tensor in self.tensors().items()})

    def tensors(self) -> dict[str, Tensor]:
        """The cores `(left, site, right)` by name."""
        return {f"core.{k}": core for k, core in enumerate(self.ring.cores)}

    def with_tensors(self, tensors: Mapping[str, Tensor]) -> "RingOperator":
        """The same form with other cores; what it says of its error stays that of the fit."""
        return replace(self, ring=TensorRing(tuple([tensors[f"core.{k}"] for k in range(len(self.ring.cores))])))

    def dense(self) -> Float[Tensor, "out in"]:
        """The matrix it stands for."""
        return self.ring.dense().reshape(self.shape)

    def dense_cost(self) -> int:
        """Multiply-adds of `dense`: two halves of the ring, and r² for each entry."""
        sites, bonds = self.ring.shape, (*self.ring.bonds, self.ring.bonds[0])
        half = len(sites) // 2
        halves = chain_order(sites[:half], bonds[: half + 1])[0] + chain_order(sites[half:], bonds[half:])[0]
        return halves + math.prod(self.shape) * bonds[0] * bonds[half]

    def rows_at(self, index: Int[Tensor, "*any"]) -> Float[Tensor, "*any in"]:
        """`dense()[index]`. Cost: r³ multiply-adds for each leg of the outputs, and r² · in, a row."""
        n_outs, joined = len(self.out_dims), None  # (n, first bond, bond so far)
        for core, digit in zip(self.ring.cores[:n_outs], row_digits(index.flatten(), self.out_dims), strict=True):
            own = core.index_select(1, digit).movedim(1, 0)
            joined = own if joined is None else joined @ own
        ins = contract_chain(self.ring.cores[n_outs:])  # (bond, in, first bond)
        return torch.einsum("nlm,mil->ni", joined, ins).reshape(*index.shape, self.shape[1])

    def apply(self, x: Float[Tensor, "*batch in"], bias: Tensor | None = None) -> Float[Tensor, "*batch out"]:
        """`x @ dense().T + bias`, by absorbing one core after another into x, from the last to the first."""
        n_outs, cores = len(self.out_dims), self.ring.cores
        y = x.reshape(x.shape[:-1].numel(), math.prod(self.in_dims[:-1]), self.in_dims[-1])  # (b, inputs, last input)
        y = torch.einsum("bxi,lir->bxlr", y, cores[-1])  # r closes the ring
        for core in reversed(cores[n_outs:-1]):
            y = torch.einsum("bxilr,mil->bxmr", y.unflatten(1, (-1, core.shape[1])), core)
        y = y.transpose(1, 2)  # (b, l, outputs so far, r)
        for core in reversed(cores[1:n_outs]):
            y = torch.einsum("blyr,mol->bmoyr", y, core).flatten(2, 3)
        y = torch.einsum("blyr,rol->boy", y, cores[0]).reshape(*x.shape[:-1], self.shape[0])
        return y if bias is None else y + bias

    def apply_cost(self) -> int:
        """Multiply-adds of `apply` for one row of x."""
        return self._stages()[0]

    def apply_moves(self) -> int:
        """Numbers that `apply` puts in another order for one row of x: the result of every product, if over two."""
        return self._stages()[1]

    def merged(self) -> "RingOperator":
        """The same matrix as a ring of two cores: the legs of each side contracted."""
        if len(self.ring.cores) == 2:
            return self
        n_outs = len(self.out_dims)
        pair = (contract_chain(self.ring.cores[:n_outs]), contract_chain(self.ring.cores[n_outs:]))
        return replace(self, ring=TensorRing(pair), out_dims=self.shape[:1], in_dims=self.shape[1:])

    def merged_costs(self) -> tuple[int, int]:
        """Multiply-adds of `merged`, 0 if there is nothing to merge, and of its `apply` for one row of x."""
        sites, bonds, half = self.ring.shape, (*self.ring.bonds, self.ring.bonds[0]), len(self.out_dims)
        build = chain_order(sites[:half], bonds[: half + 1])[0] + chain_order(sites[half:], bonds[half:])[0]
        return build, bonds[0] * bonds[half] * sum(self.shape)

    def merged_moves(self) -> int:
        """None: the product with the second core is laid out as the first one reads it."""
        return 0

    def _stages(self) -> tuple[int, int]:
        """Multiply-adds of a row, and numbers put in another order, in the order of `apply`."""
        sites, n_outs, last = self.ring.shape, len(self.out_dims), len(self.ring.cores) - 1
        bonds = (*self.ring.bonds, self.ring.bonds[0])
        cost = moved = 0
        for k in range(last, -1, -1):
            inputs = k >= n_outs
            others = math.prod(sites[n_outs:k]) if inputs else math.prod(sites[k + 1 : n_outs])
            result = others * (1 if k == 0 else bonds[k] * bonds[0]) * (1 if inputs else sites[k])
            summed = (sites[k] if inputs else 1) * (1 if k == last else bonds[k + 1]) * (bonds[0] if k == 0 else 1)
            cost += result * summed
            moved += result
        return cost, moved if last > 1 else 0


def ring_operators(
    weight: Float[Tensor, "out in"],
    out_dims: Sequence[int],
    in_dims: Sequence[int],
    bonds: Sequence[int],
    sweeps: int = SWEEPS,
    tolerance: float = TOLERANCE,
) -> tuple[RingOperator, ...]:
    """A fit of `weight` for each of `bonds`, the size of all bonds of a ring, by alternating least squares.

    The first starts from random cores, a later one from the one before with small random numbers where its bonds have
    grown: TR-SVD reaches no bonds larger than the first leg allows. The same numbers on every call. A bond takes at
    most `sweeps` over its cores, fewer once one takes less than `tolerance` off the error: near a local best, not at
    it: four times as many took another 6 % off the error at 40 % of the numbers of a small GPT's matrix. A fit that is
    worse than the smaller ring is left for that one, among zeros.

    Raises ValueError if the legs do not multiply to the weight's sizes, if it is not finite, or if the bonds do not
    grow; TypeError for a bond that is no whole number.
    Cost of a sweep: a core, one product (weight, r²), some of (r², r²) and one Cholesky decomposition (r², r²).
    Source: Zhao, Zhou, Xie, Zhang & Cichocki (2016), there TR-ALS; the step is that of `leg_step`.
    """
    outs, ins = checked_legs(weight, out_dims, in_dims)
    check_ranks(bonds)
    if sweeps < 1 or not tolerance >= 0:
        raise ValueError(f"a fit takes one or more sweeps and a tolerance of 0 or more, not {sweeps} and {tolerance}.")
    scaled, norm = scaled_to_one(weight)
    tensor, share = scaled.reshape(*outs, *ins), norm ** (1 / len(outs + ins))  # the norm's share of each core
    generator = torch.Generator().manual_seed(0)
    cores = [weight.new_zeros(0, size, 0) for size in (*outs, *ins)]
    found: list[RingOperator] = []
    for bond in bonds:
        smaller = [_widened(core, bond) for core in cores]
        cores = _fitted(tensor, smaller, generator, (sweeps, tolerance)) if norm > 0 else smaller
        form = RingOperator(TensorRing(tuple([share * core for core in cores])), outs, ins, 0.0, norm * norm)
        form = replace(form, squared_error=squared_distance(weight, form.dense()))
        if found and form.squared_error > found[-1].squared_error:
            ring = TensorRing(tuple([share * core for core in smaller]))
            form, cores = replace(form, ring=ring, squared_error=found[-1].squared_error), smaller
        found.append(form)
    return tuple(found)


def _widened(core: Tensor, bond: int) -> Tensor:
    """The same core among zeros, with bonds of size `bond`."""
    wide = core.new_zeros(bond, core.shape[1], bond)
    wide[: core.shape[0], :, : core.shape[2]] = core
    return wide


def _fitted(
    tensor: Tensor, starts: Sequence[Tensor], generator: torch.Generator, effort: tuple[int, float]
) -> list[Tensor]:
    """The cores that sweeps of alternating least squares end in, from `starts` and random numbers on their zeros; of
    a tensor of norm 1.
    """
    cores = []
    for start in starts:
        drawn = torch.randn(start.shape, generator=generator, dtype=torch.float64).to(start) * (start == 0)
        norm, share = torch.linalg.vector_norm(start), torch.linalg.vector_norm(drawn).clamp_min(1e-30)
        cores.append(start + drawn * ((NEW * norm if norm > 0 else 1) / share))

    def sweep() -> float:
        error = 1.0  # the squared norm of the tensor
        for k in range(len(cores)):
            gram, moments = _gram(cores, k), _moments(tensor, cores, k)
            before = cores[k].transpose(0, 1).flatten(1)  # (site, left · right)
            solved = leg_step(gram, moments, before)
            error = 1.0 + float((solved @ gram - 2 * moments).double().mul(solved.double()).sum())
            cores[k] = solved.unflatten(1, (cores[k].shape[0], -1)).transpose(0, 1)
        norms = [float(torch.linalg.vector_norm(core)) for core in cores]
        mean = math.exp(sum(math.log(max(norm, 1e-30)) for norm in norms) / len(norms))
        cores[:] = [core * (mean / max(norm, 1e-30)) for core, norm in zip(cores, norms, strict=True)]
        return error

    swept(sweep, *effort)
    return cores


def _gram(cores: Sequence[Tensor], k: int) -> Float[Tensor, "pairs pairs"]:
    """Inner products of what all other cores make of each pair of bonds (left, right) of core k."""
    joined = None
    for core in (*cores[k + 1 :], *cores[:k]):
        twice = torch.einsum("aib,cid->acbd", core, core)  # (left, left', right, right')
        joined = twice if joined is None else torch.tensordot(joined, twice, dims=2)
    assert joined is not None  # a ring has two or more cores
    return joined.permute(2, 0, 3, 1).flatten(2).flatten(0, 1)  # (left · right of core k, the same again)


def _moments(tensor: Tensor, cores: Sequence[Tensor], k: int) -> Float[Tensor, "site pairs"]:
    """The tensor contracted with all cores but k, in the cheapest order: (site, left · right)."""
    n_sites = len(cores)
    operands: list = [tensor, list(range(n_sites))]
    for j, core in enumerate(cores):
        if j != k:
            operands += [core, [n_sites + j, j, n_sites + (j + 1) % n_sites]]
    result = opt_einsum.contract(*operands, [k, n_sites + k, n_sites + (k + 1) % n_sites])
    return result.flatten(1)  # pyright: ignore[reportAttributeAccessIssue]


if TYPE_CHECKING:
    _form: type[Decomposition] = RingOperator
