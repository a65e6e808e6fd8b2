"""What a matrix really receives: second moments beside plain sums, and cuts that they make best."""

import pytest
import tiny_models
import torch

from workbench import CompressionLab
from workbench.compress.calibrate import calibrate
from workbench.compress.recipe import Recipe
from workbench.compress.windows import Windows, windows_of_sequences
from workbench.decompose.low_rank import LowRank

QUIET = {"progress": lambda what, done, total: None}


def ragged(lm) -> Windows:
    """150 rows of 2 to 16 tokens: three batches, padded."""
    read = tiny_models.tokens(150).tolist()
    return windows_of_sequences(lm, [row[: 2 + index % 15] for index, row in enumerate(read)])


def received(lm, windows: Windows) -> dict[str, torch.Tensor]:
    """The inputs of every matrix, one row for each scored token, captured sequence by sequence without padding."""
    lab = CompressionLab(lm, windows, windows)
    rows: dict[str, list[torch.Tensor]] = {name: [] for name in lab.matrices}
    handles = [
        matrix.module.register_forward_pre_hook(lambda module, inputs, name=name: rows[name].append(inputs[0][0]))
        for name, matrix in lab.matrices.items()
    ]
    for row, scored in zip(windows.tokens, windows.scored, strict=True):
        tiny_models.logits(lm.model, row[None, : int(scored.sum())])
    for handle in handles:
        handle.remove()
    return {name: torch.cat(inputs).double() for name, inputs in rows.items()}


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_the_second_moments_are_those_of_the_inputs_without_padding(family):
    lm = tiny_models.FAMILIES[family]()
    windows = ragged(lm)
    measured = calibrate(lm.model, windows)
    inputs = received(lm, windows)
    assert measured.n_tokens == windows.n_tokens
    assert set(measured.second_moments) == set(inputs)
    for name, x in inputs.items():
        assert len(x) == measured.n_tokens
        torch.testing.assert_close(measured.second_moments[name], x.T @ x / len(x), rtol=1e-4, atol=1e-6)


def test_the_discarded_weight_of_a_cut_is_what_the_outputs_lose():
    lm = tiny_models.gpt2()
    windows = ragged(lm)
    lab = CompressionLab(lm, windows, windows)
    lab.decompose("svd", "input", **QUIET)
    inputs = received(lm, windows)
    lab.kept = 0.4
    for name, layer in lab.layers.items():
        weight, x = lab.matrices[name].weight.double(), inputs[name]
        lost = (x @ (weight - layer.now.dense().double()).T).square().sum(1).mean().sqrt()
        assert layer.now.error() == pytest.approx(float(lost), rel=1e-3)
        total = (x @ weight.T).square().sum(1).mean()
        state = next(state for state in lab.frame().layers if state.name == name)
        assert state.discarded_weight == pytest.approx(float(lost.square() / total), rel=1e-3)


def test_progress_is_told_window_by_window_and_the_model_is_left_without_hooks():
    lm = tiny_models.gpt2()
    told = []
    calibrate(lm.model, ragged(lm), progress=lambda *report: told.append(report))
    assert told == [("calibrate", 64, 150), ("calibrate", 128, 150), ("calibrate", 150, 150)]

    def interrupt(*report):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        calibrate(lm.model, ragged(lm), progress=interrupt)
    assert not any(module._forward_pre_hooks for module in lm.model.modules())


def test_a_calibration_that_fails_leaves_the_one_before():
    lab = tiny_models.lab(metric="input")
    before = lab._calibration.measured
    with pytest.raises(ValueError, match="too few for"):
        lab.calibrate(tiny_models.TEXT[:32], **QUIET)
    assert lab._calibration.measured is before
    lab.decompose("svd", "input", **QUIET)
    lab.kept = 0.5
    again = tiny_models.lab(metric="input")
    again.kept = 0.5
    assert lab.evaluate().perplexity == again.evaluate().perplexity


def test_another_calibration_text_makes_other_factors_at_the_next_decomposition():
    lab = tiny_models.lab(metric="input")
    lab.kept = 0.4
    before = lab.evaluate().estimate.kl
    lab.calibrate("zebra quiz " * 200, **QUIET)
    lab.decompose("svd", "input", **QUIET)
    lab.kept = 0.4
    assert lab.evaluate().estimate.kl != before


def test_what_an_interrupted_decomposition_left_is_not_used_after_another_calibration(monkeypatch):
    lab = CompressionLab.from_model(tiny_models.gpt2(), tiny_models.TEXT, max_windows=24)

    def interrupt(what, done, total):
        if (what, done) == ("decompose", 3):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        lab.decompose("svd", "input", progress=interrupt)
    lab.calibrate("zebra quiz " * 200, **QUIET)
    done = []
    original = LowRank.from_weight
    monkeypatch.setattr(LowRank, "from_weight", lambda *given: done.append(1) or original(*given))
    lab.decompose("svd", "input", **QUIET)
    assert len(done) == len(lab.matrices)


def test_a_pair_has_no_sites_in_its_recipe():
    lab = tiny_models.lab("gpt2", "svd", "plain", sites=3)
    assert lab.recipe == Recipe("svd", "plain")
