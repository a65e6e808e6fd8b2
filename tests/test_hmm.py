"""Hidden Markov models and quantum processes: printed entropies, sums over paths, and what beliefs are."""

import math
from itertools import pairwise, product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from workbench.truth.enumerated import table_of
from workbench.truth.hmm import HiddenMarkov
from workbench.truth.hmm_matrices import stationary
from workbench.truth.hmm_quantum import density_matrix, hermitian_basis, quantum_process
from workbench.truth.processes import bloch_walk, even_process, golden_mean, mess3, rrxor, z1r
from workbench.truth.source import Description, Source
from workbench.truth.strings import numbered_strings

few = settings(max_examples=12)
NAMED = Description("a process", "", "a test")
PROCESSES = {
    "Mess3": mess3(), "Z1R": z1r(), "RRXOR": rrxor(), "golden mean": golden_mean(), "even": even_process(),
    "Bloch walk": bloch_walk(),
}  # fmt: skip


def matrices(symbols: int, states: int, seed: int) -> Tensor:
    """Random matrices of a process, a third of the entries zero, none of the rows."""
    generator = torch.Generator().manual_seed(seed)
    weights = torch.rand(symbols, states, states, generator=generator, dtype=torch.float64)
    weights *= torch.rand(symbols, states, states, generator=generator) > 1 / 3
    weights[0] += 0.01 * torch.ones(states, states)
    return weights / weights.sum((0, 2))[:, None]


def by_paths(process: HiddenMarkov, n_sites: int) -> Tensor:
    """p of all strings, as the sum over all paths of hidden states: the second way."""
    table = torch.zeros([len(process.alphabet)] * n_sites, dtype=torch.float64)
    for x in product(range(len(process.alphabet)), repeat=n_sites):
        for path in product(range(process.n_states), repeat=n_sites + 1):
            p = float(process.start[path[0]] * process.stop[path[-1]])
            for k, symbol in enumerate(x):
                p *= float(process.matrices[symbol, path[k], path[k + 1]])
            table[x] += p
    return table


@pytest.mark.parametrize(
    ("process", "rate", "bits", "excess", "mean_of_ten"),
    [
        (mess3(), 0.793458, 1.144717, 0.3957, 0.833027),
        (mess3(0.15, 0.6), 1.088888, 1.570934, 0.0126, 1.090144),
        (z1r(), 0.231049, 1 / 3, 1.0986, 0.340910),
        (rrxor(), 0.462098, 2 / 3, None, 0.597166),
        (bloch_walk(1, 1), 1.039721, 1.5, 0.3466, None),
    ],
)
def test_a_process_has_the_printed_entropies(process, rate, bits, excess, mean_of_ten):
    each = process.conditional_entropies(11)
    found = process.entropy_rate() if process.mixed else sum(process.entropy_rate_bounds(11)) / 2
    assert found == pytest.approx(rate, abs=5.1e-7)
    assert found / math.log(2) == pytest.approx(bits, abs=5.1e-7)
    if excess is not None:
        whole = process.excess_entropy() if process.mixed else process.excess_entropy_bound(11)
        assert whole == pytest.approx(excess, abs=5.1e-5)
    if mean_of_ten is not None:
        assert each[:10].mean().item() == pytest.approx(mean_of_ten, abs=5.1e-7)


def test_the_entropies_of_mess3_and_of_rrxor_fall_position_by_position_as_printed():
    printed = [1.098612, 0.857719, 0.813356, 0.798118, 0.794740]
    assert mess3().conditional_entropies(5).tolist() == pytest.approx(printed, abs=5.1e-7)
    assert rrxor().conditional_entropies(16)[-1].item() == pytest.approx(0.476, abs=5.1e-4)


