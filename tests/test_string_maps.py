"""Maps of what a GPT's predictions depend on: exact where they say so, and each on strings with one planted copy."""

import math
from itertools import product

import pytest
import torch
from torch import Tensor

from workbench.transformer.string_gpt import StringGPT, StringGPTRecipe, learn_strings
from workbench.transformer.string_maps import (
    ablation_map,
    attention_map,
    gradient_map,
    integrated_gradients_map,
    reading_contributions,
    rollout_map,
)

MAPS = (attention_map, rollout_map, gradient_map, integrated_gradients_map, ablation_map)
SITES = 6


def copied(n: int, seed: int) -> Tensor:
    """Strings of independent symbols out of three, but that site 4 says again what site 1 said."""
    x = torch.randint(3, (n, SITES), generator=torch.Generator().manual_seed(seed))
    x[:, 4] = x[:, 1]
    return x


@pytest.fixture(scope="module")
def gpt() -> StringGPT:
    """One block and one head that learned the copy."""
    return learn_strings(
        copied(1500, 0), 3, StringGPTRecipe(d_model=16, n_layers=1, n_heads=1, steps=350, learning_rate=1e-2)
    )


@pytest.fixture(scope="module")
def deep() -> StringGPT:
    """Two blocks of two heads, as first drawn but eight times as large, so that every part of it counts."""
    deep = learn_strings(copied(10, 0), 3, StringGPTRecipe(d_model=8, steps=0))
    for name, parameter in deep.model.named_parameters():
        if "ln" not in name:
            parameter.mul_(8)
    return deep


@pytest.mark.parametrize("found", MAPS)
def test_every_map_is_symmetric_and_has_no_diagonal(found, deep):
    table = found(deep, copied(20, 1))
    assert table.shape == (SITES, SITES)
    assert table.dtype == torch.float64
    assert torch.equal(table, table.T)
    assert not table.diagonal().any()
    assert float(table[~torch.eye(SITES, dtype=torch.bool)].min()) > 0


