"""Every source against brute force: asked for each of its strings, and summed."""

import itertools
import math

import pytest
import torch

from workbench.truth.chain import ChainSource, uniform_cores
from workbench.truth.enumerated import TableSource, table_of
from workbench.truth.ground_state import ground_state
from workbench.truth.hamiltonian import pxp, rydberg, transverse_ising
from workbench.truth.images import bars_and_stripes
from workbench.truth.ising_chain import ising_chain
from workbench.truth.ising_torus import IsingTorus
from workbench.truth.parity import even_parity, hidden_parity, modular_addition
from workbench.truth.samples import from_samples
from workbench.truth.source import Description, Source
from workbench.truth.state import cluster, ghz, w_state
from workbench.truth.strings import draw_many, table_entropy, table_information
from workbench.truth.words import dyck, motzkin


def hidden_walk() -> ChainSource:
    """A chain in which a string has several paths, and of which a few strings are impossible."""
    step = torch.rand(3, 2, 3, dtype=torch.float64)
    step[0, 1] = 0
    start, stop = torch.rand(2, 3, dtype=torch.float64)
    return ChainSource(uniform_cores(step, 6, start, stop), ("a", "b"), Description("hidden walk", "", "drawn"))


def doubled_w() -> ChainSource:
    """The W state as a generalised chain, whose cores have both signs."""
    single = w_state(5, [0.3, 0.8, -0.4, 1.2, 2.0]).machine.train.cores
    cores = [torch.einsum("asb,csd->acsbd", core, core).flatten(0, 1).flatten(2, 3) for core in single]
    return ChainSource(tuple(cores), ("0", "1"), Description("doubled W state", "", "squared"), generalised=True)


SOURCES = {
    "even parity": lambda: even_parity(7),
    "hidden parity": lambda: hidden_parity(6, (4, 1, 5)),
    "hidden parity of one bit": lambda: hidden_parity(3, (2,)),
    "modular addition": lambda: modular_addition(5),
    "bars and stripes": lambda: bars_and_stripes(3, 4),
    "Dyck": lambda: dyck(8),
    "Motzkin": lambda: motzkin(7),
    "Ising line": lambda: ising_chain(6, 0.7, 0.3),
    "Ising ring": lambda: ising_chain(7, -0.4, 0.2, periodic=True),
    "Ising torus": lambda: IsingTorus(4, 3, 0.35),
    "antiferromagnetic torus": lambda: IsingTorus(3, 3, -0.2),
    "GHZ in z": lambda: ghz(5),
    "GHZ at angles": lambda: ghz(5, [0.3, -0.2, 1.0, 0.5, 2.5]),
    "W in x": lambda: w_state(6, "x"),
    "cluster in turn": lambda: cluster(6, "zxzxzx"),
    "transverse Ising in z": lambda: ground_state(transverse_ising(6, 0.8)),
    "transverse Ising in x": lambda: ground_state(transverse_ising(6, 0.8), "x"),
    "Rydberg": lambda: ground_state(rydberg(6, 1.2, 4.0)),
    "PXP": lambda: ground_state(pxp(7, 0.3)),
    "hidden walk": hidden_walk,
    "doubled W": doubled_w,
    "table": lambda: TableSource.of_probabilities(
        torch.rand(3, 3, 3, dtype=torch.float64), ("x", "y", "z"), Description("table", "", "drawn")
    ),
    "samples": lambda: from_samples(torch.randint(0, 2, (70, 6))),
}


@pytest.fixture(params=SOURCES, scope="module")
def source(request) -> Source:
    torch.manual_seed(1)
    return SOURCES[request.param]()


@pytest.fixture(scope="module")
def table(source) -> torch.Tensor:
    return table_of(source)


def summed(table: torch.Tensor, sites: tuple[int, ...]) -> torch.Tensor:
    """The marginal by sums alone, an axis a site in the order given."""
    letters = "abcdefghijkl"[: table.ndim]
    return torch.einsum(f"{letters}->{''.join(letters[site] for site in sites)}", table)


def test_a_source_answers_the_protocol(source):
    assert isinstance(source, Source)
    assert len(source.alphabet) ** source.n_sites == table_of(source).numel()
    assert source.describe().exact is (source.describe().name != "samples")
    assert source.describe().name in str(source.describe())


def test_the_probabilities_sum_to_one(table):
    assert float(table.sum()) == pytest.approx(1, abs=1e-12)
    assert float(table.min()) >= 0


def test_the_entropy_is_that_of_all_strings(source, table):
    assert source.entropy() == pytest.approx(table_entropy(table), abs=1e-11)


