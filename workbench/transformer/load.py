"""A language model and its tokenizer, from those shipped here, a directory, or the hub: safetensors only."""

import json
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import nn
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils.logging import disable_progress_bar, enable_progress_bar, is_progress_bar_enabled

from workbench.transformer.attention_only import AttentionOnlyLM, is_attention_only
from workbench.transformer.corpus import SHIPPED, bundled_path
from workbench.transformer.damage import check_kinds, check_sizes, check_tokenizer, damage_named
from workbench.transformer.matrices import resolve_device

COMPRESSED = "compressed.json"  # its presence marks a directory written by `CompressionLab.export`
_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json")
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.pkl", "*.ckpt")
_BLOCK_WEIGHT = re.compile(r"(^|\.)(h|layers)\.\d+\..*weight$")


@dataclass(frozen=True, eq=False)
class LanguageModel:
    """A causal language model ready to run: float32, evaluation mode, no gradients.

    `source` is what `load` was given: loading it again gives the same model.
    """

    name: str
    source: str
    model: PreTrainedModel | nn.Module
    tokenizer: PreTrainedTokenizerBase

    @property
    def context(self) -> int:
        """The longest input in tokens."""
        return int(self.model.config.max_position_embeddings)  # pyright: ignore

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.model.parameters()).device


def load(name: str | Path, device: str = "auto") -> LanguageModel:
    """The model called `name`: "pygpt", "attn2" or "truth-gpt" (shipped here), a directory, or a hub id such as "gpt2".

    A directory is a transformers checkpoint (config.json, *.safetensors, tokenizer files) or an export of
    `CompressionLab`. Weights become float32. GPT-2 and LLaMA families, and attention-only models.
    Raises FileNotFoundError for a name that is nothing of these, ValueError for a checkpoint that is
    pickled, damaged, incomplete or not finite, or whose tokenizer has more tokens than the model knows. That
    finite numbers were altered, or that a smaller tokenizer is another model's, cannot be known.
    """
    target = resolve_device(device)
    path = bundled_path(str(name)) if str(name) in SHIPPED else Path(name)
    if (path / COMPRESSED).exists():
        from workbench.compress.store import load_compressed

        try:
            return load_compressed(path, target)
        except torch.OutOfMemoryError as error:
            n_bytes = sum(file.stat().st_size for file in path.glob("*.safetensors"))
            return load_compressed(path, _fallback(str(path), n_bytes, target, device == "auto", error))
    if path.is_dir():
        check_checkpoint(path)
        check_sizes(path, sorted(path.glob("*.safetensors")))
    elif path.exists() or str(name).startswith((".", "/", "~")) or str(name).count("/") > 1:
        raise FileNotFoundError(
            f"{name} is no directory with a checkpoint; give one that holds config.json and *.safetensors."
        )
    source = str(path) if path.is_dir() else str(name)
    try:
        with damage_named(source, path.is_dir()), no_progress_bar():
            architecture = AttentionOnlyLM if path.is_dir() and is_attention_only(path) else AutoModelForCausalLM
            model, loading = architecture.from_pretrained(
                source,
                dtype=torch.float32,
                use_safetensors=True,
                trust_remote_code=False,  # or transformers would ask whether to run what the checkpoint brings
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # they are refused below, with the model and the tensors named
            )  # pyright: ignore[reportGeneralTypeIssues]
            tokenizer = AutoTokenizer.from_pretrained(source, config=model.config, trust_remote_code=False)
    except OSError as error:
        raise FileNotFoundError(
            f"{name!r} is not the shipped {' or '.join(map(repr, SHIPPED))}, not a directory here, and could not be "
            "had from the hub (no such id, or no network). Give a path, or download it once with a network."
        ) from error
    _check_complete(source, loading)
    if path.is_dir():
        own, inner = set(model.state_dict()), f"{model.base_model_prefix}."
        check_kinds(sorted(path.glob("*.safetensors")), own | {name.removeprefix(inner) for name in own})
    check_tokenizer(source, tokenizer.vocab_size, int(model.config.vocab_size))
    check_weights(source, dict(model.named_parameters()))
    model = _placed(source, model, target, device == "auto")
    label = str(name) if str(name) in SHIPPED or not path.is_dir() else path.name
    return LanguageModel(label, str(name), model.eval().requires_grad_(False), tokenizer)


