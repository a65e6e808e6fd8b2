"""A wheel made from the sdist, installed where the checkout cannot be seen: it opens Lab and runs a notebook there."""

import json
import os
import re
import secrets
import socket
import subprocess
import sys
import sysconfig
import time
import urllib.error
import urllib.request
import zipfile
from pathlib import Path

import pytest

EXECUTE = """\
import sys, nbformat
from nbclient import NotebookClient
notebook = nbformat.read(sys.argv[1], as_version=4)
notebook.cells.append(nbformat.v4.new_code_cell("import workbench; print(workbench.__file__)"))
client = NotebookClient(notebook, timeout=60, kernel_name="python3", resources={"metadata": {"path": sys.argv[2]}})
client.execute()
print(notebook.cells[-1].outputs[0].text)
"""


@pytest.fixture(scope="module")
def wheel(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel that a sdist of this checkout gives, as an index would serve it."""
    folder = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "hatchling", "build", "-d", str(folder), "-t"]
    _done([*build, "sdist"], repository)
    (archive,) = folder.glob("*.tar.gz")
    _done(["tar", "xzf", archive.name], folder)
    _done([*build, "wheel"], folder / archive.name.removesuffix(".tar.gz"))
    (made,) = folder.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin/ of a new environment: the wheel, and the packages of this one without its link to the checkout."""
    root = tmp_path_factory.mktemp("installed")
    _done([sys.executable, "-m", "venv", "--without-pip", str(root)], root)
    python = root / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check"]
    _done([*pip, "install", "-q", "--no-deps", "--no-index", "--no-compile", str(wheel)], root)
    packages = _done([str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], root).stdout.strip()
    # A .pth file names a folder of packages, whose own .pth files, such as that of an editable install, are not read.
    (Path(packages) / "of_the_tests.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    return root / "bin"


def _environment(root: Path) -> dict[str, str]:
    """Jupyter's own files from this environment, and folders of its own for all that it writes."""
    shared = Path(sys.prefix) / "share" / "jupyter"
    inherited = {n: v for n, v in os.environ.items() if not n.startswith(("JUPYTER", "PYTEST_", "PYTHON"))}
    own = {f"JUPYTER_{kind}_DIR": str(root / kind.lower()) for kind in ("CONFIG", "DATA", "RUNTIME")}
    own |= {"JUPYTERLAB_DIR": str(shared / "lab"), "JUPYTER_PATH": str(shared), "IPYTHONDIR": str(root / "ipython")}
    return inherited | own | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}


def _done(command: list[str], folder: Path, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess:
    """The command run in `folder`; its output is shown where it fails."""
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
    return done


def test_the_wheel_holds_the_models_the_notebooks_and_what_they_read(wheel, repository):
    names = zipfile.ZipFile(wheel).namelist()
    notebooks = sorted((repository / "notebooks").glob("*.ipynb"))
    assert {f"workbench/notebooks/{notebook.name}" for notebook in notebooks} <= set(names)
    read = set()
    for notebook in notebooks:
        code = "".join("".join(c["source"]) for c in json.loads(notebook.read_text(encoding="utf-8"))["cells"])
        assert "../" not in code, f"{notebook.name} reads beside itself, where a copy of it has nothing"
        if "data/results" in code:
            read |= set(re.findall(r"[\w]+\.json", code))
    assert len(read) >= 3
    assert {f"workbench/data/results/{name}" for name in read} == {n for n in names if "data/results" in n}
    for model in ("pygpt", "attn2", "truth-gpt"):
        assert f"workbench/data/{model}/model.safetensors" in names
    assert not [name for name in names if ".training" in name or "checkpoint" in name.split("/")[-2]]


def test_the_wheel_says_what_it_is(wheel):
    archive = zipfile.ZipFile(wheel)
    (metadata,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
    told = archive.read(metadata).decode()
    for line in ("Version: 0.1.0", "License-Expression: Apache-2.0", "Requires-Python: <3.14,>=3.11"):
        assert line in told.splitlines()
    assert [line.split(" :: ")[-1] for line in told.splitlines() if ":: 3." in line] == ["3.11", "3.12", "3.13"]


def test_the_installed_package_finds_its_model_without_the_repository(installed, tmp_path):
    told = subprocess.run(
        [installed / "workbench", "check"], cwd=tmp_path, env=_environment(tmp_path), capture_output=True, text=True
    )
    assert "model: pygpt, 5,853,184 parameters" in told.stdout, told.stderr


def test_lab_of_the_wheel_puts_the_notebooks_into_a_folder_serves_it_and_the_first_runs_there(
    installed, tmp_path, repository
):
    folder, token = tmp_path / "mine", secrets.token_hex(16)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [installed / "workbench", "lab", "--folder", str(folder), "--no-browser", "--port", str(port)]
    environment = _environment(tmp_path)
    lab = subprocess.Popen(
        command, cwd=tmp_path, env=environment | {"JUPYTER_TOKEN": token}, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    try:
        url = f"http://127.0.0.1:{port}/api/contents?token={token}"
        served = {entry["name"] for entry in json.loads(_answer(url, lab))["content"]}
        execute = [str(installed / "python"), "-c", EXECUTE, str(folder / "00_start.ipynb"), str(folder)]
        file = _done(execute, tmp_path, environment).stdout.strip()
    finally:
        lab.terminate()
        said, _ = lab.communicate(timeout=30)
    assert re.match(rf"{re.escape(str(folder))}: \d+ notebooks added, 0 there already\n", said)
    assert served == {path.name for path in (repository / "notebooks").glob("*.ipynb")}
    assert Path(file).is_relative_to(installed.parent), "the notebook ran on another workbench"


def _answer(url: str, server: subprocess.Popen) -> bytes:
    """What the server says at `url` once it is up."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and server.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return answer.read()
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.1)
    raise AssertionError("the server never answered")
