"""The notebooks in a reader's own folder: each whole, each from this version, and no edit ever lost."""

import re
from pathlib import Path

import pytest

from workbench import shipped
from workbench.cli import main
from workbench.notebook_copies import copy_notebooks
from workbench.shipped import in_checkout, shipped_path


@pytest.fixture
def installed(tmp_path, monkeypatch) -> Path:
    """A package that was installed: three notebooks inside it, beside it another package called `notebooks`."""
    package = tmp_path / "site-packages" / "workbench"
    (package / "notebooks").mkdir(parents=True)
    (package.parent / "notebooks").mkdir()
    for name in ("00_start", "01_bonds", "02_sites"):
        (package / "notebooks" / f"{name}.ipynb").write_text(f'{{"cells": "{name}"}}', encoding="utf-8")
    monkeypatch.setattr(shipped, "_PACKAGE", package)
    return package


@pytest.fixture
def opened(monkeypatch) -> list[Path]:
    """The notebooks that `workbench lab` opened, none of which it really opens."""
    calls: list[Path] = []
    monkeypatch.setattr("workbench.jupyter.open_lab", lambda notebook, *_, **named: calls.append(notebook) or 0)
    return calls


def test_a_new_folder_gets_every_notebook_of_the_checkout_byte_for_byte(tmp_path, repository):
    copies = copy_notebooks(tmp_path / "deep" / "mine")
    originals = sorted((repository / "notebooks").glob("*.ipynb"))
    assert copies.added == tuple(notebook.name for notebook in originals)
    assert [(copies.folder / notebook.name).read_bytes() for notebook in originals] == [
        notebook.read_bytes() for notebook in originals
    ]
    assert sorted(path.name for path in copies.folder.iterdir()) == list(copies.added)


@pytest.mark.usefixtures("installed")
def test_what_a_reader_has_edited_stays_and_only_what_is_missing_is_added(tmp_path):
    copy_notebooks(tmp_path / "mine")
    (tmp_path / "mine" / "01_bonds.ipynb").write_text("edited", encoding="utf-8")
    (tmp_path / "mine" / "02_sites.ipynb").unlink()
    copies = copy_notebooks(tmp_path / "mine")
    assert (copies.added, copies.same, copies.kept) == (("02_sites.ipynb",), ("00_start.ipynb",), ("01_bonds.ipynb",))
    assert (tmp_path / "mine" / "01_bonds.ipynb").read_text(encoding="utf-8") == "edited"
    assert str(copies) == (
        f"{tmp_path / 'mine'}: 1 notebook added, 1 there already\n"
        "kept as they are, for they differ from the shipped ones: 01_bonds.ipynb"
    )


@pytest.mark.usefixtures("installed")
def test_a_link_or_a_folder_in_the_place_of_a_notebook_is_kept(tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "00_start.ipynb").symlink_to(tmp_path / "not there yet.ipynb")
    (folder / "01_bonds.ipynb").mkdir()
    assert copy_notebooks(folder).kept == ("00_start.ipynb", "01_bonds.ipynb")
    assert (folder / "00_start.ipynb").is_symlink()


@pytest.mark.usefixtures("installed")
def test_a_copy_that_fails_half_way_leaves_whole_files_only(tmp_path, monkeypatch):
    copied = []

    def full_disk(source: Path, target: Path) -> None:
        copied.append(source.name)
        if len(copied) == 2:
            target.write_bytes(b'{"cel')
            raise OSError(28, "No space left on device", str(target))
        target.write_bytes(source.read_bytes())

    monkeypatch.setattr("workbench.notebook_copies.shutil.copyfile", full_disk)
    with pytest.raises(OSError, match="its disk is full"):
        copy_notebooks(tmp_path / "mine")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["00_start.ipynb"]


def test_a_file_in_the_place_of_the_folder_is_named(tmp_path):
    (tmp_path / "mine").write_text("a letter", encoding="utf-8")
    with pytest.raises(NotADirectoryError, match=re.escape(f"{tmp_path / 'mine'} is a file; name a folder")):
        copy_notebooks(tmp_path / "mine")


def test_the_checkout_is_known_by_its_project_file_and_an_installed_package_by_its_absence(repository, installed):
    assert not in_checkout()
    assert shipped_path("notebooks") == installed / "notebooks"
    (installed.parent / "pyproject.toml").touch()
    assert in_checkout()
    assert shipped_path("notebooks") == installed.parent / "notebooks"


def test_what_was_not_shipped_is_named(installed):
    told = f"data/results does not come with this workbench: there is no {installed / 'data' / 'results'}."
    with pytest.raises(FileNotFoundError, match=re.escape(told)):
        shipped_path("data/results")


def test_lab_in_the_checkout_opens_its_own_notebook_and_copies_nothing(opened, repository, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["lab"]) == 0
    assert opened == [repository / "notebooks" / "00_start.ipynb"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("installed")
def test_lab_of_an_installed_package_makes_a_folder_here_and_says_so(opened, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["lab"]) == 0
    assert opened == [tmp_path / "workbench-notebooks" / "00_start.ipynb"]
    assert capsys.readouterr().out == f"{tmp_path / 'workbench-notebooks'}: 3 notebooks added, 0 there already\n"


@pytest.mark.usefixtures("installed")
def test_a_notebook_named_beside_a_folder_is_one_in_it_and_alone_is_opened_as_it_is(opened, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["lab", "--folder", "mine", "--notebook", "01_bonds.ipynb"]) == 0
    assert main(["lab", "--notebook", "elsewhere/own.ipynb"]) == 0
    assert opened == [tmp_path / "mine" / "01_bonds.ipynb", Path("elsewhere/own.ipynb")]
    assert not (tmp_path / "workbench-notebooks").exists()
