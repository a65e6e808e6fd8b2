"""Workers of every kind: the same outcomes, whoever is killed, and plain words where there are no workers."""

import os
import signal
import sys
import threading
import time
import types
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import Mock

import pytest
import works
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.workers.jobs import Begun, Event, Job, Outcome, Waiting, Work, Workers
from workbench.workers.loop import Loop
from workbench.workers.processes import Processes
from workbench.workers.scheduler import Scheduler


def jobs(*numbers: int) -> list[Job]:
    return [Job(index, {"n": n}, f"group {n % 2}") for index, n in enumerate(numbers)]


def outcomes(events: Iterator[Event]) -> dict[int, Outcome]:
    found: dict[int, Outcome] = {}
    for event in events:
        if isinstance(event, Outcome):
            assert event.index not in found, "a job is done once"
            found[event.index] = event
    return found


def told(found: dict[int, Outcome]) -> dict[int, tuple]:
    return {index: (own.value and own.value["twice"], own.error) for index, own in sorted(found.items())}


def killed_at(mark: Path) -> threading.Thread:
    """Kills the process whose id comes to stand in a file."""

    def kill() -> None:
        while not mark.exists():
            time.sleep(0.01)
        os.kill(int(mark.read_text()), signal.SIGKILL)

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    return thread


@pytest.fixture(params=["processes", "cluster"])
def workers(request: pytest.FixtureRequest) -> Workers:
    """Two workers of either kind."""
    if request.param == "processes":
        return Processes(2)
    return Scheduler(request.getfixturevalue("cluster"))


@given(st.lists(st.sampled_from("abc"), max_size=12), st.lists(st.sampled_from("abcd"), max_size=3))
@settings(max_examples=50)
def test_every_job_is_taken_once_and_a_worker_stays_with_its_group(groups, others):
    waiting = Waiting([Job(index, {}, group) for index, group in enumerate(groups)])
    taken, own = [], None
    while waiting:
        left = [group for index, group in enumerate(groups) if index not in taken]
        job = waiting.take(own, others)
        if own in left:
            assert job.group == own
        elif set(left) - set(others):
            assert job.group not in others
        else:
            assert left.count(job.group) == max(map(left.count, left))
        taken.append(job.index)
        own = job.group
    assert sorted(taken) == list(range(len(groups)))


def test_a_job_put_back_is_the_next_of_its_group():
    waiting = Waiting(jobs(2, 4, 1))
    first = waiting.take(None, ())
    waiting.put_back(first)
    assert waiting.take(first.group, ()) == first


def test_a_loop_does_jobs_group_by_group_and_tells_of_each_before_and_after():
    events = list(Loop().events(works.doubled, jobs(2, 1, 4)))
    assert [event.index for event in events] == [0, 0, 2, 2, 1, 1]
    assert [type(event) for event in events] == [Begun, Outcome] * 3
    assert events[0] == Begun(0, os.getpid(), 1)


def test_all_kinds_of_workers_give_what_a_loop_gives_and_an_error_is_one_outcome_of_many(workers):
    wanted = told(outcomes(Loop().events(works.doubled, jobs(5, 13, 7, 8, 13))))
    found = outcomes(workers.events(works.doubled, jobs(5, 13, 7, 8, 13)))
    assert told(found) == wanted
    assert wanted[1] == (None, "LookupError: 13 brings bad luck")
    assert all(own.value is None or own.value["pid"] != os.getpid() for own in found.values())


def test_a_killed_worker_loses_nothing_its_job_is_done_by_another(workers, tmp_path):
    wanted = [Job(0, {"n": 3, "mark": str(tmp_path / "mark")}), *jobs(0, 4, 5, 6)[1:]]
    thread = killed_at(tmp_path / "mark")
    found = outcomes(workers.events(works.waits_once, wanted))
    thread.join(10)
    assert told(found) == {0: (6, None), 1: (8, None), 2: (10, None), 3: (12, None)}
    assert found[0].attempts == 2


