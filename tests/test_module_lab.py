"""Any model's named modules: full bonds are the dense model, reported errors are measured, wrong names are told."""

import copy
import math

import pytest
import tiny_encoders
import tiny_models
import torch
from tiny_encoders import BLOCKS, ENCODERS, one_by_one, output
from torch import nn
from transformers import AlbertConfig, AlbertModel, BertConfig, BertForMaskedLM
from transformers.pytorch_utils import Conv1D

from workbench import CompressionLab, Limit, ModuleLab, Recipe
from workbench.compress.batches import main_output
from workbench.explore.module_lab import ModulePoint

QUIET = {"progress": lambda what, done, total: None}


def module_lab(kind: str, metric: str = "plain", **more) -> ModuleLab:
    """A lab on the blocks of a tiny encoder, decomposed, every bond full."""
    made = ModuleLab(ENCODERS[kind](), BLOCKS[kind], tiny_encoders.batches(kind), **more)
    made.decompose("svd", metric, **QUIET)
    return made


def held_out(kind: str) -> list[dict]:
    """The batches that `module_lab` does not calibrate on."""
    return tiny_encoders.batches(kind)[6:]


def multiplied_out(model: nn.Module, lab: ModuleLab) -> nn.Module:
    """A plain copy of the model with the lab's present matrices: a second way."""
    plain = copy.deepcopy(model)
    for path, layer in lab.layers.items():
        own = plain.get_submodule(path)
        weight = layer.now.dense().T if isinstance(own, Conv1D) else layer.now.dense()
        own.weight = nn.Parameter(weight.clone())
    return plain


