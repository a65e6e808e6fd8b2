"""A tensor as a closed ring of cores, fitted for given bonds.

Cutting a ring at one bond leaves a train, not two parts, so no bond has a spectrum: errors are measured, never
predicted, and smaller bonds are a new fit.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.decompose.exact import check_finite, right_isometry_factors
from workbench.decompose.orders import contract_chain


@dataclass(frozen=True, eq=False)
class TensorRing:
    """Cores `(left, site, right)`, each sharing a bond with the next, and the last with the first.

    Also called a matrix product state with periodic boundary conditions. Not nested: a slice of a bond is not
    the best ring of that size, so there is no cut and no bound.
    """

    cores: tuple[Float[Tensor, "_ _ _"], ...]

    def __post_init__(self) -> None:
        if len(self.cores) < 2:
            raise ValueError(f"a ring has two or more cores, not {len(self.cores)}.")
        for k, core in enumerate(self.cores):
            if core.ndim != 3:
                raise ValueError(f"core {k} needs the axes (left, site, right), not shape {tuple(core.shape)}.")
        for k, core in enumerate(self.cores):
            joins = self.cores[k - 1].shape[2]
            if core.shape[0] != joins:
                raise ValueError(f"core {k} has a left bond of {core.shape[0]}, but what it joins has {joins}.")

    @classmethod
    def from_dense(cls, tensor: Float[Tensor, "*sites"], bonds: int | Sequence[int], sweeps: int = 0) -> "TensorRing":
        """A ring of `bonds`: bond k lies left of core k, so bond 0 closes the ring; or one cap on all of them.

        First TR-SVD: the first axis is split off by one SVD whose rank is shared between its two bonds, the
        others as a train. Then `sweeps` of alternating least squares, each of which solves for every core in
        turn and cannot raise the error. Neither finds the best ring: how a rank is shared, and the order and
        signs of singular vectors (here a positive sum), are choices that TR-SVD leaves open.

        Raises ValueError for fewer than two axes, non-finite values, or bonds that TR-SVD cannot reach: the
        first two multiply to at most the size of the first axis.
        Cost: as a train; a sweep needs at each core the pseudo-inverse of a matrix (all other sites, left · right).
        Source: Zhao, Zhou, Xie, Zhang & Cichocki (2016), there TR-SVD and TR-ALS.
        """
        if tensor.ndim < 2 or tensor.numel() == 0:
            raise ValueError(f"a ring needs two or more axes, none of size 0, not shape {tuple(tensor.shape)}.")
        check_finite(tensor, "tensor")
        if sweeps < 0:
            raise ValueError(f"a fit takes zero or more sweeps, not {sweeps}.")
        cores = _split(tensor, _reachable_bonds(tuple(tensor.shape), bonds))
        for _ in range(sweeps):
            for k in range(len(cores)):
                cores[k] = _solved(tensor, cores, k)
        return cls(tuple(cores))

    @property
    def shape(self) -> tuple[int, ...]:
        """The site sizes: the shape of the tensor it stands for."""
        return tuple([core.shape[1] for core in self.cores])

    @property
    def bonds(self) -> tuple[int, ...]:
        """The size of the bond left of each core; the first closes the ring."""
        return tuple([core.shape[0] for core in self.cores])

    @property
    def n_params(self) -> int:
        """Numbers stored."""
        return sum(core.numel() for core in self.cores)

    def error(self, tensor: Float[Tensor, "*sites"]) -> float:
        """The Frobenius norm of `tensor` less this ring, measured: there is no spectrum to read it from."""
        if tensor.shape != self.shape:
            raise ValueError(f"a ring of shape {self.shape} cannot be compared with a tensor of {tuple(tensor.shape)}.")
        return float(torch.linalg.vector_norm(tensor - self.dense()))

    def dense(self) -> Float[Tensor, "*sites"]:
        """The tensor this ring stands for: two halves, then joined at both ends."""
        half = len(self.cores) // 2
        head, tail = contract_chain(self.cores[:half]), contract_chain(self.cores[half:])
        return torch.einsum("aic,cja->ij", head, tail).reshape(self.shape)

    def norm(self) -> Float[Tensor, ""]:
        """The Frobenius norm, without a dense tensor. Cost: linear in the number of sites."""
        closing = torch.eye(self.bonds[0], dtype=self.cores[0].dtype, device=self.cores[0].device)
        joined = torch.einsum("pa,qb->pqab", closing, closing)  # the closing bond twice, the present one twice
        for core in self.cores:
            half = torch.einsum("pqab,aic->pqbic", joined, core)
            joined = torch.einsum("pqbic,bid->pqcd", half, core)
        return torch.einsum("pqpq->", joined).clamp_min(0).sqrt()

    def entry(self, index: Sequence[int]) -> Float[Tensor, ""]:
        """The tensor's entry at `index`, one number a site: the trace of a product of one matrix a site."""
        if len(index) != len(self.cores):
            raise ValueError(f"an entry of {len(self.cores)} sites needs that many indices, not {len(index)}.")
        product = self.cores[0][:, index[0]]
        for core, i in zip(self.cores[1:], index[1:], strict=True):
            product = product @ core[:, i]
        return product.trace()


