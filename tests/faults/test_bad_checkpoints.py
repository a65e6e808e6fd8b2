"""Checkpoints altered at random and on purpose: a model that is the right one, or words that name the checkpoint."""

import json
import random
import shutil
from pathlib import Path

import pytest
import tiny_models
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

from workbench import load
from workbench.compress.windows import windows_of_text
from workbench.run_files import RunFiles

FACTOR = "transformer.h.0.mlp.c_fc.left"
MASK = "transformer.h.0.attn.masked_bias"
TELLING = b'0123456789{}[]",:-.eFIUB\xff\x00'  # bytes that mean something to what is read


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    """A transformers directory of the tiny GPT-2, and beside it an export of it."""
    folder, lab = tmp_path_factory.mktemp("saved"), tiny_models.lab()
    lab.lm.model.save_pretrained(folder / "checkpoint")
    lab.lm.tokenizer.save_pretrained(folder / "checkpoint")
    lab.keep(0.4)
    lab.export(folder / "export")
    return folder


@pytest.fixture(params=["checkpoint", "export"])
def folder(request, saved, tmp_path) -> Path:
    """A copy of one of them, to damage."""
    return shutil.copytree(saved / request.param, tmp_path / request.param)


@pytest.fixture
def export(saved, tmp_path) -> Path:
    """A copy of the export, to damage."""
    return shutil.copytree(saved / "export", tmp_path / "export")


def parameters(folder: Path) -> dict[str, torch.Tensor]:
    return dict(load(folder, "cpu").model.named_parameters())


def header_bytes(data: bytes) -> int:
    """How many bytes of a safetensors file come before its numbers."""
    return 8 + int.from_bytes(data[:8], "little")


def damaged(data: bytes, most: int, draws: random.Random) -> bytes:
    """One byte among the first `most` altered, or the end cut off."""
    if draws.random() < 0.2:
        return data[: draws.randrange(len(data))]
    place = draws.randrange(most)
    byte = draws.choice(TELLING) if draws.random() < 0.5 else draws.randrange(256)
    return data[:place] + bytes([byte]) + data[place + 1 :]


def parameters_or_words(folder: Path) -> dict[str, torch.Tensor]:
    """The parameters of a checkpoint, or none where it is refused. Fails where the words do not name it."""
    try:
        return parameters(folder)
    except ValueError as error:
        if str(folder) not in str(error):
            raise AssertionError(f"{error} does not say where") from error
        return {}


@pytest.mark.filterwarnings("ignore")  # libraries say on the way what they do with strange words
@pytest.mark.parametrize(
    ("name", "file", "tries"),
    [
        ("checkpoint", "config.json", 70), ("checkpoint", "tokenizer.json", 60),
        ("checkpoint", "tokenizer_config.json", 20), ("checkpoint", "generation_config.json", 20),
        ("export", "config.json", 50), ("export", "compressed.json", 100),
    ],
)  # fmt: skip
def test_a_byte_altered_in_its_words_gives_a_model_or_words_that_name_it(saved, tmp_path, name, file, tries):
    work, draws = shutil.copytree(saved / name, tmp_path / name), random.Random(file)
    whole = (saved / name / file).read_bytes()
    for _ in range(tries):
        (work / file).write_bytes(damaged(whole, len(whole), draws))
        parameters_or_words(work)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["checkpoint", "export"])
def test_a_byte_altered_in_the_header_of_the_weights_never_gives_other_weights(saved, tmp_path, name):
    work, draws = shutil.copytree(saved / name, tmp_path / name), random.Random(name)
    whole, own = (saved / name / "model.safetensors").read_bytes(), parameters(saved / name)
    n_refused = 0
    for _ in range(200):
        (work / "model.safetensors").write_bytes(damaged(whole, header_bytes(whole), draws))
        found = parameters_or_words(work)
        n_refused += not found
        assert not found or found.keys() == own.keys()
        assert all(torch.equal(found[key], own[key]) for key in found)
    assert n_refused > 150


