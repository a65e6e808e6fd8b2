"""Folders that two processes share, or that nobody may write to: nothing is mixed, nothing lost, and it is said."""

import json
import re

import pytest
from faults.full_disk import ended_beside_a_read_only_folder
from faults.killed_jobs import COUNTS, profiled, quiet, sampled
from faults.killing import ended

from workbench.explore.sample_complexity import SampleLab
from workbench.file_locks import only_run, turn_at
from workbench.truth.planted import planted_tree
from workbench.whole_files import new_directory, replaced_file

# Runs of which one has the folder while another asks for it, and caches to which two write at the same time.
PROGRAM = """
import json, os, time
from pathlib import Path
import tiny_models, torch
from faults.killed_jobs import COUNTS, HEAL, REPEATS, profiled, quiet, train
from workbench.born.two_site import SweepRecipe, sweep
from workbench.explore.sample_complexity import SampleLab
from workbench.truth.planted import planted_tree

folder, told = Path({folder!r}), {{}}

def forked(work):
    process = os.fork()
    if not process:
        work()
        os._exit(0)
    return process

def with_two(name, run):
    begun, may_end = os.pipe(), os.pipe()
    waits = []
    def hold(*told):
        if not waits:
            waits.append(os.write(begun[1], b"."))
            os.read(may_end[0], 1)
    first = forked(lambda: run(hold))
    os.read(begun[0], 1)
    try:
        run(quiet)
        told[name] = ["it ran", first]
    except BlockingIOError as error:
        told[name] = [str(error), first]
    os.write(may_end[1], b".")
    assert os.waitpid(first, 0)[1] == 0
    run(quiet)

def heal(hold):
    lab = tiny_models.lab()
    lab.keep(0.4)
    lab.heal(HEAL, folder / "heal", hold)

def born(hold):
    samples = torch.randint(2, (60, 8), generator=torch.Generator().manual_seed(3))
    sweep(samples, SweepRecipe(max_bond=4, rounds=3), checkpoint=folder / "born").finish(hold)

with_two("train", lambda hold: train(folder / "train", REPEATS, report=hold, save_every=2))
with_two("heal", heal)
with_two("born", born)

def sample(seeds):
    SampleLab(planted_tree(6, 0.8, seed=1).source, COUNTS, [5, 10, 20, 40, 80], seeds, folder / "cache").run(quiet)

(folder / "profiles").mkdir()
both = [forked(lambda seeds=seeds: sample(seeds)) for seeds in (range(6), range(6, 12))]
both += [forked(lambda: profiled(folder / "profiles")) for _ in range(2)]
assert [os.waitpid(process, 0)[1] for process in both] == [0] * 4
told["points"] = json.loads(next((folder / "cache").glob("*.json")).read_text())["points"]
told["profile"] = json.loads((folder / "profiles" / "profile.json").read_text())["points"]
told["left"] = sorted(str(path.relative_to(folder)) for path in folder.rglob(".*") if path.name != ".training")
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory) -> dict:
    return json.loads(ended(PROGRAM.format(folder=str(tmp_path_factory.mktemp("shared")))).splitlines()[-1])


@pytest.mark.parametrize(("name", "place"), [("train", r"train/\.training"), ("heal", "heal"), ("born", "born")])
def test_a_second_run_in_one_folder_is_refused_with_the_process_that_is_at_work_there(told, name, place):
    message, process = told[name]
    assert re.search(rf"shared0/{place} is in use by process {process} on \S+; wait until it has ended, or", message)


def test_two_labs_on_one_cache_keep_the_points_of_both(told):
    lab = SampleLab(planted_tree(6, 0.8, seed=1).source, COUNTS, [5, 10, 20, 40, 80], range(12))
    alone = {(point.n, point.seed): point.scores.kl for point in lab.run(quiet).points}
    assert {(row["n"], row["seed"]) for row in told["points"]} == set(alone)
    assert len(told["points"]) == 60


def test_two_processes_that_measure_one_profile_keep_it_whole(told, tmp_path):
    (alone,) = profiled(tmp_path)
    assert {name: {int(bond): harm for bond, harm in own.items()} for name, own in told["profile"].items()} == {
        name: pytest.approx(own, abs=1e-5) for name, own in alone
    }


def test_locks_are_removed_by_their_owners(told):
    assert told["left"] == []


def test_a_lock_left_by_a_process_that_is_gone_holds_nobody_up(tmp_path):
    (tmp_path / ".lock").write_text("process 1 on another machine")
    (tmp_path / ".a.json.lock").write_text("process 1 on another machine")
    with only_run(tmp_path), turn_at(tmp_path / "a.json"):
        assert "process 1 on" not in (tmp_path / ".lock").read_text()
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_another_process_made_meanwhile_is_left_as_it_is(tmp_path):
    writing = new_directory(tmp_path / "out")
    writing.__enter__()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "theirs.txt").write_text("theirs")
    with pytest.raises(FileExistsError, match="out already exists and is left as it is; name another directory"):
        writing.__exit__(None, None, None)
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "theirs.txt"]


def test_what_a_running_process_writes_is_not_taken_for_abandoned(tmp_path):
    with replaced_file(tmp_path / "a.json") as first:
        first.write_text("[1]")
        with replaced_file(tmp_path / "a.json") as second:
            second.write_text("[2]")
        assert first.exists()
    assert (tmp_path / "a.json").read_text() == "[1]"


# What may be read is read, and what would be written is refused with its place.
READING = """
import json
from pathlib import Path
import tiny_models
from faults.killed_jobs import COUNTS, REPEATS, healed, learned, profiled, quiet, sampled, training
from workbench.explore.sample_complexity import SampleLab
from workbench.truth.planted import planted_tree
from workbench.whole_files import write_json

folder, told = Path({folder!r}), {{}}

def tried(name, work):
    try:
        told[name] = ["done", json.loads(json.dumps(work()))]
    except OSError as error:
        told[name] = [type(error).__name__, str(error)]

lab = tiny_models.lab()
lab.keep(0.4)
tried("cache", lambda: sampled(folder))
tried("profile", lambda: profiled(folder))
tried("new points", lambda: SampleLab(
    planted_tree(6, 0.8, seed=1).source, COUNTS, [7], range(1), folder / "cache").run(quiet))
tried("export", lambda: str(lab.export(folder / "new" / "out")))
tried("train", lambda: training(REPEATS, folder))
tried("heal", lambda: healed(folder))
tried("born", lambda: learned(folder))
tried("json", lambda: write_json(folder / "new.json", [1]))
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def read(tmp_path_factory) -> tuple[dict, dict]:
    """What was told of each try beside a read-only folder, and the numbers that it holds."""
    folder = tmp_path_factory.mktemp("read-only")
    numbers = json.loads(json.dumps({"cache": sampled(folder), "profile": profiled(folder)}))
    return json.loads(ended_beside_a_read_only_folder(READING.format(folder=str(folder)), folder)), numbers


@pytest.mark.parametrize("name", ["cache", "profile"])
def test_what_a_read_only_folder_keeps_is_read(read, name):
    told, numbers = read
    assert told[name] == ["done", numbers[name]]


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("new points", r"cache/\w+\.json"), ("export", "new/out"), ("train", r"out/\.training"), ("heal", "heal"),
        ("born", "born"), ("json", r"new\.json"),
    ],
)  # fmt: skip
def test_what_would_be_written_to_a_read_only_folder_is_refused_with_its_place(read, name, place):
    assert re.search(
        rf"read-only0/{place} cannot be written: its folder is read-only, or another user's; name another place",
        read[0][name][1],
    )
