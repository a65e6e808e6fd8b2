"""Surprises of single symbols: a chain's beside its table's, and a corrupted symbol found among sound ones."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from workbench.born.explain.anomaly import site_marginals, site_surprises
from workbench.born.machine import BornMachine
from workbench.born.nonnegative import NonNegativeTrain
from workbench.born.purified import PurifiedTrain
from workbench.born.questions import ChainModel
from workbench.truth.ising_chain import ising_chain
from workbench.truth.parity import even_parity
from workbench.truth.processes import mess3
from workbench.truth.state import ghz
from workbench.truth.strings import numbered_strings

few = settings(max_examples=15)
LN2 = math.log(2)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def made(kind: str, shape: list[int], seed: int) -> ChainModel:
    """Of bond 3, with numbers of both signs where the kind allows them."""
    if kind == "non-negative":
        return NonNegativeTrain.random(shape, 3, seeded(seed))
    bonds, hidden = [1, *[3] * (len(shape) - 1), 1], 2 if kind == "purified" else 1
    cores = [
        torch.randn(bonds[k], size, hidden, bonds[k + 1], generator=seeded(seed + k), dtype=torch.float64)
        for k, size in enumerate(shape)
    ]
    if kind == "born":
        return BornMachine.from_cores([core[:, :, 0] for core in cores])
    return PurifiedTrain.from_cores(cores)


@few
@given(
    st.sampled_from(["born", "non-negative", "purified"]),
    st.lists(st.integers(2, 3), min_size=1, max_size=6),
    st.integers(0, 10**6),
)
def test_a_chain_says_what_its_conditionals_and_its_table_say(kind, shape, seed):
    model = made(kind, shape, seed)
    x = model.sample(3, seeded(seed))
    found = site_surprises(model, x)
    for row, string in enumerate(x.tolist()):
        for site, symbol in enumerate(string):
            others = {k: other for k, other in enumerate(string) if k != site}
            before = {k: other for k, other in others.items() if k < site}
            for given_, surprise in (({}, found.alone), (before, found.given_before), (others, found.given_others)):
                expected = -math.log(model.conditional(given_, (site,))[symbol])
                assert float(surprise[row, site]) == pytest.approx(expected, abs=1e-9)
    for site in range(len(shape)):
        single = model.marginal((site,))
        assert torch.allclose(site_marginals(model)[site], single, atol=1e-13)
        assert float(found.entropies[site]) == pytest.approx(-float(single @ single.log()), abs=1e-12)
    by_table = site_surprises(5 * model.marginal(range(len(shape))), x)
    for name in ("alone", "given_before", "given_others", "entropies"):
        assert torch.allclose(getattr(by_table, name), getattr(found, name), atol=1e-9)


def test_what_comes_after_what_sums_to_the_surprise_of_the_string():
    machine = BornMachine.random([2] * 70, 8, seeded())
    x = machine.sample(9, seeded())
    assert torch.allclose(site_surprises(machine, x).given_before.sum(1), -machine.log_prob(x), atol=1e-10)


def test_the_entropy_of_a_site_is_the_mean_of_its_surprise():
    source = mess3().source(5)
    x = source.sample(20_000, seeded())
    found = site_surprises(source.marginal(range(5)), x)
    assert torch.allclose(found.alone.mean(0), found.entropies, atol=0.02)


def test_what_cannot_be_is_infinite_and_between_what_cannot_be_nothing_is_known():
    machine = BornMachine(ghz(4).mps())
    x = torch.tensor([[0, 0, 0, 0], [0, 1, 0, 0], [0, 1, 1, 0]])
    inf, nan = math.inf, math.nan
    before = [[LN2, 0, 0, 0], [LN2, inf, nan, nan], [LN2, inf, nan, nan]]
    others = [[0, 0, 0, 0], [nan, inf, nan, nan], [nan] * 4]
    for model in (machine, machine.marginal(range(4)), PurifiedTrain.from_cores(machine.weights.cores)):
        found = site_surprises(model, x)
        for surprise, expected in ((found.given_before, before), (found.given_others, others)):
            wanted = torch.tensor(expected, dtype=torch.float64)
            assert torch.allclose(surprise, wanted, atol=1e-12, equal_nan=True)


@pytest.mark.parametrize("source", [ghz(6), even_parity(6)], ids=["cat state", "parity"])
def test_what_rounding_makes_of_an_exact_zero_counts_as_zero(source):
    cores = list(BornMachine(source.mps()).train.cores)
    for bond, core in enumerate(cores[:-1]):  # a matrix and its inverse on each bond: zeros are sums that cancel
        matrix = torch.randn(core.shape[2], core.shape[2], generator=seeded(bond), dtype=torch.float64)
        cores[bond] = cores[bond] @ matrix
        cores[bond + 1] = torch.tensordot(torch.linalg.inv(matrix), cores[bond + 1], dims=1)
    x = numbered_strings(torch.arange(64), 6, 2)
    found = site_surprises(BornMachine.from_cores(cores), x)
    expected = site_surprises(source.marginal(range(6)), x)
    assert bool(expected.given_others.isinf().any())
    for name in ("given_before", "given_others"):
        assert torch.allclose(getattr(found, name), getattr(expected, name), atol=1e-9, equal_nan=True)


def flipped(x: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Each string with one bit inside it turned over, and where."""
    places = torch.randint(1, x.shape[1] - 1, (len(x),), generator=generator)
    corrupted = x.clone()
    corrupted[range(len(x)), places] ^= 1
    return corrupted, places


def test_the_symbol_that_was_corrupted_is_the_most_surprising_one_given_all_others():
    source = ising_chain(20, 1.2)
    corrupted, places = flipped(source.sample(500, seeded()), seeded(1))
    found = site_surprises(BornMachine(source.mps()), corrupted)
    others, before = (
        float(surprise.argmax(1).eq(places).double().mean()) for surprise in (found.given_others, found.given_before)
    )
    # Both of its bonds were broken, but for a domain wall beside it, where it has a neighbour of each kind. After it
    # comes a second surprise as large, so that those before tell it from the next in half of the strings at most.
    assert others > 0.7
    assert before < 0.5
    assert torch.allclose(found.alone, torch.full_like(found.alone, LN2))  # each spin is as likely up as down


def test_no_strings_have_no_surprises():
    machine = BornMachine.random([2, 3, 2], 2, seeded())
    for model in (machine, machine.marginal(range(3))):
        assert site_surprises(model, torch.zeros(0, 3, dtype=torch.int64)).given_others.shape == (0, 3)


def test_bad_input_is_refused():
    machine = BornMachine.random([2, 3, 2], 2, seeded())
    table = machine.marginal(range(3))
    with pytest.raises(ValueError, match=r"strings of this model have 3 symbols, a row each, not \(1, 4\)"):
        site_surprises(machine, torch.zeros(1, 4, dtype=torch.int64))
    with pytest.raises(ValueError, match="string 0 has the symbol 2 at site 0, which has 2 symbols"):
        site_surprises(table, torch.tensor([[2, 0, 0]]))
    with pytest.raises(ValueError, match=r"the table is torch.float32"):
        site_surprises(table.float(), torch.tensor([[1, 0, 0]]))
    with pytest.raises(
        ValueError, match="numbers from 0 to 0; weights of strings are finite, 0 or more, and not all 0"
    ):
        site_surprises(0 * table, torch.tensor([[1, 0, 0]]))
