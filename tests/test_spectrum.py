"""Spectrum: known values, laws over all spectra, and what it refuses."""

import math

import jaxtyping
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from workbench.spectrum import Spectrum

spectra = st.lists(st.floats(0, 10).filter(lambda value: value == 0 or value > 1e-6), min_size=1, max_size=8).map(
    lambda values: Spectrum(torch.tensor(sorted(values, reverse=True), dtype=torch.float64))
)


def spectrum_of(*values: float) -> Spectrum:
    return Spectrum(torch.tensor(values, dtype=torch.float64))


def test_a_cut_drops_the_tail():
    spectrum = spectrum_of(2, 1, 1, 0)
    assert [spectrum.error(rank) for rank in range(5)] == pytest.approx([6**0.5, 2**0.5, 1, 0, 0])
    assert [spectrum.discarded_weight(rank) for rank in range(5)] == pytest.approx([1, 2 / 6, 1 / 6, 0, 0])
    assert spectrum.discarded_weights().tolist() == pytest.approx([1, 2 / 6, 1 / 6, 0, 0])
    assert len(spectrum) == 4


def test_a_tail_far_below_the_largest_value_keeps_its_digits():
    assert spectrum_of(1, 3e-12, 2e-12).error(1) == pytest.approx(13**0.5 * 1e-12, rel=1e-12, abs=0)


@pytest.mark.parametrize(
    ("values", "entropy"),
    [((3, 3, 3, 3), math.log(4)), ((5, 0, 0), 0), ((3**0.5, 1), 2 * math.log(2) - 0.75 * math.log(3)), ((0, 0), 0)],
)
def test_the_entropy_is_that_of_the_squared_shares(values, entropy):
    assert spectrum_of(*values).entropy() == pytest.approx(entropy, abs=1e-15)


def test_a_spectrum_of_zeros_discards_nothing():
    spectrum = spectrum_of(0, 0, 0)
    assert spectrum.discarded_weights().tolist() == [0, 0, 0, 0]
    assert spectrum.error(0) == 0
    assert spectrum.rank_for(0.0) == 0


def test_the_rank_for_a_weight_leaves_out_zeros():
    assert [spectrum_of(2, 1, 0).rank_for(weight) for weight in (0.0, 0.19, 0.2, 0.99, 1.0)] == [2, 2, 1, 1, 0]


@given(spectra)
def test_kept_and_dropped_weight_add_up(spectrum):
    for rank in range(len(spectrum) + 1):
        kept = float(spectrum.values[:rank].square().sum())
        assert kept + spectrum.error(rank) ** 2 == pytest.approx(float(spectrum.values.square().sum()))


@given(spectra, st.floats(0, 1))
def test_the_rank_for_a_weight_is_the_smallest_that_holds_it(spectrum, weight):
    rank = spectrum.rank_for(weight)
    assert spectrum.discarded_weight(rank) <= weight
    assert rank == 0 or spectrum.discarded_weight(rank - 1) > weight


@given(spectra)
def test_the_entropy_lies_between_none_and_that_of_equal_values(spectrum):
    assert -1e-12 <= spectrum.entropy() <= math.log(len(spectrum)) + 1e-12


def test_values_are_kept_in_float64_without_a_gradient():
    values = torch.tensor([2.0, 1.0], requires_grad=True)
    spectrum = Spectrum(values)
    assert spectrum.values.dtype == torch.float64
    assert not spectrum.values.requires_grad


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (torch.zeros(0), r"one or more singular values in one row, not shape \(0,\)"),
        (torch.zeros(3, 4), r"not shape \(3, 4\)"),
        (torch.tensor([math.nan, 1.0]), "check the tensor for nan or inf"),
        (torch.tensor([math.inf, 1.0]), "check the tensor for nan or inf"),
        (torch.tensor([1.0, -0.5]), "finite singular values of zero or more"),
        (torch.tensor([1.0, 2.0]), "from the largest singular value down"),
    ],
)
def test_what_is_no_spectrum_is_refused(values, message, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # or the annotation refuses a shape first
    with pytest.raises(ValueError, match=message):
        Spectrum(values)


@pytest.mark.parametrize("rank", [-1, 4])
def test_a_rank_outside_the_spectrum_is_refused(rank):
    for question in (spectrum_of(3, 2, 1).error, spectrum_of(3, 2, 1).discarded_weight):
        with pytest.raises(ValueError, match=f"rank {rank} does not fit a spectrum of 3 values; give 0 to 3"):
            question(rank)


@pytest.mark.parametrize("weight", [-0.1, 1.5])
def test_a_discarded_weight_is_a_share(weight):
    with pytest.raises(ValueError, match=f"a share from 0 to 1, not {weight}"):
        spectrum_of(3, 2, 1).rank_for(weight)
