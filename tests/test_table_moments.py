"""What is measured at the token table, beside plain sums, and the metrics that its cuts are best in."""

import pytest
import tiny_models
import torch
from torch import Tensor, nn
from torch.nn import functional

from workbench import CompressionLab, Recipe, load
from workbench.compress.calibrate import calibrate
from workbench.compress.decompositions import decompose_all
from workbench.compress.windows import Windows, windows_of_sequences, windows_of_text
from workbench.transformer.tables import table_matrices

QUIET = {"progress": lambda what, done, total: None}
V, D = tiny_models.VOCABULARY, 32
KINDS = [("gpt2", "both"), ("gpt2", "input"), ("llama", "both"), ("llama", "input")]


def logits_of(model: nn.Module, tokens: Tensor) -> Tensor:
    with torch.no_grad():
        return model(tokens, use_cache=False).logits.float()


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_the_tables_moments_are_those_of_a_plain_run(family):
    lm = tiny_models.FAMILIES[family]()
    tokens = windows_of_text(lm, tiny_models.TEXT).tokens[:, :-1]
    found = tiny_models.calibrated(family).table
    assert found is not None
    with torch.no_grad():
        hidden = lm.model.base_model(tokens).last_hidden_state.flatten(0, 1).double()
    p = logits_of(lm.model, tokens).softmax(-1).flatten(0, 1).double()
    counts, n = functional.one_hot(tokens.flatten(), V).sum(0), tokens.numel()
    assert int(counts.min()) == 0, "some tokens are never read, and count as rare"
    torch.testing.assert_close(found.read, (counts + 1).double() / (n + V))
    assert float(found.read.sum()) == pytest.approx(1)
    torch.testing.assert_close(found.predicted, p.mean(0), rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(found.second_moment, hidden.T @ hidden / n, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found.magnitudes, hidden.abs().mean(0), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_the_gradient_moment_is_that_of_the_loss_by_each_embedding(family):
    lm = tiny_models.FAMILIES[family]()
    windows = windows_of_text(lm, tiny_models.TEXT).rows(0, 12)
    found = calibrate(lm.model, windows, gradients=True, table=True, seed=4).table
    tokens = windows.tokens[:, :-1]
    logits = logits_of(lm.model, tokens).flatten(0, 1)
    draws = torch.rand(len(logits), 1, generator=torch.Generator().manual_seed(4))
    labels = (logits.softmax(-1).cumsum(-1) < draws).sum(-1).clamp_max(V - 1)
    shift = torch.zeros(*tokens.shape, D, requires_grad=True)
    handle = lm.model.get_input_embeddings().register_forward_hook(lambda module, given, out: out + shift)
    loss = functional.cross_entropy(lm.model(tokens).logits.flatten(0, 1), labels, reduction="sum")
    handle.remove()
    g = torch.autograd.grad(loss, shift)[0].flatten(0, 1).double()
    torch.testing.assert_close(found.gradient_moment, g.T @ g / len(g), rtol=1e-3, atol=1e-6)


def test_padding_counts_for_nothing_and_nothing_is_measured_that_was_not_asked_for():
    lm = tiny_models.gpt2()
    rows = tiny_models.tokens(40).tolist()
    ragged = windows_of_sequences(lm, [row[: 6 + index % 11] for index, row in enumerate(rows)])
    padded = Windows(ragged.tokens.clone(), ragged.scored)
    padded.tokens[:, 1:][~ragged.scored] = 5
    found, other = (calibrate(lm.model, windows, table=True).table for windows in (ragged, padded))
    torch.testing.assert_close(found.read, other.read)
    torch.testing.assert_close(found.predicted, other.predicted)
    torch.testing.assert_close(found.second_moment, other.second_moment)
    assert found.gradient_moment is None
    assert calibrate(lm.model, ragged).table is None
    assert not any(module._forward_pre_hooks for module in lm.model.modules())


@pytest.mark.parametrize("metric", ["diagonal", "input", "two-sided"])
@pytest.mark.parametrize(("family", "table"), KINDS)
def test_what_a_cut_table_reports_is_its_error_in_the_metric_of_its_uses(family, table, metric):
    _, _, matrices, layers = tiny_models.table_lab(family, Recipe("svd", metric, table=table))
    found = tiny_models.calibrated(family).table
    tied = family == "gpt2" and table == "both"
    for name, layer in layers.items():
        layer.cut(9)
        error = matrices[name].weight.double() - layer.now.dense().double()
        rows, inputs = torch.ones(V, dtype=torch.float64), torch.eye(D, dtype=torch.float64)
        if metric == "two-sided":
            head = (found.predicted, found.second_moment)
            lookup = (found.read, found.gradient_moment)
            rows, inputs = head if name == "unembed.W_U" else lookup
            if tied:
                rows, inputs = (head[0] + lookup[0]) / 2, head[1] + lookup[1]
        elif tied or name == "unembed.W_U":
            inputs = torch.diag(found.magnitudes) if metric == "diagonal" else found.second_moment
        else:
            rows = found.read
        squared = float((rows[:, None] * (error @ inputs) * error).sum())
        assert layer.now.error_bound() ** 2 == pytest.approx(squared, rel=1e-4)
        assert layer.uncut.spectra[0].norm == ("loss" if metric == "two-sided" else "output")


def test_a_calibration_is_made_again_only_for_what_it_lacks():
    lab = tiny_models.lab("gpt2", "svd", "two-sided")
    assert lab._calibration.measured.table is None
    lab.decompose(Recipe("svd", "input", table="both"), **QUIET)
    second = lab._calibration.measured
    assert second.table is not None
    assert second.two_sided, "what was measured before is measured again"
    lab.decompose(Recipe("svd", "two-sided", table="input"), **QUIET)
    lab.decompose(Recipe("svd", "two-sided"), **QUIET)
    assert lab._calibration.measured is second
    whole = sum(layer.now.error_bound() ** 2 / 2 for layer in lab.layers.values())
    assert lab.predicted_loss == pytest.approx(whole, abs=1e-9)
    lab.calibrate(**QUIET)
    lab.decompose(Recipe("svd", "plain", table="both"), **QUIET)
    assert lab._calibration.measured.table is None, "the plain metric measures nothing"


def test_a_metric_of_what_was_not_measured_is_refused():
    lm = tiny_models.gpt2()
    windows, matrices = windows_of_text(lm, tiny_models.TEXT[:600]), table_matrices(lm.model, "both")
    with pytest.raises(ValueError, match=r"the calibration did not look at embed\.W_E; calibrate with table=True"):
        decompose_all(Recipe("svd", "input", table="both"), matrices, calibrate(lm.model, windows), {})
    blind = calibrate(lm.model, windows, table=True)
    with pytest.raises(ValueError, match=r"no gradients were measured at embed\.W_E; calibrate with gradients"):
        decompose_all(Recipe("svd", "two-sided", table="both"), matrices, blind, {})


def test_the_predicted_loss_of_the_tables_cut_is_right_on_the_text_it_was_measured_on():
    lm = load("pygpt", "cpu")
    windows = CompressionLab.from_model(lm, device="cpu", max_windows=1)._calibration.windows.rows(0, 5)
    lab = CompressionLab(lm, windows, windows)
    lab.decompose(Recipe("svd", "two-sided", table="both"), **QUIET)
    lab.bond["embed.W_E"] = 240
    kl = lab.evaluate().estimate.kl
    assert 1 / 1.6 < lab.predicted_loss / kl < 1.6
