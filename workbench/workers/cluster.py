"""The workers of a Dask cluster, and the jobs that they have; imported only where there is dask.distributed."""

import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass
from importlib.util import find_spec

from distributed import Client, Future, KilledWorker
from distributed.comm.core import CommClosedError

from workbench.workers.jobs import ATTEMPTS, Begun, Job, Outcome, Waiting, Work, attempted

PATIENCE = 20.0  # seconds for the scheduler to answer, and for a first worker to be there
LOST = (CancelledError, CommClosedError)  # what Dask raises when the scheduler is gone
_LOOK = 0.5  # seconds between looks at which workers there are
_REMEDY = "the scheduler and all its workers need this package, installed as it is here."


@dataclass(frozen=True)
class Given:
    """A job that a worker has, since when."""

    job: Job
    worker: str
    began: float


class Running:
    """The jobs that a cluster has, how often each was begun, and the group of each worker's last one.

    A job is bound to its worker: Dask itself would leave one waiting for ever whose worker is gone, if all others were
    gone too for a moment, and it blames a death on every job that the worker had.
    """

    def __init__(self, client: Client, work: Work) -> None:
        self.jobs: dict[Future, Given] = {}
        self._client, self._work = client, work
        self._attempts = Counter[int]()
        self._groups: dict[str, str] = {}

    def handed(self, waiting: Waiting, present: Sequence[str]) -> Iterator[Begun]:
        """Gives a job to every worker that has none."""
        busy = {own.worker for own in self.jobs.values()}
        for worker in present:
            if waiting and worker not in busy:
                job = waiting.take(self._groups.get(worker), [own.job.group for own in self.jobs.values()])
                future = self._client.submit(
                    attempted, self._work, job.given, pure=False, workers=[worker],
                    resources={"GPU": 1} if job.gpu else None,
                )  # fmt: skip
                self.jobs[future], self._groups[worker] = Given(job, worker, time.perf_counter()), job.group
                self._attempts[job.index] += 1
                yield Begun(job.index, worker, self._attempts[job.index])

    def finished(self, waiting: Waiting) -> Iterator[Outcome]:
        """What came of the jobs that are done, waiting a moment for the first."""
        deadline = time.monotonic() + _LOOK
        while not (done := [future for future in self.jobs if future.done()]) and time.monotonic() < deadline:
            time.sleep(0.005)
        for future in done:
            if isinstance(raised := future.exception(), KilledWorker):
                yield from self._dropped(future, waiting)
                continue
            if raised is not None:  # not the work's own, which is a value by now
                told = " ".join(str(raised).split())
                raise ConnectionError(f"the cluster could not begin a job ({type(raised).__name__}: {told}); {_REMEDY}")
            own = self.jobs[future]
            try:
                value, error, seconds = future.result(timeout=PATIENCE)
            except TimeoutError:  # its worker took the result with it
                yield from self._dropped(future, waiting)
                continue
            del self.jobs[future]
            yield Outcome(own.job.index, value, error, self._attempts[own.job.index], seconds)

    def lost(self, waiting: Waiting, present: Collection[str]) -> Iterator[Outcome]:
        """Lets the jobs wait again whose workers are gone, or gives them up."""
        for future in [future for future, own in self.jobs.items() if own.worker not in present]:
            yield from self._dropped(future, waiting)

    def _dropped(self, future: Future, waiting: Waiting) -> Iterator[Outcome]:
        own = self.jobs.pop(future)
        self._client.cancel([future])
        attempts = self._attempts[own.job.index]
        if attempts < ATTEMPTS:
            waiting.put_back(own.job)
            return
        told = f"its worker was lost {attempts} times while it ran, the last one at {own.worker}"
        yield Outcome(own.job.index, None, told, attempts, time.perf_counter() - own.began)


def connected(address: str) -> Client:
    """A client of the scheduler. Raises ConnectionError if none answers."""
    try:
        return Client(address, timeout=PATIENCE, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ConnectionError(
            f"no Dask scheduler answers at {address!r} ({error}); start one, or correct the address."
        ) from error


def workers_of(client: Client, address: str, gpu: bool, wait: bool) -> list[str]:
    """The addresses of those that can do the jobs. Raises ConnectionError if none comes while it may `wait`."""
    deadline = time.monotonic() + PATIENCE
    while not (present := _present(client, gpu)) and wait:
        if time.monotonic() > deadline:
            needed, option = (" with the resource GPU", " --resources GPU=1") if gpu else ("", "")
            raise ConnectionError(
                f"the scheduler at {address} has no worker{needed}; start one with "
                f"`dask worker {address} --nthreads 1{option}`."
            )
        time.sleep(_LOOK / 5)
    return present


def check_package(client: Client, work: Work) -> None:
    """Raises ConnectionError if a worker cannot find the module of the work: given the work itself, it would end."""
    try:
        found = client.run(find_spec, work.__module__).items()  # pyright: ignore[reportAttributeAccessIssue]
        without = [worker for worker, spec in found if spec is None]
    except ModuleNotFoundError as error:
        raise ConnectionError(f"a worker cannot import {work.__module__} ({error}); {_REMEDY}") from error
    if without:
        raise ConnectionError(f"{', '.join(without)} cannot import {work.__module__}; {_REMEDY}")


def _present(client: Client, gpu: bool) -> list[str]:
    known: Mapping[str, Mapping] = client.scheduler_info(n_workers=-1)["workers"]
    return [address for address, told in known.items() if not gpu or told["resources"].get("GPU", 0) >= 1]
