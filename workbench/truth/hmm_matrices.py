"""What the matrices of a hidden Markov model must keep to, and what follows from them by linear algebra alone."""

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.decompose.exact import check_finite

_ROUNDING = 1e-9  # by which sums may miss what they must be, and singular values zero


def check_matrices(matrices: Float[Tensor, "symbols state next"], n_symbols: int, generalised: bool) -> None:
    """Raises ValueError unless there is one float64 matrix a symbol, of probabilities if not `generalised`."""
    n_matrices, states, following = matrices.shape
    if n_matrices != n_symbols or states != following or states == 0:
        raise ValueError(
            f"a process has one square matrix (state, next) a symbol, but {n_symbols} symbols were given and "
            f"{n_matrices} matrices of shape {(states, following)}."
        )
    check_finite(matrices, "matrix of a process")
    if matrices.dtype != torch.float64:
        raise ValueError(
            f"the matrices are {matrices.dtype}; known truth is held in float64: convert them by .double()."
        )
    if not generalised and float(matrices.min()) < 0:
        symbol, state, to = (matrices == matrices.min()).nonzero()[0].tolist()
        raise ValueError(
            f"matrix {symbol} holds {float(matrices.min()):.6g} from state {state} to {to}; a probability is 0 or more."
        )


def check_preserved(matrices: Float[Tensor, "symbols state next"], stop: Float[Tensor, " state"]) -> None:
    """Raises ValueError unless the sum of the matrices leaves `stop` as it is: for ones, unless its rows sum to one."""
    sums = matrices.sum(0) @ stop
    worst = int((sums - stop).abs().argmax())
    if abs(float(sums[worst] - stop[worst])) > _ROUNDING:
        raise ValueError(
            f"row {worst} of all matrices together sums to {float(sums[worst]):.6g}, weighted by stop; it must be "
            f"{float(stop[worst]):.6g}: something is written, and some state is gone to, with probability one."
        )


def check_start(
    matrices: Float[Tensor, "symbols state next"],
    start: Float[Tensor, " state"],
    stop: Float[Tensor, " state"],
    generalised: bool,
) -> None:
    """Raises ValueError unless `start` is stationary, sums to one under `stop`, and is no negative chance."""
    total = float(start @ stop)
    if abs(total - 1) > _ROUNDING or (not generalised and float(start.min()) < 0):
        raise ValueError(
            f"the start sums to {total:.6g} and its least entry is {float(start.min()):.6g}; a distribution of states "
            "sums to 1 and has no negative entry."
        )
    moved = float((start @ matrices.sum(0) - start).abs().max())
    if moved > _ROUNDING:
        raise ValueError(
            f"the start changes by {moved:.3g} in one step; give a stationary distribution, or make a ChainSource of "
            "`uniform_cores` for another start."
        )


def stationary(matrices: Float[Tensor, "symbols state next"], stop: Float[Tensor, " state"]) -> Float[Tensor, " state"]:
    """The distribution of states that a step leaves as it is. Raises ValueError if there are several."""
    one = torch.eye(len(stop), dtype=torch.float64)
    u, s, _ = torch.linalg.svd(matrices.sum(0) - one)
    n_left = int((s < _ROUNDING).sum())
    if n_left > 1:
        raise ValueError(f"the process has {n_left} stationary distributions; give the one it starts from.")
    return u[:, -1] / (u[:, -1] @ stop)


def is_unifilar(matrices: Float[Tensor, "symbols state next"]) -> bool:
    """Whether a state and the symbol written there tell the next state."""
    return bool(((matrices > 0).sum(2) <= 1).all())


def bond_dim(
    matrices: Float[Tensor, "symbols state next"], start: Float[Tensor, " state"], stop: Float[Tensor, " state"]
) -> int:
    """The least number of states of any generalised model of the process: the rank of its Hankel matrix.

    Of the states that pasts lead to, the part that futures tell apart.
    """
    reached = _spanned(start, matrices)
    told = _spanned(stop, matrices.mT)
    return int((torch.linalg.svdvals(reached @ told.T) > _ROUNDING).sum())


def _spanned(first: Float[Tensor, " state"], matrices: Float[Tensor, "symbols state next"]) -> Float[Tensor, "r state"]:
    """An orthonormal basis, in rows, of what any products of the matrices make of a row."""
    basis, size = first[None] / torch.linalg.vector_norm(first), 0
    while size < len(basis):
        size = len(basis)
        rows = torch.cat([basis, (basis @ matrices).flatten(0, 1)])
        _, s, vh = torch.linalg.svd(rows, full_matrices=False)
        basis = vh[s > _ROUNDING]
    return basis
