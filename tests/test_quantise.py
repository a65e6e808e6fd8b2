"""Integers in place of numbers: what they stand for, the bytes they take, and the factors they suit."""

import math
import sys
from importlib.abc import MetaPathFinder

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from workbench.compress.layers import BondLinear
from workbench.compress.quantise import (
    Quantised,
    packed,
    quantise_layers,
    quantised,
    quantised_tensor,
    quantised_weight,
    unpacked,
)
from workbench.decompose.family import Family
from workbench.decompose.low_rank import LowRank
from workbench.decompose.operator import TrainOperator
from workbench.decompose.outer_sum import outer_sums
from workbench.decompose.pivots import PivotPair
from workbench.transformer.matrices import BlockMatrix

few = settings(max_examples=25)
BOTH = pytest.mark.parametrize("bits", [8, 4])
shapes = st.lists(st.integers(1, 5), min_size=2, max_size=3).map(tuple)
groups = st.one_of(st.none(), st.integers(2, 6))


def norm(tensor: Tensor) -> float:
    return float(torch.linalg.vector_norm(tensor))


def by_hand(row: list[float], bits: int) -> tuple[list[float], float]:
    """One group's numbers after quantising, worked out number by number, and its scale."""
    least, most = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    low, high = min(0.0, *row), max(0.0, *row)
    if bits == 8:
        low, high = -max(-low, high), max(-low, high)
    scale = float(torch.tensor((high - low) / (most - least)).bfloat16())
    zero = 0 if bits == 8 else max(least, min(most, least - round(low / ((high - low) / (most - least)))))
    return [(max(least, min(most, round(x / scale) + zero)) - zero) * scale for x in row], scale


@BOTH
@pytest.mark.parametrize(
    ("shape", "group_size", "axis"), [((3, 8), 4, 1), ((8, 3), 4, 0), ((3, 7), 4, -1), ((2, 5, 3), 5, 1)]
)
def test_the_numbers_are_those_worked_out_by_hand(bits, shape, group_size, axis):
    tensor = torch.randn(shape)
    found = quantised_tensor(tensor, bits, group_size, axis)
    rows = tensor.movedim(axis, -1).flatten(0, -2)
    expected, scales = [], []
    for row in rows.tolist():
        pairs = [by_hand(row[start : start + group_size], bits) for start in range(0, len(row), group_size)]
        expected.append([x for numbers, _ in pairs for x in numbers])
        scales.append([scale for _, scale in pairs])
    back = found.tensor()
    assert back.shape == tensor.shape
    assert torch.allclose(back.movedim(axis, -1).flatten(0, -2), torch.tensor(expected), atol=1e-6)
    assert torch.allclose(found.scales.float(), torch.tensor(scales), rtol=2**-7)


def test_eight_bits_are_those_of_the_layer_that_torchao_makes():
    from torchao.quantization import Int8WeightOnlyConfig, quantize_

    layer = nn.Linear(24, 12, bias=False)
    ours, n_bytes = quantised_weight(layer.weight.detach(), 8)
    quantize_(layer, Int8WeightOnlyConfig(version=2))
    theirs = layer.weight.dequantize()  # pyright: ignore[reportCallIssue]  # its scales are float32
    scale = theirs.abs().amax(1, keepdim=True) / 127
    assert bool(((ours - theirs).abs() <= 1.01 * scale).all())
    assert norm(ours - theirs) < 2**-8 * norm(theirs) + norm(scale.expand(12, 24)) / 4
    assert n_bytes == 12 * 24 + 2 * 12


@few
@given(shapes, groups, st.sampled_from([8, 4]), st.data())
def test_a_number_moves_by_at_most_its_scale_and_zero_stays(shape, group_size, bits, data):
    axis = data.draw(st.integers(0, len(shape) - 1))
    tensor = torch.randn(shape)
    tensor[(0,) * len(shape)] = 0.0
    found = quantised_tensor(tensor, bits, group_size, axis)
    back = found.tensor()
    assert back.shape == tensor.shape
    assert back[(0,) * len(shape)] == 0.0
    scales = found.scales.float().repeat_interleave(found.group_size, 1)[:, : shape[axis]]
    moved = (back - tensor).abs().movedim(axis, -1).reshape(scales.shape)
    assert bool((moved <= scales * (1 + 1e-5)).all())
    assert int(found.integers.min()) >= -(2 ** (bits - 1))
    assert int(found.integers.max()) < 2 ** (bits - 1)