def test_the_bloch_walks_lose_what_is_printed_over_nine_tokens():
    assert bloch_walk(1, 1).conditional_entropies(9).mean().item() == pytest.approx(1.078229, abs=5.1e-7)
    slow = bloch_walk(1, math.sqrt(51))
    each = slow.conditional_entropies(9)
    assert each.mean().item() == pytest.approx(1.3817, abs=5.1e-5)
    assert each[-1].item() == pytest.approx(1.37803, abs=5.1e-6)
    assert slow.excess_entropy_bound(9) > 0.03


def test_rates_of_processes_solved_by_hand():
    binary = 0.3 * math.log(1 / 0.3) + 0.7 * math.log(1 / 0.7)
    assert golden_mean(0.3).entropy_rate() == pytest.approx(binary / 1.3)
    assert even_process(0.3).entropy_rate() == pytest.approx(binary / 1.3)
    assert z1r(0.3).entropy_rate() == pytest.approx(binary / 3)
    # A golden mean's past is known by its last symbol, and half of the even process is known by its states' entropy.
    assert golden_mean().excess_entropy() == pytest.approx(math.log(3) - 4 / 3 * math.log(2))
    assert even_process().excess_entropy() == pytest.approx(math.log(3) - 2 / 3 * math.log(2))


@pytest.mark.parametrize("name", PROCESSES)
def test_a_process_cut_to_a_length_is_a_source_whose_table_is_the_sum_over_paths(name):
    process = PROCESSES[name]
    source = process.source(3)
    assert isinstance(source, Source)
    expected = by_paths(process, 3)
    assert expected.sum().item() == pytest.approx(1)
    assert torch.allclose(table_of(source), expected, atol=1e-14)
    x = numbered_strings(torch.arange(4), 3, len(process.alphabet))
    assert torch.equal(process.log_prob(x), source.log_prob(x))
    assert source.describe().parameters.endswith("N = 3")
    assert source.entropy() == pytest.approx(process.conditional_entropies(3).sum().item())


@few
@given(st.integers(1, 3), st.integers(1, 4), st.integers(0, 1000))
def test_any_process_is_stationary_and_its_rate_lies_between_its_bounds(symbols, states, seed):
    process = HiddenMarkov.from_matrices(matrices(symbols, states, seed), NAMED)
    longer, shorter = (table_of(process.source(n)) for n in (4, 3))
    assert torch.allclose(longer.sum(0), shorter, atol=1e-12)
    assert torch.allclose(longer.sum(-1), shorter, atol=1e-12)
    bounds = [process.entropy_rate_bounds(n) for n in (1, 3, 5)]
    for (low, high), (tighter_low, tighter_high) in pairwise(bounds):
        assert low <= tighter_low + 1e-12
        assert tighter_low <= tighter_high + 1e-12
        assert tighter_high <= high + 1e-12
    assert process.excess_entropy_bound(3) <= process.excess_entropy_bound(5) + 1e-12


@few
@given(st.integers(2, 3), st.integers(2, 4), st.integers(0, 1000))
def test_a_belief_is_how_probable_each_state_is_after_the_string(symbols, states, seed):
    process = HiddenMarkov.from_matrices(matrices(symbols, states, seed), NAMED)
    x = process.sample(5, 3, torch.Generator().manual_seed(seed))
    beliefs = process.belief(x)
    assert torch.allclose(beliefs.sum(1), torch.ones(5, dtype=torch.float64))
    after = (beliefs @ process.matrices.sum(2).T).clamp_min(0)
    for symbol in range(symbols):
        longer = torch.cat([x, torch.full((5, 1), symbol)], 1)
        assert torch.allclose(after[:, symbol], (process.log_prob(longer) - process.log_prob(x)).exp(), atol=1e-12)
    met, weights = process.beliefs(3)
    assert weights.sum().item() == pytest.approx(1)
    assert torch.allclose(weights @ met, process.start), "the mean belief is what nothing was seen for"
    nearest = (met[None] - beliefs[:, None]).abs().amax(2).amin(1)
    assert float(nearest.max()) < 1e-10


