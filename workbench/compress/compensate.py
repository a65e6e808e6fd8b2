"""Each cut matrix fitted again behind the cut ones before it: what they got wrong, it makes good as far as it can.

A cut layer sees other inputs x' than the x it was calibrated on, and the stream that it adds to is already off. In the
order in which they run, every matrix is solved for anew: the best map from the x' it now receives to what the dense
model has there, y = W x + b, and for a matrix that writes to the stream also what the stream lacks. The best such map
is a regression, W* = W + E[(y - W x') x'ᵀ] E[x' x'ᵀ]⁺; cut in the metric of x' and of the loss's gradients, it is the
best map of its rank. Nothing is trained: one pass over the calibration text, closed form at every matrix.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from workbench.compress.block_calls import Reached, behind, first_call
from workbench.compress.calibrate import Calibration
from workbench.compress.layers import BondLinear
from workbench.compress.windows import Windows
from workbench.decompose.low_rank import LowRank
from workbench.decompose.metric import Metric
from workbench.transformer.matrices import BlockMatrix, blocks_of
from workbench.transformer.tables import TABLE_KINDS, layer_of

_WRITERS = ("W_O", "W_out")  # they add to the stream
_UNSEEN = 1e-7  # of the largest second moment: directions of x' below it are left as the weight has them


@dataclass(frozen=True, eq=False)
class _Rows:
    """One batch of calibration text at one block: both streams before it, what else the block is called with, and which
    positions count (padding does not).
    """

    dense: Float[Tensor, "b t d"]
    cut: Float[Tensor, "b t d"]
    arguments: dict
    scored: Bool[Tensor, "b t"]


def compensate(
    dense: nn.Module,
    compressed: nn.Module,
    matrices: Mapping[str, BlockMatrix],
    windows: Windows,
    calibration: Calibration | None,
    progress: Callable[[str, int, int], None] | None = None,
) -> None:
    """Puts a compensated pair, with its own bias, in every cut layer of `compressed`; bonds and sizes stay.

    Each cut is best in the metric of its own inputs, and of the loss's gradients where the calibration has them.
    `dense` runs `matrices`, and `compressed` holds a `BondLinear` at each one's path. Layers that run their original
    are left as they are, and so is the token table however it is cut: the blocks make good what its lookup got wrong. A
    layer without bias gets none. An interrupt, or an error, puts everything back.
    Raises ValueError for a cut layer that is no low-rank pair, or too few tokens.
    Cost: at each block, the dense block once and the compressed one about twice over all windows.
    """
    matrices = {name: matrix for name, matrix in matrices.items() if matrix.kind not in TABLE_KINDS}
    layers = {name: layer_of(compressed, matrix) for name, matrix in matrices.items()}
    _check(layers, windows)
    before = {name: layer.state for name, layer in layers.items()}
    try:
        with torch.no_grad():
            for done in _run(dense, compressed, matrices, layers, windows, calibration):
                if progress:
                    progress("compensate", done, len(blocks_of(dense)))
    except BaseException:
        for name, layer in layers.items():
            layer.restore(before[name])
        raise


def _run(
    dense: nn.Module,
    compressed: nn.Module,
    matrices: Mapping[str, BlockMatrix],
    layers: Mapping[str, BondLinear],
    windows: Windows,
    calibration: Calibration | None,
) -> Iterator[int]:
    """Solves block after block, and says how many are done."""
    batches = _first_rows(dense, compressed, windows)
    pairs = list(zip(blocks_of(dense), blocks_of(compressed), strict=True))
    for index, (dense_block, cut_block) in enumerate(pairs):
        own = {name: matrix for name, matrix in matrices.items() if name.startswith(f"blocks.{index}.")}
        paths = {name: matrix.path.split(f".{index}.", 1)[1] for name, matrix in own.items()}
        known = [_inputs(dense_block, rows.dense, rows.arguments, paths) for rows in batches]
        for name in own:
            if not layers[name].bypassed:
                moments = _moments(own[name], paths, cut_block, batches, known)
                _solve(
                    layers[name], own[name], moments, calibration.gradient_moments.get(name) if calibration else None
                )
        batches = [
            replace(r, dense=behind(dense_block, r.dense, r.arguments), cut=behind(cut_block, r.cut, r.arguments))
            for r in batches
        ]
        yield index + 1


class _Moments:
    """Means over the rows added: x' x'ᵀ, y x'ᵀ, x' and y, where y is what should be there and W x' is not."""

    def __init__(self, weight: Float[Tensor, "out in"]) -> None:
        rows, columns = weight.shape
        self._sums = [weight.new_zeros(shape).double() for shape in ((columns,) * 2, (rows, columns), columns, rows)]
        self._n = 0

    def add(self, x: Float[Tensor, "n in"], y: Float[Tensor, "n out"]) -> None:
        for total, term in zip(self._sums, (x.T @ x, y.T @ x, x.sum(0), y.sum(0)), strict=True):
            total += term
        self._n += len(x)

    def means(self) -> tuple[Tensor, ...]:
        return tuple(total / self._n for total in self._sums)


