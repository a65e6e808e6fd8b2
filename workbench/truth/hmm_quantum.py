"""Quantum processes: a state that is measured again and again, as a hidden Markov model without hidden chances."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from workbench.truth.hmm import HiddenMarkov
from workbench.truth.hmm_matrices import stationary
from workbench.truth.source import Description

_ROUNDING = 1e-9


def quantum_process(
    kraus: Sequence[Complex[Tensor, "_ d d"]], description: Description, alphabet: Sequence[str] | None = None
) -> HiddenMarkov:
    """The outcomes of a measurement repeated on one system, p(x) = tr E(x_n) … E(x_1)(ρ), from its stationary state ρ.

    E(k) is the completely positive map ρ → Σ K ρ K† over the Kraus operators of outcome k. The matrices are those maps
    in an orthonormal basis of Hermitian matrices, d² real numbers of any sign (a generalised model); that p ≥ 0 follows
    from their form. A belief is the density matrix after the outcomes so far, in that basis: see `density_matrix`.

    Raises ValueError unless Σ K†K over all outcomes is the identity, and the stationary state is the only one.
    """
    d = kraus[0].shape[-1]
    total = sum(torch.einsum("kji,kjl->il", operators.conj(), operators) for operators in kraus)
    missed = float((total - torch.eye(d, dtype=torch.complex128)).abs().max())
    if missed > _ROUNDING:
        raise ValueError(
            f"Σ K†K over the {len(kraus)} outcomes misses the identity by {missed:.3g}; the probabilities of a "
            "measurement sum to one."
        )
    basis = hermitian_basis(d)
    matrices = torch.stack([_superoperator(operators, basis) for operators in kraus])
    stop = torch.einsum("bii->b", basis).real  # traces
    symbols = tuple(map(str, range(len(kraus)))) if alphabet is None else tuple(alphabet)
    return HiddenMarkov(matrices, stationary(matrices, stop), stop, symbols, description, generalised=True)


def density_matrix(belief: Float[Tensor, " b"]) -> Complex[Tensor, "d d"]:
    """The density matrix that a belief of a quantum process stands for."""
    d = math.isqrt(len(belief))
    return torch.einsum("b,bij->ij", belief.to(torch.complex128), hermitian_basis(d))


def hermitian_basis(d: int) -> Complex[Tensor, "b d d"]:
    """d² orthonormal Hermitian matrices: of the diagonal ones first, then two for each pair of levels.

    For d = 2 they span what the identity and the Pauli matrices do.
    """
    basis = torch.zeros(d * d, d, d, dtype=torch.complex128)
    levels = torch.arange(d)
    basis[levels, levels, levels] = 1
    rows, columns = torch.triu_indices(d, d, offset=1)
    number = d + torch.arange(len(rows))
    basis[number, rows, columns] = basis[number, columns, rows] = 0.5**0.5
    number = number + len(rows)
    basis[number, rows, columns], basis[number, columns, rows] = -1j * 0.5**0.5, 1j * 0.5**0.5
    return basis


def _superoperator(operators: Complex[Tensor, "_ d d"], basis: Complex[Tensor, "b d d"]) -> Float[Tensor, "b b"]:
    """The map ρ → Σ K ρ K† on rows of coefficients in the basis."""
    mapped = torch.einsum("kij,bjl,kml->bim", operators, basis, operators.conj())
    return torch.einsum("bim,cmi->bc", mapped, basis).real  # tr(E(B_b) B_c), real for Hermitian matrices
