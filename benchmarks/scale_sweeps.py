"""Sweeps: what handing out costs beside tasks of a second, and how much faster two workers are than one.

Part of `scale.py`; alone, `python benchmarks/scale_sweeps.py` prints the rows. The machine should do nothing else.
Every worker process imports the program that it belongs to, so these are measured in a program of their own, at whose
top nothing heavy is loaded.
"""

import json
import logging
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from workbench.workers.jobs import Job, Outcome, Workers
from workbench.workers.loop import Loop
from workbench.workers.processes import Processes
from workbench.workers.scheduler import Scheduler

N_TASKS, SECONDS = 20, 1.0
MOST_OVERHEAD, LEAST_SPEED_UP = 0.05, 1.7


def sleeps(given: Mapping) -> Mapping:
    """A task that takes as long as it is told to, and no processor."""
    time.sleep(given["seconds"])
    return {}


@contextmanager
def two_dask_workers() -> Iterator[Scheduler]:
    """Two processes of a cluster on this machine."""
    from distributed import LocalCluster

    with LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0", host="127.0.0.1", silence_logs=logging.ERROR
    ) as made:
        yield Scheduler(made.scheduler_address)


def handing_out(workers: Workers, n_workers: int) -> tuple[float, float]:
    """The share of time that tasks of a second took beyond their seconds: all in all, and from the first outcome on."""
    jobs = [Job(index, {"seconds": SECONDS}) for index in range(N_TASKS)]
    began, done = time.perf_counter(), []
    for event in workers.events(sleeps, jobs):
        if isinstance(event, Outcome):
            done.append(time.perf_counter())
    ideal = N_TASKS * SECONDS / n_workers
    steady = (done[-1] - done[0]) / ((N_TASKS / n_workers - 1) * SECONDS) - 1
    return (time.perf_counter() - began) / ideal - 1, steady


def compressing(n_workers: int) -> tuple[float, dict]:
    """Seconds of a sweep over the shipped model by so many processes, and the numbers it found."""
    from workbench import CompressionGrid, Sweep
    from workbench.explore.sweep_words import recipes_of

    recipes = recipes_of(["svd"], ["plain", "diagonal", "input"])
    shares, budgets, seeds = (0.8, 0.6, 0.4, 0.2), ("uniform", "global"), (0, 1, 2)
    grid = CompressionGrid(["pygpt"], recipes, shares, budgets, seeds, windows=32, device="cpu")
    with tempfile.TemporaryDirectory() as folder:
        sweep = Sweep(grid, Path(folder))
        began = time.perf_counter()
        frame = sweep.run(Processes(n_workers), progress=lambda what, done, total: None)
        seconds = time.perf_counter() - began
    assert not frame.n_left
    assert not frame.failures
    return seconds, {place: (point.size, point.harm) for place, point in enumerate(frame.points)}


def measured() -> list[dict[str, object]]:
    """The overhead of every kind of workers, and the speed-up of two processes with one thread each."""
    from speed import row  # not at the top: workers import this program

    found = []
    with two_dask_workers() as cluster:
        for name, workers, n in (
            ("a loop", Loop(), 1),
            ("2 processes", Processes(2), 2),
            ("2 Dask workers", cluster, 2),
        ):
            overhead, steady = handing_out(workers, n)
            what = f"sweep of {N_TASKS} tasks of 1 s on {name}, time beyond theirs"
            found.append(row(what, overhead, MOST_OVERHEAD, "share", after_the_first=steady))
    (one, numbers), (two, same) = compressing(1), compressing(2)
    what = f"sweep of {len(numbers)} points of pygpt, 2 processes against 1"
    found.append(row(what, one / two, LEAST_SPEED_UP, "times faster", True, seconds=two, seconds_of_one=one))
    differing = sum(same[key] != own for key, own in numbers.items())
    found.append(row("points of it that differ between 1 and 2 processes", differing, 0, "points"))
    return found


def rows() -> list[dict[str, object]]:
    """What a program with nothing heavy at its top measures; workers find the tasks by the name of this module."""
    program = "import json, scale_sweeps; print(json.dumps(scale_sweeps.measured()))"
    folder = Path(__file__).parent
    done = subprocess.run([sys.executable, "-c", program], cwd=folder, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


if __name__ == "__main__":
    print(json.dumps(rows(), indent=1))
