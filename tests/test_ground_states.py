"""Ground states of spin chains: free fermions, matrices written out, and DMRG against exact diagonalisation."""

import builtins
import functools
import math

import pytest
import torch

from workbench.truth.bases import measured_cores, measured_table, outcomes
from workbench.truth.dmrg import dmrg_state, found
from workbench.truth.enumerated import table_of
from workbench.truth.ground_state import ground_state, solved
from workbench.truth.hamiltonian import SpinHamiltonian, pxp, rydberg, transverse_ising

Z, X = torch.tensor([[1.0, 0], [0, -1]]).double(), torch.tensor([[0, 1.0], [1, 0]]).double()
NUMBER, FREE = torch.diag(torch.tensor([0.0, 1])).double(), torch.diag(torch.tensor([1.0, 0])).double()


def on(n_sites: int, **operators: torch.Tensor) -> torch.Tensor:
    """The product of operators at sites named s0, s1, …, a matrix over all configurations."""
    each = [operators.get(f"s{site}", torch.eye(2).double()) for site in range(n_sites)]
    return functools.reduce(torch.kron, each)


def written_out(hamiltonian: SpinHamiltonian) -> torch.Tensor:
    """The train of operators as one matrix."""
    joined = hamiltonian.operator_cores()[0][0]  # (right, out, in)
    for core in hamiltonian.operator_cores()[1:]:
        joined = torch.einsum("roi,rspq->sopiq", joined, core)
        joined = joined.reshape(len(joined), joined.shape[1] * joined.shape[2], -1)
    return joined[0]


def free_fermions(n_sites: int, field: float) -> float:
    """The energy of the open transverse-field chain: minus the singular values of a bidiagonal matrix (Pfeuty 1970)."""
    matrix = field * torch.eye(n_sites).double() + torch.diag(torch.ones(n_sites - 1).double(), 1)
    return -float(torch.linalg.svdvals(matrix).sum())


