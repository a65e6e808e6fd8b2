"""Exercises in explaining: what is right, what is not, and what is told of both."""

import pytest
import torch

from workbench.born.explain.direct import direct_dependence
from workbench.born.explain.pairs import information_map, pair_marginals
from workbench.explore.explanation_exercise import ExplanationExercise
from workbench.truth.enumerated import table_of
from workbench.truth.planted import planted_parity, planted_process
from workbench.truth.processes import mess3

PLANTED = planted_parity(6, (0, 2, 5))
EXERCISE = ExplanationExercise(PLANTED)


def test_the_pairs_that_were_planted_are_right_in_any_order():
    grade = EXERCISE.check([(2, 0), (5, 2), (0, 5)])
    assert grade
    assert grade.told == "all 3 pairs, and no others"


def test_a_map_that_puts_them_first_is_right_and_one_that_is_blind_is_not():
    assert EXERCISE.check(direct_dependence(table_of(PLANTED.source)))
    blind = EXERCISE.check(information_map(pair_marginals(PLANTED.source)))
    assert not blind
    assert blind.told == "AUC 0.500, and 1 is wanted"


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (None, "no answer yet"),
        ([(0, 2), (2, 5), (0, 5), (1, 3)], "0 of 3 pairs are missing, 1 of those given do not depend"),
        ([(0, 2), (1, 3)], "2 of 3 pairs are missing, 1 of those given do not depend"),
        ([(0, 6)], "site 6 is not in a string of 6 symbols; give 0 to 5."),
        ([0, 2], "0 is no pair of sites; give pairs such as (0, 3), or a map of all pairs."),
        (3, "3 is no pair of sites"),
        ([(0, 2, 5)], "(0, 2, 5) is no pair of sites"),
        (torch.zeros(4, 5), r"a map is a symmetric table of (6, 6), not this one of (4, 5)"),
        (torch.arange(36.0).reshape(6, 6), r"a map is a symmetric table of (6, 6), not this one of (6, 6)"),
        (torch.full((6, 6), torch.nan), "the map holds nan or infinity off its diagonal"),
    ],
)
def test_what_is_not_right_is_told(answer, told):
    grade = EXERCISE.check(answer)
    assert not grade
    assert told in grade.told


def test_a_process_has_no_pairs_to_find():
    with pytest.raises(ValueError, match="in Mess3 all sites depend on each other, so there are no pairs to find"):
        ExplanationExercise(planted_process(mess3(), 4))
