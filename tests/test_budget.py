"""Budgets: the least harm within a limit, beside all that could have been chosen."""

from itertools import product

import pytest
import tiny_models
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench import CompressionLab, Limit, Recipe
from workbench.compress.budget import Rungs, least_harm
from workbench.decompose.low_rank import LowRank

few = settings(max_examples=60)
QUIET = {"progress": lambda what, done, total: None}


@st.composite
def tables(draw) -> dict[str, tuple]:
    found = {}
    for name in "abc"[: draw(st.integers(1, 3))]:
        costs = sorted(draw(st.sets(st.integers(1, 40), min_size=1, max_size=6)))
        harms = sorted(draw(st.lists(st.floats(0.01, 9), min_size=len(costs), max_size=len(costs))), reverse=True)
        harms[-1] = 0.0
        found[name] = tuple(range(1, len(costs) + 1)), tuple(costs), tuple(harms)
    return found


def cost_and_harm(rungs: dict[str, Rungs], bonds: dict[str, int]) -> tuple[int, float]:
    return (
        sum(own.costs[bonds[name] - 1] for name, own in rungs.items()),
        sum(own.harms[bonds[name] - 1] for name, own in rungs.items()),
    )


@few
@given(tables(), st.floats(0, 1))
def test_what_is_chosen_fits_and_nothing_that_costs_as_little_does_less_harm(drawn, share):
    rungs = {name: Rungs(*own) for name, own in drawn.items()}
    low = sum(own.costs[0] for own in rungs.values())
    limit = low + share * (sum(own.costs[-1] for own in rungs.values()) - low)
    chosen = least_harm(rungs, limit)
    cost, harm = cost_and_harm(rungs, chosen)
    assert cost <= limit + 1e-9
    every = [dict(zip(rungs, way, strict=True)) for way in product(*(own.bonds for own in rungs.values()))]
    costs = [cost_and_harm(rungs, way) for way in every]
    best = min(own_harm for own_cost, own_harm in costs if own_cost <= limit + 1e-9)
    # The optimum but for less than one step of one matrix.
    step = max(a - b for own in rungs.values() for a, b in zip(own.harms, [*own.harms[1:], 0.0], strict=True))
    widest = max(own.harms[0] for own in rungs.values())
    assert best - 1e-9 <= harm <= best + max(step, widest) + 1e-9
    if share == 1:
        assert harm == 0


def test_equal_shapes_are_cut_at_one_threshold_of_their_singular_values():
    torch.manual_seed(0)
    pairs = {name: LowRank.from_weight(scale * torch.randn(30, 20)) for name, scale in (("a", 1.0), ("b", 1.5))}
    bonds = least_harm({name: Rungs.of(pair.ladder(), pair.shape) for name, pair in pairs.items()}, 11 * 50)
    assert sum(bonds.values()) == 11
    kept = torch.cat([pair.spectrum.values[: bonds[name]] for name, pair in pairs.items()])
    dropped = torch.cat([pair.spectrum.values[bonds[name] :] for name, pair in pairs.items() if bonds[name] < 20])
    assert float(kept.min()) > float(dropped.max())
    assert bonds["b"] > bonds["a"]


def test_a_limit_below_the_smallest_possible_is_refused_with_its_size():
    rungs = {"a": Rungs((1, 2), (7, 9), (1.0, 0.0)), "b": Rungs((1,), (5,), (0.0,))}
    with pytest.raises(
        ValueError, match=r"a budget of 11 is below the smallest possible: .* take 12; give at least that"
    ):
        least_harm(rungs, 11)
    assert least_harm(rungs, 12) == {"a": 1, "b": 1}


@pytest.fixture(scope="module")
def lab() -> CompressionLab:
    made = tiny_models.lab()
    made.decompose(Recipe("svd", "two-sided", gauge_fixed=True), **QUIET)
    return made


@pytest.mark.parametrize("budget", ["uniform", "global"])
@pytest.mark.parametrize("kept", [0.9, 0.5, 0.3])
def test_a_share_is_kept_to_and_nearly_used(lab, budget, kept):
    lab.keep(kept, budget=budget)
    assert kept - 0.1 < lab.kept <= kept


def test_a_limit_holds_in_its_own_unit(lab):
    sizes = lab.sizes
    others, dense = sizes.other_params, sizes.dense_bond_params
    for limit in (Limit(n_params=others + dense // 2), Limit(bytes=4 * (others + dense // 2))):
        for budget in ("uniform", "global"):
            lab.keep(limit, budget=budget)
            assert 0.4 < lab.kept <= 0.5
    for budget in ("uniform", "global"):
        lab.keep(Limit(multiply_adds=dense // 2), budget=budget)
        spent = sum(layer.dense_params if layer.bypassed else layer.now.apply_cost() for layer in lab.layers.values())
        assert 0.35 * dense < spent <= dense // 2
    lab.keep(Limit(n_params=others + 2 * dense), budget="global")
    assert all(layer.bypassed for layer in lab.layers.values())


def test_the_global_budget_predicts_less_harm_than_the_uniform_one(lab):
    lab.keep(0.4, budget="uniform")
    uniform = lab.predicted_loss
    lab.keep(0.4, budget="global")
    assert 0 < lab.predicted_loss < uniform
    lab.reset()
    assert lab.predicted_loss == 0


def test_a_pattern_is_allocated_alone_and_the_rest_stays(lab):
    lab.kept = 0.5
    before = dict(lab.bond)
    lab.keep(0.2, "*.W_in", "global")
    chosen = [layer for name, layer in lab.layers.items() if name.endswith("W_in")]
    assert sum(layer.n_params for layer in chosen) <= 0.2 * sum(layer.dense_params for layer in chosen)
    assert {name: bond for name, bond in lab.bond.items() if not name.endswith("W_in")} == {
        name: bond for name, bond in before.items() if not name.endswith("W_in")
    }
    assert "lab.keep(0.2, '*.W_in', budget='global')" in lab.code()


def test_wrong_limits_and_budgets_are_refused_and_nothing_moves(lab):
    lab.kept = 0.5
    before = dict(lab.bond)
    for limit, budget, message in (
        (0.0001, "global", "is below the smallest possible"),
        (Limit(multiply_adds=3), "uniform", "is below the smallest possible"),
        (Limit(n_params=10), "global", "a limit of 10 numbers leaves nothing for the matrices to cut"),
        (0.5, "greedy", "there is no budget 'greedy'; there are uniform, global, measured"),
        (0.5, "measured", r"a measured budget needs a profile; call lab.sweep\(\) first"),
    ):
        with pytest.raises(ValueError, match=message):
            lab.keep(limit, budget=budget)
    assert dict(lab.bond) == before
    with pytest.raises(ValueError, match="give one limit of kept, n_params, bytes and multiply_adds, not none"):
        Limit()
    with pytest.raises(ValueError, match="not kept, bytes"):
        Limit(kept=0.5, bytes=3)
    with pytest.raises(ValueError, match="a limit of bytes is a number above 0, not -3"):
        Limit(bytes=-3)
    with pytest.raises(ValueError, match="there is no budget 'greedy'"):
        lab.budget = "greedy"
