"""Scores of explanations: 1 for the right one, chance for one that knows nothing."""

import math

import pytest
import torch
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from workbench.born.explain.pairs import information_map, pair_marginals
from workbench.born.explain.score import (
    area_under_curve,
    attribution_score,
    counterfactual_error,
    map_score,
    off_diagonal,
    rank_correlation,
    ranks,
)
from workbench.truth.enumerated import TableSource
from workbench.truth.parity import BITS
from workbench.truth.planted import planted_chain, planted_tree
from workbench.truth.source import Description


def test_ranks_and_areas_are_those_of_two_other_libraries():
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        tied = torch.randint(0, 9, (40,), generator=generator).double()
        values, wanted = torch.rand(40, generator=generator).double(), torch.rand(40, generator=generator) < 0.3
        assert rank_correlation(tied, values) == pytest.approx(spearmanr(tied, values)[0], abs=1e-12)
        assert area_under_curve(tied, wanted) == pytest.approx(roc_auc_score(wanted, tied), abs=1e-12)


def test_what_differs_by_rounding_alone_is_tied():
    assert ranks(torch.tensor([3.0, 1.0, 1.0 + 1e-10, 2.0])).tolist() == [4.0, 1.5, 1.5, 3.0]
    assert ranks(torch.tensor([1e-17, -2e-17, 0.0, 1e-16])).tolist() == [2.5] * 4


def test_the_right_map_scores_one_and_its_opposite_nothing():
    planted = planted_tree(7, 0.8, seed=1)
    amounts = information_map(pair_marginals(planted.source))
    right = map_score(amounts, amounts, planted.dependent)
    assert (right.auc, right.rank_correlation) == (1.0, pytest.approx(1.0, abs=1e-12))
    wrong = map_score(-amounts, amounts, planted.dependent)
    assert (wrong.auc, wrong.rank_correlation) == (0.0, pytest.approx(-1.0, abs=1e-12))


def test_maps_of_chance_score_chance():
    planted = planted_chain(8, 0.5)
    amounts = information_map(pair_marginals(planted.source))
    generator = torch.Generator().manual_seed(0)
    scores = [map_score(torch.rand(8, 8, generator=generator).double(), amounts, planted.dependent) for _ in range(400)]
    wanted, others = 7, 21
    spread = math.sqrt((wanted + others + 1) / (12 * wanted * others) / len(scores))  # of the mean AUC of 400
    assert sum(score.auc for score in scores) / 400 == pytest.approx(0.5, abs=3 * spread)
    assert sum(score.rank_correlation for score in scores) / 400 == pytest.approx(0, abs=3 / math.sqrt(27 * 400))


def test_where_all_true_amounts_are_the_same_there_is_no_rank_correlation():
    found = torch.rand(4, 4, generator=torch.Generator().manual_seed(0))
    score = map_score(found, torch.zeros(4, 4), None)
    assert (score.auc, score.rank_correlation, str(score)) == (None, None, "nothing to compare with")


def test_the_diagonal_and_the_order_of_a_pair_do_not_count():
    table = torch.arange(9.0).reshape(3, 3)
    assert off_diagonal(table).tolist() == [1.0, 2.0, 5.0]


def test_attributions_are_compared_string_by_string():
    true = torch.tensor([[1.0, 2.0, 3.0], [2.0, 2.0, 2.0], [3.0, 1.0, 2.0]])
    assert attribution_score(true, true) == pytest.approx(1.0)
    found = torch.tensor([[1.0, 2.0, 3.0], [9.0, 0.0, 1.0], [1.0, 3.0, 2.0]])
    assert attribution_score(found, true) == pytest.approx(0.0)  # right, left out, the wrong way round
    with pytest.raises(ValueError, match="truly carries the same"):
        attribution_score(true[1:2], true[1:2])
    with pytest.raises(ValueError, match=r"attributions of \(3, 3\) are compared with as many, not \(1, 3\)"):
        attribution_score(true, true[:1])


def test_the_counterfactual_error_is_none_for_the_truth_and_a_sum_over_the_definition_otherwise():
    generator = torch.Generator().manual_seed(1)
    tables = [torch.rand([3] * 4, generator=generator, dtype=torch.float64) for _ in range(2)]
    told = Description("table", "", "drawn")
    truth, model = (TableSource.of_probabilities(table, ("a", "b", "c"), told) for table in tables)
    assert counterfactual_error(pair_marginals(truth), pair_marginals(truth)) == 0
    total = 0.0
    for i in range(4):
        for j in range(4):
            if i != j:
                true, own = truth.marginal((i, j)), model.marginal((i, j))
                for a in range(3):
                    apart = (own[a] / own[a].sum() - true[a] / true[a].sum()).abs().sum() / 2
                    total += float(true[a].sum() * apart) / 12
    assert counterfactual_error(pair_marginals(model), pair_marginals(truth)) == pytest.approx(total, abs=1e-13)


def test_a_symbol_that_the_model_never_writes_counts_as_wholly_wrong():
    told = Description("table", "", "counted")
    truth = TableSource.of_probabilities(torch.ones(2, 2, dtype=torch.float64), BITS, told)
    model = TableSource.of_probabilities(torch.tensor([[0.5, 0.5], [0.0, 0.0]], dtype=torch.float64), BITS, told)
    assert counterfactual_error(pair_marginals(model), pair_marginals(truth)) == pytest.approx(
        ((0 + 1) / 2 + 0.5) / 2  # of site 0 half is wholly wrong; of site 1 each answer is half wrong
    )


@pytest.mark.parametrize(
    ("call", "complaint"),
    [
        (lambda: map_score(torch.zeros(3, 3), torch.zeros(4, 4), None), r"map of \(3, 3\).*table of \(4, 4\)"),
        (lambda: map_score(torch.full((3, 3), math.nan), torch.zeros(3, 3), None), "nan or infinity off its diagonal"),
        (lambda: area_under_curve(torch.zeros(4), torch.ones(4, dtype=torch.bool)), "4 of 4 are wanted"),
        (lambda: rank_correlation(torch.zeros(3), torch.zeros(4)), "there are 3 and 4 values"),
        (
            lambda: counterfactual_error(torch.zeros(3, 3, 2, 2), torch.zeros(4, 4, 2, 2)),
            r"not \(3, 3, 2, 2\) and \(4, 4, 2, 2\)",
        ),
    ],
)
def test_what_cannot_be_scored_is_refused(call, complaint):
    with pytest.raises(ValueError, match=complaint):
        call()
