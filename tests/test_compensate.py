"""Compensation: what it makes good, what it leaves, and the regression it is, solved another way."""

import pytest
import tiny_models
import torch

from workbench import CompressionLab, Recipe
from workbench.compress.compensate import compensate
from workbench.compress.windows import Windows, windows_of_sequences

QUIET = {"progress": lambda what, done, total: None}


def cut_lab(family: str = "gpt2", metric: str = "input", kept: float = 0.3) -> CompressionLab:
    lab = tiny_models.lab(family, "svd", metric)
    lab.kept = kept
    return lab


def closeness(lab: CompressionLab, windows: Windows) -> float:
    """The mean squared distance of the last hidden states from the dense model's."""
    with torch.no_grad():
        runs = [
            model.base_model(windows.tokens[:, :-1]).last_hidden_state for model in (lab.lm.model, lab.present.model)
        ]
    return float((runs[0] - runs[1])[windows.scored].square().mean())


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_the_streams_come_nearer_to_the_dense_ones_and_nothing_grows(family):
    lab = cut_lab(family)
    windows = lab._calibration.windows
    before, bonds, stored = closeness(lab, windows), dict(lab.bond), lab.sizes.n_params
    lab.compensate(**QUIET)
    assert closeness(lab, windows) < 0.9 * before
    assert dict(lab.bond) == bonds
    assert lab.sizes.n_params == stored
    assert lab.repairs.done == ("compensated",)


def test_the_first_cut_matrix_is_the_regression_of_the_outputs_on_its_inputs():
    lab = tiny_models.lab("gpt2", "svd", "input")
    name = "blocks.0.mlp.W_in"
    earlier = "blocks.0.attn.W_QKV"
    lab.bond[earlier] = 2
    lab.bond[name] = lab.layers[name].uncut.full_bond - 1
    windows = lab._calibration.windows
    lab.compensate(**QUIET)
    inputs = {}
    for model, key in ((lab.lm.model, "dense"), (lab.present.model, "cut")):
        module = model.get_submodule(lab.matrices[name].path)
        handle = module.register_forward_pre_hook(lambda m, given, key=key: inputs.update({key: given[0]}))
        tiny_models.logits(model, windows.tokens[:, :-1])
        handle.remove()
    x, seen = (inputs[key][windows.scored].double() for key in ("dense", "cut"))
    layer, matrix = lab.layers[name], lab.matrices[name]
    wanted = x @ matrix.weight.double().T + matrix.bias.double()
    got = seen @ layer.now.dense().double().T + layer.present_bias.double()
    ones = torch.ones(len(seen), 1, dtype=torch.float64)
    best = torch.linalg.lstsq(torch.cat([seen, ones], 1), wanted).solution
    least = (torch.cat([seen, ones], 1) @ best - wanted).square().mean()
    plain = (seen @ matrix.weight.double().T + matrix.bias.double() - wanted).square().mean()
    error = (got - wanted).square().mean()
    assert float(least) <= float(error) < float(plain)
    assert torch.allclose(got.mean(0), wanted.mean(0), atol=1e-4), "the bias makes the mean right"


def test_padding_counts_for_nothing():
    lm = tiny_models.gpt2()
    rows = tiny_models.tokens(150).tolist()
    ragged = windows_of_sequences(lm, [row[: 2 + index % 15] for index, row in enumerate(rows)])
    padded = Windows(ragged.tokens.clone(), ragged.scored)
    padded.tokens[:, 1:][~ragged.scored] = 5
    found = []
    for windows in (ragged, padded):
        lab = CompressionLab(lm, windows, windows)
        lab.decompose("svd", "plain", **QUIET)
        lab.kept = 0.4
        lab.compensate(**QUIET)
        found.append(torch.cat([layer.now.dense().flatten() for layer in lab.layers.values()]))
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-5)


def test_layers_that_are_whole_are_left_as_they_are():
    lab = tiny_models.lab("gpt2", "svd", "input")
    lab.bond["blocks.1.attn.W_O"] = 2
    lab.compensate(**QUIET)
    assert [name for name, layer in lab.layers.items() if not layer.bypassed] == ["blocks.1.attn.W_O"]


def test_an_interrupt_puts_everything_back():
    lab = cut_lab()
    before = lab.evaluate().perplexity

    def interrupt(what, done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        lab.compensate(interrupt)
    assert lab.repairs.done == ()
    assert lab.evaluate().perplexity == before


def test_what_cannot_be_compensated_is_refused():
    lab = tiny_models.lab("gpt2", "mpo", "plain")
    lab.kept = 0.5
    with pytest.raises(ValueError, match=r"blocks\.0\.attn\.W_QKV is cut as a TrainOperator; only low-rank pairs"):
        lab.compensate(**QUIET)
    pairs = cut_lab(metric="plain")
    few = Windows(lab._calibration.windows.tokens[:1, :5], torch.ones(1, 4, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"4 calibration tokens are too few for matrices of .* inputs"):
        compensate(pairs.lm.model, pairs.present.model, pairs.matrices, few, None)
    with pytest.raises(RuntimeError, match="nothing is decomposed yet"):
        CompressionLab(lab.lm, lab.evaluator.windows, few).kept  # noqa: B018


def test_a_move_leaves_it_and_undo_comes_back():
    lab = cut_lab()
    bare = lab.evaluate().perplexity
    lab.compensate(**QUIET)
    better = lab.evaluate().perplexity
    assert better != bare
    lab.bond["blocks.0.mlp.W_in"] = lab.bond["blocks.0.mlp.W_in"]
    assert lab.repairs.done == ()
    assert lab.evaluate().perplexity == bare, "the same bonds, bare again"
    lab.undo()
    assert lab.repairs.done == ("compensated",)
    assert lab.evaluate().perplexity == better
    lab.undo()
    assert lab.evaluate().perplexity == bare
    with pytest.raises(RuntimeError, match="there is nothing to undo"):
        lab.undo()


def test_a_compensated_model_is_exported_as_it_runs(tmp_path):
    from workbench import load

    lab = tiny_models.lab()
    lab.decompose(Recipe("svd", "plain", gauge_fixed=True), **QUIET)
    lab.kept = 0.5
    lab.compensate(**QUIET)
    read = tiny_models.tokens(3)
    expected = tiny_models.logits(lab.present.model, read)
    out = lab.export(tmp_path / "out")
    for path in (out, out / "dense"):
        torch.testing.assert_close(
            tiny_models.logits(load(path, device="cpu").model, read), expected, rtol=1e-3, atol=1e-4
        )
    stored = load(out, device="cpu").model
    assert sum(p.numel() for p in stored.parameters()) <= lab.sizes.n_params
