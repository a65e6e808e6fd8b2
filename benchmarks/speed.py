"""What the workbench promises about speed and memory, measured side by side in one run: data/results/speed.json.

`make bench`, or `python benchmarks/speed.py [--only NAME]` (then only printed). Every comparison calls both
sides in turn and takes medians; the machine should do nothing else meanwhile.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import tensorly
import torch
import trains
from lab_start import lab_seconds
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel

from workbench import CompressionLab, load
from workbench.compress.layers import BondLinear
from workbench.compress.windows import Windows
from workbench.decompose.low_rank import LowRank
from workbench.decompose.operator import TrainOperator
from workbench.transformer.load import LanguageModel
from workbench.transformer.matrices import block_matrices
from workbench.whole_files import write_json

RESULTS = Path(__file__).resolve().parents[1] / "data" / "results" / "speed.json"
Row = dict[str, object]


def row(what: str, measured: float, target: float, unit: str, least: bool = False, **more: object) -> Row:
    """One result; `least` if the target is a lower limit."""
    reached = measured >= target if least else measured <= target
    return {"what": what, "measured": measured, "target": target, "unit": unit, "reached": reached} | more


def gpt2_small() -> LanguageModel:
    """A GPT-2 of 124M random numbers, with any tokenizer: speed does not ask what the numbers say."""
    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config()).eval().requires_grad_(False)
    return LanguageModel("gpt2-small-random", "gpt2", model, load("pygpt").tokenizer)


def decompose() -> list[Row]:
    """All 48 block matrices of GPT-2 small, once, beside a loop of torch.linalg.svd."""
    weights = [matrix.weight for matrix in block_matrices(gpt2_small().model).values()]
    made: list[LowRank] = []

    def ours() -> None:
        made[:] = [LowRank.from_weight(weight) for weight in weights]

    def theirs() -> None:
        for weight in weights:
            torch.linalg.svd(weight, full_matrices=False)

    seconds = trains.alternate(ours, theirs, 5)
    held = sum(pair.left.nbytes + pair.right.nbytes + pair.spectrum.values.nbytes for pair in made)
    plain = sum(weight.nbytes for weight in weights)
    speed_up = seconds[1] / seconds[0]
    return [
        row("48 matrices of GPT-2 small decomposed, against torch.linalg.svd", speed_up, 2.5, "times faster", True,
            seconds=seconds[0], svd_seconds=seconds[1]),
        row("memory of weights and factors, over the weights", (held + plain) / plain, 2.5, "ratio"),
    ]  # fmt: skip


def tick() -> list[Row]:
    """One move of the slider on 124M numbers, before any evaluation."""
    windows = Windows(torch.randint(4096, (8, 65)), torch.ones(8, 64, dtype=torch.bool))
    lab = CompressionLab.from_model(gpt2_small(), windows, windows)
    rows = []
    for method, sites in (("svd", 2), ("mpo", 2), ("mpo", 3)):
        lab.decompose(method, "plain", sites)
        times = []
        for step in range(60):
            start = time.perf_counter()
            lab.kept = 0.2 + 0.01 * step
            times.append(time.perf_counter() - start)
        name = method if method == "svd" else f"{method}, {sites} sites"
        rows.append(row(f"slider tick, GPT-2 small, {name}", 1e3 * statistics.median(times[10:]), 1.0, "ms"))
    lab.decompose("svd", "plain")
    rows += quick_estimate(lab, "GPT-2 small")
    return rows


def quick_estimate(lab: CompressionLab, name: str) -> list[Row]:
    """The first estimate after a tick beside one dense forward pass of the tokens it scores."""
    rows = []
    tokens = lab.evaluator.windows.rows(0, lab.evaluator.windows.batch_rows(lab.lm.model)).tokens[:, :-1]

    def dense() -> None:
        with torch.inference_mode():
            lab.lm.model(tokens, use_cache=False)

    for kept in (1.0, 0.6, 0.4):
        lab.kept = kept
        seconds = trains.alternate(lambda: next(lab.refine()), dense, 9)
        ratio = seconds[0] / seconds[1]
        rows.append(row(f"quick estimate at {kept} kept, over a dense forward pass, {name}", ratio, 1.1, "ratio",
                        seconds=seconds[0], dense_seconds=seconds[1], tokens=tokens.numel()))  # fmt: skip
    return rows


def shipped() -> list[Row]:
    """The quick estimate on the shipped model, in seconds."""
    lab = CompressionLab.from_model("pygpt", device="cpu", max_windows=8)
    lab.decompose("svd", "plain")
    rows = quick_estimate(lab, "pygpt")
    slowest = max(float(str(entry["seconds"])) for entry in rows)
    return [*rows, row("quick estimate on pygpt", slowest, 0.3, "s")]


def forward() -> list[Row]:
    """One layer 768 → 3072 on 1,024 tokens, in the form that is chosen at each bond, beside the dense layer."""
    torch.manual_seed(0)
    dense = nn.Linear(768, 3072).requires_grad_(False)
    dense.weight.data = trains.decaying_weight(768, 3072).T.contiguous()
    x = torch.randn(1024, 768)
    rows = []
    pair = LowRank.from_weight(dense.weight.detach())
    for kept in (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9):
        bond = pair.bond_within(kept * dense.weight.numel())
        rows.append(forward_row(f"low rank, {kept} kept", dense, pair, bond, x, kept + 0.1))
    for bond in (640, 700, 767):
        rows.append(forward_row(f"low rank, bond {bond}", dense, pair, bond, x, 1.35))
    for sites in (2, 3, 4):
        operator = TrainOperator.from_weight(dense.weight.detach(), sites)
        for bond in sorted({4, 16, 64, 256, operator.full_bond - 1}):
            if bond < operator.full_bond:
                rows.append(forward_row(f"mpo of {sites} sites, bond {bond}", dense, operator, bond, x, 1.35))
    return rows


def forward_row(
    what: str, dense: nn.Linear, uncut: LowRank | TrainOperator, bond: int, x: torch.Tensor, target: float
) -> Row:
    layer = BondLinear(dense, dense.bias, uncut)
    layer.cut(bond)
    start = time.perf_counter()
    layer(x)
    first = time.perf_counter() - start
    seconds = trains.alternate(lambda: layer(x), lambda: dense(x), 15)
    return row(f"forward 768→3072, {what}", seconds[0] / seconds[1], target, "of dense",
               form=layer.form(1024), first_seconds=first, seconds=seconds[0], dense_seconds=seconds[1])  # fmt: skip


def operators() -> list[Row]:
    """Matrix product operators beside tensorly's."""
    rows = []
    for entry in trains.measure():
        what = f"MPO of 768×3072, {entry['sites']} sites, bond {entry['bond']}, against tensorly"
        rows.append(row(what, entry["speed_up"], 3.0, "times faster", True, **entry))
    return rows


