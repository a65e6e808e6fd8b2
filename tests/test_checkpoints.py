"""Checkpoints that are not what they should be, each named with what to do; and devices without room."""

import json
import re
import shutil
from pathlib import Path

import pytest
import tiny_models
import torch
from safetensors.torch import load_file, save_file

from workbench import load
from workbench.transformer.matrices import resolve_device

FACTOR = "transformer.h.0.mlp.c_fc.left"


@pytest.fixture
def checkpoint(tmp_path) -> Path:
    """A transformers directory of the tiny GPT-2."""
    lm = tiny_models.gpt2()
    lm.model.save_pretrained(tmp_path / "checkpoint")
    lm.tokenizer.save_pretrained(tmp_path / "checkpoint")
    return tmp_path / "checkpoint"


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> Path:
    lab = tiny_models.lab()
    lab.kept = 0.4
    return lab.export(tmp_path_factory.mktemp("export") / "out")


@pytest.fixture
def export(exported, tmp_path) -> Path:
    """A copy of an export, to damage."""
    return shutil.copytree(exported, tmp_path / "export")


def configure(folder: Path, **changes) -> None:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps(config | changes), encoding="utf-8")


def alter(folder: Path, name: str, change) -> None:
    """Replaces one tensor, or takes it out where `change` gives None."""
    tensors = load_file(folder / "model.safetensors")
    changed = change(tensors.pop(name))
    if changed is not None:
        tensors[name] = changed.contiguous()
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def test_a_checkpoint_in_order_gives_the_logits_of_its_model(checkpoint):
    lm, read = tiny_models.gpt2(), tiny_models.tokens()
    loaded = load(checkpoint, device="cpu")
    assert torch.equal(tiny_models.logits(loaded.model, read), tiny_models.logits(lm.model, read))
    assert (loaded.name, loaded.context, loaded.source) == ("checkpoint", 16, str(checkpoint))
    assert not any(parameter.requires_grad for parameter in loaded.model.parameters())


def test_a_checkpoint_in_half_precision_runs_in_float32(checkpoint):
    tensors = load_file(checkpoint / "model.safetensors")
    save_file({name: tensor.half() for name, tensor in tensors.items()}, checkpoint / "model.safetensors")
    assert {parameter.dtype for parameter in load(checkpoint).model.parameters()} == {torch.float32}


def test_a_checkpoint_without_its_tokenizer_is_refused(checkpoint):
    for file in checkpoint.glob("tokenizer*"):
        file.unlink()
    with pytest.raises(ValueError, match=r"checkpoint holds no tokenizer \(tokenizer\.json, .*save_pretrained"):
        load(checkpoint)


def test_a_damaged_tokenizer_is_named_by_its_checkpoint(checkpoint):
    (checkpoint / "tokenizer.json").write_text("{", encoding="utf-8")
    with pytest.raises(ValueError, match=r"checkpoint cannot be read as a checkpoint: Expecting property name"):
        load(checkpoint)


def test_a_config_of_another_width_is_found_out(checkpoint):
    configure(checkpoint, n_embd=48)
    with pytest.raises(ValueError, match=r"lacks 0 tensors.*has 28 of another shape.*do not belong together"):
        load(checkpoint)


def test_a_config_of_fewer_blocks_does_not_load_half_a_model(checkpoint):
    configure(checkpoint, n_layer=1)
    with pytest.raises(ValueError, match=r"has 0 of another shape and 6 weights beyond it \(transformer\.h\.1\.attn"):
        load(checkpoint)


def test_an_unknown_architecture_is_said_in_one_line(checkpoint):
    configure(checkpoint, model_type="abacus")
    with pytest.raises(ValueError, match=r"checkpoint cannot be read as a checkpoint: .*`abacus`") as caught:
        load(checkpoint)
    assert "\n" not in str(caught.value)


def test_a_config_that_is_no_json_is_named(checkpoint):
    (checkpoint / "config.json").write_text("{n_embd: 32", encoding="utf-8")
    with pytest.raises(ValueError, match=r"config\.json is not JSON \(.*\); copy the checkpoint again"):
        load(checkpoint)


def test_a_directory_without_weights_is_no_checkpoint(checkpoint):
    (checkpoint / "model.safetensors").unlink()
    with pytest.raises(ValueError, match=r"checkpoint holds no \*\.safetensors file"):
        load(checkpoint)


