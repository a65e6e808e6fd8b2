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
    n = anatomy.d_vocab
    if isinstance(model, LanguageModel):
        n = min(n, len(model.tokenizer))  # a vocabulary may be padded to a round number
        words = model.tokenizer.convert_ids_to_tokens(list(range(n)))
        left_out |= set(model.tokenizer.all_special_ids)
        left_out |= {number for number, word in enumerate(words) if _BYTE.fullmatch(word)}
    return torch.tensor([number for number in range(n) if number not in left_out])


def longest_period(model: LanguageModel | Anatomy) -> int:
    """How many tokens fit the context twice, and differ; `LONGEST_PERIOD` at most."""
    anatomy = anatomy_of(model)
    room = (anatomy.context - (anatomy.first is not None)) // 2
    return min(LONGEST_PERIOD, room, len(ordinary_tokens(model)))


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
