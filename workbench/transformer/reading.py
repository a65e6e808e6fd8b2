"""The anatomy of a loaded model: the one place that knows where each family keeps which tensor."""

# pyright: reportAttributeAccessIssue=false, reportArgumentType=false
# (modules of transformers are typed when they run)

from collections.abc import Callable, Mapping
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import GPT2LMHeadModel, LlamaForCausalLM, MistralForCausalLM
from transformers.pytorch_utils import Conv1D

from workbench.compress.layers import BondLinear, Lookup
from workbench.decompose.low_rank import LowRank
from workbench.transformer.anatomy import Anatomy, Attention, Block, Mlp, Norm
from workbench.transformer.load import LanguageModel
from workbench.transformer.weight import Weight

# What a block may hold, by the names that transformers gives; anything else would be left out of a view without a word.
_GPT2_PARTS = {"ln_1", "attn", "ln_2", "mlp"}
_GPT2_ATTENTION = {"c_attn", "c_proj", "attn_dropout", "resid_dropout"}
_LLAMA_PARTS = {"self_attn", "mlp", "input_layernorm", "post_attention_layernorm"}
_LLAMA_ATTENTION = {"q_proj", "k_proj", "v_proj", "o_proj"}


def anatomy_of(lm: object) -> Anatomy:
    """A `LanguageModel` as named tensors, views of its own numbers; an `Anatomy`, made by hand, is that itself.

    GPT-2, attention-only models, LLaMA and Mistral without a sliding window. A matrix whose bond is cut
    (`CompressionLab.present`) is the two factors it is stored as, or, for a train, the matrix that it stands for.
    Raises ValueError for another architecture, naming what is missing; TypeError for what is no model.
    """
    if isinstance(lm, Anatomy):
        return lm
    if not isinstance(lm, LanguageModel):
        raise TypeError(f"a {type(lm).__name__} was given; load a model by name or path with workbench.load.")
    if isinstance(lm.model, GPT2LMHeadModel):
        return _gpt2(lm, lm.model)
    if isinstance(lm.model, LlamaForCausalLM | MistralForCausalLM):
        return _llama(lm, lm.model)
    raise ValueError(
        f"{lm.name} is a {type(lm.model).__name__}, and views read GPT2LMHeadModel, LlamaForCausalLM and "
        f"MistralForCausalLM; its blocks hold {', '.join(sorted(_kinds(lm.model))) or 'no attention'}, whose "
        "arithmetic is not known here."
    )


def _gpt2(lm: LanguageModel, model: GPT2LMHeadModel) -> Anatomy:
    config, body = model.config, model.transformer
    if config.reorder_and_upcast_attn:
        raise ValueError(f"{lm.name} has reorder_and_upcast_attn, which views do not compute.")
    blocks = []
    for layer, block in enumerate(body.h):
        _check_parts(lm.name, layer, block, _GPT2_PARTS)
        _check_parts(lm.name, layer, block.attn, _GPT2_ATTENTION)
        h, k, d = config.n_head, config.n_embd // config.n_head, config.n_embd
        sizes, into = {"h": h, "k": k}, {"d": d}
        q, k_, v = _gpt2_qkv(block.attn.c_attn, sizes, into)
        o = _weight("W_O", block.attn.c_proj, {"d": d}, sizes)
        attn = Attention(
            *(q[0], k_[0], v[0], o), float(block.attn.scaling), q[1], k_[1], v[1], _bias(block.attn.c_proj)
        )
        mlp, ln2 = None, None
        if hasattr(block.mlp, "c_fc"):
            f = _shape(block.mlp.c_fc)[0]
            mlp = Mlp(
                *_in_and_out(block.mlp.c_fc, block.mlp.c_proj, d, f),
                *_activation(config.activation_function, block.mlp.act),
                _bias(block.mlp.c_fc), _bias(block.mlp.c_proj),
            )  # fmt: skip
            ln2 = _norm(block.ln_2)
        blocks.append(Block(attn, _norm(block.ln_1), mlp, ln2))
    return Anatomy(
        lm.name, *_tables(body.wte, model.lm_head), tuple(blocks), lm.context,
        W_pos=body.wpe.weight.detach(), ln_final=_norm(body.ln_f), first=_first(lm),
    )  # fmt: skip


