"""A checkpoint's tensors read one at a time from where they lie; what is no whole checkpoint is refused by name."""

import json
import struct
from pathlib import Path

import pytest
import tiny_models
import torch
from safetensors.torch import load_file, save_file

from workbench.transformer.shards import INDEX, stored_tensors
from workbench.transformer.skeleton import skeleton
from workbench.transformer.streamed_blocks import StreamedBlocks


def saved(folder: Path, family: str = "llama", dtype: torch.dtype = torch.float32) -> Path:
    """A tiny model in many small shards."""
    lm = tiny_models.FAMILIES[family]()
    lm.model.to(dtype).save_pretrained(folder, max_shard_size="8KB")
    lm.tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def checkpoint(tmp_path) -> Path:
    return saved(tmp_path / "checkpoint")


def index(folder: Path, change) -> None:
    listed = json.loads((folder / INDEX).read_text())
    change(listed["weight_map"])
    (folder / INDEX).write_text(json.dumps(listed))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_every_tensor_is_read_as_safetensors_reads_it(tmp_path, dtype, monkeypatch):
    monkeypatch.setattr("workbench.transformer.shards._CHUNK", 1000)  # no multiple of a row
    folder = saved(tmp_path, dtype=dtype)
    whole = {name: tensor for file in folder.glob("*.safetensors") for name, tensor in load_file(file).items()}
    found = stored_tensors(folder)
    assert len({tensor.file for tensor in found.values()}) > 3
    assert set(found) == set(whole)
    for name, tensor in found.items():
        assert (tensor.dtype, tensor.shape, tensor.n_params) == (dtype, tuple(whole[name].shape), whole[name].numel())
        assert torch.equal(tensor.read(), whole[name].float())
        assert torch.equal(torch.cat([chunk.clone() for chunk in tensor.chunks()]), whole[name].flatten())
    rows = torch.tensor([5, 0, 5])
    table = "model.embed_tokens.weight"
    assert torch.equal(found[table].rows(rows), whole[table][rows].float())


def test_a_single_file_needs_no_index(tmp_path):
    lm = tiny_models.gpt2()
    lm.model.save_pretrained(tmp_path)
    lm.tokenizer.save_pretrained(tmp_path)
    assert torch.equal(stored_tensors(tmp_path)["transformer.wte.weight"].read(), lm.model.transformer.wte.weight)


@pytest.mark.parametrize("file", ["../elsewhere.safetensors", "/etc/elsewhere.safetensors", "model.bin", 3])
def test_an_index_that_names_anything_but_a_shard_beside_it_is_refused(checkpoint, file):
    (checkpoint.parent / "elsewhere.safetensors").write_bytes(b"")
    index(checkpoint, lambda listed: listed.update({"lm_head.weight": file}))
    with pytest.raises(ValueError, match=rf"index\.json (names {file!r}; a shard|is no index of shards)"):
        stored_tensors(checkpoint)


def test_an_index_that_names_a_missing_shard_is_refused(checkpoint):
    index(checkpoint, lambda listed: listed.update({"lm_head.weight": "lost.safetensors"}))
    with pytest.raises(ValueError, match=r"index\.json names lost\.safetensors, which is not there"):
        stored_tensors(checkpoint)


def test_an_index_that_names_the_wrong_shard_is_refused(checkpoint):
    def swap(listed: dict) -> None:
        listed["lm_head.weight"] = next(file for file in listed.values() if file != listed["lm_head.weight"])

    index(checkpoint, swap)
    with pytest.raises(ValueError, match=r"index\.json says that .* holds lm_head\.weight, and it does not"):
        stored_tensors(checkpoint)


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"weight_map": 3}'])
def test_an_index_that_is_none_is_refused(checkpoint, content):
    (checkpoint / INDEX).write_text(content)
    with pytest.raises(ValueError, match=r"index\.json is no index of shards"):
        stored_tensors(checkpoint)


def test_shards_without_an_index_are_refused(checkpoint):
    (checkpoint / INDEX).unlink()
    with pytest.raises(ValueError, match=r"holds neither model\.safetensors nor model\.safetensors\.index\.json"):
        stored_tensors(checkpoint)


def test_a_truncated_shard_is_named(checkpoint):
    file = next(iter(stored_tensors(checkpoint).values())).file
    file.write_bytes(file.read_bytes()[:-7])
    with pytest.raises(ValueError, match=rf"{file.name} is not a whole safetensors file"):
        stored_tensors(checkpoint)


