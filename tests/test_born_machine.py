"""Chain models beside sums over all strings: probabilities, samples, marginals and conditionals of every kind."""

import math
from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from workbench.born.likelihood import likelihood
from workbench.born.machine import BornMachine
from workbench.born.nonnegative import NonNegativeTrain
from workbench.born.purified import PurifiedTrain
from workbench.born.questions import ChainModel
from workbench.decompose.train import TensorTrain
from workbench.truth.state import ghz, w_state

few = settings(max_examples=25)
LN2 = math.log(2)


def random_chain(shape: list[int], bond: int, seed: int, hidden: int = 1) -> list[Tensor]:
    """Cores (left, site, hidden, right) of numbers of both signs, larger than the train needs and not canonical."""
    generator = torch.Generator().manual_seed(seed)
    bonds = [1, *[bond] * (len(shape) - 1), 1]
    return [
        torch.randn(bonds[k], site, hidden, bonds[k + 1], generator=generator, dtype=torch.float64)
        for k, site in enumerate(shape)
    ]


def product_of(cores: list[Tensor]) -> Tensor:
    """All entries of a chain, sites first and hidden legs behind them: the second way."""
    whole, n = cores[0], len(cores)
    for core in cores[1:]:
        whole = torch.tensordot(whole, core, dims=1)
    return whole[0, ..., 0].permute(*range(0, 2 * n, 2), *range(1, 2 * n, 2))


def normal(weights: Tensor) -> Tensor:
    return weights / weights.sum()


@st.composite
def specs(draw, min_sites: int = 1) -> tuple[str, list[int], int, int]:
    """A kind, two or three symbols at one to five sites, a bond, and a seed."""
    shape = draw(st.lists(st.integers(2, 3), min_size=min_sites, max_size=5))
    kind = draw(st.sampled_from(["born", "non-negative", "purified"]))
    return kind, shape, draw(st.integers(1, 4)), draw(st.integers(0, 10**6))


def made(spec: tuple[str, list[int], int, int]) -> tuple[ChainModel, Tensor]:
    """The model, and its table of probabilities."""
    kind, shape, bond, seed = spec
    cores = random_chain(shape, bond, seed, hidden=2 if kind == "purified" else 1)
    if kind == "born":
        return BornMachine.from_cores([core[:, :, 0] for core in cores]), normal(product_of(cores).reshape(shape) ** 2)
    if kind == "non-negative":
        cores = [core.abs() for core in cores]
        return NonNegativeTrain(tuple([core[:, :, 0] for core in cores])), normal(product_of(cores).reshape(shape))
    return PurifiedTrain.from_cores(cores), normal((product_of(cores) ** 2).flatten(len(shape)).sum(-1))


def every(shape: tuple[int, ...]) -> Tensor:
    return torch.tensor(list(product(*[range(size) for size in shape])))


def summed_out(table: Tensor, kept: list[int]) -> Tensor:
    """The marginal at the kept sites, in their order."""
    gone = [site for site in range(table.ndim) if site not in kept]
    table = table.sum(gone) if gone else table
    return table.permute([sorted(kept).index(site) for site in kept])


@few
@given(specs())
def test_probabilities_are_those_of_the_dense_tensor_and_sum_to_one(spec):
    model, table = made(spec)
    log_p = model.log_prob(every(model.shape))
    assert log_p.dtype == torch.float64
    assert torch.allclose(log_p.exp(), table.flatten(), atol=1e-13)
    assert float(log_p.exp().sum()) == pytest.approx(1, abs=1e-12)
    assert model.shape == table.shape
    assert model.n_sites == table.ndim


@few
@given(specs(), st.data())
def test_a_marginal_of_any_sites_is_the_sum_over_the_others(spec, data):
    model, table = made(spec)
    sites = data.draw(st.permutations(range(model.n_sites)))[: data.draw(st.integers(1, model.n_sites))]
    assert torch.allclose(model.marginal(sites), summed_out(table, list(sites)), atol=1e-13)


