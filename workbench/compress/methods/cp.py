"""A sum of outer products (CP, CANDECOMP, PARAFAC), for comparison: it has no spectrum, so each rank is a fit."""

import math

from jaxtyping import Float
from torch import Tensor

from workbench.compress.place import Place
from workbench.compress.recipe import Recipe
from workbench.decompose.family import Family, bonds_at_shares
from workbench.decompose.leg_fit import usual_legs
from workbench.decompose.metric import Metric
from workbench.decompose.outer_sum import outer_sums

SHARES = (0.1, 0.2, 0.4, 0.6, 0.8)  # of a matrix's numbers; a bond between two takes the smaller


def decompose(recipe: Recipe, weight: Float[Tensor, "out in"], metric: Metric, place: Place) -> Family:
    """Sums fitted at `SHARES` of the numbers (not nested), with the legs of the recipe, else the `usual_legs`.

    Each is stopped after at most 20 sweeps, near a local best, and is less good than it could be. All of them took 2 s
    for a weight of 1024 × 256 on one core, and 50 s for one of 3072 × 768.
    Raises ValueError for a metric other than the plain one, which alone the fit sees.
    """
    if metric.inputs is not None or metric.outputs is not None:
        raise ValueError(
            f"a sum of outer products is fitted in the plain metric, not in one of the {metric.norm} norm."
        )
    outs, ins = recipe.dims_of(place.kind)
    if outs is None or ins is None:
        outs, ins = usual_legs(*weight.shape)
    stored = 1 + sum(outs) + sum(ins)  # numbers a term
    full_bond = max(2, math.ceil(weight.numel() / stored))
    bonds = bonds_at_shares(lambda rank: rank * stored, full_bond, weight.numel(), SHARES)
    members = outer_sums(weight, outs, ins, bonds)
    errors = tuple([member.squared_error for member in members])
    return Family(members, bonds, errors, metric.squared(weight), metric.norm, bonds[-1] + 1)
