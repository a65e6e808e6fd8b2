"""A residual program at a glance: the stream as one straight line, each term of each sum as a box above it.

For whole models, where the networks inside are too many to draw: a step is a box, a value is a wire.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from workbench.diagram.labels import with_labels
from workbench.diagram.scene import Mark, Scene, Text, Wire, moved, rounded, shifted_mark, text_width
from workbench.program import Add, Program, ProgramStep

BOX = 26.0  # the height of a box
RISE = 34.0  # from one box to the one above it
TRUNK = 15.0  # from a trunk to the boxes it feeds
MARGIN = 16.0
WIDEST = 900.0  # of a line of boxes: what fits a notebook beside its margins


@dataclass(frozen=True)
class _Stage:
    """One sum on the stream with its branches, or one step on the stream itself."""

    out: str
    branches: tuple[tuple[ProgramStep, ...], ...]  # each from the stream outwards


def flow_scene(program: Program, title: str, description: str) -> Scene:
    """The scene of a residual program: a stream from one input, sums on it, and chains of single steps.

    Raises ValueError where a step reads two values that are computed: then it is no single chain.
    """
    start, stages = _stages(program)
    lines, x = [_Line(start)], 0.0
    for stage in stages:
        width = _width(stage)
        if x and x + width > WIDEST:
            lines.append(_Line(lines[-1].end))
            x = 0.0
        lines[-1].add(stage)
        x = lines[-1].x
    marks, wires, texts, y, right = [], [], [], MARGIN, 0.0
    for number, line in enumerate(lines):
        line.close(f"line {number}")
        y += line.height
        marks += [shifted_mark(mark, MARGIN, y) for mark in line.marks]
        wires += [replace(wire, path=moved(wire.path, MARGIN, y)) for wire in line.wires]
        texts += [replace(text, x=text.x + MARGIN, y=text.y + y) for text in line.texts]
        right = max(right, line.x)
        y += BOX / 2 + MARGIN
    scene = Scene(right + 2 * MARGIN, y, tuple(marks), tuple(wires), tuple(texts), title, description)
    return with_labels(scene)


def _stages(program: Program) -> tuple[str, list[_Stage]]:
    """The stream's input, and its stages in order."""
    step_of = {step.out: step for step in program.steps}
    spine, stages = program.out, []
    while spine in step_of:
        step = step_of[spine]
        if isinstance(step, Add):
            before, *terms = step.reads
            branches = tuple(_chain(term, before, program, step_of) for term in terms)
        else:
            before, branches = _source(step, program, step_of), ((step,),)
        stages.append(_Stage(step.out, branches))
        spine = before
    return spine, stages[::-1]


def _chain(name: str, stream: str, program: Program, step_of: dict[str, ProgramStep]) -> tuple[ProgramStep, ...]:
    chain: list[ProgramStep] = []
    while name != stream and name in step_of:
        chain.append(step_of[name])
        name = _source(step_of[name], program, step_of)
    if name != stream and chain:
        raise ValueError(f"{chain[0].out!r} does not come from the stream {stream!r}, but from {name!r}.")
    return tuple(reversed(chain))


def _source(step: ProgramStep, program: Program, step_of: dict[str, ProgramStep]) -> str:
    """The one value that a step works on; its other inputs are weights."""
    computed = [name for name in step.reads if name in step_of]
    if len(computed) > 1:
        raise ValueError(f"step {step.out!r} reads {', '.join(computed)}; in a flow a step reads one value.")
    return computed[0] if computed else step.reads[0]


def _label(step: ProgramStep) -> str:
    return getattr(step, "label", step.out)


def _chain_width(chain: Sequence[ProgramStep]) -> float:
    return sum(_box_width(step) + TRUNK for step in chain) + TRUNK


def _box_width(step: ProgramStep) -> float:
    return max(34.0, text_width(_label(step), 11) + 14)


def _width(stage: _Stage) -> float:
    return max((_chain_width(chain) for chain in stage.branches), default=0.0) + 4 * TRUNK


class _Line:
    """One line of the page while it is filled: the stream is at y = 0."""

    def __init__(self, start: str) -> None:
        self.end, self.x, self.height = start, 0.0, BOX / 2 + MARGIN
        self.marks: list[Mark] = []
        self.wires: list[Wire] = []
        self.texts: list[Text] = []
        self._from: tuple[float, str | None] = (0.0, None)  # where the stream's present piece began, and at which mark
        width = text_width(start, 11) + 12
        self._box(start, start, width / 2, 0.0, width, "data")
        self.x = width
        self._from = (width, start)

    def add(self, stage: _Stage) -> None:
        """One more stage at the end of the line."""
        if all(stage.out == chain[-1].out for chain in stage.branches) and len(stage.branches) == 1:
            (step,) = stage.branches[0]
            width = _box_width(step)
            self._to(self.x + 2 * TRUNK, step.out)
            self._box(step.out, _label(step), self.x + width / 2, 0.0, width, "tensor")
            self.x += width
            self._from = (self.x, step.out)
            self.end = stage.out
            return
        tap = self.x + 2 * TRUNK
        plus = tap + max((_chain_width(chain) for chain in stage.branches), default=0.0) + 1.5 * TRUNK
        for number, chain in enumerate(stage.branches, start=1):
            self._branch(chain, tap, plus, -RISE * number - 6, stage.out)
        self.height = max(self.height, RISE * len(stage.branches) + 6 + BOX / 2 + 6)
        self._to(plus - 8, stage.out)
        told = f"{stage.out}: a sum"
        self.marks.append(Mark(stage.out, stage.out, "disc", plus, 0.0, 16, 16, "value", title=told, tensor=stage.out))
        self.texts.append(Text(plus, 0.0, "+", "node", 11))
        self.x, self.end = plus + 8, stage.out
        self._from = (self.x, stage.out)

    def close(self, name: str) -> None:
        """The stream to the end of the line, and what it carries there."""
        self.x += 2 * TRUNK
        self._to(self.x, None, name)
        self.x += text_width(self.end, 10) + 6

    def _to(self, x: float, mark: str | None, name: str = "") -> None:
        begin, source = self._from
        path = ((begin, 0.0), (x, 0.0))
        label = self.end if mark is None else ""
        self.wires.append(Wire(f"{self.end}→{mark or name}", self.end, path, (source, mark), None, self.end, label))
        self.x = x

    def _branch(self, chain: Sequence[ProgramStep], tap: float, plus: float, y: float, out: str) -> None:
        stream, x = self.end, tap + TRUNK
        source: str | None = self._from[1]
        start: list[tuple[float, float]] = [(tap, 0.0), (tap, y)]
        for step in chain:
            width = _box_width(step)
            path = rounded([*start, (x, y)], 9)
            self.wires.append(Wire(f"{stream}→{step.out}", stream, path, (source, step.out), None, stream))
            self._box(step.out, _label(step), x + width / 2, y, width, "tensor")
            source, stream = step.out, step.out
            start = [(x + width, y)]
            x += width + TRUNK
        path = rounded([*start, (plus, y), (plus, -8.0)], 9)
        self.wires.append(Wire(f"{stream}→{out}", out, path, (source, out), None, stream))  # one of the sum's

    def _box(self, name: str, label: str, x: float, y: float, width: float, tone: str) -> None:
        self.marks.append(Mark(name, name, "box", x, y, width, BOX, tone, title=name, tensor=name))
        self.texts.append(Text(x, y, label, "node", 11))
