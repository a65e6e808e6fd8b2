"""Text that every Python has: the source and docstrings of its own standard library, split by module path."""

import functools
import hashlib
import json
import sysconfig
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from workbench.shipped import shipped_path

BUNDLED = "pygpt"
SHIPPED = (BUNDLED, "attn2", "truth-gpt")
HELD_OUT_ONE_IN = 16
# A held-out module is set aside when more than this share of its long lines also stands in training modules.
DUPLICATE_SHARE = 0.5
_LONG_LINE = 24


@dataclass(frozen=True)
class Split:
    """The paths of the modules in each part; `set_aside` are near-duplicates of training text, used in neither."""

    train: tuple[str, ...]
    held_out: tuple[str, ...]
    set_aside: tuple[str, ...]


def stdlib_modules(root: Path | None = None, wanted: Callable[[str], bool] = lambda name: True) -> dict[str, str]:
    """The text of every UTF-8 module of the running Python's standard library, by path, in path order.

    Left out: installed packages, files a build writes about its own machine, and paths not `wanted`.
    """
    root = root or Path(sysconfig.get_path("stdlib"))
    modules = {}
    for path in sorted(root.rglob("*.py"), key=lambda path: path.relative_to(root).as_posix()):
        name = path.relative_to(root).as_posix()
        if any(part in ("site-packages", "dist-packages") for part in path.parts):
            continue
        if name.startswith(("_sysconfigdata", "config-")) or name == "_sysconfig_vars.py" or not wanted(name):
            continue
        try:
            modules[name] = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # the test-suite holds files in other encodings on purpose
    return modules


def is_test(name: str) -> bool:
    """Whether a module belongs to the library's own test-suite (always in the training part)."""
    return any(part in ("test", "tests", "idle_test") for part in name.split("/"))


def is_candidate(name: str) -> bool:
    """Whether the hash of the path, and nothing else, puts a module in the held-out part."""
    return not is_test(name) and _hash(name) % HELD_OUT_ONE_IN == 0


def split(modules: Mapping[str, str]) -> Split:
    """Training and held-out paths, with near-duplicates of training text set aside (see `shared_lines`)."""
    train = tuple(name for name in modules if not is_candidate(name))
    seen = {line for name in train for line in _long_lines(modules[name])}
    held_out, set_aside = [], []
    for name in modules:
        if is_candidate(name):
            duplicate = shared_lines(modules[name], seen) > DUPLICATE_SHARE
            (set_aside if duplicate else held_out).append(name)
    return Split(train, tuple(held_out), tuple(set_aside))


def shared_lines(text: str, seen: set[str]) -> float:
    """The share, 0 to 1, of a text's lines of 24 characters or more that are in `seen`; 0 if it has none."""
    lines = list(_long_lines(text))
    return sum(line in seen for line in lines) / len(lines) if lines else 0.0


def _long_lines(text: str) -> Iterable[str]:
    return (line for line in map(str.strip, text.splitlines()) if len(line) >= _LONG_LINE)


def bundled_path(name: str = BUNDLED) -> Path:
    """The directory of a model shipped with the workbench: in the checkout, or in the installed package."""
    return shipped_path(f"data/{name}")


@functools.cache
def held_out_text() -> str:
    """The modules that the shipped pygpt never saw, as they stand in the running Python's own library, joined.

    Read once a process. Other Python versions hold nearly the same modules; those removed are left out.
    """
    held_out = set(json.loads((bundled_path() / "split.json").read_text(encoding="utf-8"))["held_out"])
    return _joined(lambda name: name in held_out)


@functools.cache
def training_text() -> str:
    """Library modules that the shipped pygpt was trained on, about as much text as is held out, joined."""
    return _joined(
        lambda name: not is_test(name) and not is_candidate(name) and _hash(f"calibrate/{name}") % HELD_OUT_ONE_IN == 0
    )


def _joined(wanted: Callable[[str], bool]) -> str:
    modules = stdlib_modules(wanted=wanted)
    if not modules:
        raise FileNotFoundError(
            f"the standard library at {sysconfig.get_path('stdlib')} holds no readable source; give a text of your own."
        )
    return "\n".join(modules.values())


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8])
