"""The printed leader board: its points come back out of the drawing, and an empty one is refused."""

import math

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from workbench.explore.board_frame import BoardFrame, ExplanationPoint, Judged
from workbench.widgets.board_still import board_still


def point(
    learner: str, n: int, seed: int, scores: dict[str, float | None], ranked: float | None = 0.25
) -> ExplanationPoint:
    judged = [Judged(name, auc, ranked, 0.5, 1.0, (0.0, 1.0)) for name, auc in scores.items()]
    return ExplanationPoint(learner, n, seed, 0.1, 0.2, 0.3, tuple(judged))


FRAME = BoardFrame(
    "tree",
    7,
    (
        point("truth", 0, 0, {"MI": 1.0, "chance": 0.25}),
        point("GPT", 100, 0, {"MI": 0.5, "attention": 0.75}),
        point("GPT", 100, 1, {"MI": 1.0, "attention": 0.75}),
        point("GPT", 900, 0, {"MI": 0.875, "attention": 0.625}),
    ),
)


def test_every_row_of_the_board_is_a_point_at_its_score_and_on_its_line():
    (axes,) = board_still(FRAME).axes
    names = [label.get_text() for label in axes.get_yticklabels()]
    drawn = {
        (bars.get_label(), names[round(y)], x)
        for bars in axes.containers
        for x, y in zip(*bars.lines[0].get_data(), strict=True)
    }
    assert drawn == {
        ("truth", "MI", 1.0), ("truth", "chance", 0.25), ("GPT, 100 samples", "MI", 0.75),
        ("GPT, 100 samples", "attention", 0.75), ("GPT, 900 samples", "MI", 0.875),
        ("GPT, 900 samples", "attention", 0.625),
    }  # fmt: skip
    assert axes.get_xlabel() == "AUC of the pairs that depend"


def test_fewer_samples_are_hollow_and_a_single_seed_has_no_interval():
    (axes,) = board_still(FRAME).axes
    looks = {bars.get_label(): (bars.lines[0].get_markerfacecolor(), bars.lines[2][0]) for bars in axes.containers}
    assert looks["GPT, 100 samples"][0] == "none"
    assert looks["GPT, 900 samples"][0] != "none"
    segments = looks["GPT, 900 samples"][1].get_segments()
    assert all(ends[0][0] == ends[1][0] for ends in segments)
    wide = looks["GPT, 100 samples"][1].get_segments()[0]
    assert wide[1][0] - wide[0][0] == pytest.approx(2 * FRAME.row("GPT", 100, "MI").auc.half_width)


def test_without_planted_pairs_rank_correlations_are_drawn():
    frame = BoardFrame("Mess3", 4, (point("truth", 0, 0, {"MI": None}, ranked=-0.5),))
    (axes,) = board_still(frame).axes
    assert axes.containers[0].lines[0].get_xdata() == [-0.5]
    assert axes.get_xlabel() == "rank correlation with the true mutual information"


def test_no_label_of_the_picture_lies_on_another():
    figure = board_still(FRAME)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer = canvas.get_renderer()
    (axes,) = figure.axes
    texts = [*axes.get_yticklabels(), axes.title, axes.xaxis.label, *figure.legends[0].get_texts()]
    boxes = [text.get_window_extent(renderer) for text in texts]
    assert not [1 for k, one in enumerate(boxes) for other in boxes[:k] if one.overlaps(other)]


@pytest.mark.parametrize("points", [(), (point("truth", 0, 0, {"MI": None}, ranked=None),)])
def test_a_board_without_a_score_is_refused(points):
    with pytest.raises(ValueError, match="nothing on the board of tree has a score; run it first"):
        board_still(BoardFrame("tree", 7, points))
    assert math.isnan(FRAME.board[0].auc.half_width)