@pytest.mark.parametrize(
    ("process", "n_beliefs"),
    [(z1r(), 7), (rrxor(), 36), (golden_mean(), 3), (even_process(), 4), (bloch_walk(1, 1), 5)],
)
def test_few_beliefs_are_found_once_each_and_tell_the_rate_that_states_tell(process, n_beliefs):
    assert len(process.mixed.beliefs) == n_beliefs
    assert torch.allclose(process.mixed.chain.sum(1), torch.ones(n_beliefs, dtype=torch.float64))
    assert process.mixed.entropy_rate() == pytest.approx(process.entropy_rate())
    each = process.conditional_entropies(40)
    assert float((each - process.entropy_rate()).sum()) == pytest.approx(process.excess_entropy(), abs=2e-3)
    assert process.excess_entropy_bound(40) <= process.excess_entropy() + 1e-9


@pytest.mark.parametrize(
    ("process", "bond"),
    [(mess3(), 3), (z1r(), 3), (rrxor(), 5), (golden_mean(), 2), (even_process(), 2), (bloch_walk(), 3)],
)
def test_the_bond_of_a_process_is_the_rank_of_its_table_in_the_middle(process, bond):
    table = table_of(process.source(8)).reshape(len(process.alphabet) ** 4, -1)
    assert process.bond_dim() == bond == int(torch.linalg.matrix_rank(table, rtol=1e-9))


def doubled(process: HiddenMarkov, shares: list[float]) -> HiddenMarkov:
    """Two copies of every state, which nothing tells apart; each symbol goes to the first with another share."""
    first = torch.tensor(shares, dtype=torch.float64)
    copies = torch.stack([first, 1 - first], 1).repeat(1, process.n_states)  # (symbol, next)
    twice = process.matrices.repeat_interleave(2, 1).repeat_interleave(2, 2)
    return HiddenMarkov.from_matrices(twice * copies[:, None], NAMED)


def test_states_that_nothing_tells_apart_add_no_bond_and_no_belief():
    process = doubled(mess3(), [0.3, 0.6, 0.8])
    assert process.n_states == 6
    assert process.bond_dim() == 3
    backwards = HiddenMarkov(process.matrices.mT, process.stop, process.start, ("a", "b", "c"), NAMED, generalised=True)
    assert backwards.bond_dim() == 3, "the same strings from right to left"
    x = process.sample(3, 7, torch.Generator().manual_seed(0))
    assert torch.allclose(process.log_prob(x), mess3().log_prob(x))
    golden = doubled(golden_mean(), [0.3, 0.6])
    assert golden.entropy_rate() == pytest.approx(golden_mean().entropy_rate()), "no longer unifilar, but by beliefs"


def test_samples_are_as_frequent_as_they_are_probable():
    x = rrxor().sample(30_000, 4, torch.Generator().manual_seed(0))
    counts = torch.zeros(2, 2, 2, 2, dtype=torch.float64)
    for string in x.tolist():
        counts[tuple(string)] += 1
    expected = 30_000 * table_of(rrxor().source(4))
    assert bool(((counts - expected).abs() <= 5 * expected.sqrt()).all())


def test_a_process_of_two_parts_needs_its_start_told_and_keeps_it():
    apart = torch.zeros(2, 2, 2, dtype=torch.float64)
    apart[0, 0, 0] = 1
    apart[:, 1, 1] = 0.5
    with pytest.raises(ValueError, match="the process has 2 stationary distributions; give the one it starts from"):
        HiddenMarkov.from_matrices(apart, NAMED)
    process = HiddenMarkov.from_matrices(
        apart, NAMED, torch.tensor([0.25, 0.75], dtype=torch.float64), alphabet=("n", "y")
    )
    assert process.log_prob(torch.tensor([[0, 0]])).exp().item() == pytest.approx(0.25 + 0.75 / 4)
    assert process.entropy_rate() == pytest.approx(0.75 * math.log(2))
    assert process.alphabet == ("n", "y")


# Quantum processes.


