"""A healing run on disk: numbers in safetensors and the record of the run in JSON, each written whole or not at all."""

import json
from collections.abc import Mapping
from pathlib import Path

from jaxtyping import Float
from safetensors.torch import load_file
from torch import Tensor

from workbench.whole_files import write_json, write_tensors

_FORMAT = 1
_RECORD = "heal.json"

Numbers = Mapping[str, Float[Tensor, "..."]]


def save(path: Path, record: Mapping, groups: Mapping[str, Numbers]) -> None:
    """Writes the numbers of every group, and the record, which names their file; an older one is then removed.

    The record is written last, so that an interrupt at any moment leaves one whole checkpoint or the other.
    """
    own = f"step{record['step']}.safetensors"
    tensors = {f"{group}:{name}": tensor for group, numbers in groups.items() for name, tensor in numbers.items()}
    write_tensors(path / own, tensors)
    write_json(path / _RECORD, {"format": _FORMAT, "tensors": own} | dict(record))
    for old in path.glob("step*.safetensors"):
        if old.name != own:
            old.unlink()


def is_saved(path: Path) -> bool:
    """Whether the directory holds a healing run."""
    return (path / _RECORD).is_file()


def load(path: Path) -> tuple[dict, dict[str, dict[str, Float[Tensor, "..."]]]]:
    """The record, and the numbers by group.

    Raises ValueError if the record is of another format, or damaged; FileNotFoundError if a file is missing.
    """
    try:
        record = json.loads((path / _RECORD).read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path / _RECORD} is damaged ({error}); remove {path} and heal anew.") from error
    if not isinstance(record, dict) or record.get("format") != _FORMAT:
        raise ValueError(
            f"{path / _RECORD} is no healing run of format {_FORMAT}; heal into another directory, or remove it."
        )
    groups: dict[str, dict[str, Tensor]] = {}
    for key, tensor in load_file(path / record["tensors"]).items():
        group, name = key.split(":", 1)
        groups.setdefault(group, {})[name] = tensor
    return record, groups


def check_fits(path: Path, numbers: Numbers, own: Numbers) -> None:
    """Raises ValueError unless the saved `numbers` have the names and shapes of the layers' `own`."""
    for name in sorted({*numbers, *own}):
        saved = tuple(numbers[name].shape) if name in numbers else None
        needed = tuple(own[name].shape) if name in own else None
        if saved != needed:
            raise ValueError(
                f"{path} holds {name} as {saved}, but these layers need {needed} (None: not there); cut the bonds as "
                "they were cut when that run began, or give another directory."
            )
