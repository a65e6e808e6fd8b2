"""Direct dependence beside conditional tables one by one, the graphs it recovers, and its estimate beside it."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from test_explain_pairs import LN2, SOURCES, made, random_cores, specs
from torch import Tensor

from workbench.born.explain.direct import direct_dependence, direct_dependence_estimate
from workbench.born.machine import BornMachine
from workbench.born.nonnegative import NonNegativeTrain
from workbench.born.purified import PurifiedTrain
from workbench.truth.enumerated import log_table, table_of
from workbench.truth.ising_chain import ising_chain
from workbench.truth.ising_torus import IsingTorus
from workbench.truth.parity import hidden_parity, modular_addition
from workbench.truth.strings import table_entropy, table_information
from workbench.truth.words import motzkin

few = settings(max_examples=20)


def conditional_information(table: Tensor, i: int, j: int) -> float:
    """The information of two sites in each context of the others, weighed: the definition."""
    others = [site for site in range(table.ndim) if site not in (i, j)]
    contexts = table.permute([*others, i, j]).reshape(-1, table.shape[i], table.shape[j])
    return sum(float(pair.sum()) * table_information(pair / pair.sum()) for pair in contexts if float(pair.sum()) > 0)


def assert_is_its_definition(table: Tensor) -> None:
    found = direct_dependence(table)
    for i, j in itertools.permutations(range(table.ndim), 2):
        assert float(found[i, j]) == pytest.approx(conditional_information(table, i, j), abs=1e-10)
    for i in range(table.ndim):
        known = table_entropy(table) - table_entropy(table.sum(i))
        assert float(found[i, i]) == pytest.approx(known, abs=1e-10)


@pytest.mark.parametrize("name", [name for name in SOURCES if name not in ("hidden parity", "Ising torus")])
def test_direct_dependence_of_a_source_is_its_definition(name):
    assert_is_its_definition(table_of(SOURCES[name]()))


@few
@given(specs)
def test_direct_dependence_of_a_model_is_its_definition(spec):
    model = made(spec)
    assert_is_its_definition(log_table(model, model.shape[0], model.n_sites).exp())


def test_the_subset_of_a_hidden_parity_is_recovered():
    inside = torch.zeros(12, dtype=torch.float64)
    inside[[1, 4, 6, 9]] = 1
    ties = LN2 * inside[:, None] * inside
    found = direct_dependence(table_of(hidden_parity(12, (1, 4, 6, 9))))
    free = LN2 * (1 - inside)  # a bit outside is open when all others are known, one inside is not
    assert torch.allclose(found, ties.fill_diagonal_(0) + torch.diag(free), atol=1e-12)
    numbers = direct_dependence(table_of(modular_addition(5)))
    assert torch.allclose(numbers, math.log(5) * (1 - torch.eye(3, dtype=torch.float64)), atol=1e-12)


def test_the_graph_of_a_positive_field_is_recovered():
    for source, linked in [
        (ising_chain(8, 0.5, 0.3), lambda i, j: abs(i - j) == 1),
        (ising_chain(8, -0.7, periodic=True), lambda i, j: abs(i - j) in (1, 7)),
        (IsingTorus(3, 4, 0.3), lambda i, j: on_torus(i, j, 3, 4)),
    ]:
        found = direct_dependence(table_of(source))
        for i, j in itertools.combinations(range(source.n_sites), 2):
            assert (float(found[i, j]) > 1e-3) == linked(i, j)
            assert linked(i, j) or float(found[i, j]) < 1e-12


def on_torus(i: int, j: int, rows: int, columns: int) -> bool:
    down, along = abs(i // columns - j // columns), abs(i % columns - j % columns)
    return (min(down, rows - down), min(along, columns - along)) in ((0, 1), (1, 0))


def test_renaming_symbols_and_sites_renames_the_map():
    table = table_of(motzkin(6))
    order = [3, 0, 5, 2, 4, 1]
    found = direct_dependence(table.flip(2).permute(order))
    assert torch.allclose(found, direct_dependence(table)[order][:, order], atol=1e-12)


KINDS = {
    "born": lambda: BornMachine.from_cores([core[:, :, 0] for core in random_cores([2] * 6, 3, 1)]),
    "non-negative": lambda: NonNegativeTrain(tuple([core[:, :, 0].abs() for core in random_cores([3] * 5, 3, 2)])),
    "purified": lambda: PurifiedTrain.from_cores(random_cores([2] * 6, 3, 3, hidden=2)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_estimate_is_within_its_error_and_the_error_falls_as_the_root_of_n(kind):
    model = KINDS[kind]()
    exact = direct_dependence(log_table(model, model.shape[0], model.n_sites).exp())
    few_strings, many = (direct_dependence_estimate(model, n, torch.Generator().manual_seed(5)) for n in (1000, 16000))
    for mean, error in (few_strings, many):
        assert torch.equal(mean, mean.T)
        assert float(((mean - exact) / error).abs().max()) < 4.5  # of 36 entries: once in 4000 runs by chance
    assert float((few_strings[1] / many[1]).log2().mean()) == pytest.approx(2, abs=0.2)


def test_the_estimate_of_a_parity_is_exact_for_any_strings():
    machine = BornMachine(hidden_parity(40, (2, 17, 31)).mps())
    mean, error = direct_dependence_estimate(machine, 4, torch.Generator().manual_seed(0))
    inside = torch.zeros(40, dtype=torch.float64)
    inside[[2, 17, 31]] = 1
    expected = (LN2 * inside[:, None] * inside).fill_diagonal_(0) + torch.diag(LN2 * (1 - inside))
    assert torch.allclose(mean, expected, atol=1e-12)
    assert float(error.max()) < 1e-12


@pytest.mark.parametrize("scale", [1e-15, 1e15])
def test_the_estimate_of_a_long_line_is_that_of_its_links(scale):
    short = direct_dependence(table_of(ising_chain(9, 0.5)))
    model = NonNegativeTrain(tuple([core * scale for core in ising_chain(100, 0.5).cores]))
    mean, error = direct_dependence_estimate(model, 60, torch.Generator().manual_seed(1))
    assert abs(float(mean[60, 61] - short[4, 5])) < 4 * float(error[60, 61])
    assert float(error[60, 61]) < 0.02
    assert float(mean[60, 62:].max()) < 1e-25  # two spins that share no link are independent in every context


def test_long_strings_and_many_of_them_go_in_parts():
    machine = KINDS["born"]()
    whole = direct_dependence_estimate(machine, 50, torch.Generator().manual_seed(2))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("workbench.born.explain.direct._NUMBERS", 400)
        parts = direct_dependence_estimate(machine, 50, torch.Generator().manual_seed(2))
    assert torch.allclose(whole[0], parts[0], atol=1e-13)
    assert torch.allclose(whole[1], parts[1], atol=1e-13)


def test_tables_and_numbers_of_strings_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="site 1 has 4 symbols, but site 0 has 3"):
        direct_dependence(torch.full((3, 4), 1 / 12, dtype=torch.float64))
    with pytest.raises(ValueError, match=r"make 2\^21 strings, more than the 2\^20 that are enumerated; estimate it"):
        direct_dependence(torch.zeros([2] * 21))
    with pytest.raises(ValueError, match=r"the table sums to 3 and its least entry is 0\.25"):
        direct_dependence(torch.full((2, 2, 3), 0.25, dtype=torch.float64)[:, :, :2] * torch.tensor([1.0, 2.0]))
    with pytest.raises(ValueError, match=r"the table sums to 1 and its least entry is -0\.5"):
        direct_dependence(torch.tensor([[1.0, 0.5], [0.0, -0.5]]))
    with pytest.raises(ValueError, match="the table sums to nan"):
        direct_dependence(torch.full((2, 2), math.nan))
    with pytest.raises(ValueError, match="a table of no sites has no pairs"):
        direct_dependence(torch.tensor(1.0))
    with pytest.raises(ValueError, match="a standard error is of two or more strings, not 1"):
        direct_dependence_estimate(KINDS["born"](), 1, torch.Generator())
    uneven = BornMachine.from_cores([core[:, :, 0] for core in random_cores([3, 3, 4], 2, 0)])
    with pytest.raises(ValueError, match="site 2 has 4 symbols, but site 0 has 3"):
        direct_dependence_estimate(uneven, 5, torch.Generator())
