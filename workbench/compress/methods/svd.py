"""A low-rank pair: the one form that is best, at every bond, in every metric of this kind (Eckart & Young 1936)."""

from jaxtyping import Float
from torch import Tensor

from workbench.compress.place import Place
from workbench.compress.recipe import Recipe
from workbench.decompose.low_rank import LowRank
from workbench.decompose.metric import Metric


def decompose(recipe: Recipe, weight: Float[Tensor, "out in"], metric: Metric, place: Place) -> LowRank:
    """The uncut pair, ordered in the metric (nested)."""
    return LowRank.from_weight(weight, metric, recipe.gauge_fixed)
