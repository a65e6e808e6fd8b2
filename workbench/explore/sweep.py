"""A grid of measurements done by whatever workers there are, each point a file: nothing is repeated, nothing lost."""

import math
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryFile

from workbench.explore.kept_points import PointFile
from workbench.explore.progress import Progress, shown
from workbench.explore.sweep_frame import AtWork, SweepFailure, SweepFrame, SweepPoint
from workbench.explore.sweep_grids import Grid, SweepTask, merged
from workbench.explore.sweep_tasks import let_go, measured
from workbench.whole_files import may_write
from workbench.workers.jobs import Begun, Job, Outcome, Workers
from workbench.workers.loop import Loop


class Sweep:
    """Every point of a grid, kept in the directory `out` as it comes: one JSON file a point, named by the hash of all
    that it depends on and written whole.

    Points that are there already are not measured again; those that failed are told of, and tried again when asked.
    Whoever measures them, the numbers are the same. Several sweeps may share a directory, at the same time too.
    Raises ValueError or FileNotFoundError for what cannot be measured, or a file in `out` that is damaged.
    """

    def __init__(self, grid: Grid, out: str | Path) -> None:
        self.out, self.kind, self.tasks = Path(out), grid.kind, merged(grid.tasks())
        self._files = [PointFile(self.out, task.key, ()) for task in self.tasks]
        self._rows: list[Mapping | None] = [next(iter(file.read()), None) for file in self._files]
        self._begun: dict[int, Begun] = {}

    def steps(self, workers: Workers | None = None, again: bool = False) -> Iterator[SweepFrame]:
        """Measures what is left, and what failed if `again`; a frame whenever a point is begun and when it is done.

        `workers` are a plain loop in this process if nothing else is said. Closed, or interrupted, it ends what is
        under way, and keeps all that is done. Raises OSError, in words, if a point cannot be written.
        """
        wanted = [
            Job(index, {"key": task.key, "where": task.where}, task.group, task.gpu)
            for index, task in enumerate(self.tasks)
            if self._is_left(index, again)
        ]
        with may_write(self.out), TemporaryFile(dir=_made(self.out)):
            pass  # a folder that cannot be written is told of before anything is measured
        try:
            with closing((workers or Loop()).events(measured, wanted)) as events:
                for event in events:
                    if isinstance(event, Begun):
                        self._begun[event.index] = event
                    else:
                        self._keep(event)
                    yield self.frame()
        finally:
            self._begun.clear()
            let_go()

    def run(self, workers: Workers | None = None, again: bool = False, progress: Progress | None = None) -> SweepFrame:
        """Measures all that is left and tells how far it is; interrupted, the next call goes on."""
        with shown(progress) as told:
            for frame in self.steps(workers, again):
                told("sweep", frame.n_tasks - frame.n_left, frame.n_tasks)
        return self.frame()

    def frame(self) -> SweepFrame:
        """What is done, what failed, and what is under way."""
        told = list(zip(self.tasks, self._rows, strict=True))
        points = [_point(task, row) for task, row in told if row is not None and row["error"] is None]
        failures = [
            SweepFailure(task.name, row["error"], row["attempts"])
            for task, row in told
            if row is not None and row["error"] is not None
        ]
        at_work = [AtWork(self.tasks[index].name, own.worker, own.attempt) for index, own in self._begun.items()]
        return SweepFrame(self.kind, len(self.tasks), tuple(points), tuple(failures), tuple(at_work))

    def _is_left(self, index: int, again: bool) -> bool:
        """Whether a point is to be measured, by what is in its file now: another sweep may have brought it."""
        row = next(iter(self._files[index].read()), None)
        self._rows[index] = None if row is not None and row["error"] is not None and again else row
        return self._rows[index] is None

    def _keep(self, outcome: Outcome) -> None:
        told = {"value": outcome.value, "error": outcome.error, "attempts": outcome.attempts}
        row = {"name": self.tasks[outcome.index].name} | told | {"seconds": outcome.seconds}
        self._begun.pop(outcome.index, None)
        there = next(iter(self._files[outcome.index].read()), None)
        if outcome.error is not None and there is not None and there["error"] is None:
            row = there  # another sweep has measured it meanwhile
        else:
            self._files[outcome.index].write([row])
        self._rows[outcome.index] = row


def _made(directory: Path) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def _point(task: SweepTask, row: Mapping) -> SweepPoint:
    value = row["value"]
    if task.key["kind"] == "learning":
        kl = value["scores"]["kl"]
        size, harm, above = value["n"], math.inf if kl is None else kl, False
    else:
        harm, above = math.inf if value["harm"] is None else value["harm"], value["excess"] is not None
        size = value["kept_params"]
    return SweepPoint(task.subject, task.series, task.asked, task.seed, float(size), harm, row["seconds"], above)
