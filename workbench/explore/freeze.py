"""Bubbles held at their values: what is left is linear, or it is not, and by how much."""

import math
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from workbench.diagram.drawing import Diagram
from workbench.diagram.picture import program_pictures
from workbench.diagram.place import Layout
from workbench.program import Apply, Program

_SEED = 0  # of the two directions, the same for every setting
_ROUNDING = 20  # units of rounding in the four outputs that are still called none


@dataclass(frozen=True)
class LinearityFrame:
    """How far a program is from linear in one input X, at its present value and with the others fixed.

    With f(X) the output and U, V two fixed random directions of norm `scale`·‖X‖, `defect` is
    ‖f(X+U+V) − f(X+U) − f(X+V) + f(X)‖ over ‖f(X+U+V) − f(X)‖: zero, to rounding, for all X, U and V only where f is
    linear plus a constant. For a smooth f that is not, it shrinks in proportion to `scale`. `rounding` is what the
    dtype alone may leave: more for a smaller `scale`. `change` is the relative change of the output.
    """

    varied: str
    out: str
    frozen: tuple[str, ...]
    live: tuple[str, ...]  # bubbles still between the input and the output
    scale: float
    defect: float
    rounding: float
    change: float

    @property
    def linear(self) -> bool:
        """Whether the defect is no more than rounding."""
        return self.defect <= self.rounding

    def __str__(self) -> str:
        live = f"live between them: {', '.join(self.live)}" if self.live else "no live bubble between them"
        frozen = f"frozen: {', '.join(self.frozen)}" if self.frozen else "none frozen"
        if self.change == 0 and self.linear:
            found = f"{self.out} does not change with {self.varied}"
        else:
            verdict = "linear to rounding" if self.linear else "not linear"
            found = f"{verdict}: additivity defect {self.defect:.2e} (rounding leaves up to {self.rounding:.0e})"
        what = f"{self.out} as a function of {self.varied}, moved by {self.scale:g} of its norm"
        return f"{what}\n{found}\n{live}; {frozen}"


