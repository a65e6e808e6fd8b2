"""How many samples: points are exact and kept, the curve is read off where it crosses, bad requests are refused."""

import json
import math
from itertools import pairwise

import pytest
import torch

from workbench.born.counts import AffineCode, Counted
from workbench.explore.sample_complexity import Learner, SampleLab, usual_sizes
from workbench.explore.sample_frame import SampleFrame, SamplePoint
from workbench.truth.chain import ChainSource
from workbench.truth.scores import Scores
from workbench.truth.source import Description

COUNTS = Learner("counts", lambda samples, n_symbols, seed: Counted.of(samples))
ALGEBRA = Learner("algebra", lambda samples, n_symbols, seed: AffineCode.of(samples))


def parity(n_sites: int) -> ChainSource:
    flip = torch.stack([torch.eye(2), torch.eye(2).flip(0)], 1).double()  # (left, symbol, right)
    cores = (flip[:1], *([flip] * (n_sites - 2)), flip[:, :, :1])
    return ChainSource(cores, ("0", "1"), Description("even parity", f"{n_sites} bits", "a test"))


def frame(qualities: dict[int, list[float]], target: float = 0.9) -> SampleFrame:
    points = tuple(
        SamplePoint(n, seed, Scores(value, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0), 0.0)
        for n, values in qualities.items()
        for seed, value in enumerate(values)
    )
    return SampleFrame("made up", 4, "nobody", "overlap", target, 1.0, points)


def test_a_learner_that_is_told_of_linearity_needs_about_as_many_samples_as_bits():
    lab = SampleLab(parity(10), ALGEBRA, range(4, 40, 2), range(8))
    found = lab.run(progress=lambda *told: None)
    assert found.needed is not None
    assert 9 <= found.needed.n <= 16
    assert found.needed.low <= found.needed.n <= found.needed.high
    assert found.entropy == pytest.approx(9 * math.log(2))


def test_the_overlap_of_counts_is_what_their_sum_over_strings_says():
    lab = SampleLab(parity(6), COUNTS, [40], [3])
    (point,) = lab.run(progress=lambda *told: None).points
    counts = torch.unique(lab.samples(40, 3), dim=0, return_counts=True)[1].double()
    assert point.scores.overlap == pytest.approx(float((counts / 40 / 32).sqrt().sum()))
    assert point.scores.kl == math.inf
    assert point.scores.lost_mass == pytest.approx(1 - len(counts) / 32)


def test_different_strings_are_drawn_where_a_learner_asks_for_them_and_no_more_than_there_are():
    lab = SampleLab(parity(5), Learner("distinct", COUNTS.learn, distinct=True), [4, 16, 17], [0])
    drawn = lab.samples(16, 0)
    assert len(torch.unique(drawn, dim=0)) == 16
    assert bool((drawn.sum(1) % 2 == 0).all())
    assert lab.run(progress=lambda *told: None).sizes == (4, 16)
    assert lab.frame().median(16) == pytest.approx(1.0)


def test_points_are_kept_and_a_lab_that_was_interrupted_goes_on(tmp_path):
    first = SampleLab(parity(6), COUNTS, [5, 20, 80], range(3), tmp_path)
    for done, _ in enumerate(first.steps()):
        if done == 3:
            break
    measured: list[int] = []

    def learn(samples: torch.Tensor, n_symbols: int, seed: int) -> Counted:
        measured.append(len(samples))
        return Counted.of(samples)

    again = SampleLab(parity(6), Learner("counts", learn), [5, 20, 80], range(3), tmp_path)
    whole = again.run(progress=lambda *told: None)
    assert len(measured) == 9 - 4
    undisturbed = SampleLab(parity(6), COUNTS, [5, 20, 80], range(3)).run(progress=lambda *told: None)
    assert [p.scores for p in whole.points] == [p.scores for p in undisturbed.points]


def test_a_file_of_another_lab_is_refused(tmp_path):
    lab = SampleLab(parity(4), COUNTS, [5], [0], tmp_path)
    lab.run(progress=lambda *told: None)
    (file,) = tmp_path.iterdir()
    file.write_text(json.dumps(json.loads(file.read_text()) | {"learner": "another"}))
    with pytest.raises(ValueError, match="they depend on something else"):
        SampleLab(parity(4), COUNTS, [5], [0], tmp_path)
    file.write_text("{")
    with pytest.raises(ValueError, match="holds no points of these"):
        SampleLab(parity(4), COUNTS, [5], [0], tmp_path)


def test_the_crossing_is_read_off_a_straight_line_over_the_logarithm():
    found = frame({10: [0.8] * 3, 1000: [1.0] * 3}).needed
    assert found is not None
    assert found.n == pytest.approx(100)
    assert (found.low, found.high) == (pytest.approx(100), pytest.approx(100))


def test_a_curve_that_falls_below_the_target_again_has_not_reached_it():
    assert frame({10: [0.95], 100: [0.5], 1000: [0.92]}).needed.n > 100  # pyright: ignore[reportOptionalMemberAccess]
    assert frame({10: [0.95], 100: [0.5]}).needed is None
    assert "not reached" in str(frame({10: [0.95], 100: [0.5]}))


def test_draws_that_never_reach_the_target_make_the_interval_open():
    found = frame({10: [0.1] * 5, 100: [0.2, 0.2, 0.95, 0.95, 0.95]}).needed
    assert found is not None
    assert found.high == math.inf
    assert "beyond the sizes measured" in str(found)


def test_every_metric_is_a_quality_that_the_truth_has_in_full():
    perfect = SamplePoint(1, 0, Scores(1.0, 0.0, 0.0, 0.0, 0.0, 0.6, 0.6), 0.0)
    lost = SamplePoint(1, 0, Scores(0.5, math.inf, 0.2, 0.0, 0.5, 0.3, 0.6), 0.0)
    for metric, least in (("overlap", 0.5), ("perplexity", 0.0), ("total variation", 0.5), ("next symbol", 0.5)):
        whole = SampleFrame("s", 4, "l", metric, 0.9, 1.0, (perfect,))
        assert whole.qualities(1) == (1.0,)
        assert SampleFrame("s", 4, "l", metric, 0.9, 1.0, (lost,)).qualities(1) == (least,)


def test_usual_sizes_grow_evenly_from_the_number_of_sites():
    sizes = usual_sizes(16)
    assert (sizes[0], sizes[-1]) == (16, 20_000)
    assert all(1.4 < after / before < 1.8 for before, after in pairwise(sizes))


def test_bad_requests_are_refused_with_what_they_have():
    lab = SampleLab(parity(4), COUNTS, [5], [0])
    with pytest.raises(ValueError, match="no metric 'luck'; there are overlap, perplexity"):
        lab.ask("luck")
    with pytest.raises(ValueError, match=r"not at 1\.5"):
        lab.ask(target=1.5)
    with pytest.raises(ValueError, match=r"21 sites of 2 symbols make 2\^21 strings, more than the 2\^20"):
        SampleLab(parity(21), COUNTS)
    with pytest.raises(ValueError, match=r"one or more sizes of 1 or more"):
        SampleLab(parity(4), COUNTS, [0, 5])
