"""Formats to scale: areas come back out of what is drawn, no words over others, and the slider moves it all."""

import re
import xml.etree.ElementTree as ET

import pytest
import tiny_models
import torch
from matplotlib.axes import Axes
from matplotlib.patches import Polygon
from test_one_weight import lab

from workbench.diagram.scene import text_width
from workbench.explore.one_weight import WeightFrame, WeightLab
from workbench.widgets.formats_still import formats_still, metrics_still
from workbench.widgets.formats_view import FormatsView, formats_svg
from workbench.widgets.to_scale import SIZE, WIDTH, Block, drawn_to_scale

SVG = "{http://www.w3.org/2000/svg}"
MATRICES = ["blocks.1.mlp.W_in", "blocks.1.mlp.W_out", "blocks.0.attn.W_QKV", "blocks.0.attn.W_O"]
SECONDS = 60.0


def area(points: list[tuple[float, float]]) -> float:
    """By the shoelace formula."""
    following = points[1:] + points[:1]
    return abs(sum(x * v - u * y for (x, y), (u, v) in zip(points, following, strict=True))) / 2


def heights(axes: Axes) -> dict[str, list[float]]:
    """Of each line of a chart, by label, its values."""
    return {str(line.get_label()): torch.as_tensor(line.get_ydata()).tolist() for line in axes.lines}


def frames(matrix: str) -> list[WeightFrame]:
    own: WeightLab = lab(matrix)
    return [own.frame(kept) for kept in (0.05, 0.3, 0.62, 1.0)]


@pytest.mark.parametrize("matrix", MATRICES)
def test_the_areas_drawn_are_as_the_numbers_held(matrix):
    for frame in frames(matrix):
        groups = ET.fromstring(formats_svg(frame)).findall(f"{SVG}g")
        areas = []
        for group in groups:
            drawn = [re.findall(r"([-\d.]+),([-\d.]+)", each.get("points", "")) for each in group.iter(f"{SVG}polygon")]
            areas.append(sum(area([(float(x), float(y)) for x, y in points]) for points in drawn))
        whole, *formats = areas
        out, n_in = frame.shape
        assert len(formats) == len(frame.formats)
        for drawn, own in zip(formats, frame.formats, strict=True):
            assert drawn / whole == pytest.approx(own.n_params / (out * n_in), abs=5e-3)


@pytest.mark.parametrize("matrix", MATRICES)
def test_tensors_and_words_stay_in_their_place_and_off_each_other(matrix):
    for frame in frames(matrix):
        drawing = drawn_to_scale(frame)
        for own in drawing.shown:
            left, top, title = own.title
            assert all(text_width(told, SIZE * 1.1) < WIDTH - 8 for told in (title, *(each[2] for each in own.words)))
            first_word = min(y for _, y, _ in own.words) - SIZE
            ends = [left]
            for block in own.blocks:
                assert block.x >= ends[-1]
                ends.append(block.x + block.size[0])
                assert top < block.y < block.y + block.size[1] <= first_word
            assert ends[-1] <= left + WIDTH - 8
            assert left + WIDTH - 8 <= drawing.width
            assert max(y for _, y, _ in own.words) < drawing.height


def test_the_whole_matrix_is_drawn_alike_at_every_share():
    whole = [drawn_to_scale(frame).shown[0] for frame in frames(MATRICES[0])]
    assert all(each == whole[0] for each in whole)


def test_a_short_last_row_of_sheets_leaves_a_notch_and_seams_end_there():
    block = Block(10, 20, 5, 6, 7, 3)
    assert block.size == (15, 18)
    assert area(block.outline) == 7 * 30
    assert ((15, 20), (15, 32)) in block.seams
    assert len(block.seams) == 4
    assert Block(0, 0, 5, 3.9, 7, 3).seams == []
    assert area(Block(0, 0, 5, 6, 6, 3).outline) == 6 * 30


def test_the_slider_moves_the_drawing_and_the_numbers():
    view = FormatsView(lab(), 0.5)
    before = view.drawing.value
    assert "at most 50% of its 4,096 numbers" in view.numbers.value
    view.kept.value = 0.25
    view.settle(SECONDS)
    frame = view.lab.frame(0.25)
    assert view.drawing.value == formats_svg(frame) != before
    assert 'role="status"' in view.numbers.value
    for own in frame.formats:
        assert f">{own.name}<" in view.numbers.value
        assert f">{own.errors['two-sided']:.3f}<" in view.numbers.value
    assert view.status.value == ""


def test_what_fails_is_said_where_one_looks(monkeypatch):
    view = FormatsView(lab())

    def refuse(kept: float) -> WeightFrame:
        raise ValueError("no <room> for this")

    monkeypatch.setattr(view.lab, "frame", refuse)
    view.kept.value = 0.25
    with pytest.raises(ValueError, match="no <room>"):
        view.settle(SECONDS)
    assert view.status.value == '<span role="alert">no &lt;room&gt; for this</span>'
    monkeypatch.undo()
    view.kept.value = 0.35
    view.settle(SECONDS)
    assert view.status.value == ""


def test_names_are_escaped():
    lm = tiny_models.gpt2()
    frame = WeightFrame("<tiny> & co", "W", (3, 4), 0.5, ())
    assert "&lt;tiny&gt; &amp; co" in formats_svg(frame)
    assert lm.name not in formats_svg(frame)


def test_the_still_shows_the_same_tensors_and_every_error():
    frame = frames(MATRICES[2])[1]
    drawing, errors = formats_still(frame).axes
    drawn = drawn_to_scale(frame)
    polygons = [patch for patch in drawing.patches if isinstance(patch, Polygon)]
    outlines = [area([(x, y) for x, y in polygon.get_xy()[:-1].tolist()]) for polygon in polygons]
    assert outlines == pytest.approx([area(block.outline) for own in drawn.shown for block in own.blocks])
    shown = {told for own in drawn.shown for told in (own.title[2], *(each[2] for each in own.words))}
    assert {text.get_text() for text in drawing.texts} == shown
    by_metric = [[own.errors[metric] for own in frame.formats] for metric in ("plain", "input", "two-sided")]
    assert list(heights(errors).values()) == by_metric


def test_no_two_words_of_the_still_overlap():
    for frame in frames(MATRICES[2]):
        figure = formats_still(frame)
        figure.draw_without_rendering()
        boxes = [text.get_window_extent() for text in (*figure.axes[0].texts, *figure.axes[1].get_xticklabels())]
        for number, box in enumerate(boxes):
            assert 0 <= box.x0 < box.x1 <= figure.bbox.width
            assert not any(box.overlaps(other) for other in boxes[number + 1 :])


def test_the_curves_still_draws_each_pair_as_each_metric_judges_it():
    bonds = [2, 5, 9]
    curves = lab().curves(bonds)
    for axes, judge in zip(metrics_still(bonds, curves).axes, ("plain", "input", "two-sided"), strict=True):
        assert judge in axes.get_title()
        assert heights(axes) == {f"made for {made_for}": curves[made_for][judge] for made_for in curves}
