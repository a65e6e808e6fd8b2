"""Every method, metric and budget at equal stored parameters, with and without healing: data/results/methods.json.

`python benchmarks/methods.py` measures what the file lacks and goes on where it was interrupted; `--again` begins anew.
Within a seed all settings share one calibration set. A row is one setting: perplexity over the dense model's, with its
standard error, beside the relative Frobenius error of all block matrices together.
"""

import argparse
import json
import math
import os
import platform
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import transformers
from method_claims import claims
from trained_models import Subject, subjects

from workbench import CompressionLab, Recipe
from workbench.compress.recipe import METHODS
from workbench.compress.windows import Windows
from workbench.whole_files import replaced_file, write_json
from workbench.widgets.method_stills import methods_still

RESULTS = Path(__file__).resolve().parents[1] / "data" / "results"
SHARES = (0.8, 0.6, 0.4, 0.2)
SEEDS = (0, 1, 2)
HEAL_STEPS = 100
PAIR, BEST = Recipe("svd", "two-sided"), Recipe("svd", "two-sided", gauge_fixed=True)


@dataclass(frozen=True)
class Entry:
    """One thing to compare: a recipe, a budget, and whether the cut is compensated."""

    recipe: Recipe
    budget: str = "uniform"
    compensated: bool = False

    @property
    def name(self) -> str:
        """What a table calls it."""
        return f"{self.recipe}, {self.budget}{', compensated' if self.compensated else ''}"

    @property
    def seeds(self) -> tuple[int, ...]:
        """The calibration sets it is measured on: one, where it looks at none."""
        return SEEDS if self.recipe.needs_calibration or self.compensated else SEEDS[:1]


ENTRIES = (
    Entry(Recipe("svd", "plain")),
    Entry(Recipe("svd", "plain"), "global"),
    Entry(Recipe("svd", "plain", gauge_fixed=True)),
    Entry(Recipe("svd", "diagonal")),
    Entry(Recipe("svd", "input")),
    Entry(Recipe("svd", "input"), "global"),
    Entry(Recipe("svd", "input", gauge_fixed=True)),
    Entry(PAIR),
    Entry(PAIR, "global"),
    Entry(PAIR, "measured"),
    Entry(BEST),
    Entry(BEST, "global"),
    Entry(BEST, "measured"),
    Entry(Recipe("svd", "input"), "uniform", True),
    Entry(BEST, "global", True),
    Entry(Recipe("mpo", "plain", 2)),
    Entry(Recipe("mpo", "plain", 2), "global"),
    Entry(Recipe("mpo", "plain", 3)),
    Entry(Recipe("mpo", "input", 2)),
    Entry(Recipe("mpo", "two-sided", 2)),
    Entry(Recipe("mpo", "two-sided", 2), "global"),
    Entry(Recipe("mpo", "two-sided", 3)),
    Entry(Recipe("kronecker", "plain")),
    Entry(Recipe("kronecker", "plain", permuted=True)),
    Entry(Recipe("kronecker", "two-sided")),
    Entry(Recipe("kronecker", "two-sided", permuted=True)),
    Entry(Recipe("tucker", "plain")),
    Entry(Recipe("cp", "plain")),
    Entry(Recipe("ring", "plain")),
)
# What is left out on the largest model: refits that take ten minutes and say nothing new there.
LEFT_OUT = {
    Entry(PAIR, "measured"),
    Entry(Recipe("mpo", "input", 2)),
    Entry(Recipe("mpo", "two-sided", 2), "global"),
    Entry(Recipe("mpo", "two-sided", 3)),
    Entry(Recipe("kronecker", "two-sided")),
    Entry(Recipe("kronecker", "two-sided", permuted=True)),
}
# Healing and what takes longest are measured with one calibration set; on the largest model, healing at one share.
SLOW = ("mpo", "kronecker")
LARGE = "pygpt"
HEALED = {
    Entry(Recipe("svd", "plain")),
    Entry(Recipe("svd", "input")),
    Entry(BEST, "global"),
    Entry(BEST, "global", True),
    Entry(Recipe("mpo", "plain", 2)),
    Entry(Recipe("mpo", "two-sided", 2)),
}
HEALED_SHARES = (0.4, 0.2)


def calibration_rows(subject: Subject, seed: int) -> Windows:
    """The calibration set of a seed: rows drawn in another order."""
    shuffled = subject.calibration.shuffled(seed)
    counted = shuffled.scored.sum(1).cumsum(0)
    return shuffled.rows(0, int((counted < subject.calibration_tokens).sum()) + 1)


def relative_frobenius(lab: CompressionLab) -> float:
    """‖W - W'‖ / ‖W‖ over all block matrices taken as one."""
    dropped = total = 0.0
    for name, matrix in lab.matrices.items():
        weight = matrix.weight.double()
        total += float(weight.square().sum())
        if not lab.layers[name].bypassed:
            dropped += float((weight - lab.layers[name].now.dense().double()).square().sum())
    return math.sqrt(dropped / total)


def quiet(what: str, done: int, total: int) -> None:
    """No bars: every row is told as it comes."""


