"""The forms of one running layer: the same output, and the cheapest by counted multiply-adds."""

import pytest
import torch
from torch import nn

from workbench.compress import layers
from workbench.compress.layers import BondLinear
from workbench.decompose.low_rank import LowRank
from workbench.decompose.operator import TrainOperator

OUT, IN = 24, 36


def layer(form: str, bond: int) -> BondLinear:
    original = nn.Linear(IN, OUT).requires_grad_(False)
    weight = original.weight.detach()
    uncut = LowRank.from_weight(weight) if form == "svd" else TrainOperator.from_weight(weight, int(form[-1]))
    made = BondLinear(original, original.bias, uncut)
    made.cut(bond)
    return made


@pytest.mark.parametrize("form", ["svd", "mpo2", "mpo3"])
@pytest.mark.parametrize("rows", [1, 7, 500])
@pytest.mark.parametrize("bond", [1, 2, 5, 9])
def test_every_form_gives_the_output_of_the_dense_matrix(form, rows, bond, monkeypatch):
    made, x = layer(form, bond), torch.randn(rows, IN)
    expected = x @ made.now.dense().T + made.bias
    torch.testing.assert_close(made(x), expected, atol=1e-5, rtol=1e-4)
    for chosen in made.costs(rows):
        monkeypatch.setattr(made, "_costs", lambda present, rows, chosen=chosen: {chosen: 0})
        torch.testing.assert_close(made(x), expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("form", "expected"), [("mpo2", 2), ("mpo3", 3), ("mpo4", 3)])
def test_the_form_that_runs_is_the_cheapest_by_its_counted_costs(form, expected, monkeypatch):
    monkeypatch.setattr(layers, "MOVE", 0)  # by its moves, a layer as small as this is always quickest dense
    ran = []
    for name in ("dense", "merged", "apply"):
        original = getattr(TrainOperator, name)
        monkeypatch.setattr(TrainOperator, name, lambda *given, n=name, o=original: ran.append(n) or o(*given))
    seen = set()
    for bond in (1, 2, 4, 9):
        for rows in (1, 2, 8, 40, 4000):
            made = layer(form, bond)
            costs = made.costs(rows)
            ran.clear()
            made(torch.randn(rows, IN))
            runs = "factors" if ran == ["apply"] else ran[0]
            assert costs[runs] == min(costs.values())
            seen.add(runs)
    assert len(seen) == expected


def test_the_costs_of_a_low_rank_pair_are_those_counted_by_hand():
    made = layer("svd", 5)
    rows = 10
    expected = {"factors": rows * 5 * (OUT + IN), "dense": rows * OUT * IN + OUT * 5 * IN}
    assert made.costs(rows) == expected
    assert made.form(rows) == "factors"


def test_a_matrix_that_was_rebuilt_once_costs_no_rebuilding_again():
    made = layer("mpo2", 9)
    rows = 500
    assert made.form(rows) == "dense"
    before = made.costs(rows)["dense"]
    made(torch.randn(rows, IN))
    assert before - made.costs(rows)["dense"] == made.now.dense_cost()
    made.cut(8)
    assert made.costs(rows)["dense"] == rows * OUT * IN + made.now.dense_cost()


def test_a_pass_that_began_before_a_move_ends_as_it_began(monkeypatch):
    made, x = layer("mpo2", 9), torch.randn(500, IN)
    old = made.now.dense()
    original = TrainOperator.dense

    def moved_meanwhile(self):
        monkeypatch.undo()
        made.cut(2)
        return original(self)

    monkeypatch.setattr(TrainOperator, "dense", moved_meanwhile)
    torch.testing.assert_close(made(x), x @ old.T + made.bias, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(made(x), x @ made.now.dense().T + made.bias, atol=1e-5, rtol=1e-4)


def test_a_full_bond_runs_the_original_layer():
    made = layer("svd", OUT)
    assert made.bypassed
    x = torch.randn(3, IN)
    assert torch.equal(made(x), made.original(x))
    assert made.n_params == OUT * IN


def test_above_break_even_the_matrix_is_what_is_stored():
    made = layer("svd", 23)
    assert not made.bypassed
    assert made.now.n_params > OUT * IN
    assert made.n_params == OUT * IN
