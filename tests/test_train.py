"""TensorTrain: the error bound of its cuts, its spectra, and long trains that no dense tensor could hold."""

import math
from itertools import pairwise

import jaxtyping
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from workbench.decompose.train import TensorTrain

few = settings(max_examples=30)  # small tensors, but many operations on each
ROOT_PRECISION = 2e-8  # a Gram matrix squares its input: singular values are right to this share of the largest


@st.composite
def tensors(draw, min_order: int = 1) -> Tensor:
    """Small float64 tensors of one to four axes: of full rank, of rank one, of integers, of zeros."""
    shape = draw(st.lists(st.integers(1, 4), min_size=min_order, max_size=4))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 10**6)))
    kind = draw(st.sampled_from(["random", "rank one", "integers", "zero", "small"]))
    if kind == "rank one":
        letters = "abcd"[: len(shape)]
        vectors = [torch.randn(size, generator=generator, dtype=torch.float64) for size in shape]
        return torch.einsum(f"{','.join(letters)}->{letters}", *vectors)
    if kind == "integers":
        return torch.randint(-1, 2, shape, generator=generator).double()
    return torch.randn(shape, generator=generator, dtype=torch.float64) * {"zero": 0, "small": 1e-6}.get(kind, 1)


@st.composite
def chains(draw) -> list[Tensor]:
    """Any cores: one to four sites, bonds smaller, equal to or larger than the full ones."""
    sites = draw(st.lists(st.integers(1, 3), min_size=1, max_size=4))
    inner = draw(st.lists(st.integers(1, 6), min_size=len(sites) - 1, max_size=len(sites) - 1))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 10**6)))
    bonds = pairwise([1, *inner, 1])
    return [
        torch.randn(left, site, right, generator=generator, dtype=torch.float64)
        for site, (left, right) in zip(sites, bonds, strict=True)
    ]


def norm(tensor: Tensor) -> float:
    return float(torch.linalg.norm(tensor))


def unfoldings(tensor: Tensor) -> list[Tensor]:
    return [tensor.reshape(math.prod(tensor.shape[:k]), -1) for k in range(1, tensor.ndim)]


def product_of(cores: list[Tensor]) -> Tensor:
    """The dense tensor of a chain, in one einsum: the second way."""
    operands = [part for k, core in enumerate(cores) for part in (core, [k, 10 + k, k + 1])]
    out = [10 + k for k in range(len(cores))]
    return torch.einsum(*operands, [0, *out, len(cores)]).reshape([core.shape[1] for core in cores])


def assert_spectra_are_those_of(tensor: Tensor, train: TensorTrain) -> None:
    assert len(train.spectra) == tensor.ndim - 1
    for spectrum, unfolding in zip(train.spectra, unfoldings(tensor), strict=True):
        expected = torch.linalg.svdvals(unfolding)
        both = min(len(spectrum), len(expected))
        atol = ROOT_PRECISION * norm(tensor)
        assert torch.allclose(spectrum.values[:both], expected[:both], atol=atol)
        assert norm(spectrum.values[both:]) <= atol
        assert norm(expected[both:]) <= atol


def any_cut(data, train: TensorTrain) -> tuple[int, ...]:
    return tuple(data.draw(st.integers(1, full)) for full in train.full_bonds)


@few
@given(tensors())
def test_the_uncut_train_is_the_tensor_and_knows_its_spectra(tensor):
    train = TensorTrain.from_dense(tensor)
    assert train.shape == tensor.shape
    assert train.bonds == train.full_bonds
    assert train.n_params == sum(core.numel() for core in train.cores)
    assert train.error_bound() == 0
    assert torch.allclose(train.dense(), tensor, rtol=1e-12, atol=1e-13 * norm(tensor))
    assert_spectra_are_those_of(tensor, train)


@few
@given(tensors(min_order=2), st.data())
def test_cutting_any_bonds_drops_at_most_the_root_of_the_summed_squares(tensor, data):
    train = TensorTrain.from_dense(tensor)
    bonds = any_cut(data, train)
    cut = train.truncate(bonds)
    dropped = [spectrum.error(bond) for spectrum, bond in zip(train.spectra, bonds, strict=True)]
    assert cut.bonds == bonds
    assert cut.error_bound() == pytest.approx(sum(error**2 for error in dropped) ** 0.5, rel=1e-12, abs=0)
    error = norm(tensor - cut.dense())
    assert error <= cut.error_bound() * (1 + 1e-12) + 1e-13 * norm(tensor)
    assert error >= max(dropped) - 2 * ROOT_PRECISION * norm(tensor)  # no matrix of that rank comes nearer


@few
@given(tensors(min_order=2), st.data())
def test_cutting_one_bond_drops_exactly_its_tail(tensor, data):
    train = TensorTrain.from_dense(tensor)
    bonds = list(train.full_bonds)
    k = data.draw(st.integers(0, len(bonds) - 1))
    bonds[k] = data.draw(st.integers(1, bonds[k]))
    cut = train.truncate(bonds)
    tail = norm(torch.linalg.svdvals(unfoldings(tensor)[k])[bonds[k] :])
    assert cut.error_bound() == pytest.approx(norm(tensor - cut.dense()), rel=1e-9, abs=1e-13 * norm(tensor))
    assert cut.error_bound() == pytest.approx(tail, abs=2 * ROOT_PRECISION * norm(tensor))


