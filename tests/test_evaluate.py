"""Every number of an estimate beside a plain sum over tokens in float64, and what waiting longer adds."""

import math

import pytest
import tiny_models
import torch

from workbench.compress import evaluate
from workbench.compress.evaluate import Evaluator
from workbench.compress.windows import Windows, windows_of_sequences, windows_of_text


def ragged(lm) -> Windows:
    """150 rows of 2 to 16 tokens: three batches, padded."""
    read = tiny_models.tokens(150).tolist()
    return windows_of_sequences(lm, [row[: 2 + index % 15] for index, row in enumerate(read)])


def summed(dense: torch.nn.Module, model: torch.nn.Module, windows: Windows) -> dict[str, float]:
    """The figures of an estimate by a loop over rows and tokens."""
    loss = dense_loss = hits = dense_hits = agreements = kl = 0.0
    count = 0
    for row, scored in zip(windows.tokens, windows.scored, strict=True):
        p, q = (tiny_models.logits(m, row[None])[0].double().softmax(-1) for m in (dense, model))
        for place in range(len(row) - 1):
            if scored[place]:
                target = int(row[place + 1])
                count += 1
                loss -= math.log(q[place, target])
                dense_loss -= math.log(p[place, target])
                hits += int(q[place].argmax()) == target
                dense_hits += int(p[place].argmax()) == target
                agreements += int(q[place].argmax()) == int(p[place].argmax())
                kl += float((p[place] * (p[place] / q[place]).log()).sum())
    return {
        "perplexity": math.exp(loss / count),
        "dense_perplexity": math.exp(dense_loss / count),
        "ratio": math.exp((loss - dense_loss) / count),
        "accuracy": hits / count,
        "dense_accuracy": dense_hits / count,
        "top1_agreement": agreements / count,
        "kl": kl / count,
        "n_tokens": count,
    }


@pytest.fixture(params=["gpt2", "llama"])
def cut_lab(request):
    lab = tiny_models.lab(request.param)
    lab.kept = 0.6
    return lab


def test_every_number_is_that_of_a_plain_sum(cut_lab):
    dense, model, windows = cut_lab.lm.model, tiny_models.densified(cut_lab), ragged(cut_lab.lm)
    *_, last = Evaluator(dense, windows).estimates(model)
    assert {name: getattr(last, name) for name in summed(dense, model, windows)} == pytest.approx(
        summed(dense, model, windows), rel=1e-4
    )
    assert last.n_windows == 150
    assert last.n_tokens == windows.n_tokens == sum(1 + index % 15 for index in range(150))


def test_an_early_estimate_is_the_plain_sum_over_the_windows_it_has_seen(cut_lab):
    dense, model, windows = cut_lab.lm.model, tiny_models.densified(cut_lab), ragged(cut_lab.lm)
    first, second, _ = Evaluator(dense, windows).estimates(model)
    for estimate, n_windows in ((first, 64), (second, 128)):
        expected = summed(dense, model, windows.rows(0, n_windows))
        assert estimate.n_windows == n_windows
        assert {name: getattr(estimate, name) for name in expected} == pytest.approx(expected, rel=1e-4)


def test_a_later_setting_borrows_the_dense_loss_that_is_already_known(cut_lab):
    dense, model, windows = cut_lab.lm.model, tiny_models.densified(cut_lab), ragged(cut_lab.lm)
    evaluator = Evaluator(dense, windows)
    assert evaluator.dense_perplexity is None
    whole = [*evaluator.estimates(model)][-1]
    first = next(evaluator.estimates(model))
    assert first.n_windows == 64
    assert first.dense_loss == whole.dense_loss
    assert evaluator.dense_perplexity == pytest.approx(summed(dense, model, windows)["dense_perplexity"], rel=1e-4)
    drop = math.log(summed(dense, model, windows.rows(0, 64))["ratio"])
    assert math.log(first.perplexity) == pytest.approx(whole.dense_loss + drop, rel=1e-5)


def test_the_dense_model_is_run_once_for_each_batch(cut_lab):
    evaluator = Evaluator(cut_lab.lm.model, ragged(cut_lab.lm))
    model, calls = tiny_models.densified(cut_lab), []
    cut_lab.lm.model.base_model.register_forward_hook(lambda *_: calls.append(1))
    for _ in range(3):
        assert len([*evaluator.estimates(model)]) == evaluator.n_batches == 3
    assert len(calls) == 3


def test_an_estimate_does_not_go_over_the_windows_before_it_again(cut_lab, monkeypatch):
    evaluator = Evaluator(cut_lab.lm.model, ragged(cut_lab.lm))
    original, reads = evaluator._batch, []
    monkeypatch.setattr(evaluator, "_batch", lambda batch: reads.append(batch) or original(batch))
    list(evaluator.estimates(cut_lab.lm.model))
    assert sorted(reads) == [0, 0, 1, 1, 2, 2], "once for the dense model, once for this one"


def test_without_room_for_the_dense_probabilities_the_numbers_are_the_same(cut_lab, monkeypatch):
    dense, model, windows = cut_lab.lm.model, tiny_models.densified(cut_lab), ragged(cut_lab.lm)
    *_, kept = Evaluator(dense, windows).estimates(model)
    monkeypatch.setattr(evaluate, "_KEPT_BYTES", 0)
    evaluator = Evaluator(dense, windows)
    *_, computed = evaluator.estimates(model)
    assert evaluator._kept_bytes == 0
    assert computed.kl == pytest.approx(kept.kl, rel=1e-5)
    assert computed.log_ratio == kept.log_ratio


