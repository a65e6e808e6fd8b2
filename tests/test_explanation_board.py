"""Leader boards of explanations: the truth's own train is the line of 1, chance is chance, and points are kept."""

import math
from dataclasses import replace

import pytest
import torch

from workbench.explore.board_frame import Attributed, BoardFrame, ExplanationPoint, Interval, Judged
from workbench.explore.explanation_board import TRUTH, ExplanationBoard
from workbench.explore.explanations import Attribution, Explanation, usual_attributions, usual_explanations
from workbench.explore.sample_choices import gpt_learner, sweep_learner
from workbench.explore.sample_complexity import Learner
from workbench.transformer.string_gpt import StringGPTRecipe
from workbench.truth.planted import planted_chain, planted_parity, planted_process, planted_tree
from workbench.truth.processes import mess3

TREE, PARITY = planted_tree(7, 0.8, seed=1), planted_parity(7, (1, 3, 6))
BRIEF = gpt_learner(StringGPTRecipe(d_model=16, n_layers=1, steps=30))


def measured(planted, learners=(), **choices) -> BoardFrame:
    choices = {"sizes": (200,), "seeds": (0, 1)} | choices
    return ExplanationBoard(planted, learners, **choices).run(progress=lambda *told: None)


@pytest.mark.parametrize(
    "planted", [TREE, planted_chain(7, 0.5), planted_chain(7, 0.5, seed=2)], ids=lambda planted: planted.name
)
def test_the_truths_own_train_scores_one_by_every_exact_explanation(planted):
    frame = measured(planted)
    for name in ("mutual information", "quantum mutual information", "direct dependence", "influence"):
        assert frame.row(TRUTH, 0, name).auc == Interval(1.0, 0.0)
    assert frame.row(TRUTH, 0, "mutual information").rank_correlation.mean == pytest.approx(1.0, abs=1e-12)
    assert frame.row(TRUTH, 0, "direct dependence").faithfulness.mean == pytest.approx(1.0, abs=1e-12)
    assert frame.errors(TRUTH, 0).mean == pytest.approx(0, abs=1e-12)
    shapley = next(row for row in frame.attributions if row.attribution == "Shapley values")
    assert shapley.rank_correlation.mean == pytest.approx(1.0, abs=1e-12)


def test_on_a_parity_mutual_information_knows_nothing_and_two_other_explanations_all():
    frame = measured(PARITY)
    found = {row.explanation: row for row in frame.board}
    assert found["mutual information"].auc.mean == 0.5
    assert found["influence"].auc.mean == 0.5
    assert found["quantum mutual information"].auc.mean == 1
    assert found["direct dependence"].auc.mean == 1
    assert found["mutual information"].rank_correlation is None  # all true amounts are 0


def test_chance_scores_chance_within_its_interval():
    chance = next(how for how in usual_explanations() if how.name == "chance")
    row = measured(TREE, seeds=range(40), explanations=[chance]).row(TRUTH, 0, "chance")
    assert abs(row.auc.mean - 0.5) < row.auc.half_width < 0.1
    assert abs(row.rank_correlation.mean) < row.rank_correlation.half_width < 0.2
    assert abs(row.stability) < 0.1


def test_learners_come_behind_the_truth_and_a_gpt_is_looked_into():
    frame = measured(TREE, [sweep_learner(4), BRIEF])
    names = {
        learner: [row.explanation for row in frame.board if row.learner == learner] for learner in (TRUTH, BRIEF.name)
    }
    assert set(names[BRIEF.name]) - set(names[TRUTH]) == {
        "attention", "attention rollout", "gradients", "integrated gradients", "ablation",
    }  # fmt: skip
    assert frame.errors(TRUTH, 0).mean < frame.errors("sweeps, bond 4", 200).mean < 0.2
    learned = frame.row("sweeps, bond 4", 200, "mutual information")
    assert 0.6 < learned.rank_correlation.mean < 1
    assert 0.5 < learned.stability < 1


def test_an_explanation_may_be_true_to_a_model_that_is_wrong():
    wrong = planted_tree(7, 0.8, seed=4)
    learner = Learner("another tree", lambda samples, n_symbols, seed: wrong.source)
    row = measured(TREE, [learner]).row("another tree", 200, "direct dependence")
    assert row.faithfulness.mean == pytest.approx(1.0, abs=1e-12)
    assert row.auc.mean < 0.8


def test_a_process_has_amounts_to_find_and_no_pairs():
    frame = measured(planted_process(mess3(), 4))
    row = frame.row(TRUTH, 0, "mutual information")
    assert row.auc is None
    assert row.rank_correlation.mean == pytest.approx(1.0, abs=1e-12)


