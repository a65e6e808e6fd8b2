"""On Colab a notebook's first cell installs the workbench, and says from where; elsewhere it installs nothing."""

import json
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((REPOSITORY / "notebooks").glob("*.ipynb"))
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
BADGES = re.findall(r"\]\(https://\S*/([\w-]+)/tensor-network-workbench/\S*00_start\.ipynb\)", README)
OWNER = BADGES[0]
SOURCE = f"git+https://github.com/{OWNER}/tensor-network-workbench"


@pytest.fixture
def asked(monkeypatch) -> list[tuple[list[str], bool]]:
    """The commands that a cell starts, none of which is run, and whether their failure would be one of the cell."""
    commands: list[tuple[list[str], bool]] = []
    monkeypatch.setattr(subprocess, "run", lambda command, check=False: commands.append((command, check)))
    return commands


def setup(notebook: Path) -> str:
    """The source of the first code cell, before which only text stands."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return "".join(next(cell for cell in cells if cell["cell_type"] == "code")["source"])


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_on_colab_the_first_cell_installs_the_workbench_into_the_kernels_python(notebook, asked, monkeypatch):
    monkeypatch.setitem(sys.modules, "google.colab", ModuleType("google.colab"))
    exec(compile(setup(notebook), notebook.name, "exec"), {})
    assert asked == [([sys.executable, "-m", "pip", "install", "-q", SOURCE], True)]


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_elsewhere_the_first_cell_installs_nothing(notebook, asked, monkeypatch):
    monkeypatch.delitem(sys.modules, "google.colab", raising=False)
    exec(compile(setup(notebook), notebook.name, "exec"), {})
    assert asked == []


def test_the_owner_is_named_in_the_badges_and_first_cells_only_and_the_readme_says_how_to_replace_it():
    assert BADGES == [OWNER, OWNER]
    for notebook in NOTEBOOKS:
        text = notebook.read_text(encoding="utf-8")
        assert text.count(f"/{OWNER}/") == setup(notebook).count(f"/{OWNER}/") == 1
    if OWNER == "OWNER":  # replaced, the sentence has done its work
        assert "`sed -i s/OWNER/your-account/ README.md notebooks/*.ipynb` puts it in" in README
