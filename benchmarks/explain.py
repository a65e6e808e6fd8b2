"""Explanations scored where the right one is known: data/results/explain.json, with a chart of each part.

`python benchmarks/explain.py [--only NAME …] [--cache DIRECTORY]` measures the parts named, or all, and keeps the
others' rows. Scores are exact for each learned model; what differs from run to run is the samples, drawn by seeds that
are recorded. Points of the leader boards stay in the cache as they come, so that a run that was stopped goes on.
"""

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import torch

from workbench.born.explain.pairs import information_map, pair_marginals
from workbench.born.explain.shapley import shapley_values, surprise_shapley
from workbench.born.explain.states import quantum_information_map
from workbench.born.machine import BornMachine
from workbench.explore.explanation_board import ExplanationBoard
from workbench.explore.sample_choices import gpt_learner, sweep_learner
from workbench.transformer.string_gpt import StringGPTRecipe
from workbench.truth.planted import Planted, planted_chain, planted_parity, planted_process, planted_tree
from workbench.truth.processes import mess3
from workbench.whole_files import write_json

RESULTS = Path(__file__).resolve().parents[1] / "data" / "results" / "explain.json"
SIZES, SEEDS = (300, 1_000, 5_000), range(5)
Row = dict[str, object]


def planted() -> tuple[Planted, ...]:
    """What is learned and explained: pairs that no pair shows, neighbours near and far, a tree, a hidden process."""
    return (
        planted_parity(12, (1, 4, 6, 10)),
        planted_chain(12, 0.5),
        planted_chain(12, 0.5, seed=3),
        planted_tree(12, 0.8, seed=0),
        planted_process(mess3(), 8),
    )


def boards(cache: Path | None) -> Iterator[Row]:
    """The leader board of every planted truth, a row for each learner, number of samples and explanation."""
    for one in planted():
        board = ExplanationBoard(one, [sweep_learner(8), gpt_learner(StringGPTRecipe())], SIZES, SEEDS, cache=cache)
        frame = board.run()
        told = {"planted": one.name, "n_sites": frame.n_sites, "seeds": len(SEEDS)}
        for row in frame.board:
            error = frame.errors(row.learner, row.n)
            yield told | {"kind": "pairs"} | asdict(row) | {"counterfactual_error": asdict(error)}
        for row in frame.attributions:
            yield told | {"kind": "sites"} | asdict(row)
        for learner, n in dict.fromkeys((point.learner, point.n) for point in frame.points):
            own = [point for point in frame.points if (point.learner, point.n) == (learner, n)]
            yield told | {
                "kind": "model", "learner": learner, "n": n, "kl": statistics.median(point.kl for point in own),
                "excess_entropy": statistics.median(point.excess_entropy for point in own),
            }  # fmt: skip


def reach(cache: Path | None) -> Iterator[Row]:
    """Seconds of what is exact on long chains: medians of five runs."""
    machine = BornMachine.random([2] * 64, 16, torch.Generator().manual_seed(0))
    short = BornMachine.random([2] * 16, 16, torch.Generator().manual_seed(0))
    strings = short.sample(8, torch.Generator().manual_seed(0))
    timed: dict[str, Callable[[], object]] = {
        "mutual information of all pairs, 64 sites, bond 16": lambda: information_map(pair_marginals(machine)),
        "quantum mutual information of all pairs, 64 sites, bond 16": lambda: quantum_information_map(machine),
        "Shapley values of p, a string of 16 sites, bond 16": lambda: shapley_values(short, strings[:1]),
        "Shapley values of the surprise, a string of 16 sites, bond 16": lambda: surprise_shapley(short, strings[:1]),
    }
    for what, call in timed.items():
        call()
        seconds = []
        for _ in range(5):
            start = time.perf_counter()
            call()
            seconds.append(time.perf_counter() - start)
        yield {"what": what, "seconds": statistics.median(seconds)}


PARTS: dict[str, Callable[[Path | None], Iterator[Row]]] = {"boards": boards, "reach": reach}


def main() -> None:
    """Measures the parts asked for, and writes the file after each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", choices=PARTS, default=list(PARTS))
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--cache", type=Path)
    parsed = parser.parse_args()
    kept = json.loads(parsed.out.read_text()) if parsed.out.exists() else {}
    for name in parsed.only:
        rows = list(PARTS[name](parsed.cache))
        kept |= {
            "machine": {"cores": os.cpu_count(), "cpu": torch.backends.cpu.get_cpu_capability()},
            "versions": {"python": platform.python_version(), "torch": torch.__version__},
            name: rows,
        }
        write_json(parsed.out, kept)
        print(name, len(rows), "rows", flush=True)


if __name__ == "__main__":
    main()
