"""A proof: a program rewritten step by step, every step run on the arrays before and after."""

import json
import math
import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from workbench.program import Program
from workbench.rewrite.bonds import Absorb, InsertGauge
from workbench.rewrite.dots import DropLine, FuseDots
from workbench.rewrite.fields import check_fields
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
    """A rewrite, what came of it, and how far that is from what was before: max|Δ| / max|before|.

    It is the larger error of the program's result and, where it is still there, of the contraction's own value.
    """

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

        Raises TypeError for what is no rewrite or has fields of other kinds, ValueError where it does not fit the
        program, UntrueRewrite where it claims equality and a value differs by more than rounding explains (see
        `workbench.rounding`), MemoryError where what it makes would not fit.
        Cost: the program is run twice.
        """
        if not isinstance(rewrite, tuple(KINDS.values())):
            raise TypeError(f"a rewrite is one of {', '.join(KINDS)}, not {reprlib.repr(rewrite)}.")
        check_fields(type(rewrite), vars(rewrite))
        program, arrays = self.last
        changed, held = rewrite.apply(program, arrays)
        before, after = program.legs[program.out], changed.legs[changed.out]
        if after != before:
            raise ValueError(f"{rewrite} makes a result over the legs ({', '.join(after)}), not ({', '.join(before)}).")
        measured = [program.out]
        if rewrite.value in program.legs and changed.legs.get(rewrite.value) == program.legs[rewrite.value]:
            measured.append(rewrite.value)  # an untrue step is caught here even where the result does not use the value
        errors = []
        for name, (error, dtype) in _differences((program, arrays), (changed, held), measured, str(rewrite)).items():
            if rewrite.exact and not error <= tolerance(dtype):
                raise UntrueRewrite(
                    f"{rewrite} is untrue: it changes {name!r} by {error:.3g} of its largest entry, "
                    f"where rounding in {dtype} explains {tolerance(dtype):g} at most."
                )
            errors.append(error)
        worst = math.nan if any(map(math.isnan, errors)) else max(errors)
        return replace(self, steps=(*self.steps, ProofStep(rewrite, changed, held, worst)))

    def error(self) -> float:
        """By how much the last result differs from the first one: max|Δ| / max|first|. Cost: two runs."""
        out = self.program.out
        return _differences((self.program, dict(self.arrays)), self.last, [out], "the proof")[out][0]

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

    Raises ValueError for a record that is none, and whatever `Proof.then` raises; each names the file and the step.
    """
    file = f"{steps}: " if isinstance(steps, Path) else ""
    record = _read(steps) if isinstance(steps, Path) else steps
    if not isinstance(record, Sequence) or isinstance(record, str | bytes):
        raise ValueError(f"{file}a proof is a list of steps, as Proof.save writes it, not {reprlib.repr(record)}.")
    proof = Proof(program, arrays)
    for number, step in enumerate(record, start=1):
        place = f"{file}step {number}"
        rewrite = _rewrite(place, step)
        try:
            proof = proof.then(rewrite)
        except UntrueRewrite as error:
            raise UntrueRewrite(f"{place}: {error}") from error
        except ValueError as error:
            raise ValueError(f"{place}: {error}") from error
        except MemoryError as error:
            raise MemoryError(f"{place}: {error}") from error
    return proof


def rewrites_for(program: Program, value: str) -> tuple[Rewrite, ...]:
    """The rewrites that the structure of a contraction allows, for a menu; only `Proof.then` says which are true."""
    return tuple(rewrite for kind in OFFERED for rewrite in kind.found_in(program, value))


def _differences(
    first: Rewritten, second: Rewritten, names: Sequence[str], what: str
) -> dict[str, tuple[float, torch.dtype]]:
    """For each value named, its largest relative error in the second program, and its dtype in the first."""
    with torch.no_grad():
        before = first[0].run(first[1])
        try:
            after = second[0].run(second[1])
        except (RuntimeError, TypeError, IndexError) as error:  # a function's own, as of a LayerNorm of another width
            raise ValueError(f"{what} makes a program that cannot be run: {error}") from error
    return {name: (largest_relative_error(before[name], after[name]), before[name].dtype) for name in names}


def _read(path: Path) -> object:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not JSON that can be read ({error}); name a file of Proof.save.") from error


def _rewrite(place: str, step: object) -> Rewrite:
    """The rewrite of one step of a record; `place` says which step, and of which file."""
    if not isinstance(step, Mapping):
        raise ValueError(f"{place} is {reprlib.repr(step)}; a step is a rewrite's name with its fields.")
    told = step.get("rewrite")
    kind = KINDS.get(told) if isinstance(told, str) else None
    if kind is None:
        raise ValueError(f"{place} has rewrite {reprlib.repr(told)}, which is none of {', '.join(KINDS)}.")
    given = {str(name): entry for name, entry in step.items() if name not in ("rewrite", "error")}
    wanted = [field.name for field in fields(kind)]
    if sorted(given) != sorted(wanted):
        has = ", ".join(given) or "no fields"
        raise ValueError(f"{place}, {kind.__name__}, has {has}; it needs {', '.join(wanted)}.")
    plain: dict[str, Any] = {name: tuple(entry) if isinstance(entry, list) else entry for name, entry in given.items()}
    try:
        check_fields(kind, plain)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{place}: {error}") from error
    return kind(**plain)