MODELS = {
    "transverse Ising": (
        transverse_ising(5, 0.7),
        -sum(on(5, **{f"s{k}": Z, f"s{k + 1}": Z}) for k in range(4))
        - 0.7 * sum(on(5, **{f"s{k}": X}) for k in range(5)),
    ),
    "Rydberg": (
        rydberg(5, 0.8, 3.0, reach=2),
        -0.5 * sum(on(5, **{f"s{k}": X}) for k in range(5))
        - 0.8 * sum(on(5, **{f"s{k}": NUMBER}) for k in range(5))
        + sum(3.0 / r**6 * on(5, **{f"s{k}": NUMBER, f"s{k + r}": NUMBER}) for r in (1, 2) for k in range(5 - r)),
    ),
    "PXP": (
        pxp(4, 0.3),
        -on(4, s0=X, s1=FREE)
        - on(4, s0=FREE, s1=X, s2=FREE)
        - on(4, s1=FREE, s2=X, s3=FREE)
        - on(4, s2=FREE, s3=X)
        - 0.3 * sum(on(4, **{f"s{k}": NUMBER}) for k in range(4)),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_a_hamiltonian_is_the_sum_that_its_docstring_writes(name):
    hamiltonian, matrix = MODELS[name]
    assert torch.allclose(written_out(hamiltonian), matrix)
    energies, states = torch.linalg.eigh(matrix)
    energy, state = solved(hamiltonian)
    assert energy == pytest.approx(float(energies[0]), abs=1e-12)
    assert torch.allclose(state.flatten(), states[:, 0].abs(), atol=1e-10)


@pytest.mark.parametrize(
    ("n", "energy", "half", "z", "x"),
    [
        (10, -12.38149000, 0.379052, 5.298478, 2.840554),
        (12, -14.92597111, 0.396516, 6.238017, 3.579815),
        (16, -20.01638790, 0.423409, 8.086567, 5.094778),
    ],
)
def test_the_critical_chain_has_the_listed_values(n, energy, half, z, x):
    found_energy, _ = solved(transverse_ising(n, 1.0))
    assert found_energy == pytest.approx(energy, abs=6e-9)
    assert found_energy == pytest.approx(1 - 1 / math.sin(math.pi / (2 * (2 * n + 1))), abs=1e-10)
    in_z, in_x = ground_state(transverse_ising(n, 1.0)), ground_state(transverse_ising(n, 1.0), "x")
    assert in_z.entropy() == pytest.approx(z, abs=1e-6)
    assert in_x.entropy() == pytest.approx(x, abs=1e-6)
    for source in (in_z, in_x):  # turning every site changes no entanglement
        assert source.mps().spectra[n // 2 - 1].entropy() == pytest.approx(half, abs=1e-6)


@pytest.mark.parametrize("field", [0.3, 1.0, 2.5])
def test_the_energy_is_that_of_free_fermions(field):
    energy, state = solved(transverse_ising(9, field))
    assert energy == pytest.approx(free_fermions(9, field), abs=1e-11)
    assert torch.allclose(state, state.flip(*range(9)))
    assert float(state.min()) > 0


@pytest.mark.parametrize("n", [8, 12])
def test_the_ordered_chain_is_a_superposition_however_weak_the_field(n):
    source = ground_state(transverse_ising(n, 1e-4))
    assert source.entropy() == pytest.approx(math.log(2), abs=1e-5)
    assert source.marginal((0,)).tolist() == pytest.approx([0.5, 0.5])
    assert source.mutual_information(0, n - 1) == pytest.approx(math.log(2), abs=1e-5)


@pytest.mark.parametrize("n", [2, 5, 12, 15])
def test_a_blockade_leaves_a_fibonacci_number_of_strings(n):
    source = ground_state(pxp(n))
    fibonacci = [1, 1]
    while len(fibonacci) < n + 2:
        fibonacci.append(sum(fibonacci[-2:]))
    assert int((source.table > 0).sum()) == fibonacci[n + 1]
    assert float(source.marginal((0, 1))[1, 1]) == 0


def test_a_strong_interaction_is_a_blockade():
    rabi, blocked = rydberg(8, 0.6, 1e7, reach=1), pxp(8, 1.2)  # PXP has twice the Rabi term
    assert solved(rabi)[0] == pytest.approx(solved(blocked)[0] / 2, abs=1e-5)
    assert ground_state(rabi).entropy() == pytest.approx(ground_state(blocked).entropy(), abs=1e-4)


@pytest.mark.parametrize(
    "hamiltonian",
    [transverse_ising(12, 1.0), transverse_ising(12, 0.05), rydberg(10, 1.0, 4.0), pxp(12, 0.2)],
    ids=lambda hamiltonian: hamiltonian.name,
)
def test_dmrg_finds_the_state_of_exact_diagonalisation(hamiltonian):
    pytest.importorskip("quimb")
    state = found(hamiltonian)
    energy, _ = solved(hamiltonian)
    assert state.energy == pytest.approx(energy, abs=1e-9)
    assert abs(state.variance) < 1e-8
    for basis in ("z", "x"):
        by_dmrg, exact = dmrg_state(hamiltonian, basis), ground_state(hamiltonian, basis)
        assert float((table_of(by_dmrg) - exact.table).abs().sum()) < 1e-4
        assert by_dmrg.entropy() == pytest.approx(exact.entropy(), abs=1e-5)
    told = by_dmrg.describe().origin
    assert float(told.removeprefix("DMRG at bond 32, energy ").split()[0]) == pytest.approx(energy, abs=1e-8)


def test_dmrg_of_a_long_chain_is_free_fermions_and_its_strings_are_drawn():
    pytest.importorskip("quimb")
    source = dmrg_state(transverse_ising(40, 1.0), max_bond=24)
    energy = float(source.describe().origin.split("energy ")[1].split()[0])
    assert energy == pytest.approx(free_fermions(40, 1.0), abs=1e-7)
    drawn = source.sample(2000, torch.Generator().manual_seed(0))
    alike = float((drawn[:, 19] == drawn[:, 20]).double().mean())
    joint = source.marginal((19, 20))
    assert alike == pytest.approx(float(joint[0, 0] + joint[1, 1]), abs=0.04)
    assert source.marginal((7,)).tolist() == pytest.approx([0.5, 0.5])


def test_too_small_a_bond_shows_in_the_variance():
    pytest.importorskip("quimb")
    variances = [found(transverse_ising(12, 1.0), max_bond).variance for max_bond in (2, 4, 8)]
    assert variances[0] > 10 * variances[1] > 100 * variances[2]


def test_outcomes_are_states_at_right_angles_along_theirs():
    angles = [0.0, math.pi / 2, 0.7]
    for theta, (along, against) in zip(angles, outcomes(angles, 3), strict=True):
        turned = math.cos(theta) * Z + math.sin(theta) * X
        assert torch.allclose(turned @ along, along)
        assert torch.allclose(turned @ against, -against)


def test_a_table_and_a_train_are_measured_alike():
    state = torch.randn(2, 2, 2, dtype=torch.float64)
    cores = (
        state.reshape(1, 2, 4),
        torch.eye(4, dtype=torch.float64).reshape(4, 2, 2),
        torch.eye(2).double()[:, :, None],
    )
    train = functools.reduce(lambda a, b: torch.tensordot(a, b, dims=1), measured_cores(cores, [0.3, 1.1, -0.4]))
    assert torch.allclose(train[0, ..., 0], measured_table(state, [0.3, 1.1, -0.4]))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: transverse_ising(1, 0.5), "a chain of spins has 2 or more, not 1"),
        (lambda: transverse_ising(4, 0.0), "transverse-field Ising chain needs .* above 0, not N = 4, h = 0"),
        (lambda: pxp(4, math.inf), "PXP chain needs finite numbers, .* not N = 4, detuning inf"),
        (lambda: rydberg(5, 1.0, 2.0, reach=0), "the interaction reaches 1 site or more, not 0"),
        (lambda: solved(pxp(21)), r"21 sites has 2\^21 amplitudes, more than the 2\^20 .* find it by DMRG"),
        (lambda: ground_state(pxp(3), "y"), "in z, in x or at an angle in radians, not in 'y'"),
        (lambda: found(pxp(4), 0), "a bond has a size of 1 or more, not 0"),
    ],
)
def test_a_chain_that_cannot_be_solved_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_dmrg_without_quimb_says_what_to_install(monkeypatch):
    real = builtins.__import__

    def without(name, *rest):
        if name.startswith("quimb"):
            raise ModuleNotFoundError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(
        ModuleNotFoundError, match="quimb's, which is not installed: pip install quimb, or give at most 20"
    ):
        found(pxp(4))
