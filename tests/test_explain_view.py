"""The explorer of explanations as a view, and its printed twin: sites pressed one by one, charts that follow."""

import math

import pytest
import torch

from workbench.born.counts import Counted
from workbench.explore.explain_lab import ExplainLab
from workbench.truth.ising_chain import ising_chain
from workbench.truth.parity import even_parity
from workbench.truth.words import motzkin
from workbench.widgets.explain_still import explain_still
from workbench.widgets.explain_view import ExplainView


@pytest.fixture
def lab() -> ExplainLab:
    return ExplainLab(ising_chain(5, 0.6), {"colder": ising_chain(5, 0.9), "free": ising_chain(5, 0.0)})


def drawn(figure) -> list[list[list[float]]]:
    """The cells of both heatmaps, nan where there is none."""
    return [[[math.nan if cell is None else cell for cell in row] for row in trace.z] for trace in figure.data]


def named(view: ExplainView) -> list[list[str]]:
    """The names of truth and model in the charts that have a legend."""
    charts = view.charts
    return [[trace.name for trace in figure.data] for figure in (charts.marginals, charts.entropies, charts.schmidt)]


def test_a_site_goes_from_free_through_its_symbols_and_is_free_again(lab):
    view = ExplainView(lab)
    names = [view.sites[2].description]
    for _ in range(3):
        view.sites[2].click()
        names.append(view.sites[2].description)
    assert names == ["2", "2 = +", "2 = -", "2"]
    assert "Nothing is given" in view.told.value
    view.sites[2].click()
    view.sites[4].click()
    assert view.sites[4].button_style == "primary"
    assert "Given + at site 2, + at site 4: probability" in view.told.value
    assert f"{lab.frame().truth.probability:.4g} under the truth" in view.told.value
    view.release.click()
    assert lab.given == {}
    assert [button.button_style for button in view.sites] == [""] * 5


def test_the_charts_hold_the_numbers_of_the_frame(lab):
    view = ExplainView(lab)
    view.model.value, view.map.value, view.bond.value = "free", "correlation", 3
    view.sites[1].click()
    frame, charts = lab.frame(), view.charts
    assert (frame.model, frame.map, frame.bond, frame.given) == ("free", "correlation", 3, ((1, 0),))
    sides = (frame.truth, frame.learned)
    for k, side in enumerate(sides):
        assert list(charts.marginals.data[k].y) == [row[1] for row in side.marginals]
        assert list(charts.entropies.data[k].y) == list(side.entropies)
        assert list(charts.schmidt.data[k].y) == pytest.approx(side.schmidt[3])
        torch.testing.assert_close(
            torch.tensor(drawn(charts.maps)[k]), torch.tensor(side.ties), equal_nan=True, check_dtype=False
        )
    assert named(view) == [["truth", "free"]] * 3
    assert charts.maps.layout.annotations[1].text == "free"
    assert "<b>1</b>" in charts.marginals.layout.xaxis.ticktext
    assert charts.entropies.layout.shapes[0].x0 == 3.5


def test_a_move_of_the_model_leaves_the_name_of_the_truth(lab):
    view = ExplainView(lab)
    assert named(view) == [["truth", "colder"]] * 3
    for name in ("free", "colder"):
        view.model.value = name
        assert named(view) == [["truth", name]] * 3


def test_both_maps_have_one_colour_scale_about_zero_where_numbers_have_signs(lab):
    view = ExplainView(lab)
    scale = view.charts.maps.layout.coloraxis
    assert [trace.coloraxis for trace in view.charts.maps.data] == ["coloraxis", "coloraxis"]
    assert scale.cmin == 0
    assert scale.cmax == max(abs(side.strongest[2]) for side in (lab.frame().truth, lab.frame().learned))
    colours = scale.colorscale
    view.map.value = "correlation"
    assert scale.cmin == -scale.cmax
    assert scale.cmax == pytest.approx(math.tanh(0.9))
    assert scale.colorscale != colours
    parity = ExplainView(ExplainLab(even_parity(4), {"same": even_parity(4)}))
    assert parity.charts.maps.layout.coloraxis.cmax == 1e-3, "what rounding leaves is no tie"


