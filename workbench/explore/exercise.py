"""Exercises graded by what they compute: an answer is right if it contracts to the same tensor on random values."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import cycle

import torch
from torch import Tensor

from workbench.contraction import joined_labels
from workbench.diagram.drawing import Diagram
from workbench.network import Network
from workbench.program import Contract, Program, uses
from workbench.rounding import largest_relative_error, tolerance

_SIZES = (3, 2, 5, 4, 7, 6)  # of legs in their order: different, so that exchanged legs are noticed


@dataclass(frozen=True)
class Grade:
    """Whether an answer is right, and what was found, in words. It is true if right."""

    right: bool
    told: str

    def __bool__(self) -> bool:
        return self.right

    def __repr__(self) -> str:
        return f"{'right' if self.right else 'not yet'}: {self.told}"


@dataclass(frozen=True, eq=False)
class Exercise:
    """A tensor that is wanted, as the diagram of a network, whose tensors an answer may use by name.

    The wanted diagram stays hidden: only what it computes is compared.
    """

    wanted: Diagram

    def __post_init__(self) -> None:
        steps = self.wanted.program.steps
        if len(steps) != 1 or not isinstance(steps[0], Contract):
            raise ValueError(f"an exercise wants the diagram of one network, and this one has {len(steps)} steps.")

    def check(self, answer: object, draws: int = 3) -> Grade:
        """The grade of a diagram, a network, or an einsum of the wanted tensors in their order; None is no answer yet.

        Both are contracted on `draws` sets of random numbers, float64, with another size for every leg.
        """
        if answer is None:
            return Grade(False, "no answer yet")
        if not isinstance(answer, Diagram | Network | str):
            return Grade(False, f"a {type(answer).__name__} is no answer; write an einsum, a Network or a Diagram")
        wanted = self.wanted.program
        try:
            given = _program(answer, [name for name, _ in uses(wanted.steps[-1])])
            unknown = [name for name in given.inputs if name not in wanted.inputs]
            if unknown:
                return Grade(False, f"it uses {', '.join(unknown)}; the tensors are {', '.join(wanted.inputs)}")
            errors = [self._error(given, seed) for seed in range(max(1, draws))]
        except ValueError as error:
            return Grade(False, str(error))
        worst = max(errors)
        told = f"largest relative error {worst:.1e} on {draws} draws of random numbers"
        return Grade(worst <= tolerance(torch.float64), told)

    def _error(self, given: Program, seed: int) -> float:
        arrays = self._arrays(seed)
        program = _program(self.wanted, [])
        wanted = program.run(arrays)[program.out]
        found = given.run({name: array for name, array in arrays.items() if name in given.inputs})[given.out]
        if found.shape != wanted.shape:
            raise ValueError(f"it has shape {tuple(found.shape)} where {tuple(wanted.shape)} is wanted (order matters)")
        return largest_relative_error(wanted, found)

    def _arrays(self, seed: int) -> dict[str, Tensor]:
        """Random arrays for the wanted tensors; legs that are one index, or one axis of one tensor, have one size."""
        program = self.wanted.program
        (step,) = program.steps
        assert isinstance(step, Contract)
        joints = [node.legs for node in step.network.nodes if node.copy]
        for node in step.network.nodes:
            if not node.copy:
                joints += zip(node.legs, program.inputs[node.tensor], strict=True)
        group = joined_labels(step.network.ends, joints)
        sizes = dict(zip(dict.fromkeys(group.values()), cycle(_SIZES), strict=False))
        size = {leg: sizes[own] for leg, own in group.items()}
        generator = torch.Generator().manual_seed(seed)
        return {
            name: torch.randn([size[leg] for leg in legs], generator=generator, dtype=torch.float64)
            for name, legs in program.inputs.items()
        }


def _program(answer: Diagram | Network | str, names: Sequence[str]) -> Program:
    """The answer as a program without sizes of its own: it is run on other arrays. `names` are those of an einsum."""
    if isinstance(answer, str):
        answer = Network.from_einsum(answer, names)
    network = answer.subject if isinstance(answer, Diagram) else answer
    return Program.of(replace(network, sizes={})) if isinstance(network, Network) else network
