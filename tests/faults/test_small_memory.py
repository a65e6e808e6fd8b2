"""The main notebook on a model of GPT-2 small's shape, in the memory that a free Binder gives: 1.5 GB."""

import importlib
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="module")
def benchmark(request) -> Iterator[ModuleType]:
    """The benchmark of the same, imported from its folder as it is when it is run."""
    folder = str(request.config.rootpath / "benchmarks")
    sys.path.insert(0, folder)
    yield importlib.import_module("scale_memory")
    sys.path.remove(folder)


@pytest.fixture(scope="module")
def checkpoint(benchmark, tmp_path_factory) -> Iterator[Path]:
    """124M random numbers in GPT-2 small's shape with the shipped model's tokenizer, made by another process."""
    out = tmp_path_factory.mktemp("gpt2-small")
    made = benchmark.ran(benchmark.BUILD, out)
    assert made.returncode == 0, made.stderr
    assert (out / "model.safetensors").stat().st_size > 4 * 124_000_000
    yield out
    shutil.rmtree(out)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits and tells a program's memory so")
def test_the_main_notebook_survives_on_a_model_of_124_million_numbers_in_one_and_a_half_gigabytes(
    benchmark, checkpoint
):
    survived = benchmark.ran(benchmark.RUN, checkpoint, str(benchmark.LIMIT))
    assert survived.returncode == 0, survived.stderr[-2000:]
    found = json.loads(survived.stdout.splitlines()[-1])
    assert found["settings"] >= 4
    assert found["ratios"][0] == 1.0, "uncut it is the dense model, in parts too"
    told = survived.stderr
    assert "moments are measured in several steps and kept in temporary files" in told
    assert "decompositions are kept in temporary files" in told
