"""Hashes of what a measurement depends on: equal ones mean equal contents, wherever the files lie."""

import hashlib
from functools import cache
from pathlib import Path

from workbench.transformer.corpus import SHIPPED, bundled_path, held_out_text, training_text
from workbench.transformer.load import COMPRESSED, check_checkpoint

_WEIGHED = ("config.json", "*.safetensors", "*.safetensors.index.json", "tokenizer*", "vocab*", "merges.txt",
            "special_tokens_map.json", "added_tokens.json", COMPRESSED)  # fmt: skip
_CHUNK = 2**22  # bytes read at once


def checkpoint_path(model: str) -> Path:
    """The directory of a shipped model, or the one named. Raises as `load` does for one that holds no checkpoint."""
    path = bundled_path(model) if model in SHIPPED else Path(model)
    if not path.is_dir():
        raise FileNotFoundError(
            f"{model} is not the shipped {' or '.join(map(repr, SHIPPED))} and no directory here; a sweep names its "
            "points by the files of a checkpoint: give a directory that holds config.json and *.safetensors."
        )
    check_checkpoint(path)
    return path


def checkpoint_digest(model: str) -> str:
    """SHA-256 over the weights, the config and the tokenizer, names and bytes; read once until a file changes."""
    path = checkpoint_path(model)
    files = sorted({file for pattern in _WEIGHED for file in path.glob(pattern)})
    states = [(file, file.stat()) for file in files]
    return _digest_of(tuple([(str(file), state.st_size, state.st_mtime_ns) for file, state in states]))


def file_digest(file: Path) -> str:
    """SHA-256 of one file."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


@cache
def default_text_digest() -> str:
    """SHA-256 of the texts that a model is scored and calibrated on where none is given: this Python's own library."""
    return hashlib.sha256(f"{held_out_text()}\0{training_text()}".encode()).hexdigest()


@cache
def _digest_of(states: tuple[tuple[str, int, int], ...]) -> str:
    whole = hashlib.sha256()
    for name, size, _ in states:
        whole.update(f"{Path(name).name}\0{size}\0".encode())
        with open(name, "rb") as opened:
            while chunk := opened.read(_CHUNK):
                whole.update(chunk)
    return whole.hexdigest()
