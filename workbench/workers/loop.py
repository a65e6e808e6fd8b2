"""Jobs done one after another, where they were asked for."""

import os
from collections.abc import Generator, Sequence
from dataclasses import dataclass

from workbench.workers.jobs import Begun, Event, Job, Outcome, Waiting, Work, attempted


@dataclass(frozen=True)
class Loop:
    """This process alone, a job at a time, group by group."""

    def events(self, work: Work, jobs: Sequence[Job]) -> Generator[Event, None, None]:
        """Every job, told before and after."""
        waiting, group = Waiting(jobs), None
        while waiting:
            job = waiting.take(group, ())
            group = job.group
            yield Begun(job.index, os.getpid())
            value, error, seconds = attempted(work, job.given)
            yield Outcome(job.index, value, error, 1, seconds)
