"""What an explorer offers by itself: every source at every size it names, and every learner."""

import pytest
import torch

from workbench.born.parity_theory import expected_overlap
from workbench.born.two_site import SweepRecipe, sweep
from workbench.explore.sample_choices import (
    gpt_learner,
    one_pass_learner,
    sweep_learner,
    usual_families,
    usual_learners,
)
from workbench.explore.sample_complexity import SampleLab
from workbench.transformer.string_gpt import StringGPTRecipe
from workbench.truth.ising_chain import ising_chain
from workbench.truth.parity import even_parity

FAMILIES = {family.name: family for family in usual_families()}


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_makes_a_source_of_each_size_that_it_names(name):
    family = FAMILIES[name]
    for n_sites in {family.sites[0], family.nearest(12)}:
        source = family.make(n_sites)
        drawn = source.sample(5, torch.Generator().manual_seed(0))
        assert drawn.shape == (5, n_sites)
        assert bool(source.log_prob(drawn).isfinite().all())


@pytest.mark.parametrize("learner", usual_learners(), ids=lambda learner: learner.name)
def test_every_learner_learns_a_small_source_and_is_scored(learner):
    if learner.name.startswith("GPT"):
        learner = gpt_learner(StringGPTRecipe(steps=40))
    frame = SampleLab(even_parity(6), learner, [64], [0]).run(lambda *told: None)
    assert 0.5 < frame.median(64) <= 1.0


def test_names_of_learners_say_all_that_decides_what_is_learned():
    names = [learner.name for learner in (*usual_learners(), gpt_learner(StringGPTRecipe(steps=40)))]
    assert len(set(names)) == len(names)
    assert names[-1] == "GPT of 2 layers, width 32, steps 40"
    assert gpt_learner(StringGPTRecipe(n_layers=1, d_model=16)).name == "GPT of 1 layers, width 16"


def test_sweeps_are_judged_by_samples_that_they_did_not_learn():
    samples = ising_chain(8, 0.5).sample(100, torch.Generator().manual_seed(0))
    recipe = SweepRecipe(max_bond=4, rounds=12, patience=3, seed=1)
    expected = sweep(samples[20:], recipe, samples[:20]).finish()
    assert torch.equal(sweep_learner(4).learn(samples, 2, 1).log_prob(samples), expected.log_prob(samples))


def test_one_pass_on_different_strings_of_parity_learns_as_the_theory_expects():
    lab = SampleLab(even_parity(10), one_pass_learner(2, distinct=True), [160, 512], range(8))
    frame = lab.run(lambda *told: None)
    assert frame.median(160) == pytest.approx(expected_overlap(10, 160 / 512), abs=0.03)
    assert frame.median(512) == pytest.approx(1.0)
