"""The explorer of sample complexity, its view and its printed twin: choices, live curves, and what is said."""

import math

import pytest
import torch

from workbench.born.counts import AffineCode, Counted
from workbench.explore.sample_complexity import Learner
from workbench.explore.sample_explorer import Family, SampleExplorer
from workbench.truth.parity import even_parity
from workbench.truth.words import dyck
from workbench.widgets.sample_still import samples_still
from workbench.widgets.sample_view import SampleView

LEARNERS = (
    Learner("counts", lambda samples, n_symbols, seed: Counted.of(samples)),
    Learner("linear code", lambda samples, n_symbols, seed: AffineCode.of(samples)),
)
FAMILIES = (Family("parity", even_parity, (4, 6, 8)), Family("Dyck words", dyck, (4, 8)))


@pytest.fixture
def explorer() -> SampleExplorer:
    return SampleExplorer(FAMILIES, LEARNERS, sizes=(8, 16, 64), seeds=range(3))


def test_a_choice_that_a_source_has_not_becomes_the_nearest_size(explorer):
    assert (explorer.family.name, explorer.n_sites) == ("parity", 8)
    explorer.choose(n_sites=6)
    explorer.choose("Dyck words")
    assert explorer.n_sites == 4
    with pytest.raises(ValueError, match="there is no 'luck' here; there are counts, linear code"):
        explorer.choose(learner="luck")
    with pytest.raises(ValueError, match="not 2 and 0"):
        SampleExplorer(FAMILIES, ())


def test_what_was_measured_of_another_learner_stays_beside(explorer):
    explorer.run(progress=lambda *told: None)
    explorer.choose(learner="linear code")
    assert [frame.learner for frame in explorer.frames()] == ["counts", "linear code"]
    assert len(explorer.frames()[0].points) == 9
    explorer.ask("next symbol", 0.8)
    assert {(frame.metric, frame.target) for frame in explorer.frames()} == {("next symbol", 0.8)}


def test_the_view_draws_the_numbers_of_the_frame(explorer):
    view = SampleView(explorer)
    assert "nothing is measured yet" in view.told.value
    view.learner.value = "linear code"
    view.measure.click()
    view.settle(60)
    frame = explorer.frame()
    medians = view.figure.data[4]
    assert list(medians.x) == list(frame.sizes) == [8, 16, 64]
    assert list(medians.y) == [frame.median(n) for n in frame.sizes]
    assert "9 of 9 points" in view.told.value
    assert str(frame.needed) in view.told.value
    view.target.value = 0.6
    assert view.figure.layout.shapes[1].y0 == 0.6
    assert (view.measure.disabled, view.stop.disabled) == (False, True)


def test_the_view_follows_its_source_and_moves_nothing_twice(explorer, monkeypatch):
    view, chosen, choose = SampleView(explorer), [], explorer.choose
    monkeypatch.setattr(explorer, "choose", lambda **choice: (chosen.append(choice), choose(**choice)))
    view.source.value = "Dyck words"
    assert chosen == [{"source": "Dyck words"}], "new options move the slider, which is no choice"
    assert view.n_sites.options == (4, 8)
    assert view.n_sites.value == explorer.n_sites == 8
    assert "Dyck words" in view.figure.layout.title.text
    view.n_sites.value = 4
    assert explorer.n_sites == 4


def test_stopping_keeps_the_points_and_measuring_goes_on(explorer):
    view = SampleView(explorer)
    steps = explorer.steps()
    next(steps)
    steps.close()
    view.measure.click()
    view.stop.click()
    view.settle(60)
    before = len(explorer.frame().points)
    assert 1 <= before <= 9
    view.measure.click()
    view.settle(60)
    assert len(explorer.frame().points) == 9


def test_stop_ends_the_measuring_after_the_present_point():
    views: list[SampleView] = []

    def stopping(samples: torch.Tensor, n_symbols: int, seed: int) -> Counted:
        views[0].stop.click()
        return Counted.of(samples)

    explorer = SampleExplorer(FAMILIES, (Learner("stopping", stopping),), (8, 16, 64), range(3))
    views.append(SampleView(explorer))
    views[0].measure.click()
    views[0].settle(60)
    assert len(explorer.frame().points) == 1
    assert (views[0].measure.disabled, views[0].stop.disabled) == (False, True)


def test_the_printed_twin_has_a_line_a_learner_with_the_numbers_of_its_frame(explorer):
    explorer.run(progress=lambda *told: None)
    explorer.choose(learner="linear code")
    explorer.run(progress=lambda *told: None)
    frames = explorer.frames()
    figure = samples_still(frames)
    (axes,) = figure.axes
    for frame in frames:
        line = next(line for line in axes.lines if str(line.get_label()).startswith(frame.learner))
        assert list(line.get_xdata()) == list(frame.sizes)
        assert list(line.get_ydata()) == [frame.median(n) for n in frame.sizes]
    assert "not reached" in figure.legends[0].get_texts()[0].get_text()
    with pytest.raises(ValueError, match="asked the same, not 0"):
        samples_still([])


def test_a_learner_that_fails_is_told_and_the_view_lives_on(explorer):
    def fails(samples: torch.Tensor, n_symbols: int, seed: int) -> Counted:
        raise ValueError("this learner <b>cannot</b>")

    view = SampleView(SampleExplorer(FAMILIES, (Learner("broken", fails), *LEARNERS), (8,), (0,)))
    view.measure.click()
    with pytest.raises(ValueError, match="cannot"):
        view.settle(60)
    assert "&lt;b&gt;cannot" in view.status.value
    view.learner.value = "counts"
    view.measure.click()
    view.settle(60)
    assert math.isfinite(view.explorer.frame().median(8))
