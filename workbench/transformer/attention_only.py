"""A GPT-2 without MLPs: the smallest kind of transformer in which attention heads compose."""

import json
from pathlib import Path
from typing import no_type_check

import torch
from torch import Tensor, nn
from transformers import GPT2Config, GPT2LMHeadModel


@no_type_check  # transformers makes configurations with more words than their signature has
class AttentionOnlyConfig(GPT2Config):
    """GPT-2's configuration under a `model_type` of its own.

    Plain transformers does not know it, and refuses the checkpoint rather than fill in random MLPs.
    """

    model_type = "attention_only"


class NoMlp(nn.Module):
    """What stands where a block has no MLP: it adds nothing and has no weights."""

    def forward(self, x: Tensor) -> Tensor:
        """Zeros in the shape of `x`."""
        return torch.zeros_like(x)


class AttentionOnlyLM(GPT2LMHeadModel):
    """A GPT-2 whose blocks are attention behind its norm, and nothing else.

    Learned positions, biases and norms are as in GPT-2; there is no `mlp` and no `ln_2`, in the checkpoint either.
    """

    config_class = AttentionOnlyConfig

    def __init__(self, config: AttentionOnlyConfig) -> None:
        super().__init__(config)
        for block in self.transformer.h:
            block.ln_2 = nn.Identity()  # pyright: ignore[reportAttributeAccessIssue]
            block.mlp = NoMlp()  # pyright: ignore[reportAttributeAccessIssue]


def is_attention_only(path: Path) -> bool:
    """Whether the config.json in the directory `path` is that of an attention-only model."""
    config = json.loads((path / "config.json").read_text(encoding="utf-8"))
    return isinstance(config, dict) and config.get("model_type") == AttentionOnlyConfig.model_type
