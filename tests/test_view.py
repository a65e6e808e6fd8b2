"""The view without a browser: every linked trait moves with the lab."""

import math
from html import escape
from itertools import pairwise

import pytest
import tiny_models

from workbench import CompressionView
from workbench.compress.recipe import METRICS
from workbench.widgets.colours import DARK, LIGHT
from workbench.widgets.static import still


@pytest.fixture
def view() -> CompressionView:
    lab = tiny_models.lab()
    lab.kept = 0.8
    made = CompressionView(lab, prompt="tensor")
    made.settle(60)
    return made


def shown(view: CompressionView) -> tuple:
    trade, heat, spectrum = view._charts
    now = next(trace for trace in trade.data if trace.name == "now")
    return (
        view.numbers.value,
        tuple(now.x) + tuple(now.y),
        tuple(map(tuple, heat.data[0].z)),
        spectrum.layout.shapes[0].x0,
    )


def test_the_slider_moves_the_bonds_and_every_linked_view(view):
    before = shown(view)
    view.kept.value = 0.3
    view.settle(60)
    after = shown(view)
    assert all(old != new for old, new in zip(before, after, strict=True))
    assert view.lab.kept == pytest.approx(0.3, abs=0.04)
    frame = view.lab.frame()
    assert after[1] == pytest.approx((100 * frame.point.kept_total, frame.point.perplexity_ratio))
    assert after[2] == tuple(tuple(math.log10(value) for value in row) for row in frame.heatmap())
    assert after[3] == frame.cut + 0.5
    assert view.kinds["W_in"].value == pytest.approx(frame.kept_of("W_in"), abs=0.006)


def test_one_matrix_is_chosen_and_moved_alone(view):
    view.selected.value = "blocks.1.mlp.W_in"
    assert view.bond.max == 32
    assert "blocks.1.mlp.W_in" in view._charts[2].layout.title.text
    others = {name: bond for name, bond in view.lab.bond.items() if name != "blocks.1.mlp.W_in"}
    view.bond.value = 4
    view.settle(60)
    assert view.lab.bond["blocks.1.mlp.W_in"] == 4
    assert {name: bond for name, bond in view.lab.bond.items() if name != "blocks.1.mlp.W_in"} == others


def test_a_kind_of_matrix_is_moved_alone(view):
    view.lab.reset()
    view.kinds["W_O"].value = 0.25
    view.settle(60)
    moved = {name for name, layer in view.lab.layers.items() if not layer.bypassed}
    assert moved == {"blocks.0.attn.W_O", "blocks.1.attn.W_O"}


def test_the_echo_of_a_slider_rounded_by_the_page_moves_nothing(view):
    bonds = dict(view.lab.bond)
    slider = view.kinds["W_in"]
    slider.value = slider.value + 0.004
    view.settle(60)
    assert dict(view.lab.bond) == bonds


def test_another_method_offers_its_metrics_and_keeps_the_share(view):
    view.method.value = "mpo"
    view.settle(60)
    assert tuple(view.metric.options) == METRICS["mpo"]
    assert (view.lab.recipe.method, view.lab.recipe.metric) == ("mpo", "plain")
    assert view.lab.kept == pytest.approx(0.8, abs=0.06)
    assert view.sites.layout.display is None


def test_reset_copy_and_export_do_what_they_say(view, tmp_path):
    view.copy.click()
    assert "lab.kept = 0.8" in view.code.value
    assert view.page.clipboard == view.code.value
    view.directory.value = str(tmp_path / "out")
    view.export.click()
    assert (tmp_path / "out" / "compressed.json").exists()
    view.export.click()
    assert "already exists" in view.status.value
    view.reset.click()
    view.settle(60)
    assert view.lab.kept == 1


def test_the_text_is_written_beside_the_dense_one(view):
    for text, shown_text in zip(
        view.lab.sample("tensor"), (view.passages.original.value, view.passages.present.value), strict=True
    ):
        assert shown_text.endswith(f"<span style='opacity:.6'>tensor</span>{escape(text)}</pre>")


def test_a_prompt_that_cannot_be_continued_is_said(view):
    view.passages.prompt.value = "x" * 40
    with pytest.raises(ValueError, match="the prompt has 40 tokens"):
        view.settle(60)
    assert "the prompt has 40 tokens" in view.status.value


def test_a_prompt_that_cannot_be_continued_keeps_no_setting_from_its_final_numbers():
    lab = tiny_models.lab()
    lab.evaluator._rows = 4
    made = CompressionView(lab, prompt="x" * 40)
    with pytest.raises(ValueError, match="the prompt has 40 tokens"):
        made.settle(60)
    assert [point.estimate.n_windows for point in lab.curve] == [24]


def test_the_charts_take_the_ink_of_a_dark_page(view):
    view.page.dark = True
    assert {chart.layout.font.color for chart in view._charts} == {DARK.ink}
    dark = [chart.layout.template.layout.paper_bgcolor for chart in view._charts]
    view.page.dark = False
    assert {chart.layout.font.color for chart in view._charts} == {LIGHT.ink}
    light = [chart.layout.template.layout.paper_bgcolor for chart in view._charts]
    assert not set(dark) & set(light)


def test_the_still_picture_is_drawn_from_the_same_frame(view):
    frame = view.lab.frame("blocks.1.mlp.W_in")
    trade, heat, spectrum = still(frame).axes[:3]
    assert heat.images[0].get_array().tolist() == frame.heatmap()
    assert len(spectrum.lines[0].get_xdata()) == frame.cut
    still(frame).canvas.draw()
    labels = [label.get_window_extent() for label in trade.get_yticklabels()]
    assert len(labels) >= 2
    assert all(lower.y1 <= upper.y0 for lower, upper in pairwise(labels)), "labels run into each other"


def test_the_token_table_is_given_a_bond_and_taken_from_it(view):
    view.table.value = "both"
    assert view.lab.recipe.table == "both"
    assert view.selected.options[-1] == "embed.W_E"
    view.selected.value = "embed.W_E"
    view.bond.value = 3
    assert view.lab.bond["embed.W_E"] == 3
    assert "block matrices and table kept" in view.numbers.value
    view.table.value = "whole"
    assert view.selected.value in view.lab.layers
    assert "embed.W_E" not in view.selected.options
    view.settle(60)
