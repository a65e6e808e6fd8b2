"""A matrix product operator, as CompactifAI (2024) uses it, and the same refitted under the data's metric."""

from jaxtyping import Float
from torch import Tensor

from workbench.compress.place import Place
from workbench.compress.recipe import Recipe
from workbench.decompose.family import Family, bonds_at_shares
from workbench.decompose.metric import Metric
from workbench.decompose.operator import TrainOperator
from workbench.decompose.refit import refitted

# Shares of a matrix's numbers at whose bonds cores are refitted; a bond between two takes the smaller.
SHARES = (0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)


def decompose(recipe: Recipe, weight: Float[Tensor, "out in"], metric: Metric, place: Place) -> TrainOperator | Family:
    """The uncut operator by TT-SVD (nested); in a metric other than the plain one, a family of refitted ones (not)."""
    outs, ins = recipe.dims_of(place.kind)
    sites = recipe.sites if outs is None else None
    operator = TrainOperator.from_weight(weight, sites, outs, ins)
    if not recipe.refit:
        return operator
    sizes = dict(zip(operator.ladder().bonds, operator.ladder().n_params, strict=True))
    bonds = bonds_at_shares(sizes.__getitem__, operator.full_bond, weight.numel(), SHARES)
    return refitted(weight, metric, operator, bonds)
