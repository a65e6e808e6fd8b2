"""The weight matrices of a transformer's blocks, by one set of names: the one place that knows Conv1D from Linear."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from workbench.compress.layers import BondLinear

# Where each family keeps its blocks, and what TransformerLens calls the matrices in them.
# GPT-2 stores query, key and value as one matrix.
_FAMILIES = {
    "transformer.h": {
        "attn.c_attn": "attn.W_QKV",
        "attn.c_proj": "attn.W_O",
        "mlp.c_fc": "mlp.W_in",
        "mlp.c_proj": "mlp.W_out",
    },
    "model.layers": {
        "self_attn.q_proj": "attn.W_Q",
        "self_attn.k_proj": "attn.W_K",
        "self_attn.v_proj": "attn.W_V",
        "self_attn.o_proj": "attn.W_O",
        "mlp.gate_proj": "mlp.W_gate",
        "mlp.up_proj": "mlp.W_in",
        "mlp.down_proj": "mlp.W_out",
    },
}


@dataclass(frozen=True, eq=False)
class BlockMatrix:
    """One weight matrix of one block: its name here, the path of its module in the model, and the size of a head.

    A table of tokens is one too, (vocabulary, d_model), with `looked_up`, the path of the embedding that takes its
    rows. Where nothing but the embedding uses it, that is `path` itself.
    """

    name: str
    path: str
    module: nn.Module
    head_dim: int
    looked_up: str | None = None

    @property
    def weight(self) -> Float[Tensor, "out in"]:
        """The matrix as (out, in), a view of the model's own numbers."""
        weight: Tensor = self.module.weight  # pyright: ignore[reportAssignmentType]
        return weight.detach().T if self.transposed else weight.detach()

    @property
    def transposed(self) -> bool:
        """Whether the model stores it as (in, out): GPT-2's Conv1D does."""
        return isinstance(self.module, Conv1D)

    @property
    def bias(self) -> Float[Tensor, " out"] | None:
        """The bias added after it, if there is one."""
        return getattr(self.module, "bias", None)

    @property
    def applied(self) -> bool:
        """Whether inputs are multiplied with it: not with a table that is only looked up."""
        return self.path != self.looked_up

    @property
    def kind(self) -> str:
        """The matrix's name within its block, such as `W_in`; of a matrix named by its path the last part of that."""
        return self.name.rsplit(".", 1)[-1]


def block_module(model: nn.Module, layer: int, name: str) -> nn.Module:
    """The module of a block that holds the matrix called so, such as `attn.W_O`, whether its bond is cut or not.

    Raises ValueError for a model of another family, or one whose blocks have no such matrix.
    """
    for prefix, names in _FAMILIES.items():
        if _submodule(model, prefix) is not None:
            for path, own in names.items():
                if own == name:
                    return model.get_submodule(f"{prefix}.{layer}.{path}")
    raise ValueError(f"{type(model).__name__} has no {name} in its blocks, as far as is known here.")


def blocks_of(model: nn.Module) -> list[nn.Module]:
    """The model's blocks in the order in which they run. Raises ValueError for a model of another family."""
    for prefix in _FAMILIES:
        blocks = _submodule(model, prefix)
        if blocks is not None:
            return list(blocks.children())
    raise ValueError(f"{type(model).__name__} keeps no blocks under {' or '.join(_FAMILIES)}.")


def block_matrices(model: nn.Module) -> dict[str, BlockMatrix]:
    """Every weight matrix of the model's blocks, in order, as `blocks.3.mlp.W_in`.

    GPT-2 and LLaMA families. Embeddings, norms and the head are not among them.
    Raises ValueError for a model of another family.
    """
    found = {}
    for prefix, names in _FAMILIES.items():
        blocks = _submodule(model, prefix)
        if blocks is None:
            continue
        head_dim = _head_dim(model)
        for index, block in enumerate(blocks.children()):
            for path, name in names.items():
                module = _submodule(block, path)
                if isinstance(module, (nn.Linear, Conv1D)):
                    full = f"blocks.{index}.{name}"
                    found[full] = BlockMatrix(full, f"{prefix}.{index}.{path}", module, head_dim)
    if not found:
        raise ValueError(
            f"{type(model).__name__} keeps no blocks of weight matrices under {' or '.join(_FAMILIES)}; "
            "give a model of the GPT-2 or LLaMA family."
        )
    return found


def linear(weight: Float[Tensor, "out in"], bias: Float[Tensor, " out"] | None, like: nn.Module) -> nn.Module:
    """A module of the same kind as `like` (Conv1D or Linear) that holds `weight`."""
    out_features, in_features = weight.shape
    if isinstance(like, Conv1D):
        made = Conv1D(out_features, in_features)
        made.weight = nn.Parameter(weight.T.contiguous(), requires_grad=False)
    else:
        made = nn.Linear(in_features, out_features, bias=bias is not None, device=weight.device, dtype=weight.dtype)
        made.weight = nn.Parameter(weight.contiguous(), requires_grad=False)
    if bias is not None:
        made.bias = nn.Parameter(bias.detach().clone(), requires_grad=False)
    return made


def replace_module(model: nn.Module, path: str, module: nn.Module) -> None:
    """Puts `module` in the place of the one at `path`."""
    parent, _, name = path.rpartition(".")
    setattr(model.get_submodule(parent), name, module)


def shared_copy(model: nn.Module) -> nn.Module:
    """A copy of the tree of modules that shares every tensor with `model`: swapping modules leaves `model` alone.

    A matrix whose bond is cut has a bond of its own in the copy, and shares its factors.
    """
    import copy

    memo: dict[int, object] = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    for layer in model.modules():
        if isinstance(layer, BondLinear):
            memo |= {id(form): form for form in (layer.uncut, layer.now, layer.state.bare.now)}
    return copy.deepcopy(model, memo)


def resolve_device(device: str) -> torch.device:
    """`auto` is the first CUDA device if there is one, else the CPU; or torch's `cpu`, `cuda`, `cuda:1`."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError:
        chosen = None
    if chosen is None or chosen.type not in ("cpu", "cuda"):
        raise ValueError(f"unknown device {device!r}; give auto, cpu, cuda or cuda:1.")
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device {device!r} was asked for, but torch sees no CUDA device here; give auto or cpu.")
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise ValueError(
            f"device {device!r} was asked for, but torch sees {torch.cuda.device_count()} CUDA devices here; "
            "give auto, cpu or cuda."
        )
    return chosen


def _head_dim(model: nn.Module) -> int:
    config = model.config
    return int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)  # pyright: ignore


def _submodule(module: nn.Module, path: str) -> nn.Module | None:
    for name in path.split("."):
        module = getattr(module, name, None)  # pyright: ignore[reportAssignmentType]
        if module is None:
            return None
    return module