@few
@given(shapes, groups, st.sampled_from([8, 4]), st.data())
def test_what_is_packed_takes_the_bytes_it_says_and_comes_back_the_same(shape, group_size, bits, data):
    axis = data.draw(st.integers(0, len(shape) - 1))
    found = quantised_tensor(torch.randn(shape), bits, group_size, axis)
    parts = packed(found)
    assert sum(part.nbytes for name, part in parts.items() if name != "layout") == found.n_bytes
    numbers, n_groups = math.prod(shape), found.scales.numel()
    assert n_groups == math.prod(shape) // shape[axis] * math.ceil(shape[axis] / found.group_size)
    half = math.ceil(numbers / 2) + math.ceil(n_groups / 2)
    assert found.n_bytes == 2 * n_groups + (numbers if bits == 8 else half)
    back = unpacked(parts)
    assert torch.equal(back.integers, found.integers)
    assert torch.equal(back.tensor(), found.tensor())
    assert (back.bits, back.group_size, back.axis, back.shape) == (bits, found.group_size, axis, shape)


def test_integers_of_four_bits_lie_two_a_byte_low_half_first():
    whole = Quantised(torch.tensor([[-8, 7, -1]], dtype=torch.int8), torch.ones(1, 1).bfloat16(), None, 4, 3, 1, (1, 3))
    assert packed(whole)["integers"].tolist() == [0x78, 0x0F]
    assert unpacked(packed(whole)).integers.tolist() == [[-8, 7, -1]]


@BOTH
def test_a_file_holds_a_quantised_tensor(tmp_path, bits):
    found = quantised_tensor(torch.randn(3, 7), bits, 4)
    save_file(packed(found), tmp_path / "weight.safetensors")
    assert torch.equal(unpacked(load_file(tmp_path / "weight.safetensors")).tensor(), found.tensor())


@BOTH
@pytest.mark.parametrize(("name", "part"), [("integers", 1), ("scales", 1), ("integers", -1)])
def test_parts_that_do_not_fit_together_are_refused(bits, name, part):
    parts = packed(quantised_tensor(torch.randn(3, 8), bits, 4))
    parts[name] = parts[name].flatten()[:-1] if part < 0 else torch.cat([parts[name], parts[name]])
    with pytest.raises(ValueError, match=r"shape \(3, 8\) in groups of 4 has 24 integers and 3 × 2 scales, not"):
        unpacked(parts)


@BOTH
@pytest.mark.parametrize("exponent", [-60, -20, 20, 60])
def test_the_size_of_a_tensor_does_not_matter(bits, exponent):
    tensor = torch.randn(3, 8)
    sized = quantised_tensor(2.0**exponent * tensor, bits, 4).tensor()
    assert torch.equal(sized, 2.0**exponent * quantised_tensor(tensor, bits, 4).tensor())


@BOTH
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_zeros_stay_zeros_and_a_type_stays_itself(bits, dtype):
    weight, _ = quantised_weight(torch.zeros(3, 8, dtype=dtype), bits)
    assert weight.dtype == dtype
    assert weight.count_nonzero() == 0
    assert quantised_weight(torch.randn(3, 8, dtype=dtype), bits)[0].dtype == dtype


def test_fewer_bits_and_larger_groups_cost_accuracy_and_save_bytes():
    weight = torch.randn(24, 96)
    found = [quantised_weight(weight, bits, group) for bits, group in ((8, 32), (8, None), (4, 8), (4, None), (4, 96))]
    errors, sizes = [norm(weight - numbers) for numbers, _ in found], [n_bytes for _, n_bytes in found]
    assert errors == sorted(errors)
    assert sizes == sorted(sizes, reverse=True)
    assert errors[1] < 0.01 * norm(weight) < errors[3] < 0.12 * norm(weight)
    assert quantised_weight(weight, 4)[1] == quantised_weight(weight, 4, 32)[1]


@BOTH
def test_each_factor_is_quantised_along_the_axis_that_suits_it(bits):
    weight = torch.randn(24, 16) @ torch.diag(torch.logspace(0, -3, 16)) @ torch.randn(16, 12)
    pair = LowRank.from_weight(weight).truncate(8)
    form, n_bytes = quantised(pair, bits)
    assert isinstance(form, LowRank)
    assert form.spectrum is pair.spectrum
    expected = 0
    for name, factor in pair.tensors().items():
        ways = [quantised_tensor(factor, bits, None, axis) for axis in (0, 1)]
        prices = [norm(way.tensor() - factor) * 2 ** (8 * way.n_bytes / factor.numel()) for way in ways]
        best = ways[prices.index(min(prices))]
        assert torch.equal(form.tensors()[name], best.tensor())
        expected += best.n_bytes
    assert n_bytes == expected
    assert torch.equal(form.tensors()["left"], quantised_tensor(pair.left, bits, None, 0).tensor())
    rows = quantised_tensor(pair.left, bits, None, 1)
    assert quantised_tensor(pair.left, bits, None, 0).n_bytes < rows.n_bytes
    # At one size of group, columns of unlike sizes are told apart along them alone.
    along, across = (quantised_tensor(pair.left, bits, 8, axis).tensor() - pair.left for axis in (0, 1))
    assert norm(along / pair.left.norm(dim=0)) < 0.5 * norm(across / pair.left.norm(dim=0))


