"""Compressed models on disk: factors in safetensors, beside a dense checkpoint of the model's own kind."""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from workbench.compress.layers import BondLinear
from workbench.compress.stored_forms import WHOLE_NUMBERS, restored, stored
from workbench.decompose.protocol import Decomposition
from workbench.spill import held
from workbench.transformer.attention_only import AttentionOnlyConfig, AttentionOnlyLM, is_attention_only
from workbench.transformer.damage import check_kinds, check_sizes, check_tokenizer, damage_named
from workbench.transformer.load import COMPRESSED, LanguageModel, check_checkpoint, check_weights, no_progress_bar
from workbench.transformer.matrices import BlockMatrix, block_matrices, linear, replace_module, shared_copy
from workbench.transformer.shards import SINGLE, checkpoint_files
from workbench.transformer.tables import TABLE_NAMES, is_tied, place_layer, table_matrices
from workbench.whole_files import check_room, new_directory, write_json, write_tensors

FORMAT = 1


def export(
    lm: LanguageModel,
    matrices: Mapping[str, BlockMatrix],
    layers: Mapping[str, BondLinear],
    out: Path,
    record: Mapping,
) -> Path:
    """Writes the compressed `lm`, whose `matrices` run as `layers`, to the new directory `out` and returns it.

    `out` itself loads in this library (factors at the present cut); `out/dense` holds the same matrices
    multiplied out, for plain transformers; that of an attention-only model, whose kind plain transformers has not
    and refuses, loads in this library. A matrix whose factors would be larger is stored multiplied out
    in both. Where the lookup alone of a tied model is cut, both its tables are written, and its config says that they
    are not tied. All or nothing: an interrupt or a full disk leaves no `out`.
    Raises FileExistsError if `out` exists, OSError if its disk has no room.
    """
    dense = densified(lm.model, matrices, layers)
    factored = {name: layer for name, layer in layers.items() if layer.n_params < layer.dense_params}
    tensors = dict(dense.named_parameters())
    described = {}
    for name, layer in factored.items():
        path = matrices[name].path
        for place in (path, matrices[name].looked_up):  # tied tables are listed once
            tensors.pop(f"{place}.weight", None)
        factors, described[name] = stored(layer.now)
        described[name]["path"] = path
        tensors |= {f"{path}.{key}": tensor for key, tensor in factors.items()}
    n_bytes = sum(tensor.nbytes for tensor in (*tensors.values(), *dense.parameters()))
    if not out.exists():
        check_room(out, n_bytes)
    with new_directory(out) as temporary, no_progress_bar():
        write_tensors(temporary / SINGLE, tensors, {"format": "workbench"})
        dense.config.save_pretrained(temporary)  # pyright: ignore
        lm.tokenizer.save_pretrained(temporary)
        dense.save_pretrained(temporary / "dense")  # pyright: ignore
        lm.tokenizer.save_pretrained(temporary / "dense")
        write_json(temporary / COMPRESSED, {"format": FORMAT, "name": lm.name, "layers": described} | dict(record))
    return out


def load_compressed(path: Path, device: torch.device) -> LanguageModel:
    """The model that `export` wrote to `path`, its matrices as factors.

    Raises ValueError, naming the file, if the directory is damaged or incomplete.
    """
    record = _record(path / COMPRESSED)
    check_checkpoint(path)
    check_sizes(path, checkpoint_files(path), are_factors=True)
    tensors = _tensors(path, device)
    check_weights(path, tensors)
    with damage_named(path):
        model = _untrained(path)
        tokenizer = AutoTokenizer.from_pretrained(path, config=model.config, trust_remote_code=False)
        matrices = block_matrices(model)
    check_tokenizer(path, tokenizer.vocab_size, int(model.config.vocab_size))
    if set(record["layers"]) & set(TABLE_NAMES):
        matrices |= table_matrices(model, "both")
    own: set[int] = set()  # biases, which belong to the factors
    for name, description in record["layers"].items():
        matrix = matrices.get(name)
        if matrix is None:
            raise ValueError(f"{path / COMPRESSED} describes {name}, which its config.json has not; export it again.")
        uncut = _decomposition(f"{path}: {name}", description, tensors, matrix.path)
        if uncut.shape != tuple(matrix.weight.shape):
            raise ValueError(
                f"{path}: the factors of {name} make a matrix {uncut.shape}, and its config.json says "
                f"{tuple(matrix.weight.shape)}; export it again."
            )
        layer = BondLinear(None, tensors.pop(f"{matrix.path}.bias", None), uncut)
        place_layer(model, matrix, layer)
        own.add(id(layer.bias))
    expected = {name: tensor.shape for name, tensor in model.named_parameters() if id(tensor) not in own}
    stored = {name: tensor.shape for name, tensor in tensors.items()}
    if expected != stored:
        strange = sorted(name for name in expected | stored if expected.get(name) != stored.get(name))
        raise ValueError(f"{path} has other tensors than its {COMPRESSED} says, such as {strange[0]}; export it again.")
    model.load_state_dict(tensors, strict=False)
    if "embed.W_E" not in record["layers"]:  # factors of a tied table are one layer in both its places
        model.tie_weights()
    name = f"{record['name']} ({path.name})"
    model.to(device)  # pyright: ignore[reportArgumentType]
    return LanguageModel(name, str(path), model.eval().requires_grad_(False), tokenizer)


