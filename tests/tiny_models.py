"""Random models of a few thousand numbers with tokenizers of their own: every law holds for them too."""

import copy
from functools import cache

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)
from transformers.pytorch_utils import Conv1D

from workbench.compress.calibrate import Calibration, calibrate
from workbench.compress.decompositions import decompose_all
from workbench.compress.layers import BondLinear
from workbench.compress.recipe import Recipe
from workbench.compress.windows import windows_of_text
from workbench.explore.compression_lab import CompressionLab
from workbench.transformer.load import LanguageModel
from workbench.transformer.matrices import shared_copy
from workbench.transformer.tables import place_layer, table_matrices

ALPHABET = "abcdefghijklmnopqrstuvwxyz .,'\nABCDEFGHIJKLMNOPQRSTUVWXYZ012345"
VOCABULARY = 1 + len(ALPHABET)
CONTEXT = 16

# Words in no order: 3,000 characters, one token each.
TEXT = " ".join(f"{word} {word[::-1]}" for word in ("tensor bond core site leg train rank cut " * 32).split())[:3000]


def tokenizer() -> PreTrainedTokenizerFast:
    """One token a character of `ALPHABET`; entry 0 ends a text."""
    entries = {"<|end|>": 0} | {character: 1 + index for index, character in enumerate(ALPHABET)}
    backend = Tokenizer(models.BPE(entries, []))
    backend.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    backend.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<|end|>", eos_token="<|end|>", clean_up_tokenization_spaces=False
    )


def gpt2() -> LanguageModel:
    """A random GPT-2 of two blocks, width 32, with tied embeddings; the same one at every call."""
    config = GPT2Config(
        vocab_size=VOCABULARY, n_positions=CONTEXT, n_embd=32, n_layer=2, n_head=2, bos_token_id=0, eos_token_id=0,
        resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
    )  # fmt: skip
    return _made("tiny-gpt2", GPT2LMHeadModel(config))


def llama() -> LanguageModel:
    """A random LLaMA of two blocks, width 32, with grouped queries and a head of its own; always the same one."""
    config = LlamaConfig(
        vocab_size=VOCABULARY, max_position_embeddings=CONTEXT, hidden_size=32, intermediate_size=48,
        num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, tie_word_embeddings=False,
        bos_token_id=0, eos_token_id=0, pad_token_id=None,
    )  # fmt: skip
    return _made("tiny-llama", LlamaForCausalLM(config))


FAMILIES = {"gpt2": gpt2, "llama": llama}


def lab(family: str = "gpt2", method: str = "svd", metric: str = "plain", sites: int = 2) -> CompressionLab:
    """A lab on a tiny model and `TEXT`, decomposed, every bond full."""
    made = CompressionLab.from_model(FAMILIES[family](), TEXT, max_windows=24)
    made.decompose(method, metric, sites, progress=lambda what, done, total: None)
    return made


def tokens(rows: int = 3, length: int = CONTEXT) -> torch.Tensor:
    """Random tokens that either tiny model reads, (rows, length)."""
    return torch.randint(VOCABULARY, (rows, length), generator=torch.Generator().manual_seed(1))


def logits(model: torch.nn.Module, read: torch.Tensor) -> torch.Tensor:
    """What a model says of every position, (rows, length, vocabulary)."""
    with torch.no_grad():
        return model(read, use_cache=False).logits


def _made(name: str, model: PreTrainedModel) -> LanguageModel:
    """Random weights of the usual 0.02 make a model that says nothing; nine times larger, its cuts matter."""
    generator = torch.Generator().manual_seed(7)
    for parameter in model.parameters():
        if parameter.ndim == 2:
            parameter.data.normal_(0, 0.18, generator=generator)
    return LanguageModel(name, name, model.eval().requires_grad_(False), tokenizer())


def table_lab(family: str, recipe: Recipe) -> tuple[LanguageModel, torch.nn.Module, dict, dict]:
    """A tiny model whose tables alone are decomposed, bonds full: it, the copy that is cut, matrices and layers."""
    lm = FAMILIES[family]()
    model, matrices = shared_copy(lm.model), table_matrices(lm.model, recipe.table)
    measured = calibrated(family) if recipe.needs_calibration else None
    uncut = decompose_all(recipe, matrices, measured, {})
    layers = {name: BondLinear(matrix.module, matrix.bias, uncut[name]) for name, matrix in matrices.items()}
    for name, matrix in matrices.items():
        place_layer(model, matrix, layers[name])
    return lm, model, matrices, layers


@cache
def calibrated(family: str) -> Calibration:
    """All that can be measured of a tiny model on `TEXT`."""
    lm = FAMILIES[family]()
    return calibrate(lm.model, windows_of_text(lm, TEXT), gradients=True, table=True)


def densified(lab: CompressionLab) -> torch.nn.Module:
    """A plain copy of the lab's dense model whose weights are those of the present cuts: a second way."""
    return multiplied_out(lab.lm, lab.matrices, lab.layers)


def multiplied_out(lm: LanguageModel, matrices: dict, layers: dict) -> torch.nn.Module:
    """A plain copy of a dense model with each layer's matrix wherever it is used; it is tied to nothing any more."""
    model = copy.deepcopy(lm.model)
    lookup, head = model.get_input_embeddings(), model.get_output_embeddings()
    head.weight = torch.nn.Parameter(head.weight.detach().clone(), requires_grad=False)
    for name, layer in layers.items():
        matrix = matrices[name]
        both = matrix.looked_up is not None and matrix.applied
        weight = matrix.weight if layer.bypassed else layer.now.dense()
        for module in (lookup, head) if both else (model.get_submodule(matrix.path),):
            own = weight.T if isinstance(module, Conv1D) else weight
            module.weight = torch.nn.Parameter(own.clone(), requires_grad=False)
    return model