def test_marginals_are_sums_over_the_other_sites_in_any_order(source, table):
    n = source.n_sites
    for sites in [(0,), (n - 1,), (n - 1, 0), (1, 2), tuple(reversed(range(n))), (n - 1, 0, n // 2), tuple(range(n))]:
        if len(set(sites)) == len(sites):
            assert torch.allclose(source.marginal(sites), summed(table, sites), atol=1e-13), sites
    assert float(source.marginal(())) == pytest.approx(1)


def test_mutual_information_is_that_of_the_pair(source, table):
    for i, j in itertools.combinations(range(source.n_sites), 2):
        assert source.mutual_information(i, j) == pytest.approx(table_information(summed(table, (i, j))), abs=1e-12)
    assert source.mutual_information(1, 0) == pytest.approx(source.mutual_information(0, 1), abs=1e-13)


def test_the_square_of_the_train_is_the_distribution(source, table):
    train = source.mps()
    assert torch.allclose(train.dense().square(), table, atol=1e-10)
    assert float(train.norm()) == pytest.approx(1, abs=1e-10)


def test_no_bond_of_the_train_is_larger_than_the_rank_there(source):
    dense = source.mps().dense()
    symbols, n = len(source.alphabet), source.n_sites
    ranks = [int(torch.linalg.matrix_rank(dense.reshape(symbols**k, -1), rtol=1e-7)) for k in range(1, n)]
    assert source.bond_dims() == tuple(ranks)
    assert source.bond_dims() == source.mps().bonds


def test_samples_are_as_frequent_as_their_probability(source, table):
    n, flat = 20_000, table.flatten()
    drawn = source.sample(n, torch.Generator().manual_seed(3))
    assert drawn.shape == (n, source.n_sites)
    places = torch.zeros(n, dtype=torch.int64)
    for k in range(source.n_sites):
        places = places * len(source.alphabet) + drawn[:, k]
    counts = torch.bincount(places, minlength=len(flat)).double()
    assert float(counts[flat == 0].sum()) == 0
    expected = n * flat
    often = expected >= 5  # what is rarer counts as one class
    observed = torch.cat([counts[often], counts[~often].sum()[None]])
    expected = torch.cat([expected[often], expected[~often].sum()[None]])
    chi_square = float(((observed - expected).square() / expected.clamp_min(1)).sum())
    freedom = max(1, int(often.sum()) - 1)
    assert chi_square < freedom + 4 * math.sqrt(2 * freedom) + 4


def test_the_same_generator_draws_the_same_strings(source):
    once, again = (source.sample(5, torch.Generator().manual_seed(7)) for _ in range(2))
    assert torch.equal(once, again)
    assert source.sample(0, torch.Generator()).shape == (0, source.n_sites)


def test_strings_of_another_length_or_alphabet_are_refused(source):
    n, symbols = source.n_sites, len(source.alphabet)
    assert source.log_prob(torch.zeros(0, n, dtype=torch.int64)).shape == (0,)
    with pytest.raises(ValueError, match=rf"have {n} symbols, a row each, not shape \(2, {n + 1}\)"):
        source.log_prob(torch.zeros(2, n + 1, dtype=torch.int64))
    for wrong in (symbols, -1):
        x = torch.zeros(2, n, dtype=torch.int64)
        x[1, n - 1] = wrong
        with pytest.raises(ValueError, match=f"holds the symbol {wrong}, but this source has {symbols} symbols"):
            source.log_prob(x)


def test_sites_that_are_not_there_or_named_twice_are_refused(source):
    n = source.n_sites
    with pytest.raises(ValueError, match=f"site {n} is not in a string of {n} symbols; give 0 to {n - 1}"):
        source.marginal((0, n))
    with pytest.raises(ValueError, match=r"the sites \(1, 0, 1\) name one twice"):
        source.marginal((1, 0, 1))
    with pytest.raises(ValueError, match=r"the sites \(1, 1\) name one twice"):
        source.mutual_information(1, 1)


def test_only_a_piece_of_something_endless_has_an_entropy_rate(source):
    if source.describe().name.startswith("Ising"):
        assert 0 < source.entropy_rate() < math.log(2)
    else:
        with pytest.raises(ValueError, match="of one length only and has no entropy rate"):
            source.entropy_rate()


def test_choices_are_drawn_by_weights_of_any_sum_and_never_one_of_none():
    drawn = draw_many(torch.tensor([0.0, 30.0, 0.0, 10.0, 0.0]).double(), 4_000, torch.Generator().manual_seed(0))
    assert set(drawn.tolist()) == {1, 3}
    assert float((drawn == 1).double().mean()) == pytest.approx(0.75, abs=0.03)
