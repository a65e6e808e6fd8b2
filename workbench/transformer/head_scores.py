"""What each head attends to in tokens that come twice: previous-token, duplicate-token and induction scores."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.transformer.anatomy import Anatomy
from workbench.transformer.block_runs import run_blocks
from workbench.transformer.composition import Head, layer_bounds
from workbench.transformer.controls import untrained
from workbench.transformer.load import LanguageModel
from workbench.transformer.matrices import shared_copy
from workbench.transformer.probe_rows import longest_period, ordinary_tokens, plain_rows, repeat_rows
from workbench.transformer.reading import anatomy_of
from workbench.transformer.view import tokens_of

BEHAVIOURS = ("previous", "duplicate", "induction")


def previous_token_score(pattern: Float[Tensor, "*h t t"]) -> Float[Tensor, "*h"]:
    """The mean attention, 0 to 1, that a position pays to the one before it; the first position has none.

    Raises ValueError for a pattern of fewer than two positions.
    """
    n = pattern.shape[-1]
    if n < 2:
        raise ValueError(f"a pattern over {n} position has no previous token; give 2 or more.")
    return pattern.diagonal(-1, dim1=-2, dim2=-1).mean(-1)


def duplicate_token_score(pattern: Float[Tensor, "*h t t"], period: int) -> Float[Tensor, "*h"]:
    """The mean attention, 0 to 1, that a position of the second copy pays to the same token in the first.

    The last `period` positions are the second copy, and as many before them the first.
    Raises ValueError where there are fewer than two copies.
    """
    return _from_second_copy(pattern, period, period)


def induction_score(pattern: Float[Tensor, "*h t t"], period: int) -> Float[Tensor, "*h"]:
    """The mean attention, 0 to 1, that a position of the second copy pays to what followed its token in the first.

    The last `period` positions are the second copy, and as many before them the first.
    Raises ValueError where there are fewer than two copies. Source: Olsson et al. (2022).
    """
    return _from_second_copy(pattern, period, period - 1)


@dataclass(frozen=True)
class HeadScore:
    """One head's score for one behaviour, 0 to 1."""

    behaviour: str
    head: Head
    score: float

    def __str__(self) -> str:
        return f"{self.behaviour} score of head {self.head[0]}.{self.head[1]}: {self.score:.3f}"


@dataclass(frozen=True, eq=False)
class HeadScores:
    """The scores of all heads, `values[behaviour, head]`, 0 to 1, in the order of `BEHAVIOURS` and of `heads`.

    Each is a mean over `n_rows` rows.
    """

    name: str
    heads: tuple[Head, ...]
    period: int
    n_rows: int
    values: Float[Tensor, "3 h"]

    @property
    def layer_bounds(self) -> tuple[int, ...]:
        """The column at which each layer begins, and the number of columns."""
        return layer_bounds(self.heads)

    def of(self, behaviour: str) -> Float[Tensor, " h"]:
        """The scores for one behaviour. Raises ValueError for another than those in `BEHAVIOURS`."""
        if behaviour not in BEHAVIOURS:
            raise ValueError(f"no score is called {behaviour!r}; there are {', '.join(BEHAVIOURS)}.")
        return self.values[BEHAVIOURS.index(behaviour)]

    def strongest(self, behaviour: str, n: int = 5) -> tuple[HeadScore, ...]:
        """The `n` heads with the highest scores, highest first; all of them where there are fewer."""
        values, order = self.of(behaviour).sort(descending=True, stable=True)
        ordered = zip(order.tolist()[:n], values.tolist()[:n], strict=True)
        return tuple(HeadScore(behaviour, self.heads[place], score) for place, score in ordered)


@dataclass(frozen=True)
class HeadTable:
    """All heads' scores on repeated tokens beside what they must be held against, on rows of the same length.

    `plain` is the same model on tokens of which none comes twice, None where the vocabulary has too few for that;
    `untrained` the same configuration with random weights on the repeated tokens, None for a model made by hand.
    """

    repeats: HeadScores
    plain: HeadScores | None
    untrained: HeadScores | None


def head_table(model: LanguageModel | Anatomy, period: int | None = None, n_rows: int = 16, seed: int = 0) -> HeadTable:
    """The scores of every head on random repeated tokens, with both controls.

    `period` is `longest_period` unless told otherwise; rows and random weights are those of `seed`.
    Raises ValueError where the context or the vocabulary is too small for the period.
    """
    chosen = longest_period(model) if period is None else period
    rows = repeat_rows(model, n_rows, chosen, seed)
    has_plain = 2 * chosen <= len(ordinary_tokens(model))
    plain = head_scores(model, plain_rows(model, n_rows, chosen, seed), chosen) if has_plain else None
    fresh = head_scores(untrained(model, seed), rows, chosen) if isinstance(model, LanguageModel) else None
    return HeadTable(head_scores(model, rows, chosen), plain, fresh)


def head_scores(model: LanguageModel | Anatomy, rows: Int[Tensor, "n t"], period: int) -> HeadScores:
    """The scores of every head on rows whose last `period` tokens are the second copy (`repeat_rows`).

    Raises ValueError for tokens that the model cannot read, or rows of fewer than two copies.
    """
    return scores_of(anatomy_of(model), patterns_on(model, rows), period)


def scores_of(model: Anatomy, patterns: Sequence[Float[Tensor, "n _ t t"]], period: int) -> HeadScores:
    """The scores of every head, from the patterns of each layer on each row, (row, head, query, key)."""
    found = []
    for pattern in patterns:
        scores = (
            previous_token_score(pattern),
            duplicate_token_score(pattern, period),
            induction_score(pattern, period),
        )
        found.append(torch.stack(scores).double().mean(1).cpu())
    return HeadScores(model.name, model.heads, period, len(patterns[0]), torch.cat(found, dim=1))


def patterns_on(model: LanguageModel | Anatomy, rows: Int[Tensor, "n t"]) -> tuple[Float[Tensor, "n _ t t"], ...]:
    """The attention patterns of each layer on each row, (row, head, query, key): a loaded model's own, computed by
    the eager attention of transformers; a hand-built one's by its views."""
    anatomy = anatomy_of(model)
    rows = torch.stack([tokens_of(anatomy, row) for row in rows])
    if isinstance(model, Anatomy):
        by_row = [[values["pattern"] for values in run_blocks(model, row)] for row in rows]
        return tuple(torch.stack(layer) for layer in zip(*by_row, strict=True))
    copied = shared_copy(model.model)
    copied.set_attn_implementation("eager")  # pyright: ignore[reportCallIssue]
    with torch.no_grad():
        return tuple(copied(rows, use_cache=False, output_attentions=True).attentions)


def _from_second_copy(pattern: Float[Tensor, "*h t t"], period: int, back: int) -> Float[Tensor, "*h"]:
    """The mean attention of the last `period` positions to those `back` before them."""
    n = pattern.shape[-1]
    if period < 2 or 2 * period > n:
        raise ValueError(f"a pattern over {n} positions has no two copies of {period}; a period is 2 to {n // 2} here.")
    return pattern.diagonal(-back, dim1=-2, dim2=-1)[..., -period:].mean(-1)
