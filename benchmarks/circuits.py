"""Views beside the models, how fast circuits are measured and opened, and what heads do: data/results/circuits.json.

`make bench`, or `python benchmarks/circuits.py [--only NAME]` (then only printed). The machine should do nothing else
meanwhile.
"""

import argparse
import copy
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path

import torch
from head_records import heads_of, mlps_of
from speed import Row, gpt2_small, row
from torch import nn

from workbench import LanguageModel, load
from workbench.diagram.scene import Scene
from workbench.rounding import largest_relative_error, tolerance
from workbench.transformer.ablation import second_copy_accuracy
from workbench.transformer.anatomy import Anatomy
from workbench.transformer.by_hand import induction_by_hand
from workbench.transformer.capture import activations
from workbench.transformer.circuit import ov_circuit, qk_circuit
from workbench.transformer.composition import CompositionScores, Head, composition_scores
from workbench.transformer.probe_rows import repeat_rows
from workbench.transformer.reading import anatomy_of
from workbench.transformer.score_parts import score_shares
from workbench.transformer.view import tokens_of, view
from workbench.whole_files import write_json

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "data" / "results" / "circuits.json"
BESIDE = ROOT.parent / "shared" / "data" / "models"  # real models that may lie beside the checkout
TEXTS = {
    "pygpt": "def read_config(path):\n    with open(path) as",
    "attn2": "qXbTkWqXbTkWqXbTkW",
    "names-gpt2": "\nmarguerite",
    "sort-gpt2": "ABCACBABC",
    "stories260K": "Once upon a time, there was a little girl",
}
LONGEST_DENSE = 300  # seconds that the dense matrices may take before a sample of layer pairs stands for all


def models() -> Iterator[LanguageModel]:
    """The models of `TEXTS` that are here, in float32."""
    for name in TEXTS:
        for path in (ROOT / "data" / name, BESIDE / name):
            if (path / "config.json").is_file():
                yield load(path, "cpu")


def agreement() -> list[Row]:
    """Every value of every view of a block beside the model's own, in both dtypes: the largest relative error."""
    rows = []
    for lm in models():
        for dtype in (torch.float32, torch.float64):
            in_dtype = replace(lm, model=nn.Module.to(copy.deepcopy(lm.model), dtype))
            by_layer = errors_by_layer(in_dtype, tokens_of(in_dtype, TEXTS[lm.name]))
            errors = {where: error for own in by_layer.values() for where, error in own.items()}
            worst = max(errors, key=errors.__getitem__)
            largest = {layer: max(own.values()) for layer, own in by_layer.items()}
            what = f"largest error of a view's value against {lm.name}, {str(dtype).removeprefix('torch.')}"
            rows.append(row(what, errors[worst], tolerance(dtype), "relative",
                            where=worst, values=len(errors), by_layer=largest))  # fmt: skip
    return rows


def errors_by_layer(lm: LanguageModel, tokens: torch.Tensor) -> dict[str, dict[str, float]]:
    """By layer, and of the logits: the error of every value that both the views and the model name."""
    own, found = activations(lm, tokens), {}
    for layer, block in enumerate(anatomy_of(lm).blocks):
        errors = found[f"blocks.{layer}"] = {}
        for part in ("", ".attn", *([".mlp"] if block.mlp is not None else [])):
            path = f"blocks.{layer}{part}"
            for name, value in view(lm, path, tokens).run().items():
                if (wanted := own.get(f"blocks.{layer}.{name}")) is not None:
                    errors[f"{path}, {name}"] = largest_relative_error(wanted, value.reshape(wanted.shape))
    logits = {path: view(lm, path, tokens).result() for path in ("model", "unembed")}
    return found | {
        "logits": {f"{path}, logits": largest_relative_error(own["logits"], made) for path, made in logits.items()}
    }


def composition() -> list[Row]:
    """The composition scores of all pairs of heads of GPT-2 small, beside dense matrices of the stream."""
    anatomy = anatomy_of(gpt2_small())
    seconds = [timed(lambda: composition_scores(anatomy)) for _ in range(6)]
    ours = statistics.median(seconds[1:])
    scores = composition_scores(anatomy)
    theirs, error, how = dense_composition(anatomy, scores)
    pairs = int(scores.is_pair.sum())
    return [
        row("composition scores of all pairs of heads, GPT-2 small", ours, 10, "s", pairs=pairs),
        row("composition scores, against dense matrices", theirs / ours, 5, "times faster", True,
            seconds=ours, dense_seconds=theirs, dense=how),
        row("composition scores, against those of dense matrices in float64", error, 1e-5, "relative"),
    ]  # fmt: skip


def dense_composition(anatomy: Anatomy, scores: CompositionScores) -> tuple[float, float, dict[str, object]]:
    """Seconds with every W_QK and W_OV formed, the largest error of scores against these, and what was measured.

    All pairs of layers, or, where those would take too long, some of them drawn at random, scaled up to all. The error
    is that of two layers' heads, against dense matrices in float64: in float32 their norms are off by as much as 1e-4.
    """
    start = time.perf_counter()
    W_QK, W_OV = ({head: made(anatomy, *head).dense() for head in anatomy.heads} for made in (qk_circuit, ov_circuit))
    forming = time.perf_counter() - start
    pairs = [(later, earlier) for later in range(1, len(anatomy.blocks)) for earlier in range(later)]
    order = torch.randperm(len(pairs), generator=torch.Generator().manual_seed(0)).tolist()
    times = []
    for later, earlier in (pairs[place] for place in order):
        start = time.perf_counter()
        _dense_pair(W_QK, W_OV, later, earlier)
        times.append(time.perf_counter() - start)
        if len(times) >= 5 and statistics.median(times) * len(pairs) > LONGEST_DENSE:
            break
    total = forming + sum(times) / len(times) * len(pairs)
    how = "all" if len(times) == len(pairs) else "drawn at random, and the time scaled up to all"
    measured = {"pairs_of_layers": len(times), "of": len(pairs), "how": how, "forming_seconds": forming,
                "measured_seconds": forming + sum(times)}  # fmt: skip
    later, earlier = pairs[order[0]]
    W_QK, W_OV = (
        {head: one.double() for head, one in all_.items() if head[0] in (later, earlier)} for all_ in (W_QK, W_OV)
    )
    rows, columns = ([head[0] == layer for head in scores.heads] for layer in (later, earlier))
    found = scores.values[:, rows][:, :, columns]
    return total, largest_relative_error(_dense_pair(W_QK, W_OV, later, earlier), found), measured


