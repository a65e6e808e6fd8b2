"""A sweep's view and its printed twin: the numbers of the frame, started, stopped, and told when something fails."""

import math

import pytest

from workbench.explore.sweep import Sweep
from workbench.explore.sweep_frame import AtWork, SweepFailure, SweepFrame, SweepPoint
from workbench.explore.sweep_grids import LearningGrid
from workbench.widgets.sweep_still import sweep_still
from workbench.widgets.sweep_view import SweepView
from workbench.workers.processes import Processes

GRID = LearningGrid(["ghz 8", "parity 8"], ["one-pass 2", "counts"], [16, 64], [0, 1])


@pytest.fixture
def view(tmp_path) -> SweepView:
    return SweepView(Sweep(GRID, tmp_path))


def test_the_view_fills_with_the_settings_and_the_front_of_the_frame(view):
    assert "0 of 16 points, 16 left" in view.told.value
    assert (view.bar.value, view.bar.max) == (0, 16)
    view.start.click()
    view.settle(60)
    frame = view.sweep.frame()
    assert (view.bar.value, view.bar.bar_style) == (16, "success")
    assert (view.start.disabled, view.stop.disabled, view.retry.disabled) == (False, True, True)
    counts, front = view.figure.data[1:]
    shown = [own for own in frame.settings("ghz 8") if own.series == "counts" and own.harm < math.inf]
    assert shown, "a source of two strings is counted soon"
    assert (list(counts.x), list(counts.y)) == ([own.size for own in shown], [own.harm for own in shown])
    assert list(front.x) == [own.size for own in frame.front("ghz 8")]
    view.subject.value = "parity 8"
    assert list(view.figure.data[0].y) == [own.harm for own in frame.settings("parity 8") if own.harm < math.inf][:2]
    assert view.figure.layout.title.text == "parity 8"


def test_a_view_on_a_sweep_that_is_done_shows_it_at_once(view):
    view.sweep.run(progress=lambda *told: None)
    again = SweepView(view.sweep)
    assert again.bar.value == 16
    assert "16 of 16 points" in again.told.value


def test_stop_keeps_the_points_and_start_goes_on(view, monkeypatch):
    steps = view.sweep.steps

    def stopping(workers, again):
        for frame in steps(workers, again):
            if len(frame.points) == 3:
                view.stop.click()
            yield frame

    monkeypatch.setattr(view.sweep, "steps", stopping)
    view.start.click()
    view.settle(60)
    assert (view.bar.value, view.start.disabled) == (3, False)
    monkeypatch.undo()
    view.start.click()
    view.settle(60)
    assert view.bar.value == 16


def test_failed_points_are_told_in_words_and_can_be_tried_again(tmp_path):
    view = SweepView(Sweep(LearningGrid(["ghz 8"], ["counts", "gpt 6"], [1]), tmp_path))
    view.start.click()
    view.settle(60)
    assert (view.bar.value, view.bar.bar_style, view.retry.disabled) == (2, "warning", False)
    assert "failed: ghz 8: GPT of 2 layers, width 6, 1 samples, seed 0: ValueError: learning needs" in view.told.value
    file = next(file for file in tmp_path.glob("*.json") if "learning needs" in file.read_text())
    before = file.stat().st_ino
    view.retry.click()
    view.settle(60)
    assert file.stat().st_ino != before


def test_what_stops_the_whole_sweep_is_said_and_the_view_lives_on(view, monkeypatch):
    def broken(self, work, jobs):
        raise ConnectionError("no <b>scheduler</b>")
        yield

    monkeypatch.setattr(Processes, "events", broken)
    failing = SweepView(view.sweep, Processes(2))
    failing.start.click()
    with pytest.raises(ConnectionError):
        failing.settle(60)
    assert "no &lt;b&gt;scheduler" in failing.status.value
    assert not failing.start.disabled


def frame_of(kind: str, subject: str = "a <b> model") -> SweepFrame:
    points = tuple(
        [
            SweepPoint(subject, series, f"{size}", seed, size, harm + 0.1 * seed, 2.0)
            for series, size, harm in (("svd", 0.3, 2.0), ("svd", 0.6, 1.2), ("mpo", 0.5, 1.9), ("mpo", 0.7, math.inf))
            for seed in (0, 1)
        ]
    )
    failures = tuple([SweepFailure(f"<i>{k}</i>", "ValueError: no", 3) for k in range(7)])
    return SweepFrame(kind, 20, points, failures, (AtWork("a <b> model: svd", 4321, 2),))


def test_what_is_said_is_escaped_and_names_the_workers(view, monkeypatch):
    monkeypatch.setattr(view.sweep, "frame", lambda: frame_of("learning"))
    view.subject.options = ["a <b> model"]
    assert "worker 4321: a &lt;b&gt; model: svd, attempt 2" in view.told.value
    assert "failed: &lt;i&gt;4&lt;/i&gt;: ValueError: no" in view.told.value
    assert "and 2 more failed" in view.told.value
    assert "<i>" not in view.told.value
    assert view.figure.layout.title.text == "a &lt;b&gt; model"


@pytest.mark.parametrize("kind", ["compression", "learning"])
def test_the_printed_twin_draws_the_numbers_of_the_frame(kind):
    frame = frame_of(kind)
    (axes,) = sweep_still(frame).axes
    lines = {str(bar.get_label()): bar.lines[0] for bar in axes.containers}
    assert list(lines) == ["svd", "mpo"]
    assert list(lines["svd"].get_ydata()) == [own.harm for own in frame.settings("a <b> model")[:2]] == [2.05, 1.25]
    assert list(lines["mpo"].get_xdata()) == [0.5], "an infinite divergence has no place on the axis"
    (front,) = [line for line in axes.lines if line.get_label() == "Pareto front"]
    assert list(front.get_xdata()) == [own.size for own in frame.front("a <b> model")] == [0.3, 0.5, 0.6]
    assert (axes.get_xlabel(), axes.get_ylabel()) == frame.axes("a <b> model")


def test_what_does_no_harm_at_all_is_drawn_at_the_floor(view, monkeypatch):
    points = tuple([SweepPoint("ghz 8", "counts", f"{n}", 0, n, harm, 1.0) for n, harm in ((8, 0.5), (16, 0.0))])
    frame = SweepFrame("learning", 2, points, (), ())
    (axes,) = sweep_still(frame).axes
    assert [list(line.get_ydata()) for line in axes.lines if line.get_label() == "Pareto front"] == [[0.5, 1e-6]]
    monkeypatch.setattr(view.sweep, "frame", lambda: frame)
    view.subject.value = "parity 8"
    view.subject.value = "ghz 8"
    assert list(view.figure.data[-1].y) == list(view.figure.data[1].y) == [0.5, 1e-6]
    assert view.figure.data[1].text[1] == "counts, 16: 0"


def test_a_sweep_without_points_cannot_be_printed():
    with pytest.raises(ValueError, match="nothing to draw of this sweep yet: 0 of 3 points, 3 left"):
        sweep_still(SweepFrame("learning", 3, (), (), ()))
