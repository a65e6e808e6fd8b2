"""What one process at a time may change: a lock that its owner's end releases, however it ends.

The lock is the operating system's on a file of its own beside what it guards, in which its owner is named. It binds
processes, also of different machines where a shared file system has locks; where it has none, nobody waits.
"""

import fcntl
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from errno import EACCES, EAGAIN, ENOLCK, ENOSYS, EOPNOTSUPP
from pathlib import Path

from workbench.whole_files import may_write

_TAKEN = (EACCES, EAGAIN)
_NO_LOCKS = (ENOLCK, ENOSYS, EOPNOTSUPP)


@contextmanager
def turn_at(file: Path) -> Iterator[None]:
    """Waits until no other process is changing `file`, and then lets none begin: for what takes a moment."""
    with may_write(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        handle = _taken(lock := file.parent / f".{file.name}.lock", fcntl.LOCK_EX)
    assert handle is not None, "it was waited for"
    with _held(lock, handle):
        yield


@contextmanager
def only_run(directory: Path) -> Iterator[None]:
    """Lets no other process work in `directory`, for as long as a run does.

    Raises BlockingIOError, naming the process, if another is at work there.
    """
    with may_write(directory):
        directory.mkdir(parents=True, exist_ok=True)
        handle = _taken(lock := directory / ".lock", fcntl.LOCK_EX | fcntl.LOCK_NB)
    if handle is None:
        raise BlockingIOError(
            f"{directory} is in use by {_owner(lock)}; wait until it has ended, or give another directory."
        )
    with _held(lock, handle):
        yield


@contextmanager
def _held(lock: Path, handle: int) -> Iterator[None]:
    try:
        with suppress(OSError):  # a full disk has no room for a name
            os.ftruncate(handle, 0)
            os.pwrite(handle, f"process {os.getpid()} on {platform.node()}".encode(), 0)
        yield
    finally:
        lock.unlink(missing_ok=True)  # while it is still held, so that whoever waits sees that this one is gone
        os.close(handle)


def _taken(lock: Path, how: int) -> int | None:
    """The open lock file, once it is ours; None where another process has it and is not waited for."""
    while True:
        handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.lockf(handle, how)
        except OSError as error:
            if error.errno in _NO_LOCKS:
                return handle
            os.close(handle)
            if error.errno in _TAKEN:
                return None
            raise
        if _is_still(lock, handle):
            return handle
        os.close(handle)


def _is_still(lock: Path, handle: int) -> bool:
    """Whether the path still names the open file, which its last owner may have removed."""
    try:
        return os.path.samestat(os.stat(lock), os.fstat(handle))
    except FileNotFoundError:
        return False


def _owner(lock: Path) -> str:
    try:
        return lock.read_text(encoding="utf-8") or "another process"
    except FileNotFoundError:
        return "another process, which has just ended"
