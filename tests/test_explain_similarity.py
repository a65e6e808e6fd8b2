"""Similarity of functions: the same for every set of weights of one function, and what random inputs measure."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from workbench.born.explain.similarity import bilinear_product, bilinear_similarity, fidelity, train_similarity
from workbench.born.machine import BornMachine
from workbench.decompose.train import TensorTrain
from workbench.transformer.bilinear import BilinearLayer

few = settings(max_examples=15)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=seeded(seed), dtype=torch.float64)


def random_train(shape: list[int], bond: int, seed: int) -> TensorTrain:
    bonds = [1, *[bond] * (len(shape) - 1), 1]
    cores = [normal(bonds[k], size, bonds[k + 1], seed=seed + k) for k, size in enumerate(shape)]
    return TensorTrain.from_cores(cores)


def regauged(train: TensorTrain, seed: int) -> TensorTrain:
    """The same tensor with a matrix and its inverse on every bond, which leaves no core canonical."""
    cores = list(train.cores)
    for bond, size in enumerate(train.bonds):
        matrix = normal(size, size, seed=seed + bond) + 3 * torch.eye(size, dtype=torch.float64)
        cores[bond] = cores[bond] @ matrix
        cores[bond + 1] = torch.tensordot(torch.linalg.inv(matrix), cores[bond + 1], dims=1)
    return replace(train, cores=tuple(cores))


def shares_of(shape: list[int], seed: int) -> list[Tensor]:
    drawn = [torch.rand(size, generator=seeded(seed + site), dtype=torch.float64) for site, size in enumerate(shape)]
    return [share / share.sum() for share in drawn]


def layer(outputs: int, hidden: int, inputs: int, seed: int) -> BilinearLayer:
    sizes = ((outputs, hidden), (hidden, inputs), (hidden, inputs))
    return BilinearLayer(f"layer {seed}", *[normal(*size, seed=10 * seed + k) for k, size in enumerate(sizes)])


@few
@given(st.lists(st.integers(2, 3), min_size=1, max_size=5), st.integers(1, 3), st.integers(0, 10**6))
def test_the_similarity_of_trains_is_the_weighted_cosine_of_their_tensors(shape, bond, seed):
    first, second, shares = random_train(shape, bond, seed), random_train(shape, 2, seed + 99), shares_of(shape, seed)
    weights = shares[0]
    for share in shares[1:]:
        weights = weights[..., None] * share
    f, g = first.dense(), second.dense()
    expected = (weights * f * g).sum() / ((weights * f * f).sum() * (weights * g * g).sum()).sqrt()
    assert train_similarity(first, second, shares) == pytest.approx(float(expected), abs=1e-12)
    assert train_similarity(second, first, shares) == pytest.approx(float(expected), abs=1e-12)
    cosine = (f * g).sum() / (torch.linalg.vector_norm(f) * torch.linalg.vector_norm(g))
    assert train_similarity(first, second) == pytest.approx(float(cosine), abs=1e-12)


@few
@given(st.integers(1, 4), st.integers(0, 10**6))
def test_the_similarity_of_trains_knows_nothing_of_the_gauge(bond, seed):
    shape = [2, 3, 2, 3, 2]
    first, second, shares = random_train(shape, bond, seed), random_train(shape, 3, seed + 9), shares_of(shape, seed)
    moved = regauged(first, seed)
    assert torch.allclose(moved.dense(), first.dense(), atol=1e-8)
    assert train_similarity(first, moved, shares) == pytest.approx(1, abs=1e-10)
    expected = train_similarity(first, second, shares)
    assert train_similarity(moved, regauged(second, seed + 1), shares) == pytest.approx(expected, abs=1e-10)


def test_a_function_is_unlike_its_own_negative_and_like_its_double():
    train = random_train([2, 3, 2], 2, 0)
    for factor, expected in ((-1, -1), (2, 1), (-0.5, -1)):
        scaled = replace(train, cores=(train.cores[0] * factor, *train.cores[1:]))
        assert train_similarity(train, scaled) == pytest.approx(expected, abs=1e-12)


def test_functions_that_share_no_input_have_nothing_in_common():
    ones = [TensorTrain.from_dense(torch.eye(6, dtype=torch.float64)[k].reshape(2, 3)) for k in (0, 4)]
    assert train_similarity(*ones) == 0


def test_long_trains_neither_overflow_nor_underflow():
    machine = BornMachine.random([3] * 900, 3, seeded())
    train = replace(machine.train, cores=tuple([10 * core for core in machine.train.cores]))  # a norm of 10^900
    assert train_similarity(train, train) == pytest.approx(1, abs=1e-12)
    turned = replace(train, cores=(*train.cores[:-1], train.cores[-1] * torch.tensor([[1.0], [1], [-1]])))
    assert -1 < train_similarity(train, turned) < 1


def test_the_fidelity_of_states_is_the_square_of_their_overlap():
    first, second = (BornMachine(random_train([2, 3, 2], 2, seed)) for seed in (0, 7))
    expected = float((first.train.dense() * second.train.dense()).sum()) ** 2
    assert fidelity(first, second) == pytest.approx(expected, abs=1e-12)
    assert fidelity(first, BornMachine(regauged(first.train, 3))) == pytest.approx(1, abs=1e-12)


def test_a_bilinear_product_is_that_of_the_traces_of_its_forms():
    first, second = layer(3, 6, 5, 1), layer(3, 4, 5, 2)
    expected = 0.0
    for direction in torch.eye(3, dtype=torch.float64):
        a, b = (one.interaction(direction).dense() for one in (first, second))
        expected += float(a.trace() * b.trace() + 2 * (a @ b).trace())
    assert bilinear_product(first, second) == pytest.approx(expected, rel=1e-12)


def test_a_bilinear_product_is_the_mean_over_random_inputs_within_its_error():
    first, second = layer(3, 6, 4, 1), layer(3, 5, 4, 2)
    x = normal(400_000, 4)
    products = (first.apply(x) * second.apply(x)).sum(1)
    error = float(products.std()) / math.sqrt(len(x))
    found = bilinear_product(first, second)
    assert abs(found - float(products.mean())) < 3 * error
    assert error < 0.02 * math.sqrt(bilinear_product(first, first) * bilinear_product(second, second))


@few
@given(st.integers(0, 10**6))
def test_the_similarity_of_layers_knows_nothing_of_how_their_units_are_ordered_scaled_or_split(seed):
    first, second = layer(3, 5, 4, seed), layer(3, 6, 4, seed + 1)
    order = torch.randperm(5, generator=seeded(seed))
    gate_scale, in_scale = normal(5, seed=seed).exp(), -normal(5, seed=seed + 1).exp()
    units = BilinearLayer(
        "the same",
        (first.W_out / (gate_scale * in_scale))[:, order],
        (first.W_in * gate_scale[:, None])[order],  # gate and input change places: the form is symmetric
        (first.W_gate * in_scale[:, None])[order],
    )
    split = BilinearLayer(
        "the same again",
        torch.cat([first.W_out / 2, first.W_out / 2], 1),
        first.W_gate.repeat(2, 1),
        first.W_in.repeat(2, 1),
    )
    expected = bilinear_similarity(first, second)
    for same in (units, split):
        assert bilinear_similarity(first, same) == pytest.approx(1, abs=1e-10)
        assert bilinear_similarity(same, second) == pytest.approx(expected, abs=1e-10)


def test_turning_what_both_layers_read_and_what_both_write_changes_nothing():
    first, second = layer(3, 5, 4, 1), layer(3, 6, 4, 2)
    read, written = (torch.linalg.qr(normal(size, size, seed=size))[0] for size in (4, 3))
    turned = [
        replace(one, W_out=written @ one.W_out, W_gate=one.W_gate @ read, W_in=one.W_in @ read)
        for one in (first, second)
    ]
    assert bilinear_similarity(*turned) == pytest.approx(bilinear_similarity(first, second), abs=1e-12)
    assert bilinear_similarity(first, turned[1]) != pytest.approx(bilinear_similarity(first, second), abs=1e-3)


def test_bad_input_is_refused():
    train = random_train([2, 3], 2, 0)
    with pytest.raises(ValueError, match=r"these have the sites \(2, 3\), \(3, 4\)"):
        train_similarity(train, random_train([3, 4], 2, 0))
    with pytest.raises(ValueError, match=r"a train is torch\.float32"):
        train_similarity(train, TensorTrain.from_dense(train.dense().float()))
    with pytest.raises(ValueError, match=r"shares of \[2, 3\] symbols, site by site, not of \[3, 4\]"):
        train_similarity(train, train, shares_of([3, 4], 0))
    with pytest.raises(ValueError, match="0 on all inputs of the background"):
        train_similarity(train, TensorTrain.from_cores([0 * core for core in train.cores]))
    with pytest.raises(ValueError, match="these have 4 inputs and 3 outputs, and 5 inputs and 3 outputs"):
        bilinear_similarity(layer(3, 5, 4, 1), layer(3, 5, 5, 1))
    with pytest.raises(ValueError, match="layer 2 gives 0 for every input"):
        bilinear_similarity(layer(3, 5, 4, 1), replace(layer(3, 5, 4, 2), W_out=torch.zeros(3, 5).double()))
