"""`workbench compress --stream`: a checkpoint larger than memory, one matrix at a time."""

import argparse
import itertools
import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from workbench.compress.recipe import Recipe
    from workbench.compress.stream import Streamed
    from workbench.compress.windows import Windows
    from workbench.transformer.load import LanguageModel

# What a streamed compression does not do, and the values that do not ask for it.
_NOT_STREAMED = {
    "each_line": False,
    "budget": "uniform",
    "max_params": None,
    "max_bytes": None,
    "max_multiply_adds": None,
    "cache": None,
    "profile": None,
    "compensate": False,
    "heal": 0,
    "heal_checkpoint": None,
    "bits": None,
    "windows": 64,
}
_CONTEXT = 1024  # tokens of a window to calibrate on, at most: what a block computes at once is held in memory


def stream(parsed: argparse.Namespace, recipe: "Recipe") -> int:
    """Streams the checkpoint, tells its progress, and prints what came of it."""
    from workbench.compress.stream import Stream
    from workbench.memory import peak_bytes
    from workbench.transformer.corpus import SHIPPED, bundled_path
    from workbench.transformer.skeleton import skeleton

    given = vars(parsed)
    asked = [f"--{name.replace('_', '-')}" for name, default in _NOT_STREAMED.items() if given[name] != default]
    if asked:
        raise ValueError(f"--stream does not go with {', '.join(asked)}: it cuts by one share, and scores nothing.")
    if parsed.out is None:
        raise ValueError("--stream writes its model as it goes; say where with --out.")
    opened = skeleton(bundled_path(parsed.model) if parsed.model in SHIPPED else Path(parsed.model))
    windows = _windows(opened.language_model(), parsed) if recipe.needs_calibration else None
    kept = 0.4 if parsed.kept is None else parsed.kept
    made = Stream(opened, recipe, kept, windows, parsed.device).write(parsed.out, _told())
    result = asdict(made) | {"model": parsed.model, "out": str(made.out), "peak_bytes": peak_bytes()}
    result |= {"mean_relative_error": made.mean_relative_error, "method": recipe.method, "metric": recipe.metric}
    print(json.dumps(result) if parsed.json else _table(made, str(recipe), peak_bytes()))
    return 0


def _windows(lm: "LanguageModel", parsed: argparse.Namespace) -> "Windows":
    """Those that `lab_windows` calibrates on, of at most 1,024 tokens each."""
    from workbench.compress.windows import read_text, windows_of_text
    from workbench.explore.lab_windows import enough_to_calibrate
    from workbench.transformer.corpus import training_text

    context = min(lm.context, _CONTEXT)
    if parsed.calibration is not None:
        windows = windows_of_text(lm, read_text(parsed.calibration), context)
    elif parsed.text is not None:
        windows, _ = windows_of_text(lm, read_text(parsed.text), context).halves()
    else:
        windows = windows_of_text(lm, training_text(), context)
    return enough_to_calibrate(windows)


def _told() -> Callable[[str, int, int], None]:
    """Tells on the error stream which matrix was cut, and how long the others will take at that pace."""
    start, cut = time.perf_counter(), itertools.count(1)  # what an earlier run cut took none of this one's time

    def tell(what: str, done: int, total: int) -> None:
        told, seconds = f"{what} {done} of {total}", time.perf_counter() - start
        if what == "cut":
            told = f"matrix {done} of {total}: {seconds:.0f} s, {seconds / next(cut) * (total - done):.0f} s left"
        print(told, file=sys.stderr, flush=True)

    return tell


def _table(made: "Streamed", recipe: str, peak: int | None) -> str:
    blocks: dict[str, float] = {}
    for name, seconds in made.seconds.items():
        block = name.split(".")[1]
        blocks[block] = blocks.get(block, 0.0) + seconds
    rows = [
        ("method", f"{recipe}, streamed"),
        ("block matrices kept", f"{made.kept_params:.1%}"),
        ("parameters", f"{made.n_params:,} of {made.dense_n_params:,} ({made.n_params / made.dense_n_params:.1%})"),
        ("bytes", f"{made.bytes:,} of {made.dense_bytes:,}"),
        ("mean relative error", f"{made.mean_relative_error:.4f} in the metric"),
        ("seconds a block", f"{sum(blocks.values()) / max(1, len(blocks)):.1f}"),
        ("peak of memory", "unknown" if peak is None else f"{peak / 2**20:,.0f} MiB"),
        ("written to", f"{made.out} (dense/ holds the matrices multiplied out)"),
    ]
    return "\n".join(f"{name:<22}{value}" for name, value in rows)
