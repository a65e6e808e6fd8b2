"""A model of GPT-2 small's shape, trained, compressed and healed on one GPU: data/results/gpt2_size.json.

    python benchmarks/gpt2_size.py --tokenizer DIR

`DIR` holds GPT-2's own vocab.json and merges.txt. Nothing else is needed, and no network: the text is the running
Python's standard library, of which some modules are held out, and the model is trained on the rest by the same loop as
the shipped ones, in bfloat16 autocast. Each stage leaves in `--out` what the next ones need, so that a second call goes
on where the first one ended or was stopped: `--stages text,train` and later `--stages sweep` is the same as both at
once. Only `text` runs without a GPU. `--toy` does all of it with two small layers, in seconds, on whatever is here.
"""

import argparse
import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

import gpt2_stages
import torch
import transformers
from gpt2_stages import Bench, Results, Sizes
from gpt2_training import STREAMS, Plan, SizeRecipe, load_streams, trained
from transformers import GPT2TokenizerFast, PreTrainedTokenizerFast  # pyright: ignore[reportAttributeAccessIssue]

from workbench.transformer.corpus import is_test, split, stdlib_modules
from workbench.transformer.matrices import resolve_device
from workbench.transformer.text_recipe import END_OF_TEXT, token_stream, train_tokenizer
from workbench.transformer.training import kept_tokenizer
from workbench.whole_files import write_json, write_tensors

REPOSITORY = Path(__file__).resolve().parents[1]
RESULTS = REPOSITORY / "data" / "results" / "gpt2_size.json"
TOKENIZER = REPOSITORY.parent / "shared" / "data" / "gpt2-tokenizer"
MEASURED: Mapping[str, Callable[[Bench], None]] = MappingProxyType(
    {
        "calibrate": gpt2_stages.calibrate,
        "sweep": gpt2_stages.sweep,
        "tick": gpt2_stages.tick,
        "speed": gpt2_stages.speed,
        "heal": gpt2_stages.heal,
    }
)
STAGES = ("text", "train", *MEASURED)


@dataclass(frozen=True)
class Scale:
    """How large everything is: the real thing, or a toy of it."""

    recipe: SizeRecipe
    sizes: Sizes
    save_every: int
    vocabulary: int | None  # of a tokenizer trained on the spot; None: GPT-2's own is needed


