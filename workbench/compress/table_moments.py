"""What a table of tokens really sees: how often each row is asked for, what the head reads, what the loss feels.

An error D of the table, one row D_t for each token t, changes the loss in two places. To second order, in nats a token:

- looked up, ½ Σ_t f_t D_t G D_tᵀ: f_t is how often t is read, G = E[g gᵀ] of the loss's gradient at the embedding,
  taken as independent of the token and of what other positions get wrong, as K-FAC takes inputs and gradients;
- as the head, ½ E[xᵀ Dᵀ (diag p - p pᵀ) D x] of its inputs x and its probabilities p. Since diag p - p pᵀ ≤ diag p,
  this is at most ½ E[Σ_t p_t (D_t x)²], of which, p and x taken as independent, ½ Σ_t p̄_t D_t M D_tᵀ is left, with the
  mean prediction p̄ and M = E[x xᵀ].

So each use alone is a metric with the diagonal moment f or p̄ on the rows. The sum of both is one only where f = p̄,
which a model comes near that predicts each token as often as it is read: then it is diag(f) ⊗ (G + M). With q, the
mean of f and p̄, in the place of both it is the metric of a tied table here. What its two errors do together is left
out. The derivation is ours.

In a small GPT whose tied table was cut by 6 to 16 % of its ranks, the estimate was 0.9 to 0.8 of the divergence from
the dense model on the text it was measured on, and 0.6 on another; that of a lookup alone 0.5 to 0.3, and 0.4 to 0.2:
what one token gets wrong at several positions, and several tokens alike, adds up.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from workbench.decompose.metric import Metric
from workbench.transformer.matrices import BlockMatrix
from workbench.transformer.tables import table_paths


@dataclass(frozen=True, eq=False)
class TableMoments:
    """Of the tokens read, f; of those predicted, p̄; of the head's inputs x, M = E[x xᵀ] and E|x|; and, if gradients
    were asked for, G = E[g gᵀ] of the summed loss at the embedding. In float64.

    Every token counts as read once more than it was: one that the text has not is rare, not impossible, and its row
    would else be left to chance. The mean prediction needs no such help.
    """

    read: Float[Tensor, " v"]
    predicted: Float[Tensor, " v"]
    second_moment: Float[Tensor, "d d"]
    magnitudes: Float[Tensor, " d"]
    gradient_moment: Float[Tensor, "d d"] | None

    def metric(self, matrix: BlockMatrix, kind: str) -> Metric:
        """The metric of a table by its uses: `diagonal`, `input` or `two-sided`.

        Of one that is applied, `diagonal` has E|x| and `input` E[x xᵀ] on its inputs, as for any matrix; of one that
        is looked up alone both have f on its rows: the root mean square of what a lookup gets wrong. `two-sided` is the
        loss added, as above. Raises ValueError if no gradients were measured where they are needed.
        """
        if kind != "two-sided":
            if not matrix.applied:
                return Metric(None, self.read)
            return Metric(self.magnitudes if kind == "diagonal" else self.second_moment)
        if matrix.looked_up is None:
            return Metric(self.second_moment, self.predicted)
        if self.gradient_moment is None:
            raise ValueError(
                f"no gradients were measured at {matrix.name}; calibrate with gradients for the two-sided metric."
            )
        if not matrix.applied:
            return Metric(self.gradient_moment, self.read)
        return Metric(self.gradient_moment + self.second_moment, (self.read + self.predicted) / 2)


class TableSums:
    """Sums over the tokens of some batches, from which the moments follow."""

    def __init__(self, model: nn.Module) -> None:
        lookup, head = table_paths(model)
        table: Tensor = model.get_submodule(lookup).weight  # pyright: ignore[reportAssignmentType]
        n_tokens, width = table.shape
        self._head = model.get_submodule(head)
        self._seen: Tensor | None = None
        empty = torch.zeros((), dtype=torch.float64, device=table.device)
        self._read, self._predicted = empty.new_zeros(n_tokens), empty.new_zeros(n_tokens)
        self._moment, self._magnitudes = empty.new_zeros(width, width), empty.new_zeros(width)
        self._gradient_moment: Tensor | None = None

    @contextmanager
    def watched(self) -> Iterator[None]:
        """While it lasts, the head's inputs are noticed."""

        def hook(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            self._seen = inputs[0].detach()

        handle = self._head.register_forward_pre_hook(hook)
        try:
            yield
        finally:
            handle.remove()
            self._seen = None

    def add(
        self,
        tokens: Int[Tensor, "b t"],
        logits: Float[Tensor, "b t v"],
        gradient: Float[Tensor, "b t d"] | None,
        scored: Bool[Tensor, "b t"],
    ) -> None:
        """One batch that ran while the head was watched, where it is scored."""
        assert self._seen is not None
        self._read += torch.bincount(tokens[scored], minlength=len(self._read))
        self._predicted += logits.detach()[scored].float().softmax(-1).sum(0, dtype=torch.float64)
        x = self._seen[scored]
        self._moment += (x.T @ x).double()
        self._magnitudes += x.abs().sum(0, dtype=torch.float64)
        if gradient is not None:
            g = gradient[scored]
            own = (g.T @ g).double()
            self._gradient_moment = own if self._gradient_moment is None else self._gradient_moment + own

    def moments(self, n_tokens: int) -> TableMoments:
        """Means over so many tokens."""
        felt = self._gradient_moment
        return TableMoments(
            (self._read + 1) / (n_tokens + len(self._read)),
            self._predicted / n_tokens,
            self._moment / n_tokens,
            self._magnitudes / n_tokens,
            felt if felt is None else felt / n_tokens,
        )
