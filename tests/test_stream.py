"""A streamed compression is the one made in memory, matrix by matrix, and loads as it does."""

import json
from pathlib import Path

import pytest
import tiny_models
import torch
from faults.killing import ended
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
)

from workbench import load
from workbench.cli import main
from workbench.compress.recipe import Recipe
from workbench.compress.stream import Stream
from workbench.compress.windows import Windows
from workbench.decompose.leading import gram_of_columns, leading_factors, pair_within_columns, triangle
from workbench.decompose.low_rank import LowRank
from workbench.explore.compression_lab import CompressionLab
from workbench.transformer.load import LanguageModel
from workbench.transformer.skeleton import skeleton


def mistral() -> LanguageModel:
    """A random Mistral of two blocks, tied, that looks back six tokens; always the same one."""
    config = MistralConfig(
        vocab_size=tiny_models.VOCABULARY, max_position_embeddings=tiny_models.CONTEXT, hidden_size=32,
        intermediate_size=80, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, head_dim=8,
        sliding_window=6, tie_word_embeddings=True, bos_token_id=0, eos_token_id=0, pad_token_id=None,
    )  # fmt: skip
    model, generator = MistralForCausalLM(config), torch.Generator().manual_seed(7)
    for parameter in model.parameters():
        if parameter.ndim == 2:
            parameter.data.normal_(0, 0.18, generator=generator)
    return LanguageModel("tiny-mistral", "tiny-mistral", model.eval().requires_grad_(False), tiny_models.tokenizer())


MODELS = {"gpt2": tiny_models.gpt2, "llama": tiny_models.llama, "mistral": mistral}


def saved(folder: Path, family: str = "llama", dtype: torch.dtype = torch.float32) -> Path:
    """A tiny model in many small shards."""
    lm = MODELS[family]()
    lm.model.to(dtype).save_pretrained(folder, max_shard_size="8KB")
    lm.tokenizer.save_pretrained(folder)
    return folder


def lab_of(folder: Path, metric: str, kept: float) -> tuple[CompressionLab, Windows]:
    """The same compression in memory, and what it was calibrated on."""
    lab = CompressionLab.from_model(folder, tiny_models.TEXT, max_windows=2, device="cpu")
    lab.decompose("svd", metric, progress=lambda what, done, total: None)
    lab.keep(kept)
    return lab, lab._calibration.windows


def stream_of(folder: Path, metric: str = "plain", kept: float = 0.4, windows: Windows | None = None) -> Stream:
    return Stream(skeleton(folder), Recipe("svd", metric), kept, windows, "cpu")


@pytest.mark.parametrize(
    ("family", "metric", "dtype"),
    [
        ("gpt2", "plain", torch.float32),
        ("gpt2", "input", torch.float16),
        ("llama", "plain", torch.bfloat16),
        ("llama", "input", torch.float32),
        ("mistral", "input", torch.bfloat16),
        ("mistral", "input", torch.float32),
    ],
)
def test_it_is_the_compression_made_in_memory(tmp_path, family, metric, dtype):
    folder = saved(tmp_path / "in", family, dtype)
    lab, windows = lab_of(folder, metric, 0.4)
    made = stream_of(folder, metric, 0.4, windows).write(tmp_path / "out")
    read = tiny_models.tokens()
    wanted = tiny_models.logits(lab._compressed, read)
    lm = load(made.out, device="cpu")
    assert len({file.name for file in made.out.glob("*.safetensors")}) == 1 + len(lab.layers)
    torch.testing.assert_close(tiny_models.logits(lm.model, read), wanted, atol=1e-4, rtol=1e-4)
    for name, layer in lab.layers.items():
        found = lm.model.get_submodule(lab.matrices[name].path).now
        assert found.bond == layer.now.bond
        torch.testing.assert_close(found.dense(), layer.now.dense(), atol=2e-5, rtol=1e-4)
        values, norm = layer.now.spectra[0].values, layer.now.spectra[0].norm
        assert found.spectra[0].norm == norm
        torch.testing.assert_close(found.spectra[0].values, values, atol=3e-4 * float(values[0]), rtol=0)
        relative = layer.now.error() / layer.now.spectra[0].error(0)
        assert made.relative_errors[name] == pytest.approx(relative, rel=1e-4)
    assert (made.n_params, made.dense_n_params) == (lab.sizes.n_params, lab.sizes.dense_n_params)
    assert made.kept_params == pytest.approx(lab.kept)


