"""Runs notebooks and stores what a reader without a kernel is to see: `.venv/bin/python .ci/execute_notebooks.py`.

Without arguments, all of notebooks/ in order; else the files named. A notebook that fails, or whose file would be too
large to be shown on a page that hosts code, is left as it was, and the run stops there with a message. What is stored:
no state of widgets, no progress bar and no live view (its name and a hint stand there instead), of a drawing the SVG
and its text, no warnings, no timings. A second run gives the same files, apart from times that a notebook measures
itself.
"""

import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from workbench.whole_files import replaced_file

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"
LARGEST = 300_000  # bytes of a file
VIEW = "application/vnd.jupyter.widget-view+json"
BAR = "%|"  # of a progress bar, in its text
HINT = "run this cell to move it; the pictures below are drawn from the same numbers"


def executed(path: Path) -> nbformat.NotebookNode:
    """The notebook with the outputs of a fresh kernel, run in the notebooks' folder, cleared of what is not stored."""
    notebook = nbformat.read(path, as_version=4)
    resources = {"metadata": {"path": str(NOTEBOOKS)}}
    client = NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources=resources, record_timing=False, coalesce_streams=True
    )
    client.execute()
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = [stored(output) for output in cell.outputs if not passing(output)]
    return notebook


def passing(output: nbformat.NotebookNode) -> bool:
    """Whether an output says something only while the cell runs: a warning, or a progress bar."""
    told = output.get("data", {})
    return output.get("name") == "stderr" or (VIEW in told and BAR in told.get("text/plain", ""))


def stored(output: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """The output as it is kept: a live view as its name, a drawing without its HTML, which is not shown there."""
    data = output.get("data", {})
    if VIEW in data:
        name = data.get("text/plain", "widget").partition("(")[0]
        output.data = nbformat.from_dict({"text/plain": f"{name}: {HINT}"})
    elif "image/svg+xml" in data:
        data.pop("text/html", None)
    return output


def write(path: Path, notebook: nbformat.NotebookNode) -> int:
    """Writes the file whole, and says its size in bytes. Raises ValueError, and writes nothing, if it is too large."""
    text = nbformat.writes(notebook) + "\n"  # keys sorted, indented by one
    size = len(text.encode())
    if size > LARGEST:
        raise ValueError(f"{path.name} would have {size:,} bytes, over {LARGEST:,}: show fewer or smaller pictures.")
    with replaced_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return size


if __name__ == "__main__":
    for path in [Path(name) for name in sys.argv[1:]] or sorted(NOTEBOOKS.glob("*.ipynb")):
        try:
            print(f"{path.name}: {write(path, executed(path)):,} bytes", flush=True)
        except (CellExecutionError, ValueError) as error:
            sys.exit(f"{path.name} is left as it was: {error}")
