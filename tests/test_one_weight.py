"""One weight in every format: what is reported is what is stored and dropped, and a gauge is no more than a gauge."""

import math

import pytest
import tiny_models
import torch

from workbench.compress.calibrate import Calibration, calibrate
from workbench.compress.windows import windows_of_text
from workbench.decompose.low_rank import LowRank
from workbench.explore.one_weight import METRICS, TUCKER, Sheets, WeightLab, sheets

CALIBRATED: dict[str, Calibration] = {}


def lab(matrix: str = "blocks.1.mlp.W_in", family: str = "gpt2") -> WeightLab:
    lm = tiny_models.FAMILIES[family]()
    if family not in CALIBRATED:
        CALIBRATED[family] = calibrate(lm.model, windows_of_text(lm, tiny_models.TEXT), gradients=True)
    return WeightLab(lm, matrix, CALIBRATED[family])


@pytest.mark.parametrize("matrix", ["blocks.1.mlp.W_in", "blocks.1.mlp.W_out", "blocks.0.attn.W_QKV"])
@pytest.mark.parametrize("kept", [0.2, 0.55, 1.0])
def test_a_format_stores_what_its_sheets_hold_and_at_most_its_share(matrix, kept):
    own = lab(matrix)
    for state in own.frame(kept).formats:
        held = sum(each.n * each.rows * each.columns for each in state.sheets)
        assert state.n_params == held == sum(math.prod(shape) for shape in state.shapes)
        assert state.bond == 1 or state.n_params <= kept * own.weight.numel()


def test_a_format_whose_smallest_bond_is_too_large_stands_at_that():
    frame = lab().frame(0.01)
    assert all(state.bond == 1 for state in frame.formats)
    assert any(state.n_params > 0.01 * math.prod(frame.shape) for state in frame.formats)


def test_errors_are_those_of_the_matrix_multiplied_out_in_each_metric():
    own = lab()
    a = CALIBRATED["gpt2"].second_moments["blocks.1.mlp.W_in"]
    g = CALIBRATED["gpt2"].gradient_moments["blocks.1.mlp.W_in"]
    weight = own.weight.double()
    for state in own.frame(0.4).formats:
        dropped = weight - own.cut(state.name, 0.4).dense().double()
        for metric, squared in {
            "plain": lambda d: d.square().sum(),
            "input": lambda d: torch.einsum("oi,ij,oj->", d, a, d),
            "two-sided": lambda d: torch.einsum("pi,op,oj,ij->", d, g, d, a),
        }.items():
            second_way = float((squared(dropped) / squared(weight)).sqrt())
            assert state.errors[metric] == pytest.approx(second_way, rel=1e-6)


def test_each_pair_is_the_best_in_the_metric_that_it_was_made_for():
    curves = lab().curves([2, 5, 11])
    for judge in METRICS:
        for place in range(3):
            found = {made_for: curves[made_for][judge][place] for made_for in METRICS}
            assert min(found, key=found.__getitem__) == judge
            assert len(set(found.values())) == 3


def test_curves_are_the_errors_of_the_pair_at_that_bond_and_end_at_the_full_one():
    own = lab()
    curves = own.curves([3, 999])
    assert curves["input"]["plain"][0] == own.errors(own.uncut["svd, input"].truncate(3))["plain"]
    assert curves["plain"]["plain"][1] < 1e-5


def test_multiply_adds_are_counted_and_the_fewest_are_those_of_the_cheapest_way():
    own = lab()
    frame = own.frame(0.5)
    dense, states = math.prod(frame.shape), {state.name: state for state in frame.formats}
    pair, fixed, operator = states["svd"], states["svd, gauge-fixed"], states["mpo of 2 sites"]
    assert pair.multiply_adds == pair.fewest == pair.bond * sum(frame.shape)
    assert fixed.multiply_adds == fixed.n_params == fixed.bond * sum(frame.shape) - fixed.bond**2
    assert operator.multiply_adds > dense
    assert all(state.fewest <= min(dense, state.multiply_adds) for state in states.values())
    narrow = own.uncut["mpo of 2 sites"].truncate(1)
    _, merged = narrow.merged_costs()
    assert {s.name: s for s in own.frame(0.01).formats}["mpo of 2 sites"].fewest <= merged


def test_only_attention_matrices_have_heads_to_stack():
    assert TUCKER in lab("blocks.0.attn.W_O").uncut
    assert TUCKER in lab("blocks.0.attn.W_K", "llama").uncut
    assert TUCKER not in lab("blocks.1.mlp.W_out").uncut


def test_sheets_of_matrices_cores_and_stacked_heads():
    assert sheets((3, 4)) == Sheets(1, 3, 4)
    assert sheets((5, 3, 4)) == Sheets(5, 3, 4)
    assert sheets((2, 3, 4, 7)) == Sheets(14, 3, 4)


@pytest.mark.parametrize("bond", [1, 4, 13])
def test_another_gauge_has_other_numbers_and_the_same_product(bond):
    own = lab()
    pair, turned = own.turned(bond)
    torch.testing.assert_close(turned.dense(), pair.dense(), atol=1e-5, rtol=1e-4)
    assert (turned.left - pair.left).norm() > 0.1 * pair.left.norm()
    told = own.gauge(bond)
    assert told.changed > 0.1
    assert told.product_change < 1e-5
    assert told.fixed_change < 1e-5
    assert told.n_params - told.fixed_n_params == bond**2
    assert isinstance(own.uncut["svd"], LowRank)
    assert told.turned_corner == tuple(tuple(row) for row in turned.left[:2, :4].tolist())
    assert f"− {bond**2:,} = {told.fixed_n_params:,} numbers" in str(told)


def test_a_frame_says_its_numbers_in_words():
    frame = lab().frame(0.5)
    lines = str(frame).split("\n")
    assert lines[0] == "tiny-gpt2, blocks.1.mlp.W_in: 128 × 32, at most 50% of 4,096"
    assert len(lines) == 1 + len(frame.formats)
    assert f"two-sided {frame.formats[0].errors['two-sided']:.3f}" in lines[1]


def test_the_calibration_is_measured_where_none_is_given(monkeypatch):
    lm = tiny_models.gpt2()
    windows = windows_of_text(lm, tiny_models.TEXT)
    monkeypatch.setattr("workbench.explore.one_weight.default_windows", lambda lm: (windows, windows))
    assert set(WeightLab(lm, "blocks.1.mlp.W_in").frame(0.3).formats[0].errors) == set(METRICS)


@pytest.mark.parametrize("kept", [0.0, -0.3, 1.4, math.nan])
def test_a_share_that_is_none_is_refused(kept):
    with pytest.raises(ValueError, match=f"above 0 and at most 1, not {kept}"):
        lab().frame(kept)


def test_a_matrix_that_is_not_there_is_refused_with_the_nearest_name():
    with pytest.raises(ValueError, match=r"no matrix 'blocks.1.mlp.W_on'.*did you mean blocks.1.mlp"):
        lab("blocks.1.mlp.W_on")


def test_a_bond_larger_than_the_full_one_is_refused():
    with pytest.raises(ValueError, match=r"33.*32|32.*33"):
        lab().gauge(33)
