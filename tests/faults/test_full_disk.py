"""A disk that is full: said with the place and the bytes, nothing half written, and what was there is still whole."""

import errno
import json
import re

import pytest
from faults.full_disk import ended_on_a_small_disk

SIZE = 600_000  # bytes of the disk

# Each piece of work is done where there is room for none of it, or for all but its last part, and then again with room.
PROGRAM = """
import json, os, resource, shutil
from functools import partial
from pathlib import Path
import tiny_models, torch
from faults.killed_jobs import REPEATS, exported, healed, learned, profiled, sampled, training
from workbench.whole_files import write_json, write_tensors

folder, elsewhere, told = Path({folder!r}), Path({elsewhere!r}), {{}}

def files(path):
    return sorted(str(file.relative_to(path)) for file in path.rglob("*") if file.is_file())

def tried(work):
    before = files(folder)
    try:
        return {{"result": work(), "left": sorted(set(files(folder)) - set(before))}}
    except OSError as error:
        return {{"number": error.errno, "told": str(error), "left": sorted(set(files(folder)) - set(before))}}

def with_files_up_to(n_bytes, work):
    was = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, was[1]))
    try:
        return tried(work)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, was)

def with_room_for(n_bytes, work, name):
    own = folder / name
    own.mkdir()
    (folder / "filler").write_bytes(bytes(shutil.disk_usage(folder).free - n_bytes))
    told[name] = tried(partial(work, own))
    (folder / "filler").unlink()
    told[name]["again"] = work(own)
    told[name]["still"] = files(own)
    shutil.rmtree(own)
    told[name]["alone"] = work(elsewhere / name)

write_json(folder / "kept.json", [1])
zeros = {{"zeros": torch.zeros(50_000)}}
told["tensors larger than a file may be"] = with_files_up_to(
    100_000, lambda: write_tensors(folder / "zeros.safetensors", zeros))
told["numbers larger than a file may be"] = with_files_up_to(
    100_000, lambda: write_json(folder / "kept.json", list(range(100_000))))
told["export larger than a file may be"] = with_files_up_to(20_000, lambda: exported(folder))
told["mounted"] = os.path.ismount(folder)
for name in ("export", "export at once", "training", "healing", "born", "profile", "points"):
    (elsewhere / name).mkdir()
if told["mounted"]:
    zeros = {{"zeros": torch.zeros(200_000)}}
    told["tensors"] = tried(lambda: write_tensors(folder / "zeros.safetensors", zeros))
    told["numbers"] = tried(lambda: write_json(folder / "kept.json", list(range(200_000))))
    exported(elsewhere / "export")
    size = sum(file.stat().st_size for file in (elsewhere / "export").rglob("*") if file.is_file())
    shutil.rmtree(elsewhere / "export" / "out")
    with_room_for(size - 4_000, exported, "export")
    with_room_for(size // 2, exported, "export at once")
    with_room_for(30_000, partial(training, REPEATS), "training")
    with_room_for(240_000, healed, "healing")
    with_room_for(2_000, learned, "born")
    with_room_for(0, profiled, "profile")
    with_room_for(0, sampled, "points")
told["kept"] = json.loads((folder / "kept.json").read_text())
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory) -> dict:
    folder, elsewhere = tmp_path_factory.mktemp("disk"), tmp_path_factory.mktemp("elsewhere")
    program = PROGRAM.format(folder=str(folder), elsewhere=str(elsewhere))
    return json.loads(ended_on_a_small_disk(program, folder, SIZE).splitlines()[-1])


@pytest.mark.parametrize(
    ("what", "file"),
    [
        ("tensors larger than a file may be", r"zeros\.safetensors"),
        ("numbers larger than a file may be", r"kept\.json"),
        ("export larger than a file may be", "out"),
    ],
)
def test_a_limit_on_files_is_told_and_leaves_nothing(told, what, file):
    assert re.search(
        rf"disk0/{file} was not written: no file may be so large here, and the [\d.,]+ (bytes|MB) that .*; make room",
        told[what]["told"],
    )
    assert (told[what]["number"], told[what]["left"]) == (errno.EFBIG, [])


def mounted(told: dict, name: str) -> dict:
    """What was told on the small disk; skips where there was none."""
    if not told["mounted"]:
        pytest.skip("nothing can be mounted here, so no disk is small")
    return told[name]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tensors", r"disk0/zeros\.safetensors needs 0\.8 MB, and its disk has 0\.6 MB free: make room, or name"),
        (
            "numbers",
            r"disk0/kept\.json was not written: its disk is full, and the 0\.6 MB that were written are removed",
        ),
        (
            "export",
            r"export/out was not written: its disk is full, and the .* removed again; make room, or name a place",
        ),
        ("export at once", r"export at once/out needs 0\.1 MB, and its disk has [\d,]+ bytes free: make room, or name"),
        (
            "training",
            r"training/out/\.training/step2\.safetensors needs [\d,]+ bytes, and its disk has [\d,]+ bytes free",
        ),
        ("healing", r"healing/heal/step\d\.safetensors needs 0\.2 MB, and its disk has [\d,]+ bytes free: make room"),
        ("born", r"born/born/step1\.safetensors needs 1,344 bytes, and its disk has \d+ bytes free: make room"),
        ("profile", r"profile/profile\.json was not written: its disk is full, and the 0 bytes that were written"),
        ("points", r"points/cache/\w+\.json was not written: its disk is full, and the 0 bytes that were written"),
    ],
)
def test_a_full_disk_is_told_with_the_place_and_the_bytes(told, name, message):
    told_of = mounted(told, name)
    assert re.search(message, told_of["told"])
    assert told_of["number"] == errno.ENOSPC


@pytest.mark.parametrize("name", ["tensors", "numbers", "export", "export at once", "born", "profile", "points"])
def test_a_full_disk_leaves_nothing_that_is_not_whole(told, name):
    assert mounted(told, name)["left"] == []


def test_a_checkpoint_outlives_the_one_that_found_no_room(told):
    assert mounted(told, "healing")["left"] == ["healing/heal/heal.json", "healing/heal/step1.safetensors"]


@pytest.mark.parametrize("name", ["export", "export at once", "training", "healing", "born", "profile", "points"])
def test_once_there_is_room_again_the_work_gives_the_numbers_of_a_disk_that_was_never_full(told, name):
    told_of = mounted(told, name)
    assert told_of["again"] == told_of["alone"]
    assert not [file for file in told_of["still"] if re.search(r"(^|/)\.(?!training/)", file)]


def test_what_was_to_be_replaced_is_still_there(told):
    assert told["kept"] == [1]
