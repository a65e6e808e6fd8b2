"""The explorer of explanations: what a condition leaves of truth and model, by slices of their tables."""

import math
from itertools import combinations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.born.counts import Counted
from workbench.born.machine import BornMachine
from workbench.explore.explain_frame import MAPS, ExplainFrame
from workbench.explore.explain_lab import ExplainLab
from workbench.explore.sample_complexity import Learner, SampleLab
from workbench.truth.enumerated import TableSource
from workbench.truth.ising_chain import ising_chain
from workbench.truth.listed import ListedSource
from workbench.truth.parity import even_parity, hidden_parity
from workbench.truth.source import Description
from workbench.truth.state import ghz, w_state
from workbench.truth.strings import table_information

COUNTS = Learner("counts", lambda samples, n_symbols, seed: Counted.of(samples))


def random_source(n_sites: int, n_symbols: int, seed: int) -> TableSource:
    generator = torch.Generator().manual_seed(seed)
    table = torch.rand([n_symbols] * n_sites, dtype=torch.float64, generator=generator)
    return TableSource.of_probabilities(table, tuple("abc"[:n_symbols]), Description(f"random {seed}", "", "drawn"))


def random_machine(n_sites: int, seed: int) -> BornMachine:
    return BornMachine.random([2] * n_sites, 3, torch.Generator().manual_seed(seed))


def tied(frame: ExplainFrame, i: int, j: int) -> float:
    assert frame.truth.ties[i][j] == pytest.approx(frame.truth.ties[j][i], abs=1e-12)
    return frame.truth.ties[i][j]


@given(st.sampled_from([(5, 2), (4, 3)]), st.integers(0, 99), st.data())
@settings(max_examples=25, deadline=None)
def test_a_condition_leaves_what_the_strings_with_these_symbols_say(size, seed, data):
    n_sites, n_symbols = size
    source, beside = random_source(n_sites, n_symbols, seed), random_source(n_sites, n_symbols, seed + 100)
    fixed = data.draw(st.dictionaries(st.integers(0, n_sites - 1), st.integers(0, n_symbols - 1)))
    lab = ExplainLab(source, {"other": beside})
    for site, symbol in fixed.items():
        lab.fix(site, symbol)
    frame = lab.frame()
    assert lab.given == dict(frame.given) == fixed

    strings = torch.cartesian_prod(*[torch.arange(n_symbols)] * n_sites)
    kept = torch.stack([strings[:, site] == symbol for site, symbol in fixed.items()] or [strings[:, 0] >= 0]).all(0)
    weights = source.log_prob(strings).exp() * kept
    assert frame.truth.probability == pytest.approx(float(weights.sum()))
    weights = weights / weights.sum()
    for i in range(n_sites):
        shares = [float(weights[strings[:, i] == a].sum()) for a in range(n_symbols)]
        assert frame.truth.marginals[i] == pytest.approx(shares)
        for j in range(n_sites):
            joint = weights.new_zeros(n_symbols**2).index_add(0, strings[:, i] * n_symbols + strings[:, j], weights)
            expected = table_information(joint.reshape(n_symbols, n_symbols))
            if i == j or i in fixed or j in fixed:
                assert math.isnan(frame.truth.ties[i][j])
            else:
                assert tied(frame, i, j) == pytest.approx(expected, abs=1e-12)

    other = beside.log_prob(strings).exp() * kept
    assert frame.distance == pytest.approx(float((weights - other / other.sum()).abs().sum()) / 2)
    state = weights.sqrt().reshape([n_symbols] * n_sites)
    for bond in range(n_sites - 1):
        values = torch.linalg.svdvals(state.reshape(n_symbols ** (bond + 1), -1)).tolist()
        found = frame.truth.schmidt[bond]
        assert found == pytest.approx(values[: len(found)], abs=1e-7)
        assert values[len(found) :] == pytest.approx([0.0] * (len(values) - len(found)), abs=1e-6)
        assert frame.truth.entropies[bond] == pytest.approx(-sum(v**2 * math.log(v**2) for v in found), abs=1e-9)


def test_a_born_machine_is_asked_what_its_own_conditionals_say():
    machine = random_machine(6, seed=3)
    lab = ExplainLab(even_parity(6), {"born": machine})
    lab.fix(1, 1)
    lab.fix(4, 0)
    learned = lab.frame().learned
    assert learned.probability == pytest.approx(float(machine.marginal((1, 4))[1, 0]))
    fixed = {1: 1, 4: 0}
    for site in (0, 2, 3, 5):
        assert learned.marginals[site] == pytest.approx(machine.conditional(fixed, (site,)).tolist())
    for i, j in combinations((0, 2, 3, 5), 2):
        assert learned.ties[i][j] == pytest.approx(table_information(machine.conditional(fixed, (i, j))), abs=1e-12)
    assert learned.marginals[1] == (0.0, 1.0)
    assert learned.marginals[4] == (1.0, 0.0)


