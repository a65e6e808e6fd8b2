"""Views of real layers: they give the model's own numbers, value by value, and say what they cannot draw."""

import copy
from dataclasses import replace

import pytest
import torch
from tiny_models import FAMILIES
from torch import Tensor

from workbench import LanguageModel, load
from workbench.rounding import largest_relative_error, tolerance
from workbench.transformer.capture import activations
from workbench.transformer.reading import anatomy_of
from workbench.transformer.view import tokens_of, view

TEXTS = {
    "pygpt": "def read_config(path):\n    with open(path) as",
    "names-gpt2": "\nmarguerite",
    "sort-gpt2": "ABCACBABC",
    "stories260K": "Once upon a time, there was a little girl",
    "tiny-gpt2": "tensor bond core",
    "tiny-llama": "tensor bond core",
}
DTYPES = (torch.float32, torch.float64)


@pytest.fixture(scope="module", params=TEXTS)
def lm(request) -> LanguageModel:
    name = request.param
    if name.startswith("tiny-"):
        return FAMILIES[name.removeprefix("tiny-")]()
    if name == "pygpt":
        return load("pygpt", "cpu")
    return load(request.getfixturevalue("shared_data") / "models" / name, "cpu")


def in_dtype(lm: LanguageModel, dtype: torch.dtype) -> LanguageModel:
    return replace(lm, model=copy.deepcopy(lm.model).to(dtype))


def assert_same(wanted: Tensor, found: Tensor, what: str) -> None:
    found = found.reshape(wanted.shape)  # grouped heads, (g, m), are one leg h there
    error = largest_relative_error(wanted, found)
    assert error <= tolerance(wanted.dtype), f"{what}: {error:.1e}"


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("fold", [False, True], ids=["drawn", "folded"])
def test_every_value_of_every_layer_is_the_models_own(lm, dtype, fold):
    lm = in_dtype(lm, dtype)
    tokens = tokens_of(lm, TEXTS[lm.name])
    own = activations(lm, tokens)
    compared = set()
    for layer, block in enumerate(anatomy_of(lm).blocks):
        for path in (f"blocks.{layer}", f"blocks.{layer}.attn", f"blocks.{layer}.mlp"):
            values = view(lm, path, tokens, fold).run()
            for name, value in values.items():
                full = f"blocks.{layer}.{name}"
                if full not in own or (fold and name in ("ln1", "ln2")):
                    continue
                assert_same(own[full], value, f"{path}: {name}")
                compared.add(name)
        assert block.mlp is not None
    names = {"resid_pre", "q", "k", "v", "pattern", "z", "attn_out", "resid_mid", "pre", "post", "mlp_out"}
    assert compared >= names | {"resid_post"} | ({"ln1", "ln2"} if not fold else set())
    assert_same(own["logits"], view(lm, "model", tokens, fold).result(), "model")
    assert_same(own["logits"], view(lm, "unembed", tokens, fold).result(), "unembed")


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_the_heads_of_a_layer_and_its_bias_sum_to_what_it_writes(lm, dtype):
    lm = in_dtype(lm, dtype)
    tokens = tokens_of(lm, TEXTS[lm.name])
    own = activations(lm, tokens)
    for layer, block in enumerate(anatomy_of(lm).blocks):
        results = []
        for head in range(block.attn.n_heads):
            values = view(lm, f"blocks.{layer}.attn.head.{head}", tokens).run()
            assert_same(own[f"blocks.{layer}.pattern"][head], values["pattern"], f"pattern of head {layer}.{head}")
            results.append(values["result"])
        total = sum(results) + (0 if block.attn.b_O is None else block.attn.b_O)
        assert_same(own[f"blocks.{layer}.attn_out"], total, f"layer {layer}")