class Plain(nn.Module):
    """A model of torch alone: `first` and `second` are used, `unused` is not, `bare` is read by its parent."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.unused, self.bare = (nn.Linear(6, 6) for _ in range(4))
        self.attention = nn.MultiheadAttention(6, 2, batch_first=True)
        self.norm = nn.LayerNorm(6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        seen = self.norm(self.second(torch.tanh(self.first(x))))
        return seen @ self.bare.weight.T + self.attention(seen, seen, seen)[0]


PLAIN_INPUTS = [{"x": torch.randn(4, 3, 6, generator=torch.Generator().manual_seed(k))} for k in range(4)]


@pytest.mark.parametrize("metric", ["plain", "input"])
@pytest.mark.parametrize("kind", ENCODERS)
def test_full_bonds_are_the_dense_model_to_the_last_bit(kind, metric):
    lab, model = module_lab(kind, metric), ENCODERS[kind]()
    for batch in held_out(kind):
        assert torch.equal(output(lab.model, batch), output(model, batch))
    point = lab.evaluate()
    same = point.similarity
    assert (same.cosine, same.cosine_error, same.relative_error, point.kept_params) == (1.0, 0.0, 0.0, 1.0)
    assert same.n_samples == 30
    assert same.n_positions == {"bert": 30, "vit": 30 * 17, "t5": 30 * 7}[kind]


@pytest.mark.parametrize("kind", ENCODERS)
def test_a_cut_model_and_its_export_are_the_one_with_its_matrices_multiplied_out(kind, tmp_path):
    lab, model = module_lab(kind), ENCODERS[kind]()
    lab.kept = 0.4
    out = lab.export(tmp_path / "out")
    loaded = type(model).from_pretrained(out).eval()
    for batch in held_out(kind)[:2]:
        cut, dense = output(lab.model, batch), output(model, batch)
        assert not torch.allclose(cut, dense, atol=1e-2)
        torch.testing.assert_close(cut, output(multiplied_out(model, lab), batch), atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(cut, output(loaded, batch), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", ENCODERS)
def test_the_error_of_every_matrix_is_what_its_outputs_lose_on_the_calibration_batches(kind):
    lab, model = module_lab(kind, "input"), ENCODERS[kind]()
    rows: dict[str, list[torch.Tensor]] = {path: [] for path in lab.layers}
    for path in rows:
        model.get_submodule(path).register_forward_pre_hook(
            lambda module, inputs, path=path: rows[path].append(inputs[0].flatten(0, -2))
        )
    for batch in tiny_encoders.batches(kind)[:6]:
        for sample in one_by_one(batch):
            output(model, sample)
    lab.kept = 0.5
    for path, layer in lab.layers.items():
        x = torch.cat(rows[path]).double()
        lost = x @ (lab.matrices[path].weight - layer.now.dense()).double().T
        assert layer.now.error() == pytest.approx(float(lost.square().sum(1).mean().sqrt()), rel=1e-3), path


@pytest.mark.parametrize("kind", ENCODERS)
def test_the_similarity_is_that_of_every_position_without_padding(kind):
    lab, model = module_lab(kind), ENCODERS[kind]()
    lab.kept = 0.6
    cosines, lost, whole = [], 0.0, 0.0
    for batch in held_out(kind):
        for sample in one_by_one(batch):
            y, dense = (output(own, sample).double().flatten(0, -2) for own in (lab.model, model))
            cosines.append(torch.cosine_similarity(y, dense, dim=-1).mean())
            lost, whole = lost + float((y - dense).square().sum()), whole + float(dense.square().sum())
    similarity = lab.evaluate().similarity
    means = torch.stack(cosines)
    assert similarity.cosine == pytest.approx(float(means.mean()), abs=1e-5)
    assert similarity.cosine_error == pytest.approx(float(means.std() / math.sqrt(len(means))), rel=1e-3)
    assert similarity.relative_error == pytest.approx(math.sqrt(lost / whole), rel=1e-3)


def test_padding_counts_neither_in_moments_nor_in_hidden_states():
    model, batches = ENCODERS["bert"]().bert, tiny_encoders.batches("bert")  # pyright: ignore
    other = [{**batch, "input_ids": batch["input_ids"] * batch["attention_mask"] + 1} for batch in batches]
    same = [{**batch, "input_ids": batch["input_ids"] + 1} for batch in batches]
    points = []
    for inputs in (other, same):
        for batch in inputs:
            batch["input_ids"] %= tiny_encoders.VOCABULARY
        lab = ModuleLab(model, "encoder.*", inputs)
        lab.decompose("svd", "input", **QUIET)
        lab.kept = 0.5
        points.append(lab.evaluate().similarity)
    assert points[0].n_positions == 6 * (12 + 8 + 9 + 10 + 11)
    assert points[0].cosine == pytest.approx(points[1].cosine, abs=1e-5)
    assert points[0].relative_error == pytest.approx(points[1].relative_error, abs=1e-4)


def test_the_outputs_differ_more_the_less_is_kept():
    lab = module_lab("vit", "input")
    points = []
    for kept in (0.9, 0.6, 0.3, 0.1):
        lab.kept = kept
        points.append(lab.evaluate())
    cosines = [point.similarity.cosine for point in points]
    errors = [point.similarity.relative_error for point in points]
    assert cosines == sorted(cosines, reverse=True)
    assert errors == sorted(errors)
    assert [point.kept_params <= kept for point, kept in zip(points, (0.9, 0.6, 0.3, 0.1), strict=True)] == [True] * 4


@pytest.mark.parametrize("family", tiny_models.FAMILIES)
def test_a_language_model_is_cut_as_the_compression_lab_cuts_it(family):
    lm = tiny_models.FAMILIES[family]()
    first = tiny_models.lab(family, "svd", "input")
    paths = [matrix.path for matrix in first.matrices.values()]
    windows = first._calibration.windows
    assert bool(windows.scored.all())
    rows = {"input_ids": windows.tokens[:, :-1], "attention_mask": windows.scored.long(), "use_cache": False}
    second = ModuleLab(lm.model, paths, [rows], calibration=[rows])
    second.decompose("svd", "input", **QUIET)
    first.keep(0.4)
    second.keep(0.4)
    for matrix in first.matrices.values():
        ours, theirs = second.layers[matrix.path].now, first.layers[matrix.name].now
        assert ours.bond == theirs.bond
        torch.testing.assert_close(ours.dense(), theirs.dense(), atol=1e-5, rtol=1e-4)
    read = tiny_models.tokens()
    torch.testing.assert_close(
        tiny_models.logits(second.model, read), tiny_models.logits(first._compressed, read), atol=1e-3, rtol=1e-3
    )
    assert (second.sizes.n_params, second.sizes.bytes) == (first.sizes.n_params, first.sizes.bytes)


def test_a_metric_scores_the_running_model_beside_the_dense_one():
    asked = []

    def score(model: nn.Module) -> float:
        asked.append(model)
        return float(output(model, held_out("bert")[0]).argmax(-1).float().mean())

    lab = module_lab("bert", score=score)
    lab.kept = 0.2
    point = lab.evaluate()
    lab.evaluate()
    assert [model is lab.model for model in asked].count(True) == 2
    assert len(asked) == 3
    assert point.dense_score == score(ENCODERS["bert"]())
    assert point.score == score(multiplied_out(ENCODERS["bert"](), lab))
    row = point.as_dict()
    assert (row["method"], row["score"], row["cosine"]) == ("svd", point.score, point.similarity.cosine)
    assert isinstance(point, ModulePoint)
    assert module_lab("bert").evaluate().score is None


def test_bonds_move_by_name_by_pattern_and_by_a_limit_in_bytes():
    lab = module_lab("t5")
    path = "decoder.block.1.layer.1.EncDecAttention.k"
    lab.bond[path] = 3
    assert [name for name, layer in lab.layers.items() if not layer.bypassed] == [path]
    lab.keep(0.3, "encoder.*")
    assert lab.bond[path] == 3
    assert {name.split(".")[0] for name, layer in lab.layers.items() if not layer.bypassed} == {"encoder", "decoder"}
    n_bytes = int(lab.sizes.dense_bytes * 0.8)
    lost = {}
    for budget in ("uniform", "global"):
        lab.keep(Limit(bytes=n_bytes), budget=budget)
        assert 0.97 * n_bytes < lab.evaluate().bytes <= n_bytes
        lost[budget] = sum(layer.now.error() ** 2 for layer in lab.layers.values() if not layer.bypassed)
    assert lost["global"] < lost["uniform"]
    lab.reset()
    assert lab.evaluate().kept_params == 1.0


def test_the_given_model_is_left_as_it_was_and_runs_without_dropout():
    model = ENCODERS["bert"]().train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    lab = ModuleLab(model, BLOCKS["bert"], tiny_encoders.batches("bert"))
    lab.decompose("svd", "plain", **QUIET)
    lab.kept = 0.2
    assert lab.evaluate() == lab.evaluate()
    assert model.training
    assert not lab.model.training
    assert {name: type(module) for name, module in model.named_modules()} == {
        name: type(module) for name, module in ENCODERS["bert"]().named_modules()
    }
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_a_model_of_torch_alone_is_compared_by_its_only_output():
    lab = ModuleLab(Plain(), ["first", "second"], PLAIN_INPUTS)
    lab.decompose("mpo", "plain", **QUIET)
    assert lab.evaluate().similarity.n_positions == 2 * 4 * 3
    with pytest.raises(TypeError, match=r"a Plain has no save_pretrained; keep the state_dict of lab\.model"):
        lab.export("nowhere")


def test_an_interrupted_decomposition_goes_on_and_a_cache_is_found_again(tmp_path):
    told = []

    def interrupt(what: str, done: int, total: int) -> None:
        told.append(done)
        if (what, done) == ("decompose", 3):
            raise KeyboardInterrupt

    lab = ModuleLab(ENCODERS["vit"](), BLOCKS["vit"], tiny_encoders.batches("vit"))
    with pytest.raises(KeyboardInterrupt):
        lab.decompose("svd", "plain", progress=interrupt)
    with pytest.raises(RuntimeError, match=r"nothing is decomposed yet; call lab\.decompose\(\) first"):
        lab.evaluate()
    done = dict(lab._partial[1])  # pyright: ignore
    assert len(done) == 3
    lab.decompose("svd", "plain", cache=tmp_path, **QUIET)
    assert all(lab.layers[name].uncut is form for name, form in done.items())
    assert len(list(tmp_path.glob("*.safetensors"))) == len(lab.layers) - 3


BAD_NAMES = [
    ("bert", "encoder.*", ValueError, r"no Linear or Conv1D matches 'encoder\.\*'; the model has "
     r"bert\.encoder\.layer\.\*\.attention\.self\.query, .* and 2 more\."),
    ("bert", [], ValueError, r"no modules are named; give paths or patterns such as bert\.encoder\.layer\.\*\."),
    ("bert", "bert.encoder.layer.1.attention", TypeError, r"attention is a BertAttention, not Linear or Conv1D"),
    ("bert", "bert.embeddings.word_embeddings", TypeError,
     r"word_embeddings is a Embedding that multiplies with weight itself, not Linear or Conv1D"),
    ("plain", "attention", TypeError, r"attention is a MultiheadAttention that multiplies with in_proj_weight itself"),
    ("plain", "*", TypeError, r"attention\.out_proj is a NonDynamicallyQuantizableLinear, a kind of linear layer"),
    ("plain", ["first", "unused"], ValueError, r"unused was never called on the held-out batches"),
    ("plain", ["first", "bare"], ValueError, r"bare was never called .* its parent multiplies with its weight itself"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "modules", "error", "message"), BAD_NAMES)
def test_a_name_that_cannot_be_cut_is_told(kind, modules, error, message):
    model = Plain() if kind == "plain" else ENCODERS[kind]()
    inputs = PLAIN_INPUTS if kind == "plain" else tiny_encoders.batches(kind)
    with pytest.raises(error, match=message):
        ModuleLab(model, modules, inputs)


def test_a_tied_matrix_is_told_and_a_module_called_for_every_layer_is_one_matrix():
    sizes = {"vocab_size": 60, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    masked = BertForMaskedLM(BertConfig(**sizes, intermediate_size=48, max_position_embeddings=16))
    inputs = tiny_encoders.batches("bert")
    with pytest.raises(ValueError, match=r"decoder\.weight is the same tensor as .*word_embeddings\.weight, and a cut"):
        ModuleLab(masked, "cls.*", inputs)
    twice = Plain()
    twice.second = twice.first
    with pytest.raises(ValueError, match=r"first\.weight is the same tensor as second\.weight"):
        ModuleLab(twice, "first", PLAIN_INPUTS)
    albert = AlbertModel(AlbertConfig(**sizes, intermediate_size=48, max_position_embeddings=16, embedding_size=8))
    lab = ModuleLab(albert, "*.query", inputs)
    lab.decompose("svd", "input", **QUIET)
    assert len(lab.layers) == 1
    n_rows = 6 * (12 + 8 + 9 + 10 + 11)
    assert lab.calibration is not None
    assert lab.calibration.n_tokens == 2 * n_rows, "one row a token at each of two layers"


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.int8])
def test_a_weight_of_other_numbers_than_floats_of_32_bits_or_more_is_told(dtype):
    model = Plain()
    model.first.weight = nn.Parameter(torch.ones(6, 6, dtype=dtype), requires_grad=False)
    with pytest.raises(TypeError, match=rf"the weight of first is a Parameter of {dtype}, not a plain parameter of fl"):
        ModuleLab(model, "first", PLAIN_INPUTS)


class Doubtful(nn.Module):
    """Calls its layer, and multiplies with its weight besides."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x) @ self.layer.weight