@few
@given(specs(min_sites=2), st.data())
def test_a_conditional_on_any_sites_is_a_share_of_the_table(spec, data):
    model, table = made(spec)
    order = data.draw(st.permutations(range(model.n_sites)))
    cut = data.draw(st.integers(1, model.n_sites - 1))
    symbols = {site: data.draw(st.integers(0, model.shape[site] - 1)) for site in order[:cut]}
    for site, symbol in symbols.items():
        kept = [symbol if axis == site else slice(None) for axis in range(table.ndim)]
        chosen = torch.zeros_like(table)
        chosen[tuple(kept)] = table[tuple(kept)]
        table = chosen
    asked = list(order[cut:])
    assert torch.allclose(model.conditional(symbols, asked), normal(summed_out(table, asked)), atol=1e-11)


@few
@given(specs(min_sites=2))
def test_mutual_information_is_that_of_the_joint_table(spec):
    model, table = made(spec)
    joint = summed_out(table, [model.n_sites - 1, 0])
    apart = joint.sum(1, keepdim=True) * joint.sum(0, keepdim=True)
    expected = float((joint * (joint / apart).log()).sum())
    assert model.mutual_information(model.n_sites - 1, 0) == pytest.approx(expected, abs=1e-12)


KINDS = {
    "born": BornMachine.from_cores([core[:, :, 0] for core in random_chain([3, 2, 3, 2], 4, 1)]),
    "non-negative": NonNegativeTrain(tuple([core[:, :, 0].abs() for core in random_chain([3, 2, 3, 2], 4, 2)])),
    "purified": PurifiedTrain.from_cores(random_chain([3, 2, 3, 2], 4, 3, hidden=3)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_samples_come_as_often_as_they_are_probable(kind):
    model, n = KINDS[kind], 40_000
    for known in ({}, {1: 1}, {3: 0, 0: 2}):
        free = [site for site in range(4) if site not in known]
        drawn = model.sample(n, torch.Generator().manual_seed(5), known)
        assert drawn.shape == (n, 4)
        assert all(bool((drawn[:, site] == symbol).all()) for site, symbol in known.items())
        p = model.conditional(known, free)
        counts = torch.zeros_like(p)
        counts.index_put_(tuple(drawn[:, free].T), torch.ones(n, dtype=torch.float64), accumulate=True)
        deviation = (counts / n - p).abs() / (p * (1 - p) / n).sqrt().clamp_min(1e-12)
        assert float(deviation.max()) < 5  # of binomial counts: once in 30,000 entries by chance


@pytest.mark.parametrize("kind", KINDS)
def test_a_draw_follows_from_the_generator_alone(kind):
    first, second = (KINDS[kind].sample(7, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first, second)
    assert KINDS[kind].sample(0, torch.Generator()).shape == (0, 4)


@pytest.mark.parametrize("kind", KINDS)
def test_the_gradient_is_the_slope_of_the_mean_log_likelihood(kind):
    model, x, step = KINDS[kind], torch.tensor([[2, 1, 0, 1], [0, 0, 2, 1], [1, 1, 1, 0]]), 1e-6
    parameters = [parameter.clone() for parameter in model.parameters()]
    for site, gradient in enumerate(model.gradient(x)):
        assert gradient.shape == parameters[site].shape
        way = torch.randn(gradient.shape, generator=torch.Generator().manual_seed(site), dtype=torch.float64)
        ahead, behind = (
            float(model.with_parameters(moved_by(parameters, site, sign * step * way)).log_prob(x).mean())
            for sign in (1, -1)
        )
        assert (ahead - behind) / (2 * step) == pytest.approx(float((gradient * way).sum()), rel=1e-5, abs=1e-8)


@pytest.mark.parametrize("kind", [BornMachine, NonNegativeTrain, PurifiedTrain])
def test_a_gradient_along_many_sites_is_right_where_rows_were_scaled_on_the_way(kind):
    model = kind.random([2] * 30, 3, torch.Generator().manual_seed(2))
    x, site, step = model.sample(5, torch.Generator().manual_seed(0)), 3, 1e-6
    parameters, gradient = list(model.parameters()), model.gradient(x)[site]
    ahead, behind = (
        float(model.with_parameters(moved_by(parameters, site, sign * step * gradient)).log_prob(x).mean())
        for sign in (1, -1)
    )
    assert (ahead - behind) / (2 * step) == pytest.approx(float(gradient.square().sum()), rel=1e-5)


def moved_by(parameters: list[Tensor], site: int, change: Tensor) -> list[Tensor]:
    return [part + change if k == site else part for k, part in enumerate(parameters)]


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_of_its_own_parameters_is_itself(kind):
    model = KINDS[kind]
    again = model.with_parameters(model.parameters())
    assert torch.allclose(again.log_prob(every(model.shape)), model.log_prob(every(model.shape)), atol=1e-12)


@pytest.mark.parametrize("kind", [BornMachine, NonNegativeTrain, PurifiedTrain])
def test_a_thousand_sites_neither_overflow_nor_underflow(kind):
    model = kind.random([2] * 1000, 4, torch.Generator().manual_seed(0))
    x = model.sample(20, torch.Generator().manual_seed(1))
    log_p = model.log_prob(x)
    assert bool(log_p.isfinite().all())
    assert float(log_p.mean()) < -300  # far below what float64 holds as a number
    rest = model.conditional({site: int(x[0, site]) for site in range(996)}, [999, 997])
    ahead = model.log_prob(torch.cat([x[:1, :996].expand(16, -1), every((2,) * 4)], 1))
    chosen = (ahead - ahead.logsumexp(0)).exp().reshape([2] * 4)
    assert torch.allclose(rest, summed_out(chosen, [3, 1]), atol=1e-10)


@pytest.mark.gpu
@pytest.mark.parametrize("kind", KINDS)
def test_a_model_on_a_gpu_says_the_same_and_draws_the_same(kind):
    model, x = KINDS[kind], every((3, 2, 3, 2))
    moved = model.with_parameters([parameter.cuda() for parameter in model.parameters()])
    assert moved.log_prob(x).is_cuda
    assert torch.allclose(moved.log_prob(x).cpu(), model.log_prob(x), atol=1e-11)
    assert torch.allclose(moved.conditional({2: 1}, (3, 0)).cpu(), model.conditional({2: 1}, (3, 0)), atol=1e-11)
    draws = [own.sample(50, torch.Generator().manual_seed(2), {1: 0}).cpu() for own in (model, moved)]
    assert torch.equal(*draws)


def test_scaled_cores_are_the_same_machine():
    cores = [core[:, :, 0] for core in random_chain([2] * 120, 3, 7)]
    plain = BornMachine.from_cores(cores)
    grown = BornMachine.from_cores([core * (1e200 if k % 2 else 1e-3) for k, core in enumerate(cores)])
    x = plain.sample(5, torch.Generator().manual_seed(0))
    assert torch.allclose(plain.log_prob(x), grown.log_prob(x), rtol=1e-10)


def test_a_machine_keeps_its_train_canonical_and_normalised():
    train = TensorTrain.from_dense(torch.randn(3, 4, 2, dtype=torch.float64))  # its centre in the middle
    machine = BornMachine(train)
    assert float(machine.train.norm()) == pytest.approx(1, abs=1e-14)
    for core in machine.train.cores[1:]:
        rows = core.flatten(1)
        assert torch.allclose(rows @ rows.T, torch.eye(len(rows), dtype=torch.float64), atol=1e-13)
    assert BornMachine(machine.train).train is machine.train
    expected = (train.dense() / train.norm()) ** 2
    assert torch.allclose(machine.log_prob(every((3, 4, 2))).exp(), expected.flatten(), atol=1e-14)


def test_a_cut_machine_is_the_cut_train_over_its_norm():
    machine = BornMachine.from_cores([core[:, :, 0] for core in random_chain([2, 3, 2, 3], 5, 4)])
    cut, train = machine.truncate(2), machine.train.truncate(2)
    assert cut.train.bonds == (2, 2, 2)
    assert torch.allclose(cut.log_prob(every((2, 3, 2, 3))).exp(), normal(train.dense() ** 2).flatten(), atol=1e-12)


def test_entanglement_entropies_are_those_of_the_states():
    assert ghz(9).machine.entropies() == pytest.approx([LN2] * 8)
    shares = [k / 6 for k in range(1, 6)]
    expected = [-share * math.log(share) - (1 - share) * math.log(1 - share) for share in shares]
    assert w_state(6).machine.entropies() == pytest.approx(expected)


def test_an_overlap_says_whether_it_is_the_bhattacharyya_coefficient():
    w, other = w_state(5).machine, ghz(5).machine
    p, q = (machine.log_prob(every((2,) * 5)).exp() for machine in (w, BornMachine.from_cores(smooth(5))))
    found = w.overlap(BornMachine.from_cores(smooth(5)))
    assert found.bhattacharyya
    assert found.value == pytest.approx(float((p * q).sqrt().sum()))
    assert str(found).endswith("the Bhattacharyya coefficient")
    assert w.overlap(w).value == pytest.approx(1, abs=1e-14)
    assert w.overlap(other).value == pytest.approx(0, abs=1e-14)
    signed = BornMachine.from_cores([core[:, :, 0] for core in random_chain([2] * 5, 3, 0)])
    mixed = w.overlap(signed)
    coefficient = float((p * signed.log_prob(every((2,) * 5)).exp()).sqrt().sum())
    assert not mixed.bhattacharyya
    assert mixed.value < coefficient
    assert "at most the Bhattacharyya coefficient" in str(mixed)
    assert not ghz(22).machine.overlap(ghz(22).machine).bhattacharyya  # too many strings to know


def smooth(n_sites: int) -> list[Tensor]:
    return [core[:, :, 0].abs() for core in random_chain([2] * n_sites, 2, 9)]


def test_what_has_no_amplitude_is_impossible_and_never_clamped():
    machine, x = ghz(6).machine, every((2,) * 6)
    log_p = machine.log_prob(x)
    assert log_p[[0, -1]].tolist() == pytest.approx([-LN2, -LN2])
    assert bool((log_p[1:-1] == -math.inf).all())
    turned = ghz(6, "x").machine  # cancelled amplitudes, not absent ones
    log_p = turned.log_prob(x)
    assert bool((log_p.isfinite() == (x.sum(1) % 2 == 0)).all())
    assert float(log_p.exp().sum()) == pytest.approx(1, abs=1e-12)


def test_a_rare_string_is_not_taken_for_an_impossible_one():
    rare = 1e-9
    core = torch.tensor([rare, 1.0], dtype=torch.float64).reshape(1, 2, 1)
    machine = BornMachine.from_cores([core] * 50)
    assert float(machine.log_prob(torch.zeros(1, 50, dtype=torch.int64))) == pytest.approx(
        100 * math.log(rare), rel=1e-6
    )


def test_a_likelihood_over_an_excluded_string_is_infinite_and_tells_the_mass_lost():
    machine, x = ghz(3).machine, torch.tensor([[0, 0, 0], [1, 1, 1], [0, 1, 1], [1, 1, 1]])
    found = likelihood(machine, x)
    assert (found.nll, found.lost_mass, found.nll_of_rest) == (math.inf, 0.25, pytest.approx(LN2))
    assert str(found) == "infinite: 25.00% of the strings are excluded; 0.6931 nats on the rest"
    sound = likelihood(machine, x[:2])
    assert (sound.nll, sound.lost_mass, sound.nll_of_rest) == (pytest.approx(LN2), 0, pytest.approx(LN2))
    assert str(sound) == "0.6931 nats a string"
    assert likelihood(machine, x[2:3]).nll_of_rest == math.inf
    with pytest.raises(ValueError, match="over one or more strings, and none is given"):
        likelihood(machine, x[:0])


def test_a_non_negative_train_is_the_source_of_the_same_cores():
    model = NonNegativeTrain.random([3] * 5, 4, torch.Generator().manual_seed(1))
    source = model.source("abc")
    x = every((3,) * 5)
    assert torch.allclose(source.log_prob(x), model.log_prob(x), atol=1e-12)
    assert torch.allclose(source.marginal((4, 1)), model.marginal((4, 1)), atol=1e-13)
    assert source.entropy() == pytest.approx(-float((model.log_prob(x).exp() * model.log_prob(x)).sum()))
    assert not source.describe().exact


def test_a_purified_train_without_hidden_legs_is_the_born_machine():
    machine = BornMachine.from_cores([core[:, :, 0] for core in random_chain([2, 3, 2], 3, 5)])
    same = PurifiedTrain(machine.train, (1, 1, 1))
    assert torch.equal(same.log_prob(every((2, 3, 2))), machine.log_prob(every((2, 3, 2))))


def test_a_purified_train_holds_a_hidden_markov_model_with_its_path_on_the_hidden_legs():
    model = NonNegativeTrain(tuple([core[:, :, 0].abs() for core in random_chain([2, 3, 2, 2], 3, 6)]))
    cores = []
    for core in model.cores:
        path = torch.eye(core.shape[2], dtype=torch.float64)  # (hidden, right): the state gone to
        cores.append(core.sqrt()[:, :, None, :] * path)
    purified = PurifiedTrain.from_cores(cores)
    x = every((2, 3, 2, 2))
    assert torch.allclose(purified.log_prob(x), model.log_prob(x), atol=1e-10)


@pytest.mark.parametrize("kind", KINDS)
def test_questions_that_do_not_fit_are_refused(kind):
    model = KINDS[kind]
    for ask, message in [
        (lambda: model.log_prob(torch.zeros(7, 3, dtype=torch.int64)), r"have 4 symbols, a row each, not \(7, 3\)"),
        (lambda: model.log_prob(torch.tensor([[0, 0, 0, 0], [0, 2, 0, 0]])), "string 1 has the symbol 2 at site 1, "
         "which has 2 symbols, 0 to 1"),
        (lambda: model.log_prob(torch.tensor([[0, 0, -1, 0]])), "string 0 has the symbol -1 at site 2"),
        (lambda: model.marginal((1, 4)), "site 4 is not in a string of 4 symbols"),
        (lambda: model.marginal((1, 1)), r"the sites \(1, 1\) name one twice"),
        (lambda: model.conditional({2: 0, 1: 1}, (0, 2)), "the symbol at site 2 is given, so there is nothing to ask"),
        (lambda: model.conditional({1: 2}, (0,)), "the symbol 2 is given at site 1, which has 2 symbols, 0 to 1"),
        (lambda: model.sample(3, torch.Generator(), {5: 0}), "site 5 is not in a string of 4 symbols"),
        (lambda: model.mutual_information(2, 2), "name one twice"),
    ]:  # fmt: skip
        with pytest.raises(ValueError, match=message):
            ask()


def test_a_condition_that_excludes_every_string_is_refused():
    step = torch.zeros(2, 2, 2, dtype=torch.float64)
    step[0, 0, 0] = step[1, 1, 1] = 1
    hmm = NonNegativeTrain((step.sum(0, keepdim=True), *[step] * 3, step.sum(2, keepdim=True)))
    for model in (ghz(5).machine, hmm, PurifiedTrain(ghz(5).machine.train, (1,) * 5)):
        assert model.conditional({4: 1}, (0,)).tolist() == pytest.approx([0, 1])
        with pytest.raises(ValueError, match="excludes every string with 1 at site 0, 0 at site 3, so nothing"):
            model.sample(2, torch.Generator(), {3: 0, 0: 1})


def test_a_table_too_large_is_refused_with_its_size():
    with pytest.raises(ValueError, match=r"a table of 25 sites has 3\.36e\+07 entries, more than the 2\^24"):
        ghz(30).machine.marginal(range(25))


def test_cores_that_are_no_distribution_are_refused():
    good = [torch.ones(1, 2, 3, dtype=torch.float64), torch.ones(3, 2, 1, dtype=torch.float64)]
    with pytest.raises(ValueError, match=r"core 1 is torch\.float32; probabilities are held in float64"):
        BornMachine.from_cores([good[0], good[1].float()])
    with pytest.raises(ValueError, match="amplitudes are all 0 from core 1 on"):
        BornMachine.from_cores([good[0], good[1] * 0])
    with pytest.raises(ValueError, match=r"core 0 of shape \(1, 2, 3\) holds 6 non-finite"):
        BornMachine.from_cores([good[0] * math.nan, good[1]])
    with pytest.raises(ValueError, match=r"core 0 is torch\.float32"):
        NonNegativeTrain((good[0].float(), good[1]))
    with pytest.raises(ValueError, match="core 1 holds -1; the cores of a hidden Markov model hold 0 or more"):
        NonNegativeTrain((good[0], -good[1]))
    with pytest.raises(ValueError, match="no string has a weight above 0"):
        NonNegativeTrain((good[0], good[1] * 0))
    with pytest.raises(ValueError, match="a purified train of 2 sites has as many hidden legs, not 3"):
        PurifiedTrain(TensorTrain.from_cores(good), (1, 1, 1))
    with pytest.raises(ValueError, match="site 1 has size 2, which is no product of symbols and 3 hidden indices"):
        PurifiedTrain(TensorTrain.from_cores(good), (2, 3))
    with pytest.raises(ValueError, match=r"sizes of 1 or more, not \(2, 3\), 0, 1"):
        BornMachine.random((2, 3), 0, torch.Generator())
