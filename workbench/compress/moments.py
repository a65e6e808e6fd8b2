"""What weight matrices receive and what they feel, summed row by row while a model runs."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor, nn

from workbench.transformer.matrices import BlockMatrix

# What a matrix reads, or feels, at all positions (*batch, n), as the rows (rows, n) that count.
Rows = Callable[[Float[Tensor, "*batch n"]], Float[Tensor, "rows n"]]


@dataclass
class MomentSums:
    """Sums over rows so far, by matrix: of x xᵀ, x and |x| of its inputs, of g gᵀ of its outputs' gradients; and how
    many inputs there were. In float64.
    """

    moments: dict[str, Tensor] = field(default_factory=dict)
    means: dict[str, Tensor] = field(default_factory=dict)
    magnitudes: dict[str, Tensor] = field(default_factory=dict)
    gradients: dict[str, Tensor] = field(default_factory=dict)
    n_rows: dict[str, int] = field(default_factory=dict)

    def add_inputs(self, name: str, x: Float[Tensor, "n in"]) -> None:
        """Adds rows of one matrix's inputs."""
        _add(self.moments, name, (x.T @ x).double())
        _add(self.means, name, x.sum(0, dtype=torch.float64))
        _add(self.magnitudes, name, x.abs().sum(0, dtype=torch.float64))
        self.n_rows[name] = self.n_rows.get(name, 0) + len(x)

    def add_gradients(self, name: str, g: Float[Tensor, "n out"]) -> None:
        """Adds rows of the gradients at one matrix's outputs."""
        _add(self.gradients, name, (g.T @ g).double())


@contextmanager
def recorded(
    matrices: Mapping[str, BlockMatrix], counted: Rows, sums: MomentSums, gradients: bool = False
) -> Iterator[None]:
    """Adds the `counted` rows that reach the matrices' own modules to `sums`, while it lasts."""

    def before(name: str) -> Callable:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            sums.add_inputs(name, counted(inputs[0].detach()))

        return hook

    def after(name: str) -> Callable:
        def felt(gradient: Tensor) -> None:
            sums.add_gradients(name, counted(gradient))

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


def _add(sums: dict[str, Tensor], name: str, term: Tensor) -> None:
    if name in sums:
        sums[name] += term
    else:
        sums[name] = term
