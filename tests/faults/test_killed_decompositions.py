"""Decomposing ended by kill −9 and begun again, and by two processes in one directory: the same numbers as alone."""

import json
from pathlib import Path

from faults.killing import ended, killed_when, started

# The ring is fitted, so that each of the eight matrices takes long enough to be killed at.
PROGRAM = """
import hashlib, json, sys
import tiny_models
from workbench import CompressionLab
lab = CompressionLab.from_model(tiny_models.gpt2(), tiny_models.TEXT, max_windows=24)
lab.decompose("ring", "plain", cache={cache!r}, progress=lambda what, done, total: None)
lab.kept = 0.5
numbers = hashlib.sha256()
for layer in lab.layers.values():
    for member in layer.uncut.members:
        for tensor in member.tensors().values():
            numbers.update(tensor.contiguous().numpy())
print(json.dumps([numbers.hexdigest(), lab.evaluate().perplexity]))
"""


def files(cache: Path) -> dict[str, tuple[int, int]]:
    """When each finished file was written, and which file it is."""
    return {file.name: (file.stat().st_mtime_ns, file.stat().st_ino) for file in cache.glob("[!.]*")}


def test_killed_between_two_matrices_it_goes_on_and_writes_no_finished_one_again(tmp_path):
    undisturbed, cache = tmp_path / "undisturbed", tmp_path / "cache"
    expected = json.loads(ended(PROGRAM.format(cache=str(undisturbed))))
    killed_when(PROGRAM.format(cache=str(cache)), lambda: len(files(cache)) >= 3)
    finished = files(cache)
    assert 3 <= len(finished) < 8
    assert json.loads(ended(PROGRAM.format(cache=str(cache)))) == expected
    assert finished.items() <= files(cache).items()
    assert {name: (undisturbed / name).read_bytes() for name in files(undisturbed)} == {
        name: (cache / name).read_bytes() for name in files(cache)
    }


def test_two_processes_on_one_cache_at_the_same_time_both_end_with_the_same_numbers(tmp_path):
    cache = tmp_path / "cache"
    both = [started(PROGRAM.format(cache=str(cache))) for _ in range(2)]
    said = [process.communicate(timeout=120) for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert said[0][0] == said[1][0]
    assert len(files(cache)) == 8
    assert [path.name for path in cache.iterdir() if path.name.startswith(".")] == []
    before = files(cache)
    assert ended(PROGRAM.format(cache=str(cache))) == said[0][0]
    assert files(cache) == before, "every file was whole, and found"