@pytest.mark.parametrize("found", MAPS)
def test_every_map_is_a_mean_over_the_strings(found, deep):
    x = copied(5, 2)
    alone = torch.stack([found(deep, row[None]) for row in x]).mean(0)
    assert torch.allclose(found(deep, x), alone, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("found", MAPS)
def test_every_map_of_a_gpt_that_learned_one_copy_has_it_as_its_largest_entry_into_that_site(found, gpt):
    table = found(gpt, copied(100, 3))
    asked = 3 if found is rollout_map else 4  # to a rollout the symbol just before is always half of it
    assert int(table[:asked, 4].argmax()) == 1


@pytest.mark.parametrize("found", [integrated_gradients_map, ablation_map])
def test_what_is_counted_in_predictions_finds_the_one_copy_among_all_pairs(found, gpt):
    table = found(gpt, copied(100, 3)).triu()
    assert divmod(int(table.argmax()), SITES) == (1, 4)
    others = table.clone()
    others[1, 4] = 0
    assert float(table[1, 4]) > 4 * float(others.max())


def test_ablation_is_the_total_variation_over_all_strings_with_another_symbol_there(deep):
    x = copied(4, 4)
    table = ablation_map(deep, x)
    for i, j in ((0, 3), (2, 5), (4, 5)):
        moved = []
        for row in x.tolist():
            for symbol in {0, 1, 2} - {row[i]}:
                one, other = (next_shares(deep, prefix, j) for prefix in (row, [*row[:i], symbol, *row[i + 1 :]]))
                moved.append(float((one - other).abs().sum()) / 2)
        assert float(table[i, j]) == pytest.approx(sum(moved) / len(moved), abs=1e-6)


def next_shares(gpt: StringGPT, row: list[int], site: int) -> Tensor:
    """q(x_site | before) by sums of p over all ends: the second way."""
    n_after = SITES - site - 1
    ends = torch.tensor(list(product(range(3), repeat=n_after + 1)))
    strings = torch.cat([torch.tensor(row[:site]).expand(len(ends), -1), ends], dim=1)
    weights = gpt.log_prob(strings).exp().reshape(3, -1).sum(1)
    return weights / weights.sum()


def test_a_site_that_is_not_used_has_no_ablation(deep):
    blind = deep.untrained(0)
    for block in blind.model.transformer.h:
        block.attn.c_proj.weight.zero_()  # nothing moves between positions: a symbol is told by the one before alone
    table = ablation_map(blind, copied(10, 5))
    far = torch.ones(SITES, SITES).triu(2).bool()
    assert not table[far].any()
    assert bool((table.diagonal(1) > 0).all())
    assert not gradient_map(blind, copied(10, 5))[far].any()


def test_attention_is_the_row_of_what_is_predicted_and_sums_to_one_with_the_start(deep):
    x = copied(3, 6)
    model = deep.untrained(0).model  # of the same sizes; its attention is asked for in another way
    model.load_state_dict(deep.model.state_dict())
    model.set_attn_implementation("eager")
    read = torch.cat([torch.full((3, 1), 3), x[:, :-1]], dim=1)
    patterns = torch.stack(model(read, output_attentions=True).attentions).mean((0, 1, 2)).double()
    table = attention_map(deep, x)
    for j in range(SITES):
        assert float(table[:j, j].sum() + patterns[j, 0]) == pytest.approx(1, abs=1e-6)
        for i in range(j):
            assert float(table[i, j]) == pytest.approx(float(patterns[j, i + 1]), abs=1e-7)


def test_rollout_of_even_attention_is_as_worked_out_by_hand():
    gpt = learn_strings(copied(10, 0), 3, StringGPTRecipe(d_model=8, n_layers=2, steps=0))
    for block in gpt.model.transformer.h:
        block.attn.c_attn.weight.zero_()  # each position attends evenly to itself and all before
    even = torch.ones(SITES, SITES, dtype=torch.float64).tril() / torch.arange(1, SITES + 1)[:, None]
    layer = (even + torch.eye(SITES)) / 2
    whole = layer @ layer
    assert float(whole[1, 1]) == pytest.approx(0.75**2)
    table = rollout_map(gpt, copied(5, 7))
    for j in range(1, SITES):
        assert torch.allclose(table[:j, j], whole[j, 1 : j + 1], atol=1e-7)


def test_contributions_of_what_is_read_add_up_to_the_change_of_each_prediction(deep):
    x = copied(6, 8)
    read = deep.embedded(x)
    baseline = read.clone()
    baseline[:, 1:] = deep.model.transformer.wte.weight[:3].mean(0)
    at, base = (deep.log_next(ends).gather(-1, x[..., None])[..., 0] for ends in (read, baseline))
    told = reading_contributions(deep, x)
    assert float((at - base).abs().max()) > 0.5
    assert torch.allclose(told.sum(-1), at - base, atol=2e-6)
    assert not told[:, :, 0].any(), "the start is what it is at the baseline"
    assert not told.triu(1).any(), "what is read later says nothing of an earlier symbol"
    few, more = (float((reading_contributions(deep, x, n).sum(-1) - at + base).abs().max()) for n in (4, 8))
    assert more < few / 10


def test_the_map_of_integrated_gradients_is_close_to_that_of_many_nodes(gpt):
    x = copied(60, 9)
    few, many = (integrated_gradients_map(gpt, x, nodes) for nodes in (12, 100))
    assert float((few - many).abs().max()) < 0.05 * float(many.max())


def test_gradients_are_finite_differences_of_the_prediction(deep):
    x, step = copied(1, 10), 1e-2
    for i, j in ((0, 2), (3, 4)):
        read = deep.embedded(x)
        sizes = []
        for axis in range(8):
            up, down = read.clone(), read.clone()
            up[0, i + 1, axis] += step
            down[0, i + 1, axis] -= step
            change = [float(deep.log_next(ends)[0, j, x[0, j]]) for ends in (up, down)]
            sizes.append((change[0] - change[1]) / (2 * step) * float(read[0, i + 1, axis]))
        assert float(gradient_map(deep, x)[i, j]) == pytest.approx(math.hypot(*sizes), rel=0.02)


@pytest.mark.parametrize("found", MAPS)
def test_no_strings_and_others_than_were_learned_are_refused(found, deep):
    with pytest.raises(ValueError, match="none are given; give one or more"):
        found(deep, torch.empty(0, SITES, dtype=torch.long))
    with pytest.raises(ValueError, match=r"strings of 6 symbols were learned, and shape \(2, 4\)"):
        found(deep, torch.zeros(2, 4, dtype=torch.long))