def channels(outcomes: int, d: int, seed: int) -> list[Tensor]:
    """Random Kraus operators: two for the first outcome, one for each other."""
    generator = torch.Generator().manual_seed(seed)
    n = outcomes + 1
    free = torch.randn(n * d, d, 2, generator=generator, dtype=torch.float64)
    isometry, _ = torch.linalg.qr(torch.view_as_complex(free))
    operators = isometry.reshape(n, d, d)
    return [operators[:2], *operators[2:, None]]


@few
@given(st.integers(1, 3), st.integers(1, 3), st.integers(0, 1000))
def test_a_quantum_process_is_its_density_matrix_measured_again_and_again(outcomes, d, seed):
    kraus = channels(outcomes, d, seed)
    process = quantum_process(kraus, NAMED)
    rho = density_matrix(process.start)
    assert torch.trace(rho).real.item() == pytest.approx(1)
    x = numbered_strings(torch.arange(outcomes**3), 3, outcomes)
    for string in x:
        state = rho
        for outcome in string.tolist():
            state = sum(k @ state @ k.mH for k in kraus[outcome])
        p = torch.trace(state).real
        assert process.log_prob(string[None]).exp().item() == pytest.approx(p.item(), abs=1e-10)
        assert torch.allclose(density_matrix(process.belief(string[None])[0]), state / p, atol=1e-9)
    assert process.log_prob(x).exp().sum().item() == pytest.approx(1)
    assert float(torch.linalg.eigvalsh(rho).min()) > -1e-12


@pytest.mark.parametrize("d", [1, 2, 3])
def test_the_basis_of_hermitian_matrices_is_orthonormal_and_hermitian(d):
    basis = hermitian_basis(d)
    assert torch.equal(basis, basis.mH)
    gram = torch.einsum("aij,bji->ab", basis, basis)
    assert torch.allclose(gram, torch.eye(d * d, dtype=torch.complex128), atol=1e-15)


def test_the_bloch_walk_moves_the_bloch_vector_as_its_library_says():
    alpha, beta = 1.3, 0.7
    gamma = 1 / (4 * (alpha**2 + beta**2))
    turned, mixed = (alpha**2 - beta**2) * gamma, 2 * alpha * beta * gamma
    printed = {  # rows and columns 1, x, z, as Simplexity's transition_matrices.py has them
        "z+": [[0.25, 0, mixed], [0, turned, 0], [mixed, 0, 0.25]],
        "z-": [[0.25, 0, -mixed], [0, turned, 0], [-mixed, 0, 0.25]],
        "x+": [[0.25, mixed, 0], [mixed, 0.25, 0], [0, 0, turned]],
        "x-": [[0.25, -mixed, 0], [-mixed, 0.25, 0], [0, 0, turned]],
    }
    process = bloch_walk(alpha, beta)
    steps = torch.tensor([printed[symbol] for symbol in process.alphabet], dtype=torch.float64)
    one = torch.tensor([1.0, 0, 0], dtype=torch.float64)
    for x in numbered_strings(torch.arange(0, 256, 11), 4, 4):
        row = one
        for symbol in x.tolist():
            row = row @ steps[symbol]
        assert process.log_prob(x[None]).exp().item() == pytest.approx(float(row[0]), abs=1e-15)


# What is refused.


def test_matrices_that_are_no_process_are_refused():
    good = golden_mean().matrices
    cases = [
        (good * 0.9, "row 0 of all matrices together sums to 0.9, weighted by stop; it must be 1"),
        (good + torch.tensor([[[0.1, -0.1], [0.0, 0.0]]]).double(), "matrix 0 holds -0.1 from state 0 to 1"),
        (torch.full((2, 3, 4), 0.1, dtype=torch.float64), r"2 symbols were given and 2 matrices of shape \(3, 4\)"),
        (good.float(), "the matrices are torch.float32; known truth is held in float64"),
        (good * math.nan, "matrix of a process"),
    ]
    for matrix, message in cases:
        with pytest.raises(ValueError, match=message):
            HiddenMarkov.from_matrices(matrix, NAMED)
    with pytest.raises(ValueError, match=r"3 symbols were given and 2 matrices of shape \(2, 2\)"):
        HiddenMarkov.from_matrices(good, NAMED, alphabet=("a", "b", "c"))
    with pytest.raises(ValueError, match="an alphabet is one or more different symbols"):
        HiddenMarkov.from_matrices(good, NAMED, alphabet=("a", "a"))