def test_a_parent_that_multiplies_with_a_weight_besides_calling_it_is_found_out():
    with pytest.raises(
        ValueError, match=r"the outputs on batch 0 are not finite: .* multiplies with its weight beside"
    ):
        ModuleLab(Doubtful(), "layer", PLAIN_INPUTS)


def test_batches_are_mappings_of_tensors_and_two_or_more():
    model = ENCODERS["bert"]()
    with pytest.raises(TypeError, match="batch 1, a dict, has no tensors; give mappings of the model's argument names"):
        ModuleLab(model, BLOCKS["bert"], [tiny_encoders.batches("bert")[0], {"input_ids": [[1, 2]]}])
    with pytest.raises(ValueError, match="1 batch cannot be halved; give two or more, or calibration batches besides"):
        ModuleLab(model, BLOCKS["bert"], tiny_encoders.batches("bert", 1))
    with pytest.raises(ValueError, match="a comparison of outputs needs one or more batches"):
        ModuleLab(model, BLOCKS["bert"], [], calibration=tiny_encoders.batches("bert", 1))


def test_masks_of_one_shape_that_differ_are_told():
    inputs = tiny_encoders.batches("t5")
    for batch in inputs:
        batch["decoder_input_ids"] = batch["input_ids"]
        batch["decoder_attention_mask"] = batch["attention_mask"].flip(0)
    with pytest.raises(ValueError, match=r"decoder_attention_mask and another mask .* the one shape \(5, 12\)"):
        ModuleLab(ENCODERS["t5"](), BLOCKS["t5"], inputs)


