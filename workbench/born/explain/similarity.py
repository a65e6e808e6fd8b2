"""How alike two tensor models are as functions, whatever the numbers they are made of; exact, from the weights alone.

The same function has many sets of weights: any matrix and its inverse may be put on a bond, hidden units permuted and
rescaled. The mean product of two outputs over random inputs sees none of this (arXiv 2605.15183).
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.born.environments import scaled
from workbench.born.explain.seen_sites import check_float64, checked_background
from workbench.born.machine import BornMachine
from workbench.decompose.train import TensorTrain
from workbench.transformer.bilinear import BilinearLayer


def fidelity(first: BornMachine, second: BornMachine) -> float:
    """|⟨ψ|φ⟩|² of the states of two Born machines, 0 to 1: 1 for the same state. See `BornMachine.overlap`.

    Raises ValueError for other sites.
    """
    return first.overlap(second).value ** 2


def train_similarity(
    first: TensorTrain, second: TensorTrain, background: Sequence[Float[Tensor, " _"]] | None = None
) -> float:
    """E[f g] / √(E[f²] E[g²]) of the functions of two trains, -1 to 1, over inputs that are independent at each site.

    The background gives the shares of the symbols at each site; without one all are equal, and this is the cosine of
    the two tensors.
    Raises ValueError for trains of other sites or numbers than float64, a background that is no distribution at each
    site, or a function that is 0 on all of it. Cost: three environments (bond, bond) past every core.
    """
    if first.shape != second.shape:
        raise ValueError(f"functions are alike on the same inputs; these have the sites {first.shape}, {second.shape}.")
    for train in (first, second):
        check_float64(train.cores[0], "a train")
    shares = checked_background(background, first.shape, first.cores[0])
    (_, own), (_, others) = _mean_product(first, first, shares), _mean_product(second, second, shares)
    if own == -math.inf or others == -math.inf:
        raise ValueError("a function is 0 on all inputs of the background, and nothing is alike or unlike it.")
    sign, log_size = _mean_product(first, second, shares)
    return max(-1.0, min(1.0, sign * math.exp(log_size - (own + others) / 2)))


def bilinear_product(first: BilinearLayer, second: BilinearLayer) -> float:
    """E[y · y'] of the outputs of two bilinear layers over inputs x of independent standard normal numbers, exact.

    An output is a form xᵀ A x with a symmetric A, and E[(xᵀ A x)(xᵀ B x)] = tr A tr B + 2 tr A B (Isserlis 1918).
    Raises ValueError for other inputs or outputs. Cost: products (f, f') over inputs and outputs; no A is made.
    """
    if (first.W_in.shape[1], first.W_out.shape[0]) != (second.W_in.shape[1], second.W_out.shape[0]):
        told = [f"{layer.W_in.shape[1]} inputs and {layer.W_out.shape[0]} outputs" for layer in (first, second)]
        raise ValueError(f"layers are alike on the same inputs and outputs; these have {told[0]}, and {told[1]}.")
    (out, gate, into), (out_, gate_, into_) = _matrices(first), _matrices(second)
    traces = (gate * into).sum(1), (gate_ * into_).sum(1)  # of each hidden unit's form
    # 2 tr A B of two units, each form being the symmetric part of one outer product.
    crossed = (gate @ gate_.T) * (into @ into_.T) + (gate @ into_.T) * (into @ gate_.T)
    return float(((out.T @ out_) * (torch.outer(*traces) + crossed)).sum())


def bilinear_similarity(first: BilinearLayer, second: BilinearLayer) -> float:
    """E[y · y'] / √(E|y|² E|y'|²) of two bilinear layers, -1 to 1, over inputs of independent standard normal numbers.

    Raises ValueError as `bilinear_product` does, or for a layer whose output is always 0.
    """
    both = bilinear_product(first, second)
    own, others = bilinear_product(first, first), bilinear_product(second, second)
    for layer, square in ((first, own), (second, others)):
        if square <= 0:
            raise ValueError(f"{layer.name} gives 0 for every input, and nothing is alike or unlike it.")
    return max(-1.0, min(1.0, both / math.sqrt(own * others)))


def _mean_product(
    first: TensorTrain, second: TensorTrain, background: Sequence[Float[Tensor, " _"]]
) -> tuple[float, float]:
    """The sign of E[f g], and ln of its size: scaled on the way, so that long trains neither overflow nor underflow."""
    joined, log_size = first.cores[0].new_ones(1, 1), 0.0  # (own bond, other bond)
    for own, core, shares in zip(first.cores, second.cores, background, strict=True):
        joined = torch.einsum("ab,aic,i,bid->cd", joined, own, shares, core)
        (joined,), size = scaled(joined[None])
        log_size += math.log(float(size)) if float(size) > 0 else -math.inf
    return float(joined.sign()), log_size


def _matrices(layer: BilinearLayer) -> tuple[Tensor, Tensor, Tensor]:
    return layer.W_out.double(), layer.W_gate.double(), layer.W_in.double()
