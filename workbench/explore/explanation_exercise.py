"""Exercises in explaining: an answer is right if it finds the pairs of sites that depend, and only them."""

from collections.abc import Iterable

import torch
from torch import Tensor

from workbench.born.explain.score import area_under_curve, off_diagonal
from workbench.explore.exercise import Grade
from workbench.truth.ising_graph import Edge, adjacency
from workbench.truth.planted import Planted


class ExplanationExercise:
    """What depends on what in a planted truth: found as pairs of sites, or as a symmetric map that ranks all pairs.

    A map is right if every pair that depends stands above every one that does not. Raises ValueError for a planted
    truth without dependencies.
    """

    def __init__(self, planted: Planted) -> None:
        if planted.dependent is None:
            raise ValueError(f"in {planted.name} all sites depend on each other, so there are no pairs to find.")
        self._dependent = planted.dependent

    def check(self, answer: object) -> Grade:
        """The grade of an answer; None is no answer yet. What is missed is counted and never named."""
        if answer is None:
            return Grade(False, "no answer yet")
        try:
            return self._map_grade(answer) if isinstance(answer, Tensor) else self._pair_grade(_pairs(answer))
        except ValueError as error:
            return Grade(False, str(error))

    def _map_grade(self, answer: Tensor) -> Grade:
        n = len(self._dependent)
        if answer.shape != (n, n) or not torch.allclose(answer, answer.T, equal_nan=True):
            return Grade(False, f"a map is a symmetric table of ({n}, {n}), not this one of {tuple(answer.shape)}")
        values = off_diagonal(answer)
        if not bool(values.isfinite().all()):
            return Grade(False, "the map holds nan or infinity off its diagonal")
        found = area_under_curve(values, off_diagonal(self._dependent))
        told = "every pair that depends stands above all others" if found == 1 else f"AUC {found:.3f}, and 1 is wanted"
        return Grade(found == 1, told)

    def _pair_grade(self, answer: tuple[Edge, ...]) -> Grade:
        found, wanted = (off_diagonal(table) for table in (adjacency(len(self._dependent), answer), self._dependent))
        missed, wrong = int((wanted & ~found).sum()), int((found & ~wanted).sum())
        if missed or wrong:
            return Grade(
                False, f"{missed} of {int(wanted.sum())} pairs are missing, {wrong} of those given do not depend"
            )
        return Grade(True, f"all {int(wanted.sum())} pairs, and no others")


def _pairs(answer: object) -> tuple[Edge, ...]:
    """Raises ValueError for what is no list of pairs of whole numbers."""
    found: list[Edge] = []
    for pair in answer if isinstance(answer, Iterable) else (answer,):
        match pair:
            case (int(first), int(second)):
                found.append((first, second))
            case _:
                raise ValueError(f"{pair!r} is no pair of sites; give pairs such as (0, 3), or a map of all pairs.")
    return tuple(found)
