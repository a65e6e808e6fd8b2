"""The benchmark at GPT-2's size, run whole with a toy in its place: every stage, stopped and taken up again."""

import importlib
import json
import math
import sys

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from workbench.transformer.corpus import is_candidate

STAGES = ("text", "train", "calibrate", "sweep", "tick", "speed", "heal")


@pytest.fixture(scope="module")
def benchmark(request):
    """The script, imported from its folder as it is when it is run."""
    folder = str(request.config.rootpath / "benchmarks")
    sys.path.insert(0, folder)
    yield importlib.import_module("gpt2_size")
    sys.path.remove(folder)


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """A small library: some modules to learn from, one test of them, and two modules that are held out."""
    root = tmp_path_factory.mktemp("library")
    names = [f"module{n}.py" for n in range(200)]
    held_out = [name for name in names if is_candidate(name)][:2]
    for name in [name for name in names if not is_candidate(name)][:8] + held_out:
        lines = (f"def {name[:-3]}_{k}(first, second):\n    return first * {k} + second" for k in range(40))
        (root / name).write_text("\n".join(lines) + "\n")
    (root / "test").mkdir()
    (root / "test" / "test_module1.py").write_text("import module1\nassert module1.module1_3(3, 4) == 13\n" * 60)
    return root


@pytest.fixture(scope="module")
def run(benchmark, library):
    """Runs some stages into a directory, on the CPU and at toy size, and gives the exit status."""

    def stages(out, chosen, *more: str) -> int:
        given = ["--toy", "--device", "cpu", "--root", str(library), "--epochs", "0.3", "--out", str(out)]
        return benchmark.main([*given, "--stages", chosen, *more])

    return stages


@pytest.fixture(scope="module")
def whole(run, tmp_path_factory):
    """A directory in which every stage has run, in three calls."""
    out = tmp_path_factory.mktemp("whole")
    for chosen in ("text", "train,calibrate", "sweep,tick,speed,heal"):
        assert run(out, chosen, "--results", str(out / "published.json")) == 0
    return out


def found(out) -> dict:
    return json.loads((out / "results.json").read_text())


def test_the_model_is_exactly_of_gpt2_smalls_shape(benchmark):
    recipe = benchmark.FULL.recipe
    with torch.device("meta"):
        own, original = recipe.model(), GPT2LMHeadModel(GPT2Config())
    shapes = {name: parameter.shape for name, parameter in own.named_parameters()}
    assert shapes == {name: parameter.shape for name, parameter in original.named_parameters()}
    assert sum(parameter.numel() for parameter in own.parameters()) == 124_439_808
    assert (own.config.n_head, own.config.n_positions) == (12, 1024)
    assert own.config.eos_token_id == GPT2Config().eos_token_id


def test_every_method_metric_budget_and_share_has_a_row_of_the_table(whole):
    rows = list(found(whole)["table"].values())
    settings = {(row["method"], row["metric"], row["budget"], row["kept"]) for row in rows}
    assert len(rows) == len(settings) == 28
    for row in rows:
        assert row["kept_params"] <= row["kept"] + 1e-9
        assert row["perplexity"] == pytest.approx(row["perplexity_ratio"] * found(whole)["dense"]["perplexity"])


def test_the_dense_loss_is_the_models_own_on_the_held_out_windows(whole, benchmark):
    from safetensors.torch import load_file

    from workbench import load

    lm = load(whole / "model", "cpu")
    stream = load_file(whole / "tokens.safetensors")["held_out"].to(torch.int64)
    windows = benchmark.gpt2_stages.rows(stream, 64, benchmark.TOY.sizes.scored_windows).tokens
    with torch.no_grad():
        logits = lm.model(windows[:, :-1]).logits
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), windows[:, 1:].flatten())
    assert found(whole)["dense"]["loss"] == pytest.approx(float(loss), rel=1e-5)


def test_a_tick_says_how_long_it_took_and_for_how_many_tokens(whole):
    tick = found(whole)["tick"]["float32"]
    assert 0 < tick["cut_seconds"] < tick["seconds"] <= tick["slowest_seconds"]
    assert tick["tokens"] == 20 * 63, "of two batches, the first of which has too few"
    assert tick["reached"] == (tick["seconds"] <= 0.1)


def test_speed_and_healing_are_measured_beside_what_they_are_compared_with(whole):
    speed, heal = found(whole)["speed"], found(whole)["heal"]
    assert {"dense 1.0 float32", "svd two-sided global 0.2 float32", "mpo plain uniform 0.4 float32"} <= set(speed)
    assert min(speed.values()) > 0
    assert set(heal) == {"svd plain uniform 0.2", "svd two-sided global 0.2"}
    for name, row in heal.items():
        assert row["before"] == found(whole)["table"][name]["perplexity_ratio"]
        assert (row["steps"], row["ended"]) == (3, "finished")
        assert (row["after"] == row["before"]) == (row["best_step"] == 0)


def test_every_stage_notes_its_seconds_and_what_it_ran_on(whole):
    results = found(whole)
    for name in ("train", "calibrate inputs", "decompose svd two-sided", "heal svd plain uniform 0.2"):
        assert results["seconds"][name] > 0
    assert results["about"]["toy"] is True
    assert results["about"]["device"] == "cpu"
    assert results["about"]["versions"]["torch"] == torch.__version__
    assert results["train"]["tokens"] == results["train"]["steps"] * 4 * 64


