"""The `workbench` command: lab, compress, train, check."""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

# The choices of a training run that the command line offers; the others, and every default, are the recipes'.
_RECIPE = {
    "d_model": int,
    "n_layers": int,
    "n_heads": int,
    "context": int,
    "vocabulary": int,
    "batch": int,
    "steps": int,
    "learning_rate": float,
    "seed": int,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit status: 0 done, 1 something is missing here, 2 the request was wrong."""
    parsed = _parser().parse_args(arguments)
    try:
        return parsed.run(parsed)
    except (ValueError, OSError, ModuleNotFoundError) as error:
        print(f"workbench {parsed.command}: {' '.join(str(error).split())}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="workbench", description="Transformers compressed and seen as tensor networks."
    )
    commands = parser.add_subparsers(dest="command", required=True)

    lab = commands.add_parser("lab", help="open JupyterLab on the first notebook")
    lab.add_argument("--notebook", type=Path, default=None, help="another notebook to open")
    lab.add_argument("--port", type=int, default=None)
    lab.add_argument("--no-browser", action="store_true", help="only print the URL")
    lab.set_defaults(run=_lab)

    compress = commands.add_parser("compress", help="compress a model and measure what it costs")
    compress.add_argument("--model", default="pygpt", help="pygpt, attn2, a checkpoint directory, or a hub id")
    compress.add_argument("--text", type=Path, default=None, help="text to score on (default: the held-out slice)")
    compress.add_argument(
        "--calibration", type=Path, default=None, help="text to calibrate on (default: the first half of --text)"
    )
    compress.add_argument("--each-line", action="store_true", help="score every line of --text by itself")
    compress.add_argument("--method", default="svd", help="svd or mpo")
    compress.add_argument("--metric", default="input", help="input or plain")
    compress.add_argument("--sites", type=int, default=2, help="cores of a matrix product operator, 2 to 4")
    compress.add_argument("--kept", type=float, default=0.4, help="share of the block matrices' numbers to keep")
    compress.add_argument("--windows", type=int, default=64, help="at most this many windows are scored")
    compress.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1")
    compress.add_argument(
        "--out", type=Path, default=None, help="write the compressed checkpoint to this new directory"
    )
    compress.add_argument("--json", action="store_true", help="print one JSON object")
    compress.set_defaults(run=_compress)

    train = commands.add_parser("train", help="train one of the small models that are shipped, from nothing")
    train.add_argument("--out", type=Path, required=True, help="directory of the checkpoint; a run there is resumed")
    train.add_argument(
        "--task", choices=["text", "repeats"], default="text",
        help="text: a GPT-2 on Python's own library; repeats: two layers of attention on letters that repeat",
    )  # fmt: skip
    train.add_argument("--device", default="auto")
    for name, kind in _RECIPE.items():
        train.add_argument(_option(name), type=kind, default=None)
    train.set_defaults(run=_train)

    check = commands.add_parser("check", help="say what this machine has, and what would not work on it")
    check.set_defaults(run=_check)
    return parser


def _lab(parsed: argparse.Namespace) -> int:
    from workbench.jupyter import notebooks_dir, open_lab

    notebook = parsed.notebook or notebooks_dir() / "00_start.ipynb"
    return open_lab(notebook, parsed.port, browser=not parsed.no_browser)


def _compress(parsed: argparse.Namespace) -> int:
    from workbench.compress.budget import check_kept
    from workbench.compress.recipe import Recipe
    from workbench.compress.windows import read_text, windows_of_lines
    from workbench.explore.compression_lab import CompressionLab
    from workbench.transformer.load import load

    if parsed.out is not None and parsed.out.exists():
        raise FileExistsError(f"{parsed.out} already exists and is left as it is; name a new directory.")
    check_kept(parsed.kept)
    Recipe(parsed.method, parsed.metric, parsed.sites)
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
    lab.decompose(parsed.method, parsed.metric, parsed.sites)
    lab.kept = parsed.kept
    point = lab.evaluate()
    result = {"model": parsed.model, "device": str(lm.device), **point.as_dict()}
    seconds = {"calibrate": 0.0} | lab.seconds
    seconds["load"] += loaded
    result |= {"dense_n_params": lab.dense_n_params, "seconds": seconds, "out": None}
    if parsed.out is not None:
        result["out"] = str(lab.export(parsed.out))
    if parsed.json:
        # JSON has no nan: the standard error of a single window is unknown.
        result = {name: None if value != value else value for name, value in result.items()}
    print(json.dumps(result, allow_nan=False) if parsed.json else _table(result))
    return 0


def _table(result: dict) -> str:
    seconds = ", ".join(f"{name} {value:.1f}" for name, value in result["seconds"].items())
    rows = [
        ("model", f"{result['model']} on {result['device']}"),
        ("method", f"{result['method']}, {result['metric']} metric"),
        ("block matrices kept", f"{result['kept_params']:.1%}"),
        ("parameters", f"{result['n_params']:,} of {result['dense_n_params']:,} ({result['kept_total']:.1%})"),
        ("perplexity", f"{result['perplexity']:.3f}, dense {result['dense_perplexity']:.3f}"),
        ("ratio to dense", f"{result['perplexity_ratio']:.4f} ± {result['perplexity_ratio_error']:.4f}"),
        ("next-token accuracy", f"{result['accuracy']:.1%}, dense {result['dense_accuracy']:.1%}"),
        ("top-1 agreement", f"{result['top1_agreement']:.1%}"),
        ("scored tokens", f"{result['n_tokens']:,}"),
        ("seconds", seconds),
    ]
    if result["out"]:
        rows.append(("written to", f"{result['out']} (dense/ holds the matrices multiplied out)"))
    return "\n".join(f"{name:<22}{value}" for name, value in rows)


def _train(parsed: argparse.Namespace) -> int:
    from workbench.transformer.card import write_card
    from workbench.transformer.matrices import resolve_device
    from workbench.transformer.repeats import RepeatsRecipe
    from workbench.transformer.repeats_card import write_repeats_card
    from workbench.transformer.text_recipe import TextRecipe
    from workbench.transformer.training import train

    kind, write = {"text": (TextRecipe, write_card), "repeats": (RepeatsRecipe, write_repeats_card)}[parsed.task]
    given = {name: getattr(parsed, name) for name in _RECIPE if getattr(parsed, name) is not None}
    strange = [_option(name) for name in given if name not in kind.__dataclass_fields__]
    if strange:
        has = ", ".join(_option(name) for name in _RECIPE if name in kind.__dataclass_fields__)
        raise ValueError(f"--task {parsed.task} has no {', '.join(strange)}; it has {has}.")
    device = str(resolve_device(parsed.device))
    record = train(parsed.out, kind(**given), device, report=_print_step)
    card = write(parsed.out, record, device)
    reached = (
        f"{card['bits_per_byte']:.3f} bits per byte"
        if parsed.task == "text"
        else f"{card['second_copy_accuracy']:.1%} right in the second copy"
    )
    print(f"{parsed.out}: {record['step']} steps in {record['seconds']:.0f} s, {reached}")
    return 0


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _print_step(entry: dict) -> None:
    print(f"step {entry['step']:>6}  loss {entry['loss']:.4f}  {entry['seconds']:>6} s", flush=True)


def _check(parsed: argparse.Namespace) -> int:
    from workbench.machine import report

    lines, problems = report()
    print("\n".join(lines))
    print("\n".join(f"! {problem}" for problem in problems) if problems else "everything the workbench needs is here")
    return 1 if problems else 0
