"""What healing minimises: how far a model's next-token probabilities are from the dense one's, and from the text."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from workbench.compress.windows import Windows

_KEPT_BYTES = 512 * 2**20  # last hidden states of the dense model that are kept; beyond, they are computed again
_LOGITS_AT_ONCE = (
    2**24
)  # a batch is compared in parts of so many logits: whole, those of GPT-2 are 1.6 GB at 8,000 tokens


@dataclass(frozen=True)
class Loss:
    """Means over the scored tokens, in nats: `total` is the weighted sum of KL(dense || model) and the text's loss."""

    total: float
    kl: float


class Comparison:
    """Fixed batches of rows, on each of which a model is compared with the dense one.

    The dense model's last hidden states of a batch are computed when it is first reached, and kept while they fit
    512 MiB; its probabilities follow from them by one product with the head.
    """

    def __init__(self, dense: nn.Module, windows: Windows, rows: int, kl_weight: float, precision: torch.dtype) -> None:
        self._dense = dense
        self._device = next(dense.parameters()).device
        self._batches = [windows.rows(start, start + rows) for start in range(0, len(windows), rows)]
        self._kl_weight = kl_weight
        self._precision = precision
        self._hidden: dict[int, Tensor] = {}

    def __len__(self) -> int:
        return len(self._batches)

    def gradients(self, model: nn.Module, leaves: list[Tensor], batch: int) -> tuple[Loss, list[Tensor]]:
        """The loss of one batch and its gradient at each of `leaves`."""
        tokens, scored = self._read(batch)
        with torch.enable_grad():
            hidden = self._last_hidden(model, tokens)[scored]
            sums, (felt, *of_head) = self._compared(model, hidden.detach(), batch, tokens, scored, leaves)
            before_head = torch.autograd.grad(hidden, leaves, felt, allow_unused=True)
        pairs = zip(before_head, of_head, leaves, strict=True)
        gradients = [torch.zeros_like(leaf) if (own := _sum(*pair)) is None else own for *pair, leaf in pairs]
        return self._loss(*sums, len(hidden)), gradients

    @torch.no_grad()
    def loss(self, model: nn.Module) -> Loss:
        """The loss over all batches."""
        kl = text = torch.zeros((), dtype=torch.float64)
        count = 0
        for batch in range(len(self)):
            tokens, scored = self._read(batch)
            hidden = self._last_hidden(model, tokens)[scored]
            (more_kl, more_text), _ = self._compared(model, hidden, batch, tokens, scored, None)
            kl, text, count = kl + more_kl, text + more_text, count + len(hidden)
        return self._loss(kl, text, count)

    def _loss(self, kl: Tensor, text: Tensor, count: int) -> Loss:
        total = (self._kl_weight * kl + (1 - self._kl_weight) * text) / count
        return Loss(float(total), float(kl) / count)

    def _compared(
        self,
        model: nn.Module,
        hidden: Float[Tensor, "n d"],
        batch: int,
        tokens: Int[Tensor, "b t"],
        scored: Bool[Tensor, "b t-1"],
        leaves: list[Tensor] | None,
    ) -> tuple[tuple[Tensor, Tensor], list[Tensor | None]]:
        """Summed KL and text loss, part by part. With `leaves`, the gradient of the mean total at `hidden`, and at each
        leaf by way of the head, None where the head has it not.
        """
        known, targets = self._known(batch, tokens)[scored], tokens[:, 1:][scored]
        head, dense_head = model.get_output_embeddings(), self._dense.get_output_embeddings()  # pyright: ignore
        at_once = _LOGITS_AT_ONCE * (16 if hidden.is_cuda else 1)  # small parts keep a GPU waiting
        size = max(1, at_once // int(self._dense.config.vocab_size))  # pyright: ignore
        sums, felt, of_head = torch.zeros(2, dtype=torch.float64), [], [None] * len(leaves or ())
        for start in range(0, len(hidden), size):
            part = slice(start, start + size)
            own = hidden[part].requires_grad_(leaves is not None)
            with self._autocast():
                expected = dense_head(known[part]).float().log_softmax(-1)
                said = head(own).float().log_softmax(-1)
            kl = functional.kl_div(said, expected, reduction="sum", log_target=True)
            text = functional.nll_loss(said, targets[part], reduction="sum")
            sums = sums + torch.stack([kl.detach(), text.detach()]).double().cpu()
            if leaves is not None:
                total = self._kl_weight * kl + (1 - self._kl_weight) * text
                here, *more = torch.autograd.grad(total / len(hidden), [own, *leaves], allow_unused=True)
                felt.append(here)
                of_head = [_sum(so_far, new) for so_far, new in zip(of_head, more, strict=True)]
        return (sums[0], sums[1]), [torch.cat(felt), *of_head] if felt else []

    def _read(self, batch: int) -> tuple[Tensor, Tensor]:
        rows = self._batches[batch]
        return rows.tokens.to(self._device), rows.scored.to(self._device)

    @torch.no_grad()
    def _known(self, batch: int, tokens: Int[Tensor, "b t"]) -> Float[Tensor, "b t-1 d"]:
        """The dense model's last hidden states of a batch."""
        if batch in self._hidden:
            return self._hidden[batch]
        hidden = self._last_hidden(self._dense, tokens)
        if sum(kept.nbytes for kept in self._hidden.values()) + hidden.nbytes <= _KEPT_BYTES:
            self._hidden[batch] = hidden
        return hidden

    def _last_hidden(self, model: nn.Module, tokens: Int[Tensor, "b t"]) -> Float[Tensor, "b t-1 d"]:
        with self._autocast():
            return model.base_model(tokens[:, :-1], use_cache=False).last_hidden_state  # pyright: ignore

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self._device.type, self._precision, enabled=self._precision != torch.float32)


def _sum(first: Tensor | None, second: Tensor | None) -> Tensor | None:
    """The sum of those that are there; None if neither is."""
    if first is None or second is None:
        return second if first is None else first
    return first + second
