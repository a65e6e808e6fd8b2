"""`workbench sweep`: every combination of a few choices measured, on this machine or on a cluster."""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from workbench.explore.sweep_frame import SweepFrame
    from workbench.explore.sweep_grids import Grid
    from workbench.workers.jobs import Workers

_OF_MODELS = ("models", "methods", "metrics", "kept", "budgets", "windows", "text", "device")
_OF_SOURCES = ("sources", "learners", "sizes")


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the command and its options."""
    sweep = commands.add_parser("sweep", help="measure every combination of a few choices; goes on where it stopped")
    sweep.add_argument("--out", type=Path, required=True, help="directory of the points; those there are not repeated")
    models = sweep.add_argument_group("compressing models")
    models.add_argument(
        "--models", nargs="+", help="pygpt, attn2, truth-gpt or checkpoint directories (default: pygpt)"
    )
    models.add_argument("--methods", nargs="+", help="as of `workbench compress` (default: svd)")
    models.add_argument("--metrics", nargs="+", help="each method in those of them that it has (default: its first)")
    models.add_argument("--kept", type=float, nargs="+", help="shares of the numbers (default: 0.8 0.6 0.4)")
    models.add_argument("--budgets", nargs="+", help="uniform, global, measured (default: uniform)")
    models.add_argument("--windows", type=int, help="at most this many windows are scored (default: 64)")
    models.add_argument("--text", type=Path, help="text to score and calibrate on (default: the models' own)")
    models.add_argument("--device", help="auto, cpu or cuda; cuda asks a cluster for workers with the resource GPU")
    sources = sweep.add_argument_group("learning known distributions")
    sources.add_argument("--sources", nargs="+", help="with their sites: 'parity 10' 'ising-chain 12'")
    sources.add_argument("--learners", nargs="+", help="with bond or width: 'one-pass 4' 'sweep 4' 'gpt 32' counts")
    sources.add_argument("--sizes", type=int, nargs="+", help="numbers of samples")
    sweep.add_argument("--seeds", type=int, nargs="+", default=[0], help="of calibration windows, or of samples")
    where = sweep.add_mutually_exclusive_group()
    where.add_argument("--workers", type=int, default=None, help="processes on this machine (default: this one alone)")
    where.add_argument("--scheduler", default=None, help="address of a Dask scheduler: tcp://host:8786")
    sweep.add_argument("--retry", action="store_true", help="try the points again that failed before")
    sweep.add_argument("--json", action="store_true", help="print one JSON object")
    sweep.set_defaults(run=_sweep)


def _sweep(parsed: argparse.Namespace) -> int:
    from workbench.explore.sweep import Sweep

    workers = _workers(parsed)
    sweep = Sweep(_grid(parsed), parsed.out)
    shown = ""
    try:
        for frame in sweep.steps(workers, parsed.retry):
            if frame.told != shown:
                shown = frame.told
                print(shown, file=sys.stderr, flush=True)
    except KeyboardInterrupt:
        print(f"stopped: {sweep.frame().told}; the same command goes on from there", file=sys.stderr)
        return 1
    frame = sweep.frame()
    print(json.dumps(frame.as_dict(), allow_nan=False) if parsed.json else _table(frame, parsed.out))
    return 1 if frame.failures else 0


def _grid(parsed: argparse.Namespace) -> "Grid":
    """The grid that the words ask for. Raises ValueError for words that do not go together."""
    from workbench.explore.sweep_grids import CompressionGrid, LearningGrid
    from workbench.explore.sweep_words import recipes_of

    given = {name: getattr(parsed, name) for name in _OF_MODELS + _OF_SOURCES if getattr(parsed, name) is not None}
    of_sources = [name for name in _OF_SOURCES if name in given]
    if not of_sources:
        models, methods = given.pop("models", ["pygpt"]), given.pop("methods", ["svd"])
        return CompressionGrid(models, recipes_of(methods, given.pop("metrics", None)), seeds=parsed.seeds, **given)
    strange = [f"--{name}" for name in _OF_MODELS if name in given]
    if strange:
        raise ValueError(f"a sweep is over models or over sources; leave out {', '.join(strange)} or --sources.")
    missing = [f"--{name}" for name in _OF_SOURCES if name not in given]
    if missing:
        raise ValueError(f"a sweep over sources needs {', '.join(missing)} beside --{of_sources[0]}.")
    return LearningGrid(seeds=parsed.seeds, **given)


def _workers(parsed: argparse.Namespace) -> "Workers":
    from workbench.workers.loop import Loop
    from workbench.workers.processes import Processes
    from workbench.workers.scheduler import Scheduler

    if parsed.scheduler is not None:
        return Scheduler(parsed.scheduler)
    return Loop() if parsed.workers is None else Processes(parsed.workers)


def _table(frame: "SweepFrame", out: Path) -> str:
    retried = "; --retry tries those that failed again" if frame.failures else ""
    return f"{frame}\nkept in {out}{retried}"
