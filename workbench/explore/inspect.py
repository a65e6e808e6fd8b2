"""One tensor or leg of a diagram, looked at: what a panel shows of what is picked, as numbers."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from workbench.decompose.exact import ordered_factors
from workbench.diagram.drawing import Diagram
from workbench.diagram.scene import Mark, Scene, Wire
from workbench.spectrum import Spectrum

CELLS = 48  # of a heatmap, at most, on a side
LARGEST = 4_000_000  # numbers of a matrix whose spectrum is computed, and
NARROWEST = 1024  # its smaller side at most: seconds beyond

Heatmap = tuple[tuple[float, ...], ...]


@dataclass(frozen=True, eq=False)
class TensorFrame:
    """A tensor's numbers at a glance. `norm` (Frobenius), `low`, `high`, `mean` are those of its finite numbers.

    `heatmap` is the tensor as the matrix of `rows` legs against `columns` legs; cells of a larger one are means
    over blocks, as `heatmap_told` says. Complex numbers are shown by their magnitudes. `spectrum` is exact, of the
    same matrix; where it is None, `spectrum_told` says why. Without an array, `dtype` is "" and all numbers are nan.
    """

    name: str
    legs: tuple[str, ...]
    shape: tuple[int, ...]
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    dtype: str = ""
    n_numbers: int = 0
    n_nonfinite: int = 0
    norm: float = math.nan
    low: float = math.nan
    high: float = math.nan
    mean: float = math.nan
    heatmap: Heatmap = ()
    heatmap_told: str = ""
    spectrum: Spectrum | None = None
    spectrum_told: str = ""

    @property
    def sides(self) -> tuple[str, str]:
        """What the rows and the columns of its matrix are called: their legs, or "one" where there is none."""
        rows, columns = (", ".join(legs) or "one" for legs in (self.rows, self.columns))
        return rows, columns

    def __str__(self) -> str:
        sizes = list(self.shape) or ["?"] * len(self.legs)  # without arrays sizes may not be known
        legs = " × ".join(f"{leg} {size}" for leg, size in zip(self.legs, sizes, strict=True)) or "a number"
        if not self.dtype:
            return f"{self.name}: {legs}\nno array: its numbers are not known"
        bad = f", {self.n_nonfinite:,} of them not finite" if self.n_nonfinite else ""
        return "\n".join(
            [
                f"{self.name}: {legs}",
                f"{self.n_numbers:,} number{'s' * (self.n_numbers != 1)} in {self.dtype}{bad}",
                f"Frobenius norm {self.norm:.6g}",
                f"from {self.low:.4g} to {self.high:.4g}, mean {self.mean:.4g}",
                self.heatmap_told,
                self.spectrum_told,
            ]
        )


@dataclass(frozen=True)
class LegFrame:
    """A leg: its size, None where it is not known, and the tensors it joins; a free end joins none."""

    leg: str
    size: int | None
    joins: tuple[str, ...]

    def __str__(self) -> str:
        size = "not known" if self.size is None else f"{self.size:,}"
        joined = f"{'joins' if len(self.joins) > 1 else 'open leg of'} {' and '.join(self.joins)}"
        return f"leg {self.leg}: size {size}\n{joined}"


def inspected(
    values: Mapping[str, Tensor], name: str, legs: Sequence[str], rows_legs: Sequence[str] | None = None
) -> TensorFrame:
    """What a reader sees of one value. `rows_legs` are the rows of its matrix: the first half of its legs, if not told.

    Raises ValueError where the value is not there, or legs do not fit it.
    Cost: a few passes, and for a spectrum the eigendecomposition of the matrix's smaller side, of 1,024 at most.
    """
    if name not in values:
        raise ValueError(f"there is no value {name!r}; there are {', '.join(values) or 'none'}.")
    array = values[name].detach()
    if array.ndim != len(legs):
        raise ValueError(f"{name!r} has {len(legs)} legs ({', '.join(legs)}) but {array.ndim} axes.")
    rows, columns = _sides(name, legs, rows_legs)
    order = [*rows, *columns]
    sizes = [array.shape[axis] for axis in order]
    matrix = array.permute(order).reshape(math.prod(sizes[: len(rows)]), math.prod(sizes[len(rows) :]))
    heatmap, told = _heatmap(matrix)
    spectrum, why = _spectrum(matrix)
    finite = matrix[torch.isfinite(matrix)]
    shown = finite.abs() if finite.is_complex() else finite
    real = shown.to(torch.promote_types(shown.dtype, torch.float32)).reshape(-1)  # a norm is of no whole numbers
    some = shown.numel() > 0
    return TensorFrame(
        name=name,
        legs=tuple(legs),
        shape=tuple(array.shape),
        rows=tuple(legs[axis] for axis in rows),
        columns=tuple(legs[axis] for axis in columns),
        dtype=str(array.dtype).removeprefix("torch."),
        n_numbers=array.numel(),
        n_nonfinite=array.numel() - finite.numel(),
        norm=float(torch.linalg.vector_norm(real, dtype=torch.float64)),
        low=float(shown.min()) if some else math.nan,
        high=float(shown.max()) if some else math.nan,
        mean=float(shown.mean(dtype=torch.float64)) if some else math.nan,
        heatmap=heatmap,
        heatmap_told=told,
        spectrum=spectrum,
        spectrum_told=why,
    )


def tensor_frame(diagram: Diagram, values: Mapping[str, Tensor], mark: Mark) -> TensorFrame | None:
    """What a reader sees of the tensor at a mark; None where it stands for none, as a copy node does."""
    name = value_at(mark)
    legs = diagram.program.legs.get(name)
    if legs is None:
        return None
    if name in values:
        return inspected(values, name, legs)
    sizes = diagram.sizes.get(name, {})
    shape = tuple(sizes[leg] for leg in legs) if set(legs) <= set(sizes) else ()
    rows, columns = _sides(name, legs, None)
    return TensorFrame(name, legs, shape, tuple(legs[axis] for axis in rows), tuple(legs[axis] for axis in columns))


def value_at(mark: Mark) -> str:
    """The name of the value that a mark stands for; "" for a copy node. A box of a flow is called as its value."""
    return "" if mark.kind == "dot" else mark.tensor or mark.node


def leg_frame(scene: Scene, wires: Sequence[Wire]) -> LegFrame:
    """What a reader sees of one leg, drawn as these wires of the scene (more than one where it is a spectator)."""
    told = {mark.name: value_at(mark) or "a copy node" for mark in scene.marks}
    joins = dict.fromkeys(end for wire in wires for end in wire.ends if end is not None)
    size = next((wire.size for wire in wires if wire.size is not None), None)
    return LegFrame(wires[0].leg, size, tuple(told[end] for end in joins))


def picked(scene: Scene, name: str, kind: str = "") -> Mark | tuple[Wire, ...] | None:
    """The mark or the wires of that name; where both are called so, the mark unless `kind` is "wire"."""
    mark = next((mark for mark in scene.marks if mark.name == name), None)
    wires = tuple(wire for wire in scene.wires if wire.name == name)
    if mark is not None and not (kind == "wire" and wires):
        return mark
    return wires or None


def _sides(name: str, legs: Sequence[str], rows_legs: Sequence[str] | None) -> tuple[list[int], list[int]]:
    """The axes that are the rows of the matrix, and those that are its columns."""
    for leg in rows_legs or ():
        if leg not in legs:
            raise ValueError(f"rows_legs names {leg!r}; the legs of {name!r} are {', '.join(legs)}.")
    axes = range(len(legs))
    rows = [a for a in axes if (a < len(legs) // 2 if rows_legs is None else legs[a] in rows_legs)]
    return rows, [axis for axis in axes if axis not in rows]


def _heatmap(matrix: Tensor) -> tuple[Heatmap, str]:
    n_rows, n_columns = matrix.shape
    if matrix.numel() == 0:
        return (), f"no heatmap: the matrix of {n_rows} × {n_columns} holds no number"
    numbers = matrix.abs() if matrix.is_complex() else matrix
    numbers = numbers.double() if numbers.numel() <= LARGEST else numbers.to(torch.float32)
    high, wide = math.ceil(n_rows / CELLS), math.ceil(n_columns / CELLS)
    means = _block_means(_block_means(numbers, high).T, wide).T
    what = "magnitudes" if matrix.is_complex() else "numbers"
    told = f"heatmap: {n_rows} × {n_columns} {what}"
    if high > 1 or wide > 1:
        told += f", each cell the mean of up to {high} × {wide}"
    return tuple(tuple(row) for row in means.tolist()), told


def _block_means(matrix: Tensor, size: int) -> Tensor:
    """Means over each `size` rows; the last block may be of fewer."""
    if size == 1:
        return matrix
    parts = torch.split(matrix, size)
    return torch.stack([part.mean(dim=0) for part in parts])


def _spectrum(matrix: Tensor) -> tuple[Spectrum | None, str]:
    n_rows, n_columns = matrix.shape
    told = f"of the {n_rows} × {n_columns} matrix"
    if matrix.numel() == 0:
        return None, f"no spectrum {told}: it holds no number"
    if matrix.numel() > LARGEST:
        return None, f"no spectrum {told}: it has more than {LARGEST:,} numbers"
    if min(n_rows, n_columns) > NARROWEST:
        return None, f"no spectrum {told}: its smaller side is more than {NARROWEST:,}"
    if not bool(torch.isfinite(matrix).all()):
        return None, f"no spectrum {told}: not all of its numbers are finite"
    if matrix.is_complex():
        matrix = matrix.to(torch.complex128)
        values = torch.linalg.svdvals(matrix)  # the exact factors are of real matrices
    else:
        values = ordered_factors(matrix.double())[2]
    spectrum = Spectrum(values)
    return spectrum, f"spectrum {told}: {len(spectrum)} singular values, entropy {spectrum.entropy():.4g} nats"
