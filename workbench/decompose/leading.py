"""The leading factors alone, for matrices beside which a whole decomposition would not fit in memory.

The factors are those of `exact`, cut. An eigendecomposition takes four squares of its side, the matrix it is given
among them, and in the moment's norm those are of float64: whoever calls lets go of all else meanwhile.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.decompose.exact import check_finite, lower_gram

_ROWS = 1024  # of a matrix that are held in float64 at once
_SHORTEST = 1e-60  # a squared length whose root, and one over it, are still numbers in float32


def leading_factors(
    weight: Float[Tensor, "out in"], rank: int
) -> tuple[Float[Tensor, "out r"], Float[Tensor, "r in"], Float[Tensor, " n"]]:
    """The first `rank` columns and rows of `ordered_factors(weight)`, with all singular values.

    Memory, besides the weight's: three squares of the smaller side, then one of the weight.
    """
    check_finite(weight)
    wide = weight.shape[0] < weight.shape[1]
    tall = weight.T if wide else weight
    _, v = torch.linalg.eigh(lower_gram(tall.T))
    moved = tall @ v
    values = torch.linalg.vector_norm(moved, dim=0)
    order = torch.argsort(values, descending=True, stable=True)
    left, right = moved.index_select(1, order[:rank]), v.index_select(1, order[:rank]).T
    return (right.T, left.T, values[order]) if wide else (left, right, values[order])


def leading_directions(moment: Float[Tensor, "n n"], rank: int) -> tuple[Float[Tensor, "n r"], Float[Tensor, " n"]]:
    """The `rank` leading eigenvectors of a second moment, of which the lower half is read, and the roots of all its
    eigenvalues, largest first.

    With S = E[y yᵀ] of what a matrix W gives, U Uᵀ W is the best matrix of its rank in the root mean square of the
    output, and the roots are the singular values in that norm: S = W C Wᵀ, and U are the left singular vectors of
    W C^½ (Eckart & Young 1936). The moment of the inputs, C, is never needed: ours, for matrices of few outputs.
    """
    values, vectors = torch.linalg.eigh(moment)
    return vectors[:, -rank:].flip(1), values.flip(0).clamp_min(0).sqrt()


def gram_of_columns(weight: Float[Tensor, "out in"]) -> Float[Tensor, "in in"]:
    """Wᵀ W in float64, on and below the diagonal. Memory, besides the weight's: two squares (in, in)."""
    check_finite(weight)
    gram = torch.zeros(weight.shape[1], weight.shape[1], dtype=torch.float64, device=weight.device)
    for start in range(0, weight.shape[0], _ROWS):
        gram += lower_gram(weight[start : start + _ROWS].double().T)
    return gram


def triangle(gram: Float[Tensor, "n n"]) -> Float[Tensor, "n n"]:
    """L, lower triangular, with L Lᵀ = `gram`, of which the lower half is read.

    Where `gram` is singular to rounding, as much as rounding may hide is added to its diagonal: columns that a matrix
    lacks are given a length below anything that its product could show.
    """
    lower, failed = torch.linalg.cholesky_ex(gram)
    if not bool(failed):
        return lower
    hidden = 10 * len(gram) * torch.finfo(gram.dtype).eps * float(gram.diagonal().max())
    gram.diagonal().add_(max(hidden, _SHORTEST))
    return torch.linalg.cholesky(gram)


def within_columns(lower: Float[Tensor, "n n"], inputs: Float[Tensor, "n n"]) -> Float[Tensor, "n n"]:
    """Lᵀ C L for L = `triangle(gram_of_columns(W))` and C = E[x xᵀ]: the moment of what W gives, in an orthonormal
    basis of its columns. It has as many rows as W has inputs: ours, for matrices of more outputs.
    """
    return lower.T @ (inputs @ lower)


def pair_within_columns(
    weight: Float[Tensor, "out in"], lower: Float[Tensor, "in in"], directions: Float[Tensor, "in r"]
) -> tuple[Float[Tensor, "out r"], Float[Tensor, "r in"]]:
    """(W L⁻ᵀ U, Uᵀ Lᵀ) for U = `directions`, leading ones of `within_columns`: the best pair of its rank in the root
    mean square of the output; the left factor is an isometry. In the weight's dtype, computed in float64.
    """
    basis = torch.linalg.solve_triangular(lower.T, directions, upper=True)
    rows = [(weight[k : k + _ROWS].double() @ basis).to(weight) for k in range(0, weight.shape[0], _ROWS)]
    return torch.cat(rows), (lower @ directions).T.to(weight)
