"""The tensor-network workbench for transformers."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from workbench.born.machine import BornMachine
    from workbench.compress.recipe import Recipe
    from workbench.compress.stream import Stream
    from workbench.decompose.cp import CanonicalPolyadic
    from workbench.decompose.kronecker import KroneckerSum
    from workbench.decompose.low_rank import LowRank
    from workbench.decompose.operator import TrainOperator
    from workbench.decompose.ring import TensorRing
    from workbench.decompose.train import TensorTrain
    from workbench.decompose.tucker import Tucker
    from workbench.diagram.drawing import Diagram
    from workbench.diagram.place import Layout
    from workbench.explore.allocation import Limit
    from workbench.explore.bond_knowledge import KnowledgeLab
    from workbench.explore.compression_lab import CompressionLab
    from workbench.explore.cut import CutLab
    from workbench.explore.exercise import Exercise
    from workbench.explore.explain_lab import ExplainLab
    from workbench.explore.explanation_board import ExplanationBoard
    from workbench.explore.freeze import FreezeLab
    from workbench.explore.module_lab import ModuleLab
    from workbench.explore.one_weight import WeightLab
    from workbench.explore.path_ledger import LedgerLab
    from workbench.explore.proving import ProofLab
    from workbench.explore.sample_complexity import SampleLab
    from workbench.explore.sample_explorer import SampleExplorer
    from workbench.explore.survival import SurvivalLab
    from workbench.explore.sweep import Sweep
    from workbench.explore.sweep_grids import CompressionGrid, LearningGrid
    from workbench.explore.theatre import Theatre
    from workbench.explore.zoom import Zoom
    from workbench.network import Network
    from workbench.node import Node
    from workbench.program import Add, Apply, Contract, Program
    from workbench.spectrum import Spectrum
    from workbench.transformer.by_hand import induction_by_hand
    from workbench.transformer.load import LanguageModel, load
    from workbench.transformer.skeleton import skeleton
    from workbench.transformer.view import view
    from workbench.widgets.compression_view import CompressionView
    from workbench.widgets.cut_view import CutView
    from workbench.widgets.explain_view import ExplainView
    from workbench.widgets.formats_view import FormatsView
    from workbench.widgets.freeze_view import FreezeView
    from workbench.widgets.inspector import Inspector
    from workbench.widgets.ledger_view import LedgerView
    from workbench.widgets.proof_view import ProofView
    from workbench.widgets.sample_view import SampleView
    from workbench.widgets.survival_view import SurvivalView
    from workbench.widgets.sweep_view import SweepView
    from workbench.widgets.theatre_view import TheatreView
    from workbench.widgets.zoom_view import ZoomView
    from workbench.workers.processes import Processes
    from workbench.workers.scheduler import Scheduler

__version__ = "0.1.0"

# Names are imported when they are first used: `import workbench` costs nothing beside torch, and
# a script that compresses never loads a plotting package.
_HOMES = {
    "Add": "workbench.program",
    "Apply": "workbench.program",
    "BornMachine": "workbench.born.machine",
    "CanonicalPolyadic": "workbench.decompose.cp",
    "CompressionGrid": "workbench.explore.sweep_grids",
    "CompressionLab": "workbench.explore.compression_lab",
    "CompressionView": "workbench.widgets.compression_view",
    "Contract": "workbench.program",
    "CutLab": "workbench.explore.cut",
    "CutView": "workbench.widgets.cut_view",
    "Diagram": "workbench.diagram.drawing",
    "Exercise": "workbench.explore.exercise",
    "ExplainLab": "workbench.explore.explain_lab",
    "ExplainView": "workbench.widgets.explain_view",
    "ExplanationBoard": "workbench.explore.explanation_board",
    "FormatsView": "workbench.widgets.formats_view",
    "FreezeLab": "workbench.explore.freeze",
    "FreezeView": "workbench.widgets.freeze_view",
    "Inspector": "workbench.widgets.inspector",
    "KnowledgeLab": "workbench.explore.bond_knowledge",
    "KroneckerSum": "workbench.decompose.kronecker",
    "LanguageModel": "workbench.transformer.load",
    "Layout": "workbench.diagram.place",
    "LearningGrid": "workbench.explore.sweep_grids",
    "LedgerLab": "workbench.explore.path_ledger",
    "LedgerView": "workbench.widgets.ledger_view",
    "Limit": "workbench.explore.allocation",
    "LowRank": "workbench.decompose.low_rank",
    "ModuleLab": "workbench.explore.module_lab",
    "Network": "workbench.network",
    "Node": "workbench.node",
    "Processes": "workbench.workers.processes",
    "Program": "workbench.program",
    "ProofLab": "workbench.explore.proving",
    "ProofView": "workbench.widgets.proof_view",
    "Recipe": "workbench.compress.recipe",
    "SampleExplorer": "workbench.explore.sample_explorer",
    "SampleLab": "workbench.explore.sample_complexity",
    "SampleView": "workbench.widgets.sample_view",
    "Scheduler": "workbench.workers.scheduler",
    "Spectrum": "workbench.spectrum",
    "Stream": "workbench.compress.stream",
    "SurvivalLab": "workbench.explore.survival",
    "SurvivalView": "workbench.widgets.survival_view",
    "Sweep": "workbench.explore.sweep",
    "SweepView": "workbench.widgets.sweep_view",
    "TensorRing": "workbench.decompose.ring",
    "TensorTrain": "workbench.decompose.train",
    "Theatre": "workbench.explore.theatre",
    "TheatreView": "workbench.widgets.theatre_view",
    "TrainOperator": "workbench.decompose.operator",
    "Tucker": "workbench.decompose.tucker",
    "WeightLab": "workbench.explore.one_weight",
    "Zoom": "workbench.explore.zoom",
    "ZoomView": "workbench.widgets.zoom_view",
    "induction_by_hand": "workbench.transformer.by_hand",
    "load": "workbench.transformer.load",
    "skeleton": "workbench.transformer.skeleton",
    "view": "workbench.transformer.view",
}

__all__ = [
    "Add",
    "Apply",
    "BornMachine",
    "CanonicalPolyadic",
    "CompressionGrid",
    "CompressionLab",
    "CompressionView",
    "Contract",
    "CutLab",
    "CutView",
    "Diagram",
    "Exercise",
    "ExplainLab",
    "ExplainView",
    "ExplanationBoard",
    "FormatsView",
    "FreezeLab",
    "FreezeView",
    "Inspector",
    "KnowledgeLab",
    "KroneckerSum",
    "LanguageModel",
    "Layout",
    "LearningGrid",
    "LedgerLab",
    "LedgerView",
    "Limit",
    "LowRank",
    "ModuleLab",
    "Network",
    "Node",
    "Processes",
    "Program",
    "ProofLab",
    "ProofView",
    "Recipe",
    "SampleExplorer",
    "SampleLab",
    "SampleView",
    "Scheduler",
    "Spectrum",
    "Stream",
    "SurvivalLab",
    "SurvivalView",
    "Sweep",
    "SweepView",
    "TensorRing",
    "TensorTrain",
    "Theatre",
    "TheatreView",
    "TrainOperator",
    "Tucker",
    "WeightLab",
    "Zoom",
    "ZoomView",
    "induction_by_hand",
    "load",
    "skeleton",
    "view",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"workbench has no {name!r}; it has {', '.join(__all__)}.")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
