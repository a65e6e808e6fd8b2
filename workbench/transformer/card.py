"""What a trained model reached on text it never saw, and the model card that says so."""

import math
import platform
from pathlib import Path

import torch

from workbench.transformer.corpus import DUPLICATE_SHARE, is_test, split, stdlib_modules
from workbench.transformer.load import LanguageModel, load
from workbench.transformer.sampling import continuation
from workbench.transformer.text_recipe import token_stream
from workbench.whole_files import replaced_file, write_json

_PROMPT = 'def read_config(path):\n    """'


def write_card(out: Path, record: dict, device: str = "cpu", root: Path | None = None) -> dict:
    """Scores the checkpoint in `out` on its held-out modules, writes README.md and training.json there, and
    returns the figures."""
    modules = stdlib_modules(root)
    parts = split(modules)
    lm = load(out, device)
    figures = score(lm, [modules[name] for name in parts.held_out])
    figures |= {
        "n_params": sum(parameter.numel() for parameter in lm.model.parameters()),
        "modules": {"train": len(parts.train), "held_out": len(parts.held_out), "set_aside": len(parts.set_aside)},
        "bytes": {
            "train": sum(len(modules[name].encode()) for name in parts.train),
            "train_library": sum(len(modules[name].encode()) for name in parts.train if not is_test(name)),
            "held_out": sum(len(modules[name].encode()) for name in parts.held_out),
        },
    } | trained_with(device)
    write_json(out / "training.json", record | figures)
    with replaced_file(out / "README.md") as temporary:
        temporary.write_text(_card(lm, record, figures, parts.held_out, parts.set_aside), encoding="utf-8")
    return figures


def score(lm: LanguageModel, texts: list[str]) -> dict:
    """Bits per byte and next-token accuracy over consecutive windows of the context, none overlapping.

    The first token of a window has nothing before it and is not scored; its bytes are not counted either.
    """
    stream = token_stream(lm.tokenizer, texts)  # pyright: ignore[reportArgumentType]
    windows = stream[: len(stream) // lm.context * lm.context].view(-1, lm.context).long()
    nats, hits, n_bytes = 0.0, 0, 0
    with torch.inference_mode():
        for start in range(0, len(windows), 16):
            tokens = windows[start : start + 16].to(lm.device)
            logits = lm.model(tokens[:, :-1], use_cache=False).logits.float()
            targets = tokens[:, 1:]
            nats += float(torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="sum"))
            hits += int((logits.argmax(-1) == targets).sum())
            n_bytes += sum(len(str(lm.tokenizer.decode(row)).encode()) for row in targets.tolist())
    n_tokens = windows.shape[0] * (lm.context - 1)
    return {
        "bits_per_byte": nats / math.log(2) / n_bytes,
        "perplexity": math.exp(nats / n_tokens),
        "accuracy": hits / n_tokens,
        "held_out_tokens": n_tokens,
    }


def trained_with(device: str) -> dict:
    """The versions and the machine that training on `device` uses."""
    return {"python": platform.python_version(), "torch": torch.__version__, "trained_on": _machine(device)}


def _machine(device: str) -> str:
    if torch.device(device).type == "cuda":
        return torch.cuda.get_device_name(device)
    n = torch.get_num_threads()
    return f"{n} CPU thread{'s' if n > 1 else ''} ({torch.backends.cpu.get_cpu_capability()})"


def _card(lm: LanguageModel, record: dict, figures: dict, held_out: tuple[str, ...], set_aside: tuple[str, ...]) -> str:
    recipe, sizes, modules = record["recipe"], figures["bytes"], figures["modules"]
    tokens = record["step"] * recipe["batch"] * recipe["context"]
    sample = continuation(lm, lm.model, _PROMPT, 80)
    return f"""# pygpt

A GPT-2 of {figures["n_params"]:,} parameters ({recipe["n_layers"]} layers, d_model {recipe["d_model"]},
{recipe["n_heads"]} heads, context {recipe["context"]}), float16 in safetensors, with its own byte-level BPE of
{recipe["vocabulary"]:,} entries. It is trained from nothing by `workbench train`, and is here so that a newcomer
has a real, trained model at hand without a download.

| | |
|---|---|
| held-out bits per byte | {figures["bits_per_byte"]:.3f} |
| held-out perplexity a token | {figures["perplexity"]:.2f} |
| held-out next-token accuracy | {figures["accuracy"]:.1%} |
| scored tokens | {figures["held_out_tokens"]:,} |
| steps, tokens seen | {record["step"]:,} of {recipe["batch"]} windows, {tokens / 1e6:.1f}M tokens |
| seconds | {record["seconds"]:.0f} |
| trained with | Python {figures["python"]}, torch {figures["torch"]}, {figures["trained_on"]} |

## Text
The source and docstrings of Python {figures["python"]}'s own standard library. Training: {modules["train"]:,} modules,
{sizes["train"] / 1e6:.1f} MB, of which {sizes["train_library"] / 1e6:.1f} MB library and the rest its test-suite;
{recipe["library_share"]:.0%} of the windows were drawn from the library. Held out: {modules["held_out"]} modules
({sizes["held_out"] / 1e3:.0f} kB), one in sixteen of the library by a hash of the module's path.

Near-duplicates of the held-out modules were looked for: a held-out module is set aside, and used in neither part,
if over {DUPLICATE_SHARE:.0%} of its lines of 24 characters or more also stand in a training module. The test-suite,
which is in the training part, exercises the held-out modules: their names and interfaces are not new to the model.

{len(held_out)} held out: {", ".join(held_out)}.

{len(set_aside)} set aside: {", ".join(set_aside)}.

## A sample
Temperature 0.7, seed 0:

```text
{_PROMPT}{sample}
```

## Reproduce
```sh
workbench train --out pygpt-again --steps {recipe["steps"]}
```
The run is repeatable: the windows of each step depend on the seed and the step alone, and an interrupted run resumes
to the same numbers on the same machine. Another processor or thread count rounds differently, and another Python has
other text. training.json holds the whole recipe and the loss along the way.
"""
