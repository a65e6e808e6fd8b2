"""The ground state of a chain of spins, by exact diagonalisation, and the strings that measuring it gives."""

import numpy as np
import torch
from jaxtyping import Float
from scipy.sparse import csr_matrix
from scipy.sparse.linalg import eigsh
from torch import Tensor

from workbench.truth.bases import Basis, measured_table, told
from workbench.truth.enumerated import TableSource
from workbench.truth.hamiltonian import SpinHamiltonian
from workbench.truth.parity import BITS
from workbench.truth.source import Description

MOST_SITES = 20
_DENSE = 600  # states up to which a full eigendecomposition takes less than a second


def ground_state(hamiltonian: SpinHamiltonian, basis: Basis = "z") -> TableSource:
    """Measurements of the ground state in `basis` (see `bases.outcomes`); its amplitudes are the source's.

    Cost: half a second for 16 sites, up to a minute for 20. Raises ValueError above 20 sites.
    """
    _, state = solved(hamiltonian)
    told_apart = f"{hamiltonian.parameters}, {told(basis)}"
    description = Description(f"ground state of a {hamiltonian.name}", told_apart, "exact diagonalisation")
    return TableSource(measured_table(state, basis), BITS, description)


def solved(hamiltonian: SpinHamiltonian) -> tuple[float, Float[Tensor, "*sites"]]:
    """The ground energy and the normalised state, an axis a site, in z.

    Where turning all spins over changes nothing the even states alone are searched, among which it is unique however
    small the flips are; with a blockade, the states without neighbours in state 1 alone.
    Source: Lanczos (1950), as ARPACK has it.
    """
    n_sites = hamiltonian.n_sites
    if n_sites > MOST_SITES:
        raise ValueError(
            f"a state of {n_sites} sites has 2^{n_sites} amplitudes, more than the 2^{MOST_SITES} that are "
            "diagonalised; give fewer sites, or find it by DMRG (dmrg_state)."
        )
    chosen, place = _sector(hamiltonian)
    matrix = _matrix(hamiltonian, chosen, place)
    if len(chosen) <= _DENSE:
        energies, parts = np.linalg.eigh(matrix.toarray())
    else:
        energies, parts = eigsh(matrix, k=1, which="SA", v0=np.ones(len(chosen)))
    part = torch.from_numpy(parts[:, 0] * np.sign(parts[:, 0].sum()))
    state = torch.cat([part, part.new_zeros(1)])[torch.from_numpy(place)].reshape([2] * n_sites)
    return float(energies[0]), state / torch.linalg.vector_norm(state)


def _matrix(hamiltonian: SpinHamiltonian, chosen: np.ndarray, place: np.ndarray) -> csr_matrix:
    """H among the chosen configurations: in each row the energy, and a flip of every spin."""
    turned = [hamiltonian.turned(chosen, site) for site in range(hamiltonian.n_sites)]
    entries = [hamiltonian.energies(chosen), *(-hamiltonian.flip * may for _, may in turned)]
    columns = [np.arange(len(chosen)), *(place[to * may] for to, may in turned)]
    starts = np.arange(len(chosen) + 1) * len(columns)
    rows = np.stack(entries, 1).reshape(-1), np.stack(columns, 1).reshape(-1), starts
    return csr_matrix(rows, shape=(len(chosen), len(chosen)))


def _sector(hamiltonian: SpinHamiltonian) -> tuple[np.ndarray, np.ndarray]:
    """The configurations, by number, that stand for all, and for each configuration the place of the one that stands
    for it; one past the end for those that have no amplitude.
    """
    numbers = np.arange(2**hamiltonian.n_sites)
    if hamiltonian.is_even:
        place = np.minimum(numbers, numbers[::-1])
        return numbers[: len(numbers) // 2], place
    allowed = (numbers & numbers >> 1) == 0 if hamiltonian.blockade else np.full(len(numbers), True)
    chosen = numbers[allowed]
    return chosen, np.where(allowed, np.cumsum(allowed) - 1, len(chosen))
