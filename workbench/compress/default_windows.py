"""What a model is scored and calibrated on where nobody gives a text."""

import torch

from workbench.compress.windows import Windows, windows_of_text
from workbench.transformer.attention_only import AttentionOnlyLM
from workbench.transformer.corpus import held_out_text, training_text
from workbench.transformer.load import LanguageModel
from workbench.transformer.probe_rows import longest_period, repeat_rows

_ROWS = 512  # of repeated tokens, in each part


def default_windows(lm: LanguageModel) -> tuple[Windows, Windows]:
    """Windows to score and others to calibrate on: library modules that the shipped GPT-2 never saw and such as it did.

    An attention-only model knows no text but what it reads: of random tokens that come twice its second copies are
    scored, where what comes next can be known.
    """
    if not isinstance(lm.model, AttentionOnlyLM):
        return windows_of_text(lm, held_out_text()), windows_of_text(lm, training_text())
    period = longest_period(lm)
    scored, calibrated = (repeat_rows(lm, _ROWS, period, seed).cpu() for seed in (0, 1))
    second_copy = torch.zeros(_ROWS, scored.shape[1] - 1, dtype=torch.bool)
    second_copy[:, -(period - 1) :] = True
    return Windows(scored, second_copy), Windows(calibrated, torch.ones_like(second_copy))
