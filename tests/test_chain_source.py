"""Distributions as trains of cores: long strings, several paths, tables and lists, and what they refuse."""

import itertools
import math

import jaxtyping
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.born.machine import BornMachine
from workbench.truth.automaton import chain_entropy, has_one_path
from workbench.truth.chain import ChainSource, uniform_cores
from workbench.truth.enumerated import TableSource, table_of
from workbench.truth.listed import ListedSource
from workbench.truth.parity import even_parity
from workbench.truth.source import Description
from workbench.truth.state import StateSource, ghz
from workbench.truth.strings import check_alphabet, draw, numbered_strings, string_numbers, table_entropy

SOME = Description("some chain", "", "drawn")


def random_chain(n_sites: int, states: int = 3, symbols: int = 2, seed: int = 0) -> ChainSource:
    generator = torch.Generator().manual_seed(seed)
    step = torch.rand(states, symbols, states, dtype=torch.float64, generator=generator)
    start, stop = torch.rand(2, states, dtype=torch.float64, generator=generator)
    alphabet = tuple("abcdefg"[:symbols])
    return ChainSource(uniform_cores(step, n_sites, start, stop), alphabet, SOME)


def even_process(n_sites: int) -> ChainSource:
    """Ones come in pairs: a string of ones alone may have begun in either state, so it has two paths."""
    step = torch.zeros(2, 2, 2, dtype=torch.float64)
    step[0, 0, 0] = step[0, 1, 1] = 0.5
    step[1, 1, 0] = 1
    start, stop = torch.tensor([[2 / 3, 1 / 3], [1, 1]], dtype=torch.float64)
    return ChainSource(uniform_cores(step, n_sites, start, stop), ("0", "1"), SOME, rate=2 / 3 * math.log(2))


def test_log_prob_and_samples_of_a_thousand_sites_are_finite_and_agree_with_the_entropy():
    source = random_chain(1000, states=2)
    drawn = source.sample(200, torch.Generator().manual_seed(0))
    log_p = source.log_prob(drawn)
    assert bool(torch.isfinite(log_p).all())
    product = torch.ones(1, 1, dtype=torch.float64)
    log_scale = 0.0
    for core, symbol in zip(source.cores, drawn[0], strict=True):
        product = product @ core[:, symbol]
        log_scale += math.log(float(product.sum()))
        product = product / product.sum()
    assert float(log_p[0]) == pytest.approx(log_scale - source.log_partition, rel=1e-11)
    spread = float(log_p.std()) / math.sqrt(200)
    shorter = random_chain(14, states=2), random_chain(15, states=2)
    per_symbol = shorter[1].entropy() - shorter[0].entropy()
    assert -float(log_p.mean()) == pytest.approx(1000 * per_symbol, abs=4 * spread + 2)


def test_weights_far_out_of_the_range_of_numbers_are_no_matter():
    cores = list(random_chain(50).cores)
    scaled = [core * 10.0 ** (300 if k % 2 else -300) for k, core in enumerate(cores)]
    source, plain = ChainSource(tuple(scaled), ("a", "b"), SOME), random_chain(50)
    x = plain.sample(20, torch.Generator().manual_seed(0))
    assert torch.allclose(source.log_prob(x), plain.log_prob(x), rtol=1e-11)
    assert source.log_partition == pytest.approx(plain.log_partition)


@settings(max_examples=40)
@given(st.integers(0, 10**6))
def test_one_path_is_what_counting_paths_says(seed):
    generator = torch.Generator().manual_seed(seed)
    step = (torch.rand(3, 2, 3, generator=generator) < 0.3).double()
    cores = uniform_cores(step, 4, torch.eye(3, dtype=torch.float64)[0], torch.ones(3, dtype=torch.float64))
    paths = torch.ones(1, 1, dtype=torch.float64)  # how many each string has
    for core in cores:
        paths = torch.tensordot(paths, (core > 0).double(), dims=1).flatten(0, 1)
    if float(paths.sum()) == 0:
        return
    source = ChainSource(cores, ("0", "1"), SOME)
    assert has_one_path(source.steps) == bool((paths <= 1).all())
    if has_one_path(source.steps):
        assert chain_entropy(source.steps) == pytest.approx(table_entropy(table_of(source)), abs=1e-12)


