"""The weight matrices of any model, chosen by the paths of their modules."""

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from workbench.transformer.matrices import BlockMatrix

_SHOWN = 6  # paths that an error names


def matrices_at(model: nn.Module, modules: str | Sequence[str]) -> dict[str, BlockMatrix]:
    """The `Linear` and `Conv1D` modules whose paths match a pattern, such as `encoder.layer.*.dense`, in the model's
    order; each matrix is named by its path.

    Modules of other kinds that match a pattern are passed over; a path without wildcards is a demand.
    Raises ValueError for a pattern that matches none, for a matrix that is tied to another parameter or held twice,
    whose cut would untie it; TypeError for another kind of linear layer, such as a quantised one, and for a path of
    another kind.
    """
    patterns = [modules] if isinstance(modules, str) else list(modules)
    linear = {path: module for path, module in model.named_modules() if _is_linear(module)}
    wanted: set[str] = set()
    for pattern in patterns:
        matched = {path for path in linear if fnmatchcase(path, pattern)}
        if not matched:
            raise _nothing_there(model, pattern, list(linear))
        wanted |= matched
    if not wanted:
        raise ValueError(f"no modules are named; give paths or patterns such as {_shown(list(linear))}.")
    _check_untied(model, wanted)
    for path in wanted:
        _check_kind(path, linear[path])
    return {path: BlockMatrix(path, path, module, 0) for path, module in linear.items() if path in wanted}


def _is_linear(module: nn.Module) -> bool:
    """Whether it is a linear layer of some kind, by its class or, as quantised ones of other packages, by its name."""
    return isinstance(module, nn.Linear | Conv1D) or type(module).__name__.endswith("Linear")


def _check_kind(path: str, module: nn.Module) -> None:
    """Raises TypeError for a kind of linear layer that may hold its numbers otherwise, or use them without a call."""
    if type(module) not in (nn.Linear, Conv1D):
        raise TypeError(
            f"{path} is a {type(module).__name__}, a kind of linear layer that may store or use its weight in its own "
            "way; only plain Linear and Conv1D are cut: leave it out, or load the model without it."
        )
    if type(module.weight) is not nn.Parameter or module.weight.dtype not in (torch.float32, torch.float64):
        raise TypeError(
            f"the weight of {path} is a {type(module.weight).__name__} of {module.weight.dtype}, not a plain parameter "  # pyright: ignore
            "of float32 or float64; convert the model by .float(), or load it in full precision."
        )


def _check_untied(model: nn.Module, paths: set[str]) -> None:
    """Raises ValueError if the weight at one of the paths is found in a second place."""
    places: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        places.setdefault(id(parameter), []).append(name)
    for names in places.values():
        tied = next((name for name in names if name.removesuffix(".weight") in paths), None)
        others = [name for name in names if name != tied]
        if tied is not None and tied.endswith(".weight") and others:
            raise ValueError(
                f"{tied} is the same tensor as {others[0]}, and a cut would untie them; leave "
                f"{tied.removesuffix('.weight')} out by a narrower pattern."
            )


def _nothing_there(model: nn.Module, pattern: str, linear: list[str]) -> Exception:
    """What is wrong with a pattern that matches no linear layer."""
    instead = f"the model has {_shown(linear)}." if linear else f"{type(model).__name__} has none at all."
    module = dict(model.named_modules(remove_duplicate=False)).get(pattern)
    if module is None:
        return ValueError(f"no Linear or Conv1D matches {pattern!r}; {instead}")
    bare = [name for name, parameter in module.named_parameters(recurse=False) if parameter.ndim > 1]
    holds = f" that multiplies with {', '.join(bare)} itself" if bare else ""
    return TypeError(f"{pattern} is a {type(module).__name__}{holds}, not Linear or Conv1D; {instead}")


def _shown(paths: list[str]) -> str:
    """A few paths as patterns: the numbers of layers as `*`, each pattern once."""
    patterns = list(dict.fromkeys(re.sub(r"(?<=\.)\d+(?=\.)", "*", path) for path in paths))
    more = f" and {len(patterns) - _SHOWN} more" if len(patterns) > _SHOWN else ""
    return ", ".join(patterns[:_SHOWN]) + more
