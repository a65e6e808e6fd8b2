"""The architecture's table, enforced: who may import what, and how files are named and sized."""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGE = REPOSITORY / "workbench"
MODULES = sorted(path.relative_to(REPOSITORY).as_posix() for path in PACKAGE.rglob("*.py"))
NOTEBOOKS = sorted((REPOSITORY / "notebooks").glob("*.ipynb"))

# Layer of each module or subpackage of workbench. Imports point downward or stay within the layer.
LAYERS = {
    0: (
        "network",
        "node",
        "spectrum",
        "whole_files",
        "file_locks",
        "contraction",
        "exchange",
        "memory",
        "rounding",
        "spill",
        "run_files",
        "shipped",
        "workers",
    ),
    1: ("program", "decompose", "diagram", "rewrite"),
    2: ("transformer", "compress", "truth", "born"),
    3: ("explore",),
    4: ("widgets", "cli", "commands", "jupyter", "machine", "gpu", "notebook_copies", "__main__"),
}
LAYER = {name: layer for layer, names in LAYERS.items() for name in names}
FACADE = "__init__"  # `import workbench` gathers names from any layer; what it loads is tested below

ARRAYS = {"torch", "numpy", "jaxtyping", "tensornetwork", "opt_einsum"}
PROGRESS = {"tqdm"}
MODELS = {"transformers", "tokenizers", "safetensors"}
SKINS = {"ipywidgets", "anywidget", "traitlets", "IPython", "plotly", "matplotlib"}
THIRD_PARTY = {0: ARRAYS, 1: ARRAYS | PROGRESS, **dict.fromkeys((2, 3, 4), ARRAYS | PROGRESS | MODELS)}
OF_ONE_MODULE = {
    "widgets": SKINS,
    "jupyter": {"jupyterlab"},
    "diagram/printed": {"matplotlib"},  # a renderer each, imported when it is asked for
    "diagram/hovered": {"plotly"},
    "decompose/permutation_search": {"scipy"},  # linear assignment
    "explore/board_frame": {"scipy"},  # quantiles of Student's distribution
    "truth/ground_state": {"scipy"},  # the lowest eigenvector of a sparse matrix
    "truth/onsager": {"scipy"},  # an elliptic integral
    "workers/cluster": {"distributed"},  # imported when a scheduler is asked
}
LAZY = {
    "whole_files": {"safetensors"},
    "run_files": {"safetensors"},
    "born/digits": {"sklearn"},
    "compress/quantise": {"torchao"},
    "truth/dmrg": {"quimb"},
}  # inside a function only

VAGUE = {"util", "utils", "helper", "helpers", "common", "base", "core", "misc"}
LONGEST = 300
NOTEBOOK_IMPORTS = {"workbench", "matplotlib", "plotly", "torch", "sys"}  # torch: the arrays of a diagram
NOT_LOADED = sorted(SKINS | MODELS - {"safetensors"} | {"jupyterlab"})


