"""A healing run on disk, and whether it is one of the layers at hand."""

from pathlib import Path

from workbench.run_files import Numbers, RunFiles


def files(path: Path) -> RunFiles:
    """The checkpoint of a healing run in this directory."""
    return RunFiles(path, "heal")


def check_fits(path: Path, numbers: Numbers, own: Numbers) -> None:
    """Raises ValueError unless the saved `numbers` have the names and shapes of the layers' `own`."""
    for name in sorted({*numbers, *own}):
        saved = tuple(numbers[name].shape) if name in numbers else None
        needed = tuple(own[name].shape) if name in own else None
        if saved != needed:
            raise ValueError(
                f"{path} holds {name} as {saved}, but these layers need {needed} (None: not there); cut the bonds as "
                "they were cut when that run began, or give another directory."
            )
