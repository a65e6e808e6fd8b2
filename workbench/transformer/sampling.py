"""Text written by a language model, the same draw each time."""

from collections.abc import Iterator
from inspect import signature

import torch
from torch import nn

from workbench.transformer.load import LanguageModel


def continuation(
    lm: LanguageModel, model: nn.Module, prompt: str, n_tokens: int = 40, seed: int = 0, temperature: float = 0.7
) -> str:
    """Up to `n_tokens` drawn after `prompt` by `model`, with the tokenizer of `lm`; see `writing`."""
    text = ""
    for longer in writing(lm, model, prompt, n_tokens, seed, temperature):
        text = longer
    return text


def writing(
    lm: LanguageModel, model: nn.Module, prompt: str, n_tokens: int = 40, seed: int = 0, temperature: float = 0.7
) -> Iterator[str]:
    """The continuation of `prompt` after each drawn token; it ends early at the end of text.

    The random numbers depend on `seed` and the position alone, so two models that agree write the same text.
    Raises ValueError if the prompt is empty or leaves no room in the context.
    """
    ids = lm.tokenizer(prompt, add_special_tokens=False)["input_ids"]
    if not ids or len(ids) >= lm.context:
        raise ValueError(f"the prompt has {len(ids)} tokens; {lm.name} continues one of 1 to {lm.context - 1}.")
    generator = torch.Generator().manual_seed(seed)
    room = min(n_tokens, lm.context - len(ids))
    draws = torch.rand(room, generator=generator, dtype=torch.float64)
    tokens = torch.tensor([ids], device=lm.device)
    written: list[int] = []
    cache, name = None, cache_name(model)
    for draw in draws:
        with torch.no_grad():
            output = model(tokens, use_cache=True, **{name: cache})
        cache = getattr(output, name)
        p = (output.logits[0, -1].double().cpu() / temperature).softmax(-1)
        # Inverse transform over tokens from the likeliest down: a small change of p rarely changes the draw.
        ordered, names = p.sort(descending=True)
        chosen = int(names[int((ordered.cumsum(0) < draw).sum().clamp_max(len(p) - 1))])
        if chosen == lm.tokenizer.eos_token_id:
            return
        written.append(chosen)
        yield str(lm.tokenizer.decode(written))
        tokens = torch.tensor([[chosen]], device=lm.device)


def cache_name(model: nn.Module) -> str:
    """What the model calls the keys and values of the tokens before: transformers has another name for it since 5.24.

    By the wrong name it is refused there, and passed over without a word in older versions.
    """
    return "cache" if "cache" in signature(model.forward).parameters else "past_key_values"