@pytest.mark.parametrize(("family", "dtype"), [("gpt2", torch.float32), ("mistral", torch.bfloat16)])
def test_multiplied_out_it_loads_in_plain_transformers_in_the_checkpoints_dtype(tmp_path, family, dtype):
    folder = saved(tmp_path / "in", family, dtype)
    made = stream_of(folder).write(tmp_path / "out")
    plain = AutoModelForCausalLM.from_pretrained(made.out / "dense")
    assert {parameter.dtype for parameter in plain.parameters()} == {dtype}
    lm, factored = AutoTokenizer.from_pretrained(made.out / "dense"), load(made.out, device="cpu")
    assert lm.decode([1, 2, 3]) == factored.tokenizer.decode([1, 2, 3])
    read = tiny_models.tokens()
    exact = tiny_models.logits(factored.model, read)
    off = (tiny_models.logits(plain.float(), read) - exact).abs().max() / exact.abs().max()
    assert off < {torch.float32: 1e-5, torch.bfloat16: 0.05}[dtype]


def test_all_kept_is_the_checkpoint_copied(tmp_path):
    folder = saved(tmp_path / "in", "gpt2", torch.float16)
    made = stream_of(folder, "input", 1.0, lab_of(folder, "plain", 1.0)[1]).write(tmp_path / "out")
    whole = {name: tensor for file in folder.glob("*.safetensors") for name, tensor in load_file(file).items()}
    for place in (made.out, made.out / "dense"):
        found = {name: tensor for file in place.glob("*.safetensors") for name, tensor in load_file(file).items()}
        assert set(found) == set(whole)
        assert all(torch.equal(found[name], whole[name]) for name in whole)
    assert (made.kept_params, made.n_params, made.mean_relative_error) == (1.0, made.dense_n_params, 0.0)
    assert torch.equal(load(made.out).model.transformer.wte.weight, whole["transformer.wte.weight"].float())


def test_fewer_tokens_than_inputs_still_cut_best_on_them(tmp_path):
    folder = saved(tmp_path / "in")
    _, windows = lab_of(folder, "plain", 0.4)
    few = windows.rows(0, 2)  # 30 tokens, and matrices of 32 and 48 inputs
    made = stream_of(folder, "input", 0.4, few).write(tmp_path / "out")
    plain = stream_of(folder, "plain", 0.4).write(tmp_path / "plain")
    assert few.n_tokens == 30
    assert all(0 < error < 0.62 for error in made.relative_errors.values())
    assert made.mean_relative_error < 0.7 * plain.mean_relative_error


@pytest.mark.parametrize("shape", [(7, 4), (4, 7), (5, 5)])
def test_the_leading_factors_are_those_of_the_whole_decomposition(shape):
    weight = torch.randn(shape, dtype=torch.float64)
    left, right, values = leading_factors(weight, 3)
    whole = LowRank.from_weight(weight)
    torch.testing.assert_close(left @ right, whole.truncate(3).dense())
    torch.testing.assert_close(values, whole.spectrum.values)


