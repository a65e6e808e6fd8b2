"""What a GPT's stream tells of the hidden state: above an untrained network and tables of symbols, or it is nothing."""

import math

import pytest
import torch

from workbench.transformer.belief_probe import BeliefProbe, beyond, probe_beliefs, residuals, triangle
from workbench.transformer.string_gpt import StringGPT, StringGPTRecipe, learn_strings
from workbench.truth.hmm import HiddenMarkov
from workbench.truth.processes import golden_mean, mess3, z1r
from workbench.truth.source import Description
from workbench.truth.strings import numbered_strings

PROCESS = mess3()


@pytest.fixture(scope="module")
def gpt() -> StringGPT:
    strings = PROCESS.sample(6000, 7, torch.Generator().manual_seed(0))
    return learn_strings(strings, 3, StringGPTRecipe(d_model=32, n_layers=1, steps=300, learning_rate=5e-3))


@pytest.fixture(scope="module")
def probe(gpt) -> BeliefProbe:
    return probe_beliefs(gpt, PROCESS)


def test_training_makes_the_belief_more_linear_than_chance_and_than_any_short_memory(probe):
    assert (probe.layer, probe.length) == (1, 6)
    assert probe.r2 > 0.98
    assert 0.7 < probe.one_symbol < probe.two_symbols < 0.95 < probe.all_symbols < 0.97
    assert 0.95 < probe.untrained < probe.r2 - 0.01, "an untrained network tells much too"
    assert probe.beyond_one_symbol == (probe.r2 - probe.one_symbol) / (1 - probe.one_symbol)
    assert 0.3 < probe.beyond_untrained < probe.beyond_one_symbol < 1


def test_the_stream_before_the_first_block_tells_what_the_last_symbol_does(gpt, probe):
    first = probe_beliefs(gpt, PROCESS, layer=0)
    assert first.r2 == pytest.approx(probe.one_symbol, abs=1e-9)
    assert first.untrained == pytest.approx(probe.one_symbol, abs=1e-9)
    assert first.beyond_one_symbol == pytest.approx(0, abs=1e-8)
    assert first.beyond_untrained == pytest.approx(0, abs=1e-8)


def test_the_same_question_has_the_same_answer(gpt, probe):
    again = probe_beliefs(gpt, PROCESS)
    assert str(again) == str(probe)
    assert torch.allclose(again.predicted, probe.predicted, atol=1e-9)


def test_r2_is_that_of_the_held_back_prefixes_weighted_by_their_chance(probe):
    assert len(probe.weights) == 3**6
    assert float(probe.weights.sum()) == pytest.approx(1)
    mean = probe.weights @ probe.beliefs
    spread = probe.weights @ (probe.beliefs - mean).square().sum(1)
    assert probe.r2 == pytest.approx(1 - float(probe.weights @ probe.errors.square() / spread), abs=1e-12)


def test_one_symbol_is_the_mean_belief_behind_it(probe):
    # Second way, over all prefixes: what is left of the variance once the last symbol is known.
    prefixes = numbered_strings(torch.arange(3**6), 6, 3)
    p, beliefs = PROCESS.log_prob(prefixes).exp()[:, None], PROCESS.belief(prefixes)
    left = torch.zeros(())
    for symbol in range(3):
        rows = prefixes[:, -1] == symbol
        mean = (beliefs[rows] * p[rows]).sum(0) / p[rows].sum()
        left = left + ((beliefs[rows] - mean).square() * p[rows]).sum()
    spread = ((beliefs - (beliefs * p).sum(0)).square() * p).sum()
    assert probe.one_symbol == pytest.approx(1 - float(left / spread), abs=0.03)  # held back, a little less
    assert probe.one_symbol < 1 - float(left / spread)


def test_drawn_prefixes_tell_about_the_same_as_all(gpt, probe):
    drawn = probe_beliefs(gpt, PROCESS, most=700)
    assert len(drawn.weights) < 3**6 / 2
    assert drawn.r2 == pytest.approx(probe.r2, abs=0.01)
    assert drawn.one_symbol == pytest.approx(probe.one_symbol, abs=0.03)
    assert float(drawn.weights.max()) > 0.03, "what is drawn often counts as often"
    assert drawn.untrained == pytest.approx(probe.untrained, abs=0.03)


