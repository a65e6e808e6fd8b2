"""A small GPT-2 trained from nothing on the standard library's own text, repeatably and resumably."""

import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Int
from safetensors.torch import load_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from workbench.transformer.corpus import Split, is_test, split, stdlib_modules
from workbench.whole_files import write_json, write_tensors

END_OF_TEXT = "<|endoftext|>"


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the trained weights, apart from the text and the machine's floating point.

    The learning rate warms up, stays, and falls linearly to zero over the last `decay` share of the
    steps, so a run may be resumed with other `steps` before the fall begins and be the same run.
    """

    d_model: int = 256
    n_layers: int = 6
    n_heads: int = 4
    context: int = 256
    vocabulary: int = 4096
    batch: int = 8
    steps: int = 4500
    learning_rate: float = 2e-3
    warmup: int = 150
    decay: float = 0.3
    weight_decay: float = 0.1
    library_share: float = 0.7  # of the windows; the rest come from the library's own test-suite
    seed: int = 0

    @property
    def fall_begins(self) -> int:
        """The step at which the learning rate begins to fall."""
        return math.floor(self.steps * (1 - self.decay))

    def rate(self, step: int) -> float:
        """The learning rate of `step`, counted from 0."""
        fall = (self.steps - step) / (self.steps - self.fall_begins)
        return self.learning_rate * min(1.0, (step + 1) / self.warmup, fall)

    def config(self) -> GPT2Config:
        """The untrained model's transformers configuration."""
        return GPT2Config(
            vocab_size=self.vocabulary,
            n_positions=self.context,
            n_embd=self.d_model,
            n_layer=self.n_layers,
            n_head=self.n_heads,
            activation_function="gelu_pytorch_tanh",  # GPT-2's own GELU in one kernel: 1.2 to 1.5x faster here
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            bos_token_id=0,
            eos_token_id=0,
        )


def train_tokenizer(texts: Iterator[str], vocabulary: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer of `vocabulary` entries; entry 0 is the end-of-text mark."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=END_OF_TEXT, eos_token=END_OF_TEXT, clean_up_tokenization_spaces=False
    )


def token_stream(tokenizer: PreTrainedTokenizerFast, texts: Sequence[str]) -> Int[Tensor, " n"]:
    """All texts as one stream, each begun by the end-of-text mark."""
    mark = tokenizer.convert_tokens_to_ids(END_OF_TEXT)
    encoded = tokenizer.backend_tokenizer.encode_batch(list(texts))
    return torch.tensor([token for text in encoded for token in (mark, *text.ids)], dtype=torch.int32)


def windows(streams: Sequence[Int[Tensor, " _"]], recipe: Recipe, step: int) -> Int[Tensor, "b t"]:
    """The windows of one step: a function of the seed and the step alone, so that resuming changes nothing."""
    generator = torch.Generator().manual_seed(recipe.seed * 1_000_003 + step)
    library, tests = streams
    rows = []
    for draw in torch.rand(recipe.batch, generator=generator).tolist():
        stream = library if draw < recipe.library_share or len(tests) <= recipe.context else tests
        start = int(torch.randint(len(stream) - recipe.context, (1,), generator=generator))
        rows.append(stream[start : start + recipe.context + 1])
    return torch.stack(rows).long()


def train(
    out: Path,
    recipe: Recipe,
    device: str = "cpu",
    root: Path | None = None,
    report: Callable[[dict], None] | None = None,
    save_every: int = 250,
) -> dict:
    """Trains into `out` (a transformers directory, float16) and returns the record of the run.

    Interrupted, it resumes from `out/.training` at the last multiple of `save_every` steps and gives the
    numbers of an undisturbed run. `report` receives one dict of step, loss and seconds now and then.
    """
    modules = stdlib_modules(root)
    parts = split(modules)
    state_path = out / ".training"
    tokenizer = _tokenizer(out, [modules[name] for name in parts.train], recipe)
    streams = [
        token_stream(tokenizer, [modules[name] for name in parts.train if is_test(name) == tests])
        for tests in (False, True)
    ]
    if len(streams[0]) <= recipe.context:
        raise ValueError(f"the training text has {len(streams[0])} tokens; one window needs {recipe.context + 1}.")
    torch.manual_seed(recipe.seed)
    model = GPT2LMHeadModel(recipe.config()).train()
    model.to(torch.device(device))  # pyright: ignore[reportArgumentType]
    optimizer = _optimizer(model, recipe)
    record = _restore(state_path, model, optimizer, recipe)
    precision = fast_dtype(device)
    clock = time.perf_counter()
    while record["step"] < recipe.steps:
        step = record["step"]
        for group in optimizer.param_groups:
            group["lr"] = recipe.rate(step)
        tokens = windows(streams, recipe, step).to(device)
        with torch.autocast(torch.device(device).type, precision, enabled=precision != torch.float32):
            logits = model(tokens[:, :-1], use_cache=False).logits
            loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1).float(), tokens[:, 1:].flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        record["step"] = step + 1
        if record["step"] % save_every == 0 or record["step"] == recipe.steps:
            now = time.perf_counter()
            record["seconds"] += now - clock
            clock = now
            record["log"].append({"step": step + 1, "loss": round(loss.item(), 4), "seconds": round(record["seconds"])})
            _save(state_path, model, optimizer, record)
            if report:
                report(record["log"][-1])
    _publish(out, model, tokenizer, parts)
    return record | {"recipe": asdict(recipe)}


