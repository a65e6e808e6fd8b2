"""What a model still gets right of repeated tokens when some of its heads are taken out."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from workbench.transformer.anatomy import Anatomy
from workbench.transformer.block_runs import run_blocks
from workbench.transformer.composition import Head
from workbench.transformer.load import LanguageModel
from workbench.transformer.matrices import block_module, shared_copy
from workbench.transformer.parts import model_part
from workbench.transformer.reading import anatomy_of
from workbench.transformer.repeats import second_copy_hits
from workbench.transformer.view import tokens_of
from workbench.transformer.weight import Weight

_BATCH_ROWS = 32


def second_copy_accuracy(
    model: LanguageModel | Anatomy,
    rows: Int[Tensor, "n t"],
    period: int,
    without: Sequence[Head] = (),
    by: str = "zero",
) -> float:
    """The share, 0 to 1, of next tokens got right in the second copy, where the first has shown them.

    The last `period` tokens of a row are the second copy (`repeat_rows`); its own first one is shown by nothing and
    is not counted. The z of the heads in `without`, what each reads of the stream before W_O, is zero, or with `by`
    "mean" its mean over all rows and positions in the model as it is.
    Raises ValueError for heads that are not there, tokens that the model cannot read, or rows of fewer than two copies.
    """
    if rows.shape[1] < 2 * period or period < 2:
        raise ValueError(
            f"rows of {rows.shape[1]} tokens are no two copies of {period}; a period is 2 to {rows.shape[1] // 2} here."
        )
    return second_copy_hits(ablated_logits(model, rows, without, by)[:, -period:-1], rows)


def ablated_logits(
    model: LanguageModel | Anatomy, rows: Int[Tensor, "n t"], without: Sequence[Head] = (), by: str = "zero"
) -> Float[Tensor, "n t v"]:
    """The logits on each row with the z of some heads replaced; a copy is run, and the model stays as it is.

    Of a loaded model the modules run, cut bonds and all, with a hook before the one that holds W_O; of one made by
    hand its views.
    Raises ValueError for heads that are not there, or tokens that the model cannot read.
    """
    anatomy = anatomy_of(model)
    for head in without:
        anatomy.head(*head)
    if by not in ("zero", "mean"):
        raise ValueError(f"a head's z is replaced by zero or by its mean, not by {by!r}.")
    rows = torch.stack([tokens_of(anatomy, row) for row in rows])
    mean = mean_z(model, rows, without) if by == "mean" else {}
    instead = {head: mean.get(head, torch.zeros(1, device=rows.device)) for head in without}
    if isinstance(model, Anatomy):
        return _by_views(without_heads(model, instead), rows)
    copied = shared_copy(model.model)
    for layer, own in _by_layer(instead).items():
        block_module(copied, layer, "attn.W_O").register_forward_pre_hook(
            partial(_replace, anatomy.blocks[layer].attn.n_heads, own)
        )
    return _by_model(copied, rows)


def mean_z(
    model: LanguageModel | Anatomy, rows: Int[Tensor, "n t"], heads: Sequence[Head]
) -> dict[Head, Float[Tensor, " k"]]:
    """The mean z of each of these heads over all rows and positions, in the model as it is.

    Raises ValueError for heads that are not there.
    """
    anatomy = anatomy_of(model)
    for head in heads:
        anatomy.head(*head)
    if isinstance(model, Anatomy):
        runs = [[values["z"].mean(1) for values in run_blocks(model, row)] for row in rows]
        return {(layer, head): torch.stack([run[layer][head] for run in runs]).mean(0) for layer, head in heads}
    copied, found = shared_copy(model.model), {}
    for layer in {layer for layer, _ in heads}:

        def keep(module: nn.Module, given: tuple[Tensor, ...], layer: int = layer) -> None:
            found.setdefault(layer, []).append(given[0].flatten(0, 1))

        block_module(copied, layer, "attn.W_O").register_forward_pre_hook(keep)
    _by_model(copied, rows)
    means = {layer: torch.cat(parts).mean(0) for layer, parts in found.items()}
    return {(layer, head): means[layer].reshape(anatomy.blocks[layer].attn.n_heads, -1)[head] for layer, head in heads}


def without_heads(anatomy: Anatomy, instead: Mapping[Head, Float[Tensor, "#k"]]) -> Anatomy:
    """The same transformer in which some heads have a fixed z: their W_O is zero, and what it made of z is in b_O."""
    blocks = list(anatomy.blocks)
    for layer, own in _by_layer(instead).items():
        attn = anatomy.blocks[layer].attn
        dense = attn.W_O.dense()
        by_head = dense.reshape(attn.n_heads, *dense.shape[-2:]).clone()  # (h, d, k), grouped or not
        bias = dense.new_zeros(anatomy.d_model) if attn.b_O is None else attn.b_O
        for head, z in own.items():
            bias = bias + by_head[head] @ z.to(dense).expand(by_head.shape[-1])
            by_head[head] = 0
        W_O = Weight.of("W_O", attn.W_O.legs, by_head.reshape(dense.shape))
        blocks[layer] = replace(blocks[layer], attn=replace(attn, W_O=W_O, b_O=bias))
    return replace(anatomy, blocks=tuple(blocks))


def _replace(n_heads: int, instead: Mapping[int, Tensor], module: nn.Module, given: tuple[Tensor, ...]) -> Tensor:
    """What the module that holds W_O is given, (n, t, hk), with the z of some heads replaced."""
    by_head = given[0].unflatten(-1, (n_heads, -1)).clone()
    for head, z in instead.items():
        by_head[..., head, :] = z.to(by_head)
    return by_head.flatten(-2)


def _by_layer(instead: Mapping[Head, Tensor]) -> dict[int, dict[int, Tensor]]:
    found: dict[int, dict[int, Tensor]] = {}
    for (layer, head), z in instead.items():
        found.setdefault(layer, {})[head] = z
    return found


def _by_model(model: nn.Module, rows: Int[Tensor, "n t"]) -> Float[Tensor, "n t v"]:
    with torch.no_grad():
        return torch.cat([model(part, use_cache=False).logits for part in rows.split(_BATCH_ROWS)])


def _by_views(anatomy: Anatomy, rows: Int[Tensor, "n t"]) -> Float[Tensor, "n t v"]:
    made = []
    for row in rows:
        draft = model_part(anatomy, False, row)
        made.append(draft.program().run(draft.arrays)[draft.out])
    return torch.stack(made)
