"""The trained models that methods are compared on, each with text to score and text to calibrate on."""

import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from workbench import LanguageModel, load
from workbench.compress.default_windows import default_windows
from workbench.compress.windows import Windows, windows_of_lines, windows_of_sequences

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"  # test material beside the checkout; not shipped
SCORED_TOKENS = 8_192


@dataclass(frozen=True, eq=False)
class Subject:
    """A model, the windows it is scored on, those to draw a calibration set from, and what else it can be asked."""

    lm: LanguageModel
    scored: Windows
    calibration: Windows
    calibration_tokens: int
    exact: Callable[[nn.Module], float] | None = None  # a task's accuracy, counted on every input there is


def subjects(names: list[str]) -> Iterator[Subject]:
    """Those of these names that are here; of the others it is said that they are not."""
    for name in names:
        if name != "pygpt" and not (SHARED / "models" / name).is_dir():
            print(f"{name} is not beside the checkout: skipped", flush=True)
            continue
        yield MAKERS[name]()


def pygpt() -> Subject:
    """The shipped GPT-2, on modules it never saw."""
    lm = load("pygpt")
    scored, calibration = default_windows(lm)
    return Subject(lm, _first(scored.shuffled()), calibration, 32_768)


def names_gpt2() -> Subject:
    """A GPT-2 on first names: every second one scores, the others calibrate."""
    lm = load(SHARED / "models" / "names-gpt2")
    windows = windows_of_lines(lm, (SHARED / "text" / "names.txt").read_text(encoding="utf-8")).shuffled()
    calibration, scored = windows.halves()
    return Subject(lm, _first(scored), calibration, 32_768)


def stories() -> Subject:
    """A LLaMA on short stories: the first 400, as far as tokens are scored, and 600 others to calibrate on."""
    import sentencepiece

    folder = SHARED / "models" / "stories260K"
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    texts = json.loads((SHARED / "text" / "tinystories-1000.json").read_text(encoding="utf-8"))
    texts = [text if isinstance(text, str) else text["story"] for text in texts]
    rows = [[pieces.bos_id(), *pieces.encode(text)][:256] for text in texts]
    lm = load(folder)
    scored, calibration = (windows_of_sequences(lm, part) for part in (rows[:400], rows[400:]))
    return Subject(lm, _first(scored.shuffled()), calibration, 32_768)


def sort_gpt2() -> Subject:
    """A GPT-2 that sorts six letters: all 729 inputs are scored; what calibrates is drawn from the same 729."""
    lm = load(SHARED / "models" / "sort-gpt2")
    every = torch.tensor(list(itertools.product(range(3), repeat=6)))
    read = torch.cat([every, every.sort(1).values], 1)[:, :12]
    scored = torch.zeros(len(read), read.shape[1] - 1, dtype=torch.bool)
    scored[:, 5:] = True  # the six letters that are the answer
    windows = Windows(read, scored)
    return Subject(lm, windows, Windows(read, torch.ones_like(scored)), 4_000, sorted_share)


def sorted_share(model: nn.Module) -> float:
    """The share of the 729 inputs that a model sorts exactly, by greedy decoding."""
    rows = torch.tensor(list(itertools.product(range(3), repeat=6)))
    expected = rows.sort(1).values
    with torch.no_grad():
        for _ in range(6):
            rows = torch.cat([rows, model(rows).logits[:, -1:].argmax(-1)], 1)
    return float((rows[:, 6:] == expected).all(1).double().mean())


def _first(windows: Windows) -> Windows:
    """As many rows as hold about 8,192 scored tokens."""
    counted = windows.scored.sum(1).cumsum(0)
    return windows.rows(0, int((counted < SCORED_TOKENS).sum()) + 1)


MAKERS: dict[str, Callable[[], Subject]] = {
    "pygpt": pygpt,
    "names-gpt2": names_gpt2,
    "stories260K": stories,
    "sort-gpt2": sort_gpt2,
}
