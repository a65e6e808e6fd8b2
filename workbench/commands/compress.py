"""`workbench compress`: one model cut, repaired, scored, and written."""

import argparse
import json
import math
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.commands.streamed import stream

if TYPE_CHECKING:
    from workbench.compress.recipe import Recipe
    from workbench.explore.allocation import Limit
    from workbench.explore.compression_lab import CompressionLab


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the command and its options."""
    compress = commands.add_parser("compress", help="compress a model and measure what it costs")
    compress.add_argument("--model", default="pygpt", help="pygpt, attn2, a checkpoint directory, or a hub id")
    compress.add_argument("--text", type=Path, default=None, help="text to score on (default: the held-out slice)")
    compress.add_argument(
        "--calibration", type=Path, default=None, help="text to calibrate on (default: the first half of --text)"
    )
    compress.add_argument("--each-line", action="store_true", help="score every line of --text by itself")
    compress.add_argument("--method", default="svd", help="svd, mpo, kronecker, tucker, cp, ring; or a published one: "
                          "asvd, svd-llm, gfwsvd, pifa, compactifai, tqcompressor, tensorllm")  # fmt: skip
    compress.add_argument("--metric", default=None, help="plain, diagonal, input or two-sided (default: input for svd)")
    compress.add_argument("--sites", type=int, default=2, help="cores of a matrix product operator, 2 to 4")
    compress.add_argument("--gauge-fixed", action="store_true", help="store pairs without their redundant numbers")
    compress.add_argument("--table", default="whole", help="the token table: whole, both (lookup and head) or input")
    compress.add_argument("--permuted", action="store_true", help="seek better orders of rows and columns (kronecker)")
    compress.add_argument("--budget", default="uniform", help="uniform, global or measured")
    compress.add_argument("--kept", type=float, default=None, help="share of the numbers of what is cut (default: 0.4)")
    compress.add_argument("--max-params", type=int, default=None, help="instead: numbers of the whole model at most")
    compress.add_argument("--max-bytes", type=int, default=None, help="instead: bytes of the whole model at most")
    compress.add_argument("--max-multiply-adds", type=int, default=None, help="instead: multiply-adds a token at most")
    compress.add_argument("--cache", type=Path, default=None, help="directory to keep decompositions in, and find them")
    compress.add_argument("--profile", type=Path, default=None, help="file of a measured budget's sweep, to go on with")
    compress.add_argument("--compensate", action="store_true", help="fit cut matrices behind the cut ones before them")
    compress.add_argument("--heal", type=int, default=0, help="steps of distillation from the dense model")
    compress.add_argument("--heal-checkpoint", type=Path, default=None, help="directory to resume healing from")
    compress.add_argument("--bits", type=int, default=None, help="quantise the factors to 8 or 4 bits")
    compress.add_argument("--windows", type=int, default=64, help="at most this many windows are scored")
    compress.add_argument("--stream", action="store_true", help="read, cut and write one matrix at a time: for a "
                          "checkpoint larger than memory; needs --out, and goes on where it was stopped")  # fmt: skip
    compress.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1")
    compress.add_argument(
        "--out", type=Path, default=None, help="write the compressed checkpoint to this new directory"
    )
    compress.add_argument("--json", action="store_true", help="print one JSON object")
    compress.set_defaults(run=_compress)


def _compress(parsed: argparse.Namespace) -> int:
    if parsed.stream:
        return stream(parsed, _recipe(parsed))
    from workbench.compress.windows import read_text, windows_of_lines
    from workbench.explore.allocation import check_budget
    from workbench.explore.compression_lab import CompressionLab
    from workbench.transformer.load import load

    if parsed.out is not None and parsed.out.exists():
        raise FileExistsError(f"{parsed.out} already exists and is left as it is; name a new directory.")
    limit, recipe = _limit(parsed), _recipe(parsed)
    check_budget(parsed.budget)
    if parsed.windows < 1:
        raise ValueError(f"--windows is how many windows to score, 1 or more, not {parsed.windows}.")
    text = None if parsed.text is None else read_text(parsed.text)
    calibration = None if parsed.calibration is None else read_text(parsed.calibration)
    start = time.perf_counter()
    lm = load(parsed.model, parsed.device)
    loaded = time.perf_counter() - start
    if parsed.each_line:
        if text is None:
            raise ValueError("--each-line scores the lines of a text; give it with --text.")
        text = windows_of_lines(lm, text)
        calibration = None if calibration is None else windows_of_lines(lm, calibration)
    lab = CompressionLab.from_model(lm, text, calibration, max_windows=parsed.windows)
    _made(lab, parsed, recipe, limit)
    predicted, point = lab.predicted_loss, lab.evaluate()
    result = {"model": parsed.model, "device": str(lm.device), "budget": parsed.budget, **point.as_dict()}
    result["predicted_loss"] = predicted
    result["healing"] = None if lab.healed is None else asdict(lab.healed)
    seconds = {"calibrate": 0.0} | lab.seconds
    seconds["load"] += loaded
    result |= {"dense_n_params": lab.sizes.dense_n_params, "seconds": seconds, "out": None}
    if parsed.out is not None:
        result["out"] = str(lab.export(parsed.out))
    if parsed.json:
        # JSON has no nan: the standard error of a single window is unknown.
        result = {name: None if value != value else value for name, value in result.items()}
    print(json.dumps(result, allow_nan=False) if parsed.json else _table(result))
    return 0


def _recipe(parsed: argparse.Namespace) -> "Recipe":
    """The recipe that the words ask for. Raises ValueError for words that do not go together."""
    from workbench.compress.recipe import METRICS, Recipe, published

    plain = parsed.metric is None and parsed.sites == 2 and not (parsed.permuted or parsed.gauge_fixed)
    whole = published(parsed.method)
    if whole is not None:
        if not plain:
            raise ValueError(f"{parsed.method} says its metric and its form itself; leave out the other words.")
        return replace(whole, table=parsed.table)
    metric = METRICS[parsed.method][0] if parsed.metric is None else parsed.metric
    return Recipe(parsed.method, metric, parsed.sites, parsed.permuted, parsed.gauge_fixed, table=parsed.table)


def _limit(parsed: argparse.Namespace) -> "Limit":
    """The one limit that was given, or 40 % kept."""
    from workbench.explore.allocation import Limit

    given = parsed.max_params, parsed.max_bytes, parsed.max_multiply_adds
    kept = 0.4 if parsed.kept is None and not any(given) else parsed.kept
    return Limit(kept, *given)


def _made(lab: "CompressionLab", parsed: argparse.Namespace, recipe: "Recipe", limit: "Limit") -> None:
    """Decomposes, cuts, and does what else was asked for, in this order."""
    lab.decompose(recipe, cache=parsed.cache)
    if parsed.budget == "measured":
        lab.sweep(parsed.profile)
    lab.keep(limit, budget=parsed.budget)
    if parsed.compensate:
        lab.compensate()
    if parsed.heal:
        print(lab.heal(parsed.heal, parsed.heal_checkpoint).message, file=sys.stderr)
    if parsed.bits is not None:
        lab.quantise(parsed.bits)


def _table(result: dict) -> str:
    seconds = ", ".join(f"{name} {value:.1f}" for name, value in result["seconds"].items())
    whole = result["table"] == "whole"
    done = ([] if whole else [f"table: {result['table']}"]) + list(result["after"])
    rows = [
        ("model", f"{result['model']} on {result['device']}"),
        ("method", ", ".join([f"{result['method']}, {result['metric']} metric, {result['budget']}", *done])),
        ("block matrices kept" if whole else "blocks, table kept", f"{result['kept_params']:.1%}"),
        ("parameters", f"{result['n_params']:,} of {result['dense_n_params']:,} ({result['kept_total']:.1%})"),
        ("bytes", f"{result['bytes']:,}"),
        ("perplexity", f"{result['perplexity']:.3f}, dense {result['dense_perplexity']:.3f}"),
        ("ratio to dense", f"{result['perplexity_ratio']:.4f} ± {result['perplexity_ratio_error']:.4f}"),
        *([] if result["excess"] is None else [("nats above the truth", _above(result))]),
        ("next-token accuracy", f"{result['accuracy']:.1%}, dense {result['dense_accuracy']:.1%}"),
        ("top-1 agreement", f"{result['top1_agreement']:.1%}"),
        ("scored tokens", f"{result['n_tokens']:,}"),
        ("seconds", seconds),
    ]
    if result["predicted_loss"] is not None:
        rows.insert(-1, ("predicted ratio", f"{math.exp(min(result['predicted_loss'], 50)):.4f} from the cut alone"))
    if result["out"]:
        rows.append(("written to", f"{result['out']} (dense/ holds the matrices multiplied out)"))
    return "\n".join(f"{name:<22}{value}" for name, value in rows)


def _above(result: dict) -> str:
    return f"{result['excess']:.4f} a token, dense {result['dense_excess']:.4f}"
