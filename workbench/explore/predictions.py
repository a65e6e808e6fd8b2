"""What a model says comes next, in tokens that can be read."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.transformer.anatomy import Anatomy
from workbench.transformer.load import LanguageModel

LIKELIEST = 5  # next tokens told of each position


@dataclass(frozen=True)
class NextTokens:
    """What a view says comes after one token: the likeliest tokens with their probabilities, the likeliest first."""

    token: str
    likeliest: tuple[tuple[str, float], ...]

    def __str__(self) -> str:
        return f"{self.token!r} → " + ", ".join(f"{token!r} {share:.1%}" for token, share in self.likeliest)


def token_texts(model: LanguageModel | Anatomy, tokens: Int[Tensor, " n"]) -> tuple[str, ...]:
    """Each token as text; of a model without a tokenizer, its number."""
    ids = [int(token) for token in tokens]
    if isinstance(model, Anatomy):
        return tuple(map(str, ids))
    return tuple(str(model.tokenizer.decode([token])) for token in ids)


def next_tokens(
    model: LanguageModel | Anatomy, texts: tuple[str, ...], logits: Float[Tensor, "t v"]
) -> tuple[NextTokens, ...]:
    """The likeliest tokens after each position, by these logits."""
    found = torch.softmax(logits.double(), dim=-1).topk(min(LIKELIEST, logits.shape[-1]))
    rows = zip(texts, found.indices, found.values.tolist(), strict=True)
    return tuple(
        NextTokens(text, tuple(zip(token_texts(model, tokens), shares, strict=True))) for text, tokens, shares in rows
    )
