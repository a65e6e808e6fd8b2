"""A model whose table is cut, healed, compensated, quantised and written to disk, tied or not."""

import json

import pytest
import tiny_models
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoModelForCausalLM

from workbench import CompressionLab, Recipe, load
from workbench.compress.heal_loss import Comparison
from workbench.compress.heal_recipe import HealRecipe
from workbench.compress.heal_student import Student
from workbench.compress.store import export
from workbench.compress.windows import windows_of_text
from workbench.transformer.load import LanguageModel
from workbench.transformer.tables import is_tied

QUIET = {"progress": lambda what, done, total: None}
V, D = tiny_models.VOCABULARY, 32
KINDS = [("gpt2", "both"), ("gpt2", "input"), ("llama", "both"), ("llama", "input")]
BRIEF = HealRecipe(4, learning_rate=0.03, batch_tokens=192, warmup=2, check_every=2)


def made(family: str, table: str, metric: str = "plain") -> CompressionLab:
    """A lab on a tiny model whose table has a bond too; every bond full."""
    lab = CompressionLab.from_model(tiny_models.FAMILIES[family](), tiny_models.TEXT, max_windows=24)
    lab.decompose(Recipe("svd", metric, table=table), **QUIET)
    return lab


def said(model: nn.Module) -> Tensor:
    return tiny_models.logits(model, tiny_models.tokens())


@pytest.mark.parametrize(("family", "table"), [("gpt2", "both"), ("llama", "both")])
def test_healing_brings_the_cut_table_nearer_and_undoing_takes_it_back(family, table):
    lab = made(family, table)
    lab.keep(0.3, "*embed.*")
    tables = {name: layer for name, layer in lab.layers.items() if "embed." in name}
    before, size = {name: layer.now for name, layer in tables.items()}, lab.sizes.n_params
    report = lab.heal(BRIEF, **QUIET)
    assert report.best_step > 0
    assert report.after < 0.95 * report.before
    assert lab.sizes.n_params == size
    for name, layer in tables.items():
        assert not torch.equal(layer.now.dense(), before[name].dense())
    torch.testing.assert_close(said(lab.present.model), said(tiny_models.densified(lab)), atol=1e-4, rtol=1e-4)
    lab.undo()
    assert all(layer.now is before[name] for name, layer in tables.items())


