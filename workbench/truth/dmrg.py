"""The ground state of a long chain of spins as a train, found by the DMRG of quimb."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from workbench.born.machine import BornMachine, canonical_train
from workbench.truth.amplitudes import minimal
from workbench.truth.bases import Basis, measured_cores, told
from workbench.truth.hamiltonian import SpinHamiltonian
from workbench.truth.source import Description
from workbench.truth.state import StateSource

_CUTOFF = 1e-14  # of the squared Schmidt values
_SWEEPS = 40


@dataclass(frozen=True, eq=False)
class Found:
    """A normalised train, its energy, and the variance of H in it: an eigenvalue lies within √variance of the energy.

    A variance below float64's rounding of energy² may come out negative.
    """

    cores: tuple[Float[Tensor, "_ _ _"], ...]
    energy: float
    variance: float


def dmrg_state(hamiltonian: SpinHamiltonian, basis: Basis = "z", max_bond: int = 32) -> StateSource:
    """Measurements in `basis` of the train that DMRG finds for the ground state; see `found`.

    All answers are exact for that train, whose energy and variance the description tells.
    """
    state = found(hamiltonian, max_bond)
    parameters = f"{hamiltonian.parameters}, {told(basis)}"
    origin = f"DMRG at bond {max_bond}, energy {state.energy:.8f} with variance {state.variance:.1e}"
    description = Description(f"ground state of a {hamiltonian.name}", parameters, origin)
    return StateSource(BornMachine.from_cores(measured_cores(state.cores, basis)), description)


def found(hamiltonian: SpinHamiltonian, max_bond: int = 32) -> Found:
    """The train of lowest energy with bonds up to `max_bond`, by two-site sweeps from equal amplitudes.

    Where turning all spins over changes nothing the even part is kept, lest a spontaneous magnetisation be measured
    that the ground state does not have.
    Raises ModuleNotFoundError without quimb, ValueError for a bond below 1, RuntimeError if the energy has not settled.
    Source: White (1992); Schollwöck (2011).
    """
    if max_bond < 1:
        raise ValueError(f"a bond has a size of 1 or more, not {max_bond}.")
    try:
        import quimb.tensor as qtn
    except ModuleNotFoundError as missing:
        raise ModuleNotFoundError(
            "DMRG is quimb's, which is not installed: pip install quimb, or give at most 20 sites to ground_state."
        ) from missing
    first, *middle, last = [core.numpy() for core in hamiltonian.operator_cores()]
    operator = qtn.MatrixProductOperator([first[0], *middle, last[:, 0]], shape="lrud")
    equal = [np.full(2, 0.5**0.5)] * hamiltonian.n_sites
    search = qtn.DMRG2(operator, bond_dims=[max_bond], cutoffs=_CUTOFF, p0=qtn.MPS_product_state(equal))
    if not search.solve(tol=1e-11, max_sweeps=_SWEEPS, verbosity=0):
        raise RuntimeError(f"DMRG at bond {max_bond} has not settled in {_SWEEPS} sweeps; give another bond.")
    search.state.permute_arrays("lpr")
    first, *middle, last = [torch.from_numpy(np.asarray(core)) for core in search.state.arrays]
    cores = (first[None], *middle, last[:, :, None])
    train = minimal(canonical_train(_with_flipped(cores) if hamiltonian.is_even else cores))
    energy, variance = _moments(train.cores, hamiltonian.operator_cores())
    return Found(train.cores, energy, variance)


def _with_flipped(cores: Sequence[Tensor]) -> list[Tensor]:
    """The sum of a state and of the same with all spins turned over: its even part, doubled."""
    both = [torch.stack([core, core.flip(1)]) for core in cores]
    joined = [torch.einsum("fg,fasb->fasgb", torch.eye(2, dtype=torch.float64), each) for each in both]
    joined = [each.reshape(2 * each.shape[1], 2, 2 * each.shape[4]) for each in joined]
    joined[0], joined[-1] = joined[0].sum(0, keepdim=True), joined[-1].sum(2, keepdim=True)
    return joined


def _moments(cores: Sequence[Tensor], operators: Sequence[Tensor]) -> tuple[float, float]:
    """⟨H⟩ and ⟨H²⟩ - ⟨H⟩² of a normalised train."""
    once, twice = torch.ones(1, 1, 1, dtype=torch.float64), torch.ones(1, 1, 1, 1, dtype=torch.float64)
    for core, operator in zip(cores, operators, strict=True):
        once = torch.einsum("awb,asc->wbsc", once, core)
        once = torch.einsum("wbsc,wvst->bcvt", once, operator)
        once = torch.einsum("bcvt,btd->cvd", once, core)
        twice = torch.einsum("awub,asc->wubsc", twice, core)
        twice = torch.einsum("wubsc,wvst->ubcvt", twice, operator)
        twice = torch.einsum("ubcvt,uqtr->bcvqr", twice, operator)
        twice = torch.einsum("bcvqr,brd->cvqd", twice, core)
    energy = float(once)
    return energy, float(twice) - energy**2
