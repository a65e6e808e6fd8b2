"""A model's modules without numbers, and where in the checkpoint each number lies: for models larger than memory."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from workbench.transformer.load import LanguageModel
from workbench.transformer.matrices import BlockMatrix, block_matrices
from workbench.transformer.shards import StoredTensor, stored_tensors

# Each block of these receives the same as every other, so that it can be run alone (`streamed_blocks`).
FAMILIES = ("gpt2", "llama", "mistral")


@dataclass(frozen=True, eq=False)
class Skeleton:
    """A causal language model of the GPT-2, LLaMA or Mistral kind whose weights stay on disk.

    `model` holds modules on torch's meta device, `stored` the tensor of each of its parameters, `files` all files of
    the checkpoint that hold any.
    """

    path: Path
    model: PreTrainedModel
    stored: Mapping[str, StoredTensor]
    matrices: Mapping[str, BlockMatrix]

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that hold the weights."""
        return tuple(sorted({tensor.file for tensor in self.stored.values()}))

    def weight(self, matrix: BlockMatrix) -> StoredTensor:
        """Where the weight of a matrix lies."""
        return self.stored[f"{matrix.path}.weight"]

    def read(self, matrix: BlockMatrix) -> Float[Tensor, "out in"]:
        """The matrix as (out, in), in float32."""
        weight = self.weight(matrix).read()
        return weight.T if matrix.transposed else weight

    def shape(self, matrix: BlockMatrix) -> tuple[int, int]:
        """(out, in) of the matrix."""
        rows, columns = self.weight(matrix).shape
        return (columns, rows) if matrix.transposed else (rows, columns)

    @property
    def largest(self) -> int:
        """The numbers of the largest block matrix."""
        return max(math.prod(self.shape(matrix)) for matrix in self.matrices.values())

    def language_model(self) -> LanguageModel:
        """The model with its tokenizer, for making windows of text; it cannot run."""
        tokenizer = AutoTokenizer.from_pretrained(self.path, config=self.model.config, trust_remote_code=False)
        return LanguageModel(self.path.name, str(self.path), self.model, tokenizer)


def skeleton(path: Path) -> Skeleton:
    """The model of the checkpoint in the directory `path`; no weight is read.

    Raises ValueError for a model of another family, and where config.json and weights do not belong together; and
    what `stored_tensors` raises.
    """
    found = stored_tensors(path)
    model = empty_model(path)
    prefix = f"{model.base_model_prefix}."  # tensors saved from the bare model lack it
    stored = {}
    for name, parameter in model.named_parameters():
        tensor = found.get(name) or found.get(name.removeprefix(prefix))
        if tensor is None or tensor.shape != tuple(parameter.shape):
            has = "lacks it" if tensor is None else f"has {tensor.shape}"
            raise ValueError(
                f"{path}: its config.json asks for {name} {tuple(parameter.shape)}, and the checkpoint {has}; "
                "the two do not belong together."
            )
        stored[name] = tensor
    used = {tensor.name for tensor in stored.values()}
    blocks = next(iter(block_matrices(model).values())).path.split(".")[1]  # `h` or `layers`
    beyond = [name for name in found if name not in used and name.endswith("weight") and f".{blocks}." in f".{name}"]
    if beyond:
        raise ValueError(
            f"{path} holds {len(beyond)} weights of blocks that its config.json does not know, such as {beyond[0]}; "
            "the two do not belong together."
        )
    return Skeleton(path, model, stored, block_matrices(model))


def empty_model(path: Path) -> PreTrainedModel:
    """The modules that the config.json in `path` says, in evaluation mode, without numbers.

    Raises ValueError for a model of another family.
    """
    config = AutoConfig.from_pretrained(path, trust_remote_code=False)
    if config.model_type not in FAMILIES:
        raise ValueError(
            f"{path} is a {config.model_type} model; those of {', '.join(FAMILIES)} can be streamed: load it whole."
        )
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config, dtype=torch.float32, trust_remote_code=False).eval()
