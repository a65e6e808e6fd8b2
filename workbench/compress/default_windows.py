"""What a model is scored and calibrated on where nobody gives a text."""

import torch
from torch.nn import functional

from workbench.compress.evaluate import Truth
from workbench.compress.windows import Windows, windows_of_text
from workbench.transformer.attention_only import AttentionOnlyLM
from workbench.transformer.corpus import held_out_text, training_text
from workbench.transformer.load import LanguageModel
from workbench.transformer.probe_rows import longest_period, repeat_rows
from workbench.truth.grammar_english import STOP, english
from workbench.truth.grammar_stream import GrammarStream

_ROWS = 512  # of repeated tokens, or of the known language, in each part
_SEED = 2_000_002  # of rows of the known language: no step of a training run, and not its card, has it or the next


def default_windows(lm: LanguageModel) -> tuple[Windows, Windows]:
    """Windows to score and others to calibrate on: library modules that the shipped GPT-2 never saw and such as it did.

    An attention-only model knows no text but what it reads: of random tokens that come twice its second copies are
    scored, where what comes next can be known. A model of the known language is given sentences of it.
    """
    if speaks_known_language(lm):
        stream = GrammarStream(english(), lm.context - 1)
        drawn = (stream.sample(_ROWS, torch.Generator().manual_seed(_SEED + part)) for part in range(2))
        told = torch.ones(_ROWS, stream.n_sites, dtype=torch.bool)
        scored, calibrated = (Windows(functional.pad(rows, (1, 0), value=stream.stop), told) for rows in drawn)
        return scored, calibrated
    if not isinstance(lm.model, AttentionOnlyLM):
        return windows_of_text(lm, held_out_text()), windows_of_text(lm, training_text())
    period = longest_period(lm)
    scored, calibrated = (repeat_rows(lm, _ROWS, period, seed).cpu() for seed in (0, 1))
    second_copy = torch.zeros(_ROWS, scored.shape[1] - 1, dtype=torch.bool)
    second_copy[:, -(period - 1) :] = True
    return Windows(scored, second_copy), Windows(calibrated, torch.ones_like(second_copy))


def default_truth(lm: LanguageModel) -> Truth | None:
    """The exact distribution of every next token of its `default_windows`, where it is known; else None."""
    if not speaks_known_language(lm):
        return None
    return lambda rows: GrammarStream(english(), rows.shape[1] - 1).conditionals(rows[:, 1:])


def speaks_known_language(lm: LanguageModel) -> bool:
    """Whether the model's tokens are the words of the English that is known, and a text begins with its stop."""
    if lm.tokenizer.bos_token != STOP:
        return False
    return tuple(lm.tokenizer.convert_ids_to_tokens(list(range(len(lm.tokenizer))))) == english().alphabet
