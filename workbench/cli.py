"""The `workbench` command: lab, compress, sweep, train, check."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from workbench.commands import compress, lab, sweep

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
    """Runs one command and returns its exit status: 0 done, 1 something is missing here, 2 the request was wrong or
    there is no room for it, 130 interrupted.
    """
    parsed = _parser().parse_args(arguments)
    try:
        return parsed.run(parsed)
    except (ValueError, OSError, ModuleNotFoundError, MemoryError) as error:
        told = str(error) or "the memory does not suffice."  # Python's own MemoryError has no words
        print(f"workbench {parsed.command}: {' '.join(told.split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"workbench {parsed.command}: interrupted; what was saved is whole.", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="workbench", description="Transformers compressed and seen as tensor networks."
    )
    commands = parser.add_subparsers(dest="command", required=True)

    lab.add(commands)
    compress.add(commands)
    sweep.add(commands)

    train = commands.add_parser("train", help="train one of the small models that are shipped, from nothing")
    train.add_argument("--out", type=Path, required=True, help="directory of the checkpoint; a run there is resumed")
    train.add_argument(
        "--task", choices=["text", "repeats", "grammar"], default="text",
        help="text: a GPT-2 on Python's own library; repeats: two layers of attention on letters that repeat; "
             "grammar: a GPT-2 on a language whose entropy is known",
    )  # fmt: skip
    train.add_argument("--device", default="auto")
    for name, kind in _RECIPE.items():
        train.add_argument(_option(name), type=kind, default=None)
    train.set_defaults(run=_train)

    check = commands.add_parser("check", help="say what this machine has, and what would not work on it")
    check.set_defaults(run=_check)
    return parser


def _train(parsed: argparse.Namespace) -> int:
    from workbench.transformer.card import write_card
    from workbench.transformer.grammar_card import write_grammar_card
    from workbench.transformer.grammar_recipe import GrammarRecipe
    from workbench.transformer.matrices import resolve_device
    from workbench.transformer.repeats import RepeatsRecipe
    from workbench.transformer.repeats_card import write_repeats_card
    from workbench.transformer.text_recipe import TextRecipe
    from workbench.transformer.training import train

    kind, write, reached = {
        "text": (TextRecipe, write_card, "{bits_per_byte:.3f} bits per byte"),
        "repeats": (RepeatsRecipe, write_repeats_card, "{second_copy_accuracy:.1%} right in the second copy"),
        "grammar": (GrammarRecipe, write_grammar_card, "{excess:.4f} nats a token above the entropy"),
    }[parsed.task]
    given = {name: getattr(parsed, name) for name in _RECIPE if getattr(parsed, name) is not None}
    strange = [_option(name) for name in given if name not in kind.__dataclass_fields__]
    if strange:
        has = ", ".join(_option(name) for name in _RECIPE if name in kind.__dataclass_fields__)
        raise ValueError(f"--task {parsed.task} has no {', '.join(strange)}; it has {has}.")
    device = str(resolve_device(parsed.device))
    record = train(parsed.out, kind(**given), device, report=_print_step)
    card = write(parsed.out, record, device)
    print(f"{parsed.out}: {record['step']} steps in {record['seconds']:.0f} s, {reached.format(**card)}")
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
