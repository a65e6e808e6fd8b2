"""A checkpoint larger than memory compressed: one matrix read, cut and written at a time."""

import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from hashlib import sha256
from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from workbench.compress.budget import check_kept
from workbench.compress.recipe import Recipe
from workbench.compress.store import FORMAT
from workbench.compress.stored_forms import stored
from workbench.compress.stream_calibration import StreamCalibration, block_of
from workbench.compress.stream_files import StreamFiles, fingerprint
from workbench.compress.stream_matrices import cut_by_inputs, cut_by_outputs, cut_plainly
from workbench.compress.stream_moments import of_outputs
from workbench.compress.windows import Windows
from workbench.decompose.low_rank import LowRank
from workbench.memory import give_back
from workbench.transformer.matrices import BlockMatrix, resolve_device
from workbench.transformer.shards import StoredTensor
from workbench.transformer.skeleton import Skeleton
from workbench.transformer.streamed_blocks import StreamedBlocks

METRICS = ("plain", "input")
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Streamed:
    """What a streamed compression wrote: its numbers and those of the dense model, and how it went.

    `relative_errors` are those of each cut matrix in the recipe's metric, over the norm of the whole (exact), `seconds`
    the time of each matrix and of each block's calibration.
    """

    out: Path
    kept_params: float
    n_params: int
    dense_n_params: int
    bytes: int
    dense_bytes: int
    relative_errors: Mapping[str, float]
    seconds: Mapping[str, float]

    @property
    def mean_relative_error(self) -> float:
        """The mean of `relative_errors`; 0 where nothing was cut."""
        return sum(self.relative_errors.values()) / max(1, len(self.relative_errors))


