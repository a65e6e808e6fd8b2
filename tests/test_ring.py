"""TensorRing: what its cores stand for, that sweeps never lead up, what it recovers, and what it cannot reach."""

import math
from itertools import pairwise

import jaxtyping
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from workbench.decompose.low_rank import LowRank
from workbench.decompose.ring import TensorRing
from workbench.decompose.train import TensorTrain

few = settings(max_examples=30)  # small tensors, but many products on each


@st.composite
def tensors(draw) -> Tensor:
    """Small float64 tensors of two to four axes: random, of integers, of zeros, small."""
    shape = draw(st.lists(st.integers(1, 4), min_size=2, max_size=4))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 10**6)))
    kind = draw(st.sampled_from(["random", "integers", "zero", "small"]))
    if kind == "integers":
        return torch.randint(-1, 2, shape, generator=generator).double()
    return torch.randn(shape, generator=generator, dtype=torch.float64) * {"zero": 0, "small": 1e-6}.get(kind, 1)


def closed_cores(shape: tuple[int, ...], bonds: tuple[int, ...], seed: int) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    joined = zip(shape, pairwise([*bonds, bonds[0]]), strict=True)
    sizes = [(left, site, right) for site, (left, right) in joined]
    return tuple(torch.randn(size, generator=generator, dtype=torch.float64) for size in sizes)


@st.composite
def rings(draw) -> tuple[Tensor, ...]:
    """Any cores that close: two to four sites, bonds of one to four."""
    pairs = draw(st.lists(st.tuples(st.integers(1, 3), st.integers(1, 4)), min_size=2, max_size=4))
    sites, bonds = zip(*pairs, strict=True)
    return closed_cores(sites, bonds, draw(st.integers(0, 10**6)))


def norm(tensor: Tensor) -> float:
    return float(torch.linalg.vector_norm(tensor))


def product_of(ring: TensorRing) -> Tensor:
    """The dense tensor, in one einsum whose last bond is the first: the second way."""
    order = len(ring.cores)
    operands = [part for k, core in enumerate(ring.cores) for part in (core, [k, 10 + k, (k + 1) % order])]
    return torch.einsum(*operands, [10 + k for k in range(order)])


@few
@given(rings(), st.data())
def test_dense_norm_and_entry_are_those_of_the_closed_product(cores, data):
    ring = TensorRing(cores)
    tensor = product_of(ring)
    scale = math.prod(norm(core) for core in cores)
    assert ring.shape == tensor.shape
    assert ring.bonds == tuple(core.shape[2] for core in (ring.cores[-1], *ring.cores[:-1]))
    assert ring.n_params == sum(core.numel() for core in ring.cores)
    assert torch.allclose(ring.dense(), tensor, atol=1e-13 * scale)
    assert float(ring.norm()) == pytest.approx(norm(tensor), rel=1e-9, abs=1e-7 * scale)
    index = [data.draw(st.integers(0, size - 1)) for size in ring.shape]
    assert float(ring.entry(index)) == pytest.approx(float(tensor[tuple(index)]), abs=1e-13 * scale)
    other = torch.randn(ring.shape, dtype=torch.float64)
    assert ring.error(other) == pytest.approx(norm(other - tensor), rel=1e-9, abs=1e-12 * scale)


@few
@given(rings(), st.integers(1, 3))
def test_turning_the_ring_turns_the_axes(cores, turn):
    ring, turn = TensorRing(cores), turn % len(cores)
    turned = TensorRing((*cores[turn:], *cores[:turn]))
    axes = [*range(turn, len(cores)), *range(turn)]
    scale = math.prod(norm(core) for core in ring.cores)
    assert torch.allclose(turned.dense(), ring.dense().permute(axes), atol=1e-13 * scale)


