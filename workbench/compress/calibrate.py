"""What a model's weight matrices really receive, and what its loss feels of what they give."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from workbench.compress.table_moments import TableMoments, TableSums
from workbench.compress.windows import Windows
from workbench.decompose.metric import PLAIN, Metric
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
    token. `seed` draws the labels.
    """
    matrices = block_matrices(model)
    n_tokens = int(windows.scored.sum())
    _check_enough(matrices, n_tokens, gradients)
    device = next(model.parameters()).device
    rows, sums, of_table = windows.batch_rows(model), _Sums(), TableSums(model) if table else None
    generator = torch.Generator().manual_seed(seed)
    for index in range(0, len(windows), rows):
        batch = windows.rows(index, index + rows)
        scored, tokens = batch.scored.to(device), batch.tokens[:, :-1].to(device)
        watched = of_table.watched() if of_table else nullcontext()
        with _recorded(matrices, scored, sums, gradients), watched, torch.set_grad_enabled(gradients):
            if gradients:
                logits, felt = _felt(model, tokens, scored, generator)
            else:
                logits, felt = model(tokens, use_cache=False).logits, None
            if of_table:
                of_table.add(tokens, logits, felt, scored)
        if progress:
            progress("calibrate", index + len(batch), len(windows))
    moments, means, magnitudes, gradient_moments = (
        {name: total.div_(n_tokens) for name, total in kind.items()}  # in place: gigabytes at GPT-2's size
        for kind in (sums.moments, sums.means, sums.magnitudes, sums.gradients)
    )
    own = of_table.moments(n_tokens) if of_table else None
    return Calibration(moments, means, magnitudes, gradient_moments, n_tokens, own)


@dataclass
class _Sums:
    """Sums over tokens so far, by matrix."""

    moments: dict[str, Tensor] = field(default_factory=dict)
    means: dict[str, Tensor] = field(default_factory=dict)
    magnitudes: dict[str, Tensor] = field(default_factory=dict)
    gradients: dict[str, Tensor] = field(default_factory=dict)

    def add_inputs(self, name: str, x: Float[Tensor, "n in"]) -> None:
        _add(self.moments, name, (x.T @ x).double())
        _add(self.means, name, x.sum(0, dtype=torch.float64))
        _add(self.magnitudes, name, x.abs().sum(0, dtype=torch.float64))


def _add(sums: dict[str, Tensor], name: str, term: Tensor) -> None:
    if name in sums:
        sums[name] += term
    else:
        sums[name] = term


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


@contextmanager
def _recorded(
    matrices: dict[str, BlockMatrix], kept: Bool[Tensor, "b t"], sums: _Sums, gradients: bool
) -> Iterator[None]:
    """Adds the moments of some rows to `sums`, over the kept positions, while it lasts."""

    def before(name: str) -> Callable:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            sums.add_inputs(name, inputs[0].detach()[kept])

        return hook

    def after(name: str) -> Callable:
        def felt(gradient: Tensor) -> None:
            g = gradient[kept]
            _add(sums.gradients, name, (g.T @ g).double())

        def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            output.register_hook(felt)

        return hook

    handles = [matrix.module.register_forward_pre_hook(before(name)) for name, matrix in matrices.items()]
    if gradients:
        handles += [matrix.module.register_forward_hook(after(name)) for name, matrix in matrices.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