def test_beliefs_that_come_again_keep_long_strings_exact():
    short, long = even_process(10), even_process(300)
    assert not has_one_path(short.steps)
    assert short.entropy() == pytest.approx(table_entropy(table_of(short)), abs=1e-12)
    assert long.position_entropies()[:10].tolist() == pytest.approx(short.position_entropies().tolist())
    assert float(long.position_entropies()[-1]) == pytest.approx(long.entropy_rate(), abs=1e-12)
    assert long.entropy() == pytest.approx(float(long.position_entropies().sum()))


def test_position_entropies_are_differences_of_the_entropies_of_beginnings():
    source = random_chain(8, symbols=3)
    ends = [table_entropy(source.marginal(range(k))) for k in range(9)]
    assert source.position_entropies().tolist() == pytest.approx([b - a for a, b in itertools.pairwise(ends)])


def test_ten_thousand_strings_of_64_sites_are_drawn_by_their_marginals():
    source = random_chain(64, states=4)
    drawn = source.sample(10_000, torch.Generator().manual_seed(0))
    for k in (0, 31, 63):
        assert float(drawn[:, k].double().mean()) == pytest.approx(float(source.marginal((k,))[1]), abs=0.02)


@given(st.lists(st.sampled_from([0.0, 0.1, 1.0, 3.0]), min_size=1, max_size=5).filter(any), st.integers(0, 1000))
def test_a_draw_never_falls_on_what_has_no_share(shares, seed):
    rows = torch.tensor([shares] * 50, dtype=torch.float64)
    drawn = draw(rows, torch.Generator().manual_seed(seed))
    assert bool((rows[0, drawn] > 0).all())


@given(st.integers(1, 4), st.integers(1, 5))
def test_strings_are_numbered_as_they_are_ordered(n_symbols, n_sites):
    strings = numbered_strings(torch.arange(n_symbols**n_sites), n_sites, n_symbols)
    assert sorted(strings.tolist()) == strings.tolist()
    assert string_numbers(strings, n_symbols).tolist() == list(range(n_symbols**n_sites))


def test_a_table_of_a_chain_is_the_same_source():
    chain = random_chain(5, symbols=3)
    table = TableSource.of_probabilities(table_of(chain) * 7, chain.alphabet, SOME)
    x = torch.randint(0, 3, (30, 5))
    assert torch.allclose(table.log_prob(x), chain.log_prob(x))
    assert table.bond_dims() == chain.bond_dims()


def test_signs_of_amplitudes_change_the_train_and_not_the_strings():
    table = torch.rand(2, 2, 2, 2, dtype=torch.float64)
    signs = torch.where(torch.rand(2, 2, 2, 2) < 0.5, -1, 1)
    signed, plain = TableSource(table * signs, ("0", "1"), SOME), TableSource(table, ("0", "1"), SOME)
    assert torch.equal(signed.table, plain.table)
    assert torch.allclose(signed.mps().dense() * table.norm(), table * signs)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda cores: [cores[0] * math.nan, *cores[1:]], r"the core 0 of shape \(1, 2, 3\) holds 6 non-finite values"),
        (lambda cores: [*cores[:3], -cores[3]], r"core 3 holds -1\.11; weights of a chain are 0 or more"),
        (lambda cores: [cores[0], cores[1] * 0, *cores[2:]], "no string has a probability above 0"),
        (lambda cores: [cores[0].float(), *cores[1:]], r"core 0 is torch.float32; known truth is held in float64"),
        (lambda cores: [*cores[:2], torch.ones(3, 4, 3).double(), cores[3]], "core 2 has 4 symbols, but the alp"),
        (lambda cores: cores[:3], "one or more cores and ends in a bond of 1; here 3 end in 3"),
    ],
)  # fmt: skip
def test_cores_that_are_no_distribution_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        ChainSource(tuple(change(list(random_chain(4).cores))), ("a", "b"), SOME)


def test_a_generalised_chain_that_is_no_distribution_is_found_out():
    step = torch.tensor([[[1.0], [-0.25]]], dtype=torch.float64)
    one = torch.ones(1, dtype=torch.float64)
    source = ChainSource(uniform_cores(step, 3, one, one), ("0", "1"), SOME, generalised=True)
    with pytest.raises(ValueError, match=r"some chain give a probability of -0\.333"):
        source.log_prob(torch.tensor([[0, 0, 1]]))
    with pytest.raises(ValueError, match="no string has a probability above 0"):
        ChainSource(uniform_cores(-step, 3, one, one), ("0", "1"), SOME, generalised=True)


