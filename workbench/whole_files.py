"""Writing that leaves a whole file or directory, or none: a temporary name first, then one rename."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from torch import Tensor


@contextmanager
def replaced_file(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` to write to; on a clean exit it takes the place of `path`, else it is removed."""
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a directory; name a file in it.")
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        os.chmod(temporary, 0o666 & ~_umask())  # mkstemp makes private files; results are for sharing
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def new_directory(path: Path) -> Iterator[Path]:
    """A temporary directory to fill; on a clean exit it becomes `path`, else it is removed.

    Raises FileExistsError if `path` exists: nothing is overwritten.
    """
    if path.exists():
        raise FileExistsError(
            f"{path} already exists and is left as it is; name another directory, or remove it first."
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        yield temporary
        os.chmod(temporary, 0o777 & ~_umask())
        os.rename(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_json(path: Path, value: Mapping | list) -> None:
    """Writes `value` as indented JSON, whole or not at all."""
    with replaced_file(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Writes named tensors as one safetensors file, whole or not at all."""
    from safetensors.torch import save_file

    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with replaced_file(path) as temporary:
        save_file(contiguous, temporary, metadata=dict(metadata or {}))


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
