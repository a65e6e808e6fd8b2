"""`workbench lab`: JupyterLab on the notebooks, in the checkout or in a folder of the reader's own."""

import argparse
from pathlib import Path

_FIRST = "00_start.ipynb"
_OWN = Path("workbench-notebooks")  # where an installed package, whose files are not for editing, puts them


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the command and its options."""
    lab = commands.add_parser("lab", help="open JupyterLab on the first notebook")
    lab.add_argument("--folder", type=Path, default=None, help="put the notebooks into this folder and open it; what "
                     f"is there stays (default: the checkout's own; of an installed package ./{_OWN})")  # fmt: skip
    lab.add_argument("--notebook", type=Path, default=None, help="another notebook to open; with --folder, one in it")
    lab.add_argument("--port", type=int, default=None)
    lab.add_argument("--no-browser", action="store_true", help="only print the URL")
    lab.set_defaults(run=_lab)


def _lab(parsed: argparse.Namespace) -> int:
    from workbench.jupyter import open_lab

    return open_lab(_notebook(parsed.folder, parsed.notebook), parsed.port, browser=not parsed.no_browser)


def _notebook(folder: Path | None, named: Path | None) -> Path:
    """The notebook to open; the shipped ones are copied first where a folder is asked for or needed."""
    from workbench.notebook_copies import copy_notebooks
    from workbench.shipped import in_checkout, shipped_path

    if folder is None and named is not None:
        return named
    if folder is None and in_checkout():
        return shipped_path("notebooks") / _FIRST
    copies = copy_notebooks(_OWN if folder is None else folder)
    print(copies, flush=True)
    return copies.folder / (_FIRST if named is None else named)