def test_a_job_that_kills_every_worker_is_given_up_and_the_rest_completes(workers):
    found = outcomes(workers.events(works.doubled, jobs(5, 666, 7, 8)))
    assert told(found) == {0: (10, None), 1: (None, found[1].error), 2: (14, None), 3: (16, None)}
    assert found[1].attempts == 3
    assert "3 times while it ran, the last" in str(found[1].error)


def test_the_last_signal_of_a_process_is_named():
    (found,) = outcomes(Processes(1).events(works.doubled, jobs(666))).values()
    assert found.error == "its worker process ended 3 times while it ran, the last time by signal 9 (SIGKILL)"


def test_processes_are_told_by_their_ids_and_end_when_nobody_listens_any_more():
    events = Processes(2).events(works.slept, [Job(index, {"seconds": 60}) for index in range(3)])
    begun = [next(events), next(events)]
    pids = [event.worker for event in begun if isinstance(event, Begun)]
    assert len(set(pids)) == 2
    events.close()
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(int(pid), 0)


@pytest.fixture
def unknown_work(monkeypatch: pytest.MonkeyPatch) -> Work:
    """Work of a module that no worker can import."""
    here = types.ModuleType("only_here")
    exec("def work(given):\n    return given", here.__dict__)
    monkeypatch.setitem(sys.modules, "only_here", here)
    return here.work


def test_processes_that_cannot_start_are_told_of_once(unknown_work, capfd):
    with pytest.raises(RuntimeError, match=r"3 in a row ended at once, the last with exit status 1\. A script"):
        outcomes(Processes(1).events(unknown_work, jobs(1, 2)))


def test_workers_that_lack_the_package_are_told_of_and_live_on(unknown_work, cluster):
    told = r"tcp://127\.0\.0\.1:\d+, tcp://127\.0\.0\.1:\d+ cannot import only_here; the scheduler and all its workers"
    with pytest.raises(ConnectionError, match=told):
        outcomes(Scheduler(cluster).events(unknown_work, jobs(1, 2)))
    unknown_work.__module__ = "only_here.inside"
    with pytest.raises(ConnectionError, match=r"cannot import only_here\.inside \(No module named 'only_here'\)"):
        outcomes(Scheduler(cluster).events(unknown_work, jobs(1, 2)))
    assert len(outcomes(Scheduler(cluster).events(works.doubled, jobs(1, 2)))) == 2


def test_what_a_cluster_itself_cannot_do_is_no_outcome_of_a_job():
    from workbench.workers.cluster import Given, Running

    refused = Mock(**{"done.return_value": True, "exception.return_value": RuntimeError("it was\nnot read")})
    fresh = object.__new__(Running)
    fresh.jobs = {refused: Given(Job(0, {}), "tcp://a:1", 0.0)}
    with pytest.raises(ConnectionError, match=r"begin a job \(RuntimeError: it was not read\); the scheduler"):
        list(fresh.finished(Waiting([])))


def test_fewer_than_one_process_is_refused():
    with pytest.raises(ValueError, match="one or more worker processes, not 0"):
        Processes(0)


def test_a_scheduler_that_is_not_there_is_told_with_its_address(monkeypatch):
    monkeypatch.setattr("workbench.workers.cluster.PATIENCE", 0.3)
    with pytest.raises(ConnectionError, match=r"no Dask scheduler answers at 'tcp://127\.0\.0\.1:9'"):
        outcomes(Scheduler("tcp://127.0.0.1:9").events(works.doubled, jobs(1)))
    assert outcomes(Scheduler("tcp://127.0.0.1:9").events(works.doubled, [])) == {}


def test_a_cluster_without_a_gpu_says_so_instead_of_waiting_for_ever(cluster, monkeypatch):
    monkeypatch.setattr("workbench.workers.cluster.PATIENCE", 0.3)
    with pytest.raises(ConnectionError, match=r"no worker with the resource GPU; start one .*--resources GPU=1"):
        outcomes(Scheduler(cluster).events(works.doubled, [Job(0, {"n": 1}, gpu=True)]))


def test_without_dask_the_extra_to_install_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    monkeypatch.delitem(sys.modules, "workbench.workers.cluster", raising=False)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "tensor-network-workbench\[cluster\]"'):
        outcomes(Scheduler("tcp://127.0.0.1:9").events(works.doubled, jobs(1)))
