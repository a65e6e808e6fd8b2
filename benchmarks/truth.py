"""Learning a distribution that is known: data/results/truth.json, with a chart of each part.

`python benchmarks/truth.py [--only NAME …]` measures the parts named, or all, and keeps the others' rows. Overlaps,
divergences and losses are exact; what differs from run to run is the samples, drawn by seeds that are recorded.
"""

import argparse
import json
import math
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from jaxtyping import Int
from torch import Tensor
from truth_charts import chart

from workbench.born.density_pass import drawn_share, one_pass
from workbench.born.digits import digits
from workbench.born.likelihood import likelihood
from workbench.born.machine import BornMachine
from workbench.born.parity_theory import expected_overlap, expected_samples
from workbench.born.two_site import SweepRecipe, sweep
from workbench.transformer.string_gpt import learn_strings
from workbench.truth.enumerated import log_table
from workbench.truth.ground_state import ground_state
from workbench.truth.hamiltonian import transverse_ising
from workbench.truth.images import bars_and_stripes
from workbench.truth.parity import even_parity
from workbench.truth.scores import Scores, scores
from workbench.truth.strings import numbered_strings
from workbench.whole_files import write_json

RESULTS = Path(__file__).resolve().parents[1] / "data" / "results" / "truth.json"
FRACTIONS = (0.005, 0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.08, 0.1, 0.12, 0.15, 0.2, 0.3, 0.5, 1.0)
STEP = 1.12  # of the grid of sizes
BONDS_OF_BARS = (2, 4, 8, 15, 16, 16, 16, 15, 16, 16, 16, 15, 8, 4, 2)  # ranks of the uniform amplitudes
Row = dict[str, object]


def even_strings(n_sites: int) -> Int[Tensor, "n sites"]:
    """All strings of even parity."""
    every = numbered_strings(torch.arange(2**n_sites), n_sites, 2)
    return every[every.sum(1) % 2 == 0]


def parity(n_sites: int = 16, shuffles: int = 10) -> Iterator[Row]:
    """The overlap with even parity after one pass on a share of its strings; failures are runs that drop a sector."""
    strings, target = even_strings(n_sites), (n_sites - 1) * math.log(2)
    truth = BornMachine(even_parity(n_sites).mps())
    for fraction in FRACTIONS:
        n, overlaps, divergences, failures, seconds = 0, [], [], 0, []
        for seed in range(shuffles):
            chosen = drawn_share(strings, fraction, torch.Generator().manual_seed(seed))
            n, start = len(chosen), time.perf_counter()
            found = one_pass(chosen, 2)
            seconds.append(time.perf_counter() - start)
            overlaps.append(found.machine.overlap(truth).value)
            failures += found.failure is not None
            divergences.append(likelihood(found.machine, strings).nll - target)
        yield {
            "fraction": fraction, "n": n, "overlap": statistics.mean(overlaps), "sd": statistics.stdev(overlaps),
            "theory": expected_overlap(n_sites, fraction), "dropped_sector": failures, "shuffles": shuffles,
            "kl": statistics.mean(divergences) if all(map(math.isfinite, divergences)) else None,
            "seconds": statistics.median(seconds),
        }  # fmt: skip


def needed(repeats: int = 31) -> Iterator[Row]:
    """Different strings of even parity that one pass of bond 2 needs for a median overlap of 0.9, by size."""
    for n_sites in (8, 10, 12, 14, 16, 18, 20):
        strings, theory = even_strings(n_sites), expected_samples(n_sites, 0.9)
        truth = BornMachine(even_parity(n_sites).mps())
        n, median = round(theory / STEP**4), 0.0
        while median < 0.9:
            n = math.ceil(n * STEP)
            orders = (torch.randperm(len(strings), generator=torch.Generator().manual_seed(k)) for k in range(repeats))
            median = statistics.median(one_pass(strings[own[:n]], 2).machine.overlap(truth).value for own in orders)
        yield {"n_sites": n_sites, "n": n, "median": median, "theory": theory, "repeats": repeats}


