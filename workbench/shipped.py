"""Where what is shipped beside the code lies: in the checkout that it runs from, or inside the installed package."""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def in_checkout() -> bool:
    """Whether the package runs from the repository, and not from where it was installed.

    Beside an installed package lie other packages, one of which may be called `data`: its own pyproject.toml tells.
    """
    return (_PACKAGE.parent / "pyproject.toml").is_file()


def shipped_path(name: str) -> Path:
    """The file or folder `name` of the repository, such as "data/results": of the checkout, else of the package.

    A wheel holds the notebooks, the shipped models, and those measurements that a notebook reads.
    Raises FileNotFoundError where there is no such thing.
    """
    path = (_PACKAGE.parent if in_checkout() else _PACKAGE) / name
    if not path.exists():
        raise FileNotFoundError(f"{name} does not come with this workbench: there is no {path}.")
    return path
