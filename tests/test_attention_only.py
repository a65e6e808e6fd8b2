"""A model of attention alone: what it computes, what is in its checkpoint, and who reads it."""

import json

import pytest
import tiny_models
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel

from workbench import CompressionLab, load
from workbench.transformer.attention_only import AttentionOnlyConfig, AttentionOnlyLM
from workbench.transformer.load import LanguageModel
from workbench.transformer.matrices import block_matrices

SIZES = {
    "vocab_size": tiny_models.VOCABULARY, "n_positions": tiny_models.CONTEXT, "n_embd": 32, "n_layer": 2, "n_head": 4,
    "bos_token_id": 0, "eos_token_id": 0, "resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0,
    "tie_word_embeddings": False,
}  # fmt: skip
BLOCKS = ["blocks.0.attn.W_QKV", "blocks.0.attn.W_O", "blocks.1.attn.W_QKV", "blocks.1.attn.W_O"]


def model() -> AttentionOnlyLM:
    """A random one, every parameter of which matters; the same at every call."""
    made = AttentionOnlyLM(AttentionOnlyConfig(**SIZES))
    generator = torch.Generator().manual_seed(5)
    for parameter in made.parameters():
        parameter.data.normal_(0, 0.3, generator=generator)
    return made.eval().requires_grad_(False)


@pytest.fixture
def checkpoint(tmp_path):
    model().save_pretrained(tmp_path / "checkpoint")
    tiny_models.tokenizer().save_pretrained(tmp_path / "checkpoint")
    return tmp_path / "checkpoint"


def test_it_has_the_logits_of_a_gpt2_whose_mlps_write_nothing():
    own, plain, read = model(), GPT2LMHeadModel(GPT2Config(**SIZES)).eval(), tiny_models.tokens()
    plain.load_state_dict(own.state_dict(), strict=False)
    for block in plain.transformer.h:
        block.mlp.c_proj.weight.data.zero_()
        block.mlp.c_proj.bias.data.zero_()
    assert torch.equal(tiny_models.logits(own, read), tiny_models.logits(plain, read))


def test_it_has_the_logits_of_its_formula():
    own, read = model().double(), tiny_models.tokens()
    weights = own.state_dict()
    x = weights["transformer.wte.weight"][read] + weights["transformer.wpe.weight"][: read.shape[1]]  # (b, t, d)

    def norm(x, name):
        centred = x - x.mean(-1, keepdim=True)
        unit = centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
        return unit * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    for layer in ("transformer.h.0", "transformer.h.1"):
        joint = norm(x, f"{layer}.ln_1") @ weights[f"{layer}.attn.c_attn.weight"] + weights[f"{layer}.attn.c_attn.bias"]
        q, k, v = (part.unflatten(-1, (4, 8)) for part in joint.chunk(3, -1))  # (b, t, h, k)
        scores = torch.einsum("bthk,bshk->bhts", q, k) / 8**0.5
        pattern = scores.masked_fill(torch.ones(read.shape[1], read.shape[1]).triu(1).bool(), -torch.inf).softmax(-1)
        z = torch.einsum("bhts,bshk->bthk", pattern, v).flatten(2)
        x = x + z @ weights[f"{layer}.attn.c_proj.weight"] + weights[f"{layer}.attn.c_proj.bias"]
    expected = norm(x, "transformer.ln_f") @ weights["lm_head.weight"].T
    torch.testing.assert_close(tiny_models.logits(own, read), expected)


def test_its_patterns_are_those_it_attends_by():
    own, read = model(), tiny_models.tokens()
    before = tiny_models.logits(own, read)
    own.set_attn_implementation("eager")
    output = own(read, output_attentions=True)
    assert [pattern.shape for pattern in output.attentions] == [(3, 4, 16, 16)] * 2
    torch.testing.assert_close(output.attentions[0].sum(-1), torch.ones(3, 4, 16))
    assert torch.equal(output.attentions[1], output.attentions[1].tril())
    torch.testing.assert_close(output.logits, before, atol=1e-4, rtol=1e-4)


def test_its_checkpoint_has_no_mlp_and_gives_the_same_model_again(checkpoint):
    names = set(load_file(checkpoint / "model.safetensors"))
    assert len(names) == 2 + 2 * 6 + 2 + 1
    assert not any("mlp" in name or "ln_2" in name for name in names)
    read = tiny_models.tokens()
    loaded = load(checkpoint, device="cpu")
    assert isinstance(loaded.model, AttentionOnlyLM)
    assert torch.equal(tiny_models.logits(loaded.model, read), tiny_models.logits(model(), read))
    assert loaded.tokenizer.decode([1, 2]) == tiny_models.tokenizer().decode([1, 2])


def test_loading_it_says_nothing(checkpoint, capfd, caplog):
    load(checkpoint, device="cpu")
    captured = capfd.readouterr()
    assert (captured.out, captured.err, caplog.messages) == ("", "", [])


def test_plain_transformers_refuses_it_rather_than_make_mlps_up(checkpoint):
    with pytest.raises(ValueError, match="model type `attention_only` but Transformers does not recognize"):
        AutoModelForCausalLM.from_pretrained(checkpoint)


def test_its_block_matrices_are_those_of_attention():
    matrices = block_matrices(model())
    assert list(matrices) == BLOCKS
    assert [tuple(matrix.weight.shape) for matrix in matrices.values()] == [(96, 32), (32, 32)] * 2


def test_a_checkpoint_with_mlps_is_not_read_without_them(checkpoint):
    GPT2LMHeadModel(GPT2Config(**SIZES)).save_pretrained(checkpoint)
    config = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))
    (checkpoint / "config.json").write_text(json.dumps(config | {"model_type": "attention_only"}), encoding="utf-8")
    with pytest.raises(ValueError, match=r"and 6 weights beyond it \(transformer\.h\.0\.ln_2\.weight, "):
        load(checkpoint)


def test_a_checkpoint_that_lacks_a_block_is_refused(checkpoint):
    tensors = load_file(checkpoint / "model.safetensors")
    kept = {name: tensor for name, tensor in tensors.items() if ".h.1." not in name}
    save_file(kept, checkpoint / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match=r"lacks 6 tensors of its architecture, has 0 of another shape"):
        load(checkpoint)


@pytest.mark.parametrize(("method", "metric"), [("svd", "input"), ("mpo", "plain")])
def test_an_export_of_it_has_the_logits_of_the_lab_in_both_its_forms(tmp_path, method, metric):
    lm = LanguageModel("tiny", "tiny", model(), tiny_models.tokenizer())
    lab = CompressionLab.from_model(lm, tiny_models.TEXT, max_windows=24)
    lab.decompose(method, metric, progress=lambda what, done, total: None)
    assert list(lab.layers) == BLOCKS
    lab.kept = 0.5
    out, read = lab.export(tmp_path / "out"), tiny_models.tokens()
    expected = tiny_models.logits(lab._compressed, read)
    assert not torch.allclose(expected, tiny_models.logits(lm.model, read), atol=0.1)
    for folder in (out, out / "dense"):
        again = load(folder, device="cpu")
        assert isinstance(again.model, AttentionOnlyLM)
        torch.testing.assert_close(tiny_models.logits(again.model, read), expected, atol=1e-4, rtol=1e-4)