def test_prefixes_that_cannot_be_are_left_out():
    process = golden_mean()
    strings = process.sample(100, 9, torch.Generator().manual_seed(0))
    gpt = learn_strings(strings, 2, StringGPTRecipe(d_model=8, n_layers=1, steps=0))
    told = probe_beliefs(gpt, process)
    assert len(told.weights) == 55, "strings of 8 bits without two ones in a row are a Fibonacci number"
    assert told.one_symbol == pytest.approx(1, abs=1e-9), "the last symbol is the state"
    assert torch.allclose(told.beliefs[told.beliefs[:, 0] > 0.9], torch.tensor([1, 0], dtype=torch.float64))


def test_the_stream_that_is_read_is_what_the_final_norm_is_given(gpt):
    x = PROCESS.sample(5, 7, torch.Generator().manual_seed(1))
    normed = gpt.model.transformer.ln_f(residuals(gpt, x[:, :4], 1).float())
    logs = gpt.model.lm_head(normed)[:, :3].double().log_softmax(-1)
    assert torch.allclose(logs, gpt.log_conditionals(x)[:, 4], atol=1e-6)
    for module in gpt.model.modules():
        assert not module._forward_pre_hooks
    at_first = gpt.model.transformer.wte(x[:, 3]) + gpt.model.transformer.wpe.weight[4]
    assert torch.allclose(residuals(gpt, x[:, :4], 0), at_first.double())


def test_the_distances_of_predicted_beliefs_are_those_of_the_true_ones(gpt, probe):
    assert probe.distance_correlation() > 0.97
    assert probe_beliefs(gpt, PROCESS, layer=0).distance_correlation() < 0.9
    pure = BeliefProbe(
        1, 2, 1, 0, 0, 0, 0, torch.eye(3).double(), 5 - 2 * torch.eye(3).double(), torch.ones(3).double()
    )
    assert pure.distance_correlation() == pytest.approx(1), "up to size and place"


def test_a_triangle_has_a_state_at_each_corner():
    corners = triangle(torch.eye(3, dtype=torch.float64))
    sides = [float((corners[a] - corners[b]).norm()) for a, b in ((0, 1), (1, 2), (0, 2))]
    assert sides == pytest.approx([1, 1, 1])
    middle = triangle(torch.full((1, 3), 1 / 3, dtype=torch.float64))[0]
    assert middle.tolist() == pytest.approx([0.5, math.sqrt(3) / 6])


def test_what_is_beyond_a_perfect_baseline_is_nothing():
    assert beyond(0.9, 0.6) == pytest.approx(0.75)
    assert beyond(0.5, 0.6) == pytest.approx(-0.25)
    assert beyond(1.0, 1.0) == 0


def test_a_probe_says_what_it_is_held_against(probe):
    told = str(probe)
    assert told.startswith(
        f"beliefs behind 6 symbols, after layer 1: R² {probe.r2:.4f}; untrained {probe.untrained:.4f}"
    )
    assert f"last two {probe.two_symbols:.4f}" in told
    assert told.endswith(f"of what the untrained network does {probe.beyond_untrained:.1%}")


def test_what_cannot_be_asked_is_refused_with_what_there_is(gpt):
    with pytest.raises(ValueError, match=r"no stream after layer 3; this GPT has 1, give 0 to 1\."):
        probe_beliefs(gpt, PROCESS, layer=3)
    with pytest.raises(ValueError, match="of strings of 7 symbols reads 1 to 6 of them, not 7"):
        probe_beliefs(gpt, PROCESS, length=7)
    with pytest.raises(ValueError, match="the process has 2 symbols, but the GPT learned strings of 3"):
        probe_beliefs(gpt, z1r())
    with pytest.raises(ValueError, match="has 33 numbers a state, which fit the beliefs behind 8 prefixes"):
        probe_beliefs(gpt, PROCESS, length=2)
    with pytest.raises(ValueError, match="a triangle shows beliefs over 3 states, and these are over 2"):
        triangle(torch.ones(4, 2, dtype=torch.float64))
    coin = HiddenMarkov.from_matrices(torch.full((3, 1, 1), 1 / 3, dtype=torch.float64), Description("die", "", "ours"))
    with pytest.raises(ValueError, match="every prefix leaves the same belief"):
        probe_beliefs(gpt, coin)