def test_what_a_generalised_chain_excludes_is_impossible_despite_rounding():
    single = ghz(6, "x").machine.train.cores
    cores = [torch.einsum("asb,csd->acsbd", core, core).flatten(0, 1).flatten(2, 3) for core in single]
    source = ChainSource(tuple(cores), ("0", "1"), SOME, generalised=True)
    strings = numbered_strings(torch.arange(2**6), 6, 2)
    odd = strings.sum(1) % 2 == 1
    assert set(source.log_prob(strings[odd]).tolist()) == {-math.inf}
    assert source.log_prob(strings[~odd]).tolist() == pytest.approx([-5 * math.log(2)] * 32)


def test_what_is_too_many_to_enumerate_is_refused_with_the_size_and_what_to_do():
    with pytest.raises(
        ValueError, match=r"25 sites of 2 symbols make 2\^25 strings, more than the 2\^24 .* fewer sites"
    ):
        table_of(even_parity(25))
    with pytest.raises(ValueError, match=r"16 sites of 3 symbols make 3\^16 strings.*; give fewer sites, or count in"):
        random_chain(20, symbols=3).marginal(range(16))
    with pytest.raises(ValueError, match=r"at site 13 of 30 takes 3\.83e\+07 numbers, more than 2\^24; give fewer"):
        random_chain(30, states=8, symbols=3).entropy()
    with pytest.raises(
        ValueError, match=r"make 2\^21 strings, more than the 2\^20 .* several paths is only found for few"
    ):
        random_chain(21).mps()


def test_a_table_that_is_no_distribution_is_refused(monkeypatch):
    for table, message in [
        (torch.rand(2, 3).double(), r"an alphabet of 2 has an axis of that size a site, not shape \(2, 3\)"),
        (torch.zeros(2, 2).double(), "all zeros"),
        (torch.ones(2, 2), "the table is torch.float32"),
        (torch.full((2, 2), math.inf).double(), "holds 4 non-finite values"),
    ]:
        with pytest.raises(ValueError, match=message):
            TableSource(table, ("0", "1"), SOME)
    with pytest.raises(ValueError, match=r"the table holds -0.5; probabilities are 0 or more"):
        TableSource.of_probabilities(torch.tensor([0.7, -0.5]).double(), ("0", "1"), SOME)


def test_a_list_that_is_no_distribution_is_refused():
    strings, two = torch.tensor([[0, 1, 1], [1, 0, 0]]), torch.ones(2, dtype=torch.float64)
    for listed, weights, message in [
        (strings, torch.ones(3), r"not shape \(2, 3\) and 3 weights"),
        (strings[:, :0], two, r"not shape \(2, 0\) and 2 weights"),
        (strings, torch.tensor([1.0, 0.0]), "finite and above 0; leave out what is impossible"),
        (strings, torch.tensor([1.0, math.inf]), "finite and above 0"),
        (strings + 1, two, "holds the symbol 2, but this source has 2 symbols"),
        (strings[[0, 1, 0]], torch.ones(3), "1 of 3 strings are listed before"),
    ]:
        with jaxtyping_off(), pytest.raises(ValueError, match=message):
            ListedSource(listed, weights, ("0", "1"), SOME)


def jaxtyping_off() -> pytest.MonkeyPatch:
    """The annotations refuse wrong shapes first; without them the class's own message is seen."""
    patch = pytest.MonkeyPatch()
    patch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    return patch.context()


def test_small_things_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match=r"different symbols, not \('a', 'b', 'a'\)"):
        check_alphabet(("a", "b", "a"))
    with pytest.raises(ValueError, match="one or more sites, not 0"):
        uniform_cores(torch.ones(1, 2, 1).double(), 0, torch.ones(1).double(), torch.ones(1).double())
    three = BornMachine.from_cores([torch.ones(1, 3, 1).double()] * 2)
    with pytest.raises(ValueError, match=r"two outcomes at every site, not \(3, 3\)"):
        StateSource(three, SOME)