@pytest.mark.parametrize(
    "weight", [torch.zeros(7, 4), torch.ones(7, 4), torch.eye(7, 4).index_fill(1, torch.tensor(2), 0)]
)
def test_columns_that_a_matrix_lacks_do_no_harm(weight):
    lower = triangle(gram_of_columns(weight))
    directions = torch.linalg.qr(torch.randn(4, 4, dtype=torch.float64)).Q
    left, right = pair_within_columns(weight, lower, directions)
    torch.testing.assert_close(left @ right, weight, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("recipe", "kept", "message"),
    [
        (Recipe("mpo", "plain"), 0.4, r"is svd in the plain or input metric.*not mpo of 2 sites, plain metric; leave"),
        (Recipe("svd", "two-sided"), 0.4, r"not svd, two-sided metric"),
        (Recipe("svd", "plain", gauge_fixed=True), 0.4, r"not svd \(gauge-fixed\), plain metric"),
        (Recipe("svd", "plain", table="both"), 0.4, r"not svd, plain metric, with the table"),
        (Recipe("svd", "plain"), 1.5, r"above 0 and up to 1, not 1\.5"),
        (Recipe("svd", "input"), 0.4, r"the input metric is measured on text; give windows"),
    ],
)
def test_what_cannot_be_streamed_is_refused(tmp_path, recipe, kept, message):
    with pytest.raises(ValueError, match=message):
        Stream(skeleton(saved(tmp_path)), recipe, kept)


