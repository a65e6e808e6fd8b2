"""GPT-2 small trained on tokens that lie beside it, by the one training loop, for as long as there is time."""

import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from safetensors.torch import load_file
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from workbench.transformer.text_recipe import TextRecipe, windows
from workbench.transformer.training import Material, saved_run, train

STREAMS = "tokens.safetensors"


@dataclass(frozen=True)
class SizeRecipe(TextRecipe):
    """GPT-2 small on text that is already tokens; its own dropout, since the text is read several times."""

    d_model: int = 768
    n_layers: int = 12
    n_heads: int = 12
    context: int = 1024
    vocabulary: int = 50_257
    batch: int = 32
    learning_rate: float = 6e-4
    end_of_text: int = 50_256
    dropout: float = 0.1

    def model(self) -> GPT2LMHeadModel:
        """The untrained model, its random weights from torch's global generator."""
        config = GPT2Config(
            vocab_size=self.vocabulary, n_positions=self.context, n_embd=self.d_model, n_layer=self.n_layers,
            n_head=self.n_heads, bos_token_id=self.end_of_text, eos_token_id=self.end_of_text,
            activation_function="gelu_pytorch_tanh",  # GPT-2's own GELU in one kernel
            resid_pdrop=self.dropout, embd_pdrop=self.dropout, attn_pdrop=self.dropout,
        )  # fmt: skip
        return GPT2LMHeadModel(config)

    def material(self, out: Path, root: Path | None = None) -> Material:
        """The tokenizer in `out`, and windows of the streams beside it; both were put there by the stage `text`."""
        streams = load_streams(out.parent)
        tokenizer = PreTrainedTokenizerFast.from_pretrained(out)
        return Material(tokenizer, lambda step: windows([streams["library"], streams["tests"]], self, step))


@dataclass(frozen=True)
class Plan:
    """How long a training run is: as often as the library's text is read, or as long as there is time."""

    epochs: float
    minutes: float
    save_every: int  # steps


class TooSlowError(Exception):
    """Ends a training run that would outlast its time; `steps` is what there is time for."""

    def __init__(self, steps: int) -> None:
        super().__init__(f"too slow for its time, which has room for {steps} steps")
        self.steps = steps


def trained(out: Path, recipe: SizeRecipe, device: torch.device, plan: Plan) -> dict:
    """The record of the run that leaves its checkpoint in `out / "model"`, begun there or taken up again.

    The loop is that of the shipped models, in bfloat16 autocast on a GPU. An interrupted run goes on from its last
    saved state, though not to the same bits: dropout draws anew.
    """
    tokens = {name: len(stream) for name, stream in load_streams(out).items()}
    share = recipe.library_share if tokens["tests"] > recipe.context else 1.0
    a_step = recipe.batch * recipe.context
    planned = math.ceil(plan.epochs * tokens["library"] / (share * a_step))
    state = saved_run(out / "model").record
    steps = json.loads(state.read_text(encoding="utf-8"))["steps"] if state.exists() else planned
    print(f"     train  {steps} steps of {a_step} tokens, at most {plan.minutes} minutes", flush=True)
    record = None
    while record is None:
        recipe = replace(recipe, steps=steps)
        try:
            watch = _watch(state, recipe, 60 * plan.minutes)
            record = train(out / "model", recipe, str(device), report=watch, save_every=plan.save_every)
        except TooSlowError as slow:
            steps = slow.steps
            print(f"     train  {slow}", flush=True)
    seen = recipe.steps * a_step
    return {
        "recipe": asdict(recipe),
        "steps": recipe.steps,
        "tokens": seen,
        "library_epochs": seen * share / tokens["library"],
        "ended_by": "minutes" if recipe.steps < planned else "epochs",
        "seconds": record["seconds"],
        "tokens_per_second": seen / record["seconds"],
        "log": record["log"],
        "loss": record["log"][-1]["loss"],
    }


def _watch(record: Path, recipe: SizeRecipe, seconds: float) -> Callable[[dict], None]:
    """What is told of each saved state: prints it, and stops a run that will be too slow while it can still be cut."""
    told = 0

    def watch(entry: dict) -> None:
        nonlocal told
        told += 1
        step, taken = entry["step"], json.loads(record.read_text(encoding="utf-8"))["seconds"]
        print(f"     train  step {step:>6}  loss {entry['loss']:.4f}  {taken:>6.0f} s", flush=True)
        room = step + max(0, int((seconds - taken) * step / taken))
        if told < 2 or room >= 0.98 * recipe.steps or step > recipe.fall_begins:  # the first pace is a cold GPU's
            return
        shorter = max(room, math.ceil(step / (1 - recipe.decay)) + 1)  # the rate may not have begun to fall
        if shorter < recipe.steps:
            raise TooSlowError(shorter)

    return watch


def load_streams(out: Path) -> dict[str, torch.Tensor]:
    """The tokens of each part, as the stage `text` left them."""
    return {name: stream.to(torch.int32) for name, stream in load_file(out / STREAMS).items()}
