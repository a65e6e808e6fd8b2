"""Everything that can be named, named by a string that would act if a page, plotly or matplotlib read it as more."""

from dataclasses import replace

import ipywidgets as widgets
import tiny_models
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from workbench import (
    CompressionLab,
    CompressionView,
    CutLab,
    CutView,
    Diagram,
    ExplainLab,
    ExplainView,
    FormatsView,
    FreezeLab,
    FreezeView,
    Inspector,
    LanguageModel,
    LedgerLab,
    LedgerView,
    Network,
    ProofLab,
    ProofView,
    SampleExplorer,
    SampleView,
    SurvivalLab,
    SurvivalView,
    Theatre,
    TheatreView,
    WeightLab,
    Zoom,
    ZoomView,
)
from workbench.born.counts import Counted
from workbench.decompose.train import TensorTrain
from workbench.explore.sample_complexity import Learner
from workbench.explore.sample_explorer import Family
from workbench.node import Node
from workbench.program import Apply, Contract, Program
from workbench.truth.enumerated import TableSource
from workbench.truth.source import Description

# An element that would run a script, a template that plotly would fill in, and a formula that matplotlib cannot read.
EVIL = '<img src=x onerror="window.hacked=1">%{x}$\\frac$'


def tokenizer() -> PreTrainedTokenizerFast:
    """The tiny models' own, its last entry being the hostile text."""
    entries = {"<|end|>": 0} | {character: 1 + index for index, character in enumerate(tiny_models.ALPHABET[:-1])}
    backend = Tokenizer(models.BPE(entries | {EVIL: tiny_models.VOCABULARY - 1}, []))
    backend.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    backend.decoder = decoders.Fuse()
    backend.add_tokens([AddedToken(EVIL, normalized=False)])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<|end|>", eos_token="<|end|>", clean_up_tokenization_spaces=False
    )


def language_model(family: str = "gpt2") -> LanguageModel:
    """A tiny model of a hostile name that says little but the hostile token."""
    made = tiny_models.FAMILIES[family]()
    return LanguageModel(EVIL, EVIL, made.model, tokenizer())


def diagram() -> Diagram:
    """Two tensors and their bond."""
    nodes = (Node(f"A{EVIL}", ("i", f"j{EVIL}")), Node(f"B{EVIL}", (f"j{EVIL}", f"k{EVIL}")))
    arrays = {f"A{EVIL}": torch.ones(2, 3).double(), f"B{EVIL}": torch.ones(3, 4).double()}
    return Diagram(Network(nodes, ("i", f"k{EVIL}")), arrays, title=EVIL)


def program() -> Diagram:
    """The same, and a function of what they make."""
    value, legs = f"C{EVIL}", ("i", f"k{EVIL}")
    steps = (Contract(value, diagram().subject), Apply(f"D{EVIL}", f"f{EVIL}", torch.relu, (value,), legs))
    return replace(diagram(), subject=Program({node.tensor: node.legs for node in diagram().subject.nodes}, steps))


def source(n_sites: int = 4) -> TableSource:
    """Strings of two symbols, one of them hostile."""
    table = torch.full((2,) * n_sites, 0.5**n_sites, dtype=torch.float64)
    return TableSource.of_probabilities(table, ("a", EVIL), Description(EVIL, EVIL, EVIL))


def compression_view() -> CompressionView:
    """Cut, scored, and its export refused for a name."""
    lab = CompressionLab.from_model(language_model(), tiny_models.TEXT, max_windows=8)
    lab.decompose("svd", "plain", progress=lambda what, done, total: None)
    view = CompressionView(lab, prompt=f"tensor {EVIL}")
    view.kept.value = 0.5
    view.settle(60)
    view.directory.value = f"{__file__}/{EVIL}"
    view.export.click()
    return view


def sample_view() -> SampleView:
    """Measured."""
    learner = Learner(EVIL, lambda samples, n_symbols, seed: Counted.of(samples))
    view = SampleView(SampleExplorer((Family(EVIL, source, (4,)),), (learner,), sizes=(8, 16), seeds=range(2)))
    view.measure.click()
    view.settle(60)
    return view


def explain_view() -> ExplainView:
    """Its hostile symbol given at a site."""
    view = ExplainView(ExplainLab(source(), {EVIL: source()}))
    view.sites[1].click()
    view.sites[1].click()
    return view


def ledger_view() -> LedgerView:
    """Of a model by hand-sized parts, on the hostile token."""
    from test_attention_only import model as attention_only

    lm = LanguageModel(EVIL, EVIL, attention_only(), tokenizer())
    return LedgerView(LedgerLab(lm, torch.full((9,), tiny_models.VOCABULARY - 1)))


def zoom_view() -> ZoomView:
    """A head of the first block, on a text with the hostile token."""
    zoom = Zoom(language_model(), f"te{EVIL}ns")
    zoom.open("blocks.0.attn")
    return ZoomView(zoom)


def survival_view() -> SurvivalView:
    """The first head of the hostile model."""
    view = SurvivalView(SurvivalLab(language_model(), n_rows=2))
    view.settle(60)
    return view


def cut_view() -> CutView:
    """A train of two cores; what it is measured by is named by the user."""
    train = TensorTrain.from_dense(torch.arange(12.0).double().reshape(3, 4))
    return CutView(CutLab(train, lambda tensor: float(tensor.sum()), EVIL))


def theatre_view() -> TheatreView:
    """Played to its end."""
    view = TheatreView(Theatre(diagram()))
    view.step.value = 1
    return view


def inspector() -> Inspector:
    """Its first tensor selected."""
    view = Inspector(diagram())
    view.scene_view.selected = f"A{EVIL}"
    return view


VIEWS = {
    "CompressionView": compression_view,
    "CutView": cut_view,
    "ExplainView": explain_view,
    "FormatsView": lambda: FormatsView(
        WeightLab(language_model(), "blocks.1.mlp.W_in", tiny_models.calibrated("gpt2"))
    ),
    "FreezeView": lambda: FreezeView(FreezeLab(program())),
    "Inspector": inspector,
    "LedgerView": ledger_view,
    "ProofView": lambda: ProofView(ProofLab(diagram())),
    "SampleView": sample_view,
    "SurvivalView": survival_view,
    "TheatreView": theatre_view,
    "ZoomView": zoom_view,
}


def parts(widget: widgets.Widget) -> list[widgets.Widget]:
    """The widget and all that it holds."""
    return [widget, *(part for child in getattr(widget, "children", ()) for part in parts(child))]
