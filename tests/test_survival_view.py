"""The survival view without a page: a move or a press, and everything that follows; its printed twins; its charts."""

import re
import xml.etree.ElementTree as ET

import pytest
import tiny_models
import torch

from workbench.explore import survival_table
from workbench.explore.survival import SurvivalLab
from workbench.spectrum import Spectrum
from workbench.transformer.load import load
from workbench.widgets.circuit_stills import survival_still, survival_table_still
from workbench.widgets.small_charts import spectra_svg
from workbench.widgets.survival_view import SurvivalView

SVG = "{http://www.w3.org/2000/svg}"
SECONDS = 120.0


@pytest.fixture
def view() -> SurvivalView:
    return SurvivalView(SurvivalLab(tiny_models.gpt2(), n_rows=2))


@pytest.fixture
def measured(monkeypatch) -> SurvivalView:
    """A view whose table is measured: random heads do little, so what they do counts at less than chance."""
    monkeypatch.setattr(survival_table, "_TIMES_CHANCE", 0.8)
    view = SurvivalView(SurvivalLab(tiny_models.gpt2(), n_rows=2))
    view.behaviour.value = "previous"
    view.measure.click()
    view.settle(SECONDS)
    return view


def press(view: SurvivalView, row: int, column: int) -> None:
    """What the page sends when a cell is pressed."""
    with view.table.hold_trait_notifications():
        view.table.activated_cell = [row, column]
        view.table.activated += 1
    view.settle(SECONDS)


def test_moving_the_bond_moves_the_pattern_the_spectra_and_the_numbers(view):
    before = [chart.value for chart in view.charts]
    assert "cut to 32 of 32" in view.numbers.value
    view.matrix.value = "blocks.1.attn.W_QKV"
    view.head.value = (1, 0)
    view.settle(SECONDS)
    whole = [chart.value for chart in view.charts]
    view.bond.value = 3
    view.settle(SECONDS)
    after = [chart.value for chart in view.charts]
    assert (view.lab.head, view.lab.matrix, view.lab.bond) == ((1, 0), "blocks.1.attn.W_QKV", 3)
    assert after[0] == whole[0] != before[0], "the pattern before the cut is the head's alone"
    assert all(new != old for new, old in zip(after[1:], whole[1:], strict=True))
    frame = view.lab.frame()
    assert "cut to 3 of 32" in view.numbers.value
    for _, was, now in frame.numbers:
        assert f">{was:.3f}<" in view.numbers.value
        assert f">{now:.3f}<" in view.numbers.value
    assert "rank 16 → 3" in view.charts[2].value
    view.reset.click()
    view.settle(SECONDS)
    assert [chart.value for chart in view.charts] == whole


def test_another_matrix_starts_whole_and_has_its_own_range():
    view = SurvivalView(SurvivalLab(tiny_models.lab("gpt2", "mpo"), n_rows=2))
    view.bond.value = 2
    view.matrix.value = "blocks.1.mlp.W_in"
    view.settle(SECONDS)
    full = view.lab.full_bonds["blocks.1.mlp.W_in"]
    assert view.lab.bond == view.bond.value == view.bond.max == full
    view.matrix.value = "blocks.0.attn.W_QKV"
    view.settle(SECONDS)
    assert view.bond.value == view.bond.max == view.lab.full_bonds["blocks.0.attn.W_QKV"]


def test_both_patterns_have_the_same_colours_for_the_same_attention(view):
    view.bond.value = 1
    view.settle(SECONDS)
    for chart in view.charts[:2]:
        drawn = ET.fromstring(re.search("<svg.*</svg>", chart.value)[0])
        assert {"1", "−1"} <= {each.text for each in drawn.iter(f"{SVG}text")}, "from −1 to 1, whatever the values"


def test_a_table_is_measured_on_request_and_shown_as_it_is(measured):
    table = measured._measured
    assert measured.table.caption.startswith("tiny-gpt2: the smallest bond (svd, plain metric)")
    assert [group["label"] for group in measured.table.groups] == ["block 0", "block 1"]
    assert sum(group["span"] for group in measured.table.groups) == len(table.matrices) == len(measured.table.columns)
    for row, head in enumerate(table.heads):
        for column, matrix in enumerate(table.matrices):
            cell, bond = measured.table.cells[row][column], table.bond(head, matrix)
            assert cell["text"] == ("–" if bond is None else str(bond))
            assert cell.get("share") == (None if bond is None else bond / 32)
    assert not measured.measure.disabled
    asked = SurvivalLab(tiny_models.gpt2(), n_rows=2).table("previous", progress=lambda *told: None)
    assert table.bonds == asked.bonds


def test_pressing_a_cell_cuts_its_matrix_to_the_bond_that_still_keeps_its_heads_score(measured):
    table = measured._measured
    places = [(row, column) for row, own in enumerate(table.bonds) for column, bond in enumerate(own) if bond]
    row, column = places[-1]
    press(measured, row, column)
    head, matrix = table.heads[row], table.matrices[column]
    assert (measured.lab.head, measured.lab.matrix, measured.lab.bond) == (head, matrix, table.bonds[row][column])
    assert (measured.head.value, measured.matrix.value, measured.bond.value) == (head, matrix, measured.lab.bond)
    assert measured.table.selected == [row, column]
    assert f"cut to {measured.lab.bond} of" in measured.numbers.value
    frame = measured.lab.frame()
    assert frame.scores_after[0] >= 0.95 * frame.scores[0]


