"""The paths of an attention-only model as diagrams: patterns on the line of positions, weights on that of features."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product

import torch

from workbench.diagram.drawing import Diagram
from workbench.diagram.place import Layout
from workbench.network import Network
from workbench.node import Node
from workbench.program import Contract
from workbench.transformer.frozen import FrozenRun, constant, reading
from workbench.transformer.steps import STREAM, Draft
from workbench.transformer.weight import Weight

Heads = tuple[tuple[int, int], ...]  # (layer, head), in the order that a path goes through them

# Legs of the lines of positions and features by the heads on the way: from what is read to the logits. Behind a scale
# an index goes on under its second letter; the third is the scale's own.
_POSITIONS = (("t", "u", "c"), ("s", "p", "b"), ("r", "q", "a"))
_FEATURES = ("d", "k", "e", "j", "f")
_KINDS = ("direct", "head", "virtual head")  # by the number of heads


@dataclass(frozen=True)
class PathPlan:
    """A path before it is measured: its name, its kind, its heads and its diagram."""

    name: str
    kind: str
    heads: Heads
    diagram: Diagram


def path_plans(run: FrozenRun) -> Iterator[PathPlan]:
    """Every path, in order: direct, each head of each layer, each virtual head, and the biases if there are any."""
    heads = run.anatomy.heads
    first, second = ([head for head in heads if head[0] == layer] for layer in (0, 1))
    ways: list[Heads] = [(), *((head,) for head in heads), *product(first, second)]
    weights = {head: _head_weights(run, *head) for head in heads}
    W_U = reading(run.anatomy.W_U, run.anatomy.ln_final)
    for way in ways:
        name = " → ".join(f"{layer}.{head}" for layer, head in way) or "direct"
        yield PathPlan(name, _KINDS[len(way)], way, _linear(run, name, way, [*(weights[head] for head in way), (W_U,)]))
    biases = _biases(run, W_U)
    if biases is not None:
        yield PathPlan("biases", "biases", (), biases)


def _head_weights(run: FrozenRun, layer: int, head: int) -> tuple[Weight, Weight]:
    """W_V, with the norm before it, and W_O of one head, under names of their own."""
    attn, norm = run.anatomy.head(layer, head), run.anatomy.blocks[layer].ln1
    end = f"·{layer}.{head}"
    return _called(reading(attn.W_V, norm), end), _called(attn.W_O, end)


def _linear(run: FrozenRun, name: str, heads: Heads, weights: list[tuple[Weight, ...]]) -> Diagram:
    """One product: X on the left, above it what moves between positions, on its right what moves between features."""
    stages = [*(str(layer) for layer, _ in heads), "f"]
    norms = [layer for layer, _ in heads] + [len(run.anatomy.blocks)]
    letters = _POSITIONS[len(heads) :: -1]  # of each stage, the first one's first
    arrays, nodes, above, below = {"X": run.embedded}, [], [], ["X"]
    feature = _FEATURES[0]
    for k, (stage, norm) in enumerate(zip(stages, norms, strict=True)):
        (here, before, own), scale = letters[k], run.scales[norm]
        lead = here if scale is None else before
        if k == 0:
            nodes.append(Node("X", (lead, feature)))
        else:
            pattern = f"A_{heads[k - 1][0]}.{heads[k - 1][1]}"
            arrays[pattern] = run.pattern(*heads[k - 1])
            nodes.append(Node(pattern, (lead, letters[k - 1][0])))
            above.append(pattern)
        if scale is not None:
            arrays[f"1/σ_{stage}"] = 1 / scale
            nodes += [Node(f"1/σ_{stage}", (own,), form="diagonal"), Node(f"δ_{stage}", (here, before, own), copy=True)]
            above.append(f"1/σ_{stage}")
        for weight in weights[k]:
            out = "v" if k == len(heads) else _FEATURES[_FEATURES.index(feature) + 1]
            written, read = ("d", "k") if weight.legs[0] == "d" else (weight.legs[0], "d")
            arrays |= weight.arrays
            nodes += weight.nodes({written: out, read: feature})
            below += [part.tensor for part in reversed(weight.parts)]
            feature = out
    layout = _two_rows(above, below)
    return Diagram(Network(tuple(nodes), ("t", "v")), arrays, layout, f"{run.anatomy.name}, path {name}", ("X",))


def _two_rows(above: list[str], below: list[str]) -> Layout:
    """What moves between positions, spread evenly over what moves between features."""
    step = max(1.0, (len(below) - 1) / max(1, len(above)))
    cells = {name: (1 + k * step, 0) for k, name in enumerate(above)}
    cells |= {name: (float(k), 1 if above else 0) for k, name in enumerate(below)}
    return Layout(cells, {"t": "right" if above else "left", "v": "right"})


def _biases(run: FrozenRun, W_U: Weight) -> Diagram | None:
    """All that does not depend on the tokens but through patterns and scales; None where there are no biases."""
    anatomy, draft = run.anatomy, Draft()
    shift = None if anatomy.ln_final is None else anatomy.ln_final.shift
    b_U = None if shift is None else draft.input("b_U", ("v",), anatomy.W_U.dense() @ shift)
    terms: list[tuple[str, tuple[str, ...]]] = []
    for layer, block in enumerate(anatomy.blocks):
        if terms:  # what the layer before has written, moved by this one's heads
            terms.append((_moved(run, draft, layer, terms[0][0]), STREAM))
        own = constant(block.attn, block.ln1)
        if own is not None:
            terms.append((draft.input(f"b_{layer}", ("d",), own), ("d",)))
    if not terms and b_U is None:
        return None
    if not terms:
        draft.contract("logits", ("t", "v"), _ones(run, draft), ("b_U", ("v",)))
    else:
        legs = STREAM if ("heads", STREAM) in terms else ("d",)
        stream = draft.add("stream", legs, *terms) if len(terms) > 1 else terms[0][0]
        scale = run.scales[-1]
        across = [_ones(run, draft)] if scale is None and legs == ("d",) else []
        across += [] if scale is None else [(draft.input("1/σ_f", ("t",), 1 / scale), ("t",))]
        read = draft.contract("logits" if b_U is None else "read", ("t", "v"), *across, (stream, legs), (W_U, {}))
        if b_U is not None:
            draft.add("logits", ("t", "v"), (read, ("t", "v")), (b_U, ("v",)))
    draft.steps = [_with_diamonds(step) if isinstance(step, Contract) else step for step in draft.steps]
    return Diagram(draft.program(), draft.arrays, title=f"{anatomy.name}, path biases")


def _moved(run: FrozenRun, draft: Draft, layer: int, bias: str) -> str:
    """What all heads of a layer make of a bias that the layer before wrote."""
    block = run.anatomy.blocks[layer]
    attn, scale, legs = block.attn, run.scales[layer], ("e",)
    pattern = draft.input(f"A_{layer}", (*attn.head_legs, "t", "s"), run.patterns[layer])
    operands = [(pattern, (*attn.head_legs, "t", "s")), (bias, legs)]
    if scale is not None:
        operands.append((draft.input(f"1/σ_{layer}", ("s",), 1 / scale), ("s",)))
    W_V, W_O = _called(reading(attn.W_V, block.ln1), f"·{layer}"), _called(attn.W_O, f"·{layer}")
    return draft.contract("heads", STREAM, *operands, (W_V, {"d": "e"}), (W_O, {}))


def _ones(run: FrozenRun, draft: Draft) -> tuple[str, tuple[str, ...]]:
    """The same at every position."""
    ones = torch.ones(len(run.tokens), dtype=run.logits.dtype, device=run.logits.device)
    return draft.input("1", ("t",), ones), ("t",)


def _with_diamonds(step: Contract) -> Contract:
    nodes = (replace(node, form="diagonal") if node.tensor.startswith("1/σ") else node for node in step.network.nodes)
    return replace(step, network=replace(step.network, nodes=tuple(nodes)))


def _called(weight: Weight, end: str) -> Weight:
    """The weight, its arrays and the bonds between them under names that end so: two heads' are told apart."""
    own = set(weight.legs)
    parts = tuple(
        replace(part, tensor=part.tensor + end, legs=tuple(leg if leg in own else leg + end for leg in part.legs))
        for part in weight.parts
    )
    return replace(weight, name=weight.name + end, parts=parts)
