"""Trained models beside the checkout: their known figures densely, then what compressing them costs."""

import itertools
import json

import pytest
import torch

from workbench import CompressionLab, load
from workbench.compress.evaluate import Evaluator
from workbench.compress.windows import Windows, windows_of_lines, windows_of_sequences


def dense_loss(lm, windows: Windows) -> tuple[float, int]:
    """Nats a token of the dense model, and over how many tokens."""
    *_, last = Evaluator(lm.model, windows).estimates(lm.model)
    return last.dense_loss, last.n_tokens


def names(shared_data) -> tuple:
    lm = load(shared_data / "models" / "names-gpt2", device="cpu")
    return lm, windows_of_lines(lm, (shared_data / "text" / "names.txt").read_text())


def stories(shared_data, count: int) -> tuple:
    sentencepiece = pytest.importorskip("sentencepiece")
    folder = shared_data / "models" / "stories260K"
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    texts = json.loads((shared_data / "text" / "tinystories-1000.json").read_text())[:count]
    texts = [text if isinstance(text, str) else text["story"] for text in texts]
    lm = load(folder, device="cpu")
    return lm, windows_of_sequences(lm, [[pieces.bos_id(), *pieces.encode(text)][:256] for text in texts])


def sorted_right(model: torch.nn.Module) -> int:
    """How many of the 729 inputs a model sorts exactly, by greedy decoding."""
    rows = torch.tensor(list(itertools.product(range(3), repeat=6)))
    expected = rows.sort(1).values
    with torch.no_grad():
        for _ in range(6):
            rows = torch.cat([rows, model(rows).logits[:, -1:].argmax(-1)], 1)
    return int((rows[:, 6:] == expected).all(1).sum())


def test_names_gpt2_has_its_known_loss_over_all_names(shared_data):
    loss, n_tokens = dense_loss(*names(shared_data))
    assert n_tokens == 228_146
    assert loss == pytest.approx(1.9025, abs=5e-5)


def test_stories260k_has_its_known_loss_over_400_stories(shared_data):
    loss, n_tokens = dense_loss(*stories(shared_data, 400))
    assert n_tokens == 101_867
    assert loss == pytest.approx(1.7532, abs=5e-5)


def test_sort_gpt2_sorts_everything_and_a_cut_one_does_not(shared_data):
    lm = load(shared_data / "models" / "sort-gpt2", device="cpu")
    assert sorted_right(lm.model) == 729
    every = torch.tensor(list(itertools.product(range(3), repeat=6)))
    read = torch.cat([every, every.sort(1).values], 1)[:, :11]
    windows = Windows(read, torch.ones(729, 10, dtype=torch.bool))
    lab = CompressionLab.from_model(lm, windows, windows, max_windows=729)
    lab.decompose("svd", "input")
    right = {}
    for kept in (0.6, 0.1):
        lab.kept = kept
        right[kept] = sorted_right(lab._compressed)
    assert right[0.6] >= 720
    assert right[0.1] < right[0.6]


@pytest.mark.parametrize("model", [names, lambda shared_data: stories(shared_data, 60)], ids=["gpt2", "llama"])
def test_a_trained_model_is_compressed_and_the_calibrated_cut_costs_less(shared_data, model):
    lm, windows = model(shared_data)
    shuffled = windows.shuffled()
    middle = min(len(shuffled) // 2, 2000)
    lab = CompressionLab.from_model(lm, shuffled.rows(0, middle), shuffled.rows(middle, 2 * middle), max_windows=500)
    cost = {}
    for metric in ("plain", "input"):
        lab.decompose("svd", metric)
        for kept in (0.9, 0.6, 0.4):
            lab.kept = kept
            cost[metric, kept] = lab.evaluate().estimate
    for metric in ("plain", "input"):
        assert cost[metric, 0.9].kl < cost[metric, 0.6].kl < cost[metric, 0.4].kl
    assert all(cost["input", kept].kl < cost["plain", kept].kl for kept in (0.9, 0.6, 0.4))
    assert all(cost["input", kept].ratio < cost["plain", kept].ratio for kept in (0.6, 0.4))
