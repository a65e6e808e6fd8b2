"""Two diagrams said to be equal: legs checked when it is built, numbers when they are asked for."""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from torch import Tensor

from workbench.diagram.scene import Scene
from workbench.diagram.sheet import Line, sheet
from workbench.rounding import largest_relative_error, tolerance

if TYPE_CHECKING:
    from workbench.diagram.drawing import Diagram


@dataclass(frozen=True, eq=False)
class Equation:
    """`left` = `right`. It is true if both have the same numbers on the arrays they hold, to rounding.

    Raises ValueError, when it is built, unless both sides have the same open legs in the same order.
    """

    left: "Diagram"
    right: "Diagram"

    def __post_init__(self) -> None:
        left, right = (side.program.legs[side.program.out] for side in (self.left, self.right))
        if left != right:
            raise ValueError(
                f"the left side has the open legs ({', '.join(left)}) and the right side ({', '.join(right)}); "
                "an equation needs the same ones in the same order."
            )

    @cached_property
    def _results(self) -> tuple[Tensor, Tensor]:
        """Both sides' values, each run once."""
        return self.left.result(), self.right.result()

    @cached_property
    def error(self) -> float:
        """The largest difference of two entries over the largest entry of the left side."""
        return largest_relative_error(*self._results)

    @property
    def holds(self) -> bool:
        """Whether `error` is rounding: at most 1e-10 in float64, 1e-5 in float32."""
        return self.error <= tolerance(self._results[0].dtype)

    def __bool__(self) -> bool:
        return self.holds

    @cached_property
    def scene(self) -> Scene:
        """Both sides, joined by =, by ≈ where the numbers differ, or by ≟ where there are none yet."""
        left, right = self.left.lines(), self.right.lines(prefix="right/")  # no two marks of a page are called alike
        first, *more = right
        joined = Line((*left[-1].signs, self.sign), (*left[-1].blocks, first.blocks[0]))
        rest = Line(first.signs[1:], first.blocks[1:])
        lines = [*left[:-1], joined, *([rest] if rest.blocks else []), *more]
        return sheet(
            lines, "an equation of tensor networks", f"{self.left.description} Equals: {self.right.description}"
        )

    @property
    def sign(self) -> str:
        """= if it holds, ≈ if not, ≟ where nothing can be compared: without arrays, or of two sizes or dtypes."""
        if not (self.left.arrays and self.right.arrays):
            return "≟"
        try:
            return "=" if self.holds else "≈"
        except ValueError:  # a drawing says that the numbers are no numbers to compare; asking for them says why
            return "≟"

    def __repr__(self) -> str:
        sign = self.sign
        told = "" if sign == "≟" else f"  (largest relative error {self.error:.1e})"
        left, right = self.left.einsum(), self.right.einsum()
        between = "\n" if "\n" in left + right else "  "
        return f"{left}{between}{sign}{between}{right}{told}"

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        from workbench.diagram.drawing import shown  # which imports this module

        return shown(self.scene, repr(self))