def test_a_model_beside_itself_differs_in_nothing(cut_lab):
    *_, last = Evaluator(cut_lab.lm.model, ragged(cut_lab.lm)).estimates(cut_lab.lm.model)
    assert (last.ratio, last.ratio_error, last.top1_agreement) == (1.0, 0.0, 1.0)
    assert last.perplexity == last.dense_perplexity
    assert last.accuracy == last.dense_accuracy
    assert last.kl == pytest.approx(0, abs=1e-6)


def test_the_standard_error_is_that_of_the_jackknife(cut_lab):
    dense, model, windows = cut_lab.lm.model, tiny_models.densified(cut_lab), ragged(cut_lab.lm)
    *_, last = Evaluator(dense, windows).estimates(model)
    rows = [summed(dense, model, windows.rows(row, row + 1)) for row in range(len(windows))]
    counts = torch.tensor([row["n_tokens"] for row in rows], dtype=torch.float64)
    drops = torch.tensor([math.log(row["ratio"]) for row in rows], dtype=torch.float64) * counts
    left_out = (drops.sum() - drops) / (counts.sum() - counts)
    jackknife = ((len(rows) - 1) / len(rows) * (left_out - left_out.mean()).square().sum()).sqrt()
    assert last.log_ratio_error == pytest.approx(float(jackknife), rel=0.02)
    assert last.ratio_error == pytest.approx(last.ratio * last.log_ratio_error)


def test_windows_of_different_lengths_count_by_their_tokens_in_the_standard_error(cut_lab):
    evaluator = Evaluator(cut_lab.lm.model, ragged(cut_lab.lm))
    next(evaluator.estimates(cut_lab.lm.model))
    counts = torch.arange(300) % 15 + 1.0
    drops = 2 * counts + torch.randn(300)  # a steady loss a token: long windows lose more, and differ in nothing else
    made = evaluator._estimate(torch.stack([drops, counts]).double(), torch.zeros(4, dtype=torch.float64))
    left_out = (drops.sum() - drops) / (counts.sum() - counts)
    jackknife = (299 / 300 * (left_out - left_out.mean()).double().square().sum()).sqrt()
    assert made.log_ratio == pytest.approx(2, abs=0.05)
    assert made.log_ratio_error == pytest.approx(float(jackknife), rel=0.02)


def test_the_standard_error_covers_the_truth_about_as_often_as_it_says():
    lab = tiny_models.lab()
    lab.kept = 0.6
    dense, model = lab.lm.model, tiny_models.densified(lab)
    windows = windows_of_sequences(lab.lm, tiny_models.tokens(3200).tolist())
    *_, whole = Evaluator(dense, windows).estimates(model)
    parts = [next(Evaluator(dense, windows.rows(row, row + 64)).estimates(model)) for row in range(0, 3200, 64)]
    misses = [(part.log_ratio - whole.log_ratio) / part.log_ratio_error for part in parts]
    assert 0.75 < torch.tensor(misses).std().item() < 1.25


def test_one_window_has_no_standard_error():
    lm = tiny_models.gpt2()
    (only,) = Evaluator(lm.model, windows_of_text(lm, tiny_models.TEXT[:16])).estimates(lm.model)
    assert only.n_windows == 1
    assert math.isnan(only.log_ratio_error)


def test_an_evaluation_of_nothing_is_refused():
    lm = tiny_models.gpt2()
    with pytest.raises(ValueError, match="an evaluation needs one or more windows"):
        Evaluator(lm.model, windows_of_text(lm, tiny_models.TEXT).rows(0, 0))


def test_where_the_truth_is_known_the_excess_is_the_divergence_from_it_position_by_position(cut_lab):
    dense, model, windows = cut_lab.lm.model, tiny_models.densified(cut_lab), ragged(cut_lab.lm)
    vocabulary = dense.config.vocab_size

    def truth(tokens: torch.Tensor) -> torch.Tensor:
        """A made-up language: after token t come t + 1 and t + 2 alone, with 0.7 and 0.3."""
        shares = torch.zeros(*tokens[:, :-1].shape, vocabulary, dtype=torch.float64)
        for step, share in ((1, 0.7), (2, 0.3)):
            shares.scatter_(-1, (tokens[:, :-1, None] + step) % vocabulary, share)
        return shares

    *_, last = Evaluator(dense, windows, truth).estimates(model)
    for own, found in ((model, last.excess), (dense, last.dense_excess)):
        expected = 0.0
        for row, scored in zip(windows.tokens, windows.scored, strict=True):
            log_q = tiny_models.logits(own, row[None])[0].double().log_softmax(-1)
            for place in torch.nonzero(scored)[:, 0].tolist():
                for step, share in ((1, 0.7), (2, 0.3)):
                    expected += share * (math.log(share) - float(log_q[place, (int(row[place]) + step) % vocabulary]))
        assert found == pytest.approx(expected / windows.n_tokens, rel=1e-4)
    *_, untold = Evaluator(dense, windows).estimates(model)
    assert (untold.excess, untold.dense_excess) == (None, None)
    assert untold.kl == pytest.approx(last.kl)
