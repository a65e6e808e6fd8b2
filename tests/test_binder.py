"""What Binder would build, read from the Dockerfile that repo2docker writes (no Docker, no network)."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def dockerfile(repository: Path) -> str:
    """The Dockerfile and the log of repo2docker for this repository, as for Binder's own user."""
    user = ("--user-id=1000", "--user-name=reader")
    command = [sys.executable, "-m", "repo2docker", "--no-build", "--debug", *user, "."]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def _steps(dockerfile: str) -> list[str]:
    """The instructions of the Dockerfile, with continued lines joined."""
    joined = re.sub(r"\\\n\s*", "", dockerfile)
    return [line for line in joined.splitlines() if re.match(r"(FROM|RUN|COPY|USER|ENV|WORKDIR|ENTRYPOINT|CMD) ", line)]


def _position(steps: list[str], part: str) -> int:
    """Where the only step that holds `part` stands."""
    found = [number for number, step in enumerate(steps) if part in step]
    assert len(found) == 1, f"{part!r} stands in {len(found)} steps of the Dockerfile, not in one: {steps}"
    return found[0]


def test_binder_takes_conda_and_python_3_12(dockerfile):
    assert "Building conda environment for python=3.12" in dockerfile
    _position(_steps(dockerfile), 'env update -p ${NB_PYTHON_PREFIX} --file "binder/environment.yml"')


def test_binder_installs_the_project_after_torch_and_after_copying_the_repository(dockerfile, repository):
    steps = _steps(dockerfile)
    torch, copy = _position(steps, "env update"), _position(steps, "COPY --chown=1000:1000 src/ ${REPO_DIR}/")
    install = _position(steps, "RUN ./binder/postBuild")
    assert torch < install
    assert copy < install
    assert "USER ${NB_USER}" in steps[copy:install], "the install would run as root"
    script = (repository / "binder" / "postBuild").read_text(encoding="utf-8")
    assert script.splitlines()[-1] == 'python -m pip install --no-cache-dir --editable ".[digits]"'


def test_binder_starts_as_workbench_lab_does(dockerfile, repository):
    _position(_steps(dockerfile), 'ENV R2D_ENTRYPOINT="${REPO_DIR}/binder/start"')
    shown = subprocess.run(
        [repository / "binder" / "start", "sh", "-c", 'echo "$OMP_WAIT_POLICY"; ls "$JUPYTER_CONFIG_PATH/labconfig"'],
        env=os.environ | {"REPO_DIR": str(repository)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stdout.split() == ["PASSIVE", "default_setting_overrides.json"]


@pytest.mark.parametrize("script", ["postBuild", "start"])
def test_binder_may_execute_its_scripts(repository, script):
    assert os.access(repository / "binder" / script, os.X_OK)
