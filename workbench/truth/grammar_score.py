"""How much a model of a language loses beyond what nobody could foretell: exact, since the language is known."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class ExcessLoss:
    """A model's mean loss over tokens, and what of it is the language's own entropy; all in nats a token.

    Of every token the whole conditional distributions are compared, not the token drawn: `excess` is the mean KL
    divergence from the truth, 0 for the truth itself, and `error` its standard error over the streams, the only chance
    that is left. `impossible` is the share of its probability that the model gives to tokens that cannot come.
    """

    loss: float
    entropy: float
    excess: float
    error: float
    impossible: float
    n_tokens: int

    def __str__(self) -> str:
        return (
            f"{self.excess:.4f} ± {self.error:.4f} nats a token above the truth's {self.entropy:.4f}, "
            f"{self.impossible:.2%} on impossible tokens, over {self.n_tokens:,}"
        )


def excess_loss(truth: Float[Tensor, "n sites v"], logits: Float[Tensor, "m t w"]) -> ExcessLoss:
    """What a model that says `logits` of each token loses where `truth` are the exact conditionals of streams.

    Raises ValueError for fewer than two streams, which have no standard error, and logits of another shape.
    """
    if truth.shape != logits.shape or len(truth) < 2:
        raise ValueError(
            f"the truth is of shape {tuple(truth.shape)} (streams, sites, terminals) and the logits of "
            f"{tuple(logits.shape)}; both must be alike, and of two or more streams."
        )
    log_q = logits.to(truth).log_softmax(-1)
    loss = -torch.where(truth > 0, truth * log_q, 0).sum(-1)  # (n, sites); what cannot come may be excluded for certain
    entropy = torch.special.entr(truth).sum(-1)
    excess = (loss - entropy).mean(1)
    return ExcessLoss(
        loss=float(loss.mean()),
        entropy=float(entropy.mean()),
        excess=float(excess.mean()),
        error=float(excess.std()) / math.sqrt(len(excess)),
        impossible=float((log_q.exp() * (truth == 0)).sum(-1).mean()),
        n_tokens=loss.numel(),
    )
