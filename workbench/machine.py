"""What this machine has for the workbench, and what would not work on it, in words."""

import platform
import shutil
import sys
from importlib import metadata
from importlib.util import find_spec

import torch

from workbench.gpu import surroundings
from workbench.memory import free_bytes
from workbench.transformer.corpus import held_out_text
from workbench.transformer.load import load

_NEEDED = ("torch", "transformers", "safetensors", "tensornetwork", "opt_einsum", "numpy")
_WIDGETS = ("jupyterlab", "ipywidgets", "anywidget", "plotly", "matplotlib")
# By extra of pyproject.toml: the module that is imported, and the package that brings it.
_OPTIONAL = {
    "quantise": ("torchao", "torchao"),
    "digits": ("sklearn", "scikit-learn"),
    "cluster": ("distributed", "distributed"),
}
_BYTES_WANTED = 2 * 2**30  # the shipped model needs 0.6 GiB; a GPT-2 of 124M parameters 1.7 GiB


def report() -> tuple[list[str], list[str]]:
    """Lines that say what is here, and one sentence for each thing that would not work."""
    lines = [f"python {platform.python_version()} on {platform.system()} {platform.machine()}"]
    problems = []
    if not (3, 11) <= sys.version_info[:2] <= (3, 13):
        problems.append(f"Python {platform.python_version()} is untested; the workbench runs on 3.11 to 3.13.")
    for title, packages in (("library", _NEEDED), ("widgets", _WIDGETS)):
        here = {name: metadata.version(name) for name in packages if find_spec(name)}
        lines.append(f"{title}: " + ", ".join(f"{name} {version}" for name, version in here.items()))
        problems += [f"{name} is not installed: pip install {name}." for name in packages if name not in here]
    lines.append(_optional_line())
    lines.append(f"device: cpu, {torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}")
    gpu = surroundings()
    lines.append(f"gpu: {gpu.told()}")
    problems += filter(None, [gpu.problem()])
    memory = free_bytes()
    if memory is not None:
        lines.append(f"memory: {memory / 2**30:.1f} GiB free")
        if memory < _BYTES_WANTED:
            problems.append(f"only {memory / 2**30:.1f} GiB of memory is free; a model of GPT-2's size needs 2.")
    problems += _model_problems(lines)
    browser = next(filter(shutil.which, ("chromium", "chromium-browser", "google-chrome")), None)
    lines.append(f"browser for the browser tests: {browser or 'none found; those tests are skipped'}")
    return lines, problems


def _optional_line() -> str:
    """What only some commands need, by the extra that brings it."""
    found = []
    for extra, (module, package) in _OPTIONAL.items():
        here = f"{package} {metadata.version(package)}" if find_spec(module) else f"{package} is not installed"
        found.append(f"{extra} ({here})")
    return "optional: " + ", ".join(found)


def _model_problems(lines: list[str]) -> list[str]:
    """Adds a line on the shipped model and on the text it is scored on, or says what is wrong with them."""
    try:
        lm = load("pygpt")
        text = held_out_text()
    except (OSError, ValueError) as error:
        return [str(error)]
    n_params = sum(parameter.numel() for parameter in lm.model.parameters())
    lines.append(f"model: pygpt, {n_params:,} parameters; {len(text):,} characters of held-out text in this Python")
    return []
