"""Trains of amplitudes at their smallest bonds."""

from jaxtyping import Float
from torch import Tensor

from workbench.decompose.train import TensorTrain

RANK_TOLERANCE = 1e-7  # of the largest singular value: zeros come out below 2e-8, the root of float64's rounding
MOST_DECOMPOSED = 2**20  # strings of which a train is made by decomposing all amplitudes; seconds


def minimal(train: TensorTrain) -> TensorTrain:
    """The uncut train with each bond at its rank: values up to 1e-7 of the bond's largest count as zero.

    What they hold of the squared norm is below 1e-14 each; `error_bound` of the train tells the sum.
    """
    return train.truncate([int((s.values > s.values[0] * RANK_TOLERANCE).sum()) for s in train.spectra])


def amplitudes_of_table(table: Float[Tensor, "*symbols"]) -> TensorTrain:
    """√p of a table of probabilities, at its smallest bonds. Cost: that of `TensorTrain.from_dense`."""
    return minimal(TensorTrain.from_dense(table.sqrt()))


def state_train(amplitudes: Float[Tensor, "*symbols"]) -> TensorTrain:
    """A state vector, an axis a site, as a train at its smallest bonds."""
    return minimal(TensorTrain.from_dense(amplitudes))