class FreezeLab:
    """A diagram with arrays, and which of its bubbles are held at their values on these arrays.

    `varied` is the input to move: the first of `diagram.data`, or the first of all, unless told. A bubble that is
    the result itself cannot be held. Raises ValueError where there is no array, no such input, or no such bubble.
    """

    def __init__(self, diagram: Diagram, varied: str = "") -> None:
        if not diagram.arrays:
            raise ValueError("this diagram has no arrays; give it some by `with_arrays`.")
        self.whole = diagram
        self.values = diagram.run()
        self._frozen: frozenset[str] = frozenset()
        if not self.inputs:
            raise ValueError("no input of this diagram holds real or complex numbers, so none can be moved.")
        self.varied = varied or next((name for name in diagram.data if name in self.inputs), self.inputs[0])

    @cached_property
    def inputs(self) -> tuple[str, ...]:
        """The inputs that can be moved: real or complex ones."""
        arrays = self.whole.arrays
        return tuple(n for n in self.whole.program.inputs if arrays[n].is_floating_point() or arrays[n].is_complex())

    @cached_property
    def bubbles(self) -> tuple[str, ...]:
        """The values of the functions that can be held, in the order of the program."""
        inner = self.whole.program.steps[:-1]
        return tuple(step.out for step in inner if isinstance(step, Apply) and step.kind == "bubble")

    @property
    def varied(self) -> str:
        """The input that is moved."""
        return self._varied

    @varied.setter
    def varied(self, name: str) -> None:
        if name not in self.inputs:
            raise ValueError(f"there is no input {name!r} to move; there are {', '.join(self.inputs)}.")
        self._varied = name

    @property
    def frozen(self) -> tuple[str, ...]:
        """The values that are held, in the order of the program."""
        return tuple(name for name in self.bubbles if name in self._frozen)

    def freeze(self, name: str) -> None:
        """Holds the value of a bubble."""
        self._frozen |= {self._bubble(name)}

    def thaw(self, name: str) -> None:
        """Lets a bubble be computed again."""
        self._frozen -= {self._bubble(name)}

    def toggle(self, name: str) -> None:
        """Holds a live bubble, lets go of a held one."""
        self._frozen ^= {self._bubble(name)}

    def _bubble(self, name: str) -> str:
        if name not in self.bubbles:
            raise ValueError(f"there is no bubble {name!r} to freeze; there are {', '.join(self.bubbles) or 'none'}.")
        return name

    @property
    def program(self) -> Program:
        """What is computed with the held values as inputs. A value held behind another that hides it has no effect."""
        program = self.whole.program
        for name in self.frozen:
            if name in {step.out for step in program.steps}:  # a value that nothing needs is gone by then
                program = program.frozen(name)
        return program

    @property
    def diagram(self) -> Diagram:
        """The present program, drawn: held bubbles are plain nodes."""
        program, whole = self.program, self.whole
        if program is whole.program:
            return whole
        rows = tuple(name for name in whole.rows if name in {step.out for step in program.steps})
        layout = replace(whole.layout, cells={}) if _misplaced(program, rows, whole.layout) else whole.layout
        return replace(whole, subject=program, arrays=self._arrays(program), layout=layout, rows=rows)

    def live(self) -> tuple[str, ...]:
        """The bubbles that are computed between the varied input and the output, in the order of the program."""
        program, reached = self.program, {self.varied}
        on_the_way = []
        for step in program.steps:
            if reached.intersection(step.reads):
                reached.add(step.out)
                if isinstance(step, Apply) and step.kind == "bubble":
                    on_the_way.append(step.out)
        needed = {program.out}
        for step in reversed(program.steps):
            if step.out in needed:
                needed.update(step.reads)
        return tuple(name for name in on_the_way if name in needed)

    def frame(self, scale: float = 1.0) -> LinearityFrame:
        """The numbers of the present setting. Cost: four runs of the program."""
        if not scale > 0:
            raise ValueError(f"scale {scale} moves nothing; give a share of the input's norm above zero.")
        program = self.program
        arrays = self._arrays(program)
        if self.varied not in arrays:  # all that led from it to the output is held
            return LinearityFrame(self.varied, program.out, self.frozen, (), scale, 0.0, 0.0, 0.0)
        x = arrays[self.varied]
        u, v = _directions(x, scale)
        both, first, second, none = (
            _wide(program.run({**arrays, self.varied: moved})[program.out]) for moved in (x + u + v, x + u, x + v, x)
        )
        size = sum(float(torch.linalg.vector_norm(value)) for value in (both, first, second, none))
        change = float(torch.linalg.vector_norm(both - none))
        bend = float(torch.linalg.vector_norm(both - first - second + none))
        if change == 0:
            defect, rounding = (math.inf if bend else 0.0), 0.0
        else:
            defect, rounding = bend / change, _ROUNDING * torch.finfo(x.dtype).eps * size / change
        share = 4 * change / size if size else 0.0
        return LinearityFrame(self.varied, program.out, self.frozen, self.live(), scale, defect, rounding, share)

    def _arrays(self, program: Program) -> dict[str, Tensor]:
        return {name: self.values[name] for name in program.inputs}


def _wide(value: Tensor) -> Tensor:
    return value if value.is_complex() else value.double()


def _directions(x: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """Two directions of norm `scale`·‖x‖ (`scale` where x is zero), the same whenever x has this shape and norm."""
    drawn = torch.randn((2, *x.shape), generator=torch.Generator().manual_seed(_SEED), dtype=torch.float64)
    length = float(torch.linalg.vector_norm(x)) or 1.0
    u, v = ((scale * length / torch.linalg.vector_norm(d)) * d for d in drawn)
    return u.to(x), v.to(x)


def _misplaced(program: Program, rows: tuple[str, ...], layout: Layout) -> bool:
    """Whether a layout made for the whole names nodes that are not drawn now."""
    pictures = program_pictures(program, rows=rows).values()
    return not set(layout.cells) <= {node.name for picture in pictures for node in picture.network.nodes}
