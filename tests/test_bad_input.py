"""Bad input is answered with which object, what it has, what was needed and what to do; and nothing is lost."""

import json
import re
import shutil

import pytest
import tiny_models
import torch
from safetensors.torch import load_file, save_file

from workbench import CompressionLab, load
from workbench.compress.budget import check_kept
from workbench.compress.windows import read_text, windows_of_sequences, windows_of_text
from workbench.decompose.ladder import check_bond
from workbench.decompose.low_rank import LowRank


@pytest.fixture
def lab() -> CompressionLab:
    return tiny_models.lab()


@pytest.fixture
def checkpoint(tmp_path):
    """A transformers directory of the tiny GPT-2."""
    lm = tiny_models.gpt2()
    lm.model.save_pretrained(tmp_path / "checkpoint")
    lm.tokenizer.save_pretrained(tmp_path / "checkpoint")
    return tmp_path / "checkpoint"


@pytest.mark.parametrize("kept", [0, -0.5, 1.5, float("nan")])
def test_a_share_outside_zero_to_one_is_refused_and_the_bonds_stay(lab, kept):
    lab.kept = 0.5
    before = dict(lab.bond)
    with pytest.raises(ValueError, match=re.escape(f"above 0 and up to 1, not {kept!r}")):
        lab.kept = kept
    assert dict(lab.bond) == before


@pytest.mark.parametrize("bond", [0, -3, 33])
def test_a_bond_that_does_not_fit_names_the_matrix_and_its_full_bond(lab, bond):
    name = "blocks.0.attn.W_O"
    with pytest.raises(ValueError, match=rf"blocks\.0\.attn\.W_O: bond {bond} does not fit.* 1, 2, … 32 \(full\)"):
        lab.bond[name] = bond
    assert lab.bond[name] == 32


@pytest.mark.parametrize("given", [True, "half", None])
def test_a_share_that_is_no_number_is_refused(given):
    with pytest.raises(ValueError, match=f"not {given!r}"):
        check_kept(given)


@pytest.mark.parametrize("given", [3.0, "3", True])
def test_a_bond_is_a_whole_number(given):
    with pytest.raises(TypeError, match=f"a bond dimension is a whole number, not {given!r}"):
        check_bond(given, 4)


def test_an_unknown_matrix_is_answered_with_the_nearest_names(lab):
    with pytest.raises(ValueError, match=r"no matrix 'blocks.0.mlp.W_inn'.*did you mean blocks\.0\.mlp\.W_in"):
        lab.bond["blocks.0.mlp.W_inn"] = 3
    with pytest.raises(ValueError, match=r"no matrix matches '\*\.W_up'"):
        lab.keep(0.5, "*.W_up")


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        (("pca", "plain"), r"unknown method 'pca'; there are svd, mpo, kronecker, tucker, cp, ring"),
        (("svd", "outputs"), r"'svd' is not cut in metric 'outputs'; give input or plain or two-sided or diag"),
        (("tucker", "input"), r"'tucker' is not cut in metric 'input'; give plain"),
        (("mpo", "plain", 5), r"2, 3 or 4 sites here, not 5"),
    ],
)
def test_an_unknown_method_or_metric_is_refused_and_the_old_one_stays(lab, recipe, message):
    before = lab.recipe
    with pytest.raises(ValueError, match=message):
        lab.decompose(*recipe)
    assert lab.recipe == before


def test_nothing_can_be_cut_before_it_is_decomposed():
    lab = CompressionLab.from_model(tiny_models.gpt2(), tiny_models.TEXT)
    with pytest.raises(RuntimeError, match=r"nothing is decomposed yet; call lab.decompose\(\) first"):
        lab.kept = 0.5


def test_an_unknown_model_is_answered_with_what_could_be_given():
    with pytest.raises(
        FileNotFoundError, match=r"'no-such-model' is not the shipped 'pygpt' or 'attn2' or 'truth-gpt', not a dir"
    ):
        load("no-such-model")
    with pytest.raises(FileNotFoundError, match=r"\./nowhere is no directory with a checkpoint"):
        load("./nowhere")


def test_an_unknown_device_is_refused():
    with pytest.raises(ValueError, match="abacus"):
        load("pygpt", device="abacus")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_a_gpu_that_is_not_there_is_said_to_be_missing():
    with pytest.raises(ValueError, match=r"'cuda' was asked for, but torch sees no CUDA device here"):
        load("pygpt", device="cuda")


def test_a_text_that_fills_no_window_says_how_long_it_is():
    with pytest.raises(ValueError, match=r"5 tokens in 5 characters; one window of tiny-gpt2 needs 16"):
        windows_of_text(tiny_models.gpt2(), "short")


def test_sequences_too_long_or_too_short_are_refused():
    lm = tiny_models.gpt2()
    with pytest.raises(ValueError, match=r"18 tokens; tiny-gpt2 reads at most 16"):
        windows_of_sequences(lm, [[1] * 18])
    with pytest.raises(ValueError, match="at least two tokens"):
        windows_of_sequences(lm, [[1]])


def test_a_tokenizer_of_another_model_is_found_out():
    with pytest.raises(ValueError, match=r"token 900 is beyond the 64 entries of tiny-gpt2"):
        windows_of_sequences(tiny_models.gpt2(), [[1, 900]])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b" \n\n", "is empty"),
        (b"\xff\xfe\x00abc", "is not UTF-8 text"),
        (b"ab\x00cd", "binary file"),
    ],
)
def test_a_file_without_text_is_named(tmp_path, content, message):
    file = tmp_path / "given.txt"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=rf"given\.txt.*{message}"):
        read_text(file)