def test_an_export_whose_factor_has_another_bond_is_refused(export):
    alter(export, FACTOR, lambda left: left[:, :-1])
    with pytest.raises(ValueError, match=r"export: blocks\.0\.mlp\.W_in has factors that do not fit together"):
        load(export)


def test_an_export_whose_core_has_another_bond_is_refused(tmp_path):
    lab = tiny_models.lab("llama", "mpo", "plain", 3)
    lab.kept = 0.4
    out = lab.export(tmp_path / "trains")
    alter(out, "model.layers.1.self_attn.o_proj.core.1", lambda core: core[1:])
    with pytest.raises(ValueError, match=r"trains: blocks\.1\.attn\.W_O has factors that do not fit together"):
        load(out)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        (FACTOR, lambda left: left[:-1], r"factors of blocks\.0\.mlp\.W_in make a matrix \(127, 32\), .* \(128, 32\)"),
        (FACTOR, lambda left: left / 0, r"non-finite values \(nan or inf\) in transformer\.h\.0\.mlp\.c_fc\.left"),
        (FACTOR, lambda left: None, r"blocks\.0\.mlp\.W_in lacks the tensor transformer\.h\.0\.mlp\.c_fc\.left"),
        ("transformer.ln_f.weight", lambda norm: norm[:-1], r"other tensors than .*such as transformer\.ln_f\.weight"),
        ("transformer.ln_f.weight", lambda norm: None, r"other tensors than .*such as transformer\.ln_f\.weight"),
    ],
)
def test_an_export_whose_tensors_were_altered_names_the_tensor(export, name, change, message):
    alter(export, name, change)
    with pytest.raises(ValueError, match=message):
        load(export)


def test_an_export_with_another_config_is_refused(export):
    configure(export, n_layer=1)
    with pytest.raises(ValueError, match=r"compressed\.json describes blocks\.1\.attn\.W_QKV, which its config\.json"):
        load(export)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", r"compressed\.json is not the record of an export"),
        ('{"layers": {}}', r"compressed\.json is not the record of an export"),
        ('{"format": 1}', r"compressed\.json has format 1 and lacks its layers; this version reads 1"),
        ('{"format": 2, "name": "x", "layers": {}}', r"compressed\.json has format 2; this version reads 1"),
    ],
)
def test_a_record_that_no_export_wrote_is_refused(export, content, message):
    (export / "compressed.json").write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        load(export)


@pytest.mark.parametrize("device", ["", "abacus", "mps", "meta", "cuda:x"])
def test_a_device_that_the_library_does_not_run_on_is_refused(device):
    with pytest.raises(ValueError, match=re.escape(f"unknown device {device!r}; give auto, cpu, cuda or cuda:1")):
        resolve_device(device)


def test_a_gpu_beyond_those_here_is_refused_and_the_first_is_the_choice(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert resolve_device("auto") == torch.device("cuda")
    assert resolve_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(ValueError, match="device 'cuda:2' was asked for, but torch sees 2 CUDA devices"):
        resolve_device("cuda:2")


@pytest.fixture
def full_gpu(monkeypatch) -> None:
    """A GPU is chosen, and nothing fits on it."""
    original = torch.nn.Module.to

    def to(module, device):
        if torch.device(device).type == "cuda":
            raise torch.OutOfMemoryError("CUDA out of memory")
        return original(module, device)

    monkeypatch.setattr(torch.nn.Module, "to", to)
    monkeypatch.setattr("workbench.transformer.load.resolve_device", lambda device: torch.device("cuda"))


def test_a_model_too_large_for_the_gpu_runs_on_the_cpu(full_gpu, checkpoint):
    with pytest.warns(RuntimeWarning, match=r"checkpoint needs 0\.00 GiB on cuda.*it runs on the CPU"):
        lm = load(checkpoint)
    assert lm.device.type == "cpu"


def test_a_model_too_large_for_the_gpu_that_was_asked_for_says_what_to_do(full_gpu, checkpoint):
    with pytest.raises(ValueError, match=r"checkpoint needs 0\.00 GiB on cuda.*give device='cpu'"):
        load(checkpoint, device="cuda")