def test_a_shard_that_is_cut_short_while_it_is_read_is_named(checkpoint):
    tensor = stored_tensors(checkpoint)["lm_head.weight"]
    tensor.file.write_bytes(tensor.file.read_bytes()[: tensor.offset + 5])
    with pytest.raises(ValueError, match=r"safetensors ends within lm_head\.weight; copy it again"):
        tensor.read()


def test_a_pickle_is_refused(checkpoint):
    for file in checkpoint.glob("*.safetensors"):
        file.unlink()
    (checkpoint / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(ValueError, match=r"holds pytorch_model\.bin, a pickle"):
        stored_tensors(checkpoint)


def test_integers_are_no_weights(checkpoint):
    file = stored_tensors(checkpoint)["lm_head.weight"].file
    save_file(load_file(file) | {"lm_head.weight": torch.zeros(3, 4, dtype=torch.int8)}, file)
    with pytest.raises(
        ValueError, match=r"holds lm_head\.weight as I8; a checkpoint is streamed in F64, F32, F16, BF16"
    ):
        stored_tensors(checkpoint)


def test_an_export_and_what_is_no_folder_are_not_streamed(checkpoint):
    with pytest.raises(FileNotFoundError, match=r"nowhere is no directory; a checkpoint is streamed from one"):
        stored_tensors(checkpoint.parent / "nowhere")
    (checkpoint / "compressed.json").write_text("{}")
    with pytest.raises(ValueError, match=r"checkpoint is a compressed model already"):
        stored_tensors(checkpoint)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_number_that_is_none_is_told_by_its_tensor(checkpoint, value):
    tensor = stored_tensors(checkpoint)["lm_head.weight"]
    with open(tensor.file, "r+b") as handle:
        handle.seek(tensor.offset + 4 * (33 * 32 + 5))
        handle.write(struct.pack("<f", value))
    for read in (tensor.read, lambda: list(tensor.chunks()), lambda: tensor.rows(torch.tensor([1, 33]))):
        with pytest.raises(ValueError, match=r"holds non-finite values \(nan or inf\) in lm_head\.weight"):
            read()
    assert tensor.rows(torch.tensor([1, 32])).isfinite().all()


def configure(folder: Path, **changes) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"intermediate_size": 47}, r"asks for model\.layers\.0\.mlp\.gate_.* \(47, 32\), and .* has \(48, 32\)"),
        ({"num_hidden_layers": 3}, r"asks for model\.layers\.2\..*, and the checkpoint lacks it"),
        ({"num_hidden_layers": 1}, r"holds 9 weights of blocks that its config\.json does not know, such as model"),
        ({"model_type": "qwen2"}, r"is a qwen2 model; those of gpt2, llama, mistral can be streamed"),
    ],
)  # fmt: skip
def test_a_config_that_its_weights_do_not_fit_is_found_out(checkpoint, changes, message):
    configure(checkpoint, **changes)
    with pytest.raises(ValueError, match=message):
        skeleton(checkpoint)


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_blocks_run_one_at_a_time_have_the_streams_of_the_whole_model(tmp_path, family):
    lm, read = tiny_models.FAMILIES[family](), tiny_models.tokens()
    opened = skeleton(saved(tmp_path, family))
    blocks, seen = StreamedBlocks(opened, torch.device("cpu")), []
    given = []
    for block in lm.model.base_model.children():
        if isinstance(block, torch.nn.ModuleList):
            for one in block:
                one.register_forward_hook(lambda module, inputs, output: given.append(output))
    tiny_models.logits(lm.model, read)
    stream = blocks.embedded(read)
    for index, wanted in enumerate(given):
        stream = blocks.block(index)(stream, lambda name, x, y: seen.append((name, x.shape[-1], y.shape[-1])))
        torch.testing.assert_close(stream, wanted, atol=1e-6, rtol=1e-6)
    assert sorted(seen) == sorted((name, *reversed(opened.shape(matrix))) for name, matrix in opened.matrices.items())


def test_tensors_saved_from_the_bare_model_are_found_without_its_prefix(tmp_path):
    lm = tiny_models.gpt2()
    lm.model.transformer.save_pretrained(tmp_path)
    lm.tokenizer.save_pretrained(tmp_path)
    found = skeleton(tmp_path).stored["transformer.h.1.mlp.c_fc.weight"]
    assert (found.name, found.shape) == ("h.1.mlp.c_fc.weight", (32, 128))