def test_the_main_output_is_the_logits_else_the_last_hidden_state_else_the_first_tensor_of_numbers():
    loss, first, second = torch.ones(()), torch.ones(2, 3), torch.ones(2, 4)
    whole = torch.ones(2, dtype=torch.int64)
    assert main_output({"loss": loss, "last_hidden_state": first, "logits": second}) is second
    assert main_output({"pooler_output": second, "last_hidden_state": first}) is first
    assert main_output({"loss": loss, "best": whole, "masks": second}) is second
    assert main_output((loss, whole, first, second)) is first
    assert main_output(first) is first


def test_an_output_that_is_an_image_is_one_vector_a_sample():
    class Imaging(Plain):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.first(x).unflatten(-1, (2, 3))

    lab = ModuleLab(Imaging(), "first", PLAIN_INPUTS)
    lab.decompose("svd", "plain", **QUIET)
    lab.bond["first"] = 2
    similarity = lab.evaluate().similarity
    cut, dense = (
        torch.cat([model(**batch).flatten(1) for batch in PLAIN_INPUTS[2:]]).double().detach()
        for model in (lab.model, lab._dense)
    )
    assert similarity.n_positions == similarity.n_samples == 8
    assert similarity.cosine == pytest.approx(float(torch.cosine_similarity(cut, dense).mean()), abs=1e-6)


