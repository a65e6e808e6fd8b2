"""Factors, or a whole weight, in whole numbers of 8 or 4 bits: what that costs in accuracy and in bytes.

Only what is stored is small: each number is an integer times the scale of its group, and is turned back before it
runs. The integers, scales and zero points are computed by torchao.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType

import torch
from jaxtyping import Float, Int8, UInt8
from torch import Tensor
from torch.nn import functional

from workbench.compress.layers import BondLinear
from workbench.decompose.exact import check_finite
from workbench.decompose.low_rank import LowRank
from workbench.decompose.pivots import PivotPair
from workbench.decompose.protocol import Decomposition
from workbench.transformer.matrices import BlockMatrix

BITS = (8, 4)
USUAL_GROUP = {8: None, 4: 32}  # numbers that share a scale; None: a whole row
SCALE = torch.bfloat16  # as wide a range as float32, so that no small factor loses its scale
SMALLEST = 1e-30  # of scales: a group of zeros has one too; torchao's own least one differs from version to version


@dataclass(frozen=True, eq=False)
class Quantised:
    """A tensor as integers (row, n), n numbers along its `axis` and a row for each place on its other axes.

    A row is cut into groups of `group_size` numbers, the last one shorter where that does not divide n; number = scale
    · (integer − zero point). `zero_points` are None where all are 0.
    """

    integers: Int8[Tensor, "row n"]
    scales: Float[Tensor, "row group"]
    zero_points: Int8[Tensor, "row group"] | None
    bits: int
    group_size: int
    axis: int
    shape: tuple[int, ...]

    @property
    def n_bytes(self) -> int:
        """Bytes stored: the integers, two a byte if they have 4 bits, two for each scale, and the zero points alike."""
        zero_points = 0 if self.zero_points is None else math.ceil(self.zero_points.numel() * self.bits / 8)
        return math.ceil(self.integers.numel() * self.bits / 8) + SCALE.itemsize * self.scales.numel() + zero_points

    def tensor(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """The numbers that the integers stand for."""
        n_groups, (least, most) = self.scales.shape[1], _range(self.bits)
        padded = functional.pad(self.integers, (0, n_groups * self.group_size - self.integers.shape[1]))
        zero_points = None if self.zero_points is None else self.zero_points.int()
        numbers = _primitives().dequantize_affine(
            padded, (1, self.group_size), self.scales.float(), zero_points, torch.int8, least, most
        )
        rows = numbers[:, : self.integers.shape[1]]
        others = [size for k, size in enumerate(self.shape) if k != self.axis]
        return rows.reshape(*others, -1).movedim(-1, self.axis).to(dtype)


def quantised(form: Decomposition, bits: int, group_size: int | None = None) -> tuple[Decomposition, int]:
    """The form with its numbers rounded to `bits` of 8 or 4, in their own type, and the bytes that these take.

    Every tensor of two or more axes is quantised along the axis that suits it, by error and bytes together: the columns
    of a factor differ in size as singular values do, so groups that lie across them waste bits, and groups along a
    short axis take more scales. Vectors, few numbers, stay as they are and count with the bytes of their type.
    A pair with a fixed gauge is quantised as the numbers it stores, which bear it less well: at 4 bits `PivotPair`
    tripled the error that rounding added to a pair of rank 81 of a small GPT's matrix, and saved 6 % of its bytes.
    What the form says of its error stays that of its decomposition.
    `group_size` numbers share a scale: unless given, a whole row at 8 bits, 32 at 4.

    Raises ValueError for other bits, a group smaller than 2, or numbers that are not finite; ModuleNotFoundError if
    torchao is not installed.
    """
    if isinstance(form, LowRank) and form.gauge_fixed:
        form = form.fixed()
    tensors, n_bytes = {}, 0
    for name, tensor in form.tensors().items():
        if tensor.ndim < 2:
            tensors[name] = tensor
            n_bytes += tensor.numel() * tensor.element_size()
            continue
        ways = [quantised_tensor(tensor, bits, group_size, axis) for axis in range(tensor.ndim)]
        prices = [_price(way, tensor) for way in ways]
        best = ways[prices.index(min(prices))]
        tensors[name] = best.tensor(tensor.dtype)
        n_bytes += best.n_bytes
    return form.with_tensors(tensors), n_bytes


def quantised_tensor(tensor: Tensor, bits: int, group_size: int | None = None, axis: int = -1) -> Quantised:
    """A tensor of any number of axes in integers, in groups along one axis; of a weight (out, in), along its inputs.

    At 8 bits the range of a group is symmetric around 0 and it has no zero point; at 4 it is the group's own, with 0
    in it: torchao's own choices for weights alone. Scales are rounded to bfloat16 before integers are chosen.
    Raises what `quantised` does, and ValueError for an axis that the tensor does not have.
    """
    group_size = _checked(tensor, bits, group_size, axis)
    axis %= tensor.ndim
    rows = tensor.detach().float().movedim(axis, -1)
    rows = rows.reshape(-1, tensor.shape[axis])  # (all other axes, axis)
    size = max(2, rows.shape[1] if group_size is None else min(group_size, rows.shape[1]))  # torchao has no groups of 1
    n_groups = math.ceil(rows.shape[1] / size)
    padded = functional.pad(rows, (0, n_groups * size - rows.shape[1]))  # zeros, which every group's range holds
    torchao, (least, most) = _primitives(), _range(bits)
    mapping = torchao.MappingType.SYMMETRIC if bits == 8 else torchao.MappingType.ASYMMETRIC
    scales, zero_points = torchao.choose_qparams_affine(
        padded, mapping, (1, size), torch.int8, least, most, eps=SMALLEST, scale_dtype=SCALE
    )
    integers = torchao.quantize_affine(padded, (1, size), scales.float(), zero_points, torch.int8, least, most)
    own = zero_points.to(torch.int8).reshape(-1, n_groups) if bits == 4 else None
    return Quantised(
        integers[:, : rows.shape[1]], scales.reshape(-1, n_groups), own, bits, size, axis, tuple(tensor.shape)
    )


def quantised_weight(
    weight: Float[Tensor, "out in"], bits: int, group_size: int | None = None
) -> tuple[Float[Tensor, "out in"], int]:
    """A whole weight rounded to `bits` of 8 or 4 in groups along its inputs, as is usual, and the bytes it takes:
    what a decomposition has to beat. Arguments and errors are those of `quantised`.
    """
    found = quantised_tensor(weight, bits, group_size)
    return found.tensor(weight.dtype), found.n_bytes


def quantise_layers(layers: Mapping[str, BondLinear], matrices: Mapping[str, BlockMatrix], bits: int) -> int:
    """Puts quantised numbers in every layer: its factors or, where these are no fewer, the whole matrix; all bytes."""
    total = 0
    for name, layer in layers.items():
        if layer.bypassed or layer.now.n_params >= layer.dense_params:
            weight = matrices[name].weight if layer.bypassed else layer.now.dense()
            numbers, n_bytes = quantised_weight(weight, bits)
            form: Decomposition = PivotPair.whole(numbers)
        else:
            form, n_bytes = quantised(layer.now, bits)
        layer.put(form, layer.present_bias)
        total += n_bytes
    return total


def packed(quantised: Quantised) -> dict[str, Tensor]:
    """What a file holds of it, `n_bytes` and a few words: integers of 4 bits two a byte, low half first.

    `layout` is (bits, group size, axis, *shape).
    """
    parts = {"integers": quantised.integers, "scales": quantised.scales}
    if quantised.zero_points is not None:
        parts["zero_points"] = quantised.zero_points
    if quantised.bits == 4:
        parts = {name: part if name == "scales" else _halves_joined(part) for name, part in parts.items()}
    words = [quantised.bits, quantised.group_size, quantised.axis, *quantised.shape]
    return {name: part.contiguous() for name, part in parts.items()} | {"layout": torch.tensor(words)}


def unpacked(parts: Mapping[str, Tensor]) -> Quantised:
    """What `packed` was given. Raises ValueError where the parts do not fit together."""
    bits, group_size, axis, *shape = parts["layout"].tolist()
    n = shape[axis]
    n_rows, n_groups = math.prod(shape) // n, math.ceil(n / group_size)
    integers, scales, zero_points = parts["integers"], parts["scales"], parts.get("zero_points")
    if bits == 4:
        integers = _halves(integers, n_rows * n)
        zero_points = None if zero_points is None else _halves(zero_points, n_rows * n_groups)
    found = (integers.numel(), tuple(scales.shape), n_rows * n_groups if zero_points is None else zero_points.numel())
    if found != (n_rows * n, (n_rows, n_groups), n_rows * n_groups):
        raise ValueError(
            f"a tensor of shape {tuple(shape)} in groups of {group_size} has {n_rows * n} integers and "
            f"{n_rows} × {n_groups} scales, not {integers.numel()} and {tuple(scales.shape)}."
        )
    zeros = None if zero_points is None else zero_points.reshape(n_rows, n_groups)
    return Quantised(integers.reshape(n_rows, n), scales, zeros, bits, group_size, axis, tuple(shape))


def _checked(tensor: Tensor, bits: int, group_size: int | None, axis: int) -> int | None:
    """The group size to use. Raises ValueError for what cannot be quantised."""
    if bits not in BITS:
        raise ValueError(f"numbers are quantised to 8 or 4 bits, not {bits!r}.")
    if group_size is not None and (not isinstance(group_size, int) or isinstance(group_size, bool) or group_size < 2):
        raise ValueError(f"a group has 2 or more numbers that share a scale, not {group_size!r}; None is the usual.")
    if not -tensor.ndim <= axis < tensor.ndim or tensor.numel() == 0:
        raise ValueError(f"a tensor of shape {tuple(tensor.shape)} has no numbers along axis {axis}.")
    check_finite(tensor.float(), "tensor to quantise")
    return USUAL_GROUP[bits] if group_size is None else group_size


def _price(way: Quantised, tensor: Tensor) -> tuple[float, int]:
    """The squared error times four for each bit that a number takes, since one more bit quarters it; then the bytes."""
    error = float((way.tensor() - tensor).double().square().sum())
    return error * 4 ** (8 * way.n_bytes / tensor.numel()), way.n_bytes


def _range(bits: int) -> tuple[int, int]:
    return -(2 ** (bits - 1)), 2 ** (bits - 1) - 1


def _halves_joined(integers: Int8[Tensor, "*any"]) -> UInt8[Tensor, " bytes"]:
    flat = integers.flatten() & 15
    flat = functional.pad(flat, (0, len(flat) % 2)).to(torch.uint8)
    return flat[::2] | flat[1::2] << 4


def _halves(joined: UInt8[Tensor, " bytes"], count: int) -> Int8[Tensor, " n"]:
    """The `count` integers, or all there are where that number does not fit; one above 7 stands for itself less 16."""
    both = torch.stack([joined & 15, joined >> 4], dim=1).flatten().to(torch.int8)
    if len(joined) == math.ceil(count / 2):
        both = both[:count]
    return torch.where(both > 7, both - 16, both)


def _primitives() -> ModuleType:
    """torchao's arithmetic; imported here, since few need it and it need not be installed."""
    try:
        from torchao.quantization import quant_primitives
    except ModuleNotFoundError as missing:
        if missing.name != "torchao":
            raise
        raise ModuleNotFoundError(
            "quantising needs torchao, which is not installed; install it by `pip install torchao`.", name="torchao"
        ) from missing
    return quant_primitives