FULL = Scale(SizeRecipe(), Sizes(), 150, None)
TOY = Scale(
    SizeRecipe(d_model=32, n_layers=2, n_heads=2, context=64, batch=4, warmup=2, learning_rate=1e-2),
    Sizes(scored_windows=20, calibration_tokens=500, tick_tokens=1_100, ticks=3, heal_steps=3),
    save_every=2,
    vocabulary=300,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the stages that were asked for and are not done yet; 0 done, 2 the request was wrong."""
    parsed = _parser().parse_args(arguments)
    asked = parsed.stages.split(",")
    try:
        unknown = [stage for stage in asked if stage not in STAGES]
        if unknown:
            raise ValueError(f"there is no stage {', '.join(unknown)}; there are {', '.join(STAGES)}.")
        device = resolve_device(parsed.device)
        if device.type != "cuda" and not parsed.toy and asked != ["text"]:
            print("no CUDA device, which 124M parameters need, so nothing was run; --toy runs a small model anywhere.")
            return 0
        _run([stage for stage in STAGES if stage in asked], device, parsed)
    except (ValueError, OSError) as error:
        print(f"gpt2_size: {error}", file=sys.stderr)
        return 2
    return 0


def _run(stages: list[str], device: torch.device, parsed: argparse.Namespace) -> None:
    results, scale = Results(parsed.out / "results.json"), TOY if parsed.toy else FULL
    if "text" in stages:
        text(parsed.out, results, scale, parsed)
    measuring = [stage for stage in stages if stage != "text"]
    if measuring:
        _same_place(parsed.out, results, device, parsed.toy)
    bench: Bench | None = None
    for stage in measuring:
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        if stage == "train":
            training(parsed.out, results, scale, device, parsed)
        else:
            bench = bench or _bench(parsed.out, results, scale, device)
            MEASURED[stage](bench)
        results.peak(stage, device)
        target = parsed.results or (None if parsed.toy else RESULTS)
        if target:
            write_json(target, results.found)


def text(out: Path, results: Results, scale: Scale, parsed: argparse.Namespace) -> None:
    """Puts the tokenizer and the tokens of every part in `out`; a stage that needs no GPU."""
    if results.has("text", "tokens"):
        return
    modules = stdlib_modules(parsed.root)
    parts = split(modules)
    texts = {
        "library": [modules[name] for name in parts.train if not is_test(name)],
        "tests": [modules[name] for name in parts.train if is_test(name)],
        "held_out": [modules[name] for name in parts.held_out],
    }
    tokenizer = kept_tokenizer(out / "model", lambda: _tokenizer(parsed.tokenizer, scale, texts), END_OF_TEXT)
    streams = {name: token_stream(tokenizer, part) for name, part in texts.items()}
    # Two bytes a token: what is made here can be carried to the machine with the GPU.
    write_tensors(out / STREAMS, {name: stream.to(torch.uint16) for name, stream in streams.items()})
    results.put("text", "python", platform.python_version())
    results.put("text", "vocabulary", len(tokenizer))
    results.put("text", "end_of_text", tokenizer.convert_tokens_to_ids(END_OF_TEXT))
    results.put("text", "characters", {name: sum(map(len, part)) for name, part in texts.items()})
    results.put("text", "tokens", {name: len(stream) for name, stream in streams.items()})
    print(f"      text  {results.found['text']['tokens']} tokens", flush=True)


def training(out: Path, results: Results, scale: Scale, device: torch.device, parsed: argparse.Namespace) -> None:
    """Trains the model, unless that is done. Raises ValueError before the stage `text`."""
    if results.has("train", "loss"):
        return
    if not results.has("text", "tokens"):
        raise ValueError(f"{out} holds no tokens to train on; run --stages text first, with the same --out.")
    own = results.found["text"]
    batch = parsed.batch or scale.recipe.batch
    recipe = replace(scale.recipe, vocabulary=own["vocabulary"], end_of_text=own["end_of_text"], batch=batch)
    plan = Plan(parsed.epochs, parsed.train_minutes, scale.save_every)
    found = trained(out, recipe, device, plan)
    results.put("seconds", "train", found["seconds"])
    for name, value in found.items():
        results.put("train", name, value)


def _tokenizer(given: Path | None, scale: Scale, texts: dict[str, list[str]]) -> PreTrainedTokenizerFast:
    """GPT-2's own tokenizer from its directory; for a toy without one, a small one trained on the text.

    Raises ValueError if the directory holds another one, or none.
    """
    if given is None and scale.vocabulary is not None:
        return train_tokenizer(iter(texts["library"]), scale.vocabulary)
    directory = given or TOKENIZER
    missing = [name for name in ("vocab.json", "merges.txt") if not (directory / name).is_file()]
    if missing:
        raise ValueError(f"{directory} holds no {' and no '.join(missing)}; give GPT-2's own files with --tokenizer.")
    tokenizer = GPT2TokenizerFast.from_pretrained(directory)
    if len(tokenizer) != SizeRecipe.vocabulary:
        raise ValueError(
            f"the tokenizer in {directory} has {len(tokenizer)} entries, and GPT-2's has {SizeRecipe.vocabulary}; "
            "give GPT-2's own files with --tokenizer."
        )
    return tokenizer  # pyright: ignore[reportReturnType]


def _bench(out: Path, results: Results, scale: Scale, device: torch.device) -> Bench:
    if not results.has("train", "loss"):
        raise ValueError(
            f"{out} holds no trained model to measure; run --stages text,train first, with the same --out."
        )
    return Bench(out / "model", load_streams(out), device, scale.sizes, results)


def _same_place(out: Path, results: Results, device: torch.device, toy: bool) -> None:
    """Notes what measures here. Raises ValueError if `out` holds what another machine or size has measured."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    versions = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }
    about = {"toy": toy, "device": name, "versions": versions | {"cuda": torch.version.cuda}}
    found = results.found.get("about", about)
    if found != about:
        raise ValueError(f"{out} was begun with {found}, and this is {about}; name another directory with --out.")
    for key, value in about.items():
        results.put("about", key, value)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--out", type=Path, default=REPOSITORY / "build" / "gpt2_size", help="where stages leave things"
    )
    parser.add_argument("--stages", default=",".join(STAGES), help=f"some of {','.join(STAGES)}; default: all")
    parser.add_argument("--tokenizer", type=Path, default=None, help="directory of GPT-2's vocab.json and merges.txt")
    parser.add_argument("--train-minutes", type=float, default=8.0, help="the longest that training may take")
    parser.add_argument("--epochs", type=float, default=5.0, help="how often the library's text is read, at most")
    parser.add_argument("--batch", type=int, default=None, help="windows of a training step; default: 32, toy 4")
    parser.add_argument("--results", type=Path, default=None, help="the results; default: data/results/gpt2_size.json")
    parser.add_argument("--root", type=Path, default=None, help="another library to read than the running Python's")
    parser.add_argument("--device", default="auto", help="auto, cuda, cuda:1, or cpu for a toy")
    parser.add_argument("--toy", action="store_true", help="two layers, in seconds; results stay in --out")
    return parser


if __name__ == "__main__":
    sys.exit(main())