@dataclass(frozen=True, eq=False)
class Stream:
    """A checkpoint on disk, how its block matrices are cut, and on what the `input` metric is measured.

    Every matrix becomes the best pair of the rank at which it keeps the share `kept` of its numbers: those of
    `CompressionLab` with the budget `uniform`, up to rounding. Memory: a few squares of the model's width in float64;
    never more than one matrix.
    """

    skeleton: Skeleton
    recipe: Recipe
    kept: float
    windows: Windows | None = None
    device: str = "auto"

    def __post_init__(self) -> None:
        check_kept(self.kept)
        if self.recipe not in [Recipe("svd", metric) for metric in METRICS]:
            raise ValueError(
                f"a streamed compression is svd in the {' or '.join(METRICS)} metric, uniform, with the table whole, "
                f"not {self.recipe}; leave the other words out, or compress without streaming."
            )
        if self.recipe.needs_calibration and self.windows is None:
            raise ValueError("the input metric is measured on text; give windows to calibrate on.")
        largest = max(self.ranks.values(), default=0)
        if self._calibrated and self.windows is not None and self.windows.n_tokens < largest:
            raise ValueError(
                f"{self.windows.n_tokens} calibration tokens are too few for a rank of {largest}: they do not say "
                f"which directions to keep; calibrate on at least {largest}, better ten times as many."
            )

    @cached_property
    def ranks(self) -> dict[str, int]:
        """The rank of each matrix that is cut; a matrix whose pair would be no smaller stays whole."""
        ranks = {}
        for name, matrix in self.skeleton.matrices.items():
            shape = self.skeleton.shape(matrix)
            rank = max(1, min(*shape, int(self.kept * math.prod(shape) // sum(shape))))
            if self.kept < 1 and rank * sum(shape) < math.prod(shape):
                ranks[name] = rank
        return ranks

    def write(self, out: Path, progress: Progress | None = None) -> Streamed:
        """Writes the compressed model to the new directory `out`, where `load` finds it, and multiplied out to
        `out/dense`, for plain transformers, in the checkpoint's own dtype.

        Until it is done it grows in a hidden directory beside `out`; after an interrupt, a kill or a full disk the
        same call goes on at the first matrix that is missing there, with the numbers of an undisturbed run.
        Raises FileExistsError if `out` exists or another run is at work on it, ValueError if what was left there is of
        other choices, OSError for a full disk.
        """
        files = StreamFiles(out, {name: 1 + index for index, name in enumerate(self.skeleton.matrices)})
        told = progress or (lambda what, done, total: None)
        seconds = {}
        give_back()
        with files.alone():
            files.begin(self._choices)
            if not files.has(0):
                files.copy(0, self._rest)
            calibration = self._calibration(files)
            for block, names in self._blocks.items():
                missing = [name for name in names if not files.has(files.numbers[name])]
                if missing and calibration is not None:
                    start = time.perf_counter()
                    calibration.measure(block, partial(told, "calibrate"))
                    seconds[f"blocks.{block}.calibrate"] = time.perf_counter() - start
                for name in missing:
                    self._cut(name, calibration, files)
                    told("cut", files.numbers[name], len(files.numbers))
                if calibration is not None:
                    calibration.forget(block)
            streamed = self._streamed(files, seconds)
            files.finish(self.skeleton, self._record(files, streamed))
        return streamed

    @property
    def _blocks(self) -> dict[int, list[str]]:
        """The names of the matrices of each block."""
        blocks: dict[int, list[str]] = {}
        for name in self.skeleton.matrices:
            blocks.setdefault(block_of(name), []).append(name)
        return blocks

    @property
    def _calibrated(self) -> bool:
        return self.recipe.needs_calibration and bool(self.ranks)

    @property
    def _choices(self) -> dict:
        """What a run that goes on must have in common with the one that began."""
        read = b""
        if self._calibrated and self.windows is not None:
            read = self.windows.tokens.numpy().tobytes() + self.windows.scored.numpy().tobytes()
        return {
            "checkpoint": fingerprint(self.skeleton),
            "recipe": json.loads(json.dumps(asdict(self.recipe))),
            "kept": self.kept,
            "calibration": sha256(read).hexdigest() if read else None,
        }

    @property
    def _rest(self) -> dict[str, StoredTensor]:
        """All tensors but the weights of the block matrices."""
        weights = {f"{matrix.path}.weight" for matrix in self.skeleton.matrices.values()}
        return {name: tensor for name, tensor in self.skeleton.stored.items() if name not in weights}

    def _calibration(self, files: StreamFiles) -> StreamCalibration | None:
        if not self._calibrated or self.windows is None:
            return None
        blocks = StreamedBlocks(self.skeleton, resolve_device(self.device))
        return StreamCalibration(self.skeleton, blocks, self.windows, files.work)

    def _cut(self, name: str, calibration: StreamCalibration | None, files: StreamFiles) -> None:
        """Cuts one matrix and writes it, or copies the whole one."""
        matrix, start = self.skeleton.matrices[name], time.perf_counter()
        shard, weight = files.numbers[name], f"{matrix.path}.weight"
        if name not in self.ranks:
            files.copy(shard, {weight: self.skeleton.stored[weight]})
            return
        pair = self._pair(matrix, calibration, files)
        tensors, described = stored(pair)
        factors = {f"{matrix.path}.{own}": tensor for own, tensor in tensors.items()}
        dense = self._dense(matrix, pair)
        relative = pair.error() / max(pair.spectrum.error(0), 1e-300)
        words = {"described": json.dumps(described | {"path": matrix.path}), "relative_error": repr(relative)}
        files.write(shard, factors, {weight: dense}, words | {"seconds": f"{time.perf_counter() - start:.3f}"})

    def _pair(self, matrix: BlockMatrix, calibration: StreamCalibration | None, files: StreamFiles) -> LowRank:
        rank, device = self.ranks[matrix.name], resolve_device(self.device)

        def read() -> Float[Tensor, "out in"]:
            return self.skeleton.read(matrix)

        if calibration is None:
            return cut_plainly(read, rank, device)
        moment = partial(calibration.moment, matrix.name)
        if of_outputs(self.skeleton.shape(matrix)):
            return cut_by_outputs(read, moment, rank, device)
        return cut_by_inputs(read, moment, rank, device, files.work / "triangle")

    def _dense(self, matrix: BlockMatrix, pair: LowRank) -> Float[Tensor, "_ _"]:
        """The pair multiplied out, as the checkpoint stores such a matrix and in its dtype."""
        whole = pair.right.T @ pair.left.T if matrix.transposed else pair.left @ pair.right
        return whole.to(self.skeleton.weight(matrix).dtype)

    def _streamed(self, files: StreamFiles, seconds: Mapping[str, float]) -> Streamed:
        """What the finished shards hold."""
        words = {name: files.words(files.numbers[name]) for name in self.ranks}
        errors = {name: float(own["relative_error"]) for name, own in words.items()}
        sizes = {name: self.skeleton.shape(matrix) for name, matrix in self.skeleton.matrices.items()}
        dense = sum(math.prod(shape) for shape in sizes.values())
        bonds = sum(
            self.ranks[name] * sum(shape) if name in self.ranks else math.prod(shape) for name, shape in sizes.items()
        )
        every = self.skeleton.stored.values()
        n_params, dense_bytes = sum(tensor.n_params for tensor in every), sum(tensor.n_bytes for tensor in every)
        times = {name: float(own["seconds"]) for name, own in words.items()} | dict(seconds)
        return Streamed(
            files.out, bonds / dense, n_params - dense + bonds, n_params, files.bytes, dense_bytes, errors, times
        )

    def _record(self, files: StreamFiles, streamed: Streamed) -> dict:
        """What `load` must know of the shards, as an export has it."""
        layers = {name: json.loads(files.words(files.numbers[name])["described"]) for name in self.ranks}
        words = {"format": FORMAT, "name": self.skeleton.path.resolve().name, "layers": layers}
        return words | {"recipe": asdict(self.recipe), "kept_params": streamed.kept_params, "after": ()}
