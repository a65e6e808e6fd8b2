"""The loss of a compressed model beside the dense one's on the same tokens, estimated for as long as one waits."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from workbench.compress.windows import Windows
from workbench.memory import free_bytes, free_gpu_bytes, gpu_memory_named

# Dense probabilities are kept for comparison up to this many bytes, on a GPU up to this share of what is free at the
# start; beyond, they are computed from the last hidden states again, which costs one product with the head.
_KEPT_BYTES = 512 * 2**20
_KEPT_GPU_SHARE = 0.25
_KEPT_SHARE = 1 / 8  # of the free memory without a GPU, where that is less
_LOGITS_SHARE = 1 / 4  # of the free memory, for logits: more positions than fit there are scored in parts
_LOGITS_HELD = 6  # float32 tensors of logits that are held at once

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
        self._positions = self._rows * windows.tokens.shape[1]
        free = None if device.type == "cuda" else free_bytes()
        if free is not None:
            self._may_keep = min(self._may_keep, int(_KEPT_SHARE * free))
            a_position = 4 * _LOGITS_HELD * int(dense.config.vocab_size)  # pyright: ignore
            self._positions = min(self._positions, int(_LOGITS_SHARE * free) // a_position)

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
            with gpu_memory_named(f"scoring {self._rows} windows at once"), torch.inference_mode():
                reference = self._reference(batch)
                tokens, scored = self._batch(batch)
                targets = tokens[:, 1:]
                nll, best, kl, above = self._compared(model, reference, tokens)
                hits = [best == targets, reference.best == targets, best == reference.best]
                totals += (torch.stack([*(hit.double() for hit in hits), kl.double()]) * scored).sum((1, 2)).cpu()
                drops = ((nll - reference.nll).double() * scored).sum(1)
                excess += float((above * scored).sum())
                dense_excess += reference.excess
            differences.append(torch.stack([drops, scored.sum(1).double()]).cpu())
            yield self._estimate(torch.cat(differences, 1), totals, (excess, dense_excess))

    def _estimate(
        self, differences: Float[Tensor, "2 n"], totals: Float[Tensor, " 4"], excess: tuple[float, float] = (0.0, 0.0)
    ) -> Estimate:
        sums, counts = differences
        n_windows, n_tokens = len(sums), float(counts.sum())
        log_ratio, error = mean_and_error(sums, counts)
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

    def _compared(self, model: nn.Module, reference: _Reference, tokens: Int[Tensor, "b t_1"]) -> tuple[Tensor, ...]:
        """Of each position the loss, the likeliest token, the divergence from the dense model, and from the truth."""
        hidden, parts = _hidden(model, tokens), []
        for at in self._parts(hidden):
            logits = _logits(model, hidden[:, at])
            nll, lse = _losses(logits, tokens[:, 1:][:, at])
            # KL(p|q) = Σ p (dense logits - logits) + difference of their logsumexps: one pass, nothing of size v
            # is made, and equal logits give 0 exactly.
            expected = _mean_logit(self._probabilities(reference, at), logits)
            kl = (reference.mean_logit[:, at] - expected) + (lse - reference.lse[:, at])
            parts.append((nll, logits.argmax(-1), kl, _excess(_part(reference.truth, at), logits, lse)))
        return _joined(parts)

    def _reference(self, batch: int) -> _Reference:
        if batch not in self._references:
            tokens, scored = self._batch(batch)
            with torch.inference_mode():
                hidden, parts = _hidden(self._dense, tokens), []
                truth = None if self._truth is None else self._truth(tokens.cpu()).to(hidden)
                size = hidden[..., 0].numel() * 4 * int(self._dense.config.vocab_size)  # pyright: ignore
                keep = self._kept_bytes + size <= self._may_keep
                for at in self._parts(hidden):
                    logits = _logits(self._dense, hidden[:, at])
                    nll, lse = _losses(logits, tokens[:, 1:][:, at])
                    p = (logits - lse[..., None]).exp()
                    above = _excess(_part(truth, at), logits, lse)
                    kept = p if keep else p.new_empty(*p.shape[:-1], 0)
                    parts.append((nll, logits.argmax(-1), lse, _mean_logit(p, logits), above, kept))
                nll, best, lse, mean_logit, above, p = _joined(parts)
                self._kept_bytes += p.nbytes
                sums = float((nll.double() * scored).sum()), int(scored.sum())
                self._references[batch] = _Reference(
                    nll, best, lse, mean_logit, *((p, None) if keep else (None, hidden)), *sums, truth,
                    float((above * scored).sum()),
                )  # fmt: skip
        return self._references[batch]

    def _probabilities(self, reference: _Reference, at: slice) -> Tensor:
        if reference.p is not None:
            return reference.p[:, at]
        assert reference.hidden is not None
        return (_logits(self._dense, reference.hidden[:, at]) - reference.lse[:, at, None]).exp()

    def _parts(self, hidden: Float[Tensor, "b t d"]) -> list[slice]:
        """All positions, some at a time where their logits together would not fit."""
        step = max(1, self._positions // len(hidden))
        return [slice(start, start + step) for start in range(0, hidden.shape[1], step)]


def _joined(parts: list[tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
    """What was found of some positions each, of all of them; without a copy where there is one part."""
    return parts[0] if len(parts) == 1 else tuple([torch.cat(part, 1) for part in zip(*parts, strict=True)])


def _hidden(model: nn.Module, tokens: Int[Tensor, "b t_1"]) -> Float[Tensor, "b t d"]:
    """What the head receives of each token but the last."""
    return model.base_model(tokens[:, :-1], use_cache=False).last_hidden_state  # pyright: ignore


def _logits(model: nn.Module, hidden: Float[Tensor, "b t d"]) -> Float[Tensor, "b t v"]:
    return model.get_output_embeddings()(hidden).float()  # pyright: ignore


def _part(truth: Float[Tensor, "b t v"] | None, at: slice) -> Float[Tensor, "b s v"] | None:
    return None if truth is None else truth[:, at]


def mean_and_error(sums: Float[Tensor, " n"], counts: Float[Tensor, " n"]) -> tuple[float, float]:
    """The mean of what was summed over n independent draws, each over so many terms, and its standard error.

    A ratio estimator: draws are weighted by their terms. The error of a single draw is nan.
    """
    n_draws, n_terms = len(sums), float(counts.sum())
    mean = float(sums.sum() / n_terms)
    if n_draws < 2:
        return mean, math.nan
    residuals = sums - mean * counts
    return mean, math.sqrt(float(residuals.square().sum()) * n_draws / (n_draws - 1)) / n_terms


def _losses(logits: Float[Tensor, "b t v"], targets: Int[Tensor, "b t"]) -> tuple[Tensor, Tensor]:
    """-log q(target) and logsumexp of the logits, (b, t) each."""
    lse = logits.logsumexp(-1)
    return lse - logits.gather(-1, targets[..., None])[..., 0], lse


def _excess(
    truth: Float[Tensor, "b t v"] | None, logits: Float[Tensor, "b t v"], lse: Float[Tensor, "b t"]
) -> Float[Tensor, "b t"]:
    """KL(truth | model) at each position, in nats, float64; 0 where the truth is not known."""
    if truth is None:
        return torch.zeros_like(lse, dtype=torch.float64)
    return (lse - _mean_logit(truth, logits) - torch.special.entr(truth).sum(-1)).double()


def _mean_logit(p: Float[Tensor, "b t v"], logits: Float[Tensor, "b t v"]) -> Float[Tensor, "b t"]:
    return torch.einsum("btv,btv->bt", p, logits)
