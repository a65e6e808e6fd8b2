"""Figures of the literature and the guide: what Born machines reach on real images and on a quantum chain."""

import sys

import pytest
import torch

from workbench.born.digits import digits
from workbench.born.likelihood import likelihood
from workbench.born.machine import BornMachine
from workbench.born.two_site import SweepRecipe, sweep
from workbench.truth.enumerated import TableSource
from workbench.truth.ground_state import ground_state
from workbench.truth.hamiltonian import transverse_ising
from workbench.truth.scores import scores
from workbench.truth.strings import numbered_strings


def test_digits_held_out_are_said_with_less_than_18_3_nats():
    images = digits()
    assert (images.train.shape, images.test.shape) == ((1437, 64), (360, 64))
    assert {*images.train.unique().tolist()} == {0, 1}
    learning = sweep(images.train, SweepRecipe(rounds=7), images.test)
    machine = learning.finish()
    assert max(machine.train.bonds) == 16
    assert learning.report.best <= 18.3
    assert likelihood(machine, images.test).nll == pytest.approx(learning.report.best)


def test_the_digits_are_split_anew_by_another_seed():
    first, other = digits(), digits(seed=4)
    both = [torch.cat([split.train, split.test]) for split in (first, other)]
    assert not torch.equal(both[0], both[1])
    assert torch.equal(torch.unique(both[0], dim=0), torch.unique(both[1], dim=0))


def test_digits_without_scikit_learn_say_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ImportError, match="come with scikit-learn, which is not installed: pip install scikit-learn"):
        digits()


@pytest.fixture(scope="module")
def chain() -> TableSource:
    """Twelve critical spins, measured along z."""
    return ground_state(transverse_ising(12, 1.0))


def swept(chain: TableSource, n: int, max_bond: int) -> BornMachine:
    """Learned from so many measurements, stopped early by as many others."""
    generator = torch.Generator().manual_seed(0)
    samples, held_out = chain.sample(n, generator), chain.sample(n, generator)
    return sweep(samples, SweepRecipe(max_bond=max_bond, rounds=7), held_out).finish()


def kl(chain: TableSource, machine: BornMachine) -> float:
    """From the truth, over all strings."""
    strings = numbered_strings(torch.arange(2**12), 12, 2)
    return scores(chain.log_prob(strings), machine.log_prob(strings)).kl


def test_more_samples_pay_for_a_larger_bond(chain):
    few, many = ([kl(chain, swept(chain, n, bond)) for bond in (2, 4)] for n in (5_000, 20_000))
    assert few[0] < few[1]
    assert many[1] < many[0]
    assert few[0] == pytest.approx(0.0140, rel=0.15)  # of the guide, of other samples
    assert many == pytest.approx([0.0114, 0.0043], rel=0.3)


def test_a_machine_of_too_few_samples_is_too_entangled(chain):
    truth = BornMachine(chain.mps()).entropies()[5]
    assert truth == pytest.approx(0.396516, abs=1e-6)
    excess = {n: swept(chain, n, 8).entropies()[5] - truth for n in (200, 5_000)}
    assert excess[200] > 0.5 > 0.15 > excess[5_000] > 0
