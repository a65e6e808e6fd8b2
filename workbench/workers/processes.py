"""Jobs done by processes on this machine; one that is killed takes no more with it than the job it had, for a while."""

import multiprocessing
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait

from workbench.workers.jobs import ATTEMPTS, Begun, Event, Job, Outcome, Waiting, Work, attempted


@dataclass(frozen=True)
class Processes:
    """`n` Python processes, started once, each given a job at a time.

    A worker that ends by a signal, or by itself, is replaced, and its job done again, at most three times in all.
    A script that uses it keeps its own beginning under `if __name__ == "__main__":`, since every process imports it.
    Raises ValueError for fewer than one, and RuntimeError if processes cannot be started.
    """

    n: int

    def __post_init__(self) -> None:
        if self.n < 1:
            raise ValueError(f"there are one or more worker processes, not {self.n}.")

    def events(self, work: Work, jobs: Sequence[Job]) -> Generator[Event, None, None]:
        """Every job, told when it is begun and when it is done; closed, all processes are ended at once."""
        waiting, attempts = Waiting(jobs), Counter[int]()
        workers = [_Worker(work) for _ in range(min(self.n, len(jobs)))]
        try:
            while waiting or any(worker.job for worker in workers):
                for worker in workers:
                    if waiting and worker.job is None:
                        job = waiting.take(worker.group, [other.group for other in workers if other.job])
                        worker.hand(job)
                        attempts[job.index] += 1
                        yield Begun(job.index, worker.pid, attempts[job.index])
                heard = wait([worker.connection for worker in workers if worker.job])
                for worker in workers:
                    if worker.connection in heard:
                        yield from worker.heard(waiting, attempts)
        finally:
            for worker in workers:
                worker.end()


class _Worker:
    """A process at the other end of a pipe, and the job it has; a new process takes the place of one that ended."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self.job: Job | None = None
        self.group: str | None = None
        self._began = 0.0
        self._never_answered = 0  # processes in a row that ended before a first word
        self._start()

    @property
    def pid(self) -> int:
        """Of the present process."""
        return int(self._process.pid or 0)

    def hand(self, job: Job) -> None:
        """Gives it a job; a process that was killed while it had none is replaced first."""
        try:
            self.connection.send(job.given)
        except OSError:
            self._replace()
            self.connection.send(job.given)
        self.job, self.group, self._began = job, job.group, time.perf_counter()

    def heard(self, waiting: Waiting, attempts: Counter[int]) -> Iterator[Outcome]:
        """What the process said: that it lives, or what came of its job; ended, its job waits again, or is given up."""
        job = self.job
        assert job is not None, "only a worker with a job is listened to"
        try:
            said = self.connection.recv()
        except (EOFError, OSError):
            how = self._replace()
            self.job, self.group = None, None
            if attempts[job.index] < ATTEMPTS:
                waiting.put_back(job)
                return
            told = f"its worker process ended {attempts[job.index]} times while it ran, the last time {how}"
            yield Outcome(job.index, None, told, attempts[job.index], time.perf_counter() - self._began)
            return
        self._never_answered = 0
        if said is not None:
            self.job, (value, error, seconds) = None, said
            yield Outcome(job.index, value, error, attempts[job.index], seconds)

    def end(self) -> None:
        """Ends the process: all that it did was told already."""
        self._process.kill()
        self._process.join()
        self.connection.close()

    def _start(self) -> None:
        spawn = multiprocessing.get_context("spawn")  # a fork of a process with torch's threads may wait for ever
        self.connection, theirs = spawn.Pipe()
        self._process = spawn.Process(target=_serve, args=(theirs, self._work), daemon=True)
        self._process.start()
        theirs.close()  # so that its end is heard
        self._never_answered += 1

    def _replace(self) -> str:
        """A new process; how the old one ended. Raises RuntimeError if three in a row did not come to life."""
        self._process.join()
        code = int(self._process.exitcode or 0)
        how = f"by signal {-code} ({signal.Signals(-code).name})" if code < 0 else f"with exit status {code}"
        if self._never_answered >= ATTEMPTS:
            raise RuntimeError(
                f"worker processes cannot be started: {self._never_answered} in a row ended at once, the last {how}. A "
                'script must begin its own work under `if __name__ == "__main__":`.'
            )
        self.connection.close()
        self._start()
        return how


def _serve(connection: Connection, work: Work) -> None:
    """A worker process: does what it is given until nobody is there to give it more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a key press reaches every process; the one that asked decides
    threading.Thread(target=_end_with_parent, daemon=True).start()
    connection.send(None)
    while True:
        try:
            given = connection.recv()
        except EOFError:
            return
        connection.send(attempted(work, given))


def _end_with_parent() -> None:
    """Ends this process when the one that started it is killed: nobody would take its results."""
    parent = multiprocessing.parent_process()
    assert parent is not None, "a worker is started by another process"
    parent.join()
    os._exit(1)
