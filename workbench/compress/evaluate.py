"""The loss of a compressed model beside the dense one's on the same tokens, estimated for as long as one waits."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from workbench.compress.windows import Windows
from workbench.memory import free_gpu_bytes

# Dense probabilities are kept for comparison up to this many bytes, on a GPU up to this share of what is free at the
# start; beyond, they are computed from the last hidden states again, which costs one product with the head.
_KEPT_BYTES = 512 * 2**20
_KEPT_GPU_SHARE = 0.25

# The true distribution of every token of rows but the first, given those before it: rows (b, t + 1) to (b, t, v).
Truth = Callable[[Int[Tensor, "b t_1"]], Float[Tensor, "b t v"]]


@dataclass(frozen=True)
class Estimate:
    """How a model did on the windows scored so far, beside the dense model on the same ones.

    `log_ratio` is the mean difference of the losses in nats a token; its standard error takes each
    window as one draw (nan for a single one). `dense_loss` is over every window scored densely so far,
    so the compressed loss, `dense_loss + log_ratio`, borrows what is already known (a control variate).
    Where the true distribution is known, `excess` and `dense_excess` are the mean divergences from it, in nats a token:
    exact in the next token, so only which contexts were met is left to chance.
    """

    n_windows: int
    n_tokens: int
    dense_loss: float
    log_ratio: float
    log_ratio_error: float
    accuracy: float
    dense_accuracy: float
    top1_agreement: float
    kl: float
    excess: float | None = None
    dense_excess: float | None = None

    @property
    def perplexity(self) -> float:
        """exp of the compressed model's loss."""
        return math.exp(self.dense_loss + self.log_ratio)

    @property
    def dense_perplexity(self) -> float:
        """exp of the dense model's loss."""
        return math.exp(self.dense_loss)

    @property
    def ratio(self) -> float:
        """Perplexity over dense perplexity."""
        return math.exp(self.log_ratio)

    @property
    def ratio_error(self) -> float:
        """The standard error of `ratio`, to first order."""
        return self.ratio * self.log_ratio_error


@dataclass(frozen=True, eq=False)
class _Reference:
    """What the dense model said of one batch of rows: enough to compare another model with it."""

    nll: Float[Tensor, "b t"]
    best: Int[Tensor, "b t"]
    lse: Float[Tensor, "b t"]
    mean_logit: Float[Tensor, "b t"]
    p: Float[Tensor, "b t v"] | None
    hidden: Float[Tensor, "b t d"] | None
    nats: float  # over the scored tokens, of which there are `n_tokens`
    n_tokens: int
    truth: Float[Tensor, "b t v"] | None
    excess: float  # nats above the truth over the scored tokens; 0 where it is not known