def test_too_few_tokens_for_a_rank_are_refused(tmp_path):
    windows = Windows(torch.zeros(1, 5, dtype=torch.long), torch.ones(1, 4, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"4 calibration tokens are too few for a rank of 7: .* at least 7, better"):
        stream_of(saved(tmp_path), "input", 0.4, windows)


def test_a_run_of_other_choices_is_not_gone_on_with(tmp_path, monkeypatch):
    folder = saved(tmp_path / "in")
    stop(monkeypatch, 3)
    with pytest.raises(KeyboardInterrupt):
        stream_of(folder).write(tmp_path / "out")
    with pytest.raises(ValueError, match=r"\.out\.partial holds a run with other kept; give those values"):
        stream_of(folder, kept=0.5).write(tmp_path / "out")
    (folder / "config.json").write_text((folder / "config.json").read_text() + " ")
    with pytest.raises(ValueError, match=r"\.out\.partial holds a run with other checkpoint"):
        stream_of(folder).write(tmp_path / "out")
    (tmp_path / ".out.partial" / "stream.json").write_text("{")
    with pytest.raises(ValueError, match=r"stream\.json is damaged .*; remove .*\.out\.partial and begin anew"):
        stream_of(folder).write(tmp_path / "out")


def stop(monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """Interrupts a run when it has cut some matrices."""
    original, cut = Stream._cut, []

    def counted(self, *rest) -> None:
        if len(cut) == after:
            raise KeyboardInterrupt
        cut.append(rest)
        original(self, *rest)

    monkeypatch.setattr(Stream, "_cut", counted)


def test_a_place_that_is_taken_or_in_use_is_left_alone(tmp_path, monkeypatch):
    folder = saved(tmp_path / "in")
    made = stream_of(folder).write(tmp_path / "out")
    with pytest.raises(FileExistsError, match=r"out already exists and is left as it is"):
        stream_of(folder).write(made.out)
    assert not (tmp_path / ".out.partial").exists()
    assert sorted(file.name for file in made.out.iterdir() if not file.name.startswith("model-")) == [
        "compressed.json", "config.json", "dense", "generation_config.json", "model.safetensors.index.json",
        "stream.json", "tokenizer.json", "tokenizer_config.json",
    ]  # fmt: skip


def test_an_export_in_shards_whose_index_leaves_its_folder_does_not_load(tmp_path):
    made = stream_of(saved(tmp_path / "in")).write(tmp_path / "out")
    file = made.out / "model.safetensors.index.json"
    listed = json.loads(file.read_text())
    listed["weight_map"]["lm_head.weight"] = "../in/model.safetensors"
    file.write_text(json.dumps(listed))
    with pytest.raises(
        ValueError, match=r"names '\.\./in/model\.safetensors'; a shard is a \*\.safetensors file beside"
    ):
        load(made.out)
    next(made.out.glob("model-00003*")).unlink()
    with pytest.raises(ValueError, match=r"index\.json names"):
        load(made.out)


def test_the_command_streams_and_says_what_came_of_it(tmp_path, capsys):
    folder = saved(tmp_path / "in")
    (tmp_path / "text").write_text(tiny_models.TEXT)
    arguments = ["compress", "--stream", "--model", str(folder), "--text", str(tmp_path / "text"), "--device", "cpu"]
    assert main([*arguments, "--json", "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr()
    result = json.loads(said.out)
    lab, _ = lab_of(folder, "input", 0.4)
    assert (result["metric"], result["n_params"]) == ("input", lab.sizes.n_params)
    assert result["mean_relative_error"] == pytest.approx(sum(result["relative_errors"].values()) / 14)
    assert set(result["seconds"]) == set(lab.layers) | {"blocks.0.calibrate", "blocks.1.calibrate"}
    assert result["peak_bytes"] > 10**8
    assert [line.split(":")[0] for line in said.err.splitlines() if line.startswith("matrix")][-1] == "matrix 14 of 14"
    read = tiny_models.tokens()
    wanted = tiny_models.logits(lab._compressed, read)
    torch.testing.assert_close(tiny_models.logits(load(tmp_path / "out").model, read), wanted, atol=1e-4, rtol=1e-4)
    assert main([*arguments, "--metric", "plain", "--out", str(tmp_path / "plain")]) == 0
    printed = capsys.readouterr().out
    assert "svd, plain metric, streamed" in printed
    assert "seconds a block" in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--out", "out", "--bits", "8", "--windows", "3"], "--stream does not go with --windows, --bits"),
        (["--out", "out", "--budget", "global"], "--stream does not go with --budget: it cuts by one share"),
        ([], "--stream writes its model as it goes; say where with --out"),
        (["--out", "out", "--method", "mpo"], "is svd in the plain or input metric"),
        (
            ["--out", "out", "--model", "gpt2-xl"],
            "gpt2-xl is no directory; a checkpoint is streamed from one: download",
        ),
    ],
)
def test_words_that_do_not_go_with_streaming_are_refused(arguments, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = arguments if "--model" in arguments else ["--model", str(saved(tmp_path / "in")), *arguments]
    assert main(["compress", "--stream", "--metric", "plain", *given]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    words = message.split(" with ")[-1].split(", ") if "does not go" in message else [message]
    assert all(word in said for word in words), said
    assert not (tmp_path / "out").exists()


LARGE = """
import torch
from pathlib import Path
from workbench.compress.recipe import Recipe
from workbench.compress.stream import Stream
from workbench.compress.windows import Windows
from workbench.memory import peak_bytes
from workbench.transformer.skeleton import skeleton

opened = skeleton(Path({folder!r}))
windows = Windows(torch.arange(520).view(8, 65) % 64, torch.ones(8, 64, dtype=torch.bool))
before = peak_bytes()
Stream(opened, Recipe("svd", "input"), 0.3, windows, "cpu").write(Path({out!r}))
print(peak_bytes() - before, 4 * opened.largest)
"""


def test_memory_grows_by_a_few_matrices_however_many_blocks_there_are(tmp_path):
    config = LlamaConfig(
        vocab_size=65, hidden_size=256, intermediate_size=1536, num_hidden_layers=12, num_attention_heads=8,
        max_position_embeddings=64, bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    folder = tmp_path / "in"
    config.save_pretrained(folder)
    tiny_models.tokenizer().save_pretrained(folder)
    with torch.device("meta"):
        parameters = dict(LlamaForCausalLM(config).named_parameters())
    save_file({name: torch.randn(one.shape).half() for name, one in parameters.items()}, folder / "model.safetensors")
    grown, largest = map(int, ended(LARGE.format(folder=str(folder), out=str(tmp_path / "out"))).split())
    blocks = sum(4 * one.numel() for name, one in parameters.items() if "layers" in name)
    assert grown < 3 * largest + 48 * 2**20 < blocks