class Comparison:
    """The rows measured so far, in the results file."""

    def __init__(self, file: Path, again: bool) -> None:
        self.file = file
        self.rows: list[dict] = [] if again or not file.exists() else json.loads(file.read_text())["rows"]

    def has(self, **key: object) -> bool:
        """Whether a row with these values is there."""
        return any(all(row[name] == value for name, value in key.items()) for row in self.rows)

    def add(self, row: dict) -> None:
        """One more row, kept at once."""
        self.rows.append(row)
        record = {
            "machine": {"cores": os.cpu_count(), "cpu": torch.backends.cpu.get_cpu_capability()},
            "versions": {
                "python": platform.python_version(),
                "torch": torch.__version__,
                "transformers": transformers.__version__,
            },
            "rows": self.rows,
        }
        write_json(self.file, record)
        print(
            f"{row['model']} seed {row['seed']} {row['kept']:.1f} {row['method']}{' healed' if row['healed'] else ''}: "
            f"{row['ratio']:.4f} ± {row['ratio_error']:.4f}, Frobenius {row['frobenius']:.3f}, {row['seconds']:.1f} s",
            flush=True,
        )

    def finish(self) -> None:
        """Adds what the rows say of the claims, and draws the picture of the shipped model."""
        record = json.loads(self.file.read_text())
        write_json(self.file, {"claims": claims(self.rows)} | {key: record[key] for key in record if key != "claims"})
        own = [row for row in self.rows if row["model"] == LARGE]
        with replaced_file(self.file.with_suffix(".png")) as temporary:
            methods_still(own, LARGE).savefig(temporary, format="png", dpi=110)
        for claim in claims(self.rows):
            print(f"{claim['what']}: {claim['value']:.4g} (wanted {claim['wanted']})")

    def measure(self, subject: Subject, seed: int, methods: list[str]) -> None:
        """All entries of these methods on one model with one calibration set."""
        name = subject.lm.name
        calibration = calibration_rows(subject, seed)
        lab = CompressionLab(subject.lm, subject.scored, calibration)
        for entry in entries_of(name, seed):
            if entry.recipe.method not in methods:
                continue
            wanted = [(k, h) for k in SHARES for h in (False, True) if not h or heals(name, seed, k, entry)]
            if all(self.has(model=name, seed=seed, kept=k, method=entry.name, healed=h) for k, h in wanted):
                continue
            if not lab._calibration.measured:
                lab.calibrate(gradients=True, progress=quiet)
            if lab.recipe != entry.recipe:
                lab.decompose(entry.recipe, progress=quiet)
            if entry.budget == "measured" and lab.profile is None:
                lab.sweep(progress=quiet)
            for kept in SHARES:
                self._at(subject, lab, entry, kept, seed)

    def _at(self, subject: Subject, lab: CompressionLab, entry: Entry, kept: float, seed: int) -> None:
        key = {"model": subject.lm.name, "seed": seed, "kept": kept, "method": entry.name}
        healing = heals(subject.lm.name, seed, kept, entry)
        if self.has(**key, healed=False) and (not healing or self.has(**key, healed=True)):
            return
        began = time.perf_counter()
        lab.keep(kept, budget=entry.budget)
        allocation = time.perf_counter() - began
        if entry.compensated:
            lab.compensate(quiet)
        costs = {"decompose": lab.seconds["decompose"], "allocate": allocation, "sweep": lab.seconds.get("sweep")}
        if not self.has(**key, healed=False):
            self.add(key | {"healed": False} | self._scored(subject, lab, entry, began) | {"cost": costs})
        if healing and not self.has(**key, healed=True):
            began = time.perf_counter()
            report = lab.heal(HEAL_STEPS, progress=quiet)
            told = {"learning_rate": report.learning_rate, "trials": [asdict(trial) for trial in report.trials]}
            row = self._scored(subject, lab, entry, began) | {
                "cost": costs,
                "healing": told | {"best_step": report.best_step},
            }
            self.add(key | {"healed": True} | row)

    @staticmethod
    def _scored(subject: Subject, lab: CompressionLab, entry: Entry, began: float) -> dict:
        predicted, estimate = lab.predicted_loss, lab.evaluate().estimate
        return {
            "recipe": asdict(entry.recipe), "budget": entry.budget, "compensated": entry.compensated,
            "ratio": estimate.ratio, "ratio_error": None if math.isnan(estimate.ratio_error) else estimate.ratio_error,
            "perplexity": estimate.perplexity, "dense_perplexity": estimate.dense_perplexity, "kl": estimate.kl,
            "accuracy": estimate.accuracy, "n_tokens": estimate.n_tokens, "stored": lab.sizes.kept,
            "exact": None if subject.exact is None else subject.exact(lab.present.model),
            "predicted_ratio": None if predicted is None else math.exp(min(predicted, 50.0)),
            "frobenius": relative_frobenius(lab), "seconds": time.perf_counter() - began,
        }  # fmt: skip


def entries_of(model: str, seed: int) -> Iterator[Entry]:
    """Those measured on a model with a calibration set, one recipe after another."""
    for entry in ENTRIES:
        if model == LARGE and entry in LEFT_OUT:
            continue
        slow = model == LARGE and (entry.recipe.method in SLOW or entry.budget == "measured")
        if seed in (SEEDS[:1] if slow else entry.seeds):
            yield entry


def heals(model: str, seed: int, kept: float, entry: Entry) -> bool:
    """Whether a setting is healed too."""
    shares = HEALED_SHARES[-1:] if model == LARGE else HEALED_SHARES
    return seed == SEEDS[0] and kept in shares and entry in HEALED


def main() -> None:
    """Measures all that is missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--again", action="store_true", help="measure everything anew")
    parser.add_argument("--models", nargs="*", default=["sort-gpt2", "names-gpt2", "stories260K", LARGE])
    parser.add_argument("--methods", nargs="*", default=list(METHODS))
    parser.add_argument("--out", type=Path, default=RESULTS / "methods.json")
    parsed = parser.parse_args()
    comparison = Comparison(parsed.out, parsed.again)
    for subject in subjects(parsed.models):
        for seed in SEEDS:
            comparison.measure(subject, seed, parsed.methods)
    comparison.finish()


if __name__ == "__main__":
    main()