def test_strings_that_a_model_excludes_are_left_out_of_its_attributions():
    half = planted_parity(7, (0, 1)).source
    learner = Learner("half", lambda samples, n_symbols, seed: half)
    frame = measured(TREE, [learner])
    assert {point.kl for point in frame.points if point.learner == "half"} == {math.inf}
    scores = [row.rank_correlation for row in frame.attributions if row.learner == "half"]
    assert all(math.isfinite(score.mean) for score in scores)
    one = torch.zeros(2, 2, 2, 2, 2, 2, 2, dtype=torch.float64)
    one[0, 1, 0, 1, 0, 1, 0] = 1  # of the 64 strings looked at, none
    alone = type(TREE.source).of_probabilities(one, TREE.source.alphabet, TREE.source.describe())
    frame = measured(TREE, [Learner("one", lambda samples, n_symbols, seed: alone)], explanations=usual_attributions())
    assert {row.rank_correlation for row in frame.attributions if row.learner == "one"} == {None}


def test_points_are_kept_and_not_measured_again(tmp_path):
    calls = []

    def learn(samples, n_symbols, seed):
        calls.append(seed)
        return TREE.source

    board = ExplanationBoard(TREE, [Learner("truth", learn)], (50,), (0, 1), cache=tmp_path)
    first = board.run(progress=lambda *told: None)
    again = ExplanationBoard(TREE, [Learner("truth", learn)], (50,), (0, 1), cache=tmp_path).run(lambda *told: None)
    assert calls == [0, 1]
    assert again == first


def test_a_kept_file_that_holds_something_else_is_refused(tmp_path):
    ExplanationBoard(TREE, [], (50,), (0,), cache=tmp_path).run(lambda *told: None)
    (file,) = tmp_path.glob("*.json")
    file.write_text(file.read_text().replace('"seconds"', '"minutes"'))
    with pytest.raises(ValueError, match=f"{file.name} holds no points of these .*remove it, or give another cache"):
        ExplanationBoard(TREE, [], (50,), (0,), cache=tmp_path)


def test_an_interval_is_that_of_students_t():
    interval = Interval.of([1.0, 2.0, 3.0, 4.0])
    assert interval.mean == 2.5
    assert interval.half_width == pytest.approx(3.182446 * 1.290994 / 2, rel=1e-6)
    assert str(interval) == "2.500 ± 2.054"
    assert str(Interval.of([0.25])) == "0.250"


def test_points_survive_being_written_down_infinite_divergence_and_all():
    judged = Judged("MI", None, 0.5, 0.25, 1.0, (0.5, 0.75))
    point = ExplanationPoint("GPT", 10, 3, math.inf, 0.5, -0.25, (judged,), (Attributed("Shapley", None, 2.0),))
    assert ExplanationPoint.of_row(point.as_row()) == point
    assert ExplanationPoint.of_row(replace(point, kl=0.5).as_row()).kl == 0.5


def test_a_board_reads_as_a_table():
    told = str(measured(TREE, explanations=[*usual_explanations()[:1], usual_attributions()[0]]))
    assert told.splitlines()[0] == "Ising tree, 7 sites"
    assert told.splitlines()[2] == "the truth's own train; counterfactual error 0.000 ± 0.000"
    assert told.splitlines()[3].split("  ")[1] == "mutual information"
    assert told.splitlines()[4].split() == ["of", "strings:", "Shapley", "values", "1.000", "±", "0.000"]


@pytest.mark.parametrize(
    ("call", "complaint"),
    [
        (lambda: ExplanationBoard(TREE, [], sizes=(1,)), r"sizes of 2 or more, and one or more seeds, not \(1,\)"),
        (lambda: ExplanationBoard(TREE, [], explanations=usual_explanations()[:1] * 2), "told apart by their names"),
        (lambda: ExplanationBoard(planted_chain(21, 0.5), []), "more than the 2"),
        (lambda: ExplanationBoard(TREE, [BRIEF]).subject("MPS", 10, 0), "no learner 'MPS'; there are GPT of 1 layers"),
        (lambda: measured(TREE, explanations=[]).row(TRUTH, 0, "magic"), "no 'magic' of .* at 0 samples on the board"),
        (lambda: measured(TREE, explanations=[]).errors("MPS", 30), "'MPS' has no point at 30 samples"),
    ],
)
def test_what_makes_no_board_is_refused(call, complaint):
    with pytest.raises(ValueError, match=complaint):
        call()


def test_an_explanation_of_ones_own_is_scored_beside_the_usual_ones():
    own = Explanation("planted", lambda subject: TREE.dependent.double())
    even = Attribution("even", lambda subject, x: torch.ones(x.shape, dtype=torch.float64))
    frame = measured(TREE, explanations=[own, even])
    assert frame.row(TRUTH, 0, "planted").auc.mean == 1
    assert frame.attributions[0].rank_correlation.mean == 0
