"""JupyterLab on the workbench's own notebooks: on this computer only, behind a token, silent about news."""

import os
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

_SETTINGS = Path(__file__).resolve().parent / "jupyter_config"


def open_lab(notebook: Path, port: int | None = None, browser: bool = True) -> int:
    """The exit code of a JupyterLab that showed `notebook` until it was stopped.

    Lab serves the notebook's folder on 127.0.0.1 behind a token (Jupyter draws one; JUPYTER_TOKEN sets it)
    and prints its address, which is all there is where `browser` is False or no browser is found.
    A named `port` is used or fails; without one the first free port from 8888 on is taken.
    News and update checks are off by default for this run; the user's own Jupyter settings are read, never written.

    Raises FileNotFoundError if there is no such notebook, ModuleNotFoundError if JupyterLab is missing.
    """
    notebook = notebook.resolve()
    if not notebook.is_file():
        raise FileNotFoundError(f"there is no notebook {notebook} to open.")
    if find_spec("jupyterlab") is None:
        raise ModuleNotFoundError(
            "JupyterLab is not installed in this Python: install it with `pip install jupyterlab`, "
            "or run `make lab` in the repository.",
            name="jupyterlab",
        )
    from jupyterlab.labapp import LabApp

    _prepare_environment()
    try:
        LabApp.launch_instance(_arguments(notebook, port, browser))
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    return 0


def _prepare_environment() -> None:
    """What Lab and its kernels inherit; a value that the user has set stays."""
    # Idle OpenMP threads of torch otherwise spin, and stall the other kernels on a shared CPU several times over.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # A folder of defaults on top of the user's own folders: what the user has chosen in Lab still wins.
    folders = [str(_SETTINGS), *filter(None, [os.environ.get("JUPYTER_CONFIG_PATH")])]
    os.environ["JUPYTER_CONFIG_PATH"] = os.pathsep.join(folders)


def _arguments(notebook: Path, port: int | None, browser: bool) -> list[str]:
    """The command line of JupyterLab, without its name."""
    arguments = [
        "--ServerApp.ip=127.0.0.1",
        f"--ServerApp.root_dir={notebook.parent}",
        f"--LabApp.default_url=/lab/tree/{quote(notebook.name)}",
    ]
    if port is not None:
        arguments += [f"--ServerApp.port={port}", "--ServerApp.port_retries=0"]
    if not browser:
        arguments.append("--no-browser")
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        arguments.append("--allow-root")  # in a container everybody is root; the port is local and behind a token
    return arguments
