"""Handwritten digits as strings of black and white pixels: real data that comes with scikit-learn, no download."""

from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

SIDE = 8
_THRESHOLD = 7  # of 16: a pixel with more ink is black
_TRAINED = 0.8


@dataclass(frozen=True, eq=False)
class Digits:
    """Images of 8 × 8 pixels, a string row by row, 1 for ink; `train` to learn from, `test` held out.

    The labels are the digits that were written.
    """

    train: Int[Tensor, "n 64"]
    test: Int[Tensor, "m 64"]
    train_labels: Int[Tensor, " n"]
    test_labels: Int[Tensor, " m"]


def digits(seed: int = 0) -> Digits:
    """All 1,797 images, 1,437 to learn from and 360 held out, split at random by `seed`.

    Independent pixels say them with 25 nats a string. Raises ImportError without scikit-learn.
    Source: Alpaydin & Kaynak (1998), as scikit-learn's load_digits has it.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as missing:
        raise ImportError(
            "the digits come with scikit-learn, which is not installed: pip install scikit-learn."
        ) from missing
    ink, written = load_digits(return_X_y=True)
    images, labels = torch.from_numpy(ink > _THRESHOLD).long(), torch.from_numpy(written).long()
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
    n = int(_TRAINED * len(images))
    trained, held_out = order[:n], order[n:]
    return Digits(images[trained], images[held_out], labels[trained], labels[held_out])