def test_altered_numbers_are_found_out_where_they_are_not_finite(saved, tmp_path):
    """Other finite numbers are as good as those that were written: no file says what they should be."""
    work, draws = shutil.copytree(saved / "checkpoint", tmp_path / "checkpoint"), random.Random(0)
    whole = (saved / "checkpoint" / "model.safetensors").read_bytes()
    first, not_finite = header_bytes(whole), 0
    for _ in range(50):
        place = draws.randrange((len(whole) - first) // 4) * 4 + first
        data = bytearray(whole)
        data[place + 2 : place + 4] = bytes([draws.choice([0x00, 0x80, 0xC0]), draws.choice([0x3F, 0x7F, 0xFF])])
        (work / "model.safetensors").write_bytes(data)
        (number,) = torch.frombuffer(data[place : place + 4], dtype=torch.float32)
        if torch.isfinite(number):
            assert parameters(work)
        else:
            not_finite += 1
            with pytest.raises(ValueError, match=r"checkpoint holds non-finite values \(nan or inf\) in transformer\."):
                load(work, "cpu")
    assert 10 < not_finite < 40


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_weights_of_another_precision_run_in_float32(folder, dtype):
    file = folder / "model.safetensors"
    tensors, own = load_file(file), parameters(folder)
    save_file({name: tensor.to(dtype) for name, tensor in tensors.items()}, file, {"format": "pt"})
    found = parameters(folder)
    assert {tensor.dtype for tensor in found.values()} == {torch.float32}
    assert all(torch.equal(found[name], own[name].to(dtype).float()) for name in own)


@pytest.mark.filterwarnings("ignore:Casting complex values")
@pytest.mark.parametrize(
    ("dtype", "kind"),
    [(torch.int8, "I8"), (torch.int32, "I32"), (torch.bool, "BOOL"), (torch.complex64, "C64"),
     (torch.float8_e4m3fn, "F8_E4M3")],
)  # fmt: skip
def test_weights_that_are_no_floating_point_numbers_are_refused(folder, dtype, kind):
    file = folder / "model.safetensors"
    tensors = load_file(file)
    tensors["transformer.h.1.mlp.c_proj.bias"] = tensors["transformer.h.1.mlp.c_proj.bias"].to(dtype)
    save_file(tensors, file, {"format": "pt"})
    with pytest.raises(
        ValueError, match=rf"model\.safetensors holds transformer\.h\.1\.mlp\.c_proj\.bias as {kind}, wh"
    ):
        load(folder, "cpu")


def test_a_mask_of_an_old_checkpoint_may_be_of_any_kind(saved, tmp_path):
    work = shutil.copytree(saved / "checkpoint", tmp_path / "checkpoint")
    tensors = load_file(work / "model.safetensors")
    save_file(tensors | {MASK: torch.ones(3, 4, dtype=torch.uint8)}, work / "model.safetensors", {"format": "pt"})
    assert parameters(work)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"n_layer": 100_000}, r"says n_layer 100,000, and the checkpoint has \d+ tensors; its config\.json and its"),
        ({"vocab_size": 10**10}, r"says vocab_size 10,000,000,000, and the checkpoint has [\d,]+ (entries|numbers)"),
        ({"n_embd": 10**6}, r"says n_embd 1,000,000, and the checkpoint has [\d,]+ (entries in its widest|numbers)"),
        ({"n_positions": 10**9}, r"says n_positions 1,000,000,000, and the checkpoint has [\d,]+ (entries|numbers)"),
        ({"n_positions": -3}, r"cannot be read as a checkpoint: RuntimeError: Trying to create tensor with negative"),
        ({"n_head": 0}, r"cannot be read as a checkpoint: ZeroDivisionError: integer"),
        ({"n_embd": "32"}, r"cannot be read as a checkpoint: StrictDataclassFieldValidationError: .*'n_embd'"),
        ({"activation_function": "abacus"}, r"cannot be read as a checkpoint: KeyError: 'abacus'"),
    ],
)
def test_sizes_that_no_checkpoint_has_are_refused_before_they_fill_the_memory(folder, sizes, message):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | sizes))
    with pytest.raises(ValueError, match=rf"{folder.name}.*{message}"):
        load(folder, "cpu")


@pytest.mark.parametrize("file", ["tokenizer.json", "tokenizer_config.json"])
@pytest.mark.parametrize("content", ["[]", "3", "null", '"words"', "", "{"])
def test_words_of_a_tokenizer_that_are_none_name_the_checkpoint(folder, file, content):
    (folder / file).write_text(content)
    with pytest.raises(ValueError, match=rf"{folder.name} cannot be read as a checkpoint: \S"):
        load(folder, "cpu")


@pytest.mark.parametrize("content", ["[]", "3", "null"])
def test_a_config_that_is_no_record_is_refused(folder, content):
    (folder / "config.json").write_text(content)
    with pytest.raises(ValueError, match=r"config\.json is a \w+, no record of a model; copy it again"):
        load(folder, "cpu")


def test_a_tokenizer_of_more_tokens_than_the_model_knows_is_refused(folder, repository):
    AutoTokenizer.from_pretrained(repository / "data" / "pygpt").save_pretrained(folder)
    with pytest.raises(
        ValueError,
        match=rf"{folder.name} has a tokenizer of 4,096 tokens and a model that knows 64; its tokenizer belo",
    ):
        load(folder, "cpu")


def test_words_added_to_a_tokenizer_are_refused_only_where_they_are_used(folder):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    n_own = len(tokenizer)
    tokenizer.add_tokens([f"<new {number}>" for number in range(70 - n_own)])
    tokenizer.save_pretrained(folder)
    lm = load(folder, "cpu")
    with pytest.raises(ValueError, match=r"token 69 is beyond the 64 entries of"):
        windows_of_text(lm, "<new " + str(69 - n_own) + ">" + tiny_models.TEXT)


def test_a_run_whose_record_or_header_was_altered_is_damaged_and_not_gone_on_with(tmp_path):
    files = RunFiles(tmp_path / "run", "test")
    record = {"step": 3, "losses": [0.5, 0.25], "name": "abc"}
    files.save(record, {"now": {"a": torch.arange(4.0), "b": torch.ones(3, 2)}})
    found, groups = files.load()
    assert {name: found[name] for name in record} == record
    assert torch.equal(groups["now"]["a"], torch.arange(4.0))
    tensors, draws = tmp_path / "run" / "step3.safetensors", random.Random(1)
    for file, most in ((files.record, files.record.stat().st_size), (tensors, header_bytes(tensors.read_bytes()))):
        whole = file.read_bytes()
        for _ in range(200):
            file.write_bytes(altered := damaged(whole, most, draws))
            if altered == whole or (file == files.record and is_same(altered, whole)):
                continue
            with pytest.raises(
                ValueError, match=r"is damaged \(.*; remove .*run and begin anew|is no test run of format"
            ):
                files.load()
        file.write_bytes(whole)
    tensors.unlink()
    with pytest.raises(ValueError, match=r"step3\.safetensors is damaged \(.*No such file"):
        files.load()


def is_same(altered: bytes, whole: bytes) -> bool:
    """Whether two records say the same, such as with another space."""
    try:
        return json.loads(altered) == json.loads(whole)
    except ValueError:
        return False
