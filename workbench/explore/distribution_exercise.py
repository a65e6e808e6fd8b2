"""Exercises in writing down a distribution: an answer is right if it gives every string the wanted probability."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.born.machine import BornMachine
from workbench.explore.exercise import Grade
from workbench.truth.enumerated import log_table, table_of
from workbench.truth.scores import scores
from workbench.truth.source import Source
from workbench.truth.strings import numbered_strings

_RIGHT = 1e-9  # of the total variation

Answer = Sequence[Float[Tensor, "_ _ _"]] | Callable[[Int[Tensor, " sites"]], float] | None


class DistributionExercise:
    """A source that is to be written down: as cores (left, site, right) of amplitudes, or as a function of a string.

    Amplitudes need not be normalised: the probability of a string is the square of its own over the sum of all. A
    function gives the probability of one string, a row of symbol numbers. Larger bonds than needed are right as well,
    and are told of it.
    """

    def __init__(self, wanted: Source) -> None:
        self.wanted = wanted
        self._table = table_of(wanted)

    def check(self, answer: Answer) -> Grade:
        """The grade of an answer; None is no answer yet."""
        if answer is None:
            return Grade(False, "no answer yet")
        try:
            log_q, bonds = self._learned(answer)
            found = scores(self._table.log(), log_q)
        except (ValueError, TypeError) as error:
            return Grade(False, str(error))
        if found.total_variation > _RIGHT:
            return Grade(False, f"another distribution: {found}")
        if bonds is None or tuple(bonds) == self.wanted.bond_dims():
            return Grade(True, "every string has its probability")
        return Grade(True, f"every string has its probability; bonds {bonds} do what {self.wanted.bond_dims()} can do")

    def _learned(self, answer: Answer) -> tuple[Tensor, tuple[int, ...] | None]:
        """ln of what the answer gives all strings, and its bonds if it is a train."""
        shape = self._table.shape
        if callable(answer):
            strings = numbered_strings(torch.arange(self._table.numel()), len(shape), len(self.wanted.alphabet))
            given = [float(answer(string)) for string in strings]
            if min(given) < 0:
                raise ValueError(f"a string is given {min(given):.3g}; a probability is 0 or more.")
            return torch.tensor(given, dtype=torch.float64).log().reshape(shape), None
        assert answer is not None
        cores = [torch.as_tensor(core).double() for core in answer]
        machine = BornMachine.from_cores(cores)
        if machine.shape != tuple(shape):
            raise ValueError(
                f"strings of {len(shape)} sites of {shape[0]} symbols are wanted, and these cores have {machine.shape}."
            )
        return log_table(machine, shape[0], len(shape)), tuple([core.shape[0] for core in cores[1:]])
