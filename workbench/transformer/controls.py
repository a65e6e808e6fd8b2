"""What a measured number is held against: the same model before it learned anything."""

import copy
from dataclasses import replace

import torch
from torch import nn

from workbench.transformer.load import LanguageModel


def untrained(lm: LanguageModel, seed: int = 0) -> LanguageModel:
    """A model of the same configuration and tokenizer with fresh random weights, as training would begin from.

    Drawn by the architecture's own initialisation; torch's global generator is left as it was.
    """
    like = next(lm.model.parameters())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: nn.Module = type(lm.model)(copy.deepcopy(lm.model.config))  # pyright: ignore
    nn.Module.to(model, like.device, like.dtype)
    model.eval().requires_grad_(False)
    return replace(lm, name=f"{lm.name}, untrained", model=model)