def test_pressing_a_dash_shows_the_matrix_uncut(measured):
    table = measured._measured
    row, column = next((r, c) for r, own in enumerate(table.bonds) for c, bond in enumerate(own) if bond is None)
    press(measured, row, column)
    assert measured.lab.matrix == table.matrices[column]
    assert measured.lab.bond == measured.lab.full_bonds[measured.lab.matrix]


def test_a_table_that_is_there_already_is_shown_and_the_matrix_chosen_is_marked():
    lab = SurvivalLab(load("attn2", "cpu"), n_rows=2)
    table = lab.table(progress=lambda *told: None)
    view = SurvivalView(lab, table)
    row = table.heads.index(lab.head)
    assert view.table.selected == [row, 0]
    assert view.table.rows[0]["faint"], "a head of layer 0 is no induction head"
    view.matrix.value = "blocks.1.attn.W_O"
    view.settle(SECONDS)
    assert view.table.selected == [], "no head's pattern depends on it, so it has no column"


def test_before_a_table_is_measured_there_are_no_cells_to_press(view):
    assert "Not measured yet" in view.table.caption
    assert view.table.cells == []
    press(view, 0, 0)
    assert view.table.selected == []


def test_what_fails_while_the_table_is_measured_is_said(view, monkeypatch):
    def fails(*asked):
        raise ValueError("<no> rows")
        yield

    monkeypatch.setattr(view.lab, "tables", fails)
    view.measure.click()
    with pytest.raises(ValueError, match="<no> rows"):
        view.settle(SECONDS)
    assert view.status.value == '<span role="alert">ValueError: &lt;no&gt; rows</span>'
    assert not view.measure.disabled


# ---- charts


@pytest.mark.parametrize(("was", "now"), [([4.0, 2.0, 1.0], [4.0, 1.0]), ([4.0, 1.0], [50.0, 1.0, 0.01])])
def test_two_spectra_stand_on_one_axis(was, now):
    text = spectra_svg(Spectrum(torch.tensor(was)), Spectrum(torch.tensor(now)))
    drawn = ET.fromstring(text)
    filled, hollow = (
        [(float(dot.get("cx", "nan")), float(dot.get("cy", "nan"))) for dot in held]
        for name in ("kept", "dropped")
        if (held := drawn.find(f"{SVG}g[@class='{name}']")) is not None
    )
    assert (len(filled), len(hollow)) == (len(now), len(was))
    assert [x for x, _ in filled][:2] == [x for x, _ in hollow][:2]
    height = dict(zip(was, (y for _, y in hollow), strict=True))
    assert dict(zip(now, (y for _, y in filled), strict=True))[1.0] == height[1.0], "equal values are equally high"
    assert height[4.0] < height[1.0]
    assert all(78 < x < 308 and 20 < y < 160 for x, y in filled + hollow), "between the axes"
    assert {"before", "after"} <= {each.text for each in drawn.iter(f"{SVG}text")}


def test_spectra_of_zeros_say_so():
    zeros = Spectrum(torch.zeros(2))
    assert "all singular values are zero" in spectra_svg(zeros, zeros)


# ---- printed twins


def test_a_frame_is_printed_with_both_patterns_all_spectra_and_the_numbers(view):
    view.lab.cut("blocks.1.attn.W_QKV", 4)
    view.lab.look_at(1, 1)
    frame = view.lab.frame()
    figure = survival_still(frame)
    for panel, pattern in zip(figure.axes[:2], (frame.pattern, frame.pattern_after), strict=True):
        assert panel.images[0].get_array().tolist() == pattern.tolist()
    before, after = figure.axes[3].lines
    assert list(before.get_ydata()) == frame.qk.before.values.tolist()
    assert list(after.get_ydata()) == frame.qk.after.values.tolist()
    told = {cell.get_text().get_text() for cell in figure.axes[2].tables[0].get_celld().values()}
    assert {f"{value:.3f}" for _, *values in frame.numbers for value in values} <= told
    assert figure.get_suptitle() == str(frame).split("\n")[0]


def test_a_table_is_printed_with_every_bond_of_a_head_that_has_a_score(measured):
    table = measured._measured
    figure = survival_table_still(table)
    kept = [head for head in table.heads if not table.keeps_nothing(head)]
    wanted = [
        "–" if (bond := table.bond(head, name)) is None else str(bond) for head in kept for name in table.matrices
    ]
    assert [text.get_text() for text in figure.axes[0].texts] == wanted


def test_a_table_without_a_score_to_keep_is_not_printed(view):
    table = view.lab.table(progress=lambda *told: None)
    with pytest.raises(ValueError, match=r"no induction score of tiny-gpt2 is above 0\.17"):
        survival_table_still(table)