def test_a_spin_that_is_fixed_cuts_the_chain_in_two():
    lab = ExplainLab(ising_chain(8, 0.7), {"same": ising_chain(8, 0.7)})
    lab.choose(map="correlation")
    free = lab.frame()
    for i, j in combinations(range(8), 2):
        assert tied(free, i, j) == pytest.approx(math.tanh(0.7) ** (j - i))
    lab.fix(3, 1)
    for name in MAPS:
        lab.choose(map=name)
        frame = lab.frame()
        assert max(abs(tied(frame, i, j)) for i in range(3) for j in range(4, 8)) < 1e-9
        assert tied(frame, 1, 2) > 0.01
    assert frame.truth.entropies[2:4] == pytest.approx([0, 0], abs=1e-12)
    assert frame.truth.schmidt[2] == pytest.approx([1])
    assert min(frame.truth.entropies[:2]) > 0.01


def test_of_opposed_spins_the_strongest_tie_is_below_zero():
    lab = ExplainLab(ising_chain(3, -0.7), {"warmer": ising_chain(3, -0.2)})
    lab.choose(map="correlation")
    for side, beta in ((lab.frame().truth, -0.7), (lab.frame().learned, -0.2)):
        assert side.strongest is not None
        assert side.strongest[2] == pytest.approx(math.tanh(beta))


def test_what_no_pair_of_a_hidden_parity_knows_is_seen_by_the_direct_map_and_when_all_else_is_given():
    lab = ExplainLab(hidden_parity(6, (0, 2, 5)), {"guess": even_parity(6)})
    frame = lab.frame()
    assert max(tied(frame, i, j) for i, j in combinations(range(6), 2)) < 1e-12
    assert max(frame.learned.entropies) == pytest.approx(math.log(2))
    lab.choose(map="direct dependence")
    frame = lab.frame()
    for i, j in combinations(range(6), 2):
        expected = math.log(2) if {i, j} <= {0, 2, 5} else 0
        assert tied(frame, i, j) == pytest.approx(expected, abs=1e-12)
    lab.choose(map="mutual information")
    lab.fix(2, 1)
    frame = lab.frame()
    assert frame.truth.strongest == (0, 5, pytest.approx(math.log(2)))
    assert frame.truth.entropies == pytest.approx([math.log(2)] * 5)
    assert frame.site_distance == pytest.approx(0, abs=1e-12), "no site alone tells the two apart"
    assert frame.distance == pytest.approx(0.5)
    lab.fix(0, 1)
    assert lab.frame().truth.marginals[5] == pytest.approx((1, 0))
    assert lab.frame().site_distances == pytest.approx((0, 0, 0, 0, 0, 0.5))


def test_the_state_ties_the_ends_of_a_ghz_state_no_more_than_its_symbols_do_once_others_are_seen():
    lab = ExplainLab(ghz(5), {"W": w_state(5)})
    lab.choose(map="quantum mutual information of √p")
    assert tied(lab.frame(), 0, 4) == pytest.approx(math.log(2))
    lab.fix(2, 0)
    assert tied(lab.frame(), 0, 4) == pytest.approx(0, abs=1e-9)
    lab.choose(map="correlation")
    assert tied(lab.frame(), 0, 4) == 0, "a site that does not vary is tied to none"


def test_where_all_sites_or_all_but_one_are_given_nothing_is_left_to_tie():
    lab = ExplainLab(random_source(3, 2, 7), {"other": random_source(3, 2, 8)})
    for name in MAPS:
        lab.choose(map=name)
        lab.fix(0, 1)
        lab.fix(2, 0)
        one = lab.frame()
        assert one.truth.strongest is None
        assert sum(one.truth.marginals[1]) == pytest.approx(1)
        assert one.truth.entropies == (0.0, 0.0)
        lab.fix(1, 1)
        none = lab.frame()
        assert none.truth.marginals == ((0.0, 1.0), (0.0, 1.0), (1.0, 0.0))
        assert none.truth.schmidt == ((1.0,), (1.0,))
        assert none.distance == none.site_distance == 0
        assert "less than two sites are free" in str(none)
        lab.release()
    assert lab.given == {}


def test_what_is_impossible_is_refused_and_nothing_is_lost():
    seen = Counted.of(torch.tensor([[0, 0, 0, 0], [0, 1, 1, 0]]))
    lab = ExplainLab(even_parity(4), {"uniform": even_parity(4), "counts": seen})
    for site, symbol in ((2, 0), (0, 0), (1, 1)):
        lab.fix(site, symbol)
    before = str(lab.frame())
    with pytest.raises(
        ValueError, match="the truth excludes every string with 0 at site 0, 1 at site 1, 0 at site 2, 0"
    ):
        lab.fix(3, 0)
    with pytest.raises(
        ValueError, match="counts excludes every string with 0 at site 0, 1 at site 1, 0 at site 2; free"
    ):
        lab.choose(model="counts", map="correlation", bond=0)
    assert str(lab.frame()) == before
    assert (lab.model, lab.map, lab.bond) == ("uniform", "mutual information", 1)
    lab.release(2)
    lab.choose(model="counts")
    assert lab.frame().learned.probability == pytest.approx(0.5)
    with pytest.raises(ValueError, match="counts excludes"):
        lab.fix(3, 1)
    assert lab.given == {0: 0, 1: 1}


