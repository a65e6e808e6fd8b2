"""The command line: one JSON object, plain words, and an exit status that can be trusted."""

import json
import time
from pathlib import Path

import pytest
import tiny_models

from workbench import load
from workbench.cli import main
from workbench.memory import free_bytes
from workbench.transformer.repeats import RepeatsRecipe
from workbench.transformer.text_recipe import TextRecipe

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


def saved(folder: Path) -> str:
    lm = tiny_models.gpt2()
    lm.model.save_pretrained(folder)
    lm.tokenizer.save_pretrained(folder)
    return str(folder)


def test_a_number_that_is_not_known_is_null_for_json_has_no_nan(tmp_path, capsys):
    (tmp_path / "text.txt").write_text(tiny_models.TEXT)
    arguments = ["--model", saved(tmp_path / "tiny"), "--text", str(tmp_path / "text.txt"), "--metric", "plain"]
    assert main(["compress", *arguments, "--windows", "1", "--json"]) == 0
    result = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert result["perplexity_ratio_error"] is None
    assert result["seconds"]["calibrate"] == 0
    assert main(["compress", *arguments, "--windows", "1"]) == 0
    assert "± nan" in capsys.readouterr().out


def test_the_seconds_of_loading_are_those_of_the_model(tmp_path, capsys, monkeypatch):
    folder = saved(tmp_path / "tiny")
    (tmp_path / "text.txt").write_text(tiny_models.TEXT)
    slow = lambda name, device: time.sleep(0.3) or load(name, device)  # noqa: E731
    monkeypatch.setattr("workbench.transformer.load.load", slow)
    assert main(["compress", "--model", folder, "--text", str(tmp_path / "text.txt"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["seconds"]["load"] > 0.3


def test_each_line_is_scored_by_itself(tmp_path, capsys):
    (tmp_path / "lines.txt").write_text("bond\nsite\ncore\n")
    (tmp_path / "more.txt").write_text("tensor\nnetwork\n" * 20)
    arguments = ["--model", saved(tmp_path / "tiny"), "--each-line", "--json", "--metric", "input"]
    texts = ["--text", str(tmp_path / "lines.txt"), "--calibration", str(tmp_path / "more.txt")]
    assert main(["compress", *arguments, *texts]) == 0
    assert json.loads(capsys.readouterr().out)["n_tokens"] == 3 * 5
    assert main(["compress", *arguments]) == 2
    assert "--each-line scores the lines of a text; give it with --text" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--kept", "1.5"], "up to 1, not 1.5"),
        (["--method", "tucker", "--metric", "input"], "method 'tucker' is not cut in metric 'input'; give plain"),
        (["--method", "pca"], "unknown method 'pca'; there are svd, mpo, kronecker, tucker, cp, ring, asvd"),
        (["--method", "asvd", "--metric", "input"], "asvd says its metric and its form itself"),
        (["--budget", "greedy"], "there is no budget 'greedy'"),
        (["--kept", "0.5", "--max-bytes", "9"], "give one limit of kept, n_params, bytes and multiply_adds"),
        (["--windows", "0"], "--windows is how many windows to score, 1 or more, not 0"),
    ],
)
def test_a_wrong_request_is_answered_before_anything_is_loaded(arguments, message, capsys, monkeypatch):
    monkeypatch.setattr("workbench.transformer.load.load", lambda name, device: pytest.fail("loaded a model"))
    assert main(["compress", *arguments]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(("given", "opened"), [([], "00_start.ipynb"), (["--notebook", "mine.ipynb"], "mine.ipynb")])
def test_lab_opens_the_first_notebook_unless_another_is_named(given, opened, monkeypatch):
    calls = []
    monkeypatch.setattr("workbench.jupyter.open_lab", lambda *call, **named: calls.append((call, named)) or 0)
    assert main(["lab", "--no-browser", *given]) == 0
    ((notebook, port), named), *others = calls
    assert (notebook.name, port, named, others) == (opened, None, {"browser": False}, [])


def test_train_passes_its_choices_on_and_says_what_was_reached(tmp_path, capsys, monkeypatch):
    calls = []

    def trained(out, recipe, device, report):
        report({"step": 250, "loss": 1.5, "seconds": 9})
        calls.append((out, recipe, device))
        return {"step": 12, "seconds": 34.0}

    monkeypatch.setattr("workbench.transformer.training.train", trained)
    monkeypatch.setattr("workbench.transformer.card.write_card", lambda *call: {"bits_per_byte": 0.95})
    arguments = ["--out", str(tmp_path / "run"), "--d-model", "32", "--learning-rate", "0.01", "--device", "cpu"]
    assert main(["train", *arguments]) == 0
    assert calls == [(tmp_path / "run", TextRecipe(d_model=32, learning_rate=0.01), "cpu")]
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].split() == ["step", "250", "loss", "1.5000", "9", "s"]
    assert printed[1] == f"{tmp_path / 'run'}: 12 steps in 34 s, 0.950 bits per byte"


def test_train_on_repeats_takes_the_other_recipe(tmp_path, capsys, monkeypatch):
    calls = []

    def trained(out, recipe, device, report):
        calls.append(recipe)
        return {"step": 12, "seconds": 34.0}

    monkeypatch.setattr("workbench.transformer.training.train", trained)
    monkeypatch.setattr(
        "workbench.transformer.repeats_card.write_repeats_card", lambda *call: {"second_copy_accuracy": 0.9876}
    )
    assert main(["train", "--task", "repeats", "--out", str(tmp_path / "run"), "--seed", "3", "--n-heads", "2"]) == 0
    assert calls == [RepeatsRecipe(seed=3, n_heads=2)]
    assert capsys.readouterr().out == f"{tmp_path / 'run'}: 12 steps in 34 s, 98.8% right in the second copy\n"


def test_an_option_that_a_recipe_has_not_is_refused_before_any_work(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("workbench.transformer.training.train", lambda *call, **named: pytest.fail("trained"))
    assert main(["train", "--task", "repeats", "--out", str(tmp_path / "run"), "--vocabulary", "99"]) == 2
    said = capsys.readouterr().err
    assert "workbench train: --task repeats has no --vocabulary; it has --d-model, --n-layers, --n-heads," in said
    assert "--vocabulary," not in said.split("it has")[1]


def test_check_says_that_memory_is_short(capsys, monkeypatch):
    monkeypatch.setattr("workbench.machine.free_bytes", lambda: 2**30)
    assert main(["check"]) == 1
    assert "! only 1.0 GiB of memory is free; a model of GPT-2's size needs 2." in capsys.readouterr().out


def test_free_memory_counts_what_the_file_cache_would_give_back(tmp_path, monkeypatch):
    (tmp_path / "meminfo").write_text("MemTotal: 4000 kB\nMemFree:  1000 kB\nMemAvailable:  3000 kB\n")
    monkeypatch.setattr("workbench.memory.Path", lambda name: tmp_path / name.removeprefix("/proc/"))
    assert free_bytes() == 3000 * 1024
    (tmp_path / "meminfo").unlink()
    monkeypatch.setattr("os.sysconf", {"SC_AVPHYS_PAGES": 7, "SC_PAGE_SIZE": 4096}.__getitem__)
    assert free_bytes() == 7 * 4096
