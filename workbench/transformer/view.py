"""A part of a real transformer as a diagram that runs on the model's own weights: `view(model, "blocks.5.attn")`."""

import re
from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Int
from torch import Tensor

from workbench.diagram.drawing import Diagram
from workbench.diagram.place import Layout
from workbench.transformer.anatomy import Anatomy
from workbench.transformer.block_runs import run_blocks
from workbench.transformer.load import LanguageModel
from workbench.transformer.parts import (
    attention_part,
    block_part,
    circuit_part,
    direct_part,
    embed_part,
    head_part,
    lens_part,
    mlp_layout,
    mlp_part,
    model_part,
)
from workbench.transformer.reading import anatomy_of
from workbench.transformer.steps import Draft

Tokens = str | Sequence[int] | Tensor  # a text, or a row of token ids
_HEAD = re.compile(
    r"blocks\.(0|[1-9][0-9]*)\.attn\.head\.(0|[1-9][0-9]*)(?:\.(QK|OV|full_QK|full_OV|QK\.svd|OV\.svd))?"
)
_BLOCK = re.compile(r"blocks\.(0|[1-9][0-9]*)(?:\.(attn|mlp|logit_lens))?")


def view(
    model: LanguageModel | Anatomy, path: str = "model", tokens: Tokens | None = None, fold: bool = False
) -> Diagram:
    """The diagram of one part of a model, with the model's own weights; with `tokens` it runs as it stands.

    Paths: `model`, `embed`, `unembed`, `direct_path`, `blocks.5`, `blocks.5.attn`, `blocks.5.mlp`,
    `blocks.5.logit_lens`, `blocks.5.attn.head.2`, and of a head `….QK`, `….OV`, `….QK.svd`, `….OV.svd`, `….full_QK`,
    `….full_OV`; see `paths`. Values are called as in TransformerLens (`resid_pre`, `q`, `pattern`, `z`, `resid_mid` …).

    `tokens` is a text or a row of token ids: what stands before the part is computed from them and becomes its input.
    With `fold` the gains and shifts of norms are folded into the weights that read them; the result is the same.
    Circuits leave biases out; with rotary positions QK has a leg n, the distance from key back to query, as far as
    there are tokens (0 alone without).

    Raises ValueError for a path or head that is not there, saying what is; for tokens that the model cannot read;
    and for a model of an architecture that is not known.
    """
    anatomy = anatomy_of(model)
    row = None if tokens is None else tokens_of(model, tokens, anatomy)
    return view_of(anatomy, path, fold, row, {})


def paths(model: LanguageModel | Anatomy, path: str = "model") -> tuple[str, ...]:
    """The views that a view opens into, one level down. Raises ValueError for a path that is not there."""
    anatomy = anatomy_of(model)
    if path == "model":
        return ("embed", *(f"blocks.{layer}" for layer in range(len(anatomy.blocks))), "unembed", "direct_path")
    if path in ("embed", "unembed", "direct_path"):
        return ()
    layer, part, head, circuit = _parsed(anatomy, path)
    if head is not None:
        if circuit:
            return (f"{path}.svd",) if circuit in ("QK", "OV") else ()
        return tuple(f"{path}.{name}" for name in ("QK", "OV", "full_QK", "full_OV"))
    if part == "attn":
        return tuple(f"{path}.head.{head}" for head in range(anatomy.block(layer).attn.n_heads))
    if part:
        return ()
    has_mlp = anatomy.block(layer).mlp is not None
    return (f"{path}.attn", *([f"{path}.mlp"] if has_mlp else []), f"{path}.logit_lens")


def above(path: str) -> str:
    """The view that opens into this one; of the model itself, that."""
    if "." not in path:
        return "model"
    rest = path.rsplit(".", 1)[0]
    rest = rest.removesuffix(".head")
    return "model" if rest == "blocks" else rest


def tokens_of(model: LanguageModel | Anatomy, tokens: Tokens, anatomy: Anatomy | None = None) -> Int[Tensor, " t"]:
    """The tokens of a text, or a row of them, checked. Raises ValueError where the model cannot read them.

    `anatomy` is the model's, where it is at hand: reading it makes the cut trains of a model dense.
    """
    anatomy = anatomy or anatomy_of(model)
    if isinstance(tokens, str):
        if not isinstance(model, LanguageModel):
            raise TypeError(f"{anatomy.name} is made by hand and has no tokenizer; give a row of token ids.")
        ids = model.tokenizer(tokens, add_special_tokens=False)["input_ids"]
        if not ids:
            raise ValueError(
                f"the text {tokens[:40]!r} has no token that {anatomy.name} knows; give a longer or another one."
            )
        tokens = torch.tensor(ids, dtype=torch.int64, device=model.device)
    row = tokens if isinstance(tokens, Tensor) else torch.as_tensor(tokens, dtype=None if len(tokens) else torch.int64)
    if row.is_floating_point() or row.is_complex() or row.dtype == torch.bool:
        raise TypeError(f"tokens are a text or a row of whole numbers, and these are {row.dtype}.")
    return anatomy.check_tokens(row.to(anatomy.W_E.parts[0].array.device).long())


