"""A Python program of its own, ended by kill −9 at a moment that its files show; and the same one left alone."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
_LONGEST = 120.0  # seconds until a program that was never killed, or never ended, is a failure


def started(code: str, extra: Mapping[str, str] | None = None) -> subprocess.Popen:
    """The program `code` running in a session of its own, on one thread, with `extra` environment variables."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"} | dict(extra or {})
    environment["PYTHONPATH"] = str(REPOSITORY / "tests")  # so that it may import the tiny models
    return subprocess.Popen(
        [sys.executable, "-c", code], cwd=REPOSITORY, env=environment, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def ended(code: str, extra: Mapping[str, str] | None = None) -> str:
    """What the program printed. Fails where it did not end well."""
    process = started(code, extra)
    out, error = process.communicate(timeout=_LONGEST)
    assert process.returncode == 0, error
    return out


def killed_when(code: str, reached: Callable[[], bool], extra: Mapping[str, str] | None = None) -> None:
    """Runs the program and kills it, with all that it started, by signal 9 as soon as `reached()`.

    Fails where it ended before, so that a test which kills too late says so instead of passing.
    """
    process = started(code, extra)
    try:
        deadline = time.monotonic() + _LONGEST
        while not reached():
            if process.poll() is not None:
                raise AssertionError(f"the program ended before it was to be killed: {process.communicate()}")
            assert time.monotonic() < deadline, "the moment to kill the program never came"
            time.sleep(0.002)
        assert process.poll() is None, "the program ended before it was killed"
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    assert process.returncode == -signal.SIGKILL, "it ended by itself"
