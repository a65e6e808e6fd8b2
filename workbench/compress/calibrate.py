"""What a model's weight matrices really receive, and what its loss feels of what they give."""

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from workbench.compress.moment_groups import moment_groups, sums_by_block
from workbench.compress.moments import MomentSums, Rows, recorded
from workbench.compress.table_moments import TableMoments, TableSums
from workbench.compress.windows import Windows
from workbench.decompose.metric import PLAIN, Metric
from workbench.memory import gpu_memory_named
from workbench.spill import spilled
from workbench.transformer.matrices import BlockMatrix, block_matrices

METRIC_KINDS = ("plain", "diagonal", "input", "two-sided")


@dataclass(frozen=True, eq=False)
class Calibration:
    """Moments of every block matrix's inputs x and of the loss's gradients g at its outputs, over `n_tokens` tokens.

    `second_moments` are E[x xᵀ], `means` E[x], `magnitudes` E|x|, entry by entry; `gradient_moments` E[g gᵀ], empty
    unless they were asked for; `table` has those of the token table, None unless asked for. Gradients are those of the
    summed loss on labels that the model itself draws, so that their moment is a block of the Fisher information and not
    of what the text happened to say.
    """

    second_moments: dict[str, Float[Tensor, "_ _"]]
    means: dict[str, Float[Tensor, " _"]]
    magnitudes: dict[str, Float[Tensor, " _"]]
    gradient_moments: dict[str, Float[Tensor, "_ _"]]
    n_tokens: int
    table: TableMoments | None = None

    @property
    def two_sided(self) -> bool:
        """Whether the gradients were measured too."""
        return bool(self.gradient_moments)

    def metric(self, name: str, kind: str) -> Metric:
        """The metric of a matrix: `plain`, `diagonal` (E|x| on the diagonal, as ASVD), `input` or `two-sided`.

        Raises ValueError for another kind, and for a matrix that the calibration never reached.
        """
        if kind not in METRIC_KINDS:
            raise ValueError(f"there is no metric {kind!r}; there are {', '.join(METRIC_KINDS)}.")
        if kind == "plain":
            return PLAIN
        if name not in self.second_moments:
            raise ValueError(
                f"the calibration never reached {name}: no token of its text passed through it, so the {kind} metric "
                "says nothing there; calibrate on text that does, or use the plain metric."
            )
        if kind == "diagonal":
            return Metric(self.magnitudes[name])
        if kind == "input":
            return Metric(self.second_moments[name])
        if name not in self.gradient_moments:
            raise ValueError(
                f"no gradients were measured at {name}; calibrate with gradients for the two-sided metric."
            )
        return Metric(self.second_moments[name], self.gradient_moments[name])


@gpu_memory_named("calibrating")
def calibrate(
    model: nn.Module,
    windows: Windows,
    gradients: bool = False,
    seed: int = 0,
    progress: Callable[[str, int, int], None] | None = None,
    table: bool = False,
) -> Calibration:
    """The moments of every block matrix over the windows' tokens, float64; those of gradients, and those of the token
    `table`, only if asked for.

    Raises ValueError if there are fewer tokens than some matrix has inputs (or outputs, with gradients): the estimate
    is then singular by construction. Cost: one forward pass, with gradients a backward pass too, and in² (out²)
    multiply-adds a token for each matrix; the table's take one more pass over the logits and d_model² multiply-adds a
    token. `seed` draws the labels. Where memory is too small for all moments at once they are measured some at a time,
    the same numbers, and kept in temporary files: without gradients and table in one forward pass still, else in one
    for each part.
    """
    matrices = block_matrices(model)
    n_tokens = int(windows.scored.sum())
    _check_enough(matrices, n_tokens, gradients)
    groups, of_table = moment_groups(matrices, gradients), TableSums(model) if table else None
    many, told = len(groups) > 1, progress or (lambda what, done, total: None)
    if many and not (gradients or table):
        steps = sums_by_block(model, windows, matrices, told)
    else:
        steps = _sums(model, windows, groups, (gradients, seed), of_table, told)
    means: dict[str, dict[str, Tensor]] = {"moments": {}, "means": {}, "magnitudes": {}, "gradients": {}}
    for sums in steps:
        for kind, found in means.items():
            totals = getattr(sums, kind)
            for name in list(totals):
                mean = totals.pop(name).div_(n_tokens)  # in place, and let go: gigabytes at GPT-2's size
                found[name] = spilled(mean) if many else mean
    moments, firsts, magnitudes, felt = means.values()
    return Calibration(moments, firsts, magnitudes, felt, n_tokens, of_table.moments(n_tokens) if of_table else None)


def _sums(
    model: nn.Module,
    windows: Windows,
    groups: list[dict[str, BlockMatrix]],
    drawn: tuple[bool, int],
    of_table: TableSums | None,
    told: Callable[[str, int, int], None],
) -> Iterator[MomentSums]:
    """The sums of each group of matrices in turn, in a run over all windows each; `drawn` says whether gradients are
    asked for, and the seed of their labels. The table's are taken in the first run.
    """
    device, rows, (gradients, seed) = next(model.parameters()).device, windows.batch_rows(model), drawn
    for run, matrices in enumerate(groups):
        sums, generator = MomentSums(), torch.Generator().manual_seed(seed)
        seen = of_table if run == 0 else None
        for index in range(0, len(windows), rows):
            batch = windows.rows(index, index + rows)
            scored, tokens = batch.scored.to(device), batch.tokens[:, :-1].to(device)
            watched = seen.watched() if seen else nullcontext()
            with recorded(matrices, _at(scored), sums, gradients), watched, torch.set_grad_enabled(gradients):
                if gradients:
                    logits, felt = _felt(model, tokens, scored, generator)
                else:
                    logits, felt = model(tokens, use_cache=False).logits, None
                if seen:
                    seen.add(tokens, logits, felt, scored)
            told("calibrate", run * len(windows) + index + len(batch), len(groups) * len(windows))
        yield sums


def _at(scored: Bool[Tensor, "b t"]) -> Rows:
    """The rows of the scored positions."""
    return lambda x: x[scored]


def _check_enough(matrices: dict[str, BlockMatrix], n_tokens: int, gradients: bool) -> None:
    for axis, what in ((1, "inputs"), (0, "outputs"))[: 2 if gradients else 1]:
        widest = max(matrices.values(), key=lambda matrix: matrix.weight.shape[axis])
        size = widest.weight.shape[axis]
        if n_tokens < size:
            raise ValueError(
                f"{n_tokens} calibration tokens are too few for {widest.name}, which has {size} {what}; "
                f"calibrate on at least {size} tokens, better ten times as many."
            )


def _felt(
    model: nn.Module, tokens: Int[Tensor, "b t"], scored: Bool[Tensor, "b t"], generator: torch.Generator
) -> tuple[Float[Tensor, "b t v"], Float[Tensor, "b t d"]]:
    """The logits, and at the embedding the gradient of the summed loss on labels drawn from the model, at the scored
    positions; every matrix's output feels it on the way.
    """
    embedded = model.get_input_embeddings()(tokens).detach().requires_grad_(True)  # pyright: ignore
    everywhere = model(inputs_embeds=embedded, use_cache=False).logits
    logits = everywhere.float()[scored]
    draws = torch.rand(len(logits), 1, generator=generator).to(logits)
    with torch.no_grad():
        labels = (logits.softmax(-1).cumsum(-1) < draws).sum(-1).clamp_max(logits.shape[-1] - 1)
    functional.cross_entropy(logits, labels, reduction="sum").backward()
    assert embedded.grad is not None
    return everywhere.detach(), embedded.grad
