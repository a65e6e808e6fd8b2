"""Inputs for a model of any kind, what of its outputs counts, and what its matrices receive from them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from workbench.compress.calibrate import Calibration
from workbench.compress.moments import MomentSums, recorded
from workbench.transformer.matrices import BlockMatrix

Masks = dict[tuple[int, ...], Bool[Tensor, "..."]]

_MASK = "attention_mask"  # how tokenizers name the positions that are not padding; a decoder's ends so too
_MAIN = ("logits", "last_hidden_state")


@dataclass(frozen=True, eq=False)
class Batches:
    """Batches of keyword arguments for `model(**batch)`, as tokenizers and image processors make them."""

    given: tuple[Mapping, ...]

    def __post_init__(self) -> None:
        for index, batch in enumerate(self.given):
            if not isinstance(batch, Mapping) or not any(isinstance(value, Tensor) for value in batch.values()):
                raise TypeError(
                    f"batch {index}, a {type(batch).__name__}, has no tensors; give mappings of the model's argument "
                    "names to tensors, as tokenizer(texts, return_tensors='pt') does."
                )

    def __len__(self) -> int:
        return len(self.given)

    def halves(self) -> tuple["Batches", "Batches"]:
        """The first and the second half of the batches."""
        if len(self) < 2:
            raise ValueError(f"{len(self)} batch cannot be halved; give two or more, or calibration batches besides.")
        middle = len(self) // 2
        return Batches(self.given[:middle]), Batches(self.given[middle:])

    def on(self, device: torch.device) -> Iterator[dict]:
        """Each batch with its tensors on `device`."""
        for batch in self.given:
            yield {name: value.to(device) if isinstance(value, Tensor) else value for name, value in batch.items()}


def run_batches(model: nn.Module, batches: Batches) -> Iterator[tuple[Masks, Float[Tensor, "b p c"]]]:
    """The masks and the main outputs of the model, batch by batch: b samples, each with p positions."""
    for batch in batches.on(next(model.parameters()).device):
        with torch.no_grad():
            yield masks_of(batch), _by_position(main_output(model(**batch)))


def main_output(output: object) -> Tensor:
    """What a model gives in the first place: its `logits`, else its `last_hidden_state`, else the first tensor of
    floating-point numbers that is more than one number, such as no loss is.

    Raises TypeError where there is none.
    """
    if isinstance(output, Mapping):
        values = [output[name] for name in _MAIN if name in output] + list(output.values())
    elif isinstance(output, Sequence):
        values = list(output)
    else:
        values = [output]
    for value in values:
        if isinstance(value, Tensor) and value.is_floating_point() and value.ndim:
            return value
    raise TypeError(f"the model gives a {type(output).__name__} in which no floating-point tensor is to be compared.")


def masks_of(batch: Mapping) -> Masks:
    """Which positions are no padding, by the shape that an input or output has before its last axis.

    A mask (b, t) speaks for all that is read at (b, t, ·), and row by row at (b · t, ·). What has another number of
    positions, such as patches or pooled vectors, counts entirely. Raises ValueError where an encoder's and a decoder's
    mask of one shape differ: a matrix would not tell which of them it reads.
    """
    masks: Masks = {}
    for name, mask in batch.items():
        if name.endswith(_MASK) and isinstance(mask, Tensor) and mask.ndim == 2:
            counts = mask != 0
            known = masks.setdefault(tuple(counts.shape), counts)
            if not torch.equal(known, counts):
                raise ValueError(
                    f"{name} and another mask of the batch have the one shape {tuple(mask.shape)} and differ, so that "
                    "nothing tells which positions a matrix reads; pad inputs and decoder inputs to unequal lengths."
                )
            if mask.shape[1] > 1:
                masks[(mask.numel(),)] = known.reshape(-1)
    return masks


def calibrate_at(
    model: nn.Module,
    matrices: Mapping[str, BlockMatrix],
    batches: Batches,
    progress: Callable[[str, int, int], None] | None = None,
) -> Calibration:
    """The moments of what each matrix receives from the batches, over its own rows without padding; float64.

    A matrix may receive one row a token, a sample, or a patch; `n_tokens` is that of the matrix with the fewest.
    Raises ValueError for one that received fewer rows than it has inputs: its moment is singular by construction.
    Cost: one forward pass, and in² multiply-adds a row of each matrix.
    """
    sums = MomentSums()
    for index, batch in enumerate(batches.on(next(model.parameters()).device)):
        masks = masks_of(batch)
        with recorded(matrices, lambda x, masks=masks: _counted(masks, x), sums), torch.no_grad():
            model(**batch)
        if progress:
            progress("calibrate", index + 1, len(batches))
    for name, matrix in matrices.items():
        n_rows, size = sums.n_rows.get(name, 0), matrix.weight.shape[1]
        if n_rows < size:
            raise ValueError(
                f"{name} received {n_rows} rows from the calibration batches and has {size} inputs; give at least "
                f"{size} rows, better ten times as many, leave it out, or use the plain metric."
            )
    moments, means, magnitudes = (
        {name: total.div_(sums.n_rows[name]) for name, total in kind.items()}
        for kind in (sums.moments, sums.means, sums.magnitudes)
    )
    return Calibration(moments, means, magnitudes, {}, min(sums.n_rows.values()))


def _counted(masks: Masks, x: Float[Tensor, "*batch n"]) -> Float[Tensor, "rows n"]:
    """The rows of an input that are no padding."""
    mask = masks.get(tuple(x.shape[:-1]))
    return x.reshape(-1, x.shape[-1]) if mask is None else x[mask]


def _by_position(output: Float[Tensor, "b *any"]) -> Float[Tensor, "b p c"]:
    """One vector a position of outputs (b, p, c); of any other order, one a sample."""
    return output if output.ndim == 3 else output.reshape(len(output), 1, -1)
