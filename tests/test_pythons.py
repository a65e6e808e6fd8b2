"""The other Pythons of the project: each one found here compiles every file, and has every name it asks of it."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
FILES = [
    path
    for folder in ("workbench", "docs", "benchmarks", ".ci", "tests")
    for path in sorted((REPOSITORY / folder).rglob("*.py"))
]
ASKED = """\
import importlib, json, sys
for file in json.loads(sys.stdin.readline()):
    compile(open(file, encoding="utf-8").read(), file, "exec")
for module, name in json.loads(sys.stdin.readline()):
    found = importlib.import_module(module)
    if name and not hasattr(found, name):
        importlib.import_module(f"{module}.{name}")
print(*sys.version_info[:2], sep=".")
"""


def named(project: dict) -> list[str]:
    """The Pythons of the project's classifiers, oldest first."""
    ends = [classifier.rpartition(" :: ")[2] for classifier in project["classifiers"] if " :: 3." in classifier]
    return sorted(ends, key=lambda version: int(version.partition(".")[2]))


PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def from_the_library(source: str) -> set[tuple[str, str]]:
    """The modules of Python's own library that a file imports, each with a name taken from it, or with none."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {(alias.name, "") for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {(node.module, alias.name) for alias in node.names}
    return {(module, name) for module, name in found if module.split(".")[0] in sys.stdlib_module_names}


@pytest.mark.parametrize("version", named(PROJECT))
def test_a_python_of_the_project_compiles_every_file_and_has_what_they_import_without_a_warning(version):
    python = shutil.which(f"python{version}")
    environment = os.environ | {"PYENV_VERSION": version}  # where pyenv keeps several, its python3.12 asks which
    if python is None or subprocess.run([python, "-V"], env=environment, capture_output=True).returncode:
        pytest.skip(f"no python{version} here")
    wanted = set().union(*(from_the_library(path.read_text(encoding="utf-8")) for path in FILES))
    given = "\n".join((json.dumps(list(map(str, FILES))), json.dumps(sorted(wanted))))
    done = subprocess.run(
        [python, "-W", "error", "-c", ASKED], env=environment, input=given, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip() == version
    assert len(wanted) > 50


@pytest.mark.parametrize(
    ("gone", "told"),
    [
        ("import asyncio.compat", "No module named 'asyncio.compat'"),
        ("from ast import Nothing", "No module named 'ast.Nothing'"),
    ],
)
def test_a_name_that_a_python_has_not_is_a_failure(gone, told):
    given = f"[]\n{json.dumps(sorted(from_the_library(gone)))}"
    done = subprocess.run([sys.executable, "-c", ASKED], input=given, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert told in done.stderr


def test_the_pythons_named_are_those_allowed_and_those_that_make_takes(repository):
    first, last = named(PROJECT)[0], named(PROJECT)[-1]
    assert PROJECT["requires-python"] == f">={first},<3.{int(last.partition('.')[2]) + 1}"
    bounds = re.findall(
        r"\(3, (\d+)\) <= sys.version_info\[:2\] <= \(3, (\d+)\)", (repository / "Makefile").read_text()
    )
    assert bounds == [(first.partition(".")[2], last.partition(".")[2])]
