"""What `workbench lab` says when it cannot open, and what it leaves of the user's own settings."""

import os
import re
import socket
import subprocess
import sys

import pytest

from workbench import jupyter


def test_a_notebook_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=re.escape(f"there is no notebook {tmp_path / 'bonds.ipynb'} to open")):
        jupyter.open_lab(tmp_path / "bonds.ipynb")


def test_a_missing_jupyterlab_comes_with_its_remedy(monkeypatch, tmp_path):
    notebook = tmp_path / "bonds.ipynb"
    notebook.write_text("{}", encoding="utf-8")
    monkeypatch.setattr(jupyter, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r"JupyterLab is not installed .* `pip install jupyterlab`"):
        jupyter.open_lab(notebook)


def test_what_the_user_has_set_stays(monkeypatch):
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    monkeypatch.setenv("JUPYTER_CONFIG_PATH", "/of/the/user")
    jupyter._prepare_environment()
    assert os.environ["OMP_WAIT_POLICY"] == "ACTIVE"
    ours, theirs = os.environ["JUPYTER_CONFIG_PATH"].split(os.pathsep)
    assert os.path.isfile(os.path.join(ours, "labconfig", "default_setting_overrides.json"))
    assert theirs == "/of/the/user"


def test_a_named_port_that_is_taken_is_a_failure_and_not_another_port(tmp_path):
    notebook = tmp_path / "bonds.ipynb"
    notebook.write_text("{}", encoding="utf-8")
    script = (
        "import sys; from pathlib import Path; from workbench.jupyter import open_lab; "
        "sys.exit(open_lab(Path(sys.argv[1]), port=int(sys.argv[2]), browser=False))"
    )
    own = {f"JUPYTER_{kind}_DIR": str(tmp_path / kind) for kind in ("CONFIG", "DATA", "RUNTIME")}
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = subprocess.run(
            [sys.executable, "-c", script, str(notebook), str(port)],
            env=os.environ | own,
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert done.returncode == 1, done.stderr
    assert f"port {port} is not available" in done.stderr


def test_lab_is_local_serves_the_folder_and_shows_the_notebook(tmp_path):
    arguments = jupyter._arguments(tmp_path / "two bonds.ipynb", None, True)
    assert arguments[:3] == [
        "--ServerApp.ip=127.0.0.1",
        f"--ServerApp.root_dir={tmp_path}",
        "--LabApp.default_url=/lab/tree/two%20bonds.ipynb",
    ]
    assert not [argument for argument in arguments if "port" in argument or "no-browser" in argument]
