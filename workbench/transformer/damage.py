"""What is wrong with a checkpoint, said of its own files, and not in the words of the library that stumbles over it."""

import json
import math
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import safe_open

_FLOATS = ("F64", "F32", "F16", "BF16")
_DEEP = ("n_layer", "num_hidden_layers")
_WIDE = ("vocab_size", "n_embd", "hidden_size", "n_positions")
_NO_DAMAGE = (MemoryError, torch.OutOfMemoryError, Warning)


@contextmanager
def damage_named(source: str | Path, is_here: bool = True) -> Iterator[None]:
    """Raises ValueError, naming the checkpoint `source`, for whatever the libraries that read it within raise.

    Memory that does not suffice is no damage, and passes, as warnings do; so does an OSError of a checkpoint that has
    yet to be had.
    """
    try:
        yield
    except Exception as error:  # three libraries parse what the files say, and raise any kind down to Exception itself
        if isinstance(error, _NO_DAMAGE) or (isinstance(error, OSError) and not is_here):
            raise
        raise ValueError(f"{source} cannot be read as a checkpoint: {_reason(error)}") from error


def check_sizes(path: Path, files: Iterable[Path], are_factors: bool = False) -> None:
    """Raises ValueError, before anything so large is made, for a config.json in `path` of sizes beyond all tensors.

    No tensor of factors need be as wide as the matrix: then all numbers together are the bound. A config whose sizes
    are merely other ones is found out later, when each tensor is compared with its place.
    """
    config = json.loads((path / "config.json").read_text(encoding="utf-8"))
    if not isinstance(config, dict):
        raise ValueError(f"{path / 'config.json'} is a {type(config).__name__}, no record of a model; copy it again.")
    n_tensors, widest, n_params = 0, 0, 0
    for file in files:
        shapes = [shape for _, shape in _parts(file).values()]
        n_tensors += len(shapes)
        widest = max([widest, *[size for shape in shapes for size in shape]])
        n_params += sum(math.prod(shape) for shape in shapes)
    wide = (n_params, "numbers") if are_factors else (widest, "entries in its widest tensor")
    for names, (most, what) in ((_DEEP, (n_tensors, "tensors")), (_WIDE, wide)):
        for name in names:
            size = config.get(name)
            if isinstance(size, int) and size > most:
                raise ValueError(
                    f"{path / 'config.json'} says {name} {size:,}, and the checkpoint has {most:,} {what}; its "
                    "config.json and its weights do not belong together."
                )


def check_kinds(files: Iterable[Path], needed: Collection[str]) -> None:
    """Raises ValueError if a tensor that is `needed` holds whole numbers or others than floating-point ones.

    They would be taken for weights. Float64, float32, float16 and bfloat16 become float32.
    """
    for file in files:
        kinds = {name: kind for name, (kind, _) in _parts(file).items()}
        strange = [name for name, kind in kinds.items() if kind not in _FLOATS and name in needed]
        if strange:
            raise ValueError(
                f"{file} holds {strange[0]} as {kinds[strange[0]]}, which are no weights by themselves; give a "
                f"checkpoint in {', '.join(_FLOATS)}."
            )


def check_tokenizer(source: str | Path, tokens: int, entries: int) -> None:
    """Raises ValueError if a tokenizer has more tokens of its own than the model has entries.

    One with as many or fewer may still be another model's: that cannot be known.
    """
    if tokens > entries:
        raise ValueError(
            f"{source} has a tokenizer of {tokens:,} tokens and a model that knows {entries:,}; its tokenizer belongs "
            "to another model: put the model's own there."
        )


def _parts(file: Path) -> dict[str, tuple[str, list[int]]]:
    """The kind and the shape of every tensor of a file, by name."""
    with safe_open(file, framework="pt") as handle:
        parts = {name: handle.get_slice(name) for name in sorted(handle.keys())}
        return {name: (part.get_dtype(), part.get_shape()) for name, part in parts.items()}


def _reason(error: Exception) -> str:
    """Why it was not read, in a line."""
    told = (str(error).splitlines() or [""])[0]
    if "custom code" in told:
        return "it is of a kind of its own and brings the code for it, which is never run; give one of a known kind."
    return told if isinstance(error, OSError | ValueError) else f"{type(error).__name__}: {told}"