def _moments(
    matrix: BlockMatrix,
    paths: Mapping[str, str],
    cut_block: nn.Module,
    batches: list[_Rows],
    known: list[dict[str, Tensor]],
) -> _Moments:
    """What the matrix lacks, y = W (x - x') and for a writer the stream's own lack, beside what it receives, x'."""
    sums = _Moments(matrix.weight)
    for rows, dense_inputs in zip(batches, known, strict=True):
        seen = _inputs(cut_block, rows.cut, rows.arguments, paths, upto=matrix.name)
        x, lacking = seen[matrix.name], dense_inputs[matrix.name] - seen[matrix.name]
        y = lacking @ matrix.weight.T
        if matrix.kind in _WRITERS:
            y = y + rows.dense - rows.cut
            if matrix.kind == "W_out":  # the attention of this block has written to the stream meanwhile
                y = y + dense_inputs["written"] - seen["written"]
        sums.add(x[rows.scored], y[rows.scored])
    return sums


def _solve(layer: BondLinear, matrix: BlockMatrix, sums: _Moments, felt: Tensor | None) -> None:
    """Puts the best pair of the layer's present bond, and the bias that goes with it."""
    xx, yx, mean_x, mean_y = sums.means()
    bias = matrix.bias
    if bias is not None:  # with a bias, only what varies about the mean has to be mapped
        xx, yx = xx - torch.outer(mean_x, mean_x), yx - torch.outer(mean_y, mean_x)
    values, vectors = torch.linalg.eigh(xx)
    seen = values > _UNSEEN * values[-1]
    vectors = vectors[:, seen]
    weight = matrix.weight.double() + (yx @ vectors / values[seen]) @ vectors.T
    now = layer.now
    pair = LowRank.from_weight(weight, Metric(xx, felt), getattr(now, "gauge_fixed", False)).truncate(now.bond)
    pair = pair.with_tensors({name: tensor.to(matrix.weight) for name, tensor in pair.tensors().items()})
    if bias is not None:
        # y + W x' + b = W_r x' + b' on average
        lost = (matrix.weight.double() - pair.dense().double()) @ mean_x
        bias = bias + (mean_y + lost).to(bias)
    layer.put(pair, bias)


def _first_rows(dense: nn.Module, compressed: nn.Module, windows: Windows) -> list[_Rows]:
    """Both streams before the first block, which a cut table sets apart, and what blocks are called with besides."""
    device, rows, batches = next(dense.parameters()).device, windows.batch_rows(dense), []
    for index in range(0, len(windows), rows):
        batch = windows.rows(index, index + rows)
        tokens = batch.tokens[:, :-1].to(device)
        (stream, arguments), (cut, _) = first_call(dense, tokens), first_call(compressed, tokens)
        batches.append(_Rows(stream, cut, arguments, batch.scored.to(device)))
    return batches


def _inputs(
    block: nn.Module, stream: Float[Tensor, "b t d"], arguments: dict, paths: Mapping[str, str], upto: str | None = None
) -> dict[str, Tensor]:
    """What each matrix of a block receives, and as "written" what its attention adds to the stream.

    With `upto` the run ends where that matrix's input is known.
    """
    found: dict[str, Tensor] = {}

    def before(name: str) -> Callable:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            found[name] = inputs[0]
            if name == upto:
                raise Reached

        return hook

    def written(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        found["written"] = output

    modules = {name: block.get_submodule(path) for name, path in paths.items()}
    handles = [module.register_forward_pre_hook(before(name)) for name, module in modules.items()]
    handles += [module.register_forward_hook(written) for name, module in modules.items() if name.endswith(".W_O")]
    try:
        with suppress(Reached):
            behind(block, stream, arguments)
    finally:
        for handle in handles:
            handle.remove()
    return found


def _check(layers: Mapping[str, BondLinear], windows: Windows) -> None:
    for name, layer in layers.items():
        if not layer.bypassed and not isinstance(layer.now, LowRank):
            raise ValueError(
                f"{name} is cut as a {type(layer.now).__name__}; only low-rank pairs have a compensation in closed "
                "form: decompose by method svd, or heal."
            )
    widest = max(layer.uncut.shape[1] for layer in layers.values())
    n_tokens = windows.n_tokens
    if n_tokens < widest:
        raise ValueError(
            f"{n_tokens} calibration tokens are too few for matrices of {widest} inputs; "
            f"compensate on at least {widest}, better ten times as many."
        )
