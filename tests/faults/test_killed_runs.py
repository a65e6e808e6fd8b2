"""Work that is killed by signal 9 and begun again: the same numbers as undisturbed, and nothing left lying about."""

import json

import pytest
from faults.killing import ended

NAMES = [
    "text, at its tokenizer", "text, while it saves", "repeats, between two steps", "grammar, while it publishes",
    "healing", "export", "Born machine", "profile", "sample lab", "explanation board",
]  # fmt: skip
PROGRAM = """
import json, sys
from pathlib import Path
from faults.killed_jobs import JOBS, outcome
print(json.dumps({{name: outcome(name, Path({folder!r}) / name.replace(" ", "-")) for name in JOBS}}))
"""


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory) -> dict:
    return json.loads(ended(PROGRAM.format(folder=str(tmp_path_factory.mktemp("killed")))))


@pytest.mark.parametrize("name", NAMES)
def test_killed_work_begun_again_gives_the_numbers_of_undisturbed_work(outcomes, name):
    assert outcomes[name]["again"] == outcomes[name]["alone"]


@pytest.mark.parametrize("name", NAMES)
def test_what_a_kill_left_half_written_is_removed_by_who_begins_again(outcomes, name):
    assert outcomes[name]["left"], "it was killed at a moment at which nothing was being written"
    assert outcomes[name]["still"] == []
