"""The induction head written by hand: what it computes is known, and is found to the last digit."""

import pytest
import torch

from workbench.transformer.by_hand import induction_by_hand
from workbench.transformer.view import view

WORDS = 1 + torch.randperm(12, generator=torch.Generator().manual_seed(2))
REPEATED = torch.cat([WORDS, WORDS])
START = torch.tensor([0])


def accuracy(tokens: torch.Tensor) -> float:
    """Of the eleven words of the second copy whose successor is known from the first."""
    logits = view(induction_by_hand(), "model", tokens).result()
    known = slice(len(tokens) - 12, len(tokens) - 1)
    return float((logits[known].argmax(1) == tokens[1:][known]).double().mean())


def test_ten_of_eleven_words_are_right_without_a_start_token_and_all_with_one():
    assert accuracy(REPEATED) == 10 / 11
    assert accuracy(torch.cat([START, REPEATED])) == 1


def test_the_word_that_goes_wrong_is_the_first_which_has_no_predecessor():
    logits = view(induction_by_hand(), "model", REPEATED).result()
    predicted = logits[12:23].argmax(1)
    assert (predicted != REPEATED[13:]).nonzero().tolist() == [[0]]


def test_head_0_0_looks_one_back_and_head_1_0_behind_the_earlier_copy():
    tokens = torch.cat([START, REPEATED])
    model = induction_by_hand()
    back = view(model, "blocks.0.attn.head.0", tokens).run()["pattern"]
    assert torch.allclose(back.diagonal(-1), torch.ones(24, dtype=torch.float64), atol=1e-12)
    match = view(model, "blocks.1.attn.head.0", tokens).run()["pattern"]
    assert all(float(match[t, t - 11]) > 1 - 1e-12 for t in range(13, 25))


def test_its_stream_holds_the_token_its_place_and_the_token_before():
    tokens = torch.cat([START, REPEATED])
    stream = view(induction_by_hand(), "blocks.0", tokens).result()
    assert torch.equal(stream[:, :13].argmax(1), tokens)
    assert torch.equal(stream[:, 13:38].argmax(1), torch.arange(25))
    assert torch.equal(stream[1:, 38:].argmax(1), tokens[:-1])


@pytest.mark.parametrize(("words", "context", "sharpness"), [(1, 25, 60.0), (12, 1, 60.0), (12, 25, 0.0)])
def test_sizes_that_make_no_induction_head_are_refused(words, context, sharpness):
    with pytest.raises(ValueError, match=f"not {words}, {context} and {sharpness}"):
        induction_by_hand(words, context, sharpness)
