"""A lab on the shipped model of the known language: its trade-off has the truth for a zero."""

import matplotlib.pyplot as plt
import pytest
import torch

from workbench import CompressionLab, load
from workbench.compress.default_windows import default_truth, default_windows, speaks_known_language
from workbench.transformer.grammar_card import said
from workbench.truth.grammar_english import english
from workbench.truth.grammar_score import excess_loss
from workbench.truth.grammar_stream import GrammarStream
from workbench.widgets.charts import figures
from workbench.widgets.static import still


@pytest.fixture(scope="module")
def lab() -> CompressionLab:
    lab = CompressionLab.from_model("truth-gpt", max_windows=16)
    lab.decompose("svd", "plain", progress=lambda *told: None)
    return lab


def test_models_of_other_languages_have_no_known_truth():
    assert speaks_known_language(load("truth-gpt"))
    assert default_truth(load("attn2")) is None


def test_rows_begin_with_a_stop_and_are_sentences_of_the_language():
    lm = load("truth-gpt")
    scored, calibrated = default_windows(lm)
    assert scored.tokens.shape == (512, lm.context)
    assert not bool((scored.tokens[:, None] == calibrated.tokens[None]).all(-1).any())
    stream = GrammarStream(english(), lm.context - 1)
    assert set(scored.tokens[:, 0].tolist()) == {stream.stop}
    assert bool(stream.log_prob(scored.tokens[:40, 1:]).isfinite().all())


def test_the_excess_of_the_uncut_model_is_that_of_its_card(lab):
    lab.kept = 1.0
    score = lab.evaluate().estimate
    rows = lab.evaluator.windows.tokens
    stream = GrammarStream(english(), rows.shape[1] - 1)
    card = excess_loss(stream.conditionals(rows[:, 1:]), said(lab.lm, rows[:, :-1]))
    assert score.excess == pytest.approx(card.excess, rel=1e-3)
    assert score.excess == pytest.approx(score.dense_excess)
    assert 0 < score.excess < 0.01


def test_a_cut_is_drawn_by_its_nats_above_the_truth(lab):
    lab.kept = 0.2
    point = lab.evaluate()
    assert point.harm == point.estimate.excess > 0.05
    assert point.estimate.excess - point.estimate.dense_excess == pytest.approx(point.estimate.log_ratio, abs=0.1)
    frame = lab.frame()
    assert f"{point.harm:.4f} nats a token above the truth, dense {frame.dense_harm:.4f}" in str(frame)
    trade_off = figures(frame)[0]
    assert trade_off.layout.yaxis.title.text.startswith("nats a token above the truth")
    assert trade_off.layout.shapes[0].y0 == frame.dense_harm
    assert list(trade_off.data[-1].y) == [point.harm]
    printed = still(frame).axes[0]
    assert printed.get_ylabel() == frame.harm_told
    assert any(list(line.get_ydata()) == [frame.dense_harm] * 2 for line in printed.lines)
    plt.close("all")


def test_a_text_of_ones_own_has_no_truth():
    words = english().text([token for sentence in english().sample(400, torch.Generator()) for token in sentence])
    lab = CompressionLab.from_model("truth-gpt", words, max_windows=4)
    lab.decompose("svd", "plain", progress=lambda *told: None)
    point = lab.evaluate()
    assert point.estimate.excess is None
    assert point.harm == point.perplexity_ratio
    assert lab.frame().harm_told == "perplexity ÷ dense"
