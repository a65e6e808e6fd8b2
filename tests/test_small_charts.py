"""The small charts: numbers come back out of what is drawn, names stay text, and colours mean what they say."""

import math
import re
import xml.etree.ElementTree as ET
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from workbench.diagram.scene import text_width
from workbench.spectrum import Spectrum
from workbench.widgets.small_charts import heatmap_svg, level_of, spectrum_svg

SVG = "{http://www.w3.org/2000/svg}"


def cells(text: str) -> dict[tuple[int, int], str | None]:
    """Of a heatmap, by row and column, the colour of each cell; None where it is crossed out."""
    found: dict[tuple[int, int], str | None] = {}
    for path in ET.fromstring(text).findall(f"{SVG}g/{SVG}path"):
        colour = None if path.get("class") == "none" else path.get("fill")
        for x, y in re.findall(r"M(\d+) (\d+)", path.get("d", "")):
            assert (int(y), int(x)) not in found
            found[int(y), int(x)] = colour
    return found


def dots(text: str, group: str) -> list[tuple[float, float]]:
    held = ET.fromstring(text).find(f"{SVG}g[@class='{group}']")
    assert held is not None
    return [(float(dot.get("cx", "nan")), float(dot.get("cy", "nan"))) for dot in held]


def texts(text: str) -> list[str]:
    return [each.text or "" for each in ET.fromstring(text).iter(f"{SVG}text")]


@given(st.integers(1, 7), st.integers(1, 5), st.integers(0, 1000))
def test_every_cell_of_a_heatmap_is_drawn_once_and_equal_values_have_equal_colours(n_rows, n_columns, seed):
    matrix = torch.randint(-3, 4, (n_rows, n_columns), generator=torch.Generator().manual_seed(seed)).tolist()
    found = cells(heatmap_svg(matrix))
    assert set(found) == {(r, c) for r in range(n_rows) for c in range(n_columns)}
    colour_of: dict[int, set] = {}
    for (r, c), colour in found.items():
        colour_of.setdefault(matrix[r][c], set()).add(colour)
    assert all(len(colours) == 1 for colours in colour_of.values())
    assert len(set.union(*colour_of.values())) == len(colour_of), "other values have other colours"


def test_zero_is_light_grey_below_is_orange_and_above_is_purple():
    found = cells(heatmap_svg([[-2.0, 0.0, 2.0]]))
    assert (found[0, 0], found[0, 1], found[0, 2]) == ("#b35806", "#f6f6f6", "#542788")


def test_the_level_grows_with_the_value_and_is_clipped_at_the_reach():
    assert [level_of(v, 2.0) for v in (-9.0, -2.0, -1.0, 0.0, 1.0, 2.0, 9.0)] == [0, 0, 10, 20, 30, 40, 40]
    assert level_of(0.0, 0.0) == 20


def test_values_that_are_not_finite_are_crossed_out_and_do_not_stretch_the_colours():
    found = cells(heatmap_svg([[math.nan, -2.0], [math.inf, 2.0]]))
    assert found == {(0, 0): None, (1, 0): None, (0, 1): "#b35806", (1, 1): "#542788"}


def test_labels_of_a_heatmap_are_text_and_its_words_give_the_range():
    drawn = heatmap_svg([[-1.5, 3.0]], rows="<b>&", columns="d")
    assert {"<b>&", "d", "3", "−3", "0"} <= set(texts(drawn))
    assert ET.fromstring(drawn).get("aria-label") == "heatmap of 1 × 2 cells from -1.5 to 3"


def test_an_empty_heatmap_says_so():
    assert texts(heatmap_svg([])) == texts(heatmap_svg([[]])) == ["no numbers to draw"]


def test_the_heights_of_a_spectrum_are_the_logarithms_of_its_values():
    values = [8.0, 4.0, 1.0, 0.5]
    drawn = dots(spectrum_svg(Spectrum(torch.tensor(values))), "kept")
    assert len(drawn) == 4
    fall = [b[1] - a[1] for a, b in pairwise(drawn)]
    assert fall[1] == pytest.approx(2 * fall[0], abs=0.2)
    assert fall[2] == pytest.approx(fall[0], abs=0.2)
    assert [b[0] - a[0] for a, b in pairwise(drawn)] == pytest.approx([57.5] * 3, abs=0.2)


@pytest.mark.parametrize("cut", [0, 2, 5])
def test_a_cut_stands_between_what_is_kept_and_what_is_dropped(cut):
    drawn = spectrum_svg(Spectrum(torch.tensor([5.0, 4.0, 3.0, 2.0, 1.0])), cut)
    kept, dropped = dots(drawn, "kept"), dots(drawn, "dropped")
    assert (len(kept), len(dropped)) == (cut, 5 - cut)
    line = ET.fromstring(drawn).find(f"{SVG}path[@class='cut']")
    assert line is not None
    x = float(line.get("d", "").split()[0].removeprefix("M"))
    assert all(dot[0] < x for dot in kept)
    assert all(dot[0] > x for dot in dropped)
    assert f"cut at {cut}" in texts(drawn)


def test_without_a_cut_no_cut_is_drawn():
    drawn = spectrum_svg(Spectrum(torch.tensor([5.0, 4.0, 3.0])))
    assert 'class="cut"' not in drawn
    assert len(dots(drawn, "kept")) == 3


def test_an_axis_with_hardly_a_round_number_is_labelled_by_the_largest_and_the_smallest_value():
    assert {"3.91", "0.918"} <= set(texts(spectrum_svg(Spectrum(torch.tensor([3.91, 2.5, 0.918])))))


def test_values_near_zero_are_drawn_at_a_hundred_millionth_of_the_largest():
    drawn = dots(spectrum_svg(Spectrum(torch.tensor([1.0, 1e-8, 1e-30, 0.0], dtype=torch.float64))), "kept")
    assert drawn[1][1] == drawn[2][1] == drawn[3][1] < 160


def test_a_spectrum_of_zeros_says_so_and_a_cut_beyond_it_is_refused():
    assert texts(spectrum_svg(Spectrum(torch.zeros(3)))) == ["all singular values are zero"]
    with pytest.raises(ValueError, match="cut 4 does not fit a spectrum of 3 values; give 0 to 3"):
        spectrum_svg(Spectrum(torch.ones(3)), 4)


@given(st.integers(1, 60), st.floats(-6, 6), st.floats(0.01, 3))
def test_no_dot_or_text_of_a_spectrum_is_outside_its_picture(n, exponent, decay):
    values = 10.0**exponent * torch.exp(-decay * torch.arange(n, dtype=torch.float64))
    drawn = spectrum_svg(Spectrum(values), n // 2)
    width, height = (float(v) for v in (ET.fromstring(drawn).get("viewBox") or "").split()[2:])
    for x, y in dots(drawn, "kept") + dots(drawn, "dropped"):
        assert 78 < x < width - 4
        assert 20 <= y <= height - 36
    for each in ET.fromstring(drawn).iter(f"{SVG}text"):
        if each.get("text-anchor") == "end":
            start = float(each.get("x", "nan")) - text_width(each.text or "", 11)
            assert start > 17, "a tick's label meets the axis label"
