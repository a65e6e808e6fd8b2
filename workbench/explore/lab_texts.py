"""What the dense model and a cut one write behind a prompt."""

from collections.abc import Iterator

from torch import nn

from workbench.transformer.load import LanguageModel
from workbench.transformer.sampling import continuation, writing


class LabTexts:
    """Continuations by the dense model, written once for each prompt, and by the present one, with the same draws."""

    def __init__(self, lm: LanguageModel, present: nn.Module) -> None:
        self._lm, self._present = lm, present
        self._dense: dict[tuple[str, int, int], str] = {}

    def dense(self, prompt: str, n_tokens: int, seed: int) -> str:
        """The continuation of `prompt` by the dense model."""
        key = (prompt, n_tokens, seed)
        if key not in self._dense:
            self._dense[key] = continuation(self._lm, self._lm.model, prompt, n_tokens, seed)
        return self._dense[key]

    def present(self, prompt: str, n_tokens: int, seed: int) -> str:
        """The continuation of `prompt` by the present model."""
        return continuation(self._lm, self._present, prompt, n_tokens, seed)

    def growing(self, prompt: str, n_tokens: int, seed: int) -> Iterator[str]:
        """The present model's continuation as it grows."""
        return writing(self._lm, self._present, prompt, n_tokens, seed)