class Told(nn.Module):
    """Gives no numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 6)

    def forward(self, x: torch.Tensor) -> dict:
        return {"loss": self.layer(x).sum(), "best": self.layer(x).argmax(-1)}


def test_outputs_that_cannot_be_compared_are_told():
    with pytest.raises(TypeError, match="the model gives a dict in which no floating-point tensor is to be compared"):
        ModuleLab(Told(), "layer", PLAIN_INPUTS)


def test_too_few_rows_for_a_moment_name_the_matrix():
    lab = ModuleLab(ENCODERS["bert"](), ["bert.pooler.*", "bert.encoder.*"], tiny_encoders.batches("bert"))
    with pytest.raises(ValueError, match=r"bert\.pooler\.dense received 30 rows .* and has 32 inputs; give at least"):
        lab.decompose("svd", "input", **QUIET)
    lab.decompose("svd", "plain", **QUIET)
    assert "bert.pooler.dense" in lab.bond


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        (Recipe("tucker", "plain"), "tucker stacks the heads .* give svd, mpo, kronecker, cp or ring"),
        (Recipe("svd", "two-sided"), "the two-sided metric needs the gradients of a loss"),
        (Recipe("svd", "plain", table="input"), r"a token table \('input'\) is no named module"),
    ],
)
def test_a_recipe_for_the_blocks_of_a_language_model_is_told(recipe, message):
    lab = ModuleLab(ENCODERS["vit"](), BLOCKS["vit"], tiny_encoders.batches("vit"))
    with pytest.raises(ValueError, match=message):
        lab.decompose(recipe)


def test_a_wrong_move_moves_nothing():
    lab = module_lab("vit")
    with pytest.raises(ValueError, match="any model's modules share a budget uniform or global, not 'measured'"):
        lab.keep(0.5, budget="measured")
    with pytest.raises(ValueError, match=r"no matrix matches 'encoder\.\*'; the names are like layers\.0\.attention"):
        lab.keep(0.5, "encoder.*")
    with pytest.raises(ValueError, match=r"no matrix 'layers\.0\.attention\.q'"):
        lab.bond["layers.0.attention.q"] = 3
    assert lab.kept == 1.0


def test_a_model_that_is_compressed_already_is_told(tmp_path):
    lab = module_lab("vit")
    with pytest.raises(ValueError, match="this ViTModel is compressed already; compress the dense one instead"):
        ModuleLab(lab.model, BLOCKS["vit"], tiny_encoders.batches("vit"))
    (tmp_path / "out").mkdir()
    with pytest.raises(FileExistsError, match="already exists and is left as it is"):
        lab.export(tmp_path / "out")
    with pytest.raises(RuntimeError, match=r"nothing is decomposed yet; call lab\.decompose\(\) first"):
        CompressionLab.from_model(tiny_models.gpt2(), tiny_models.TEXT, max_windows=24).layers  # noqa: B018
