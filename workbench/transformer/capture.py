"""What a model itself computes on the way to its logits, taken from transformers' own modules while they run."""

from typing import Any

import torch
from torch import Tensor
from transformers import GPT2LMHeadModel

from workbench.transformer.load import LanguageModel
from workbench.transformer.matrices import shared_copy
from workbench.transformer.reading import anatomy_of
from workbench.transformer.view import Tokens, tokens_of

# Of a block's module: what goes in, what comes out, or the second thing that comes out, and its name here.
_Taken = tuple[str, str, str]
_GPT2: dict[str, tuple[_Taken, ...]] = {
    "attn": (
        ("", "in", "resid_pre"), ("ln_1", "out", "ln1"), ("attn.c_attn", "out", "qkv"), ("attn", "second", "pattern"),
        ("attn.c_proj", "in", "z"), ("attn.c_proj", "out", "attn_out"), ("", "out", "resid_post"),
    ),
    "mlp": (
        ("ln_2", "in", "resid_mid"), ("ln_2", "out", "ln2"), ("mlp.c_fc", "out", "pre"), ("mlp.c_proj", "in", "post"),
        ("mlp", "out", "mlp_out"),
    ),
}  # fmt: skip
_LLAMA: dict[str, tuple[_Taken, ...]] = {
    "attn": (
        ("", "in", "resid_pre"), ("input_layernorm", "out", "ln1"), ("self_attn.q_proj", "out", "q"),
        ("self_attn.k_proj", "out", "k"), ("self_attn.v_proj", "out", "v"), ("self_attn", "second", "pattern"),
        ("self_attn.o_proj", "in", "z"), ("self_attn.o_proj", "out", "attn_out"), ("", "out", "resid_post"),
    ),
    "mlp": (
        ("post_attention_layernorm", "in", "resid_mid"), ("post_attention_layernorm", "out", "ln2"),
        ("mlp.gate_proj", "out", "pre"), ("mlp.up_proj", "out", "pre_linear"), ("mlp.down_proj", "in", "post"),
        ("mlp", "out", "mlp_out"),
    ),
}  # fmt: skip


def activations(lm: LanguageModel, tokens: Tokens) -> dict[str, Tensor]:
    """The model's own intermediate values on one row of tokens, named as in the views: `blocks.0.pattern`.

    Of every block resid_pre, ln1, q, k, v (h, t, k; k and v with as many heads as there are), pattern (h, t, s),
    z (h, t, k), attn_out and resid_post, and with an MLP resid_mid, ln2, pre, post and mlp_out; then ln_final and
    logits. Nothing is computed here but by the model, run on a copy that shares its tensors, with the eager
    attention of transformers, which alone gives patterns.
    Raises ValueError for tokens that the model cannot read, or a model that views do not know.
    """
    anatomy = anatomy_of(lm)
    row = tokens_of(lm, tokens, anatomy)
    model = shared_copy(lm.model)
    model.set_attn_implementation("eager")  # pyright: ignore[reportCallIssue]
    is_gpt2 = isinstance(model, GPT2LMHeadModel)
    blocks = model.get_submodule("transformer.h" if is_gpt2 else "model.layers")
    found: dict[str, Tensor] = {}
    for layer, block in enumerate(blocks.children()):
        table = _GPT2 if is_gpt2 else _LLAMA
        wanted = table["attn"] + (() if anatomy.blocks[layer].mlp is None else table["mlp"])
        for path, which, name in wanted:
            _take(found, f"blocks.{layer}.{name}", block.get_submodule(path), which)
    _take(found, "ln_final", model.get_submodule("transformer.ln_f" if is_gpt2 else "model.norm"), "out")
    with torch.no_grad():
        found["logits"] = model(row[None], use_cache=False).logits
    found = {name: value[0] for name, value in found.items()}
    for layer, block in enumerate(anatomy.blocks):
        _by_head(found, f"blocks.{layer}.", block.attn.d_head)
    return found


def _take(found: dict[str, Tensor], name: str, module: torch.nn.Module, which: str) -> None:
    """Has the module leave what it is given, or gives, in `found` when it runs."""

    def given(module: torch.nn.Module, positional: tuple, keywords: dict[str, Any]) -> None:
        found[name] = positional[0] if positional else keywords["hidden_states"]

    def gives(module: torch.nn.Module, positional: tuple, made: Any) -> None:
        found[name] = made[1] if which == "second" else made[0] if isinstance(made, tuple) else made

    if which == "in":
        module.register_forward_pre_hook(given, with_kwargs=True)
    else:
        module.register_forward_hook(gives)


def _by_head(found: dict[str, Tensor], prefix: str, d_head: int) -> None:
    """Splits what modules hold for all heads at once, (t, hk), to (h, t, k)."""
    if (both := found.pop(f"{prefix}qkv", None)) is not None:
        for name, third in zip("qkv", both.chunk(3, dim=-1), strict=True):
            found[f"{prefix}{name}"] = third
    for name in ("q", "k", "v", "z"):
        found[f"{prefix}{name}"] = found[f"{prefix}{name}"].unflatten(-1, (-1, d_head)).transpose(0, 1)