def test_a_start_that_is_no_stationary_distribution_is_refused():
    for start, message in [
        ([0.5, 0.4], "the start sums to 0.9 and its least entry is 0.4"),
        ([1.5, -0.5], "the start sums to 1 and its least entry is -0.5"),
        ([1.0, 0.0], "the start changes by 0.5 in one step; give a stationary distribution"),
    ]:
        with pytest.raises(ValueError, match=message):
            HiddenMarkov.from_matrices(golden_mean().matrices, NAMED, torch.tensor(start, dtype=torch.float64))
    assert stationary(golden_mean().matrices, torch.ones(2, dtype=torch.float64)).tolist() == pytest.approx(
        [2 / 3, 1 / 3]
    )


def test_what_has_no_closed_form_is_refused_with_what_encloses_it():
    with pytest.raises(
        ValueError, match=r"Mess3 leave more than 1,024 .* entropy rate has no closed form; entropy_rate_b"
    ):
        mess3().entropy_rate()
    with pytest.raises(ValueError, match="Mess3 is of one length only and has no entropy rate, or none in closed form"):
        mess3().source(4).entropy_rate()
    with pytest.raises(
        ValueError, match=r"excess entropy has no closed form; excess_entropy_bound\(n\) is at most that"
    ):
        mess3().excess_entropy()
    with pytest.raises(ValueError, match=r"Bloch walk leave .* closed form; conditional_entropies\(n\) ends above it"):
        bloch_walk().entropy_rate()
    with pytest.raises(ValueError, match="Bloch walk has no hidden states to start from, so no lower bound is known"):
        bloch_walk().entropy_rate_bounds(3)
    wide = HiddenMarkov.from_matrices(matrices(40, 16, 0), NAMED)
    with pytest.raises(
        ValueError, match=r"strings of 3 symbols leave 6[\d,]+ different beliefs; 7 symbols are too many"
    ):
        wide.beliefs(7)


def test_strings_that_cannot_be_are_refused_a_belief():
    with pytest.raises(ValueError, match="string 1 cannot be: symbol '1' at site 2"):
        golden_mean().belief(torch.tensor([[0, 1, 0], [0, 1, 1]]))
    with pytest.raises(ValueError, match="a string holds the symbol 2, but this source has 2 symbols"):
        golden_mean().belief(torch.tensor([[0, 2, 0]]))


def test_measurements_whose_probabilities_do_not_sum_to_one_are_refused():
    half = torch.eye(3, dtype=torch.complex128)[None] * 0.5
    with pytest.raises(ValueError, match=r"Σ K†K over the 2 outcomes misses the identity by 0\.5"):
        quantum_process([half, half], NAMED)
    with pytest.raises(ValueError, match="the process has 9 stationary distributions"):
        quantum_process([half * 2], NAMED)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: mess3(x=0.5), "x is a probability over 0 and below 0.5, not 0.5"),
        (lambda: mess3(a=1.0), "a is a probability over 0 and below 1, not 1"),
        (lambda: z1r(0.0), "p is a probability over 0 and below 1, not 0"),
        (lambda: rrxor(0.5, 1.2), "q is a probability over 0 and below 1, not 1.2"),
        (lambda: golden_mean(-0.1), "p is a probability over 0 and below 1, not -0.1"),
        (lambda: even_process(1.0), "p is a probability over 0 and below 1, not 1"),
        (lambda: bloch_walk(0.0, 0.0), "alpha and beta are both 0, so nothing is measured"),
    ],
)
def test_numbers_that_make_no_process_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
