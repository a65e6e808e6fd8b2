"""The printed comparison of methods: the rows come back out of the lines, and what cannot be drawn is refused."""

import math
from dataclasses import asdict

import numpy as np
import pytest
import tiny_models
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from workbench.compress.recipe import METHODS, METRICS, Recipe
from workbench.compress.sensitivity import SHARES, Profile
from workbench.decompose.ladder import Ladder
from workbench.widgets.colours import METHOD_COLOURS, METRIC_SHAPES
from workbench.widgets.method_stills import SMALLEST, frobenius_still, methods_still, profile_still

PLAIN, INPUT, FIXED = Recipe("svd", "plain"), Recipe("svd", "input"), Recipe("svd", "two-sided", gauge_fixed=True)
OPERATOR = Recipe("mpo", "plain")


def row(recipe: Recipe, kept: float, ratio: float, **own: object) -> dict:
    """One row as benchmarks/methods.py writes it, of what is drawn."""
    row = {"model": "one", "seed": 0, "recipe": asdict(recipe), "budget": "uniform", "compensated": False}
    row |= {"healed": False, "kept": kept, "ratio": ratio, "frobenius": 0.25} | own
    return row | {"method": f"{recipe}, {row['budget']}{', compensated' if row['compensated'] else ''}"}


ROWS = [
    row(PLAIN, 0.4, 1.5, frobenius=0.3),
    row(PLAIN, 0.2, 9.0),
    row(FIXED, 0.4, 1.01, frobenius=0.5, budget="global"),
    row(FIXED, 0.2, 1.25, budget="global"),
    row(FIXED, 0.2, 1.125, budget="global", healed=True),
    row(OPERATOR, 0.4, 3.0, frobenius=0.7),
    row(OPERATOR, 0.2, 5.0),
    row(INPUT, 0.4, 1.2, frobenius=0.4, compensated=True),
    row(INPUT, 0.2, 2.0, compensated=True),
]


def lines(figure: Figure, panel: int = 0) -> dict:
    return {str(line.get_label()): line for line in figure.axes[panel].get_lines()}


def points(figure: Figure, panel: int = 0) -> dict[str, list[tuple[float, float]]]:
    return {name: [tuple(xy) for xy in line.get_xydata().tolist()] for name, line in lines(figure, panel).items()}


