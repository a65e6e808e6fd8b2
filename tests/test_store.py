"""An export is the compressed model, in this library and, multiplied out, in plain transformers."""

import json

import pytest
import tiny_models
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from workbench import load


@pytest.mark.parametrize(("method", "metric", "sites"), [("svd", "input", 2), ("mpo", "plain", 2), ("mpo", "plain", 3)])
@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_an_export_has_the_logits_of_the_lab_in_both_its_forms(tmp_path, family, method, metric, sites):
    lab = tiny_models.lab(family, method, metric, sites)
    lab.keep(0.4, "blocks.0.*")
    lab.bond["blocks.1.attn.W_O"] = lab.bond["blocks.1.attn.W_O"] - 1  # cut, but cheaper multiplied out
    out = lab.export(tmp_path / "out")
    read = tiny_models.tokens()
    expected = tiny_models.logits(lab._compressed, read)
    torch.testing.assert_close(tiny_models.logits(load(out).model, read), expected, atol=1e-5, rtol=1e-5)
    plain = AutoModelForCausalLM.from_pretrained(out / "dense")
    torch.testing.assert_close(tiny_models.logits(plain, read), expected, atol=1e-4, rtol=1e-4)
    assert AutoTokenizer.from_pretrained(out / "dense").decode([1, 2, 3]) == lab.lm.tokenizer.decode([1, 2, 3])


def test_an_export_holds_as_many_numbers_as_the_lab_says(tmp_path):
    lab = tiny_models.lab()
    lab.kept = 0.3
    out = lab.export(tmp_path / "out")
    tensors = load_file(out / "model.safetensors")
    stored = sum(tensor.numel() for name, tensor in tensors.items() if ".spectrum." not in name)
    assert stored == lab.sizes.n_params
    assert set(json.loads((out / "compressed.json").read_text())["layers"]) == set(lab.layers)


def test_an_export_of_full_bonds_is_the_dense_model(tmp_path):
    lab = tiny_models.lab()
    lm = load(lab.export(tmp_path / "out"))
    read = tiny_models.tokens()
    assert torch.equal(tiny_models.logits(lm.model, read), tiny_models.logits(lab.lm.model, read))
