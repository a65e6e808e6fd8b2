"""Checkpoints larger than memory: blocks of LLaMA-7B's shapes streamed, their seconds, and the memory they took.

`python benchmarks/scale_stream.py [--blocks N]` prints the rows; `rows()` is part of `scale.py`. The weights are random
float16 numbers, made on the spot in a temporary folder and removed after, and so are the tokens: neither speed nor
memory asks what they say.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from transformers import LlamaConfig

from workbench import load
from workbench.compress.recipe import Recipe
from workbench.compress.stream import Stream
from workbench.compress.windows import Windows
from workbench.memory import peak_bytes
from workbench.transformer.skeleton import empty_model, skeleton
from workbench.whole_files import write_json, write_tensors

BLOCKS, WHOLE = 4, 32
KEPT, TOKENS, CONTEXT, VOCABULARY = 0.4, 4_096, 512, 32_000
_SLACK = 600e6  # bytes besides three times the largest matrix


def checkpoint(folder: Path, n_blocks: int) -> None:
    """A LLaMA-7B of a few blocks in `folder`, a shard a tensor, with any tokenizer."""
    config = LlamaConfig(num_hidden_layers=n_blocks, dtype="float16")  # the defaults are those of LLaMA-7B
    config.save_pretrained(folder)
    load("pygpt").tokenizer.save_pretrained(folder)
    generator, listed = torch.Generator().manual_seed(0), {}
    for index, (name, parameter) in enumerate(empty_model(folder).named_parameters()):
        made = torch.empty(parameter.shape, dtype=torch.float16)
        for part in made.split(1024):
            part.copy_(
                torch.randn(part.shape, generator=generator) * 0.02 if made.ndim == 2 else torch.ones(part.shape)
            )
        listed[name] = f"shard-{index}.safetensors"
        write_tensors(folder / listed[name], {name: made}, {"format": "pt"})
    write_json(folder / "model.safetensors.index.json", {"metadata": {}, "weight_map": listed})


def streamed(folder: Path, metric: str) -> dict:
    """What one run took, in this process: seconds by matrix and block, and its peak of memory."""
    windows = None
    if metric == "input":
        tokens = torch.randint(VOCABULARY, (TOKENS // CONTEXT, CONTEXT + 1), generator=torch.Generator().manual_seed(1))
        windows = Windows(tokens, torch.ones(len(tokens), CONTEXT, dtype=torch.bool))
    made = Stream(skeleton(folder), Recipe("svd", metric), KEPT, windows).write(folder.parent / f"out-{metric}")
    return {"seconds": dict(made.seconds), "error": made.mean_relative_error, "peak": peak_bytes()}


def rows(n_blocks: int = BLOCKS) -> list[dict[str, object]]:
    """Seconds a block and for all 32, and the peak of memory against its bound, in both metrics."""
    from speed import row  # not at the top: a run is measured with what it imports

    found = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "checkpoint"
        folder.mkdir()
        checkpoint(folder, n_blocks)
        largest = 4 * skeleton(folder).largest
        for metric in ("plain", "input"):
            command = [sys.executable, __file__, "--run", str(folder), metric]
            took = json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)
            seconds = sum(took["seconds"].values()) / n_blocks
            what = f"LLaMA-7B's shapes streamed, {n_blocks} blocks, {metric} metric"
            told = {"relative_error": took["error"], "threads": torch.get_num_threads(), "by_part": took["seconds"]}
            told |= {} if metric == "plain" else {"calibration_tokens": TOKENS}
            found += [
                row(f"{what}, a block", seconds, 600.0, "s", **told),
                row(f"{what}, projected to {WHOLE}", seconds * WHOLE / 3600, 5.0, "h"),
                row(f"{what}, peak of memory", took["peak"] / 1e9, (3 * largest + _SLACK) / 1e9, "GB"),
            ]
    return found


def main() -> None:
    """Prints the rows, or makes one run for them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--blocks", type=int, default=BLOCKS)
    parser.add_argument("--run", nargs=2, metavar=("CHECKPOINT", "METRIC"), help="one run, its numbers as JSON")
    parsed = parser.parse_args()
    if parsed.run:
        print(json.dumps(streamed(Path(parsed.run[0]), parsed.run[1])))
        return
    for entry in rows(parsed.blocks):
        print(f"{' ' if entry['reached'] else '!'} {entry['what']}: {entry['measured']:.4g} {entry['unit']}, "
              f"wanted {entry['target']:.4g}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
