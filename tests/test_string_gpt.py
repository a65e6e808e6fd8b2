"""A GPT on strings: its probabilities sum to one, it learns what is learnable, and its runs repeat."""

import math
from itertools import product

import pytest
import torch

from workbench.transformer.string_gpt import StringGPTRecipe, learn_strings

SMALL = StringGPTRecipe(d_model=16, steps=150, check_every=10)


def markov(n: int, n_sites: int, stay: float, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    moves = (torch.rand(n, n_sites, generator=generator) > stay).long()
    moves[:, 0] = torch.randint(2, (n,), generator=generator)
    return moves.cumsum(1) % 2


def test_its_probabilities_sum_to_one_over_all_strings():
    learned = learn_strings(torch.randint(3, (40, 4)), 3, SMALL)
    every = torch.tensor(list(product(range(3), repeat=4)))
    assert float(learned.log_prob(every).exp().sum()) == pytest.approx(1.0, abs=1e-6)


def test_it_comes_near_the_entropy_of_a_chain_that_it_saw():
    learned = learn_strings(markov(2000, 8, 0.9), 2, SMALL)
    entropy = math.log(2) + 7 * -(0.9 * math.log(0.9) + 0.1 * math.log(0.1))
    fresh = -float(learned.log_prob(markov(4000, 8, 0.9, seed=1)).mean())
    assert fresh < entropy + 0.15 < 8 * math.log(2)


def test_the_state_that_is_kept_is_the_best_on_the_samples_held_back():
    learned = learn_strings(markov(30, 6, 0.6), 2, StringGPTRecipe(steps=200, learning_rate=1e-2))
    step, loss = min(learned.curve, key=lambda entry: entry[1])
    assert learned.best_step == step < learned.curve[-1][0]
    assert loss < learned.curve[-1][1]


def test_a_run_repeats_and_another_seed_is_another_run():
    samples = markov(60, 5, 0.8)
    first, again = (learn_strings(samples, 2, SMALL).log_prob(samples) for _ in range(2))
    other = learn_strings(samples, 2, StringGPTRecipe(d_model=16, steps=150, seed=1)).log_prob(samples)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    untrained = [learn_strings(samples, 2, StringGPTRecipe(steps=0, seed=seed)).log_prob(samples) for seed in (0, 1)]
    assert not torch.equal(*untrained), "the first weights are drawn by the seed too"


def test_conditionals_are_normalised_and_add_up_to_the_string():
    learned = learn_strings(torch.randint(3, (40, 4)), 3, SMALL)
    x = torch.randint(3, (7, 4))
    logs = learned.log_conditionals(x)
    assert torch.allclose(logs.exp().sum(-1), torch.ones(7, 4, dtype=torch.float64))
    assert torch.allclose(logs.gather(-1, x[..., None])[..., 0].sum(1), learned.log_prob(x), atol=1e-6)


def test_samples_are_as_frequent_as_they_are_probable():
    learned = learn_strings(markov(300, 4, 0.8), 2, SMALL)
    every = torch.tensor(list(product(range(2), repeat=4)))
    drawn = learned.sample(9000, torch.Generator().manual_seed(3))
    assert drawn.shape == (9000, 4)
    p, counts = learned.log_prob(every).exp(), (drawn[:, None] == every).all(-1).sum(0)
    assert float(((counts - 9000 * p).square() / (9000 * p)).sum()) < 37.7, "χ² of 15 degrees, exceeded once in 1,000"
    assert torch.equal(drawn, learned.sample(9000, torch.Generator().manual_seed(3)))
    assert learned.sample(0, torch.Generator()).shape == (0, 4)


def test_the_untrained_network_is_that_which_learning_starts_from():
    samples = markov(40, 5, 0.8)
    learned = learn_strings(samples, 2, StringGPTRecipe(d_model=16, steps=5, seed=4))
    start = learn_strings(samples, 2, StringGPTRecipe(d_model=16, steps=0, seed=4))
    assert torch.equal(learned.untrained(4).log_prob(samples), start.log_prob(samples))
    assert not torch.equal(learned.untrained(5).log_prob(samples), start.log_prob(samples))
    assert learned.n_params == learned.untrained(4).n_params


def test_an_interrupt_keeps_the_best_state_so_far():
    def stop(what: str, done: int, total: int) -> None:
        if done == 45:
            raise KeyboardInterrupt

    learned = learn_strings(markov(200, 6, 0.9), 2, SMALL, stop)
    assert [step for step, _ in learned.curve] == [0, 10, 20, 30, 40]


def test_bad_samples_are_refused_with_what_they_have():
    with pytest.raises(ValueError, match=r"not 1\."):
        learn_strings(torch.zeros(1, 4, dtype=torch.long), 2)
    with pytest.raises(ValueError, match="symbols are 0 to 1, and these strings hold 0 to 3"):
        learn_strings(torch.tensor([[0, 1], [0, 3]]), 2)
    learned = learn_strings(torch.tensor([[0, 1], [0, 1]]), 2, StringGPTRecipe(steps=2))
    with pytest.raises(ValueError, match=r"strings of 2 symbols were learned, and shape \(1, 3\)"):
        learned.log_prob(torch.tensor([[0, 1, 1]]))
    with pytest.raises(ValueError, match="between 0 and 1"):
        StringGPTRecipe(held_back=1.5)
    with pytest.raises(ValueError, match="width of 30 does not divide into 4 heads"):
        StringGPTRecipe(d_model=30, n_heads=4)
