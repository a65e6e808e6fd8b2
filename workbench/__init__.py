"""The tensor-network workbench for transformers."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from workbench.decompose.low_rank import LowRank
    from workbench.decompose.operator import TrainOperator
    from workbench.decompose.train import TensorTrain
    from workbench.diagram.drawing import Diagram
    from workbench.diagram.place import Layout
    from workbench.explore.compression_lab import CompressionLab
    from workbench.network import Network
    from workbench.node import Node
    from workbench.program import Add, Apply, Contract, Program
    from workbench.spectrum import Spectrum
    from workbench.transformer.load import LanguageModel, load
    from workbench.widgets.compression_view import CompressionView

__version__ = "0.1.0"

# Names are imported when they are first used: `import workbench` costs nothing beside torch, and
# a script that compresses never loads a plotting package.
_HOMES = {
    "Add": "workbench.program",
    "Apply": "workbench.program",
    "CompressionLab": "workbench.explore.compression_lab",
    "CompressionView": "workbench.widgets.compression_view",
    "Contract": "workbench.program",
    "Diagram": "workbench.diagram.drawing",
    "LanguageModel": "workbench.transformer.load",
    "Layout": "workbench.diagram.place",
    "LowRank": "workbench.decompose.low_rank",
    "Network": "workbench.network",
    "Node": "workbench.node",
    "Program": "workbench.program",
    "Spectrum": "workbench.spectrum",
    "TensorTrain": "workbench.decompose.train",
    "TrainOperator": "workbench.decompose.operator",
    "load": "workbench.transformer.load",
}

__all__ = [
    "Add",
    "Apply",
    "CompressionLab",
    "CompressionView",
    "Contract",
    "Diagram",
    "LanguageModel",
    "Layout",
    "LowRank",
    "Network",
    "Node",
    "Program",
    "Spectrum",
    "TensorTrain",
    "TrainOperator",
    "load",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"workbench has no {name!r}; it has {', '.join(__all__)}.")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