@few
@given(tensors())
def test_bonds_without_a_cap_leave_nothing(tensor):
    ring = TensorRing.from_dense(tensor, 10**6)
    assert ring.error(tensor) <= 1e-12 * norm(tensor)
    assert ring.bonds[0] * ring.bonds[1] == min(tensor.shape[0], tensor.numel() // tensor.shape[0])
    for sweeps in (0, 1):
        again = TensorRing.from_dense(tensor, ring.bonds, sweeps)
        assert again.bonds == ring.bonds
        assert again.error(tensor) <= 1e-9 * norm(tensor)


@few
@given(tensors(), st.integers(1, 3))
def test_more_sweeps_never_raise_the_error_and_what_is_left_is_orthogonal(tensor, cap):
    fits = [TensorRing.from_dense(tensor, cap, sweeps) for sweeps in range(4)]
    assert all(max(ring.bonds) <= cap for ring in fits)
    errors = [ring.error(tensor) for ring in fits]
    assert errors[0] <= norm(tensor) * (1 + 1e-12)
    for before, after in pairwise(errors):
        assert after <= before + 1e-9 * norm(tensor)
    for ring, error in zip(fits, errors, strict=True):  # TR-SVD is a projection, and so is each solution
        assert norm(ring.dense()) ** 2 + error**2 == pytest.approx(norm(tensor) ** 2, rel=1e-6, abs=0)


def test_a_sweep_ends_where_no_change_of_the_last_core_lowers_the_error():
    scales = torch.logspace(0, -3, 4, dtype=torch.float64)  # steep, so that the cores are nearly dependent
    tensor = torch.randn(4, 4, 4, dtype=torch.float64) * scales * scales[:, None] * scales[:, None, None]
    cores = TensorRing.from_dense(tensor, 2, 1).cores
    last = cores[-1].clone().requires_grad_()
    remains = (tensor - TensorRing((*cores[:-1], last)).dense()).square().sum()
    (slope,) = torch.autograd.grad(remains, last)
    assert norm(slope) * norm(last.detach()) <= 1e-10 * norm(tensor) ** 2


@few
@given(tensors().filter(lambda tensor: tensor.ndim == 2), st.integers(1, 2), st.integers(1, 2))
def test_a_ring_of_two_cores_is_a_low_rank_pair_whose_rank_is_the_product_of_the_bonds(matrix, first, second):
    pair = LowRank.from_weight(matrix)
    if first * second <= pair.full_bond:
        ring = TensorRing.from_dense(matrix, (first, second))
        assert ring.error(matrix) == pytest.approx(pair.truncate(first * second).error(), abs=1e-9 * norm(matrix))


def test_a_ring_closed_by_a_bond_of_one_is_a_train():
    peer = pytest.importorskip("tensorly.decomposition")
    tensor = torch.randn(4, 3, 5, 4, dtype=torch.float64)
    ring = TensorRing.from_dense(tensor, (1, 3, 6, 3))
    theirs = peer.tensor_train(tensor.numpy(), rank=[1, 3, 6, 3, 1]).to_tensor()
    assert torch.allclose(ring.dense(), torch.as_tensor(theirs), atol=1e-9)
    assert ring.error(tensor) <= TensorTrain.from_dense(tensor).truncate((3, 6, 3)).error_bound()
    joined = peer.tensor_ring(tensor.numpy(), rank=[1, 3, 6, 3, 1]).to_tensor()
    assert torch.allclose(ring.dense(), torch.as_tensor(joined), atol=1e-9)


def test_tensorly_makes_the_same_tensor_of_the_same_cores():
    peer = pytest.importorskip("tensorly.tr_tensor")
    ring = TensorRing(closed_cores((3, 4, 2, 5), (2, 3, 4, 2), 0))
    theirs = peer.tr_to_tensor([core.numpy() for core in ring.cores])
    assert torch.allclose(ring.dense(), torch.as_tensor(theirs), atol=1e-11)


@pytest.mark.parametrize("seed", [2, 3, 4])
def test_sweeps_recover_planted_bonds_that_tr_svd_alone_cannot(seed):
    truth = TensorRing(closed_cores((4, 4, 4), (2, 2, 2), seed))
    tensor = truth.dense()
    alone, swept = (TensorRing.from_dense(tensor, truth.bonds, sweeps) for sweeps in (0, 200))
    assert alone.error(tensor) > 0.05 * norm(tensor)
    assert swept.error(tensor) <= 1e-9 * norm(tensor)
    assert swept.n_params == truth.n_params


def parity(n_sites: int) -> TensorRing:
    """1 where an even number of sites are 1, else 0: the halved sum of (1, 1)^⊗n and (1, −1)^⊗n."""
    core = torch.zeros(2, 2, 2, dtype=torch.float64)
    core[0, :, 0] = 1
    core[1, 0, 1], core[1, 1, 1] = 1, -1
    gauge = torch.tensor([[2, 1], [1, 1]], dtype=torch.float64)  # so that the sums are not told apart by a bond's index
    core = torch.einsum("ab,bic,cd->aid", gauge, core, torch.linalg.inv(gauge).round())
    return TensorRing((core * 0.5, *[core] * (n_sites - 1)))


def test_a_ring_longer_than_a_tensor_has_axes_has_a_norm_and_entries():
    n_sites = 70  # a dense tensor of torch stops at 64 axes
    ring = parity(n_sites)
    assert torch.equal(parity(3).dense(), product_of(parity(3)))
    assert float(ring.norm()) == pytest.approx(2 ** ((n_sites - 1) / 2))
    assert float(ring.entry([1, 1] + [0] * (n_sites - 2))) == 1
    assert float(ring.entry([1] + [0] * (n_sites - 1))) == 0


def test_the_largest_reachable_bonds_share_the_first_rank_evenly():
    tensor = torch.randn(6, 5, 7, dtype=torch.float64)
    assert TensorRing.from_dense(tensor, 3).bonds == (2, 3, 3)
    assert TensorRing.from_dense(tensor, 2).bonds == (2, 2, 2)
    assert TensorRing.from_dense(tensor, 100).bonds == (2, 3, 14)
    assert TensorRing.from_dense(tensor.movedim(1, 0), 100).bonds == (1, 5, 7)


def test_float32_stays_and_a_fit_is_the_same_each_time():
    tensor = torch.randn(4, 5, 3)
    first, second = (TensorRing.from_dense(tensor, 2, 3) for _ in range(2))
    for ours, theirs in zip(first.cores, second.cores, strict=True):
        assert torch.equal(ours, theirs)
        assert ours.dtype == torch.float32


@pytest.mark.parametrize(
    ("bonds", "message"),
    [
        ((2, 2), "a ring of 3 sites has that many bonds, not 2"),
        (0, r"every bond of a ring has a size of 1 or more, not \(0, 0, 0\)"),
        ((2, 1, -3), r"every bond of a ring has a size of 1 or more, not \(2, 1, -3\)"),
        ((2, 2, 2), r"bonds \(2, 2, 2\) are out of reach .* shape \(3, 4, 5\), which gives at most \(1, 2, 2\)"),
        ((1, 3, 6), r"bonds \(1, 3, 6\) are out of reach .*, which gives at most \(1, 3, 5\)"),
    ],
)
def test_bonds_that_do_not_fit_are_refused(bonds, message):
    with pytest.raises(ValueError, match=message):
        TensorRing.from_dense(torch.randn(3, 4, 5), bonds)


def test_tensors_and_questions_that_do_not_fit_are_refused():
    for tensor, shape in ((torch.randn(3), r"\(3,\)"), (torch.randn(3, 0, 4), r"\(3, 0, 4\)")):
        with pytest.raises(ValueError, match=f"two or more axes, none of size 0, not shape {shape}"):
            TensorRing.from_dense(tensor, 1)
    with pytest.raises(ValueError, match=r"the tensor of shape \(3, 4\) holds 12 non-finite values"):
        TensorRing.from_dense(torch.full((3, 4), math.inf), 1)
    with pytest.raises(TypeError, match="a bond dimension is a whole number, not True"):
        TensorRing.from_dense(torch.randn(3, 4), True)
    with pytest.raises(ValueError, match="zero or more sweeps, not -2"):
        TensorRing.from_dense(torch.randn(3, 4), 1, -2)
    ring = TensorRing.from_dense(torch.randn(3, 4), 1)
    with pytest.raises(ValueError, match="an entry of 2 sites needs that many indices, not 3"):
        ring.entry([0, 0, 0])
    with pytest.raises(ValueError, match=r"a ring of shape \(3, 4\) cannot be compared with a tensor of \(4, 3\)"):
        ring.error(torch.randn(4, 3))


def test_cores_that_are_no_ring_are_refused(monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # or the annotations refuse some first
    for shapes, message in [
        ([(3, 2, 3)], "a ring has two or more cores, not 1"),
        ([(3, 2, 4), (5, 2, 3)], "core 1 has a left bond of 5, but what it joins has 4"),
        ([(3, 2, 4), (4, 2, 5)], "core 0 has a left bond of 3, but what it joins has 5"),
        ([(3, 2, 3), (3, 4)], r"core 1 needs the axes \(left, site, right\), not shape \(3, 4\)"),
    ]:
        with pytest.raises(ValueError, match=message):
            TensorRing(tuple(torch.ones(shape) for shape in shapes))