def fast_dtype(device: str) -> torch.dtype:
    """The dtype for autocast: bfloat16 where the hardware multiplies it, float32 elsewhere.

    On a CPU without bfloat16 instructions autocast was measured 20 times slower than float32.
    """
    if torch.device(device).type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    capability = torch.backends.cpu.get_cpu_capability()
    native = capability.startswith("AVX512") and torch.ops.mkldnn._is_mkldnn_bf16_device_supported()
    return torch.bfloat16 if native else torch.float32


def _optimizer(model: GPT2LMHeadModel, recipe: Recipe) -> torch.optim.AdamW:
    matrices = [p for p in model.parameters() if p.ndim >= 2]
    vectors = [p for p in model.parameters() if p.ndim < 2]
    groups = [{"params": matrices, "weight_decay": recipe.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=(0.9, 0.95), fused=True)


def _tokenizer(out: Path, texts: list[str], recipe: Recipe) -> PreTrainedTokenizerFast:
    if (out / "tokenizer.json").exists():
        return PreTrainedTokenizerFast.from_pretrained(out)
    tokenizer = train_tokenizer(iter(texts), recipe.vocabulary)
    out.mkdir(parents=True, exist_ok=True)
    tokenizer.save_pretrained(out)
    return tokenizer


def _save(path: Path, model: GPT2LMHeadModel, optimizer: torch.optim.AdamW, record: dict) -> None:
    """The state, in a file named by its step; `record.json` names it last, so that the two always agree."""
    tensors = {}
    for name, parameter in model.named_parameters():
        tensors[name] = parameter
        for moment in ("exp_avg", "exp_avg_sq"):
            tensors[f"{moment}/{name}"] = optimizer.state[parameter][moment]
    write_tensors(path / f"step{record['step']}.safetensors", tensors)
    write_json(path / "record.json", record)
    for old in path.glob("step*.safetensors"):
        if old.name != f"step{record['step']}.safetensors":
            old.unlink()


def _restore(path: Path, model: GPT2LMHeadModel, optimizer: torch.optim.AdamW, recipe: Recipe) -> dict:
    fixed = asdict(replace(recipe, steps=0))
    if not (path / "record.json").exists():
        return {"step": 0, "steps": recipe.steps, "seconds": 0.0, "log": [], "fixed": fixed}
    record = json.loads((path / "record.json").read_text(encoding="utf-8"))
    if record["fixed"] != fixed:
        changed = [name for name in fixed if record["fixed"].get(name) != fixed[name]]
        raise ValueError(
            f"{path} holds a run with other {', '.join(changed)}; give those values, or another directory."
        )
    begun = Recipe(**fixed | {"steps": record["steps"]})
    if recipe.steps != begun.steps and record["step"] > min(begun.fall_begins, recipe.fall_begins):
        raise ValueError(
            f"{path} is at step {record['step']}, where the learning rate already falls; "
            f"resume with steps={begun.steps}."
        )
    record["steps"] = recipe.steps
    tensors = load_file(path / f"step{record['step']}.safetensors")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(tensors[name])
            optimizer.state[parameter] = {
                "step": torch.tensor(float(record["step"]), device=parameter.device),
                "exp_avg": tensors[f"exp_avg/{name}"].to(parameter),
                "exp_avg_sq": tensors[f"exp_avg_sq/{name}"].to(parameter),
            }
    return record


def _publish(out: Path, model: GPT2LMHeadModel, tokenizer: PreTrainedTokenizerFast, parts: Split) -> None:
    """The float16 checkpoint, and which modules were in which part."""
    half = GPT2LMHeadModel(model.config)
    half.load_state_dict(model.state_dict())
    half.half().save_pretrained(out)
    write_json(out / "split.json", {"held_out": parts.held_out, "set_aside": parts.set_aside})
