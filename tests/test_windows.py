"""Text as rows of tokens: what is read, what is scored, and what is left out."""

import pytest
import tiny_models
import torch

from workbench import CompressionLab, load
from workbench.compress.default_windows import default_windows
from workbench.compress.windows import (
    Windows,
    read_text,
    windows_of_lines,
    windows_of_sequences,
    windows_of_text,
)


def test_a_text_is_cut_into_whole_windows_of_the_context():
    lm = tiny_models.gpt2()
    text = tiny_models.TEXT[:59]
    windows = windows_of_text(lm, text)
    assert windows.tokens.tolist() == [lm.tokenizer(text[start : start + 16])["input_ids"] for start in (0, 16, 32)]
    assert windows.n_tokens == 3 * 15
    assert windows_of_text(lm, text, context=7).tokens.shape == (8, 7)


@pytest.mark.parametrize("context", [1, 17])
def test_a_context_beyond_the_models_own_is_refused(context):
    with pytest.raises(ValueError, match=rf"context {context} does not fit tiny-gpt2, which reads 2 to 16 tokens"):
        windows_of_text(tiny_models.gpt2(), tiny_models.TEXT, context)


def test_sequences_keep_their_lengths_and_padding_is_not_scored():
    windows = windows_of_sequences(tiny_models.gpt2(), [[5, 6, 7, 8], [9, 10], [1] * 17])
    assert windows.tokens.shape == (3, 17)
    assert windows.scored.sum(1).tolist() == [3, 1, 16]
    assert windows.tokens[0, :4].tolist() == [5, 6, 7, 8]
    assert windows.scored[0].tolist() == [True] * 3 + [False] * 13


def test_a_line_stands_between_two_newlines_and_is_cut_at_what_can_be_read():
    lm = tiny_models.gpt2()
    windows = windows_of_lines(lm, "bond\n\nabcdefghijklmnopqrst\n")
    newline, *bond = lm.tokenizer("\nbond")["input_ids"]
    assert windows.tokens[0, :6].tolist() == [newline, *bond, newline]
    assert windows.scored.sum(1).tolist() == [5, 16]
    assert lm.tokenizer.decode(windows.tokens[1].tolist()) == "\nabcdefghijklmnop"


def test_a_text_of_empty_lines_has_nothing_to_score():
    with pytest.raises(ValueError, match="no line with anything on it"):
        windows_of_lines(tiny_models.gpt2(), "\n\n")


def test_shuffling_is_a_fixed_order_of_the_same_rows():
    tokens = torch.arange(40).view(10, 4)
    windows = Windows(tokens, tokens[:, 1:] % 3 > 0)
    mixed = windows.shuffled()
    order = (mixed.tokens[:, 0] // 4).tolist()
    assert sorted(order) == list(range(10)) != order
    assert torch.equal(mixed.scored, windows.scored[order])
    assert torch.equal(mixed.tokens, windows.shuffled().tokens)


def test_halves_share_no_row_and_one_row_has_none():
    tokens = torch.arange(35).view(7, 5)
    first, second = Windows(tokens, torch.ones(7, 4, dtype=torch.bool)).halves()
    assert (len(first), len(second)) == (3, 4)
    assert torch.equal(torch.cat([first.tokens, second.tokens]), tokens)
    with pytest.raises(ValueError, match="1 window cannot be halved; give a longer text"):
        first.rows(0, 1).halves()


def test_a_batch_is_about_a_thousand_tokens():
    sizes = {length: Windows(torch.zeros(2, length).long(), torch.ones(2, length - 1).bool()) for length in (16, 3000)}
    model = tiny_models.gpt2().model
    assert {length: windows.batch_rows(model) for length, windows in sizes.items()} == {16: 64, 3000: 1}


@pytest.mark.gpu
def test_a_batch_on_a_gpu_is_larger_as_far_as_its_memory_has_room(monkeypatch):
    model = tiny_models.gpt2().model.to("cuda")
    windows = Windows(torch.zeros(2, 16).long(), torch.ones(2, 15).bool())
    assert windows.batch_rows(model) == 512
    room = 4 * 12 * tiny_models.VOCABULARY * 80  # for 80 tokens
    monkeypatch.setattr("workbench.compress.windows.free_gpu_bytes", lambda device: room)
    assert windows.batch_rows(model) == 5


def test_a_file_is_read_as_it_is(tmp_path):
    (tmp_path / "text.txt").write_text("Größe χ\n", encoding="utf-8")
    assert read_text(tmp_path / "text.txt") == "Größe χ\n"
    with pytest.raises(FileNotFoundError, match=r"nowhere\.txt is no file; give a UTF-8 text file"):
        read_text(tmp_path / "nowhere.txt")


def test_an_attention_only_model_is_scored_on_second_copies_that_it_is_not_calibrated_on():
    lm = load("attn2", "cpu")
    scored, calibrated = default_windows(lm)
    row = scored.tokens[0]
    assert row[0] == 0
    assert torch.equal(row[1:25], row[25:])
    assert scored.scored[0].nonzero().flatten().tolist() == list(
        range(25, 48)
    )  # from the second copy's second token on
    assert bool(calibrated.scored.all())
    assert not {tuple(row) for row in scored.tokens.tolist()} & {tuple(row) for row in calibrated.tokens.tolist()}
    lab = CompressionLab.from_model(lm, max_windows=8)
    assert lab.evaluator.windows.n_tokens == 8 * 23
