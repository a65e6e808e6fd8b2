"""Tucker with factors that all heads of a matrix share, after TensorLLM (2025)."""

from jaxtyping import Float
from torch import Tensor

from workbench.compress.place import Place
from workbench.compress.recipe import Recipe
from workbench.decompose.head_tucker import HeadTucker
from workbench.decompose.low_rank import LowRank
from workbench.decompose.metric import Metric

WRITES_HEADS = ("W_QKV", "W_Q", "W_K", "W_V")
READS_HEADS = ("W_O",)


def decompose(recipe: Recipe, weight: Float[Tensor, "out in"], metric: Metric, place: Place) -> HeadTucker | LowRank:
    """An attention matrix as stacked heads; any other, which has none, as a low-rank pair (both nested).

    TensorLLM too leaves the matrices of the MLP, and the token table, to other methods. Raises ValueError for a metric
    other than the plain one: the moments of all heads together do not split into one of a head and one of the model's
    axis.
    """
    if metric.inputs is not None or metric.outputs is not None:
        raise ValueError(f"stacked heads are cut in the plain metric, not in one of the {metric.norm} norm.")
    if place.kind in WRITES_HEADS + READS_HEADS:
        return HeadTucker.from_weight(weight, place.head_dim, place.kind in READS_HEADS)
    return LowRank.from_weight(weight)