def bars(seeds: int = 3) -> Iterator[Row]:
    """All thirty images of bars and stripes 4 × 4, learned by two-site sweeps at growing bonds."""
    source = bars_and_stripes(4, 4)
    for max_bond in (4, 8, 12, 16, 20):
        for seed in range(seeds):
            run = sweep(source.strings, SweepRecipe(max_bond=max_bond, seed=seed))
            machine = run.finish()
            yield {
                "max_bond": max_bond, "seed": seed, "nll": likelihood(machine, source.strings).nll,
                "floor": source.entropy(), "bonds": list(machine.train.bonds), "rounds": run.report.rounds,
                "seconds": run.report.seconds,
            }  # fmt: skip


def images() -> Iterator[Row]:
    """Handwritten digits, black and white: the loss on images held out, and the entanglement of what was learned."""
    data = digits()
    shares = torch.cat([data.train, data.train.new_tensor([[0], [1]]).expand(2, 64)]).double().mean(0)
    mean = data.test.double()
    independent = -(mean * shares.log() + (1 - mean) * (1 - shares).log()).sum(1).mean()
    yield {"model": "independent pixels", "held_out": float(independent)}
    for max_bond in (8, 16, 32):
        run = sweep(data.train, SweepRecipe(max_bond=max_bond, rounds=12, patience=3), data.test)
        machine = run.finish()
        yield {
            "model": f"bond {max_bond}", "max_bond": max_bond, "held_out": run.report.best,
            "train": likelihood(machine, data.train).nll, "best_round": run.report.best_round,
            "entropy": max(machine.entropies()), "seconds": run.report.seconds,
        }  # fmt: skip


