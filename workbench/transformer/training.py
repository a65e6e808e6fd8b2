"""A small transformer trained from nothing by a recipe, repeatably and resumably: one loop for every recipe."""

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import GPT2LMHeadModel, PreTrainedTokenizerFast

from workbench.run_files import RunFiles
from workbench.transformer.load import no_progress_bar
from workbench.whole_files import replaced_files, write_json

_MOMENTS = ("exp_avg", "exp_avg_sq")


@dataclass(frozen=True, eq=False)
class Material:
    """What a recipe trains on: the tokenizer, the rows of tokens (b, t + 1) of a step, and files to write beside."""

    tokenizer: PreTrainedTokenizerFast
    rows: Callable[[int], Tensor]
    files: Mapping[str, Mapping] = field(default_factory=dict)  # JSON, by file name


@dataclass(frozen=True)
class TrainingRecipe(ABC):
    """Everything that decides the trained weights, apart from the text and the machine's floating point.

    The learning rate warms up, stays, and falls linearly to zero over the last `decay` share of the
    steps, so a run may be resumed with other `steps` before the fall begins and be the same run.
    """

    d_model: int = 256
    n_layers: int = 6
    n_heads: int = 4
    context: int = 256
    batch: int = 8
    steps: int = 4500
    learning_rate: float = 2e-3
    warmup: int = 150
    decay: float = 0.3
    weight_decay: float = 0.1
    seed: int = 0

    @property
    def fall_begins(self) -> int:
        """The step at which the learning rate begins to fall."""
        return math.floor(self.steps * (1 - self.decay))

    def rate(self, step: int) -> float:
        """The learning rate of `step`, counted from 0."""
        fall = (self.steps - step) / (self.steps - self.fall_begins)
        return self.learning_rate * min(1.0, (step + 1) / self.warmup, fall)

    @abstractmethod
    def model(self) -> GPT2LMHeadModel:
        """The untrained model, its random weights from torch's global generator."""

    @abstractmethod
    def material(self, out: Path, root: Path | None = None) -> Material:
        """What is trained on; a tokenizer that is already in `out` is kept. `root` is the library to read, if any."""


def train(
    out: Path,
    recipe: TrainingRecipe,
    device: str = "cpu",
    root: Path | None = None,
    report: Callable[[dict], None] | None = None,
    save_every: int = 250,
) -> dict:
    """Trains into `out` (a transformers directory, float16) and returns the record of the run.

    Interrupted, or killed at any moment, it resumes from `out/.training` at the last multiple of `save_every` steps and
    gives the numbers of an undisturbed run. `report` receives one dict of step, loss and seconds now and then.
    Raises BlockingIOError if another process trains into `out`, ValueError for a run of another recipe there.
    """
    files = saved_run(out)
    with files.alone():
        material = recipe.material(out, root)
        torch.manual_seed(recipe.seed)
        model = recipe.model().train()
        model.to(torch.device(device))  # pyright: ignore[reportArgumentType]
        optimizer = _optimizer(model, recipe)
        record = _restore(files, model, optimizer, recipe)
        clock = time.perf_counter()
        while record["step"] < recipe.steps:
            loss = _step(model, optimizer, recipe, record["step"], material)
            record["step"] += 1
            if record["step"] % save_every == 0 or record["step"] == recipe.steps:
                now = time.perf_counter()
                record["seconds"] += now - clock
                clock = now
                entry = {"step": record["step"], "loss": round(loss.item(), 4), "seconds": round(record["seconds"])}
                record["log"].append(entry)
                _save(files, model, optimizer, record)
                if report:
                    report(entry)
        _publish(out, model, material)
    return record | {"recipe": asdict(recipe)}


def saved_run(out: Path) -> RunFiles:
    """Where a run whose checkpoint will be in `out` keeps its state: its `record` has `steps`, `step` and `seconds`."""
    return RunFiles(out / ".training", "training")