def _dense_pair(
    W_QK: dict[Head, torch.Tensor], W_OV: dict[Head, torch.Tensor], later: int, earlier: int
) -> torch.Tensor:
    """The scores (kind, head, head) of two layers: each later matrix times all earlier ones, side by side."""
    written = [matrix for head, matrix in W_OV.items() if head[0] == earlier]
    side_by_side, norm = torch.cat(written, dim=1), torch.linalg.matrix_norm

    def read(reader: torch.Tensor) -> torch.Tensor:
        blocks = (reader @ side_by_side).unflatten(1, (len(written), -1)).transpose(0, 1)
        return norm(blocks) / norm(reader)

    own = [head for head in W_QK if head[0] == later]
    kinds = ([W_QK[head].mT for head in own], [W_QK[head] for head in own], [W_OV[head] for head in own])
    scores = torch.stack([torch.stack([read(reader) for reader in readers]) for readers in kinds])
    return scores / torch.stack([norm(matrix) for matrix in written])


def opening() -> list[Row]:
    """How long a view takes from the call to its drawing's geometry, with tokens: what stands before it is run too."""
    rows = []
    for lm, layer, head in ((load("pygpt", "cpu"), 5, 3), (gpt2_small(), 11, 11)):
        tokens = tokens_of(lm, TEXTS["pygpt"])
        block = f"blocks.{layer}"
        own = (f"{block}.attn.head.{head}", f"{block}.attn.head.{head}.QK", f"{block}.attn.head.{head}.OV.svd")
        for path in ("model", "blocks.0", block, f"{block}.attn", f"{block}.mlp", *own):
            open_it = partial(opened, lm, path, tokens)
            open_it()
            seconds = statistics.median(timed(open_it) for _ in range(7))
            rows.append(row(f"view and scene of {path}, {lm.name}", seconds, 0.3, "s", tokens=len(tokens)))
    return rows


def opened(lm: LanguageModel, path: str, tokens: torch.Tensor) -> Scene:
    """The geometry of a view."""
    return view(lm, path, tokens).scene


def timed(call: Callable[[], object]) -> float:
    """Seconds of one call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def by_hand() -> list[Row]:
    """What the circuit written down gets right, and what the scores of its second head are made of."""
    hand = induction_by_hand()
    rows = []
    for with_start, wanted in ((False, 10 / 11), (True, 1.0)):
        accuracy = second_copy_accuracy(hand, repeat_rows(hand, 64, 12, with_start=with_start), 12)
        start = "with" if with_start else "without"
        rows.append(row(f"induction by hand, accuracy {start} a start token", accuracy, wanted, "share", True))
    share = score_shares(hand, 1, 0, repeat_rows(hand, 1, 12)[0]).share("embed", "head 0.0")
    rows.append(
        row("induction by hand, scores that are the stream asking and head 0.0 answering", share, 1, "share", True)
    )
    best = composition_scores(hand).strongest(3)
    rows.append(row("induction by hand, K-composition", best[0].score, best[0].baseline, "score", True,
                    every={one.kind: one.score for one in best}))  # fmt: skip
    return rows


PARTS: dict[str, Callable[[], list[Row]]] = {
    "agreement": agreement,
    "by_hand": by_hand,
    "composition": composition,
    "opening": opening,
}
RECORDS: dict[str, Callable[[], dict[str, object]]] = {
    "heads": lambda: {lm.name: heads_of(lm) for lm in models() if lm.name in ("attn2", "pygpt")},
    "bilinear": lambda: {lm.name: found for lm in models() if (found := mlps_of(lm, TEXTS[lm.name]))},
}


def main() -> None:
    """Measures every part, or the one named, and writes the file if it measured them all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=(*PARTS, *RECORDS))
    only = parser.parse_args().only
    rows: list[Row] = []
    records: dict[str, object] = {}
    for name, part in PARTS.items():
        for entry in part() if only in (None, name) else ():
            rows.append(entry)
            mark = " " if entry["reached"] else "!"
            print(
                f"{mark} {entry['what']}: {entry['measured']:.3g} {entry['unit']}, wanted {entry['target']:.3g}",
                flush=True,
            )
    for name, record in RECORDS.items():
        if only in (None, name):
            records[name] = record()
            print(json.dumps({name: records[name]}, indent=1), flush=True)
    if only is None:
        packages = ("torch", "numpy", "transformers", "opt_einsum", "tensornetwork")
        machine = {
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "memory_gib": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1),
            "cpu": torch.backends.cpu.get_cpu_capability(),
        }
        versions = {"python": platform.python_version()} | {name: version(name) for name in packages}
        write_json(RESULTS, json.loads(json.dumps({"machine": machine, "versions": versions, "rows": rows, **records})))


if __name__ == "__main__":
    main()
