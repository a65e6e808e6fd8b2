"""Single rows of a matrix whose rows are numbered by several legs, one digit a leg: without making the others."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

_AT_ONCE = 2**24  # numbers of chosen slices that are held together


def taken(rows: Float[Tensor, "n m"], index: Int[Tensor, "*any"]) -> Float[Tensor, "*any m"]:
    """`rows[index]`: whatever slice of a factor `rows` is, only what is asked for is read."""
    return rows.index_select(0, index.flatten()).reshape(*index.shape, rows.shape[1])


def row_digits(index: Int[Tensor, "*any"], dims: Sequence[int]) -> list[Int[Tensor, "*any"]]:
    """The place on each of the legs `dims` that makes the row `index`; the last leg runs fastest."""
    digits = []
    for size in reversed(dims[1:]):
        digits.append(index % size)
        index = index // size
    return [index, *reversed(digits)]  # a row beyond the last has a first digit beyond the first leg


def chain_rows(cores: Sequence[Float[Tensor, "_ _ _ _"]], index: Int[Tensor, "*any"]) -> Float[Tensor, "*any in"]:
    """The rows at `index` of the matrix that cores (left, out, in, right) make, from the first core to the last.

    Each row multiplies its own slices of the cores; so many rows at once that their slices stay below 64 MiB.
    Cost of a row: at each core the inputs so far times the numbers of one slice.
    """
    widest = max(core.numel() // core.shape[1] for core in cores)
    parts = index.flatten().split(max(1, _AT_ONCE // widest))
    rows = torch.cat([_part(cores, row_digits(part, [core.shape[1] for core in cores])) for part in parts])
    return rows.reshape(*index.shape, math.prod(core.shape[2] for core in cores))


def _part(cores: Sequence[Tensor], digits: Sequence[Tensor]) -> Float[Tensor, "n in"]:
    rows = cores[0].new_ones(len(digits[0]), 1, 1)  # (n, inputs so far, right)
    for core, digit in zip(cores, digits, strict=True):
        own = core.index_select(1, digit).movedim(1, 0)  # (n, left, in, right)
        rows = (rows @ own.flatten(2)).unflatten(-1, own.shape[2:]).flatten(1, 2)
    return rows.flatten(1)
