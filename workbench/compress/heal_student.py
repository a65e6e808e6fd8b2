"""A compressed model whose factors learn: a copy of the running one, so that nobody else sees a half-taken step."""

from collections.abc import Mapping

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from workbench.compress.layers import BondLinear
from workbench.decompose.protocol import Decomposition
from workbench.transformer.matrices import replace_module, shared_copy


class LearningLinear(nn.Module):
    """A linear layer that runs a form of its matrix with numbers that learn: `leaves`, float32 at least.

    `start` are the numbers it began with, not copied. Each forward pass makes what it needs of the factors anew, in the
    cheapest form for its rows, so that the gradient reaches the factors through it.
    """

    def __init__(self, form: Decomposition, bias: Float[Tensor, " out"] | None) -> None:
        super().__init__()
        self._form = form
        self._kinds = {name: tensor.dtype for name, tensor in form.tensors().items()}
        self._bias_kind = None if bias is None else bias.dtype
        # Plain dicts: the module is in no checkpoint, and the optimiser is given its leaves by name.
        self.start = form.tensors() if bias is None else form.tensors() | {"bias": bias}
        self.leaves = {name: _leaf(tensor) for name, tensor in self.start.items()}
        self._planner = BondLinear(None, None, form)

    def with_numbers(self, numbers: Mapping[str, Tensor]) -> tuple[Decomposition, Float[Tensor, " out"] | None]:
        """The form and the bias with other numbers, in the dtypes of the start; copies only where a dtype differs."""
        form = self._form.with_tensors({name: numbers[name].to(kind) for name, kind in self._kinds.items()})
        return form, None if self._bias_kind is None else numbers["bias"].to(self._bias_kind)

    def forward(self, x: Float[Tensor, "*batch in"]) -> Float[Tensor, "*batch out"]:
        """The layer's output with the present numbers."""
        form, bias = self.with_numbers(self.leaves)
        # Backward costs twice the forward pass in every form, so the forward pass decides.
        way = self._planner.form(x.numel() // x.shape[-1])
        if way == "dense":
            return functional.linear(x, form.dense(), bias)
        return (form.merged() if way == "merged" else form).apply(x, bias)

    def rows_at(self, index: Int[Tensor, "*any"]) -> Float[Tensor, "*any in"]:
        """The matrix's rows with the present numbers, through the factors, in the start's own dtype: they begin the
        stream, which no lower precision of the products may narrow.
        """
        form, _ = self.with_numbers(self.leaves)
        return form.rows_at(index).to(next(iter(self._kinds.values())))


class Student:
    """The copy that learns: every cut layer of `layers` in `model` as a `LearningLinear`; all else is shared and fixed.

    Fixed are the layers that run their original, norms, and an embedding or a head that has no bond: what is exported
    is then the dense model with other matrices and biases, and nothing else. A tied table that is cut learns from both
    its uses, as one layer in two places.
    Raises ValueError if no layer is cut, or one of them is not in `model`.
    """

    def __init__(self, model: nn.Module, layers: Mapping[str, BondLinear]) -> None:
        cut = {name: layer for name, layer in layers.items() if not layer.bypassed}
        if not cut:
            raise ValueError(f"none of the {len(layers)} layers is cut, so there is nothing to heal; cut bonds first.")
        paths: dict[int, list[str]] = {}
        for path, module in model.named_modules(remove_duplicate=False):
            paths.setdefault(id(module), []).append(path)
        missing = [name for name, layer in cut.items() if id(layer) not in paths]
        if missing:
            raise ValueError(
                f"layer {missing[0]} is not part of the model to be healed; give the model that runs these layers."
            )
        self.model = shared_copy(model).eval()
        self.linears = {name: LearningLinear(layer.now, layer.present_bias) for name, layer in cut.items()}
        for name, linear in self.linears.items():
            for path in paths[id(cut[name])]:
                replace_module(self.model, path, linear)

    @property
    def leaves(self) -> dict[str, Float[Tensor, "..."]]:
        """What learns, as `layer/tensor`."""
        return {f"{name}/{own}": leaf for name, linear in self.linears.items() for own, leaf in linear.leaves.items()}

    @property
    def start(self) -> dict[str, Float[Tensor, "..."]]:
        """The numbers it began with, by the same names; those of the running layers, not copied."""
        return {
            f"{name}/{own}": tensor for name, linear in self.linears.items() for own, tensor in linear.start.items()
        }

    def copied(self) -> dict[str, Float[Tensor, "..."]]:
        """The present numbers, copied."""
        return {name: leaf.detach().clone() for name, leaf in self.leaves.items()}

    @torch.no_grad()
    def load(self, numbers: Mapping[str, Float[Tensor, "..."]]) -> None:
        """Takes over `numbers`, by the names of `leaves`."""
        for name, leaf in self.leaves.items():
            leaf.copy_(numbers[name])

    def put(self, layers: Mapping[str, BondLinear], numbers: Mapping[str, Float[Tensor, "..."]]) -> None:
        """Lets the running `layers` run `numbers`, which must not be changed in place afterwards."""
        for name, linear in self.linears.items():
            own = {key: numbers[f"{name}/{key}"] for key in linear.leaves}
            layers[name].put(*linear.with_numbers(own))


def _leaf(tensor: Tensor) -> Tensor:
    kind = torch.promote_types(tensor.dtype, torch.float32)  # halves are too coarse to add up small steps
    # In rows, whatever slice of the factors it was: a leaf that was loaded again must give the same bits.
    return tensor.detach().to(kind).clone(memory_format=torch.contiguous_format).requires_grad_(True)