def _untrained(path: Path) -> PreTrainedModel:
    """A float32 model of the kind and the sizes that the config.json in `path` says."""
    if is_attention_only(path):
        return AttentionOnlyLM(AttentionOnlyConfig.from_pretrained(path)).float()
    config = AutoConfig.from_pretrained(path, trust_remote_code=False)
    return AutoModelForCausalLM.from_config(config, dtype=torch.float32, trust_remote_code=False)


def _tensors(path: Path, device: torch.device) -> dict[str, Tensor]:
    """Every tensor of the export, in one file or in shards, weights in float32 whatever they were.

    Raises ValueError for an index that names files elsewhere or missing ones, and for weights that are whole numbers.
    """
    files = checkpoint_files(path)
    tensors = {name: tensor for file in files for name, tensor in load_file(file, device=str(device)).items()}
    check_kinds(files, [name for name in tensors if name.rpartition(".")[2] not in WHOLE_NUMBERS])
    return {name: tensor if _is_exact(name, tensor) else tensor.float() for name, tensor in tensors.items()}


def _is_exact(name: str, tensor: Tensor) -> bool:
    """Whether a tensor stays as it is: orders of rows, and spectra, whose errors are told in float64."""
    return not tensor.is_floating_point() or ".spectrum." in name


def _record(file: Path) -> dict:
    """What `export` noted. Raises ValueError, naming the file, if it is something else."""
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
        version, whole = record["format"], {"name", "layers"} <= set(record)
    except (ValueError, LookupError, TypeError) as error:
        raise ValueError(f"{file} is not the record of an export ({error}); export it again.") from error
    if version != FORMAT or not whole:
        lacks = " and lacks its layers" if not whole else ""
        raise ValueError(f"{file} has format {version!r}{lacks}; this version reads {FORMAT}: export it again.")
    return record


def densified(model: nn.Module, matrices: Mapping[str, BlockMatrix], layers: Mapping[str, BondLinear]) -> nn.Module:
    """A copy of the model whose cut matrices are multiplied out; everything else is shared."""
    copy = shared_copy(model)
    was_tied = any(matrix.looked_up is not None for matrix in matrices.values()) and is_tied(model)
    for name, layer in layers.items():
        if layer.bypassed:
            continue
        matrix = matrices[name]
        whole = linear(layer.now.dense(), layer.present_bias, matrix.module)
        whole.weight = nn.Parameter(held(whole.weight), requires_grad=False)  # pyright: ignore
        if matrix.applied:
            replace_module(copy, matrix.path, whole)
        if matrix.looked_up is not None:
            made = nn.Embedding(*layer.uncut.shape, device="meta")  # its padding is the config's affair
            made.weight = whole.weight  # pyright: ignore[reportAttributeAccessIssue]  # one parameter, if tied
            replace_module(copy, matrix.looked_up, made)
    if was_tied and not is_tied(copy):
        copy.config.tie_word_embeddings = False  # pyright: ignore
        copy.all_tied_weights_keys = {}  # pyright: ignore
    return copy


def _decomposition(label: str, description: dict, tensors: dict[str, Tensor], path: str) -> Decomposition:
    """Takes one decomposition's tensors out of `tensors`."""

    def taken(name: str) -> Tensor:
        try:
            return tensors.pop(f"{path}.{name}")
        except KeyError:
            raise ValueError(f"{label} lacks the tensor {path}.{name}; export it again.") from None

    try:
        return restored(description, taken)
    except (ValueError, TypeError, LookupError) as error:
        if "lacks the tensor" in str(error):
            raise
        raise ValueError(f"{label} has factors that do not fit together; export it again.") from error
