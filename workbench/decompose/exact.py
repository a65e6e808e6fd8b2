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
        _, v = torch.linalg.eigh(weight.T @ weight)
        left, right = weight @ v, v.T
        values = torch.linalg.vector_norm(left, dim=0)
    else:
        _, u = torch.linalg.eigh(weight @ weight.T)
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


def calibrated_factors(weight: Float[Tensor, "out in"], second_moment: Float[Tensor, "in in"]) -> Factors:
    """`left @ right` = `weight`, ordered by what the inputs really excite; r = min(out, in).

    Cutting to rank r minimises E|(W - W_r) x|² over x with E[x xᵀ] = `second_moment`, because the best
    W_r is U_r U_rᵀ W, where U are the left singular vectors of W C^½. In this form nothing is inverted,
    so a singular second moment (inputs that never vary in some direction) needs no ridge.
    `left` is an isometry. Computed in float64, since second moments span many orders of magnitude.
    Cost: for out > in one QR (out, in); one symmetric eigendecomposition (r, r).
    Source: Eckart & Young (1936) applied to W C^½; the metric of SVD-LLM (Wang et al. 2024).
    """
    check_finite(weight)
    if second_moment.shape != (weight.shape[1],) * 2:
        raise ValueError(
            f"a weight of {weight.shape[1]} inputs needs a second moment of that size, "
            f"not {tuple(second_moment.shape)}."
        )
    check_finite(second_moment, "second moment")
    moment = second_moment.double()
    # For out > in the columns of W span only `in` directions: the problem is solved inside that span.
    basis, small = torch.linalg.qr(weight.double()) if weight.shape[0] > weight.shape[1] else (None, weight.double())
    _, u = torch.linalg.eigh(small @ moment @ small.T)
    right = u.T @ small
    values = ((right @ moment) * right).sum(1).clamp_min(0).sqrt()
    left, right, values = _descending(u if basis is None else basis @ u, right, values)
    return left.to(weight), right.to(weight), values


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
    return left[:, order], right[order], values[order]
