"""Learning by sweeps and by gradients: figures reached, and runs that are left, stopped and resumed to the last bit."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from workbench.born.bond_descent import BondProblem
from workbench.born.gradient_fit import FitRecipe, fit
from workbench.born.learning import Learning, Round
from workbench.born.likelihood import likelihood
from workbench.born.machine import BornMachine
from workbench.born.nonnegative import NonNegativeTrain
from workbench.born.purified import PurifiedTrain
from workbench.born.two_site import SweepRecipe, sweep
from workbench.truth.ground_state import ground_state
from workbench.truth.hamiltonian import transverse_ising
from workbench.truth.images import bars_and_stripes
from workbench.truth.state import w_state


def random(kind, n_sites: int, bond: int, seed: int = 0):
    return kind.random([2] * n_sites, bond, torch.Generator().manual_seed(seed))


def critical_samples(n: int, seed: int) -> Tensor:
    """Measurements of a small quantum chain at its critical point, with repetitions."""
    return ground_state(transverse_ising(8, 1.0)).sample(n, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("seed", [0, 1])
def test_sweeps_learn_bars_and_stripes_exactly_and_find_the_bonds_needed(seed):
    source = bars_and_stripes(3, 3)
    learning = sweep(source.strings, SweepRecipe(seed=seed))
    machine = learning.finish()
    assert learning.report.best == pytest.approx(math.log(14), abs=1e-6)
    assert machine.train.bonds == source.bond_dims()
    assert learning.report.ended == "no longer better"
    assert learning.curve[-1].held_out is None


def test_sweeps_from_one_shot_bonds_stop_at_the_cap():
    learning = sweep(bars_and_stripes(3, 3).strings, SweepRecipe(max_bond=3, rounds=4))
    assert max(learning.finish().train.bonds) == 3
    assert learning.report.best > math.log(14) + 0.1


def test_repeated_samples_weigh_as_often_as_they_come():
    samples = torch.tensor([[0, 0, 1]] * 6 + [[1, 0, 1]] * 3 + [[1, 1, 0]])
    machine = sweep(samples, SweepRecipe(max_bond=4)).finish()
    found = machine.log_prob(torch.tensor([[0, 0, 1], [1, 0, 1], [1, 1, 0]])).exp()
    assert found.tolist() == pytest.approx([0.6, 0.3, 0.1], abs=1e-5)


def test_more_symbols_are_learned_as_well_as_bits():
    samples = torch.tensor([[0, 2, 1, 0], [2, 2, 0, 1], [1, 0, 2, 2]])
    learning = sweep(samples, SweepRecipe(symbols=3))
    assert learning.finish().shape == (3, 3, 3, 3)
    assert learning.report.best == pytest.approx(math.log(3), abs=1e-6)


@pytest.mark.parametrize(("kind", "seed"), [(BornMachine, 0), (NonNegativeTrain, 2), (PurifiedTrain, 0)])
def test_gradients_teach_every_kind_a_distribution_that_it_holds(kind, seed):
    one_of_six = torch.eye(6, dtype=torch.int64)  # bond 2 does for all three kinds
    recipe = FitRecipe(rounds=150, learning_rate=0.05, batch=32, patience=150)
    learning = fit(random(kind, 6, 2, seed), one_of_six, recipe)
    model = learning.finish()
    assert type(model) is kind
    assert learning.report.best == pytest.approx(math.log(6), abs=2e-3)
    assert model.mutual_information(1, 4) == pytest.approx(w_state(6).mutual_information(1, 4), abs=2e-3)


def test_learning_ends_early_and_keeps_what_says_the_held_out_strings_best():
    held_out = critical_samples(300, 1)
    learning = sweep(critical_samples(40, 0), SweepRecipe(patience=3), held_out)
    machine = learning.finish()
    report, curve = learning.report, learning.curve
    assert report.ended == "no longer better"
    assert report.rounds == report.best_round + 3 < 30
    assert report.best == min(made.held_out for made in curve) == curve[report.best_round - 1].held_out
    assert likelihood(machine, held_out).nll == report.best
    assert curve[-1].nll < curve[report.best_round - 1].nll  # what was learned last was the noise
    assert str(report).startswith(f"no longer better after {report.rounds} rounds")


def sweeping(checkpoint: Path | None = None, rounds: int = 5, **changes) -> Learning:
    return sweep(
        critical_samples(60, 0),
        replace(SweepRecipe(max_bond=4, rounds=rounds), **changes),
        critical_samples(50, 1),
        checkpoint=checkpoint,
    )


def descending(checkpoint: Path | None = None, rounds: int = 5, **changes) -> Learning:
    return fit(
        random(PurifiedTrain, 8, 3),
        critical_samples(60, 0),
        replace(FitRecipe(rounds=rounds, batch=16), **changes),
        critical_samples(50, 1),
        checkpoint,
    )


def assert_same_run(first: Learning, second: Learning) -> None:
    for ours, theirs in zip(first.curve, second.curve, strict=True):
        assert (ours.number, ours.nll, ours.held_out) == (theirs.number, theirs.nll, theirs.held_out)
    assert first.report.best_round == second.report.best_round
    for ours, theirs in zip(first.model.parameters(), second.model.parameters(), strict=True):
        assert torch.equal(ours, theirs)


WAYS = pytest.mark.parametrize("begun", [sweeping, descending])


@WAYS
def test_a_run_left_and_resumed_from_its_checkpoint_is_the_undisturbed_one(begun, tmp_path):
    whole = begun()
    whole.finish()
    first = begun(tmp_path)
    for made in first.run():
        if made.number == 2:
            break
    resumed = begun(tmp_path)
    assert len(resumed.curve) == 2
    resumed.finish()
    assert_same_run(resumed, whole)
    assert resumed.curve[-1].seconds > resumed.curve[1].seconds
    assert_same_run(begun(tmp_path), whole)  # a finished run is there again
    assert {path.name for path in tmp_path.iterdir()} == {"learning.json", "step5.safetensors"}
    longer = begun(tmp_path, rounds=6, patience=9)
    assert [made.number for made in longer.run()] == [6]


@WAYS
@pytest.mark.parametrize("number", [1, 3])
def test_a_run_interrupted_in_the_middle_of_a_round_goes_on_as_if_it_had_not_been(begun, number):
    whole, torn, heard = begun(), begun(), []
    whole.finish()

    def interrupt(what: str, done: int, total: int) -> None:
        heard.append((what, done, total))
        if (what, done) == (f"round {number}", 2):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        torn.finish(interrupt)
    assert len(torn.curve) == number - 1
    torn.finish(lambda *told: heard.append(told))
    assert [done for what, done, _ in heard if what == "round 4"] == list(range(1, heard[0][2] + 1))
    assert_same_run(torn, whole)


@WAYS
def test_a_run_may_be_stopped_and_goes_on(begun):
    learning = begun()
    for made in learning.run():
        if made.number == 2:
            learning.stop()
    assert (learning.report.ended, learning.report.rounds) == ("stopped", 2)
    learning.finish()
    assert (learning.report.ended, learning.report.rounds) == ("finished", 5)
    assert list(learning.run()) == []


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    next(sweeping(tmp_path).run())
    with pytest.raises(
        ValueError, match="holds a run with other steps, cutoff; give those values, or another directory"
    ):
        sweeping(tmp_path, steps=3, cutoff=0.1)
    with pytest.raises(ValueError, match="holds a run with other strings"):
        sweep(critical_samples(61, 0), SweepRecipe(max_bond=4), critical_samples(50, 1), checkpoint=tmp_path)
    with pytest.raises(ValueError, match="holds a run with other learning_rate, batch, kind; give"):
        descending(tmp_path)
    record = json.loads((tmp_path / "learning.json").read_text())
    (tmp_path / "learning.json").write_text(json.dumps(record | {"format": 7}))
    with pytest.raises(ValueError, match="is no learning run of format 2; give another directory, or remove it"):
        sweeping(tmp_path)
    (tmp_path / "learning.json").write_text("{")
    with pytest.raises(ValueError, match=r"is damaged .*; remove .* and begin anew"):
        sweeping(tmp_path)


def test_a_checkpoint_of_another_start_is_refused(tmp_path):
    samples, begun = critical_samples(30, 0), random(BornMachine, 8, 3)
    next(fit(begun, samples, checkpoint=tmp_path).run())
    message = "the checkpoint holds 104 parameters, but the start has 168; give the start that the run began with"
    with pytest.raises(ValueError, match=message):
        fit(random(BornMachine, 8, 4), samples, checkpoint=tmp_path)
    with pytest.raises(ValueError, match="holds a run with other kind; give"):
        fit(random(NonNegativeTrain, 8, 3), samples, checkpoint=tmp_path)


class Diverging:
    """A learner that loses its way in its third round."""

    recipe = SweepRecipe(patience=10)

    def __init__(self) -> None:
        self.level = torch.tensor(1.0, dtype=torch.float64)

    def advance(self, index: int, tell) -> float:
        self.level = self.level * (math.inf if index == 2 else 2.0)
        return 1.0

    def numbers(self) -> dict[str, Tensor]:
        return {"level": self.level}

    def load(self, numbers) -> None:
        self.level = numbers["level"]

    def model(self, numbers) -> BornMachine:
        core = torch.stack([torch.ones((), dtype=torch.float64), numbers["level"]]).reshape(1, 2, 1)
        return BornMachine.from_cores([core])


def test_numbers_that_are_not_finite_end_the_run_and_the_best_model_stays():
    learning = Learning(Diverging(), torch.ones(3, 1, dtype=torch.int64))
    machine = learning.finish()
    assert (learning.report.ended, learning.report.rounds, learning.report.best_round) == ("diverged", 2, 2)
    assert machine.log_prob(torch.tensor([[1]])).exp().tolist() == pytest.approx([16 / 17])


def test_a_start_is_scored_and_stays_the_result_of_a_run_without_rounds():
    samples, start = critical_samples(30, 0), random(BornMachine, 8, 2)
    learning = sweep(samples, start=start)
    assert learning.report.best == pytest.approx(likelihood(start, samples).nll)
    assert torch.allclose(learning.model.log_prob(samples), start.log_prob(samples))
    assert learning.curve == ()


def problem(n: int = 12) -> tuple[BondProblem, Tensor]:
    """Rows of six pairs of symbols at a bond of 2 × 3, and a merged core (3, 2, 3, 2)."""
    generator = torch.Generator().manual_seed(3)
    left, right = (torch.rand(n, size, generator=generator, dtype=torch.float64) for size in (3, 2))
    shares = torch.rand(n, generator=generator, dtype=torch.float64)
    pairs = torch.randint(0, 6, (n,), generator=generator)
    merged = torch.rand(3, 2, 3, 2, generator=generator, dtype=torch.float64)
    return BondProblem.of(left, right, shares / shares.sum(), pairs, 6), merged


def value(bond: BondProblem, merged: Tensor) -> Tensor:
    return merged.square().sum() - 2 * (bond.shares @ bond.amplitudes(merged).abs().log())


def test_the_pull_of_the_strings_is_the_slope_of_their_likelihood():
    bond, merged = problem()
    leaf = merged.clone().requires_grad_()
    (slope,) = torch.autograd.grad(value(bond, leaf), leaf)
    pulled = bond.pulled(bond.shares / bond.amplitudes(merged), merged)
    assert torch.allclose(slope, 2 * (merged - pulled), atol=1e-12)


def test_steps_go_downhill_to_the_minimum_of_each_line_and_end_normalised():
    bond, merged = problem()
    once = bond.descended(merged, 1, 1.0)
    way = once - merged
    leaf = torch.ones((), dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(value(bond, merged + leaf * way), leaf)
    assert float(slope) == pytest.approx(0, abs=1e-4)
    values = [float(value(bond, bond.descended(merged, steps, 0.3))) for steps in range(8)]
    assert values == sorted(values, reverse=True)
    lowest = bond.descended(merged, 200, 1.0)
    assert float(lowest.square().sum()) == pytest.approx(1, abs=1e-8)
    assert torch.equal(bond.amplitudes(lowest).sign(), bond.amplitudes(merged).sign())


def test_a_string_without_amplitude_stops_the_steps_at_its_bond():
    bond, merged = problem()
    assert torch.equal(bond.descended(merged * 0, 3, 1.0), merged * 0)


@pytest.mark.parametrize("name", ["max_bond", "rounds", "steps", "patience", "symbols"])
def test_a_sweep_of_no_count_is_refused(name):
    with pytest.raises(ValueError, match=f"{name} is a whole number of 1 or more, not 0"):
        SweepRecipe(**{name: 0})


def test_what_cannot_be_learned_is_refused_with_what_to_do():
    samples = critical_samples(7, 0)
    for make, message in [
        (lambda: SweepRecipe(learning_rate=1.5), "a share of the line's way, above 0 and at most 1, not 1.5"),
        (lambda: SweepRecipe(cutoff=1.0), "from 0 to below 1, not 1.0"),
        (lambda: FitRecipe(batch=0), "batch is a whole number of 1 or more, not 0"),
        (lambda: FitRecipe(learning_rate=0.0), "a learning rate is above 0 and finite, not 0"),
        (lambda: sweep(samples[:, :1]), r"2 or more sites, a row each, not shape \(7, 1\)"),
        (lambda: sweep(samples + 1), "has the symbol 2 at site .*, which has 2 symbols"),
        (lambda: sweep(samples, start=random(BornMachine, 5, 2)), r"have 5 symbols, a row each, not \(7, 8\)"),
        (lambda: sweep(samples, held_out=samples[:, :6]), r"have 8 symbols, a row each, not \(7, 6\)"),
        (lambda: sweep(samples, held_out=samples[:0]), "over one or more strings, and none is given"),
        (lambda: fit(random(NonNegativeTrain, 5, 2), samples), r"have 5 symbols, a row each, not \(7, 8\)"),
        (lambda: fit(random(NonNegativeTrain, 8, 2), samples[:0]), "over one or more strings, and none is given"),
    ]:
        with pytest.raises(ValueError, match=message):
            make()


def test_a_start_that_excludes_samples_is_refused_with_the_share_lost():
    single = w_state(4).machine  # strings with a single 1 alone
    samples = torch.tensor([[1, 0, 0, 0], [0, 1, 1, 0], [0, 0, 0, 1], [0, 0, 1, 0]])
    with pytest.raises(ValueError, match=r"the start excludes 25\.00% of the samples, which no step can bring back"):
        sweep(samples, start=single)
    with pytest.raises(ValueError, match=r"the start excludes 25\.00% of the samples, and has no slope there"):
        fit(single, samples)


def test_a_round_is_written_as_plain_numbers(tmp_path):
    next(sweeping(tmp_path).run())
    record = json.loads((tmp_path / "learning.json").read_text())
    assert Round(**record["curve"][0]).number == record["step"] == 1
