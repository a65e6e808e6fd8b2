"""The command line: one JSON object, plain words, and an exit status that can be trusted."""

import json

import pytest

from workbench import load
from workbench.cli import main

WANTED = {
    "model", "method", "metric", "kept_params", "n_params", "dense_n_params", "dense_perplexity", "perplexity",
    "perplexity_ratio", "accuracy", "top1_agreement", "seconds", "device",
}  # fmt: skip


def test_compress_prints_one_json_object_and_writes_a_model_that_loads(tmp_path, capsys):
    out = tmp_path / "out"
    arguments = ["--method", "svd", "--metric", "input", "--kept", "0.4", "--windows", "4", "--json", "--out", str(out)]
    assert main(["compress", *arguments]) == 0
    result = json.loads(capsys.readouterr().out)
    assert set(result) >= WANTED
    assert set(result["seconds"]) == {"load", "calibrate", "decompose", "evaluate"}
    assert 0.38 < result["kept_params"] <= 0.4
    assert result["perplexity"] == pytest.approx(result["dense_perplexity"] * result["perplexity_ratio"])
    assert result["n_params"] < result["dense_n_params"]
    assert load(out).model is not None
    assert load(out / "dense").model is not None


def test_compress_prints_a_short_table(capsys):
    assert main(["compress", "--method", "mpo", "--metric", "plain", "--kept", "0.8", "--windows", "4"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) <= 12
    assert any(line.startswith("ratio to dense") for line in printed)


def test_a_text_of_ones_own_is_scored_on_its_second_half(tmp_path, capsys):
    text = tmp_path / "mine.txt"
    text.write_text("def f(x):\n    return x + 1\n\n" * 1500)
    assert main(["compress", "--text", str(text), "--metric", "plain", "--windows", "2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["n_tokens"] == 2 * 255


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--kept", "0"], "above 0 and up to 1, not 0.0"),
        (["--method", "nothing"], "unknown method 'nothing'"),
        (["--model", "no/such/thing"], "no/such/thing is no directory"),
        (["--text", "nowhere.txt"], "nowhere.txt is no file"),
        (["--device", "abacus"], "abacus"),
    ],
)
def test_a_wrong_request_is_answered_in_one_line_with_status_two(arguments, message, capsys):
    assert main(["compress", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    said = [line for line in captured.err.splitlines() if line.startswith("workbench compress: ")]
    assert len(said) == 1
    assert message in said[0]


def test_a_directory_that_exists_is_refused_before_any_work(tmp_path, capsys):
    assert main(["compress", "--out", str(tmp_path)]) == 2
    assert "already exists" in capsys.readouterr().err


def test_check_says_what_is_here(capsys):
    status = main(["check"])
    printed = capsys.readouterr().out
    assert status == (1 if "\n! " in printed else 0)
    for word in ("python 3.", "torch", "ipywidgets", "device: ", "model: pygpt"):
        assert word in printed


def test_check_says_what_is_missing(capsys, monkeypatch):
    monkeypatch.setattr("workbench.machine.find_spec", lambda name: None if name == "anywidget" else True)
    assert main(["check"]) == 1
    assert "! anywidget is not installed: pip install anywidget." in capsys.readouterr().out
