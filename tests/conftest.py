"""What every test runs under: checked annotations, fixed seeds, no hub, and reasons for what is skipped."""

import logging
import os
import random
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import jaxtyping
import numpy
import pytest
import torch

# All before the first import of workbench or transformers: each is read once.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("MPLBACKEND", "agg")
jaxtyping.install_import_hook("workbench", "checked_types.checked")

REPOSITORY = Path(__file__).resolve().parents[1]

# The examples follow from the test alone, and a slow machine is no failure.
hypothesis.settings.register_profile("repeatable", derandomize=True, deadline=None)
hypothesis.settings.load_profile("repeatable")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skips tests marked `gpu` where there is none, and says so."""
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if marked and not torch.cuda.is_available():
        for item in marked:
            item.add_marker(pytest.mark.skip(reason="no CUDA device on this machine"))


@pytest.fixture(autouse=True)
def fixed_seeds() -> None:
    """Every test starts from the same state of every global generator."""
    random.seed(0)
    numpy.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout."""
    return REPOSITORY


@pytest.fixture(scope="session")
def shared_data(repository: Path) -> Path:
    """The folder of real models and texts that may lie beside the checkout; skips where it does not."""
    folder = repository.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no shared data beside the checkout: {folder} is not there")
    return folder


@pytest.fixture(scope="session")
def cluster() -> Iterator[str]:
    """The address of a Dask scheduler with two worker processes of one thread each, on this machine."""
    from distributed import LocalCluster

    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # tests kill workers, and it would tell of each
    with LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address="127.0.0.1:0", host="127.0.0.1",
        silence_logs=logging.CRITICAL,
    ) as made:  # fmt: skip
        yield made.scheduler_address