@BOTH
def test_cores_are_quantised_and_vectors_are_left_alone(bits):
    weight = torch.randn(12, 20)
    train = TrainOperator.from_weight(weight, 3, (2, 2, 3), (2, 2, 5)).truncate(3)
    form, n_bytes = quantised(train, bits)
    assert form.shape == (12, 20)
    assert n_bytes < 4 * train.n_params
    (terms,) = outer_sums(weight, (3, 4), (20,), (4,))
    form, n_bytes = quantised(terms, bits)
    assert torch.equal(form.tensors()["weights"], terms.tensors()["weights"])
    expected = 4 * 4  # the weights, in float32
    for k, factor in enumerate(terms.terms.factors):
        ways = [quantised_tensor(factor, bits, None, axis) for axis in (0, 1)]
        expected += next(way.n_bytes for way in ways if torch.equal(way.tensor(), form.tensors()[f"factor.{k}"]))
    assert n_bytes == expected
    assert norm(form.dense() - terms.dense()) < 0.3 * norm(terms.dense())


def test_a_gauge_fixed_pair_is_quantised_as_the_numbers_it_stores():
    pair = LowRank.from_weight(torch.randn(12, 20), gauge_fixed=True).truncate(4)
    form, n_bytes = quantised(pair, 8)
    assert isinstance(form, PivotPair)
    assert n_bytes < pair.n_params + 2 * (12 + 20)
    assert norm(form.dense() - pair.dense()) < 0.1 * norm(pair.dense())


def test_a_family_is_quantised_as_its_present_member():
    weight = torch.randn(12, 20)
    members = outer_sums(weight, (3, 4), (20,), (2, 4))
    family = Family(members, (2, 4), tuple([m.squared_error for m in members]), members[0].total, "Frobenius", 5)
    form, n_bytes = quantised(family.truncate(2), 8)
    expected, expected_bytes = quantised(members[0], 8)
    assert torch.equal(form.dense(), expected.dense())
    assert n_bytes == expected_bytes


@BOTH
def test_layers_run_quantised_factors_or_where_these_are_no_fewer_the_quantised_weight(bits):
    layers, matrices, weights = {}, {}, {}
    for name, bond in (("cut", 3), ("uncut", 12), ("wide", 11)):
        original = nn.Linear(20, 12)
        layer = BondLinear(original, original.bias, LowRank.from_weight(original.weight.detach()))
        layer.cut(bond)
        layers[name], weights[name] = layer, original.weight.detach()
        matrices[name] = BlockMatrix(name, name, original, 4)
    total = quantise_layers(layers, matrices, bits)
    cut, cut_bytes = quantised(LowRank.from_weight(weights["cut"]).truncate(3), bits)
    whole, whole_bytes = quantised_weight(weights["uncut"], bits)
    wide, _ = quantised_weight(LowRank.from_weight(weights["wide"]).truncate(11).dense(), bits)
    assert total == cut_bytes + 2 * whole_bytes
    x = torch.randn(3, 20)
    for name, numbers in (("cut", cut.dense()), ("uncut", whole), ("wide", wide)):
        bias = layers[name].bias
        assert torch.allclose(layers[name](x), x @ numbers.T + bias, atol=1e-5)
        layers[name].bare()
    assert layers["uncut"].bypassed


def test_what_cannot_be_quantised_is_refused():
    weight = torch.randn(3, 4)
    for bits in (2, 16, 0, -8):
        with pytest.raises(ValueError, match=f"to 8 or 4 bits, not {bits}"):
            quantised(LowRank.from_weight(weight), bits)
    for group in (1, 0, -4):
        with pytest.raises(ValueError, match=f"2 or more numbers that share a scale, not {group}"):
            quantised_weight(weight, 4, group)
    for axis in (2, -3):
        with pytest.raises(ValueError, match=rf"shape \(3, 4\) has no numbers along axis {axis}"):
            quantised_tensor(weight, 8, None, axis)
    with pytest.raises(ValueError, match=r"shape \(0, 4\) has no numbers"):
        quantised_tensor(torch.zeros(0, 4), 8)
    with pytest.raises(ValueError, match=r"tensor to quantise of shape .* holds 12 non-finite"):
        quantised_weight(weight * math.inf * 0, 8)


def test_without_torchao_it_says_what_to_install(monkeypatch):
    class Absent(MetaPathFinder):
        def find_spec(self, fullname, path=None, target=None):
            if fullname == "torchao":
                raise ModuleNotFoundError("No module named 'torchao'", name="torchao")
            return None

    for name in [name for name in sys.modules if name.partition(".")[0] == "torchao"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Absent(), *sys.meta_path])
    with pytest.raises(ModuleNotFoundError, match="pip install torchao"):
        quantised_weight(torch.randn(3, 4), 8)