def legend(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


@pytest.mark.parametrize("rows", [ROWS, ROWS[::-1]], ids=["in order", "backwards"])
def test_every_row_is_a_point_of_its_methods_line_and_shares_rise_along_it(rows):
    figure = methods_still(rows)
    assert [axes.get_title() for axes in figure.axes] == ["no training", "after healing"]
    for panel, healed in enumerate((False, True)):
        wanted: dict = {}
        for own in sorted(ROWS, key=lambda own: own["kept"]):
            if own["healed"] == healed:
                wanted.setdefault(own["method"], []).append((own["kept"], own["ratio"] - 1))
        assert points(figure, panel) == wanted


def test_of_several_calibration_sets_the_median_is_drawn():
    figure = methods_still([row(INPUT, 0.4, ratio, seed=seed) for seed, ratio in enumerate((1.25, 2.0, 1.5))])
    assert list(points(figure).values()) == [[(0.4, 0.5)]]


def test_a_model_no_worse_than_the_dense_one_is_drawn_at_the_smallest_excess_and_labelled_so():
    figure = methods_still([row(PLAIN, 0.8, 0.9), row(PLAIN, 0.4, 1.0), row(PLAIN, 0.2, 1.5)])
    assert list(points(figure).values()) == [[(0.2, 0.5), (0.4, SMALLEST), (0.8, SMALLEST)]]
    assert "≤ 1e-05" in [label.get_text() for label in figure.axes[0].get_yticklabels()]


def test_without_healed_rows_there_is_one_panel():
    assert len(methods_still([own for own in ROWS if not own["healed"]]).axes) == 1


def test_a_method_that_was_only_healed_is_in_the_legend_too():
    only = row(Recipe("tucker", "plain"), 0.2, 2.0, healed=True)
    assert sorted(legend(methods_still([*ROWS, only]))) == sorted({own["method"] for own in [*ROWS, only]})


def test_colour_tells_the_method_and_shape_the_metric():
    recipes = [Recipe(method, metric) for method in METHODS for metric in METRICS[method]]
    drawn = lines(methods_still([row(recipe, 0.4, 1.5) for recipe in recipes]))
    for recipe in recipes:
        line = drawn[f"{recipe}, uniform"]
        assert line.get_color() == METHOD_COLOURS[recipe.method]
        assert line.get_marker() == METRIC_SHAPES[recipe.metric].matplotlib


def test_dashes_tell_budget_and_compensation_and_a_hollow_marker_a_fixed_gauge():
    drawn = lines(methods_still(ROWS))
    styles = {name: line.get_linestyle() for name, line in drawn.items()}
    assert styles[f"{PLAIN}, uniform"] == ":"
    assert styles[f"{FIXED}, global"] == "-"
    assert styles[f"{INPUT}, uniform, compensated"] == "--"
    hollow = {name for name, line in drawn.items() if line.get_markerfacecolor() == "none"}
    assert hollow == {f"{FIXED}, global"}


def test_the_best_of_each_decomposition_at_the_smallest_share_is_strong():
    better_at_more = [row(Recipe("mpo", "input"), 0.4, 1.001), row(Recipe("mpo", "input"), 0.2, 7.0)]
    drawn = lines(methods_still([*ROWS, *better_at_more]))
    strong = {name for name, line in drawn.items() if line.get_alpha() == 1}
    assert strong == {f"{FIXED}, global", f"{OPERATOR}, uniform"}


def test_the_legend_has_the_order_of_the_lines_at_the_smallest_share():
    expected = [f"{PLAIN}, uniform", f"{OPERATOR}, uniform", f"{INPUT}, uniform, compensated", f"{FIXED}, global"]
    assert legend(methods_still(ROWS)) == expected


@pytest.mark.parametrize("n_methods", [1, 45])
def test_the_legend_lies_within_the_picture_beside_the_panels(n_methods):
    names = [f"method {k} with a name as long as they come" for k in range(n_methods)]
    rows = [row(PLAIN, 0.2, 1.5 + k) | {"method": name} for k, name in enumerate(names)]
    for figure in (methods_still([*rows, rows[0] | {"healed": True}]), frobenius_still(rows, 0.2)):
        FigureCanvasAgg(figure).draw()
        box = figure.legends[0].get_window_extent()
        assert min(box.y0, figure.bbox.height - box.y1, figure.bbox.width - box.x1) >= 0
        assert max(axes.get_window_extent().x1 for axes in figure.axes) <= box.x0


def test_each_method_is_one_point_of_frobenius_error_and_excess_at_the_share_without_healing():
    figure = frobenius_still([*ROWS, row(PLAIN, 0.4, 1.1, healed=True)], 0.4)
    wanted = {own["method"]: [(own["frobenius"], own["ratio"] - 1)] for own in ROWS if own["kept"] == 0.4}
    assert points(figure) == wanted
    assert legend(figure)[0] == f"{OPERATOR}, uniform", "the worst first"


def test_rows_of_two_models_or_of_none_are_refused():
    for draw in (methods_still, lambda rows: frobenius_still(rows, 0.4)):
        with pytest.raises(ValueError, match="the rows are of one, other; give those of one model"):
            draw([*ROWS, row(PLAIN, 0.4, 2.0, model="other")])
        with pytest.raises(ValueError, match="the rows are of no model"):
            draw([])


def test_a_share_without_rows_is_refused_with_those_there_are():
    with pytest.raises(ValueError, match=r"no row keeps 0\.3 without healing; there are rows at 0\.2, 0\.4"):
        frobenius_still(ROWS, 0.3)
    with pytest.raises(ValueError, match="there are rows at no share"):
        frobenius_still([row(PLAIN, 0.2, 2.0, healed=True)], 0.2)


LADDER = Ladder(
    tuple(range(1, 13)), tuple(range(7, 85, 7)), tuple(range(7, 85, 7)), tuple(map(float, range(12, 0, -1)))
)
LADDERS = {"a.W_in": (LADDER, (3, 28)), "b.W_out": (LADDER, (4, 21))}
BONDS = [LADDER.bond_within(share * 84) for share in SHARES]


def table(figure: Figure) -> list[list[float]]:
    """The heatmap's cells, nan where blank."""
    array = figure.axes[0].get_images()[0].get_array()
    assert isinstance(array, np.ma.MaskedArray)
    return array.filled(math.nan).tolist()


def test_a_cell_of_the_profile_is_what_its_matrix_loses_at_its_share():
    profile = Profile("one")
    profile.measure(LADDERS, lambda name, bond: 10.0**-bond if name == "a.W_in" else 0.5)
    figure = profile_still(profile, LADDERS)
    assert table(figure) == [[max(SMALLEST, 10.0**-bond) for bond in BONDS], [0.5] * len(SHARES)]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == list(LADDERS)
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == [f"{share:.0%}" for share in SHARES]


def test_what_a_sweep_has_not_reached_is_blank_and_a_gain_is_drawn_as_the_smallest_loss():
    bond = BONDS[SHARES.index(0.3)]
    (cells,) = table(profile_still(Profile("one", {"a.W_in": {bond: -0.2}}), LADDERS))
    assert [not math.isnan(cell) for cell in cells] == [own == bond for own in BONDS]
    assert cells[SHARES.index(0.3)] == SMALLEST


def test_a_profile_of_other_matrices_is_refused():
    with pytest.raises(ValueError, match=r"the profile of one has no point of a\.W_in, b\.W_out; sweep first"):
        profile_still(Profile("one", {"c.W_in": {1: 0.5}, "a.W_in": {}}), LADDERS)


def test_a_labs_own_sweep_fills_every_row():
    lab = tiny_models.lab()
    profile = lab.sweep(progress=lambda what, done, total: None)
    figure = profile_still(profile, {name: (layer.ladder, layer.uncut.shape) for name, layer in lab.layers.items()})
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == list(lab.layers)
    assert not any(math.isnan(cell) for cells in table(figure) for cell in cells)
