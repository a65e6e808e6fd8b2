"""What each symbol has to do with a string's surprise: sums that are told, and enumeration as a second way."""

import math
from itertools import product

import pytest
import torch
from torch import Tensor

from workbench.transformer.string_attributions import (
    gradient_times_input,
    integrated_gradients,
    leave_one_out,
    mixed_surprises,
    surprises,
)
from workbench.transformer.string_gpt import StringGPT, StringGPTRecipe, learn_strings
from workbench.truth.enumerated import log_table

SITES = 5


@pytest.fixture(scope="module")
def gpt() -> StringGPT:
    """As first drawn but eight times as large, so that every part of it counts."""
    gpt = learn_strings(some(2, 0), 3, StringGPTRecipe(d_model=8, steps=0))
    for name, parameter in gpt.model.named_parameters():
        if "ln" not in name:
            parameter.mul_(8)
    return gpt


def some(n: int, seed: int) -> Tensor:
    return torch.randint(3, (n, SITES), generator=torch.Generator().manual_seed(seed))


def test_surprises_sum_to_that_of_the_string_and_are_ratios_of_marginals(gpt):
    x, table = some(7, 1), log_table(gpt, 3, SITES).exp()
    told = surprises(gpt, x)
    assert torch.allclose(told.sum(1), -gpt.log_prob(x), atol=1e-6)
    for row, string in enumerate(x.tolist()):
        for site in range(SITES):
            before, with_it = (float(table[tuple(string[:n])].sum()) for n in (site, site + 1))
            assert float(told[row, site]) == pytest.approx(math.log(before / with_it), abs=1e-5)


def test_leaving_one_out_is_the_surprise_given_all_others(gpt):
    x, table = some(7, 2), log_table(gpt, 3, SITES).exp()
    told = leave_one_out(gpt, x)
    assert float(told.min()) >= 0
    for row, string in enumerate(x.tolist()):
        for site in range(SITES):
            line = table[tuple([slice(None) if k == site else symbol for k, symbol in enumerate(string)])]
            assert float(told[row, site]) == pytest.approx(-math.log(float(line[string[site]] / line.sum())), abs=1e-5)
    assert torch.allclose(told[:, -1], surprises(gpt, x)[:, -1], atol=1e-6), "nothing comes after the last"


def test_a_mixture_of_one_symbol_has_the_surprise_of_the_string(gpt):
    x = some(4, 3)
    assert torch.allclose(
        mixed_surprises(gpt, torch.nn.functional.one_hot(x, 3).double()), surprises(gpt, x), atol=1e-6
    )
    last = torch.nn.functional.one_hot(x, 3).double()
    last[:, -1] = torch.tensor([0.2, 0.5, 0.3])
    expected = -(gpt.log_conditionals(x)[:, -1] @ torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64))
    assert torch.allclose(mixed_surprises(gpt, last)[:, -1], expected, atol=1e-6)


def test_integrated_gradients_sum_to_the_surprise_of_the_string(gpt):
    x = some(20, 4)
    told = integrated_gradients(gpt, x)
    assert torch.allclose(told.sum(1), -gpt.log_prob(x), atol=2e-6)
    few, more = (float((integrated_gradients(gpt, x, n).sum(1) + gpt.log_prob(x)).abs().max()) for n in (2, 6))
    assert more < few / 10


def test_a_network_that_reads_nothing_gives_each_site_its_own_surprise(gpt):
    x, blind = some(5, 5), gpt.untrained(0)
    blind.model.transformer.wte.weight[:3] = blind.model.transformer.wte.weight[0]  # all symbols are read alike
    for told in (integrated_gradients(blind, x), leave_one_out(blind, x)):
        assert torch.allclose(told, surprises(blind, x), atol=1e-6)


def test_what_two_symbols_tell_of_each_other_is_halved_where_it_is_a_product():
    x = torch.tensor([[0, 0], [0, 1], [2, 1]])
    gpt = learn_strings(x, 3, StringGPTRecipe(d_model=8, n_layers=1, steps=0))
    gpt.model.transformer.wte.weight[:3] *= 0.02  # so small that ln q is linear in what is read
    own, even = torch.nn.functional.one_hot(x, 3).double(), torch.full((3, 2, 3), 1 / 3, dtype=torch.float64)

    def second(*ends: Tensor) -> Tensor:
        return mixed_surprises(gpt, torch.stack([end[:, site] for site, end in enumerate(ends)], dim=1))[:, 1]

    read = second(own, even) - second(even, even)
    shared = second(own, own) - second(even, own) - read
    assert float(shared.abs().min()) > 1e-4
    told = integrated_gradients(gpt, x)
    assert torch.allclose(told[:, 0], surprises(gpt, x)[:, 0] + read + shared / 2, atol=1e-6)
    assert torch.allclose(told[:, 1], second(even, own) + shared / 2, atol=1e-6)


def test_the_gradient_is_the_finite_difference_by_the_share_of_the_symbol(gpt):
    x, step = some(2, 6), 1e-3
    own, told = torch.nn.functional.one_hot(x, 3).double(), gradient_times_input(gpt, x)
    for row, site in product(range(2), range(SITES)):
        up, down = own.clone(), own.clone()
        up[row, site, x[row, site]] += step
        down[row, site, x[row, site]] -= step
        change = [float(mixed_surprises(gpt, mixed)[row].sum()) for mixed in (up, down)]
        assert float(told[row, site]) == pytest.approx((change[0] - change[1]) / (2 * step), abs=5e-3)


@pytest.mark.parametrize("found", [surprises, leave_one_out, gradient_times_input, integrated_gradients])
def test_strings_of_another_length_are_refused(found, gpt):
    assert found(gpt, some(3, 7)).dtype == torch.float64
    with pytest.raises(ValueError, match=r"strings of 5 symbols were learned, and shape \(2, 4\)"):
        found(gpt, torch.zeros(2, 4, dtype=torch.long))
