"""Writing that leaves a whole file or directory, or none: a temporary name first, then one rename.

A temporary name says which process of which machine made it, so that what a killed one left is known, and removed by
the next that writes to the same name.
"""

import glob
import json
import os
import platform
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from errno import EACCES, EDQUOT, EEXIST, EFBIG, ENOSPC, ENOTEMPTY, EPERM, EROFS
from pathlib import Path

from torch import Tensor

_FULL = {
    ENOSPC: "its disk is full",
    EDQUOT: "the quota of its disk is used up",
    EFBIG: "no file may be so large here",
}
_FORBIDDEN = (EACCES, EPERM, EROFS)


@contextmanager
def replaced_file(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` to write to; on a clean exit it takes the place of `path`, else it is removed.

    Raises OSError, in words, where the disk is full or nothing may be written there.
    """
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a directory; name a file in it.")
    with may_write(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_abandoned(path.parent, glob.escape(path.name))
        handle, name = tempfile.mkstemp(prefix=_own_prefix(path.name), dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        with _has_room(path, temporary):
            yield temporary
            os.chmod(temporary, 0o666 & ~_umask())  # mkstemp makes private files; results are for sharing
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def new_directory(path: Path) -> Iterator[Path]:
    """A temporary directory to fill; on a clean exit it becomes `path`, else it is removed.

    Raises FileExistsError if `path` exists: nothing is overwritten; OSError, in words, where the disk is full or
    nothing may be written there.
    """
    if path.exists():
        raise _exists(path)
    with may_write(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_abandoned(path.parent, glob.escape(path.name))
        temporary = Path(tempfile.mkdtemp(prefix=_own_prefix(path.name), dir=path.parent))
    try:
        with _has_room(path, temporary):
            yield temporary
            os.chmod(temporary, 0o777 & ~_umask())
            try:
                os.rename(temporary, path)
            except OSError as error:
                if error.errno in (EEXIST, ENOTEMPTY):  # another process was faster
                    raise _exists(path) from error
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def replaced_files(directory: Path, last: str) -> Iterator[Path]:
    """A temporary directory to fill; on a clean exit its files take their places in `directory`, `last` after all.

    So a `last` that is there says that the others are. Raises OSError as `new_directory` does.
    """
    with may_write(directory):
        directory.mkdir(parents=True, exist_ok=True)
        remove_abandoned(directory, glob.escape(last))
        temporary = Path(tempfile.mkdtemp(prefix=_own_prefix(last), dir=directory))
    try:
        with _has_room(directory, temporary):
            yield temporary
            for file in sorted(temporary.iterdir(), key=lambda file: file.name == last):
                os.replace(file, directory / file.name)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_json(path: Path, value: Mapping | list) -> None:
    """Writes `value` as indented JSON, whole or not at all."""
    with replaced_file(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Writes named tensors as one safetensors file, whole or not at all; see `check_room`."""
    from safetensors.torch import save_file

    check_room(path, sum(tensor.nbytes for tensor in tensors.values()))
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with replaced_file(path) as temporary:
        save_file(contiguous, temporary, metadata=dict(metadata or {}))


def check_room(path: Path, n_bytes: int) -> None:
    """Raises OSError, before anything is written, if the disk of `path` has fewer than `n_bytes` free."""
    there = next(folder for folder in path.absolute().parents if folder.exists())
    disk = shutil.disk_usage(there)
    if disk.total and disk.free < n_bytes:  # some file systems of a network say nothing of themselves
        raise OSError(
            ENOSPC,
            f"{path} needs {_told(n_bytes)}, and its disk has {_told(disk.free)} free: make room, or name a place on "
            "another disk",
        )


def remove_abandoned(directory: Path, pattern: str) -> None:
    """Removes what killed processes of this machine left of writing files of these names (a glob) in `directory`."""
    for left in directory.glob(f".{pattern}.{glob.escape(platform.node())}.*.*"):
        made = re.fullmatch(rf".*\.{re.escape(platform.node())}\.(\d+)\.\w+", left.name)
        if made is None or _is_running(int(made[1])):
            continue
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)


@contextmanager
def may_write(path: Path) -> Iterator[None]:
    """Says in words of the OSError that comes within: nothing may be written there, or the disk of `path` is full."""
    try:
        yield
    except OSError as error:
        if error.errno in _FORBIDDEN:
            raise OSError(
                error.errno, f"{path} cannot be written: its folder is read-only, or another user's; name another place"
            ) from error
        if error.errno in _FULL:
            raise OSError(error.errno, f"{path} was not written: {_FULL[error.errno]}; make room") from error
        raise


@contextmanager
def _has_room(path: Path, temporary: Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # the writers of other libraries raise kinds of their own, the system's number in words
        told = re.search(r"\(os error (\d+)\)", str(error))
        number = error.errno if isinstance(error, OSError) else int(told[1]) if told else None
        if number not in _FULL:
            raise
        made = [temporary] if temporary.is_file() else list(temporary.rglob("*"))
        written = sum(file.stat().st_size for file in made if file.is_file())
        raise OSError(
            number,
            f"{path} was not written: {_FULL[number]}, and the {_told(written)} that were written are removed again; "
            "make room, or name a place on another disk",
        ) from error


def _exists(path: Path) -> FileExistsError:
    return FileExistsError(f"{path} already exists and is left as it is; name another directory, or remove it first.")


def _own_prefix(name: str) -> str:
    return f".{name}.{platform.node()}.{os.getpid()}."


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)  # asks, and changes nothing
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        return True
    return True


def _told(n_bytes: int) -> str:
    return f"{n_bytes / 1e6:,.1f} MB" if n_bytes >= 1e5 else f"{n_bytes:,} bytes"


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
