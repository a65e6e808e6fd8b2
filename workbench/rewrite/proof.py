"""A proof: a program rewritten step by step, every step run on the arrays before and after."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from workbench.program import Program
from workbench.rewrite.bonds import Absorb, InsertGauge
from workbench.rewrite.dots import DropLine, FuseDots
from workbench.rewrite.functions import DistributeSum, FreezePattern, MoveThrough
from workbench.rewrite.isometries import CancelPair, SplitSVD
from workbench.rewrite.legs import MergeLegs, SplitLeg
from workbench.rewrite.place import Rewritten, UntrueRewrite
from workbench.rewrite.trains import CyclicTrace, MoveCentre
from workbench.rounding import largest_relative_error, tolerance
from workbench.whole_files import write_json

Rewrite = (
    FuseDots
    | DropLine
    | CancelPair
    | InsertGauge
    | Absorb
    | SplitSVD
    | MergeLegs
    | SplitLeg
    | DistributeSum
    | FreezePattern
    | CyclicTrace
    | MoveCentre
    | MoveThrough
)

OFFERED = (
    FuseDots,
    DropLine,
    CancelPair,
    Absorb,
    SplitSVD,
    MergeLegs,
    InsertGauge,
    DistributeSum,
    FreezePattern,
    CyclicTrace,
    MoveCentre,
    MoveThrough,
)
KINDS = {kind.__name__: kind for kind in (*OFFERED, SplitLeg)}


@dataclass(frozen=True, eq=False)
class ProofStep:
    """A rewrite, what came of it, and by how much the result differs from the one before: max|Δ| / max|before|."""

    rewrite: Rewrite
    program: Program
    arrays: Mapping[str, Tensor]
    error: float

    def __str__(self) -> str:
        if self.rewrite.exact:
            return f"{self.rewrite}  = (error {self.error:.2g})"
        return f"{self.rewrite}  ≈ (error {self.error:.3g})"


@dataclass(frozen=True, eq=False)
class Proof:
    """A program and its arrays, and the steps of rewriting that have held on them."""

    program: Program
    arrays: Mapping[str, Tensor]
    steps: tuple[ProofStep, ...] = ()

    @property
    def last(self) -> Rewritten:
        """The program and the arrays after all steps."""
        if self.steps:
            return self.steps[-1].program, dict(self.steps[-1].arrays)
        return self.program, dict(self.arrays)

    def then(self, rewrite: Rewrite) -> "Proof":
        """The proof with one more step; this one stays as it is.

        Raises ValueError where the rewrite does not fit the program, UntrueRewrite where it claims equality and the
        result differs by more than rounding explains (see `workbench.rounding`).
        Cost: the program is run twice.
        """
        program, arrays = self.last
        changed, held = rewrite.apply(program, arrays)
        before, after = program.legs[program.out], changed.legs[changed.out]
        if after != before:
            raise ValueError(f"{rewrite} makes a result over the legs ({', '.join(after)}), not ({', '.join(before)}).")
        error, dtype = _difference(self.last, (changed, held))
        if rewrite.exact and not error <= tolerance(dtype):
            raise UntrueRewrite(
                f"{rewrite} is untrue: it changes {program.out!r} by {error:.3g} of its largest entry, "
                f"where rounding in {dtype} explains {tolerance(dtype):g} at most."
            )
        return replace(self, steps=(*self.steps, ProofStep(rewrite, changed, held, error)))

    def error(self) -> float:
        """By how much the last result differs from the first one: max|Δ| / max|first|. Cost: two runs."""
        return _difference((self.program, dict(self.arrays)), self.last)[0]

    def __str__(self) -> str:
        return "\n".join(f"{number}. {step}" for number, step in enumerate(self.steps, start=1))

    def record(self) -> list[dict[str, Any]]:
        """The steps as plain values: the name of each rewrite, its fields, and the error measured."""
        return [
            {"rewrite": type(step.rewrite).__name__, **asdict(step.rewrite), "error": step.error} for step in self.steps
        ]

    def save(self, path: Path) -> None:
        """Writes `record` as JSON: the steps, without the program and its arrays."""
        write_json(path, self.record())


def replay(program: Program, arrays: Mapping[str, Tensor], steps: Path | Sequence[Mapping[str, Any]]) -> Proof:
    """The proof of a record, or of the file it was saved in, made and measured again on a program and its arrays.

    Raises ValueError for a record that is none, and whatever `Proof.then` raises.
    """
    record = json.loads(steps.read_text(encoding="utf-8")) if isinstance(steps, Path) else steps
    proof = Proof(program, arrays)
    for number, step in enumerate(record, start=1):
        proof = proof.then(_rewrite(number, step))
    return proof


def rewrites_for(program: Program, value: str) -> tuple[Rewrite, ...]:
    """The rewrites that the structure of a contraction allows, for a menu; only `Proof.then` says which are true."""
    return tuple(rewrite for kind in OFFERED for rewrite in kind.found_in(program, value))


def _difference(first: Rewritten, second: Rewritten) -> tuple[float, torch.dtype]:
    """The largest relative error of the second result, and the dtype of the first."""
    with torch.no_grad():
        before, after = (program.run(arrays)[program.out] for program, arrays in (first, second))
    return largest_relative_error(before, after), before.dtype


def _rewrite(number: int, step: Mapping[str, Any]) -> Rewrite:
    kind = KINDS.get(step.get("rewrite", ""))
    if kind is None:
        raise ValueError(f"step {number} has rewrite {step.get('rewrite')!r}, which is none of {', '.join(KINDS)}.")
    given = {name: entry for name, entry in step.items() if name not in ("rewrite", "error")}
    wanted = [field.name for field in fields(kind)]
    if sorted(given) != sorted(wanted):
        raise ValueError(f"step {number}, {kind.__name__}, has {', '.join(given)}; it needs {', '.join(wanted)}.")
    plain: dict[str, Any] = {name: tuple(entry) if isinstance(entry, list) else entry for name, entry in given.items()}
    return kind(**plain)
