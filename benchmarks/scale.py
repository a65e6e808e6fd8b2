"""What goes past one process, past memory, and past language models: data/results/scale.json.

`python benchmarks/scale.py [--only NAME …]` measures the parts named, or all, and keeps the others' rows. The machine
should do nothing else meanwhile; the streamed blocks take some minutes and 7 GB of disk for a while.
"""

import argparse
import json
import os
import platform
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import scale_memory
import scale_modules
import scale_stream
import scale_sweeps
import torch
from speed import Row

from workbench.memory import free_bytes
from workbench.whole_files import write_json

RESULTS = Path(__file__).resolve().parents[1] / "data" / "results" / "scale.json"

PARTS: dict[str, Callable[[], list[Row]]] = {
    "sweeps": scale_sweeps.rows,
    "modules": scale_modules.rows,
    "memory": scale_memory.rows,
    "stream": scale_stream.rows,
}


def main() -> None:
    """Measures the parts asked for, and writes the file after each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--out", type=Path, default=RESULTS)
    parsed = parser.parse_args()
    kept = json.loads(parsed.out.read_text()) if parsed.out.exists() else {"rows": []}
    for name in parsed.only:
        own = [entry | {"part": name} for entry in PARTS[name]()]
        record = {
            "machine": {
                "cores": os.cpu_count(), "cpu": torch.backends.cpu.get_cpu_capability(), "free_bytes": free_bytes()
            },
            "versions": {
                "python": platform.python_version(),
                **{package: version(package) for package in ("torch", "transformers", "distributed")},
            },
        }  # fmt: skip
        others = [entry for entry in kept["rows"] if entry["part"] != name]
        kept = record | {"rows": sorted([*others, *own], key=lambda entry: list(PARTS).index(entry["part"]))}
        write_json(parsed.out, kept)
        for entry in own:
            told = f"{entry['what']}: {entry['measured']:.4g} {entry['unit']} (wanted {entry['target']:.4g})"
            print(f"{' ' if entry['reached'] else '!'} {told}", flush=True)


if __name__ == "__main__":
    main()