def test_a_symbol_that_is_impossible_is_told_and_passed_over():
    view = ExplainView(ExplainLab(even_parity(3), {"same": even_parity(3)}))
    view.sites[0].click()
    view.sites[1].click()
    view.sites[1].click()
    assert view.lab.given == {0: 0, 1: 1}
    view.sites[2].click()
    assert view.lab.given == {0: 0, 1: 1, 2: 1}
    assert 'role="alert"' in view.status.value
    assert "the truth excludes every string with 0 at site 0, 1 at site 1, 0 at site 2" in view.status.value
    view.sites[2].click()
    assert view.lab.given == {0: 0, 1: 1}
    assert view.status.value == ""
    closed = ExplainView(ExplainLab(motzkin(4), {"dots": Counted.of(torch.ones(1, 4, dtype=torch.int64))}))
    closed.sites[3].click()
    assert closed.lab.given == {3: 1}
    closed.sites[3].click()
    assert closed.lab.given == {}
    assert "dots excludes every string with ) at site 3" in closed.status.value


def test_a_model_that_excludes_what_is_given_is_not_taken_and_the_menu_goes_back():
    ones = Counted.of(torch.ones(1, 4, dtype=torch.int64))
    lab = ExplainLab(even_parity(4), {"same": even_parity(4), "ones <1>": ones})
    view = ExplainView(lab)
    view.sites[3].click()
    view.model.value = "ones <1>"
    assert view.model.value == lab.model == "same"
    assert "ones &lt;1&gt; excludes every string with 0 at site 3" in view.status.value
    assert view.charts.marginals.data[1].name == "same"
    view.sites[3].click()
    view.model.value = "ones <1>"
    assert (lab.model, view.status.value) == ("ones <1>", "")
    assert view.charts.marginals.data[1].name == "ones &lt;1&gt;"


def test_a_press_on_a_bond_looks_at_its_schmidt_values(lab):
    view = ExplainView(lab)
    points = type("Points", (), {"point_inds": [0]})
    view.charts.entropies.data[1]._dispatch_on_click(points, None)
    assert (lab.bond, view.bond.value) == (0, 0)
    assert view.charts.schmidt.layout.title.text == "Schmidt values at bond 0|1"


def test_the_charts_follow_the_theme_of_the_page(lab):
    view = ExplainView(lab)
    light = [figure.layout.font.color for figure in view.charts.figures]
    view.page.dark = True
    dark = [figure.layout.font.color for figure in view.charts.figures]
    assert len(set(light)) == len(set(dark)) == 1
    assert light != dark


def test_of_more_symbols_the_shares_are_stacked_and_the_first_is_the_rest():
    lab = ExplainLab(motzkin(4), {"same": motzkin(4)})
    view, frame = ExplainView(lab), lab.frame()
    assert [trace.offsetgroup for trace in view.charts.marginals.data] == ["truth", "truth", "model", "model"]
    assert [trace.showlegend for trace in view.charts.marginals.data] == [True, False, True, False]
    assert list(view.charts.marginals.data[1].y) == [row[2] for row in frame.truth.marginals]
    bars = explain_still(frame).axes[0].patches
    assert [bar.get_y() for bar in bars[4:8]] == [row[1] for row in frame.truth.marginals]


def test_the_printed_twin_holds_the_numbers_of_its_frame(lab):
    lab.choose(map="direct dependence", bond=1)
    lab.fix(3, 1)
    frame = lab.frame()
    marginals, truth, model, scale, entropies, schmidt = explain_still(frame).axes
    for k, side in enumerate((frame.truth, frame.learned)):
        assert [bar.get_height() for bar in marginals.patches[5 * k : 5 * k + 5]] == [row[1] for row in side.marginals]
        image = (truth, model)[k].images[0]
        torch.testing.assert_close(
            torch.tensor(image.get_array().filled(math.nan)), torch.tensor(side.ties).double(), equal_nan=True
        )
        assert image.norm.vmax == max(frame.truth.strongest[2], frame.learned.strongest[2])
        assert list(entropies.lines[1 + k].get_ydata()) == list(side.entropies)
        assert list(schmidt.lines[k].get_ydata()) == list(side.schmidt[1])
    assert marginals.get_xticklabels()[3].get_fontweight() == "bold"
    assert scale.get_ylabel() == "direct dependence, nats"
    assert model.get_title() == "colder"
