"""A Python program on a disk of its own size, or beside a folder that nobody may write to.

Both are mounts that the program alone sees, in a user namespace of its own, which Linux lets root and most users have.
"""

import os
import subprocess
from functools import cache
from pathlib import Path

import pytest
from faults.killing import ended

_ALONE = ("unshare", "-rm", "sh", "-ec")


def ended_on_a_small_disk(code: str, folder: Path, n_bytes: int) -> str:
    """What the program printed for which `folder` lay on a disk of `n_bytes`. Fails where it did not end well.

    Where nothing can be mounted it lies on the disk that it is on: `os.path.ismount` tells the program.
    """
    return ended(_within(f'mount -t tmpfs -o size={n_bytes} tmpfs "$0"', folder, code) if _may_mount() else code)


def ended_beside_a_read_only_folder(code: str, folder: Path) -> str:
    """What the program printed that could not write to `folder`. Skips as root where nothing can be mounted."""
    if _may_mount():
        return ended(_within('mount --bind "$0" "$0" && mount -o remount,bind,ro "$0"', folder, code))
    if os.getuid() == 0:
        pytest.skip("root may write everywhere, and nothing can be mounted here")
    modes = {path: path.stat().st_mode for path in [folder, *folder.rglob("*")] if path.is_dir()}
    try:
        for path in modes:
            path.chmod(0o555)
        return ended(code)
    finally:
        for path, mode in modes.items():
            path.chmod(mode)


def _within(mounting: str, folder: Path, code: str) -> str:
    """A program that runs `code` after mounting, in a namespace of its own, whose end it shares."""
    command = [*_ALONE, f'{mounting}; exec "$1" -c "$2"', str(folder)]
    return f"import os, sys\nos.execvp({_ALONE[0]!r}, {command!r} + [sys.executable, {code!r}])"


@cache
def _may_mount() -> bool:
    tried = subprocess.run([*_ALONE, "mount -t tmpfs tmpfs /mnt"], capture_output=True, check=False)
    return tried.returncode == 0
