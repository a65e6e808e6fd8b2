"""Every example that the documentation shows is run: README, further pages, and docstrings, found by glob."""

import doctest
import importlib
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
WORKBENCH = str(Path(sys.executable).with_name("workbench"))
WITH_EXAMPLES = sorted(
    path.relative_to(REPOSITORY).with_suffix("").as_posix().replace("/", ".").removesuffix(".__init__")
    for path in (REPOSITORY / "workbench").rglob("*.py")
    if ">>>" in path.read_text(encoding="utf-8")
)


def blocks(page: Path, *languages: str) -> list[tuple[int, str]]:
    """The fenced blocks of a page in these languages, each with the line number of its first line."""
    text = page.read_text(encoding="utf-8") if page.is_file() else ""
    found = FENCE.finditer(text)
    return [(text.count("\n", 0, block.start(2)) + 1, block[2]) for block in found if block[1] in languages]


def commands(page: Path) -> list[tuple[int, str]]:
    """The `workbench …` lines in the shell blocks of a page, each with the line number of its block.

    `workbench lab` does not end; the browser tests open it.
    """
    lines = [
        (number, line.strip().removeprefix("$ "))
        for number, block in blocks(page, "bash", "sh", "shell", "console")
        for line in block.replace("\\\n", " ").splitlines()
    ]
    return [(n, line) for n, line in lines if line.startswith("workbench ") and line.split()[1] != "lab"]


COMMANDS = [(page.name, number, line) for page in PAGES for number, line in commands(page)]


@pytest.fixture
def beside_the_data(tmp_path, monkeypatch) -> Path:
    """A working directory where the checkout's data is found, and nothing written reaches the checkout."""
    (tmp_path / "data").symlink_to(REPOSITORY / "data", target_is_directory=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_readme_shows_python_or_a_command_that_can_be_run():
    readme = REPOSITORY / "README.md"
    assert readme.is_file(), "there is no README.md"
    assert blocks(readme, "python") or commands(readme), "README.md has no ```python block and no `workbench` command"


@pytest.mark.usefixtures("beside_the_data")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_python_on_a_page_runs_from_top_to_bottom(page):
    namespace: dict[str, object] = {"__name__": "__main__"}
    for number, block in blocks(page, "python"):
        padding = "\n" * (number - 1)  # so that a traceback names the line of the page
        exec(compile(padding + block, str(page), "exec"), namespace)


@pytest.mark.parametrize(("page", "number", "line"), COMMANDS, ids=[f"{p}:{n}" for p, n, _ in COMMANDS])
def test_a_command_on_a_page_runs(page, number, line, beside_the_data):
    command = [WORKBENCH, *shlex.split(line, comments=True)[1:]]
    done = subprocess.run(
        command, cwd=beside_the_data, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, f"{page}, line {number}: {line}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"


@pytest.mark.usefixtures("beside_the_data")
@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_the_examples_in_docstrings_print_what_they_say(name):
    result = doctest.testmod(importlib.import_module(name), optionflags=doctest.NORMALIZE_WHITESPACE)
    assert result.attempted > 0, f"{name} holds >>> but no example that doctest finds"
    assert result.failed == 0, f"{result.failed} of {result.attempted} examples in {name} failed; see the output above"


def test_the_figures_of_the_readme_are_those_of_the_measurements():
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    results = REPOSITORY / "data" / "results"
    # The later ones prevail.
    names = ("peers.json", "speed.json", "diagrams.json", "circuits.json", "born_speed.json", "scale.json")
    measured = [json.loads((results / name).read_text(encoding="utf-8")) for name in names]
    rows = {row["what"]: row for result in measured for row in result["rows"]}
    points = json.loads((results / "trade_off.json").read_text(encoding="utf-8"))["points"]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in readme.splitlines() if line[:1] == "|"]
    shown = {row[0]: row[1] for row in cells if row[0] in rows}
    assert shown == {what: f"{rows[what]['measured']:.3g} {rows[what]['unit']}" for what in shown}
    assert len(shown) >= 30
    peer = [rows[f"faults in six drawings, {given}"]["quimb"] for given in ("nothing given", "placed by hand")]
    told = f"{peer[0]} faults with its defaults and {peer[1]} with every node placed by hand"
    assert told in readme.replace("\n", " ")
    (header,) = (row for row in cells if row[0] == "perplexity ÷ dense")
    for row in cells:
        method, _, metric = row[0].partition(", ")
        curve = {f"{p['kept_params']:.0%} kept": p for p in points if (p["method"], p["metric"]) == (method, metric)}
        if curve:
            assert row[1:] == [f"{curve[share]['perplexity_ratio']:.3f}" for share in header[1:]]


def test_the_claims_of_the_readme_are_those_of_the_measurements():
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in readme.splitlines() if line[:1] == "|"]
    for name, least in (("methods.json", 20), ("truth.json", 15), ("explain.json", 10)):
        claims = json.loads((REPOSITORY / "data" / "results" / name).read_text(encoding="utf-8"))["claims"]
        told = {claim["what"]: [f"{claim['value']:.3g}", claim["wanted"]] for claim in claims}
        shown = {row[0]: row[1:] for row in cells if row[0] in told}
        assert shown == {what: told[what] for what in shown}
        assert len(shown) >= least


def test_the_readme_lists_every_notebook_by_the_question_that_it_asks():
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    listed = dict(re.findall(r"^\| \[(\w+)\]\(notebooks/\1\.ipynb\) \| (.*) \|$", readme, re.MULTILINE))
    titles = {}
    for notebook in sorted((REPOSITORY / "notebooks").glob("*.ipynb")):
        first = json.loads(notebook.read_text(encoding="utf-8"))["cells"][0]["source"]
        titles[notebook.stem] = "".join(first).splitlines()[0].removeprefix("# ")
    assert listed == titles
    assert all(title.endswith("?") for title in titles.values())


def test_the_board_of_the_readme_is_that_of_the_measurements():
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    rows = json.loads((REPOSITORY / "data" / "results" / "explain.json").read_text(encoding="utf-8"))["boards"]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in readme.splitlines() if line[:1] == "|"]
    (header,) = (row for row in cells if row[0].startswith("AUC of the pairs that depend"))
    found = {
        (row["planted"], row["explanation"], row["learner"][:3]): f"{row['auc']['mean']:.3f}"
        for row in rows
        if row["kind"] == "pairs" and row["n"] == 1_000 and row["auc"] is not None
    }
    explanations = {row["explanation"] for row in rows if row["kind"] == "pairs"}
    shown = [row for row in cells if row[0] in explanations]
    for explanation, *scores in shown:
        for planted, score in zip(header[1:], scores, strict=True):
            learned = found.get((planted, explanation, "swe"), "–")
            assert score == f"{learned} / {found[planted, explanation, 'GPT']}"
    assert len(shown) >= 9
