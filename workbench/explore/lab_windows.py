"""What a compression lab scores on and calibrates on."""

from workbench.compress.default_windows import default_windows
from workbench.compress.windows import Windows, windows_of_text
from workbench.transformer.load import LanguageModel

_CALIBRATION_TOKENS = 16_384


def lab_windows(
    lm: LanguageModel, text: str | Windows | None, calibration: str | Windows | None, max_windows: int, seed: int = 0
) -> tuple[Windows, Windows]:
    """Windows to score, at most `max_windows`, and others to calibrate on, about 16,384 tokens of them.

    Without a text both are the model's `default_windows`. With a text alone, its second half is scored and the first
    half calibrates: a metric measured on the text it is judged by would flatter itself. The `seed` draws which of the
    windows to calibrate on are taken.
    """
    if text is None:
        text, own = default_windows(lm)
        calibration = calibration or own
    windows = text if isinstance(text, Windows) else windows_of_text(lm, text)
    if calibration is None:
        calibration, windows = windows.halves()
    elif isinstance(calibration, str):
        calibration = windows_of_text(lm, calibration)
    return windows.shuffled().rows(0, max_windows), enough_to_calibrate(calibration, seed)


def enough_to_calibrate(windows: Windows, seed: int = 0) -> Windows:
    """About 16,384 tokens of them, or all there are; the `seed` draws which."""
    return windows.shuffled(seed).rows(0, max(1, -(-_CALIBRATION_TOKENS // windows.tokens.shape[1])))
