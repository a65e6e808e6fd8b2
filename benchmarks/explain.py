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
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import torch
from explain_charts import chart
from explain_parts import Row, agreement, beliefs, bias, excess, features, knowledge, order, reach

from workbench.explore.explanation_board import ExplanationBoard
from workbench.explore.sample_choices import gpt_learner, sweep_learner
from workbench.transformer.string_gpt import StringGPTRecipe
from workbench.truth.planted import Planted, planted_chain, planted_parity, planted_process, planted_tree
from workbench.truth.processes import mess3
from workbench.whole_files import write_json

RESULTS = Path(__file__).resolve().parents[1] / "data" / "results" / "explain.json"
SIZES, SEEDS = (300, 1_000, 5_000), range(5)


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


def claims(parts: dict[str, list[dict]]) -> list[Row]:
    """What the rows say of what was wanted; parts that are missing are left out."""
    found: list[Row] = []

    def add(what: str, value: float, wanted: str, reached: bool) -> None:
        found.append({"what": what, "value": value, "wanted": wanted, "reached": reached})

    for row in parts.get("reach", []):
        add(f"{row['what']}: seconds", row["seconds"], f"≤ {row['wanted']:g}", row["seconds"] <= row["wanted"])
    pairs = [row for row in parts.get("boards", []) if row["kind"] == "pairs" and row["auc"] is not None]
    for name in dict.fromkeys(row["planted"] for row in pairs):
        own = [row for row in pairs if row["planted"] == name]
        truth = next(row for row in own if row["n"] == 0 and row["explanation"] == "direct dependence")
        add(f"AUC of the truth's own train, direct dependence: {name}", truth["auc"]["mean"], "1",
            truth["auc"]["mean"] == 1)  # fmt: skip
        chance = next(row for row in own if row["n"] == 0 and row["explanation"] == "chance")["auc"]
        add(f"AUC of chance: {name}", chance["mean"], f"0.5 ± {chance['half_width']:.2g}",
            abs(chance["mean"] - 0.5) <= chance["half_width"])  # fmt: skip
    errors = [row["plug_in"] / row["first_order"] for row in parts.get("bias", []) if row["n"] >= 300]
    if errors:
        worst = max(errors, key=lambda ratio: abs(ratio - 1))
        add("mutual information of independent bits over its bias to first order, worst", worst, "1 ± 0.1",
            abs(worst - 1) <= 0.1)  # fmt: skip
    probes = [row for row in parts.get("beliefs", []) if row["steps"] == 1_500]
    if probes:
        r2, untrained = (statistics.mean(row[name] for row in probes) for name in ("r2", "untrained"))
        add("R² of beliefs of Mess3, trained", r2, "≥ 0.988", r2 >= 0.988)
        add("R² of beliefs of Mess3, untrained", untrained, "told beside it", untrained < r2)
    return found


PARTS: dict[str, Callable[[], Iterator[Row]]] = {
    "reach": reach,
    "bias": bias,
    "order": order,
    "excess": excess,
    "agreement": agreement,
    "knowledge": knowledge,
    "features": features,
    "beliefs": beliefs,
}


def main() -> None:
    """Measures the parts asked for, and writes the file after each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", choices=["boards", *PARTS], default=["boards", *PARTS])
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--cache", type=Path)
    parsed = parser.parse_args()
    kept = json.loads(parsed.out.read_text()) if parsed.out.exists() else {}
    for name in parsed.only:
        rows = list(boards(parsed.cache) if name == "boards" else PARTS[name]())
        kept |= {
            "machine": {"cores": os.cpu_count(), "cpu": torch.backends.cpu.get_cpu_capability()},
            "versions": {"python": platform.python_version(), "torch": torch.__version__},
            name: rows,
        }
        kept["claims"] = claims(kept)
        write_json(parsed.out, kept)
        print(name, len(rows), "rows", flush=True)
    for claim in kept["claims"]:
        print(f"{' ' if claim['reached'] else '!'} {claim['what']}: {claim['value']:.5g}, wanted {claim['wanted']}")
    chart(kept, parsed.out.with_suffix(".png"))


if __name__ == "__main__":
    main()