def crossover(n_sites: int = 12, seeds: int = 3) -> Iterator[Row]:
    """A critical quantum chain measured in z: exact divergence and excess entanglement by bond and samples, and a GPT.

    A fifth of the samples is held out of the sweeps, and chooses the round that is kept.
    """
    source = ground_state(transverse_ising(n_sites, 1.0))
    truth, middle = log_table(source, 2, n_sites), n_sites // 2 - 1
    exact = source.mps().spectra[middle].entropy()
    for n in (200, 1_000, 5_000, 20_000):
        for seed in range(seeds):
            samples = source.sample(n, torch.Generator().manual_seed(1_000 * seed + n))
            training, held_out = samples[n // 5 :], samples[: n // 5]
            for max_bond in (2, 4, 8):
                run = sweep(training, SweepRecipe(max_bond=max_bond, rounds=12, patience=3, seed=seed), held_out)
                machine = run.finish()
                found = scores(truth, log_table(machine, 2, n_sites))
                entropy = machine.train.spectra[middle].entropy()
                yield _crossing_row(f"bond {max_bond}", n, seed, found, entropy - exact, run.report.seconds)
            if seed == 0:
                start = time.perf_counter()
                model = learn_strings(samples, 2)
                seconds = time.perf_counter() - start
                log_q = log_table(model, 2, n_sites)
                halves = torch.linalg.svdvals((log_q / 2).exp().reshape(2 ** (middle + 1), -1)).square()
                entropy = float(torch.special.entr(halves / halves.sum()).sum())
                yield _crossing_row("GPT", n, seed, scores(truth, log_q), entropy - exact, seconds)


def _crossing_row(model: str, n: int, seed: int, found: Scores, excess: float, seconds: float) -> Row:
    kl = found.kl if math.isfinite(found.kl) else None
    return {
        "model": model, "n": n, "seed": seed, "kl": kl, "lost_mass": found.lost_mass, "overlap": found.overlap,
        "excess_entropy": excess, "seconds": seconds,
    }  # fmt: skip


def claims(parts: dict[str, list[dict]]) -> list[Row]:
    """What the rows say of what was wanted; parts that are missing are left out."""
    found: list[Row] = []

    def add(what: str, value: float, wanted: str, reached: bool) -> None:
        found.append({"what": what, "value": value, "wanted": wanted, "reached": reached})

    for row in parts.get("parity", []):
        bounds = {0.1: (0.986, 0.005), 0.2: (0.9968, 0.0013), 1.0: (1.0, 1e-9)}.get(row["fraction"])
        if bounds:
            away = abs(row["overlap"] - bounds[0])
            add(f"one pass on parity of 16 bits, {row['fraction']:.0%} of the strings: overlap", row["overlap"],
                f"{bounds[0]} ± {bounds[1]:g}", away <= bounds[1])  # fmt: skip
        if row["fraction"] >= 0.05 and row["fraction"] < 1:
            ratio = math.log(row["theory"]) / math.log(row["overlap"])
            add(f"theory over measured -ln overlap at {row['fraction']:.0%}", ratio, "1 ± 0.2", abs(ratio - 1) <= 0.2)
    sizes = parts.get("needed", [])
    if sizes:
        slope = doublings([row for row in sizes if row["n_sites"] >= 16])
        add("samples for 90 % overlap: doublings a bit, 16 to 20 bits", slope, "2/3 ± 0.05", abs(slope - 2 / 3) <= 0.05)
        for row in sizes:
            ratio = row["n"] / row["theory"]
            add(f"samples for 90 % overlap of {row['n_sites']} bits, over the theory's", ratio, "within 20 %",
                1 / 1.2 <= ratio <= 1.2)  # fmt: skip
    for row in parts.get("bars", []):
        if row["max_bond"] == 16:
            gap = row["nll"] - row["floor"]
            add(f"bars and stripes, seed {row['seed']}: loss over ln 30", gap, "≤ 1e-6, bonds as the ranks",
                gap <= 1e-6 and tuple(row["bonds"]) == BONDS_OF_BARS)  # fmt: skip
    losses = [row["held_out"] for row in parts.get("images", []) if "max_bond" in row]
    if losses:
        add("digits: best loss on images held out, nats", min(losses), "≤ 18.3", min(losses) <= 18.3)
    for n, smaller in ((5_000, "bond 2"), (20_000, "bond 4")):
        rows = [row for row in parts.get("crossover", []) if row["n"] == n and row["kl"] is not None]
        medians = {
            model: statistics.median(row["kl"] for row in rows if row["model"] == model)
            for model in ("bond 2", "bond 4")
            if any(row["model"] == model for row in rows)
        }
        if len(medians) == 2:
            ratio = medians["bond 2"] / medians["bond 4"]
            wanted = "≤ 1.1" if smaller == "bond 2" else "≥ 1"
            add(f"quantum chain, {n:,} samples: divergence at bond 2 over that at bond 4", ratio, wanted,
                ratio <= 1.1 if smaller == "bond 2" else ratio >= 1)  # fmt: skip
    return found


def doublings(rows: list[dict]) -> float:
    """How often the number of samples doubles for each bit more, by a straight line through the logarithms."""
    bits = [row["n_sites"] for row in rows]
    return statistics.linear_regression(bits, [math.log2(row["n"]) for row in rows]).slope


PARTS: dict[str, Callable[[], Iterator[Row]]] = {
    "parity": parity,
    "needed": needed,
    "bars": bars,
    "images": images,
    "crossover": crossover,
}


def main() -> None:
    """Measures the parts asked for, writes the file after each, and draws the charts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", choices=PARTS, default=list(PARTS))
    parser.add_argument("--out", type=Path, default=RESULTS)
    parsed = parser.parse_args()
    kept = json.loads(parsed.out.read_text()) if parsed.out.exists() else {}
    for name in parsed.only:
        rows = []
        for row in PARTS[name]():
            rows.append(row)
            print(
                name,
                json.dumps({key: round(v, 5) if isinstance(v, float) else v for key, v in row.items()}),
                flush=True,
            )
        kept |= {
            "machine": {"cores": os.cpu_count(), "cpu": torch.backends.cpu.get_cpu_capability()},
            "versions": {"python": platform.python_version(), "torch": torch.__version__},
            name: rows,
        }
        kept["claims"] = claims(kept)
        write_json(parsed.out, kept)
    for claim in kept["claims"]:
        print(f"{' ' if claim['reached'] else '!'} {claim['what']}: {claim['value']:.5g}, wanted {claim['wanted']}")
    chart(kept, parsed.out.with_suffix(".png"))


if __name__ == "__main__":
    main()
