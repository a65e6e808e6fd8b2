"""The one place that chooses how an exact, rank-ordered factorisation is computed.

Measured fastest on CPUs: the eigenvectors of the smaller Gram matrix, kept in *factor form* (an
isometry and its product with the weight), 3 to 5 times faster than LAPACK's divide-and-conquer SVD
in float32. Squaring costs accuracy in the eigenvalues' tail (nothing below 3e-4 of the largest is
right in float32), so they are not used: the singular values are the *norms* of the factor's rows or
columns, whose tail sums are the error of a cut by construction. Single values were measured within 6e-4 of
themselves in float32 for a spectrum k^-0.6, within 1e-2 for steep ones (that mixes near neighbours, and leaves
the error of the cut right), and within 5e-8 in float64.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.decompose.moment import Half, Moment, times

Factors = tuple[Float[Tensor, "out r"], Float[Tensor, "r in"], Float[Tensor, " r"]]


def ordered_factors(weight: Float[Tensor, "out in"]) -> Factors:
    """`left @ right` = `weight`, ordered, with its singular values; r = min(out, in).

    Cutting to the first r columns and rows gives the best rank-r matrix in the Frobenius norm. The
    factor on the shorter side is an isometry; the other carries the singular values.
    Cost: two products (out, in, r) and one symmetric eigendecomposition (r, r).
    """
    check_finite(weight)
    rows, columns = weight.shape
    if rows >= columns:
        _, v = torch.linalg.eigh(lower_gram(weight.T))
        left, right = weight @ v, v.T
        values = torch.linalg.vector_norm(left, dim=0)
    else:
        _, u = torch.linalg.eigh(lower_gram(weight))
        left, right = u, u.T @ weight
        values = torch.linalg.vector_norm(right, dim=1)
    return _descending(left, right, values)


def right_isometry_factors(weight: Float[Tensor, "out in"]) -> Factors:
    """`ordered_factors` with `right` always the isometry; `left` carries the singular values.

    Cost: for out < in one QR (in, out) besides.
    """
    rows, columns = weight.shape
    if rows >= columns:
        return ordered_factors(weight)
    check_finite(weight)
    q, r = torch.linalg.qr(weight.T)
    left, right, values = ordered_factors(r.T)  # square, so the isometry is on the right
    return left, right @ q.T, values


def calibrated_factors(
    weight: Float[Tensor, "out in"], inputs: Moment | None, outputs: Moment | None = None
) -> Factors:
    """`left @ right` = `weight`, ordered by ‖G^½ D A^½‖ with A = `inputs` and G = `outputs` (None: the identity).

    Cutting to rank r minimises that norm of the error: the best W_r is H⁺ U_r U_rᵀ H W, where Hᵀ H = G and U are the
    left singular vectors of H W A^½ (Eckart & Young 1936). In this form A is never inverted, so inputs that never vary
    in some direction need no ridge; of G its null space is left out, where the norm sees nothing. With A alone it is
    the metric of SVD-LLM (Wang et al. 2024), with both that of GFWSVD (2025).
    Computed in float64, since second moments span many orders of magnitude.
    Cost: for out > in two products (out, in, in), as with a table of 50,257 tokens; one symmetric eigendecomposition
    (r, r), for out > in two; with a G that is no diagonal one more (out, out).
    """
    check_finite(weight)
    half = None if outputs is None else Half(outputs.double())
    seen = weight.double() if half is None else half.there(weight.double())  # (rank of G, in)
    # Where rows outnumber columns they span only `in` directions: the problem is solved inside that span.
    basis, small = _spanned(seen) if seen.shape[0] > seen.shape[1] else (None, seen)
    moved = small if inputs is None else times(inputs.double(), small.T).T
    _, u = torch.linalg.eigh(moved @ small.T)
    right = u.T @ small
    values = (right if inputs is None else times(inputs.double(), right.T).T).mul(right).sum(1).clamp_min(0).sqrt()
    left = u if basis is None else seen @ (basis @ u)
    left, right, values = _descending(left if half is None else half.back(left), right, values)
    return left.to(weight), right.to(weight), values


def _spanned(tall: Float[Tensor, "n m"]) -> tuple[Float[Tensor, "m m"], Float[Tensor, "m m"]]:
    """B and S with `tall @ B` of orthonormal columns and `tall @ B @ S` = `tall`, by the Gram matrix.

    A QR decomposition took four times as long. Directions below √ε of the longest are as short as rounding leaves
    them: their columns are no longer than 1, and the product stays exact.
    """
    values, vectors = torch.linalg.eigh(tall.T @ tall)
    root = values.clamp_min(max(float(values[-1]) * torch.finfo(values.dtype).eps, 1e-300)).sqrt()
    return vectors / root, root[:, None] * vectors.T


def check_finite(tensor: Tensor, what: str = "weight") -> None:
    """Raises ValueError if `tensor` holds nan or inf, or numbers that are not float32 or float64.

    Complex numbers are refused: the factors here are real, and would be wrong without a word.
    """
    if tensor.dtype not in (torch.float32, torch.float64):
        remedy = "decompose its real and its imaginary part" if tensor.is_complex() else "convert it by .float()"
        raise ValueError(f"the {what} is {tensor.dtype}; a decomposition needs float32 or float64: {remedy}.")
    if torch.isfinite(tensor.sum()):  # nan and inf survive a sum, which takes a tenth of the time of looking at each
        return
    bad = tensor.numel() - int(torch.isfinite(tensor).sum())
    if bad:  # else the sum alone has overflowed
        raise ValueError(
            f"the {what} of shape {tuple(tensor.shape)} holds {bad} non-finite values (nan or inf); "
            "a decomposition needs finite ones: check the checkpoint, or convert it from float32 again."
        )


def _descending(left: Tensor, right: Tensor, values: Tensor) -> Factors:
    order = torch.argsort(values, descending=True, stable=True)
    return left.index_select(1, order), right.index_select(0, order), values[order]


def lower_gram(rows: Float[Tensor, "r n"]) -> Float[Tensor, "r r"]:
    """`rows @ rows.T` on and below the diagonal, all that `eigh` reads: in six strips, 58 % of the multiply-adds."""
    size = rows.shape[0]
    strips = 6 if size >= 256 else 1
    gram = rows.new_zeros(size, size)
    for k in range(strips):
        start, stop = size * k // strips, size * (k + 1) // strips
        gram[start:stop, :stop] = rows[start:stop] @ rows[:stop].T
    return gram
