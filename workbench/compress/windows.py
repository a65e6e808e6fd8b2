"""Text as rows of tokens that a model can score: windows of its context, or given sequences."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Bool, Int
from torch import Tensor, nn

from workbench.memory import free_gpu_bytes
from workbench.transformer.load import LanguageModel

_BATCH_TOKENS = 1024
_GPU_BATCH_TOKENS = 8192  # below, a GPU waits for Python: a pass of GPT-2 launches hundreds of kernels, however short
_LOGITS_HELD = 12  # float32 tensors of logits that scoring, or drawing labels and the backward pass, hold at once


@dataclass(frozen=True, eq=False)
class Windows:
    """Rows of tokens, and which of their next tokens are scored (the first token of a row never is)."""

    tokens: Int[Tensor, "n t"]
    scored: Bool[Tensor, "n t-1"]

    def __len__(self) -> int:
        return self.tokens.shape[0]

    @property
    def n_tokens(self) -> int:
        """How many next tokens are scored."""
        return int(self.scored.sum())

    def shuffled(self, seed: int = 0) -> "Windows":
        """The same rows in a fixed random order, so that the first few already speak for all."""
        order = torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))
        return Windows(self.tokens[order], self.scored[order])

    def batch_rows(self, model: nn.Module) -> int:
        """How many rows `model` is given at once: about 1,024 tokens, which keeps two cores busy and an answer near; on
        a GPU 8,192, or as many as its free memory has room for.
        """
        weight = next(model.parameters())
        n_tokens = _BATCH_TOKENS
        if weight.is_cuda:
            a_token = 4 * _LOGITS_HELD * int(model.config.vocab_size)  # pyright: ignore
            n_tokens = min(_GPU_BATCH_TOKENS, free_gpu_bytes(weight.device) // a_token)
        return max(1, n_tokens // self.tokens.shape[1])

    def rows(self, start: int, stop: int) -> "Windows":
        """Some consecutive rows."""
        return Windows(self.tokens[start:stop], self.scored[start:stop])

    def halves(self) -> tuple["Windows", "Windows"]:
        """The first and the second half of the rows."""
        if len(self) < 2:
            raise ValueError(f"{len(self)} window cannot be halved; give a longer text.")
        middle = len(self) // 2
        return self.rows(0, middle), self.rows(middle, len(self))


def windows_of_text(lm: LanguageModel, text: str, context: int | None = None) -> Windows:
    """Consecutive windows of `context` tokens (the model's own by default); the incomplete last one is left out.

    Raises ValueError if the text fills no window.
    """
    length = _checked_context(lm, context)
    ids = lm.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    if len(ids) < length:
        raise ValueError(
            f"the text has {len(ids)} tokens in {len(text)} characters; one window of {lm.name} needs {length}: "
            "give a longer text."
        )
    tokens = torch.tensor(ids[: len(ids) // length * length]).view(-1, length)
    _check_vocabulary(lm, tokens)
    return Windows(tokens, torch.ones(tokens.shape[0], length - 1, dtype=torch.bool))


def windows_of_sequences(lm: LanguageModel, sequences: Sequence[Sequence[int]]) -> Windows:
    """Each sequence of token ids as a row of its own, padded on the right; padding is not scored."""
    lengths = [len(sequence) for sequence in sequences]
    if not lengths or min(lengths) < 2:
        raise ValueError("scoring needs one or more sequences, each of at least two tokens.")
    # A row of t tokens is read up to t - 1, so it may be one longer than the context.
    if max(lengths) > lm.context + 1:
        raise ValueError(
            f"a sequence has {max(lengths)} tokens; {lm.name} reads at most {lm.context} and predicts one."
        )
    tokens = torch.zeros(len(lengths), max(lengths), dtype=torch.long)
    for row, sequence in zip(tokens, sequences, strict=True):
        row[: len(sequence)] = torch.tensor(sequence)
    scored = torch.arange(1, max(lengths)) < torch.tensor(lengths)[:, None]
    _check_vocabulary(lm, tokens)
    return Windows(tokens, scored)


def windows_of_lines(lm: LanguageModel, text: str) -> Windows:
    """Each line of the text as a row of its own, between two newlines, cut at what the model can read."""
    newline = lm.tokenizer("\n", add_special_tokens=False)["input_ids"]
    lines = [line for line in text.splitlines() if line]
    if not lines:
        raise ValueError("the text has no line with anything on it; give a longer text.")
    encoded = lm.tokenizer(lines, add_special_tokens=False)["input_ids"]
    return windows_of_sequences(lm, [(newline + ids + newline)[: lm.context + 1] for ids in encoded])


def read_text(path: Path) -> str:
    """The text of a file. Raises ValueError if it is empty or not UTF-8 text, FileNotFoundError if it is not there."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} is no file; give a UTF-8 text file.")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text (byte {error.start}: {error.reason}); give a text file.") from error
    if not text.strip():
        raise ValueError(f"{path} is empty; give a file with text.")
    if "\0" in text:
        raise ValueError(f"{path} holds zero bytes, so it is a binary file; give a text file.")
    return text


def _checked_context(lm: LanguageModel, context: int | None) -> int:
    if context is None:
        return lm.context
    if not 2 <= context <= lm.context:
        raise ValueError(f"context {context} does not fit {lm.name}, which reads 2 to {lm.context} tokens.")
    return context


def _check_vocabulary(lm: LanguageModel, tokens: Int[Tensor, "n t"]) -> None:
    size = int(lm.model.config.vocab_size)  # pyright: ignore
    if int(tokens.max()) >= size:
        raise ValueError(
            f"token {int(tokens.max())} is beyond the {size} entries of {lm.name}; "
            "its tokenizer belongs to another model."
        )