class Evaluator:
    """Scores a model against a dense one on fixed windows, batch by batch.

    The dense side of a batch is run once, when the batch is first reached, and kept; so is the `truth`, if it is given.
    """

    def __init__(self, dense: nn.Module, windows: Windows, truth: Truth | None = None) -> None:
        if not len(windows):
            raise ValueError("an evaluation needs one or more windows.")
        self.windows = windows
        self._dense, self._truth = dense, truth
        self._rows = windows.batch_rows(dense)
        self._references: dict[int, _Reference] = {}
        self._kept_bytes = 0
        device = next(dense.parameters()).device
        self._may_keep = int(_KEPT_GPU_SHARE * free_gpu_bytes(device)) if device.type == "cuda" else _KEPT_BYTES

    @property
    def n_batches(self) -> int:
        """In how many steps all windows are scored."""
        return math.ceil(len(self.windows) / self._rows)

    @property
    def dense_perplexity(self) -> float | None:
        """The dense model's perplexity over every window scored densely so far; None before the first."""
        return math.exp(self._dense_loss()) if self._references else None

    def estimates(self, model: nn.Module) -> Iterator[Estimate]:
        """Estimates of growing precision: the first after one batch, the last after all windows."""
        differences, totals = [], torch.zeros(4, dtype=torch.float64)  # hits, dense hits, agreements, Σ KL
        excess = dense_excess = 0.0
        for batch in range(self.n_batches):
            reference = self._reference(batch)
            tokens, scored = self._batch(batch)
            targets = tokens[:, 1:]
            with torch.inference_mode():
                logits = model(tokens[:, :-1], use_cache=False).logits.float()
                nll, lse = _losses(logits, targets)
                best = logits.argmax(-1)
                # KL(p|q) = Σ p (dense logits - logits) + difference of their logsumexps: one pass, nothing of size v
                # is made, and equal logits give 0 exactly.
                kl = (reference.mean_logit - _mean_logit(self._probabilities(reference), logits)) + (
                    lse - reference.lse
                )
                hits = [best == targets, reference.best == targets, best == reference.best]
                totals += (torch.stack([*(hit.double() for hit in hits), kl.double()]) * scored).sum((1, 2)).cpu()
                drops = ((nll - reference.nll).double() * scored).sum(1)
                excess += _excess(reference.truth, logits, lse, scored)
                dense_excess += reference.excess
            differences.append(torch.stack([drops, scored.sum(1).double()]).cpu())
            yield self._estimate(torch.cat(differences, 1), totals, (excess, dense_excess))

    def _estimate(
        self, differences: Float[Tensor, "2 n"], totals: Float[Tensor, " 4"], excess: tuple[float, float] = (0.0, 0.0)
    ) -> Estimate:
        sums, counts = differences
        n_windows, n_tokens = len(sums), float(counts.sum())
        log_ratio = float(sums.sum() / n_tokens)
        # A ratio estimator: windows are the independent draws, weighted by their tokens.
        residuals = sums - log_ratio * counts
        error = (
            math.sqrt(float(residuals.square().sum()) * n_windows / (n_windows - 1)) / n_tokens
            if n_windows > 1
            else math.nan
        )
        hits, dense_hits, agreements, kl = (totals / n_tokens).tolist()
        own, dense = (None, None) if self._truth is None else (total / n_tokens for total in excess)
        return Estimate(
            n_windows, int(n_tokens), self._dense_loss(), log_ratio, error, hits, dense_hits, agreements, max(kl, 0.0),
            own, dense,
        )  # fmt: skip

    def _dense_loss(self) -> float:
        references = list(self._references.values())  # a view may be scoring meanwhile
        return sum(reference.nats for reference in references) / sum(reference.n_tokens for reference in references)

    def _batch(self, batch: int) -> tuple[Tensor, Tensor]:
        rows = self.windows.rows(batch * self._rows, (batch + 1) * self._rows)
        device = next(self._dense.parameters()).device
        return rows.tokens.to(device), rows.scored.to(device)

    def _reference(self, batch: int) -> _Reference:
        if batch not in self._references:
            tokens, scored = self._batch(batch)
            with torch.inference_mode():
                hidden = self._dense.base_model(tokens[:, :-1], use_cache=False).last_hidden_state  # pyright: ignore
                logits = self._logits(hidden)
                nll, lse = _losses(logits, tokens[:, 1:])
                p = (logits - lse[..., None]).exp()
                mean_logit = _mean_logit(p, logits)
                keep = self._kept_bytes + p.nbytes <= self._may_keep
                self._kept_bytes += p.nbytes if keep else 0
                kept = (p, None) if keep else (None, hidden)
                sums = float((nll.double() * scored).sum()), int(scored.sum())
                truth = None if self._truth is None else self._truth(tokens.cpu()).to(logits)
                excess = _excess(truth, logits, lse, scored)
                self._references[batch] = _Reference(
                    nll, logits.argmax(-1), lse, mean_logit, *kept, *sums, truth, excess
                )
        return self._references[batch]

    def _probabilities(self, reference: _Reference) -> Tensor:
        if reference.p is not None:
            return reference.p
        assert reference.hidden is not None
        return self._logits(reference.hidden).softmax(-1)

    def _logits(self, hidden: Float[Tensor, "b t d"]) -> Float[Tensor, "b t v"]:
        return self._dense.get_output_embeddings()(hidden).float()  # pyright: ignore


def _losses(logits: Float[Tensor, "b t v"], targets: Int[Tensor, "b t"]) -> tuple[Tensor, Tensor]:
    """-log q(target) and logsumexp of the logits, (b, t) each."""
    lse = logits.logsumexp(-1)
    return lse - logits.gather(-1, targets[..., None])[..., 0], lse


def _excess(
    truth: Float[Tensor, "b t v"] | None, logits: Float[Tensor, "b t v"], lse: Float[Tensor, "b t"],
    scored: Bool[Tensor, "b t"],
) -> float:  # fmt: skip
    """The sum of KL(truth | model) over the scored positions, in nats; 0 where the truth is not known."""
    if truth is None:
        return 0.0
    divergence = lse - _mean_logit(truth, logits) - torch.special.entr(truth).sum(-1)
    return float((divergence.double() * scored).sum())


def _mean_logit(p: Float[Tensor, "b t v"], logits: Float[Tensor, "b t v"]) -> Float[Tensor, "b t"]:
    return torch.einsum("btv,btv->bt", p, logits)
