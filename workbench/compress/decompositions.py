"""All block matrices of a model, and its token table if asked for, decomposed once, by one recipe."""

import warnings
from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from torch import Tensor

from workbench.compress.calibrate import Calibration
from workbench.compress.methods import cp, kronecker, mpo, ring, svd, tucker
from workbench.compress.place import Place
from workbench.compress.recipe import METHODS, Recipe
from workbench.decompose.exact import check_finite
from workbench.decompose.metric import PLAIN, Metric
from workbench.decompose.protocol import Decomposition
from workbench.transformer.matrices import BlockMatrix
from workbench.transformer.tables import TABLE_KINDS

Method = Callable[[Recipe, Tensor, Metric, Place], Decomposition]

_METHODS: Mapping[str, Method] = MappingProxyType(
    {
        "svd": svd.decompose,
        "mpo": mpo.decompose,
        "kronecker": kronecker.decompose,
        "tucker": tucker.decompose,
        "cp": cp.decompose,
        "ring": ring.decompose,
    }
)
assert set(_METHODS) == set(METHODS)


def decompose_all(
    recipe: Recipe,
    matrices: Mapping[str, BlockMatrix],
    calibration: Calibration | None,
    done: dict[str, Decomposition],
    progress: Callable[[str, int, int], None] | None = None,
) -> dict[str, Decomposition]:
    """Every matrix decomposed, by name. What is in `done` is kept, and each finished one is put there:
    after an interrupt, a call with the same `done` goes on where it stopped.
    """
    for matrix in matrices.values():
        check_finite(matrix.weight, f"weight {matrix.name}")
    for index, (name, matrix) in enumerate(matrices.items()):
        if name not in done:
            done[name] = decomposition(recipe, matrix, _metric(recipe, matrix, calibration))
        if progress:
            progress("decompose", index + 1, len(matrices))
    return dict(done)


def decomposition(recipe: Recipe, matrix: BlockMatrix, metric: Metric = PLAIN) -> Decomposition:
    """One matrix by the recipe, uncut, where it is; where the GPU's memory is too small, by way of the CPU's."""
    method, weight, place = _METHODS[recipe.method], matrix.weight, Place(matrix.kind, matrix.head_dim)
    try:
        return method(recipe, weight, metric, place)
    except torch.OutOfMemoryError:
        warnings.warn(
            f"{matrix.name}: the GPU has too little free memory to decompose it; done on the CPU.",
            RuntimeWarning,
            stacklevel=2,
        )
        return method(recipe, weight.cpu(), metric.to(torch.device("cpu")), place).to(weight.device)


def _metric(recipe: Recipe, matrix: BlockMatrix, calibration: Calibration | None) -> Metric:
    """The recipe's metric of one matrix. Raises ValueError for a table whose moments were not measured."""
    if calibration is None or not recipe.needs_calibration:
        return PLAIN
    if matrix.kind not in TABLE_KINDS:
        return calibration.metric(matrix.name, recipe.metric)
    if calibration.table is None:
        raise ValueError(f"the calibration did not look at {matrix.name}; calibrate with table=True.")
    return calibration.table.metric(matrix, recipe.metric)
