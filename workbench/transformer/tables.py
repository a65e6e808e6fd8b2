"""The tables of tokens that a transformer begins and ends with: W_E, whose rows it takes, and W_U, the head.

Where they are tied they are one table with two uses. Names are those of the views: `embed.W_E` and `unembed.W_U`.
"""

from collections.abc import Mapping

from torch import nn

from workbench.compress.layers import BondLinear, Lookup
from workbench.transformer.matrices import BlockMatrix, block_matrices, replace_module

TABLES = ("whole", "both", "input")  # which uses of the table are given a bond
TABLE_NAMES = _EMBED, _UNEMBED = "embed.W_E", "unembed.W_U"
TABLE_KINDS = ("W_E", "W_U")

# Where each family keeps its embedding and its head.
_PATHS = {"transformer.h": ("transformer.wte", "lm_head"), "model.layers": ("model.embed_tokens", "lm_head")}


def check_table(which: str) -> None:
    """Raises ValueError unless it is one of `TABLES`."""
    if which not in TABLES:
        raise ValueError(f"the table is {', '.join(TABLES[:-1])} or {TABLES[-1]}, not {which!r}.")


def is_tied(model: nn.Module) -> bool:
    """Whether the head multiplies with the very table that tokens are looked up in."""
    embedding, head = (model.get_submodule(path) for path in table_paths(model))
    return getattr(head, "weight", None) is embedding.weight


def table_paths(model: nn.Module) -> tuple[str, str]:
    """The paths of the embedding and of the head. Raises ValueError for a model of another family."""
    for blocks, paths in _PATHS.items():
        if all(_has(model, path) for path in (blocks, *paths)):
            return paths
    raise ValueError(
        f"{type(model).__name__} keeps no embedding and head under {' or '.join(map(' and '.join, _PATHS.values()))}; "
        "leave its table whole."
    )


def table_matrices(model: nn.Module, which: str) -> dict[str, BlockMatrix]:
    """The tables that are to have a bond: none (`whole`), the looked-up one (`input`), or the head's too (`both`).

    Tied and asked for both, one table has both uses. Raises ValueError for an embedding that does more than take rows
    (one that scales or renormalises them), a head that is no linear layer, or another word.
    """
    check_table(which)
    if which == "whole":
        return {}
    lookup, head = table_paths(model)
    embedding, unembedding = model.get_submodule(lookup), model.get_submodule(head)
    if type(embedding) is not nn.Embedding or embedding.max_norm is not None:
        does = "renormalises rows" if type(embedding) is nn.Embedding else "may do more than take rows"
        raise ValueError(
            f"{lookup} of {type(model).__name__}, of kind {type(embedding).__name__}, {does}; leave the table whole."
        )
    head_dim = next(iter(block_matrices(model).values())).head_dim
    if which == "input":
        return {_EMBED: BlockMatrix(_EMBED, lookup, embedding, head_dim, lookup)}
    if type(unembedding) is not nn.Linear:
        raise ValueError(
            f"{head} of {type(model).__name__}, of kind {type(unembedding).__name__}, is no linear layer; give a bond "
            "to the input table alone, or leave the table whole."
        )
    if is_tied(model):
        return {_EMBED: BlockMatrix(_EMBED, head, unembedding, head_dim, lookup)}
    return {
        _EMBED: BlockMatrix(_EMBED, lookup, embedding, head_dim, lookup),
        _UNEMBED: BlockMatrix(_UNEMBED, head, unembedding, head_dim),
    }


def untied_by(model: nn.Module, matrices: Mapping[str, BlockMatrix]) -> tuple[str, ...]:
    """Those of `matrices` whose cut leaves the head of a tied `model` with a table of its own, as large as before."""
    alone = tuple([name for name, matrix in matrices.items() if not matrix.applied])
    return alone if alone and is_tied(model) else ()


def place_layer(model: nn.Module, matrix: BlockMatrix, layer: BondLinear) -> None:
    """Puts `layer` wherever `model` uses the matrix."""
    if matrix.applied:
        replace_module(model, matrix.path, layer)
    if matrix.looked_up is not None:
        replace_module(model, matrix.looked_up, Lookup(layer))


def restore_tables(model: nn.Module, dense: nn.Module, matrices: Mapping[str, BlockMatrix]) -> None:
    """Puts the embedding and the head of `dense` back in `model`, wherever `matrices` have a table."""
    for matrix in matrices.values():
        if matrix.kind in TABLE_KINDS:
            for path in {matrix.path, matrix.looked_up or matrix.path}:
                replace_module(model, path, dense.get_submodule(path))


def layer_of(model: nn.Module, matrix: BlockMatrix) -> BondLinear:
    """The layer that runs the matrix in `model`. Raises TypeError if it has no bond there."""
    module = model.get_submodule(matrix.path)
    module = module.table if isinstance(module, Lookup) else module
    if not isinstance(module, BondLinear):
        raise TypeError(f"{matrix.name} is a {type(module).__name__} without a bond; decompose the model first.")
    return module


def _has(model: nn.Module, path: str) -> bool:
    try:
        model.get_submodule(path)
    except AttributeError:
        return False
    return True
