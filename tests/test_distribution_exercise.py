"""Exercises in writing down a distribution: what is right, what is not, and what is told of both."""

import pytest
import torch

from workbench.explore.distribution_exercise import DistributionExercise
from workbench.truth.parity import even_parity
from workbench.truth.state import w_state


def parity_cores(n_sites: int) -> list[torch.Tensor]:
    turn = torch.stack([torch.eye(2), torch.eye(2).flip(0)], 1)
    return [turn[:1], *([turn] * (n_sites - 2)), turn[:, :, :1]]


@pytest.fixture
def exercise() -> DistributionExercise:
    return DistributionExercise(even_parity(5))


def test_cores_of_amplitudes_are_right_without_being_normalised(exercise):
    grade = exercise.check([3 * core for core in parity_cores(5)])
    assert grade
    assert grade.told == "every string has its probability"


def test_signs_of_amplitudes_do_not_matter(exercise):
    first, *others = parity_cores(5)
    assert exercise.check([first * torch.tensor([1.0, -1.0])[:, None], *others])


def test_bonds_that_are_larger_than_needed_are_told(exercise):
    cores = parity_cores(5)
    wide = [torch.nn.functional.pad(core, (0, 1, 0, 0, 0, 1)) for core in cores]
    wide[0], wide[-1] = wide[0][:1], wide[-1][:, :, :1]
    grade = exercise.check(wide)
    assert grade
    assert "bonds (3, 3, 3, 3) do what (2, 2, 2, 2) can do" in grade.told


def test_a_function_of_a_string_is_an_answer_too(exercise):
    assert exercise.check(lambda x: float(x.sum() % 2 == 0) / 16)
    grade = exercise.check(lambda x: 1 / 32)
    assert not grade
    assert "another distribution: overlap 0.7071" in grade.told


def test_what_cannot_be_graded_is_said(exercise):
    assert exercise.check(None).told == "no answer yet"
    assert "sum to 0.5, not to 1" in exercise.check(lambda x: 1 / 64).told
    assert "a string is given -0.25" in exercise.check(lambda x: -0.25).told
    assert "5 sites of 2 symbols are wanted, and these cores have (2, 2, 2, 2)" in exercise.check(parity_cores(4)).told
    assert "left bond of 2" in exercise.check([torch.ones(1, 2, 3), torch.ones(2, 2, 1)]).told


def test_a_quantum_state_is_graded_by_what_is_measured():
    step = torch.zeros(2, 2, 2)
    step[0, 0, 0] = step[0, 1, 1] = step[1, 0, 1] = 1
    cores = [step[:1], step, step, step[:, :, 1:]]
    assert DistributionExercise(w_state(4)).check(cores)