def test_too_few_calibration_tokens_name_the_widest_matrix():
    lm = tiny_models.gpt2()
    lab = CompressionLab.from_model(lm, tiny_models.TEXT, calibration=tiny_models.TEXT[:64])
    with pytest.raises(ValueError, match=r"60 calibration tokens are too few for blocks\.0\.mlp\.W_out, which has 128"):
        lab.decompose("svd", "input")


def test_weights_that_are_not_finite_are_named_when_decomposed():
    lm = tiny_models.gpt2()
    lab = CompressionLab.from_model(lm, tiny_models.TEXT)
    lab.matrices["blocks.1.mlp.W_in"].weight[2, 3] = torch.nan
    with pytest.raises(ValueError, match=r"weight blocks\.1\.mlp\.W_in of shape \(128, 32\) holds 1 non-finite"):
        lab.decompose("svd", "plain")


def test_weights_that_are_not_finite_are_named_when_loaded(checkpoint):
    tensors = load_file(checkpoint / "model.safetensors")
    tensors["transformer.wpe.weight"][0, 0] = torch.inf
    save_file(tensors, checkpoint / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match=r"non-finite values \(nan or inf\) in transformer\.wpe\.weight"):
        load(checkpoint)


@pytest.mark.parametrize("size", [0, 7, 4000])
def test_a_truncated_safetensors_file_is_named_with_its_size(checkpoint, size):
    file = checkpoint / "model.safetensors"
    file.write_bytes(file.read_bytes()[:size])
    with pytest.raises(ValueError, match=rf"model\.safetensors is not a whole safetensors file.*it has {size} bytes"):
        load(checkpoint)


def test_an_altered_header_is_found_out(checkpoint):
    file = checkpoint / "model.safetensors"
    data = file.read_bytes()
    file.write_bytes(data[:8] + b"x" + data[9:])
    with pytest.raises(ValueError, match="not a whole safetensors file"):
        load(checkpoint)


def test_a_pickle_is_refused_unread_with_the_way_to_convert_it(checkpoint):
    (checkpoint / "model.safetensors").unlink()
    (checkpoint / "pytorch_model.bin").write_bytes(b"not even a pickle")
    with pytest.raises(ValueError, match=r"pytorch_model\.bin, a pickle.*refused.*convert it once: python -c"):
        load(checkpoint)


def test_a_config_of_another_model_is_found_out(checkpoint):
    config = json.loads((checkpoint / "config.json").read_text())
    (checkpoint / "config.json").write_text(json.dumps(config | {"n_layer": 3}))
    with pytest.raises(ValueError, match=r"lacks 12 tensors of its architecture.*transformer\.h\.2"):
        load(checkpoint)


def test_a_directory_without_a_config_is_no_checkpoint(checkpoint):
    (checkpoint / "config.json").unlink()
    with pytest.raises(ValueError, match=r"holds no config\.json"):
        load(checkpoint)


def test_a_tokenizer_file_that_is_something_else_names_the_checkpoint(checkpoint):
    (checkpoint / "tokenizer.json").write_text('{"something": "else"}')
    with pytest.raises(ValueError, match=r"checkpoint cannot be read as a checkpoint"):
        load(checkpoint)


def test_an_export_never_overwrites(lab, tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "precious.txt").write_text("mine")
    lab.kept = 0.5
    with pytest.raises(FileExistsError, match=r"there already exists and is left as it is"):
        lab.export(tmp_path / "there")
    assert [file.name for file in (tmp_path / "there").iterdir()] == ["precious.txt"]


@pytest.mark.parametrize("failure", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_an_export_that_breaks_off_leaves_nothing_and_can_be_repeated(lab, tmp_path, monkeypatch, failure):
    lab.kept = 0.5

    def full(*arguments, **named):
        raise failure

    with monkeypatch.context() as patch:
        patch.setattr("workbench.compress.store.write_json", full)  # the last thing written
        with pytest.raises(type(failure)):
            lab.export(tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
    assert load(lab.export(tmp_path / "out")).model is not None


def test_an_export_with_a_damaged_file_is_named(lab, tmp_path):
    lab.kept = 0.5
    out = lab.export(tmp_path / "out")
    damaged = shutil.copytree(out, tmp_path / "damaged")
    file = damaged / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(ValueError, match=r"damaged.*model\.safetensors is not a whole safetensors file"):
        load(damaged)
    (out / "compressed.json").write_text("{")
    with pytest.raises(ValueError, match=r"compressed\.json is not the record of an export"):
        load(out)


def test_a_compressed_model_is_not_compressed_again(lab, tmp_path):
    lab.kept = 0.5
    lm = load(lab.export(tmp_path / "out"))
    with pytest.raises(ValueError, match=r"is compressed already; compress its dense/ instead"):
        CompressionLab.from_model(lm, tiny_models.TEXT)


def test_factors_that_share_no_bond_are_refused():
    spectrum = LowRank.from_weight(torch.randn(3, 4)).spectrum
    pair = object.__new__(LowRank)  # past the annotations, which the tests check and a user's Python does not
    for name, value in (("left", torch.zeros(3, 2)), ("right", torch.zeros(5, 4)), ("spectrum", spectrum)):
        object.__setattr__(pair, name, value)
    with pytest.raises(ValueError, match=r"\(out, r\) and \(r, in\), not \(3, 2\) and \(5, 4\)"):
        pair.__post_init__()


def test_a_model_of_another_family_says_which_ones_are_known():
    from workbench.transformer.matrices import block_matrices

    with pytest.raises(ValueError, match=r"Linear keeps no blocks.*GPT-2 or LLaMA family"):
        block_matrices(torch.nn.Linear(3, 4))
