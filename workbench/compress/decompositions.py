"""All block matrices of a model, and its token table if asked for, decomposed once, by one recipe."""

import warnings
from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from torch import Tensor

from workbench.compress.calibrate import Calibration
from workbench.compress.kept_forms import KeptForms
from workbench.compress.methods import cp, kronecker, mpo, ring, svd, tucker
from workbench.compress.place import Place
from workbench.compress.recipe import METHODS, Recipe
from workbench.compress.stored_forms import restored_uncut, stored_uncut
from workbench.decompose.exact import check_finite
from workbench.decompose.metric import PLAIN, Metric
from workbench.decompose.protocol import Decomposition
from workbench.memory import is_short
from workbench.spill import spilled
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
    cache: KeptForms | None = None,
) -> dict[str, Decomposition]:
    """Every matrix decomposed, by name. What is in `done` is kept, and each finished one is put there:
    after an interrupt, a call with the same `done` goes on where it stopped. With a `cache`, so does another process
    after a kill: what is kept there is read, and the rest is written there one by one. Where memory is short, the forms
    lie in temporary files, mapped.
    """
    for matrix in matrices.values():
        check_finite(matrix.weight, f"weight {matrix.name}")
    room = sum(matrix.weight.nbytes for matrix in matrices.values())  # what layers that run multiplied out will take
    for index, (name, matrix) in enumerate(matrices.items()):
        if name not in done:
            metric = _metric(recipe, matrix, calibration)
            form = decomposition(recipe, matrix, metric) if cache is None else _cached(cache, recipe, matrix, metric)
            done[name] = form if matrix.weight.is_cuda or not is_short(room) else _put_by(form)
        if progress:
            progress("decompose", index + 1, len(matrices))
    return dict(done)


def decomposition(recipe: Recipe, matrix: BlockMatrix, metric: Metric = PLAIN) -> Decomposition:
    """One matrix by the recipe, uncut, where it is; where the GPU's memory is too small, by way of the CPU's."""
    method, weight, place = _METHODS[recipe.method], matrix.weight, _place(matrix)
    try:
        return method(recipe, weight, metric, place)
    except torch.OutOfMemoryError:
        warnings.warn(
            f"{matrix.name}: the GPU has too little free memory to decompose it; done on the CPU.",
            RuntimeWarning,
            stacklevel=2,
        )
        return method(recipe, weight.cpu(), metric.to(torch.device("cpu")), place).to(weight.device)


def _cached(cache: KeptForms, recipe: Recipe, matrix: BlockMatrix, metric: Metric) -> Decomposition:
    """The decomposition as the cache keeps it, made first if it has none."""
    weight = matrix.weight
    file = cache.file(recipe, weight, metric, _place(matrix))
    found = cache.kept(file, weight.device)
    if found is not None:
        return found
    made = decomposition(recipe, matrix, metric)
    cache.keep(file, made)
    # Read back, so that a run that made it runs on the very tensors of one that finds it, in the same order in memory.
    return cache.kept(file, weight.device) or made


def _put_by(form: Decomposition) -> Decomposition:
    """The same form in temporary files."""
    warnings.warn(
        "little memory is free: decompositions are kept in temporary files (TMPDIR).", RuntimeWarning, stacklevel=3
    )
    tensors, described = stored_uncut(form)
    files = {name: tensor if name.rpartition(":")[2].startswith("spectrum") else spilled(tensor)
             for name, tensor in tensors.items()}  # fmt: skip
    return restored_uncut(described, files.__getitem__)


def _place(matrix: BlockMatrix) -> Place:
    return Place(matrix.kind, matrix.head_dim)


def _metric(recipe: Recipe, matrix: BlockMatrix, calibration: Calibration | None) -> Metric:
    """The recipe's metric of one matrix. Raises ValueError for a table whose moments were not measured."""
    if calibration is None or not recipe.needs_calibration:
        return PLAIN
    if matrix.kind not in TABLE_KINDS:
        return calibration.metric(matrix.name, recipe.metric)
    if calibration.table is None:
        raise ValueError(f"the calibration did not look at {matrix.name}; calibrate with table=True.")
    return calibration.table.metric(matrix, recipe.metric)