def test_what_is_not_there_is_refused():
    lab = ExplainLab(random_source(4, 3, 1), {"other": random_source(4, 3, 2)})
    with pytest.raises(ValueError, match="site 4 is not in a string of 4 symbols"):
        lab.fix(4, 0)
    with pytest.raises(ValueError, match="the symbol 3 is given at site 2, which has 3 symbols, 0 to 2 by number"):
        lab.fix(2, 3)
    with pytest.raises(ValueError, match="site 9 is not in a string of 4"):
        lab.release(9)
    with pytest.raises(ValueError, match="there is no 'mine' here; there are other"):
        lab.choose(model="mine")
    with pytest.raises(ValueError, match="there is no 'distance' here; there are mutual information, quantum"):
        lab.choose(map="distance")
    for bond in (-1, 3):
        with pytest.raises(ValueError, match=f"bond {bond} is not in a chain of 4 sites, whose bonds are 0 to 2"):
            lab.choose(bond=bond)


def test_a_lab_is_not_made_of_what_is_no_distribution_over_the_same_strings():
    with pytest.raises(ValueError, match=r"21 sites of 2 symbols make 2\^21 strings, more than the 2\^20"):
        ExplainLab(even_parity(21), {"same": even_parity(21)})
    with pytest.raises(ValueError, match="beside even parity; none is given"):
        ExplainLab(even_parity(4), {})
    three = Counted.of(torch.tensor([[0, 1, 0, 2], [0, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 1]]))
    with pytest.raises(ValueError, match=r"three gives the 16 strings of even parity the sum 0\.75, not 1"):
        ExplainLab(even_parity(4), {"three": three})
    with pytest.raises(ValueError, match="strings of this model have 3 symbols"):
        ExplainLab(even_parity(4), {"short": random_machine(3, 0)})
    one = ListedSource(torch.tensor([[0], [1]]), torch.tensor([1.0, 2.0]), ("0", "1"), Description("coin", "", "mine"))
    with pytest.raises(ValueError, match="coin has 1 site; a chain to explore has 2 or more"):
        ExplainLab(one, {"coin": one})


def test_models_are_learned_from_the_samples_of_the_source_each_under_its_name():
    source, told = hidden_parity(5, (1, 3)), []
    distinct = Learner("different", lambda samples, n_symbols, seed: Counted.of(samples), distinct=True)
    lab = ExplainLab.learned(source, 12, [COUNTS, distinct], 3, progress=lambda *args: told.append(args))
    assert lab.models == ("counts", "different")
    assert told == [("learn", 0, 2), ("learn", 1, 2), ("learn", 2, 2)]
    samples = SampleLab(source, COUNTS, (12,), (3,)).samples(12, 3)
    shares = torch.stack([(samples == 0), (samples == 1)], 2).double().mean(0)
    assert torch.tensor(lab.frame().learned.marginals) == pytest.approx(shares)
    lab.choose(model="different")
    for site, symbol in enumerate((0, 1, 0, 1)):
        lab.fix(site, symbol)
        assert lab.frame().learned.probability * 12 == pytest.approx(round(lab.frame().learned.probability * 12))


def test_without_a_choice_sweeps_and_a_gpt_are_learned():
    lab = ExplainLab.learned(even_parity(3), 8, progress=lambda *told: None)
    assert lab.models == ("sweeps, bond 4", "GPT of 2 layers, width 32")
    lab.choose(model="GPT of 2 layers, width 32")
    assert sum(lab.frame().learned.marginals[0]) == pytest.approx(1)


def test_a_frame_is_read_as_words():
    lab = ExplainLab(ising_chain(4, 0.5), {"fair": TableSource.of_probabilities(
        torch.ones(2, 2, 2, 2, dtype=torch.float64), ("+", "-"), Description("fair", "", "even")
    )})  # fmt: skip
    lab.fix(3, 1)
    lab.fix(1, 0)
    lines = str(lab.frame()).split("\n")
    assert lines[0] == "Ising chain, 4 sites: the truth beside fair"
    p = (1 - math.tanh(0.5) ** 2) / 4
    assert lines[1] == f"given + at site 1, - at site 3: probability {p:.4g} under the truth, 0.25 under the model"
    apart = math.tanh(0.5) / 2  # beside one fixed spin; between two that differ a spin is fair
    assert lines[2].startswith(f"marginals differ most at site 0, by {apart:.4f} in total variation; whole strings by ")
    assert lines[3] == "mutual information, nats, truth: below 0.0001 everywhere"
    assert lines[5] == "entanglement of √p, nats, truth: at most 0.0000"
