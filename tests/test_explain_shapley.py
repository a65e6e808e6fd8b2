"""Shapley values beside their definition, summed over all sets of sites, and beside closed forms."""

import math
from itertools import combinations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from workbench.born.explain.seen_sites import log_marginal, log_marginals_of_subsets
from workbench.born.explain.shapley import (
    shapley_values,
    surprise_shapley,
    surprise_shapley_estimate,
    values_of_game,
)
from workbench.born.machine import BornMachine
from workbench.born.nonnegative import NonNegativeTrain
from workbench.born.purified import PurifiedTrain
from workbench.born.questions import ChainModel
from workbench.decompose.train import TensorTrain
from workbench.transformer.string_gpt import StringGPTRecipe, learn_strings
from workbench.truth.enumerated import log_table
from workbench.truth.ising_chain import ising_chain
from workbench.truth.parity import even_parity
from workbench.truth.state import ghz

few = settings(max_examples=15)
LN2 = math.log(2)
KINDS = ("born", "non-negative", "purified")


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_cores(shape: list[int], bond: int, seed: int, hidden: int = 1) -> list[Tensor]:
    """Cores (left, site, hidden, right) of numbers of both signs."""
    bonds, generator = [1, *[bond] * (len(shape) - 1), 1], seeded(seed)
    return [
        torch.randn(left, site, hidden, right, generator=generator, dtype=torch.float64)
        for left, site, right in zip(bonds[:-1], shape, bonds[1:], strict=True)
    ]


def made(kind: str, shape: list[int], bond: int, seed: int) -> ChainModel:
    cores = random_cores(shape, bond, seed, hidden=2 if kind == "purified" else 1)
    if kind == "born":
        return BornMachine.from_cores([core[:, :, 0] for core in cores])
    if kind == "non-negative":
        return NonNegativeTrain(tuple([core[:, :, 0].abs() for core in cores]))
    return PurifiedTrain.from_cores(cores)


def table_of(model: ChainModel) -> Tensor:
    return model.marginal(range(model.n_sites))


def strings(shape: list[int], n: int, seed: int) -> Tensor:
    return torch.stack([torch.randint(size, (n,), generator=seeded(seed + site)) for site, size in enumerate(shape)], 1)


def shares_of(shape: list[int], seed: int) -> list[Tensor]:
    drawn = [torch.rand(size, generator=seeded(seed + site), dtype=torch.float64) for site, size in enumerate(shape)]
    return [share / share.sum() for share in drawn]


def worth(table: Tensor, seen: set[int], string: Tensor, shares: list[Tensor]) -> float:
    """The table with this string's symbols at the seen sites, the others weighed by shares."""
    for site in reversed(range(table.ndim)):
        picked = table.select(site, int(string[site]))
        table = picked if site in seen else torch.tensordot(table, shares[site], dims=([site], [0]))
    return float(table)


def by_definition(value, n_sites: int) -> Tensor:
    """The Shapley values of v, a function of sets, as the sum over sets that defines them."""
    found = torch.zeros(n_sites, dtype=torch.float64)
    for site in range(n_sites):
        others = [other for other in range(n_sites) if other != site]
        for size in range(n_sites):
            share = math.factorial(size) * math.factorial(n_sites - size - 1) / math.factorial(n_sites)
            for seen in combinations(others, size):
                found[site] += share * (value({*seen, site}) - value({*seen}))
    return found


def of_function(table: Tensor, x: Tensor, shares: list[Tensor]) -> Tensor:
    rows = [by_definition(lambda seen, row=row: worth(table, seen, row, shares), table.ndim) for row in x]
    return torch.stack(rows)


def of_surprise(table: Tensor, x: Tensor) -> Tensor:
    ones = [table.new_ones(size) for size in table.shape]
    rows = [by_definition(lambda seen, row=row: -math.log(worth(table, seen, row, ones)), table.ndim) for row in x]
    return torch.stack(rows)


shapes = st.integers(1, 6).flatmap(lambda n: st.lists(st.integers(2, 3), min_size=n, max_size=n))


@few
@given(shapes, st.integers(1, 4), st.integers(0, 10**6))
def test_values_of_a_train_of_any_sign_are_those_of_the_definition(shape, bond, seed):
    train = TensorTrain.from_cores([core[:, :, 0] for core in random_cores(shape, bond, seed)])
    x, shares = strings(shape, 2, seed), shares_of(shape, seed)
    expected = of_function(train.dense(), x, shares)
    scale = float(expected.abs().max()) + 1
    assert torch.allclose(shapley_values(train, x, shares), expected, atol=1e-12 * scale, rtol=0)
    assert torch.allclose(shapley_values(train.dense(), x, shares), expected, atol=1e-12 * scale, rtol=0)