def streams(anatomy: Anatomy, tokens: Int[Tensor, " t"], up_to: int | None = None) -> dict[str, Tensor]:
    """The residual stream before, within and after each block, by name, computed by the views' own programs.

    `up_to` is the last block that is run; all of them unless told otherwise.
    """
    found = {}
    for layer, values in enumerate(run_blocks(anatomy, tokens)):
        names = ("resid_pre", "resid_mid", "resid_post")
        found |= {f"blocks.{layer}.{name}": values[name] for name in names if name in values}
        if layer == up_to:
            break
    return found


def view_of(
    anatomy: Anatomy, path: str, fold: bool, tokens: Int[Tensor, " t"] | None, known: Mapping[str, Tensor]
) -> Diagram:
    """`view`, where some of the streams of these tokens may be `known` already, so that nothing is run for them."""
    title, n = f"{anatomy.name}, {path}", 1 if tokens is None else len(tokens)
    if path in ("model", "embed", "direct_path"):
        draft = {"model": model_part, "direct_path": direct_part}.get(path, _embed)(anatomy, fold, tokens)
        layout = Layout(flow=path == "model")
        return Diagram(draft.program(), draft.arrays, layout, title, ("tokens",))
    if path == "unembed":
        layer, part, head, circuit = len(anatomy.blocks) - 1, "logit_lens", None, None
    else:
        layer, part, head, circuit = _parsed(anatomy, path)
    if circuit is not None and head is not None:
        network, arrays = circuit_part(anatomy, layer, head, circuit, fold, n)
        left, right = network.open_legs[-2:]  # the distance n of a rotary circuit leaves below
        return Diagram(network, arrays, Layout(sides={left: "left", right: "right"}), title)
    if part == "logit_lens":
        draft, read = lens_part(anatomy, fold), "resid_post"
    elif part == "mlp":
        draft, read = mlp_part(anatomy, layer, fold), "resid_mid"
    elif part == "attn" and head is not None:
        draft, read = head_part(anatomy, layer, head, fold, n), "resid_pre"
    else:
        draft, read = (attention_part if part == "attn" else block_part)(anatomy, layer, fold, n), "resid_pre"
    arrays = dict(draft.arrays)
    if tokens is not None:
        full = f"blocks.{layer}.{read}"
        arrays[read] = known[full] if full in known else streams(anatomy, tokens, layer)[full]
    program = draft.program()
    layout = mlp_layout(program)
    # What is added to the stream has a line of its own: in a whole block, and where a layout must find it.
    rows = [out for out in ("result", "mlp") if (not part or layout.cells) and out in {s.out for s in program.steps}]
    return Diagram(program, arrays, layout, title, (read,), tuple(rows))


def _embed(anatomy: Anatomy, fold: bool, tokens: Int[Tensor, " t"] | None) -> Draft:
    return embed_part(anatomy, tokens)  # there is no norm to fold


def _parsed(anatomy: Anatomy, path: str) -> tuple[int, str, int | None, str | None]:
    """Layer, part, head and circuit of a path. Raises ValueError, saying what there is, where there is none such."""
    if match := _HEAD.fullmatch(path):
        layer, head = int(match[1]), int(match[2])
        anatomy.head(layer, head)
        return layer, "attn", head, match[3]
    match = _BLOCK.fullmatch(path)
    if match is None:
        raise ValueError(
            f"there is no view {path!r}; there are model, embed, unembed, direct_path, blocks.0 to "
            f"blocks.{len(anatomy.blocks) - 1}, of a block .attn, .mlp, .logit_lens, .attn.head.0 and so on, and of a "
            "head .QK, .OV, .QK.svd, .OV.svd, .full_QK, .full_OV."
        )
    layer, part = int(match[1]), match[2] or ""
    if part == "mlp" and anatomy.block(layer).mlp is None:
        raise ValueError(f"block {layer} of {anatomy.name} has no MLP; it has attention alone.")
    anatomy.block(layer)
    return layer, part, None, None
