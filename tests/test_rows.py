"""Rows of a factored matrix, as a table of tokens is asked for: those of the multiplied-out matrix, in any form."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from workbench.decompose import row_digits
from workbench.decompose.family import Family
from workbench.decompose.head_tucker import HeadTucker
from workbench.decompose.low_rank import LowRank
from workbench.decompose.operator import TrainOperator
from workbench.decompose.outer_sum import outer_sums
from workbench.decompose.permuted import Permuted
from workbench.decompose.pivots import PivotPair
from workbench.decompose.protocol import Decomposition
from workbench.decompose.ring_operator import ring_operators

OUT, IN = 24, 20
EXACT = {"atol": 1e-12, "rtol": 1e-10}


def weight() -> Tensor:
    return torch.randn(OUT, IN, dtype=torch.float64, generator=torch.Generator().manual_seed(3))


def permuted(given: Tensor) -> Permuted:
    generator = torch.Generator().manual_seed(1)
    orders = [torch.randperm(size, generator=generator) for size in (OUT, IN)]
    return Permuted(TrainOperator.from_weight(given, None, (6, 4), (10, 2)), *orders)


def family(given: Tensor) -> Family:
    members = outer_sums(given, (4, 6), (20,), (3, 5))
    return Family(members, (3, 5), tuple([member.squared_error for member in members]), 1.0, "test", 30)


FORMS = {
    "pair": LowRank.from_weight,
    "pivots": lambda given: LowRank.from_weight(given).truncate(7).fixed(),
    "whole pivots": PivotPair.whole,
    "train of 2": lambda given: TrainOperator.from_weight(given, 2),
    "train of 3": lambda given: TrainOperator.from_weight(given, None, (2, 4, 3), (5, 2, 2)),
    "rows times columns": lambda given: TrainOperator.from_weight(given, None, (24, 1), (5, 4)),
    "permuted": permuted,
    "heads": lambda given: HeadTucker.from_weight(given, 6),
    "heads that read": lambda given: HeadTucker.from_weight(given, 5, reads=True),
    "outer sum": lambda given: outer_sums(given, (2, 3, 4), (5, 4), (6,))[0],
    "ring": lambda given: ring_operators(given, (4, 6), (5, 4), (3,))[0],
    "family": family,
}


@pytest.fixture(params=FORMS, scope="module")
def form(request) -> Decomposition:
    return FORMS[request.param](weight())


def cut(form: Decomposition) -> Decomposition:
    """A smaller bond where the form has one."""
    return form.truncate(max(1, form.full_bond // 2)) if form.nested or isinstance(form, Family) else form


@pytest.mark.parametrize("shape", [(), (0,), (7,), (2, 3), (2, 1, 4)])
def test_rows_are_those_of_the_matrix_in_the_shape_of_the_index(form, shape):
    index = torch.randint(OUT, shape, generator=torch.Generator().manual_seed(5))
    for now in (form, cut(form)):
        rows = now.rows_at(index)
        assert rows.shape == (*shape, IN)
        torch.testing.assert_close(rows, now.dense()[index], **EXACT)


def test_every_row_comes_once(form):
    torch.testing.assert_close(form.rows_at(torch.arange(OUT)), form.dense(), **EXACT)


def test_a_row_beyond_the_last_is_refused(form):
    with pytest.raises((IndexError, RuntimeError), match=r"(?i)index|indices"):  # torch's own, of one kind or the other
        form.rows_at(torch.tensor([0, OUT]))


def test_the_gradient_of_rows_is_that_of_the_matrix(form):
    index = torch.tensor([3, 3, 17, 0])
    felt = torch.randn(4, IN, dtype=torch.float64, generator=torch.Generator().manual_seed(2))

    def gradients(rows_of) -> list[Tensor]:
        leaves = {name: tensor.clone().requires_grad_(True) for name, tensor in cut(form).tensors().items()}
        (rows_of(cut(form).with_tensors(leaves)) * felt).sum().backward()
        return [torch.zeros_like(leaf) if leaf.grad is None else leaf.grad for leaf in leaves.values()]

    through, by_matrix = gradients(lambda now: now.rows_at(index)), gradients(lambda now: now.dense()[index])
    for own, other in zip(through, by_matrix, strict=True):
        torch.testing.assert_close(own, other, atol=1e-10, rtol=1e-8)


def test_the_matrix_is_not_made_for_its_rows(form, monkeypatch):
    monkeypatch.setattr(type(form), "dense", lambda self: pytest.fail("the whole matrix was made"))
    form.rows_at(torch.tensor([1, 2]))


def test_many_rows_are_taken_in_parts(monkeypatch):
    train = TrainOperator.from_weight(weight(), 3)
    monkeypatch.setattr(row_digits, "_AT_ONCE", 2 * max(core[:, 0].numel() for core in train.cores))
    index = torch.arange(OUT).flip(0)
    torch.testing.assert_close(train.rows_at(index), train.dense()[index], **EXACT)


@settings(max_examples=40)
@given(st.lists(st.integers(1, 5), min_size=1, max_size=4))
def test_the_digits_of_a_row_are_its_places_in_an_array(dims):
    numbers = torch.arange(torch.Size(dims).numel()).reshape(dims)
    digits = row_digits.row_digits(numbers.flatten(), dims)
    assert torch.equal(numbers[tuple(digits)], numbers.flatten())