@few
@given(tensors(min_order=2), st.data())
def test_cuts_are_nested_views(tensor, data):
    train = TensorTrain.from_dense(tensor)
    first, second = any_cut(data, train), any_cut(data, train)
    twice = train.truncate(first).truncate(second)
    once = train.truncate([min(pair) for pair in zip(first, second, strict=True)])
    for ours, theirs, whole in zip(twice.cores, once.cores, train.cores, strict=True):
        assert torch.equal(ours, theirs)
        assert ours.untyped_storage().data_ptr() == whole.untyped_storage().data_ptr()
    assert twice.spectra is train.spectra


@few
@given(tensors(min_order=2), st.data())
def test_one_number_is_a_cap_on_every_bond(tensor, data):
    train = TensorTrain.from_dense(tensor)
    cap = data.draw(st.integers(1, max(train.full_bonds)))
    assert train.truncate(cap).bonds == tuple(min(cap, full) for full in train.full_bonds)


@few
@given(chains(), st.data())
def test_a_train_of_any_cores_is_uncut_with_the_spectra_of_its_tensor(cores, data):
    tensor = product_of(cores)
    train = TensorTrain.from_cores(cores)
    scale = math.prod(norm(core) for core in cores)
    assert torch.allclose(train.dense(), tensor, atol=1e-13 * scale)
    assert_spectra_are_those_of(tensor, train)
    for core in train.cores[1:]:
        rows = core.flatten(1, 2)
        assert torch.allclose(rows @ rows.T, torch.eye(len(rows), dtype=torch.float64), atol=1e-12)
    cut = train.truncate(any_cut(data, train))
    assert norm(tensor - cut.dense()) <= cut.error_bound() * (1 + 1e-12) + 1e-13 * scale


@few
@given(chains(), st.data())
def test_inner_norm_and_entry_are_those_of_the_dense_tensors(cores, data):
    train = TensorTrain.from_cores(cores)
    cut = train.truncate(any_cut(data, train))
    scale = norm(train.dense())
    index = [data.draw(st.integers(0, size - 1)) for size in train.shape]
    assert float(train.inner(cut)) == pytest.approx(float((train.dense() * cut.dense()).sum()), abs=1e-12 * scale**2)
    assert float(cut.norm()) == pytest.approx(norm(cut.dense()), rel=1e-9, abs=1e-7 * scale)
    assert float(cut.entry(index)) == pytest.approx(float(cut.dense()[tuple(index)]), abs=1e-12 * scale)


def one_excitation(n_sites: int) -> list[Tensor]:
    """Cores of the W state: equal amplitudes for the configurations with a single 1. Not canonical."""
    step = torch.zeros(2, 2, 2, dtype=torch.float64)  # the bond says whether the 1 has come already
    step[0, 0, 0] = step[1, 0, 1] = step[0, 1, 1] = 1
    return [step[:1] * n_sites**-0.5, *[step] * (n_sites - 2), step[:, :, 1:]]


def all_equal(n_sites: int) -> list[Tensor]:
    """Cores of the GHZ state: all sites 0 or all sites 1."""
    same = torch.zeros(2, 2, 2, dtype=torch.float64)
    same[0, 0, 0] = same[1, 1, 1] = 1
    return [same.sum(0, keepdim=True) * 0.5**0.5, *[same] * (n_sites - 2), same.sum(2, keepdim=True)]


def test_a_train_longer_than_a_tensor_has_axes_has_the_entropies_of_its_state():
    n_sites = 70  # a dense tensor of torch stops at 64 axes
    w, ghz = TensorTrain.from_cores(one_excitation(n_sites)), TensorTrain.from_cores(all_equal(n_sites))
    for k in range(1, n_sites):
        share = k / n_sites
        expected = -share * math.log(share) - (1 - share) * math.log(1 - share)
        assert w.spectra[k - 1].entropy() == pytest.approx(expected, rel=1e-9)
        assert ghz.spectra[k - 1].entropy() == pytest.approx(math.log(2), rel=1e-9)
    assert float(w.norm()) == pytest.approx(1)
    assert float(ghz.norm()) == pytest.approx(1)
    assert float(w.inner(ghz)) == pytest.approx(0, abs=1e-12)
    assert float(w.entry([0] * 40 + [1] + [0] * 29)) == pytest.approx(n_sites**-0.5)
    assert float(w.entry([0] * n_sites)) == pytest.approx(0, abs=1e-12)
    assert float(ghz.entry([1] * n_sites)) == pytest.approx(0.5**0.5)


def test_cutting_a_long_train_of_one_bond_drops_what_is_reported():
    uncut = TensorTrain.from_cores(one_excitation(80))
    cut = uncut.truncate([1 if k == 19 else full for k, full in enumerate(uncut.full_bonds)])
    squared = float(uncut.inner(uncut) - 2 * uncut.inner(cut) + cut.inner(cut))
    assert cut.error_bound() == pytest.approx(squared**0.5)
    assert cut.error_bound() == pytest.approx(0.5)  # the 20 of 80 sites: a quarter of the weight


