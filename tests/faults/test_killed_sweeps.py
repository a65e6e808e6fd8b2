"""A sweep killed, out of room, or left by the one who started it: what is done stays whole, and is not done again."""

import json
import resource
import signal
import time
from pathlib import Path

import pytest
from killing import ended, killed_when, started

from workbench.explore.sweep import Sweep
from workbench.explore.sweep_grids import LearningGrid

GRID = LearningGrid(["parity 8", "ghz 8"], ["one-pass 2", "counts"], [16, 64, 256], [0, 1])
PROGRAM = f"""
from workbench.explore.sweep import Sweep
from workbench.explore.sweep_grids import LearningGrid

for frame in Sweep({GRID!r}, "{{out}}").steps():
    pass
print(frame.told)
"""
LEFT_ALONE = """
import works
from workbench.workers.jobs import Job
from workbench.workers.processes import Processes

for event in Processes(2).events(works.slept, [Job(0, {"seconds": 60}), Job(1, {"seconds": 60})]):
    print(event.worker, flush=True)
"""


def values(folder: Path) -> dict[str, dict]:
    return {file.name: json.loads(file.read_text())["points"][0]["value"] for file in folder.glob("*.json")}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict]:
    """The points of a sweep that nobody disturbed."""
    out = tmp_path_factory.mktemp("undisturbed")
    Sweep(GRID, out).run(progress=lambda *told: None)
    return values(out)


def test_a_sweep_killed_at_any_moment_goes_on_and_measures_no_point_twice(tmp_path, undisturbed):
    program = PROGRAM.format(out=tmp_path)
    killed_when(program, lambda: len(list(tmp_path.glob("*.json"))) >= 3)
    done = {file: (file.stat().st_ino, file.read_bytes()) for file in tmp_path.glob("*.json")}
    assert 3 <= len(done) < 24
    assert ended(program).strip() == "24 of 24 points"
    assert {file: (file.stat().st_ino, file.read_bytes()) for file in done} == done
    assert values(tmp_path) == undisturbed


def test_a_disk_that_fills_is_told_of_and_the_points_so_far_are_whole(tmp_path, undisturbed, monkeypatch):
    sweep, measured = Sweep(GRID, tmp_path), []

    def filling(steps) -> None:
        for frame in steps:
            measured.append(len(frame.points))
            if len(frame.points) == 2:
                resource.setrlimit(resource.RLIMIT_FSIZE, (64, before[1]))

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        with pytest.raises(OSError, match=r"\.json was not written: no file may be so large here.*make room"):
            filling(sweep.steps())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    assert max(measured) == 2
    assert len(values(tmp_path)) == 2
    assert not [file for file in tmp_path.iterdir() if file.suffix != ".json"]
    assert sweep.run(progress=lambda *told: None).n_left == 0
    assert values(tmp_path) == undisturbed


def test_worker_processes_end_with_the_one_who_started_them():
    program = started(LEFT_ALONE)
    assert program.stdout is not None
    pids = [int(program.stdout.readline()), int(program.stdout.readline())]
    program.kill()
    program.wait()
    deadline = time.monotonic() + 20
    while any(map(_lives, pids)):
        assert time.monotonic() < deadline, "a worker outlived its program"
        time.sleep(0.02)
    program.communicate()


def _lives(pid: int) -> bool:
    """Whether a process runs; one that has ended may wait in vain for its parent to ask how."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