@few
@given(st.sampled_from(KINDS), shapes, st.integers(1, 4), st.integers(0, 10**6))
def test_values_of_a_probability_are_those_of_the_definition(kind, shape, bond, seed):
    model, x = made(kind, shape, bond, seed), strings(shape, 2, seed)
    uniform = [torch.full((size,), 1 / size, dtype=torch.float64) for size in shape]
    assert torch.allclose(shapley_values(model, x), of_function(table_of(model), x, uniform), atol=1e-12, rtol=0)


@few
@given(st.sampled_from(KINDS), shapes, st.integers(1, 4), st.integers(0, 10**6))
def test_values_of_a_surprise_are_those_of_the_definition(kind, shape, bond, seed):
    model = made(kind, shape, bond, seed)
    x, table = model.sample(2, seeded(seed)), table_of(model)
    expected = of_surprise(table, x)
    assert torch.allclose(surprise_shapley(model, x), expected, atol=1e-10, rtol=0)
    assert torch.allclose(surprise_shapley(3 * table, x), expected, atol=1e-10, rtol=0)


@pytest.mark.parametrize("n_sites", [3, 5, 7, 8])
def test_odd_and_even_numbers_of_sites_agree_with_the_definition_to_ten_digits(n_sites):
    shape = [2, 3, 2, 2, 2, 3, 2, 2][:n_sites]
    model = made("born", shape, 3, 5)
    x, shares = model.sample(1, seeded()), shares_of(shape, 1)
    assert torch.allclose(surprise_shapley(model, x), of_surprise(table_of(model), x), atol=1e-10, rtol=0)
    expected = of_function(table_of(model), x, shares)
    assert torch.allclose(shapley_values(model, x, shares), expected, atol=1e-10, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_the_values_of_twelve_sites_sum_to_what_the_whole_string_is_worth(kind):
    shape = [2, 3] * 6
    model = made(kind, shape, 4, 2)
    x, shares = model.sample(20, seeded()), shares_of(shape, 3)
    table = table_of(model)
    mean = worth(table, set(), x[0], shares)
    log_p = model.log_prob(x)
    assert torch.allclose(surprise_shapley(model, x).sum(1), -log_p, atol=1e-11, rtol=0)
    for function in (model, table):
        totals = shapley_values(function, x, shares).sum(1)
        assert torch.allclose(totals, log_p.exp() - mean, atol=1e-14, rtol=1e-10)


def test_a_string_of_1000_sites_has_values_that_sum_to_its_own_less_the_mean():
    cores = [torch.ones(1, 3, 1, dtype=torch.float64) for _ in range(1000)]
    for core in cores[:500]:
        core *= torch.tensor([1.0, 1.01, 0.99], dtype=torch.float64)[:, None]  # a mean of 1 at each site
    x = strings([3] * 1000, 4, 0)
    train = TensorTrain.from_cores(cores)
    values = shapley_values(train, x)
    assert float(values[:, 500:].abs().max()) < 1e-12
    entries = torch.stack([train.entry(row.tolist()) for row in x])
    assert torch.allclose(values.sum(1), entries - 1, rtol=1e-8, atol=1e-9)


def test_a_sum_of_functions_of_one_site_each_gives_each_site_its_own_less_its_mean():
    # [1, f] at the first site, [[1, f], [0, 1]] between, [f, 1] at the last: the train of a sum.
    parts = [torch.randn(3, generator=seeded(k), dtype=torch.float64) for k in range(9)]
    cores = []
    for part in parts:
        core = torch.zeros(2, 3, 2, dtype=torch.float64)
        core[0, :, 0] = core[1, :, 1] = 1
        core[0, :, 1] = part
        cores.append(core)
    cores[0], cores[-1] = cores[0][:1], cores[-1][:, :, 1:]
    x, shares = strings([3] * 9, 5, 2), shares_of([3] * 9, 7)
    expected = [part[own] - share @ part for part, own, share in zip(parts, x.T, shares, strict=True)]
    assert torch.allclose(
        shapley_values(TensorTrain.from_cores(cores), x, shares), torch.stack(expected, 1), atol=1e-12
    )


def test_independent_sites_have_their_own_surprises():
    shares = shares_of([3] * 7, 4)
    model = NonNegativeTrain(tuple([share[None, :, None] for share in shares]))
    x = model.sample(6, seeded())
    own = torch.stack([-share[symbols].log() for share, symbols in zip(shares, x.T, strict=True)], 1)
    assert torch.allclose(surprise_shapley(model, x), own, atol=1e-12)


def test_the_sites_of_a_parity_share_what_is_known_evenly():
    source = even_parity(9)
    values = surprise_shapley(BornMachine(source.mps()), source.sample(4, seeded()))
    assert torch.allclose(values, torch.full((4, 9), 8 / 9 * LN2, dtype=torch.float64), atol=1e-12)


def test_the_sites_of_a_cat_state_share_one_bit():
    values = surprise_shapley(BornMachine(ghz(8).mps()), torch.tensor([[0] * 8, [1] * 8]))
    assert torch.allclose(values, torch.full((2, 8), LN2 / 8, dtype=torch.float64), atol=1e-12)


def test_sixteen_sites_are_told_as_by_their_table():
    model = made("born", [2] * 16, 16, 3)
    x = model.sample(2, seeded())
    assert torch.allclose(surprise_shapley(model, x), surprise_shapley(table_of(model), x), atol=1e-10)


def test_a_transformer_is_explained_by_its_table_beside_the_truth():
    source = ising_chain(8, 0.8)
    x = source.sample(400, seeded())
    gpt = learn_strings(x, 2, StringGPTRecipe(d_model=8, n_layers=1, steps=150))
    truth = source.marginal(range(8))
    guessed, true = (surprise_shapley(table, x[:50]) for table in (log_table(gpt, 2, 8).exp(), truth))
    assert torch.allclose(guessed.sum(1), -gpt.log_prob(x[:50]).double(), atol=1e-5)
    untrained = surprise_shapley(log_table(gpt.untrained(0), 2, 8).exp(), x[:50])
    assert float((guessed - true).abs().mean()) < 0.5 * float((untrained - true).abs().mean())


@pytest.mark.parametrize("kind", KINDS)
def test_an_estimate_is_unbiased_and_its_errors_are_those_it_states(kind):
    model = made(kind, [2, 3, 2, 2, 3, 2, 2], 3, 8)
    x = model.sample(30, seeded(1))
    estimate = surprise_shapley_estimate(model, x, 60, seeded(2))
    exact = surprise_shapley(model, x)
    assert torch.allclose(estimate.values.sum(1), -model.log_prob(x), atol=1e-10)
    scores = (estimate.values - exact) / estimate.standard_errors
    assert abs(float(scores.mean())) < 0.2
    assert 0.8 < float(scores.square().mean()) < 1.2
    assert estimate.n_orders == 60


def test_the_error_of_an_estimate_falls_with_the_root_of_the_orders():
    model = made("non-negative", [2] * 9, 3, 8)
    x = model.sample(5, seeded())
    errors = [float(surprise_shapley_estimate(model, x, n, seeded(3)).standard_errors.mean()) for n in (40, 160, 640)]
    slope = math.log(errors[2] / errors[0]) / math.log(16)
    assert slope == pytest.approx(-0.5, abs=0.05)


def test_an_estimate_reaches_strings_too_long_for_all_sets():
    machine = BornMachine.random([2] * 40, 4, seeded())
    x = machine.sample(2, seeded())
    estimate = surprise_shapley_estimate(machine, x, 3, seeded())
    assert torch.allclose(estimate.values.sum(1), -machine.log_prob(x), atol=1e-10)


@few
@given(st.sampled_from(KINDS), shapes, st.integers(1, 4), st.integers(0, 10**6))
def test_the_seen_symbols_have_the_probability_that_their_marginal_says(kind, shape, bond, seed):
    model, x = made(kind, shape, bond, seed), strings(shape, 3, seed)
    table, ones = table_of(model), [torch.ones(size, dtype=torch.float64) for size in shape]
    seen = torch.randint(2, x.shape, generator=seeded(seed)).bool()
    expected = [worth(table, set(mask.nonzero()[:, 0].tolist()), row, ones) for row, mask in zip(x, seen, strict=True)]
    assert torch.allclose(log_marginal(model, x, seen).exp(), torch.tensor(expected, dtype=torch.float64), atol=1e-12)
    every = log_marginals_of_subsets(model, x)
    places = seen.long() @ (2 ** torch.arange(len(shape)).flip(0))
    assert torch.allclose(every[range(3), places], log_marginal(model, x, seen), atol=1e-10)


def test_one_row_of_seen_sites_is_for_all_strings():
    model = made("born", [2, 3, 2], 2, 0)
    x, seen = strings([2, 3, 2], 4, 0), torch.tensor([[True, False, True]])
    assert torch.equal(log_marginal(model, x, seen), log_marginal(model, x, seen.expand(4, -1)))


def test_symbols_that_no_string_has_together_are_excluded():
    machine, x = BornMachine(ghz(5).mps()), torch.tensor([[0, 1, 0, 0, 0]])
    assert log_marginal(machine, x, torch.tensor([[True, True, False, False, False]])) == -torch.inf
    assert float(log_marginal(machine, x, torch.tensor([[True, False, True, False, False]]))) == pytest.approx(-LN2)
    for model in (machine, table_of(machine)):
        with pytest.raises(ValueError, match="string 1 has no probability, so its surprise is infinite"):
            surprise_shapley(model, torch.tensor([[0, 0, 0, 0, 0], [0, 1, 0, 0, 0]]))
    with pytest.raises(ValueError, match="string 0 has no probability"):
        surprise_shapley_estimate(machine, x, 3, seeded())


def test_what_rounding_makes_of_an_exact_zero_counts_as_zero():
    train = BornMachine(even_parity(6).mps()).train
    turn = torch.linalg.qr(torch.randn(2, 2, generator=seeded(), dtype=torch.float64))[0]
    cores = [torch.einsum("ab,bic,dc->aid", turn, core, turn) for core in train.cores[1:-1]]
    cores = [torch.einsum("bic,dc->bid", train.cores[0], turn), *cores, torch.tensordot(turn, train.cores[-1], dims=1)]
    odd = torch.tensor([[0, 0, 0, 0, 0, 1], [1, 1, 1, 0, 0, 0]])
    machine = BornMachine.from_cores(cores)
    assert torch.equal(log_marginal(machine, odd, torch.ones(1, 6, dtype=torch.bool)), machine.log_prob(odd))
    assert log_marginals_of_subsets(machine, odd)[:, -1].tolist() == [-math.inf] * 2


def test_no_strings_have_no_values():
    model = made("born", [2, 3, 2], 2, 0)
    none = torch.zeros(0, 3, dtype=torch.int64)
    for values in (
        shapley_values(model, none), surprise_shapley(model, none), surprise_shapley(table_of(model), none),
        surprise_shapley_estimate(model, none, 2, seeded()).values,
    ):  # fmt: skip
        assert values.shape == (0, 3)


def test_a_game_of_two_sites_is_shared_as_by_hand():
    game = torch.tensor([[1.0, 4.0, 6.0, 13.0]], dtype=torch.float64)  # none, the second, the first, both
    assert values_of_game(game).tolist() == [[(5 + 9) / 2, (3 + 7) / 2]]


def test_bad_input_is_refused():
    model = made("born", [2, 3, 2], 2, 0)
    x, table = strings([2, 3, 2], 4, 0), table_of(made("born", [2, 3, 2], 2, 0))
    with pytest.raises(ValueError, match=r"strings of this function have 3 symbols, a row each, not \(4, 2\)"):
        shapley_values(table, x[:, :2])
    with pytest.raises(ValueError, match="string 1 has the symbol 3 at site 1, which has 3 symbols, 0 to 2 by number"):
        surprise_shapley(table, torch.tensor([[0, 0, 0], [0, 3, 0]]))
    with pytest.raises(ValueError, match=r"shares of \[2, 3, 2\] symbols, site by site, not of \[2, 2\]"):
        shapley_values(model, x, shares_of([2, 2], 0))
    with pytest.raises(ValueError, match=r"background at site 1 is no distribution: its shares are \[0.5, 0.5, 0.5\]"):
        shapley_values(model, x, [torch.full((size,), 0.5, dtype=torch.float64) for size in (2, 3, 2)])
    with pytest.raises(ValueError, match=r"the table is torch.float32; .* convert it by .double\(\)"):
        shapley_values(table.float(), x)
    with pytest.raises(ValueError, match=r"the train is torch\.float32"):
        shapley_values(TensorTrain.from_dense(table.float()), x)
    with pytest.raises(ValueError, match="numbers from -1 to 2; weights of strings are finite, 0 or more"):
        surprise_shapley(torch.tensor([-1.0, 2.0], dtype=torch.float64), torch.tensor([[0]]))
    with pytest.raises(
        ValueError, match="21 sites have 2\\^21 sets, more than the 2\\^20 looked at; estimate from random"
    ):
        surprise_shapley(BornMachine.random([2] * 21, 2, seeded()), torch.zeros(1, 21, dtype=torch.int64))
    with pytest.raises(ValueError, match="needs 2 or more orders, not 1"):
        surprise_shapley_estimate(model, x, 1, seeded())
    with pytest.raises(ValueError, match="2\\^N sets, and a game gives each a value; 6 are none of 2, 4, 8"):
        values_of_game(torch.zeros(1, 6, dtype=torch.float64))
    with pytest.raises(ValueError, match=r"for all 4 strings or one each, of 3 sites, not by shape \(2, 3\)"):
        log_marginal(model, x, torch.ones(2, 3, dtype=torch.bool))