def test_float32_spectra_and_cuts_are_right_to_a_thousandth():
    sizes = (6, 8, 8, 10)
    tensor = torch.randn(sizes, dtype=torch.float64)
    for axis, size in enumerate(sizes):
        scales = torch.arange(1, size + 1, dtype=torch.float64) ** -0.6
        tensor = tensor * scales.reshape([-1 if k == axis else 1 for k in range(4)])
    train = TensorTrain.from_dense(tensor.float())
    assert {core.dtype for core in train.cores} == {torch.float32}
    for spectrum, unfolding in zip(train.spectra, unfoldings(tensor.float().double()), strict=True):
        assert torch.allclose(spectrum.values, torch.linalg.svdvals(unfolding), rtol=1e-3)
    for bond in (2, 5, 20):
        cut = train.truncate(bond)
        error = norm(tensor - product_of([core.double() for core in cut.cores]))
        assert error <= cut.error_bound() * (1 + 1e-5)


@few
@given(tensors(min_order=2), st.data())
def test_tensorly_finds_the_same_train(tensor, data):
    peer = pytest.importorskip("tensorly.decomposition")
    train = TensorTrain.from_dense(tensor)
    bonds = any_cut(data, train)
    theirs = torch.as_tensor(peer.tensor_train(tensor.numpy(), rank=[1, *bonds, 1]).to_tensor())
    cut = train.truncate(bonds)
    their_error, tolerance = norm(tensor - theirs), 1e-7 * norm(tensor)
    assert their_error <= cut.error_bound() + tolerance
    if sum(bond < full for bond, full in zip(bonds, train.full_bonds, strict=True)) <= 1:
        assert norm(tensor - cut.dense()) == pytest.approx(their_error, abs=tolerance)


def test_the_zero_tensor_can_be_cut_without_error():
    train = TensorTrain.from_dense(torch.zeros(2, 3, 4, dtype=torch.float64))
    assert [spectrum.entropy() for spectrum in train.spectra] == [0, 0]
    assert train.truncate(1).error_bound() == 0
    assert torch.equal(train.truncate(1).dense(), torch.zeros(2, 3, 4, dtype=torch.float64))
    assert float(train.truncate(1).norm()) == 0


def test_a_tensor_that_cannot_be_a_train_is_refused():
    for empty in (torch.tensor(1.0), torch.zeros(3, 0)):
        with pytest.raises(ValueError, match="one or more axes, none of size 0"):
            TensorTrain.from_dense(empty)
    with pytest.raises(ValueError, match=r"the tensor of shape \(3, 4\) holds 12 non-finite values"):
        TensorTrain.from_dense(torch.full((3, 4), math.nan))
    with pytest.raises(ValueError, match=r"the core of shape \(1, 3, 1\) holds 3 non-finite values"):
        TensorTrain.from_cores([torch.full((1, 3, 1), math.inf)])


def test_cuts_that_do_not_fit_are_refused():
    train = TensorTrain.from_dense(torch.randn(3, 5, 4))
    for bonds, message in [
        (5, "bond 5 does not fit: this bond can be cut to 1, 2, … 4"),
        ([4, 4], "bond 4 does not fit: this bond can be cut to 1, 2, … 3"),
        ([3, 0], "bond 0 does not fit: this bond can be cut to 1, 2, … 4"),
        ([3], "a train of 2 bonds is cut by that many sizes, not 1"),
    ]:
        with pytest.raises(ValueError, match=message):
            train.truncate(bonds)


def test_cores_that_are_no_chain_are_refused(monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # or the annotations refuse some first
    spectra = TensorTrain.from_dense(torch.randn(3, 4)).spectra
    for cores, message in [
        ([torch.ones(1, 2, 3), torch.ones(4, 2, 1)], "core 1 has a left bond of 4, but what it joins has 3"),
        ([torch.ones(2, 3, 1)], "core 0 has a left bond of 2, but what it joins has 1"),
        ([torch.ones(1, 2, 3)], "here 1 end in 3"),
        ([torch.ones(3, 4)], r"core 0 needs the axes \(left, site, right\), not shape \(3, 4\)"),
        ([], "one or more cores"),
        ([torch.ones(1, 2, 4), torch.ones(4, 2, 1)], "bond 0 has size 4, but its spectrum has 3 values"),
        ([torch.ones(1, 2, 1)], "1 cores have 0 bonds, but 1 spectra are given"),
    ]:
        with pytest.raises(ValueError, match=message):
            TensorTrain(tuple(cores), spectra)


def test_questions_of_the_wrong_size_are_refused():
    train = TensorTrain.from_dense(torch.randn(3, 4))
    with pytest.raises(ValueError, match="an entry of 2 sites needs that many indices, not 3"):
        train.entry([0, 0, 0])
    with pytest.raises(ValueError, match=r"equal sites, not \(3, 4\) and \(4, 3\)"):
        train.inner(TensorTrain.from_dense(torch.randn(4, 3)))