def check_checkpoint(path: Path) -> None:
    """Raises ValueError, naming the file, unless `path` holds a config, a tokenizer and whole safetensors files."""
    if not (path / "config.json").exists():
        raise ValueError(f"{path} holds no config.json; give a transformers checkpoint directory.")
    try:
        json.loads((path / "config.json").read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path / 'config.json'} is not JSON ({error}); copy the checkpoint again.") from error
    files = sorted(path.glob("*.safetensors"))
    if not files:
        pickles = sorted(file.name for pattern in _PICKLES for file in path.glob(pattern))
        if pickles:
            raise ValueError(
                f"{path} holds {', '.join(pickles)}, a pickle, which can run code when it is read and is refused. "
                'If you trust it, convert it once: python -c "from transformers import AutoModelForCausalLM as M; '
                f"M.from_pretrained({str(path)!r}).save_pretrained('converted')\""
            )
        raise ValueError(f"{path} holds no *.safetensors file; give a checkpoint saved with save_pretrained.")
    for file in files:
        check_safetensors(file)
    if not any((path / name).exists() for name in _TOKENIZERS):
        raise ValueError(
            f"{path} holds no tokenizer ({', '.join(_TOKENIZERS)}); save the model's own there with save_pretrained."
        )


def check_safetensors(file: Path) -> None:
    """Raises ValueError if a safetensors file is truncated or its header does not fit its bytes."""
    try:
        with safe_open(file, framework="pt") as handle:
            handle.keys()
    except SafetensorError as error:
        raise ValueError(
            f"{file} is not a whole safetensors file ({error}); it has {file.stat().st_size} bytes: copy it again."
        ) from error


def check_weights(source: str | Path, tensors: Mapping[str, torch.Tensor]) -> None:
    """Raises ValueError, naming the tensors, if any weight is nan or inf."""
    # nan and inf survive a sum, which takes no memory; only then is each number looked at, twice the tensor's bytes.
    odd = {name: tensor for name, tensor in tensors.items() if not bool(torch.isfinite(tensor.sum()))}
    bad = [name for name, tensor in odd.items() if not bool(torch.isfinite(tensor).all())]
    if bad:
        more = f" and {len(bad) - 3} more" if len(bad) > 3 else ""
        raise ValueError(
            f"{source} holds non-finite values (nan or inf) in {', '.join(bad[:3])}{more}; use another checkpoint."
        )


@contextmanager
def no_progress_bar() -> Iterator[None]:
    """Loading a small model is no wait worth a bar in every notebook; the user's own setting comes back."""
    shown = is_progress_bar_enabled()
    disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            enable_progress_bar()


def _placed(source: str, model: nn.Module, target: torch.device, may_choose: bool) -> nn.Module:
    """The model on `target`; where a GPU has no room for it, on the CPU, if the device was left to us."""
    try:
        return model.to(target)
    except torch.OutOfMemoryError as error:
        n_bytes = sum(parameter.nbytes for parameter in model.parameters())
        return model.to(_fallback(source, n_bytes, target, may_choose, error))


def _fallback(source: str, n_bytes: int, full: torch.device, may_choose: bool, error: Exception) -> torch.device:
    """The CPU, with a warning, if the device was left to us; else raises ValueError."""
    told = f"{source} needs {n_bytes / 2**30:.2f} GiB on {full}, which has less than that free"
    if not may_choose:
        raise ValueError(f"{told}; give device='cpu', or free the GPU's memory.") from error
    warnings.warn(f"{told}; it runs on the CPU.", RuntimeWarning, stacklevel=4)
    return torch.device("cpu")


def _check_complete(source: str, loading: dict) -> None:
    missing = sorted(loading["missing_keys"])
    mismatched = sorted(str(entry[0]) for entry in loading["mismatched_keys"])
    # Other tensors beyond the architecture are harmless, such as masks of old checkpoints; whole blocks are not.
    beyond = sorted(name for name in loading["unexpected_keys"] if _BLOCK_WEIGHT.search(name))
    if missing or mismatched or beyond:
        listed = ", ".join((missing + mismatched + beyond)[:3])
        raise ValueError(
            f"{source} lacks {len(missing)} tensors of its architecture, has {len(mismatched)} of another shape and "
            f"{len(beyond)} weights beyond it ({listed}); its config.json and its weights do not belong together."
        )
