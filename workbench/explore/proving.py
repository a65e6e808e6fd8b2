"""Proof mode: a diagram rewritten step by step, each step drawn before and after, measured, and refused if untrue."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from workbench.diagram.drawing import Diagram
from workbench.diagram.scene import Scene
from workbench.diagram.together import moved_marks, together
from workbench.program import Contract, Program
from workbench.rewrite.isometries import SplitSVD
from workbench.rewrite.place import check_numbers
from workbench.rewrite.proof import Proof, Rewrite, replay, rewrites_for


@dataclass(frozen=True)
class ProofFrame:
    """One state of a proof: its lines, and the last step's two sides on one grid (before the first, the same twice).

    `sign` is "=" or "≈" ("" before the first step), `error` max|Δ| / max|before| of the last step, `total_error`
    that of the whole proof. `refused` is why the last request changed nothing, "" if it did not.
    """

    lines: tuple[str, ...]
    before: Scene
    after: Scene
    gone: tuple[str, ...]  # marks that only `before` has
    new: tuple[str, ...]  # marks that only `after` has
    sign: str
    error: float
    total_error: float
    refused: str

    def __str__(self) -> str:
        lines = [f"{number}. {line}" for number, line in enumerate(self.lines, start=1)] or ["no step yet"]
        if self.refused:
            lines.append(f"refused: {self.refused}")
        return "\n".join([*lines, f"from first to last: largest relative error {self.total_error:.2g}"])


class ProofLab:
    """A proof on a diagram's own arrays: a rewrite is measured, never believed.

    Raises ValueError if it has none, or one of too few digits to measure an equality in.
    """

    def __init__(self, diagram: Diagram) -> None:
        if not diagram.arrays:
            raise ValueError("a proof is measured on arrays, and this diagram has none; give them by with_arrays.")
        for name, array in diagram.arrays.items():
            if array.is_floating_point() or array.is_complex():  # whole numbers may be what a function looks up
                check_numbers(name, array)
        self.diagram = diagram
        self.proof = Proof(diagram.program, diagram.arrays)
        self.refused = ""

    def options(self) -> tuple[Rewrite, ...]:
        """The rewrites that the structure allows now; only trying one says whether it is true."""
        program, _ = self.proof.last
        values = [step.out for step in program.steps if isinstance(step, Contract)]
        return tuple(rewrite for value in values for rewrite in rewrites_for(program, value))

    @property
    def now(self) -> Diagram:
        """The diagram after all steps, with its arrays."""
        return self._drawn(*self.proof.last)

    def apply(self, rewrite: Rewrite | str, bond: int | None = None) -> bool:
        """Takes the step if it holds, and says whether it did; `bond` makes a split by SVD a truncation.

        A rewrite may be given as one of `options` reads, such as "absorb s into U". Raises ValueError for words that
        none reads, or a bond for another rewrite; TypeError for a bond that is no whole number, or fields of other
        kinds.
        """
        if bond is not None and (not isinstance(bond, int) or isinstance(bond, bool)):
            raise TypeError(f"a bond dimension is a whole number, not {bond!r}.")
        if isinstance(rewrite, str):
            told = {str(option): option for option in self.options()}
            if rewrite not in told:
                raise ValueError(f"no rewrite reads {rewrite!r} here; those that do are {', '.join(told)}.")
            rewrite = told[rewrite]
        if bond is not None:
            if not isinstance(rewrite, SplitSVD):
                raise ValueError(f"bond {bond} was given, but '{rewrite}' cuts none; give one to a split by SVD only.")
            rewrite = replace(rewrite, bond=bond)
        try:
            self.proof = self.proof.then(rewrite)
        except (ValueError, MemoryError) as error:  # an UntrueRewrite is a ValueError
            self.refused = str(error)
            return False
        self.refused = ""
        return True

    def undo(self) -> None:
        """Takes back the last step, if there is one."""
        self.refused = ""
        self.proof = replace(self.proof, steps=self.proof.steps[:-1])

    def save(self, path: str | Path) -> None:
        """Writes the steps as JSON, whole or not at all."""
        self.proof.save(Path(path))

    def replay(self, path: str | Path) -> None:
        """The steps of a file, taken and measured again on this diagram; one that fails leaves the proof as it was."""
        self.proof = replay(self.diagram.program, self.diagram.arrays, Path(path))
        self.refused = ""

    def frame(self) -> ProofFrame:
        """Everything there is to show of the proof."""
        steps = self.proof.steps
        last = self.now
        if not steps:
            return ProofFrame((), last.scene, last.scene, (), (), "", 0.0, 0.0, self.refused)
        earlier = replace(self.proof, steps=steps[:-1])
        before, after = together(self._drawn(*earlier.last), last)
        gone, new = (tuple(mark.name for mark in marks) for marks in moved_marks(before, after))
        sign = "=" if steps[-1].rewrite.exact else "≈"
        lines = tuple(str(step) for step in steps)
        return ProofFrame(lines, before, after, gone, new, sign, steps[-1].error, self.proof.error(), self.refused)

    def _drawn(self, program: Program, arrays: Mapping[str, Tensor]) -> Diagram:
        names = {node.name for step in program.steps if isinstance(step, Contract) for node in step.network.nodes}
        kept = set(self.diagram.layout.cells) >= names  # a layout by hand is of the first diagram's nodes alone
        layout = self.diagram.layout if kept else replace(self.diagram.layout, cells={})
        legs = {leg for step in program.steps for leg in step.legs}
        sides = {leg: side for leg, side in layout.sides.items() if leg in legs}
        rows = tuple(name for name in self.diagram.rows if name in program.legs and name not in program.inputs)
        return Diagram(program, arrays, replace(layout, sides=sides), data=self.diagram.data, rows=rows)
