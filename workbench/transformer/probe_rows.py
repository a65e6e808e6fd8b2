"""Rows of tokens that show what heads do: random tokens that come twice, and random tokens that do not."""

import re

import torch
from jaxtyping import Int
from torch import Tensor

from workbench.transformer.anatomy import Anatomy
from workbench.transformer.load import LanguageModel
from workbench.transformer.reading import anatomy_of
from workbench.transformer.repeats import repeated_tokens

_BYTE = re.compile(r"<0x[0-9A-F]{2}>")  # how sentencepiece spells the bytes that it has no word for
LONGEST_PERIOD = 24


def ordinary_tokens(model: LanguageModel | Anatomy) -> Int[Tensor, " n"]:
    """The tokens that a text is made of: all but the start, the tokenizer's special ones, and its bare bytes."""
    anatomy = anatomy_of(model)
    left_out = {anatomy.first}
    known = list(range(anatomy.d_vocab))
    if isinstance(model, LanguageModel):  # which may know fewer, and not those from 0 on
        word_of = {number: word for word, number in model.tokenizer.get_vocab().items()}
        known = [number for number in known if number in word_of and not _BYTE.fullmatch(word_of[number])]
        left_out |= set(model.tokenizer.all_special_ids)
    return torch.tensor([number for number in known if number not in left_out], dtype=torch.int64)


def longest_period(model: LanguageModel | Anatomy) -> int:
    """How many tokens fit the context twice, and differ; `LONGEST_PERIOD` at most.

    Raises ValueError where two are too many.
    """
    anatomy, n_ordinary = anatomy_of(model), len(ordinary_tokens(model))
    period = min(LONGEST_PERIOD, (anatomy.context - (anatomy.first is not None)) // 2, n_ordinary)
    if period < 2:
        raise ValueError(
            f"{anatomy.name} has a context of {anatomy.context} and {n_ordinary} ordinary tokens; rows that come twice "
            "need room for a start and twice two different tokens."
        )
    return period


def repeat_rows(
    model: LanguageModel | Anatomy, n_rows: int, period: int, seed: int = 0, with_start: bool = True
) -> Int[Tensor, "n t"]:
    """Rows of `period` different random tokens and the same ones again, after the start where the model has one.

    `with_start` False leaves the start out. (n, 2 period), or one more.
    Raises ValueError where the context or the vocabulary is too small for the period, saying what fits.
    """
    start, drawn = _drawn(model, n_rows, period, period, seed)
    return torch.cat([start, drawn, drawn] if with_start else [drawn, drawn], dim=1)


def plain_rows(model: LanguageModel | Anatomy, n_rows: int, period: int, seed: int = 0) -> Int[Tensor, "n t"]:
    """Rows as long as those of `repeat_rows` in which no token comes twice: what a head does without a repeat.

    Raises ValueError where the context or the vocabulary is too small for the period, saying what fits.
    """
    return torch.cat(_drawn(model, n_rows, period, 2 * period, seed), dim=1)


def _drawn(
    model: LanguageModel | Anatomy, n_rows: int, period: int, n_different: int, seed: int
) -> tuple[Int[Tensor, "n s"], Int[Tensor, "n r"]]:
    """A column of starts, or none, and `n_different` different ordinary tokens in each row."""
    anatomy, ordinary = anatomy_of(model), ordinary_tokens(model)
    if n_rows < 1 or period < 2:
        raise ValueError(f"{n_rows} rows of period {period} were asked for; give 1 or more, of period 2 or more.")
    n_start = int(anatomy.first is not None)
    if n_start + 2 * period > anatomy.context:
        start = "a start and " if n_start else ""
        raise ValueError(
            f"{start}2 × {period} tokens do not fit the context of {anatomy.name}, {anatomy.context}; give a period "
            f"of {(anatomy.context - n_start) // 2} or less."
        )
    if n_different > len(ordinary):
        raise ValueError(
            f"{n_different} different tokens are needed for period {period}, and {anatomy.name} has {len(ordinary)} "
            f"that are ordinary; give a period of {len(ordinary) * period // n_different} or less."
        )
    indices = repeated_tokens(n_rows, n_different, len(ordinary) + 1, seed)[:, 1 : 1 + n_different] - 1
    column = torch.full((n_rows, n_start), 0 if anatomy.first is None else anatomy.first)
    device = anatomy.W_E.parts[0].array.device
    return column.to(device), ordinary[indices].to(device)