def fast_dtype(device: str) -> torch.dtype:
    """The dtype for autocast: bfloat16 on a GPU that multiplies it, float32 elsewhere.

    A CPU computes in float32 whatever it could do: without bfloat16 instructions autocast was measured 20 times
    slower, and torch has no public way to ask for them.
    """
    cuda = torch.device(device).type == "cuda"
    return torch.bfloat16 if cuda and torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32


def _optimizer(model: GPT2LMHeadModel, recipe: TrainingRecipe) -> torch.optim.AdamW:
    matrices = [p for p in model.parameters() if p.ndim >= 2]
    vectors = [p for p in model.parameters() if p.ndim < 2]
    groups = [{"params": matrices, "weight_decay": recipe.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=(0.9, 0.95), fused=True)


def _step(
    model: GPT2LMHeadModel, optimizer: torch.optim.AdamW, recipe: TrainingRecipe, step: int, material: Material
) -> Float[Tensor, ""]:
    """One step of the optimizer; the loss before it, in nats a token."""
    for group in optimizer.param_groups:
        group["lr"] = recipe.rate(step)
    tokens, precision = material.rows(step).to(model.device), fast_dtype(str(model.device))
    with torch.autocast(model.device.type, precision, enabled=precision != torch.float32):
        logits = model(tokens[:, :-1], use_cache=False).logits
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1).float(), tokens[:, 1:].flatten())
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()
    return loss.detach()


def kept_tokenizer(out: Path, make: Callable[[], PreTrainedTokenizerFast], first: str) -> PreTrainedTokenizerFast:
    """The tokenizer in `out`, or a new one that is saved there; a text begins with the token `first`.

    Raises ValueError if the one in `out` begins a text otherwise, for it belongs to another model.
    """
    if (out / "tokenizer.json").exists():
        tokenizer = PreTrainedTokenizerFast.from_pretrained(out)
        if tokenizer.bos_token != first:
            raise ValueError(
                f"the tokenizer in {out} begins a text with {tokenizer.bos_token!r}, and this recipe with {first!r}; "
                "give another directory."
            )
        return tokenizer
    tokenizer = make()
    with replaced_files(out, last="tokenizer.json") as temporary:
        tokenizer.save_pretrained(temporary)
    return tokenizer


def _save(files: RunFiles, model: GPT2LMHeadModel, optimizer: torch.optim.AdamW, record: dict) -> None:
    """The state: parameters, and the optimizer's two moments of each."""
    named = dict(model.named_parameters())
    moments = {
        moment: {name: optimizer.state[parameter][moment] for name, parameter in named.items()} for moment in _MOMENTS
    }
    files.save(record, {"parameters": named} | moments)


def _restore(files: RunFiles, model: GPT2LMHeadModel, optimizer: torch.optim.AdamW, recipe: TrainingRecipe) -> dict:
    fixed = asdict(replace(recipe, steps=0))
    record = {"step": 0, "steps": recipe.steps, "seconds": 0.0, "log": [], "fixed": fixed}
    if not files.are_saved():
        return record
    saved, groups = files.load()
    record = {name: saved[name] for name in record}
    files.check_same(record["fixed"], fixed)
    begun = replace(recipe, steps=record["steps"])
    if recipe.steps != begun.steps and record["step"] > min(begun.fall_begins, recipe.fall_begins):
        raise ValueError(
            f"{files.directory} is at step {record['step']}, where the learning rate already falls; "
            f"resume with steps={begun.steps}."
        )
    record["steps"] = recipe.steps
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(groups["parameters"][name])
            moments = {moment: groups[moment][name].to(parameter) for moment in _MOMENTS}
            step = torch.tensor(float(record["step"]), device=parameter.device)
            optimizer.state[parameter] = {"step": step} | moments
    return record


def _publish(out: Path, model: GPT2LMHeadModel, material: Material) -> None:
    """The float16 checkpoint, and the files that go with it."""
    half = type(model)(model.config)
    half.load_state_dict(model.state_dict())
    with no_progress_bar(), replaced_files(out, last="model.safetensors") as temporary:
        half.half().save_pretrained(temporary)
    for name, content in material.files.items():
        write_json(out / name, content)
