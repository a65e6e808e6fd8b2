"""The notebooks in a folder of the reader's own: copied there once, and never written over."""

import filecmp
import shutil
from dataclasses import dataclass
from pathlib import Path

from workbench.shipped import shipped_path
from workbench.whole_files import replaced_file


@dataclass(frozen=True)
class Copies:
    """Notebooks in `folder`, by name: `added` now, there already and the `same`, or `kept` as the reader left them."""

    folder: Path
    added: tuple[str, ...]
    same: tuple[str, ...]
    kept: tuple[str, ...]

    def __str__(self) -> str:
        """What was done, in words."""
        n_added = len(self.added)
        told = f"{self.folder}: {n_added} notebook{'s' * (n_added != 1)} added, {len(self.same)} there already"
        if not self.kept:
            return told
        return f"{told}\nkept as they are, for they differ from the shipped ones: {', '.join(self.kept)}"


def copy_notebooks(folder: Path) -> Copies:
    """Copies the shipped notebooks into `folder`, which is made where it is missing; each file whole or not at all.

    A file that is there is left as it is, whatever it holds. The models and measurements that a notebook reads stay
    where the workbench is installed. Raises NotADirectoryError if `folder` is a file.
    """
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"{folder} is a file; name a folder for the notebooks.")
    folder = folder.resolve()
    added, same, kept = [], [], []
    for notebook in sorted(shipped_path("notebooks").glob("*.ipynb")):
        copy = folder / notebook.name
        if not (copy.exists() or copy.is_symlink()):
            with replaced_file(copy) as temporary:
                shutil.copyfile(notebook, temporary)
            added.append(copy.name)
        elif copy.is_file() and filecmp.cmp(notebook, copy, shallow=False):
            same.append(copy.name)
        else:
            kept.append(copy.name)
    return Copies(folder, tuple(added), tuple(same), tuple(kept))
