"""Jobs for workers of any kind, what is told of them while they are done, and which one a worker takes next."""

import time
from collections import deque
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

# A function of a module that every worker can import: its name travels, and what it is given, which is plain JSON.
Work = Callable[[Mapping], Mapping]

ATTEMPTS = 3  # workers that a job may end before it is given up


@dataclass(frozen=True)
class Job:
    """One call of the work with `given`. Jobs of one `group` share something that a worker keeps from one to the next.

    One that needs a `gpu` goes to a worker of a cluster that has said it has one.
    """

    index: int
    given: Mapping
    group: str = ""
    gpu: bool = False


@dataclass(frozen=True)
class Begun:
    """A job was handed to a worker: the id of a process on this machine, or an address in a cluster."""

    index: int
    worker: int | str
    attempt: int = 1


@dataclass(frozen=True)
class Outcome:
    """What came of a job: its value, or else its error in words; `attempts` is how often it was begun at least.

    `seconds` are those of the last attempt.
    """

    index: int
    value: Mapping | None
    error: str | None
    attempts: int
    seconds: float


Event = Begun | Outcome


@runtime_checkable  # annotations are checked in the tests
class Workers(Protocol):
    """Who does the jobs. All kinds give the same outcomes; they differ in where and when."""

    def events(self, work: Work, jobs: Sequence[Job]) -> Generator[Event, None, None]:
        """Every job done once, told as it happens, in any order; closing the iterator ends the jobs under way."""
        ...


def attempted(work: Work, given: Mapping) -> tuple[Mapping | None, str | None, float]:
    """The value of the work, or its error in words; and the seconds it took."""
    start = time.perf_counter()
    try:
        value, error = work(given), None
    except Exception as raised:  # whatever a job raises is what came of it: the others go on
        value, error = None, f"{type(raised).__name__}: {raised}"
    return value, error, time.perf_counter() - start


class Waiting:
    """Jobs that no worker has yet, by group in the order given."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        self._groups: dict[str, deque[Job]] = {}
        for job in jobs:
            self._groups.setdefault(job.group, deque()).append(job)

    def __bool__(self) -> bool:
        return bool(self._groups)

    def take(self, own: str | None, others: Collection[str | None]) -> Job:
        """The next job for a worker whose last one was of the group `own`, beside workers in the groups `others`.

        It stays with its group; then it takes the first that nobody works on; then it helps with the longest.
        """
        free = [group for group in self._groups if group not in others]
        if own in self._groups:
            group = str(own)
        else:
            group = free[0] if free else max(self._groups, key=lambda group: len(self._groups[group]))
        job = self._groups[group].popleft()
        if not self._groups[group]:
            del self._groups[group]
        return job

    def put_back(self, job: Job) -> None:
        """A job whose worker ended: the next one of its group."""
        self._groups.setdefault(job.group, deque()).appendleft(job)
