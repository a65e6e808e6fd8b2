"""A streamed compression that is killed goes on at the first matrix that is missing, with the same numbers."""

from pathlib import Path

import pytest
import tiny_models
from faults.killing import ended, killed_when
from safetensors.torch import load_file

CODE = """
import time
from pathlib import Path
import torch
from workbench.compress.recipe import Recipe
from workbench.compress.stream import Stream
from workbench.compress.windows import Windows
from workbench.transformer.skeleton import skeleton

tokens = torch.randint(64, (12, 17), generator=torch.Generator().manual_seed(0))
windows = Windows(tokens, torch.ones(12, 16, dtype=torch.bool))
stream = Stream(skeleton(Path({folder!r})), Recipe("svd", "input"), 0.4, windows, "cpu")
stream.write(Path({out!r}), lambda what, done, total: time.sleep({wait}))
"""


@pytest.fixture
def checkpoint(tmp_path) -> Path:
    lm = tiny_models.llama()
    lm.model.save_pretrained(tmp_path / "in", max_shard_size="8KB")
    lm.tokenizer.save_pretrained(tmp_path / "in")
    return tmp_path / "in"


def shards(folder: Path) -> dict[str, tuple[int, int]]:
    """Every finished shard, in both its forms, with what tells that it was written anew: its time and its inode."""
    files = sorted(folder.rglob("model-*.safetensors"))
    return {str(file.relative_to(folder)): (file.stat().st_mtime_ns, file.stat().st_ino) for file in files}


def test_killed_between_matrices_and_during_a_calibration_it_ends_with_the_same_numbers(tmp_path, checkpoint):
    out, partial, whole = tmp_path / "out", tmp_path / ".out.partial", tmp_path / "undisturbed"
    slow = CODE.format(folder=str(checkpoint), out=str(out), wait=0.4)
    killed_when(slow, lambda: (partial / "model-00004-of-00015.safetensors").exists())
    first = shards(partial)
    assert 8 <= len(first) < 16
    assert not out.exists()

    making = partial / "work" / "moments.making"
    killed_when(slow, lambda: (partial / "model-00008-of-00015.safetensors").exists() and making.exists())
    second = shards(partial)
    assert len(second) == 16
    assert second.items() >= first.items(), "a finished shard was written again"

    fast = [CODE.format(folder=str(checkpoint), out=str(place), wait=0) for place in (out, whole)]
    ended("".join(fast))
    assert shards(out).items() >= second.items(), "a finished shard was written again"
    assert not partial.exists()
    for name in shards(whole):
        found, wanted = load_file(out / name), load_file(whole / name)
        assert {key: tensor.tolist() for key, tensor in found.items()} == {
            key: tensor.tolist() for key, tensor in wanted.items()
        }
    for name in ("compressed.json", "model.safetensors.index.json", "dense/model.safetensors.index.json"):
        assert (out / name).read_bytes() == (whole / name).read_bytes()
    assert sorted(file.name for file in out.iterdir()) == sorted(file.name for file in whole.iterdir())


def test_two_runs_do_not_write_to_one_place(tmp_path, checkpoint):
    code = CODE.format(folder=str(checkpoint), out=str(tmp_path / "out"), wait=60)
    setting, write = code.rsplit("stream.write", 1)
    other = f"{setting}try:\n    stream.write{write}except BlockingIOError as error:\n    print(error)\n"

    def refused() -> bool:
        if not (tmp_path / ".out.partial" / "stream.json").exists():
            return False
        assert "work is in use by process" in ended(other)
        return True

    killed_when(code, refused)
