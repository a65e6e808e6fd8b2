"""What every block of a checkpoint on disk receives, block by block, with the moments that its matrices are cut by."""

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from workbench.compress.stream_moments import Activations, MomentFile, of_outputs
from workbench.compress.windows import Windows
from workbench.transformer.skeleton import Skeleton
from workbench.transformer.streamed_blocks import StreamedBlocks


@dataclass(frozen=True, eq=False)
class StreamCalibration:
    """The dense model's passes over `windows`, one block at a time, in files under `folder`.

    A block is measured whole or, after an interrupt, once more from what it receives; that file is kept until
    `forget`. The moments are over the scored positions, as those of `calibrate`.
    """

    skeleton: Skeleton
    blocks: StreamedBlocks
    windows: Windows
    folder: Path

    def measure(self, block: int, progress: Callable[[int, int], None]) -> None:
        """Runs one block on all windows, unless that is done: its moments, and what the next block receives.

        Cost: one forward pass of the block, with its weights read once for every batch, and n² multiply-adds a token
        for each matrix whose smaller side is n.
        """
        if self._moments(block).is_dir():
            return
        incoming = self._received(block)
        if block == 0 and not incoming.file.exists():
            self._embed(incoming)
        making = self.folder / "moments.making"
        shutil.rmtree(making, ignore_errors=True)
        making.mkdir()
        sums = {name: self._moment(making, name) for name in self._names(block)}
        for moment in sums.values():
            moment.begin()
        outgoing = self._received(block + 1) if block + 1 < len(self.blocks) else None
        if outgoing is not None:
            outgoing.begin(len(self.windows))
        self._pass(block, sums, incoming, outgoing, progress)
        os.rename(making, self._moments(block))

    def moment(self, name: str) -> Float[Tensor, "n n"]:
        """The moment of a matrix that was measured: of its outputs where they are no more than its inputs."""
        return self._moment(self._moments(block_of(name)), name).read(self.windows.n_tokens)

    def forget(self, block: int) -> None:
        """Removes the moments of a block that is done, and what it received."""
        shutil.rmtree(self._moments(block), ignore_errors=True)
        self._received(block).file.unlink(missing_ok=True)

    def _pass(
        self,
        block: int,
        sums: dict[str, MomentFile],
        incoming: Activations,
        outgoing: Activations | None,
        progress: Callable[[int, int], None],
    ) -> None:
        run, rows = self.blocks.block(block), self._rows
        for start in range(0, len(self.windows), rows):
            batch = self.windows.rows(start, start + rows)

            def seen(name: str, x: Tensor, y: Tensor, kept: Tensor = batch.scored) -> None:
                matrix = self.skeleton.matrices[name]
                sums[name].add((y if of_outputs(self.skeleton.shape(matrix)) else x)[kept.to(x.device)])

            given = run(incoming.read(start, start + len(batch)), seen)
            if outgoing is not None:
                outgoing.write(start, given)
            progress(start + len(batch), len(self.windows))

    def _embed(self, incoming: Activations) -> None:
        """Writes what the first block receives."""
        making = Activations(self.folder / "received.making", incoming.positions, incoming.d_model)
        making.begin(len(self.windows))
        for start in range(0, len(self.windows), self._rows):
            tokens = self.windows.rows(start, start + self._rows).tokens[:, :-1]
            making.write(start, self.blocks.embedded(tokens))
        os.replace(making.file, incoming.file)

    @property
    def _rows(self) -> int:
        return self.windows.batch_rows(self.skeleton.model)

    def _received(self, block: int) -> Activations:
        d_model = int(self.skeleton.model.config.hidden_size)
        return Activations(self.folder / f"received.{block}", self.windows.tokens.shape[1] - 1, d_model)

    def _moments(self, block: int) -> Path:
        return self.folder / f"moments.{block}"

    def _moment(self, folder: Path, name: str) -> MomentFile:
        return MomentFile(folder / name, min(self.skeleton.shape(self.skeleton.matrices[name])))

    def _names(self, block: int) -> list[str]:
        return [name for name in self.skeleton.matrices if block_of(name) == block]


def block_of(name: str) -> int:
    """The block of a matrix called `blocks.3.mlp.W_in`."""
    return int(name.split(".")[1])