@pytest.mark.parametrize(("family", "table"), KINDS)
def test_the_gradient_reaches_a_table_from_every_use_of_it(family, table):
    lm, model, _, layers = tiny_models.table_lab(family, Recipe("svd", "plain", table=table))
    for layer in layers.values():
        layer.cut(8)
    student, rows = Student(model, layers), windows_of_text(lm, tiny_models.TEXT).rows(0, 3)
    leaves = student.leaves
    comparison = Comparison(lm.model, rows, 3, 0.7, torch.float32)
    loss, gradients = comparison.gradients(student.model, list(leaves.values()), 0)
    # Without the steps that spare memory: one graph through lookup, blocks and head.
    tokens, targets = rows.tokens[:, :-1], rows.tokens[:, 1:].flatten()
    expected = tiny_models.logits(lm.model, tokens).log_softmax(-1).flatten(0, 1)
    got = student.model(tokens, use_cache=False).logits.log_softmax(-1).flatten(0, 1)
    kl = functional.kl_div(got, expected, reduction="batchmean", log_target=True)
    total = 0.7 * kl + 0.3 * functional.nll_loss(got, targets)
    assert loss.total == pytest.approx(total.item(), rel=1e-4)
    for gradient, whole in zip(gradients, torch.autograd.grad(total, list(leaves.values())), strict=True):
        torch.testing.assert_close(gradient, whole, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("table", ["both", "input"])
def test_compensation_leaves_the_table_and_makes_good_what_its_lookup_got_wrong(table):
    lab = made("gpt2", table, "input")
    lab.keep(0.5, "embed.W_E")
    lab.keep(0.6, "blocks.*")
    windows, now = lab._calibration.windows, lab.layers["embed.W_E"].now

    def distance() -> float:
        with torch.no_grad():
            runs = [m.base_model(windows.tokens[:, :-1]).last_hidden_state for m in (lab.lm.model, lab.present.model)]
        return float((runs[0] - runs[1]).square().mean())

    before = distance()
    lab.compensate(**QUIET)
    assert lab.layers["embed.W_E"].now is now
    assert distance() < 0.8 * before


def test_quantising_counts_the_bytes_of_the_table_and_of_a_head_left_alone():
    both, alone = made("gpt2", "both"), made("gpt2", "input")
    for lab in (both, alone):
        lab.keep(0.4, "blocks.*")
        lab.quantise(8)
        layer = lab.layers["embed.W_E"]
        assert not layer.bypassed, "a whole table is rounded too"
        torch.testing.assert_close(layer.now.dense(), lab.matrices["embed.W_E"].weight, atol=0.01, rtol=0)
    assert alone.sizes.untied_params == V * D
    assert both.sizes.untied_params == 0
    assert alone.sizes.bytes == both.sizes.bytes + 4 * V * D, "a rounded lookup is no longer the head's table"
    torch.testing.assert_close(said(both.present.model), said(tiny_models.densified(both)), atol=1e-4, rtol=1e-4)
    both.undo()
    assert both.layers["embed.W_E"].bypassed


@pytest.mark.parametrize(("family", "table"), KINDS)
def test_an_export_has_the_logits_of_the_lab_in_both_its_forms_and_its_numbers(tmp_path, family, table):
    lab = made(family, table)
    lab.kept = 0.4
    out = lab.export(tmp_path / "out")
    expected = said(lab.present.model)
    torch.testing.assert_close(said(load(out).model), expected, atol=1e-5, rtol=1e-5)
    plain = AutoModelForCausalLM.from_pretrained(out / "dense")
    torch.testing.assert_close(said(plain), expected, atol=1e-4, rtol=1e-4)
    still_tied = (family, table) == ("gpt2", "both")
    assert is_tied(plain) == still_tied == json.loads((out / "config.json").read_text())["tie_word_embeddings"]
    stored = load_file(out / "model.safetensors")
    assert sum(t.numel() for name, t in stored.items() if ".spectrum." not in name) == lab.sizes.n_params
    assert is_tied(lab.lm.model) == (family == "gpt2"), "the given model is left as it was"
    with pytest.raises(ValueError, match="is compressed already"):
        CompressionLab.from_model(load(out), tiny_models.TEXT)


@pytest.mark.parametrize("table", ["both", "input"])
def test_a_cut_that_stores_no_fewer_numbers_is_exported_multiplied_out(tmp_path, table):
    lab = made("gpt2", table)
    lab.bond["embed.W_E"] = 31
    assert lab.layers["embed.W_E"].n_params == V * D
    out = lab.export(tmp_path / "out")
    torch.testing.assert_close(said(load(out).model), said(lab.present.model), atol=1e-5, rtol=1e-5)
    assert sum(t.numel() for t in load_file(out / "model.safetensors").values()) == lab.sizes.n_params


@pytest.mark.parametrize("method", ["mpo", "kronecker"])
def test_other_forms_of_a_table_are_exported_too(tmp_path, method):
    recipe = Recipe(method, "plain", permuted=method == "kronecker", table="both")
    lm, model, matrices, layers = tiny_models.table_lab("gpt2", recipe)
    layers["embed.W_E"].cut(2)
    out = export(lm, matrices, layers, tmp_path / "out", {})
    torch.testing.assert_close(said(load(out).model), said(model), atol=1e-5, rtol=1e-5)


def test_a_padded_table_keeps_its_padding(tmp_path):
    lm = tiny_models.llama()
    lm.model.config.pad_token_id = 3
    table = nn.Embedding(V, D, padding_idx=3)
    table.weight = nn.Parameter(lm.model.get_input_embeddings().weight.detach().clone(), requires_grad=False)
    lm.model.set_input_embeddings(table)
    lab = CompressionLab.from_model(LanguageModel("padded", "padded", lm.model, lm.tokenizer), tiny_models.TEXT)
    lab.decompose(Recipe("svd", "plain", table="both"), **QUIET)
    lab.kept = 0.4
    plain = AutoModelForCausalLM.from_pretrained(lab.export(tmp_path / "out") / "dense")
    assert plain.get_input_embeddings().padding_idx == 3
    torch.testing.assert_close(said(plain), said(lab.present.model), atol=1e-4, rtol=1e-4)
