"""A sum of Kronecker products with small blocks, as TQCompressor (2024) uses it; permuted, and refitted, if asked.

Blocks of equal sizes on both sides are `mpo` with two sites: the same form, cut elsewhere.
"""

import math
from dataclasses import replace

from jaxtyping import Float
from torch import Tensor

from workbench.compress.methods.mpo import SHARES
from workbench.compress.place import Place
from workbench.compress.recipe import Recipe
from workbench.decompose.family import Family, bonds_at_shares
from workbench.decompose.metric import Metric
from workbench.decompose.operator import TrainOperator
from workbench.decompose.permutation_search import permuted_kronecker
from workbench.decompose.permuted import Permuted, permuted_metric
from workbench.decompose.refit import refitted
from workbench.transformer.tables import TABLE_KINDS

LONG, SHORT = 4, 2  # a block's sizes on the longer and on the shorter side of the weight
LARGEST_BLOCK = 16  # on a side whose size these do not divide
FEW = 16  # bonds, up to which a refit is made for each
# An order that is good at one bond is less good at others. Sought for three of eight products it was, in a small GPT's
# matrices, the best there, nearly the best at four, and better at one or two than an order sought for four.
AIM = 3 / 8

TwoDims = tuple[tuple[int, int], tuple[int, int]]


def decompose(
    recipe: Recipe, weight: Float[Tensor, "out in"], metric: Metric, place: Place
) -> TrainOperator | Permuted | Family:
    """The uncut sum as an operator of two sites (nested), with rows and columns in a better order if `permuted`.

    One order serves every cut: the best found, in the plain norm, for `AIM` of the bonds. In a metric other than the
    plain one: a family of refitted sums (not nested), each in that order.
    Raises ValueError for site dimensions of more or fewer than two sites.
    """
    outs, ins = _dims(recipe, weight, place)
    if not recipe.permuted:
        operator = TrainOperator.from_weight(weight, None, outs, ins)
        return _refitted(weight, metric, operator) if recipe.refit else operator
    full_bond = min(outs[0] * ins[0], outs[1] * ins[1])
    found = permuted_kronecker(weight, (outs, ins), max(1, int(AIM * full_bond)))
    if not recipe.refit:
        return found
    rows, columns = found.rows, found.columns
    family = _refitted(weight[rows][:, columns], permuted_metric(metric, rows, columns), found.form)
    members = [replace(found, form=member) for member in family.members]  # pyright: ignore[reportArgumentType]
    return replace(family, members=tuple(members))


def small_blocks(out_features: int, in_features: int) -> TwoDims:
    """Outputs (o, p) and inputs (i, j) with blocks of 4 on the longer side and 2 on the shorter: TQCompressor's shape.

    Its code says B of 2 × 4 for an MLP's first matrix, stored (in, out) = (768, 3072), and 4 × 2 for the second; ours
    are (out, in), so here the first has p × j = 4 × 2. A square matrix counts as a long one. A side that does not
    divide so takes the nearest divisor up to 16, and 1 if it has none; where neither side has one, the blocks are
    columns and the sum is a low-rank pair.
    """
    wide = in_features > out_features
    p = _nearest_divisor(out_features, SHORT if wide else LONG)
    j = _nearest_divisor(in_features, LONG if wide else SHORT)
    if p == j == 1:
        return (1, out_features), (in_features, 1)
    return (out_features // p, p), (in_features // j, j)


def row_blocks(out_features: int, in_features: int) -> TwoDims:
    """Outputs (v, 1) and inputs (d/4, 4), for a table of tokens: blocks of one row and four columns.

    TQCompressor halves the columns of its embedding twice, v × d/4 ⊗ 1 × 2 ⊗ 1 × 2, and keeps one product, a quarter of
    the numbers; a block of 1 × 4 can be any product of two of 1 × 2. No size of a vocabulary stands in its way. A width
    that 4 does not divide takes its nearest divisor up to 16; if it has none the blocks are columns, and the sum is a
    low-rank pair.
    """
    j = _nearest_divisor(in_features, LONG)
    return ((1, out_features), (in_features, 1)) if j == 1 else ((out_features, 1), (in_features // j, j))


def _dims(recipe: Recipe, weight: Float[Tensor, "out in"], place: Place) -> TwoDims:
    outs, ins = recipe.dims_of(place.kind)
    if outs is None or ins is None:
        return (row_blocks if place.kind in TABLE_KINDS else small_blocks)(*weight.shape)
    if len(outs) != 2 or len(ins) != 2:
        raise ValueError(
            f"a Kronecker product of {place.kind} has two sites, not outputs {outs} and inputs {ins}; use mpo for more."
        )
    return (outs[0], outs[1]), (ins[0], ins[1])


def _nearest_divisor(size: int, wanted: int) -> int:
    """The divisor of `size` from 2 to 16 nearest to `wanted` by ratio; 1 if there is none."""
    divisors = [divisor for divisor in range(2, LARGEST_BLOCK + 1) if size % divisor == 0]
    return min(divisors, key=lambda divisor: abs(math.log(divisor / wanted)), default=1)


def _refitted(weight: Float[Tensor, "out in"], metric: Metric, operator: TrainOperator) -> Family:
    """The sums fitted under the metric: at every bond if they are few, else at chosen shares of the numbers."""
    full = operator.full_bond
    if full <= FEW:
        return refitted(weight, metric, operator, tuple(range(1, max(2, full))))
    ladder = operator.ladder()
    sizes = dict(zip(ladder.bonds, ladder.n_params, strict=True))
    return refitted(weight, metric, operator, bonds_at_shares(sizes.__getitem__, full, weight.numel(), SHARES))