def imports(tree: ast.AST) -> Iterator[tuple[str, bool]]:
    """The dotted name of every imported module, and whether it is imported inside a function."""
    lazy = {
        id(node)
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(function)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, id(node) in lazy) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level:
            yield f"relative import, line {node.lineno}", False
        elif isinstance(node, ast.ImportFrom) and node.module == "workbench":
            yield from ((f"workbench.{alias.name}", id(node) in lazy) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield str(node.module), id(node) in lazy


def forbidden(module: str, source: str) -> list[str]:
    """What the module at a path such as "workbench/diagram/svg.py" imports and may not."""
    top = module.split("/")[1].removesuffix(".py")
    layer = max(LAYERS) if top == FACADE else LAYER[top]
    inner_path = module.removeprefix("workbench/").removesuffix(".py")
    allowed = THIRD_PARTY[layer] | OF_ONE_MODULE.get(top, set()) | OF_ONE_MODULE.get(inner_path, set())
    found = []
    for name, lazy in imports(ast.parse(source)):
        root, _, rest = name.partition(".")
        inner = rest.split(".")[0]
        if name == "__future__" or root.startswith("relative import"):
            found.append(name)
        elif root == "workbench":
            if inner and inner not in LAYER:
                found.append(f"{name} (not in the table)")
            elif inner and LAYER[inner] > layer:
                found.append(f"{name} (layer {LAYER[inner]} from layer {layer})")
            elif not inner and top != FACADE:
                found.append(f"{name} (import the module that defines the name)")
        elif root not in sys.stdlib_module_names | allowed and not (lazy and root in LAZY.get(inner_path, set())):
            found.append(name)
    return found


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_downward_and_only_what_its_layer_may(module):
    top = module.split("/")[1].removesuffix(".py")
    assert top == FACADE or top in LAYER, f"{module} is in no layer: give {top!r} a place in the table of layers"
    assert not forbidden(module, (REPOSITORY / module).read_text(encoding="utf-8"))


@pytest.mark.parametrize("module", MODULES)
def test_a_module_has_a_telling_name_and_fits_on_a_few_screens(module):
    parts = {part.removesuffix(".py").lstrip("_") for part in module.split("/")}
    assert not parts & VAGUE, f"{module}: name it after what it holds"
    n_lines = len((REPOSITORY / module).read_text(encoding="utf-8").splitlines())
    assert n_lines < LONGEST, f"{module} has {n_lines} lines; split it by the question each part answers"


@pytest.mark.parametrize(
    ("module", "source", "complaint"),
    [
        ("workbench/network.py", "from workbench.program import Program", "workbench.program (layer 1 from layer 0)"),
        ("workbench/diagram/svg.py", "import workbench.born.machine", "workbench.born.machine (layer 2 from layer 1)"),
        ("workbench/explore/bond.py", "from workbench import widgets", "workbench.widgets (layer 4 from layer 3)"),
        ("workbench/cli.py", "from workbench import layouts", "workbench.layouts (not in the table)"),
        ("workbench/cli.py", "import workbench", "workbench (import the module that defines the name)"),
        ("workbench/decompose/low_rank.py", "from transformers import AutoModel", "transformers"),
        ("workbench/compress/curve.py", "def plot():\n    import matplotlib.pyplot", "matplotlib.pyplot"),
        ("workbench/cli.py", "from plotly import graph_objects", "plotly"),
        ("workbench/spectrum.py", "from . import network", "relative import, line 1"),
        ("workbench/spectrum.py", "from __future__ import annotations", "__future__"),
        ("workbench/whole_files.py", "from safetensors.torch import save_file", "safetensors.torch"),
        ("workbench/diagram/svg.py", "import matplotlib", "matplotlib"),
        ("workbench/diagram/printed.py", "import plotly", "plotly"),
        ("workbench/__init__.py", "import matplotlib", "matplotlib"),
    ],
)
def test_the_table_refuses(module, source, complaint):
    assert forbidden(module, source) == [complaint]


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("workbench/whole_files.py", "def write():\n    from safetensors.torch import save_file"),
        ("workbench/explore/bond.py", "import json, torch\nfrom workbench.network import Network"),
        ("workbench/widgets/bond.py", "import plotly.graph_objects\nfrom workbench.widgets.page import Page"),
        ("workbench/jupyter.py", "def open_lab():\n    from jupyterlab.labapp import LabApp"),
        ("workbench/diagram/printed.py", "from matplotlib.figure import Figure"),
        ("workbench/__init__.py", "from workbench.born.machine import BornMachine"),
    ],
)
def test_the_table_allows(module, source):
    assert forbidden(module, source) == []


def test_importing_workbench_loads_no_plotting_no_widget_and_no_model_package():
    script = f"import sys, workbench; print(*[name for name in {NOT_LOADED} if name in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert shown.stdout.split() == []


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_imports_the_workbench_and_plotting_only(notebook):
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    lines = [line for cell in cells if cell["cell_type"] == "code" for line in "".join(cell["source"]).splitlines()]
    code = "\n".join("pass" if line.lstrip()[:1] in ("%", "!") else line for line in lines)
    assert {name.split(".")[0] for name, _ in imports(ast.parse(code))} <= NOTEBOOK_IMPORTS | sys.stdlib_module_names


@pytest.mark.parametrize("module", [m for m in MODULES if m.split("/")[1] in ("decompose", "rewrite", "program.py")])
def test_what_is_drawn_knows_nothing_of_diagrams(module):
    names = {name for name, _ in imports(ast.parse((REPOSITORY / module).read_text(encoding="utf-8")))}
    assert not [name for name in names if name.startswith("workbench.diagram")]
