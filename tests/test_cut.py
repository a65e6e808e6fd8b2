"""A decomposition under the knife: reported error against measured, what is stored, and refusals."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from workbench.decompose.cp import CanonicalPolyadic
from workbench.decompose.kronecker import KroneckerSum
from workbench.decompose.low_rank import LowRank
from workbench.decompose.metric import Metric
from workbench.decompose.operator import TrainOperator
from workbench.decompose.train import TensorTrain
from workbench.decompose.tucker import Tucker
from workbench.explore.cut import CutLab


def random(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64)


def forms() -> dict[str, object]:
    torch.manual_seed(3)
    weight, tensor = random(12, 18), random(3, 4, 5)
    return {
        "low rank": LowRank.from_weight(weight),
        "train": TensorTrain.from_dense(tensor),
        "operator": TrainOperator.from_weight(weight, sites=2),
        "tucker": Tucker.from_dense(tensor),
        "kronecker": KroneckerSum.from_weight(weight),
    }


@pytest.mark.parametrize("name", list(forms()))
def test_uncut_nothing_is_lost(name):
    frame = CutLab(forms()[name]).frame()
    assert frame.bonds == frame.full_bonds
    assert frame.bound == 0
    assert frame.measured == pytest.approx(0, abs=1e-12)
    assert frame.n_params == frame.full_n_params


@pytest.mark.parametrize("name", list(forms()))
def test_one_cut_bond_loses_what_its_spectrum_says(name):
    lab = CutLab(forms()[name])
    for leg, full in lab.full_bonds.items():
        lab.select(leg)
        lab.cut(leg, max(1, full // 2))
        frame = lab.frame()
        assert frame.measured == pytest.approx(frame.error)
        assert frame.bound == pytest.approx(frame.error)
        assert frame.discarded_weight == pytest.approx(frame.error**2 / float(frame.spectrum.values.square().sum()))
        lab.cut(leg, full)


@settings(max_examples=25)
@given(st.data())
def test_all_cuts_together_lose_at_most_the_bound(data):
    lab = CutLab(forms()[data.draw(st.sampled_from(["train", "tucker"]))])
    for leg, full in lab.full_bonds.items():
        lab.cut(leg, data.draw(st.integers(1, full)))
    frame = lab.frame()
    assert frame.measured is not None
    assert frame.measured <= frame.bound * (1 + 1e-12) + 1e-12


def test_the_line_of_a_cut_bond_is_thinner():
    lab = CutLab(forms()["low rank"])
    before = {wire.leg: wire.width for wire in lab.frame().scene.wires}
    lab.cut("a", 3)
    after = {wire.leg: wire.width for wire in lab.frame().scene.wires}
    assert after["a"] < before["a"]
    assert after["i"] == before["i"]


def test_an_effect_of_ones_own_is_measured_on_the_dense_tensor_of_the_cut():
    pair = forms()["low rank"]
    lab = CutLab(pair, effect=lambda dense: float(dense.trace()), effect_name="trace")
    lab.cut("a", 2)
    frame = lab.frame()
    assert frame.effect == pytest.approx(float(pair.truncate(2).dense().trace()))
    assert f"trace: {frame.effect:.4g}" in str(frame)


def test_a_calibrated_pair_is_bounded_in_its_own_norm_and_not_measured():
    inputs = random(40, 18)
    lab = CutLab(LowRank.from_weight(random(12, 18), Metric(inputs.T @ inputs / 40)))
    lab.cut("a", 5)
    frame = lab.frame()
    assert frame.measured is None
    assert frame.spectrum.norm == "output"
    assert "(output norm)" in str(frame)


def test_what_was_cut_before_is_not_opened_again():
    lab = CutLab(forms()["low rank"].truncate(7))
    assert lab.full_bonds == {"a": 7}
    with pytest.raises(ValueError, match=r"bond 8 does not fit: this bond can be cut to 1, 2, … 7 \(full\)"):
        lab.cut("a", 8)


def test_what_does_not_fit_is_refused_and_changes_nothing():
    lab = CutLab(forms()["train"])
    with pytest.raises(ValueError, match="there is no bond 'z' here; the bonds are a1, a2"):
        lab.cut("z", 1)
    with pytest.raises(ValueError, match="there is no bond 'i1' here"):
        lab.select("i1")
    with pytest.raises(ValueError, match="bond 0 does not fit"):
        lab.cut("a1", 0)
    assert lab.bonds == lab.full_bonds


def test_one_core_has_no_bond_to_cut():
    with pytest.raises(ValueError, match="this decomposition has one core, and so no bond to cut"):
        CutLab(TensorTrain.from_dense(random(5)))


def test_a_form_that_is_not_nested_is_refused():
    with pytest.raises(TypeError, match="a CanonicalPolyadic is not nested"):
        CutLab(CanonicalPolyadic.from_dense(random(3, 4, 5), 2))