def _reachable_bonds(shape: tuple[int, ...], bonds: int | Sequence[int]) -> tuple[int, ...]:
    """The largest bonds of a TR-SVD within `bonds`; raises ValueError where a sequence asks for more."""
    caps = (bonds,) * len(shape) if isinstance(bonds, int) else tuple(bonds)
    if len(caps) != len(shape):
        raise ValueError(f"a ring of {len(shape)} sites has that many bonds, not {len(caps)}.")
    wrong = [cap for cap in caps if not isinstance(cap, int) or isinstance(cap, bool)]
    if wrong:
        raise TypeError(f"a bond dimension is a whole number, not {wrong[0]!r}.")
    if min(caps) < 1:
        raise ValueError(f"every bond of a ring has a size of 1 or more, not {caps}.")
    rest = math.prod(shape[1:])
    rank = min(shape[0], rest)
    pairs = [(first, min(caps[1], rank // first)) for first in range(1, min(caps[0], rank) + 1)]
    found = [*max(pairs, key=lambda pair: (pair[0] * pair[1], -abs(pair[0] - pair[1])))]
    for k in range(1, len(shape) - 1):
        rest //= shape[k]
        found.append(min(caps[k + 1], found[k] * shape[k], rest * found[0]))
    if not isinstance(bonds, int) and tuple(found) != caps:
        raise ValueError(
            f"bonds {caps} are out of reach of TR-SVD on shape {shape}, which gives at most {tuple(found)}; "
            "ask for these, or move a longer axis to the front."
        )
    return tuple(found)


def _split(tensor: Tensor, bonds: tuple[int, ...]) -> list[Tensor]:
    """The cores of TR-SVD, each but the last an isometry from its left bond and site (the first: from its site)."""
    shape, closing = tensor.shape, bonds[0]
    site, rest = _cut_svd(tensor.flatten(1), closing * bonds[1])
    cores = [site.reshape(shape[0], closing, bonds[1]).transpose(0, 1)]
    rest = rest.reshape(closing, -1).T  # (bond 1, all other sites, closing)
    for size, left, right in zip(shape[1:-1], bonds[1:-1], bonds[2:], strict=True):
        site, rest = _cut_svd(rest.reshape(left * size, -1), right)
        cores.append(site.reshape(left, size, right))
    return [*cores, rest.reshape(bonds[-1], shape[-1], closing)]


def _cut_svd(matrix: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """An isometry (rows, rank) of columns with a positive sum, and its product with the matrix."""
    _, uh, _ = right_isometry_factors(matrix.T)
    u = uh[:rank].T
    u = u * torch.where(u.sum(0) < 0, -1, 1)
    return u, u.T @ matrix


def _solved(tensor: Tensor, cores: Sequence[Tensor], k: int) -> Tensor:
    """The core at site k that is best for the others as they are; the smallest, where they leave a choice."""
    order = [*range(k, tensor.ndim), *range(k)]
    others = contract_chain((*cores[k + 1 :], *cores[:k]))  # (right bond, all other sites, left bond)
    columns = others.permute(1, 2, 0).flatten(1)  # (all other sites, left · right)
    core = torch.linalg.pinv(columns) @ tensor.permute(order).flatten(1).T
    return core.unflatten(0, (others.shape[2], others.shape[0])).transpose(1, 2)