def test_the_results_are_also_written_where_they_were_asked_for(whole):
    assert json.loads((whole / "published.json").read_text()) == found(whole)


def test_what_is_done_is_not_done_again(run, whole, capsys):
    before = found(whole)
    capsys.readouterr()
    assert run(whole, ",".join(STAGES)) == 0
    assert found(whole) == before
    assert capsys.readouterr().out == ""


def test_a_sweep_goes_on_with_the_row_where_it_was_stopped(run, whole, capsys):
    results = found(whole)
    kept = results["table"].pop("svd input global 0.4")
    (whole / "results.json").write_text(json.dumps(results))
    capsys.readouterr()
    assert run(whole, "sweep") == 0
    told = capsys.readouterr().out
    assert told.count("of dense") == 1
    again = found(whole)["table"]["svd input global 0.4"]
    assert again["perplexity"] == pytest.approx(kept["perplexity"], rel=1e-6)


def test_an_interrupted_training_goes_on_from_its_last_state(run, tmp_path, monkeypatch):
    import gpt2_training

    assert run(tmp_path, "text") == 0
    own, seen = gpt2_training.windows, []

    def interrupted(streams, recipe, step):
        seen.append(step)
        if len(seen) == 6:
            raise KeyboardInterrupt
        return own(streams, recipe, step)

    monkeypatch.setattr(gpt2_training, "windows", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, "train")
    assert "train" not in found(tmp_path)
    assert run(tmp_path, "train") == 0
    assert seen[:7] == [0, 1, 2, 3, 4, 5, 4]  # the last state was saved after step 3
    assert len(set(seen)) == found(tmp_path)["train"]["steps"]


def test_a_run_that_would_outlast_its_time_is_shortened_and_its_rate_still_falls_to_nothing(run, tmp_path):
    assert run(tmp_path, "text,train", "--train-minutes", "0.0001") == 0
    train = found(tmp_path)["train"]
    assert train["ended_by"] == "minutes"
    assert train["log"][-1]["step"] == train["steps"] == train["recipe"]["steps"] < 20
    assert (tmp_path / "model" / "model.safetensors").exists()


def test_epochs_count_how_often_the_library_is_read(run, tmp_path, library, benchmark):
    assert run(tmp_path, "text,train") == 0
    results = found(tmp_path)
    steps = math.ceil(0.3 * results["text"]["tokens"]["library"] / (0.7 * 4 * 64))
    assert results["train"]["steps"] == steps
    assert results["train"]["ended_by"] == "epochs"
    assert results["train"]["library_epochs"] == pytest.approx(0.3, abs=0.05)


def test_gpt2s_own_tokenizer_is_used_where_it_is(run, shared_data, tmp_path):
    from workbench import load

    assert run(tmp_path, "text,train", "--tokenizer", str(shared_data / "gpt2-tokenizer"), "--epochs", "0.01") == 0
    assert found(tmp_path)["text"]["vocabulary"] == 50_257
    assert found(tmp_path)["text"]["end_of_text"] == 50_256
    lm = load(tmp_path / "model", "cpu")
    assert lm.tokenizer("Hello world")["input_ids"] == [15496, 995]
    assert lm.model.get_input_embeddings().weight.shape == (50_257, 32)


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ("text,stew", "there is no stage stew; there are text, train,"),
        ("train", "holds no tokens to train on; run --stages text first"),
        ("sweep", "holds no trained model to measure; run --stages text,train first"),
    ],
)
def test_a_stage_without_what_it_needs_is_refused(run, tmp_path, capsys, chosen, message):
    assert run(tmp_path, chosen) == 2
    assert message in capsys.readouterr().err


def test_a_directory_without_gpt2s_tokenizer_is_refused(run, tmp_path, capsys):
    (tmp_path / "vocab.json").write_text("{}")
    assert run(tmp_path / "out", "text", "--tokenizer", str(tmp_path)) == 2
    assert f"{tmp_path} holds no merges.txt; give GPT-2's own files" in capsys.readouterr().err
    (tmp_path / "merges.txt").write_text("#version: 0.2\n")
    (tmp_path / "vocab.json").write_text(json.dumps({"<|endoftext|>": 0, "a": 1, "b": 2}))
    assert run(tmp_path / "out", "text", "--tokenizer", str(tmp_path)) == 2
    assert "has 3 entries, and GPT-2's has 50257" in capsys.readouterr().err


def test_what_another_device_has_begun_is_not_continued(run, tmp_path, capsys):
    (tmp_path / "results.json").write_text(json.dumps({"about": {"toy": False, "device": "another"}}))
    assert run(tmp_path, "train") == 2
    assert "was begun with {'toy': False, 'device': 'another'}" in capsys.readouterr().err


def test_without_a_gpu_the_full_size_says_so_and_runs_nothing(benchmark, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert benchmark.main(["--out", str(tmp_path / "out")]) == 0
    assert "no CUDA device, which 124M parameters need" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()


def test_the_rows_are_windows_of_the_stream_each_once(benchmark):
    rows = benchmark.gpt2_stages.rows(torch.arange(14), 4, 3)
    assert sorted(rows.tokens.tolist()) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
    assert rows.n_tokens == 9


def test_more_windows_than_a_text_has_are_refused(benchmark):
    with pytest.raises(ValueError, match="12 tokens fill 3 windows of 4, and 5 are wanted"):
        benchmark.gpt2_stages.rows(torch.arange(12), 4, 5)