def _gpt2_qkv(module: nn.Module, out: Mapping[str, int], into: Mapping[str, int]) -> list[tuple[Weight, Tensor | None]]:
    """Query, key and value with their biases, from the one matrix that GPT-2 stores them in."""
    bias = _bias(module)
    biases = [None] * 3 if bias is None else [part.reshape(*out.values()) for part in bias.chunk(3)]
    names = ("W_Q", "W_K", "W_V")
    now = _factors(module)
    if now is not None:
        lefts = now[0].chunk(3)
        weights = [
            Weight.pair(name, out, into, (left, now[1]), "W_QKV.R") for name, left in zip(names, lefts, strict=True)
        ]
    else:
        thirds = _matrix(module).chunk(3)
        weights = [
            Weight.of(name, (*out, *into), third.reshape(*out.values(), *into.values()))
            for name, third in zip(names, thirds, strict=True)
        ]
    return list(zip(weights, biases, strict=True))


def _llama(lm: LanguageModel, model: LlamaForCausalLM | MistralForCausalLM) -> Anatomy:
    config, body = model.config, model.model
    window = getattr(config, "sliding_window", None)
    if window is not None and window < lm.context:
        raise ValueError(
            f"{lm.name} attends through a sliding window of {window} tokens in a context of "
            f"{lm.context}; views draw the full causal mask."
        )
    blocks = []
    for layer, block in enumerate(body.layers):
        own, mlp = block.self_attn, block.mlp
        _check_parts(lm.name, layer, block, _LLAMA_PARTS)
        _check_parts(lm.name, layer, own, _LLAMA_ATTENTION)
        d, k = config.hidden_size, own.head_dim
        n_heads, n_groups = int(config.num_attention_heads), int(config.num_key_value_heads or 0)
        queries, keys = {"h": n_heads, "k": k}, {"h": n_heads, "k": k}
        if n_groups < n_heads:
            queries = {"g": n_groups, "m": n_heads // n_groups, "k": k}
            keys = {"g": n_groups, "k": k}
        biases = [
            None if (bias := _bias(module)) is None else bias.reshape(*sizes.values())
            for module, sizes in ((own.q_proj, queries), (own.k_proj, keys), (own.v_proj, keys))
        ]
        scale = float(own.scaling) * _lengthened(body.rotary_emb) ** 2
        attn = Attention(
            _weight("W_Q", own.q_proj, queries, {"d": d}), _weight("W_K", own.k_proj, keys, {"d": d}),
            _weight("W_V", own.v_proj, keys, {"d": d}), _weight("W_O", own.o_proj, {"d": d}, queries),
            scale, biases[0], biases[1], biases[2], _bias(own.o_proj), in_float32=True,
        )  # fmt: skip
        f = _shape(mlp.gate_proj)[0]
        gated = Mlp(
            *_in_and_out(mlp.up_proj, mlp.down_proj, d, f), *_activation(config.hidden_act, mlp.act_fn),
            _bias(mlp.up_proj), _bias(mlp.down_proj),
            _weight("W_gate", mlp.gate_proj, {"f": f}, {"d": d}), _bias(mlp.gate_proj),
        )  # fmt: skip
        blocks.append(Block(attn, _norm(block.input_layernorm), gated, _norm(block.post_attention_layernorm)))
    return Anatomy(
        lm.name, *_tables(body.embed_tokens, model.lm_head), tuple(blocks), lm.context,
        ln_final=_norm(body.norm), rotation=partial(_rotation, body.rotary_emb, body.norm.weight), first=_first(lm),
    )  # fmt: skip


def _tables(embedding: nn.Module, head: nn.Module) -> tuple[Weight, Weight]:
    """W_E and W_U; that of a cut table as the factors that it is stored as."""
    table = embedding.table if isinstance(embedding, Lookup) else embedding
    v, d = _shape(head)
    embedded = _weight("W_E", table, {"v": v}, {"d": d}).with_legs(("d", "v"))
    return embedded, _weight("W_U", head, {"v": v}, {"d": d})


def _rotation(rotary: nn.Module, like: Tensor, n: int) -> Float[Tensor, "n k k"]:
    """The rotations of the first `n` positions, from the model's own table of cosines and sines.

    Without the factor that some kinds of rotary positions lengthen queries and keys by: it is in the scores' scale.
    """
    with torch.no_grad():
        cos, sin = rotary(like, torch.arange(n, device=like.device)[None])  # (1, n, k) each, in the dtype of `like`
    k = cos.shape[-1]
    one = torch.eye(k, dtype=like.dtype, device=like.device)
    turned = torch.cat((-one[k // 2 :], one[: k // 2]))  # (x1, x2) to (-x2, x1), as transformers has it
    return (cos[0, :, :, None] * one + sin[0, :, :, None] * turned) / _lengthened(rotary)


def _lengthened(rotary: nn.Module) -> float:
    """What the model's rotary table multiplies queries and keys by besides turning them (YaRN, LongRoPE); mostly 1."""
    return float(getattr(rotary, "attention_scaling", 1.0))


def _norm(module: nn.Module) -> Norm:
    weight: Tensor = module.weight.detach()  # pyright: ignore
    if isinstance(module, nn.LayerNorm):
        return Norm("LN", weight, module.bias.detach(), module.eps)
    return Norm("RMS", weight, None, float(module.variance_epsilon))  # pyright: ignore[reportArgumentType]


def _activation(name: str, module: nn.Module) -> tuple[str, Callable[[Tensor], Tensor]]:
    """What the activation is called in a bubble, and the model's own function."""
    return ("GELU" if "gelu" in name else {"silu": "SiLU", "relu": "ReLU"}.get(name, name)), module


def _in_and_out(read: nn.Module, write: nn.Module, d: int, f: int) -> tuple[Weight, Weight]:
    return _weight("W_in", read, {"f": f}, {"d": d}), _weight("W_out", write, {"d": d}, {"f": f})


def _weight(name: str, module: nn.Module, out: Mapping[str, int], into: Mapping[str, int]) -> Weight:
    """The weight of a linear module over its legs; heads, which W_O reads, come before what it writes."""
    factors = _factors(module)
    if factors is not None:
        made = Weight.pair(name, out, into, factors, f"{name}.R")
    else:
        made = Weight.of(name, (*out, *into), _matrix(module).reshape(*out.values(), *into.values()))
    heads = tuple(leg for leg in made.legs if leg in ("h", "g", "m"))
    return made.with_legs((*heads, *(leg for leg in made.legs if leg not in heads)))


def _factors(module: nn.Module) -> tuple[Tensor, Tensor] | None:
    """The two factors (out, r) and (r, in) that a cut matrix is stored as; None for a matrix that is whole."""
    if isinstance(module, BondLinear) and not module.bypassed and isinstance(module.now, LowRank):
        return module.now.left, module.now.right
    return None


def _matrix(module: nn.Module) -> Float[Tensor, "out in"]:
    if isinstance(module, BondLinear):
        if not module.bypassed or module.original is None:
            return module.now.dense()
        module = module.original
    weight: Tensor = module.weight.detach()  # pyright: ignore
    return weight.T if isinstance(module, Conv1D) else weight


def _shape(module: nn.Module) -> tuple[int, int]:
    if isinstance(module, BondLinear):
        return module.uncut.shape
    out, into = _matrix(module).shape
    return out, into


def _bias(module: nn.Module) -> Tensor | None:
    bias = getattr(module, "bias", None)
    return None if bias is None else bias.detach()


def _first(lm: LanguageModel) -> int | None:
    return getattr(lm.tokenizer, "bos_token_id", None)


def _check_parts(name: str, layer: int, module: nn.Module, known: set[str]) -> None:
    beyond = sorted({child for child, _ in module.named_children()} - known)
    if beyond:
        raise ValueError(
            f"block {layer} of {name} holds {', '.join(beyond)}, which views do not compute; they know "
            f"{', '.join(sorted(known))}."
        )


def _kinds(model: nn.Module) -> set[str]:
    return {
        type(module).__name__ for name, module in model.named_modules() if "attention" in type(module).__name__.lower()
    }
