"""The blocks of a model run one at a time, by transformers' own code, with weights read as each is multiplied with."""

import copy
from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from workbench.transformer.matrices import BlockMatrix, blocks_of, replace_module
from workbench.transformer.shards import StoredTensor
from workbench.transformer.skeleton import Skeleton, empty_model
from workbench.transformer.tables import table_paths

Seen = Callable[[str, Float[Tensor, "b t in"], Float[Tensor, "b t out"]], None]
Run = Callable[[Float[Tensor, "b t d"], Seen], Float[Tensor, "b t d"]]


class StreamedBlocks:
    """What runs the blocks of a `Skeleton`: the model's own forward pass, its masks and rotary positions included, with
    one block in it and neither table nor last norm. No weight matrix stays in memory between two uses.
    """

    def __init__(self, skeleton: Skeleton, device: torch.device) -> None:
        self._skeleton, self._device = skeleton, device
        self._inner = empty_model(skeleton.path).base_model
        self._blocks = blocks_of(skeleton.model)
        self._seen: Seen | None = None
        if skeleton.model.config.model_type == "gpt2":
            self._inner.ln_f, self._inner.wpe, self._list = nn.Identity(), _NoPositions(), "h"
        else:  # rotary frequencies are computed, and were made without numbers
            rotary = type(self._inner.rotary_emb)(config=skeleton.model.config)  # pyright: ignore
            self._inner.norm, self._inner.rotary_emb, self._list = nn.Identity(), rotary.to(device), "layers"

    def __len__(self) -> int:
        return len(self._blocks)

    def embedded(self, tokens: Int[Tensor, "b t"]) -> Float[Tensor, "b t d"]:
        """What the first block receives: rows of the table, and in GPT-2 those of the positions added."""
        own, place = torch.unique(tokens, return_inverse=True)
        rows = self._skeleton.stored[f"{table_paths(self._skeleton.model)[0]}.weight"].rows(own)[place]
        positions = self._skeleton.stored.get("transformer.wpe.weight")
        return rows if positions is None else rows + positions.rows(torch.arange(tokens.shape[1]))

    def block(self, index: int) -> Run:
        """The function of one block, until another is asked for. What it is given beside its inputs is told of every
        matrix its name, what it receives, and what it gives before the bias is added.
        """
        block = copy.deepcopy(self._blocks[index])
        path = next(name for name, module in self._skeleton.model.named_modules() if module is self._blocks[index])
        for name, matrix in self._skeleton.matrices.items():
            if matrix.path.startswith(f"{path}."):
                replace_module(block, matrix.path.removeprefix(f"{path}."), self._streamed(name, matrix))
        for name, parameter in list(block.named_parameters()):
            if parameter.is_meta:
                owner, _, own = name.rpartition(".")
                whole = nn.Parameter(self._skeleton.stored[f"{path}.{name}"].read(), requires_grad=False)
                setattr(block.get_submodule(owner), own, whole)
        setattr(self._inner, self._list, nn.ModuleList([block.to(self._device)]))

        def run(hidden: Float[Tensor, "b t d"], seen: Seen) -> Float[Tensor, "b t d"]:
            self._seen = seen
            with torch.no_grad():
                given = self._inner(inputs_embeds=hidden.to(self._device), use_cache=False).last_hidden_state
            return given.to(hidden.device)

        return run

    def _streamed(self, name: str, matrix: BlockMatrix) -> "_StreamedLinear":
        def told(x: Tensor, y: Tensor) -> None:
            if self._seen is not None:
                self._seen(name, x, y)

        bias = self._skeleton.stored.get(f"{matrix.path}.bias")
        weight = self._skeleton.weight(matrix)
        return _StreamedLinear(weight, matrix.transposed, None if bias is None else bias.read(), told)


class _StreamedLinear(nn.Module):
    """A linear layer that reads its weight from disk whenever it runs, and tells what it was given and gives."""

    def __init__(
        self, weight: StoredTensor, transposed: bool, bias: Tensor | None, seen: Callable[[Tensor, Tensor], None]
    ) -> None:
        super().__init__()
        self._weight, self._transposed, self._seen = weight, transposed, seen
        self.bias = None if bias is None else nn.Parameter(bias, requires_grad=False)

    def forward(self, x: Float[Tensor, "*batch in"]) -> Float[Tensor, "*batch out"]:
        y = x @ self._read(x.device)
        self._seen(x, y)
        return y if self.bias is None else y + self.bias

    def _read(self, device: torch.device) -> Float[Tensor, "in out"]:
        weight = self._weight.read().to(device)
        return weight if self._transposed else weight.T


class _NoPositions(nn.Module):
    """Zeros in the place of position vectors, which are in the first block's inputs already."""

    def forward(self, positions: Int[Tensor, "b t"]) -> Float[Tensor, ""]:
        return torch.zeros(())