def importing() -> list[Row]:
    """`import workbench`, beyond `import torch`."""
    code = "import time, torch; t = time.perf_counter(); import workbench; {}print(time.perf_counter() - t)"
    rows = []
    for name, more in (("import workbench", ""), ("and its LowRank", "workbench.LowRank; ")):
        seconds = [float(_python(code.format(more))) for _ in range(5)]
        rows.append(row(f"{name}, beyond import torch", statistics.median(seconds), 0.5, "s"))
    listed = _python("import sys, workbench; workbench.LowRank; print(*sys.modules)").split()
    loaded = sorted({name.split(".")[0] for name in listed} & {"matplotlib", "plotly", "ipywidgets", "anywidget"})
    return [*rows, row("plotting and widget packages it loads", len(loaded), 0, "packages", loaded=loaded)]


def opening() -> list[Row]:
    """JupyterLab from its start until a kernel has imported the workbench."""
    return [row("`workbench lab` until a kernel has imported workbench", lab_seconds(), 15.0, "s")]


def _python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


PARTS: dict[str, Callable[[], list[Row]]] = {
    "importing": importing,
    "opening": opening,
    "decompose": decompose,
    "tick": tick,
    "shipped": shipped,
    "forward": forward,
    "operators": operators,
}


def main() -> None:
    """Measures every part, or the one named, and writes the file if it measured them all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=PARTS)
    only = parser.parse_args().only
    tensorly.set_backend("pytorch")
    rows = []
    for name, part in PARTS.items():
        if only in (None, name):
            for entry in part():
                rows.append(entry)
                mark = " " if entry["reached"] else "!"
                print(
                    f"{mark} {entry['what']}: {entry['measured']:.3g} {entry['unit']}, wanted {entry['target']}",
                    flush=True,
                )
    if only is None:
        packages = ("torch", "numpy", "transformers", "tensornetwork", "tensorly", "jupyterlab", "plotly")
        machine = {
            "cores": os.cpu_count(),
            "memory_gib": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1),
            "cpu": torch.backends.cpu.get_cpu_capability(),
            "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        }
        versions = {"python": platform.python_version()} | {name: version(name) for name in packages}
        write_json(RESULTS, json.loads(json.dumps({"machine": machine, "versions": versions, "rows": rows})))


if __name__ == "__main__":
    main()
