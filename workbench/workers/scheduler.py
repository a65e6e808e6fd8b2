"""Jobs done by the workers of a Dask scheduler, on this machine or on others."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass

from workbench.workers.jobs import Event, Job, Waiting, Work


@dataclass(frozen=True)
class Scheduler:
    """The workers of the Dask scheduler at `address`, such as `tcp://10.0.0.7:8786`; each is given a job at a time.

    A job whose worker is gone is given to another one, three times in all; workers that join are used. They have this
    package installed; start them with one thread each, and with `--resources GPU=1` where jobs need a GPU.
    Raises ModuleNotFoundError without dask.distributed, ConnectionError if there is no scheduler, no worker for the
    jobs, or if the scheduler is lost.
    """

    address: str

    def events(self, work: Work, jobs: Sequence[Job]) -> Generator[Event, None, None]:
        """Every job, told when it is given to a worker and when it is done; closed, those under way are cancelled."""
        try:
            from workbench.workers.cluster import LOST, Running, check_package, connected, workers_of
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                f'a scheduler needs dask.distributed ({error}): pip install "tensor-network-workbench[cluster]".'
            ) from error
        if not jobs:
            return
        waiting, gpu = Waiting(jobs), any(job.gpu for job in jobs)
        client = connected(self.address)
        running = Running(client, work)
        try:
            workers_of(client, self.address, gpu, wait=True)
            check_package(client, work)
            while waiting or running.jobs:
                present = workers_of(client, self.address, gpu, wait=not running.jobs)
                yield from running.handed(waiting, present)
                yield from running.finished(waiting)
                yield from running.lost(waiting, present)
        except LOST as error:
            raise ConnectionError(
                f"the scheduler at {self.address} was lost ({error}); what is done is kept: run it again."
            ) from error
        finally:
            client.cancel(list(running.jobs))
            client.close()
