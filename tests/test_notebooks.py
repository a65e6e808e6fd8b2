"""The notebooks as they lie in the repository: small, shown without a kernel, in short cells that ask and answer."""

import json
from pathlib import Path

import pytest

NOTEBOOKS = sorted((Path(__file__).resolve().parents[1] / "notebooks").glob("*.ipynb"))


def source(cell: dict) -> str:
    return "".join(cell["source"])


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def notebook(request) -> dict:
    assert request.param.stat().st_size < 300_000
    return json.loads(request.param.read_text(encoding="utf-8"))


def test_no_widget_state_and_no_error_is_stored(notebook):
    assert "widgets" not in notebook["metadata"]
    outputs = [output for cell in notebook["cells"] for output in cell.get("outputs", [])]
    assert outputs
    for output in outputs:
        assert output["output_type"] != "error"
        assert "application/vnd.jupyter.widget-view+json" not in output.get("data", {})
        assert output.get("name") != "stderr"


def test_a_reader_without_a_kernel_sees_a_picture_and_numbers(notebook):
    outputs = [output for cell in notebook["cells"] for output in cell.get("outputs", [])]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert any(output["output_type"] == "stream" for output in outputs)


def test_cells_are_short_and_imports_stand_in_one_cell(notebook):
    code = [source(cell) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    lengths = sorted(len(cell.splitlines()) for cell in code)
    assert lengths[-1] <= 12
    assert lengths[len(lengths) // 2] <= 4
    importing = [cell for cell in code if any(line.startswith(("import ", "from ")) for line in cell.splitlines())]
    assert len(importing) <= 2, "the cell for Colab, and one"


def test_the_first_line_asks_and_the_last_cell_answers(notebook):
    first, last = notebook["cells"][0], notebook["cells"][-1]
    assert source(first).splitlines()[0].endswith("?")
    assert last["cell_type"] == "code"
    assert last["outputs"]
