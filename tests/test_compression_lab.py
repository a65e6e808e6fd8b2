"""The lab: full bonds are the dense model, moves only slice, and what is reported is what is stored."""

import pytest
import tiny_models
import torch

from workbench import CompressionLab
from workbench.compress.curve import pareto
from workbench.decompose.low_rank import LowRank
from workbench.decompose.operator import TrainOperator

KINDS = [
    ("gpt2", "svd", "plain", 2),
    ("gpt2", "svd", "input", 2),
    ("llama", "svd", "input", 2),
    ("gpt2", "mpo", "plain", 3),
]


@pytest.fixture(params=KINDS, ids=lambda kind: "-".join(map(str, kind)))
def lab(request) -> CompressionLab:
    return tiny_models.lab(*request.param)


def test_full_bonds_are_the_dense_model_to_the_last_bit(lab):
    read = tiny_models.tokens()
    assert torch.equal(tiny_models.logits(lab._compressed, read), tiny_models.logits(lab.lm.model, read))
    point = lab.evaluate()
    assert (point.perplexity_ratio, point.estimate.kl, point.kept_params) == (1.0, 0.0, 1.0)


@pytest.mark.parametrize("kept", [0.9, 0.4, 0.1])
def test_a_cut_model_is_the_one_with_its_matrices_multiplied_out(lab, kept):
    lab.kept = kept
    read = tiny_models.tokens()
    ours, plain = tiny_models.logits(lab._compressed, read), tiny_models.logits(tiny_models.densified(lab), read)
    assert not torch.allclose(ours, tiny_models.logits(lab.lm.model, read), atol=1e-3)
    torch.testing.assert_close(ours, plain, atol=1e-4, rtol=1e-4)


def test_moving_a_bond_neither_decomposes_nor_rebuilds_a_matrix(lab, monkeypatch):
    def refuse(*arguments, **named):
        raise AssertionError("a move of a bond computed something")

    for name in ("eigh", "svd", "qr"):
        monkeypatch.setattr(torch.linalg, name, refuse)
    for form in (LowRank, TrainOperator):
        monkeypatch.setattr(form, "dense", refuse)
        monkeypatch.setattr(form, "from_weight", refuse)
    monkeypatch.setattr(torch.Tensor, "__matmul__", refuse)
    lab.kept = 0.3
    lab.keep(0.5, "*.W_O")
    lab.bond["blocks.1.mlp.W_in"] = 3
    assert lab.bond["blocks.1.mlp.W_in"] == 3
    lab.reset()
    assert all(layer.bypassed for layer in lab.layers.values())


def test_the_given_model_is_left_as_it_was(lab):
    read = tiny_models.tokens()
    before = tiny_models.logits(lab.lm.model, read)
    lab.kept = 0.2
    lab.evaluate()
    assert torch.equal(tiny_models.logits(lab.lm.model, read), before)


@pytest.mark.parametrize("kept", [0.8, 0.5, 0.25])
def test_a_share_is_kept_to_within_one_bond_of_each_matrix(lab, kept):
    lab.kept = kept
    assert lab.kept <= kept
    for layer in lab.layers.values():
        dense = layer.uncut.shape[0] * layer.uncut.shape[1]
        assert layer.uncut.truncate(layer.now.bond + 1).n_params > kept * dense


def test_the_numbers_stored_are_those_of_the_factors_and_of_all_that_is_not_a_block_matrix(lab):
    lab.kept = 0.4
    stored = sum(layer.now.n_params for layer in lab.layers.values())
    others = lab.sizes.dense_n_params - sum(matrix.weight.numel() for matrix in lab.matrices.values())
    point = lab.evaluate()
    assert (lab.sizes.n_params, point.n_params, point.bytes) == (
        stored + others,
        stored + others,
        4 * (stored + others),
    )
    assert point.kept_total == pytest.approx((stored + others) / lab.sizes.dense_n_params)


def test_a_pattern_moves_its_matrices_alone():
    lab = tiny_models.lab()
    lab.keep(0.3, "*.W_in")
    moved = {name for name, layer in lab.layers.items() if not layer.bypassed}
    assert moved == {"blocks.0.mlp.W_in", "blocks.1.mlp.W_in"}


def test_a_move_ends_the_estimates_of_the_setting_before():
    lab = tiny_models.lab()
    lab.evaluator._rows = 4
    lab.kept = 0.5
    points = lab.refine()
    first = next(points)
    assert first.estimate.n_windows == 4
    assert lab.point == first
    lab.kept = 0.4
    assert list(points) == []
    assert lab.point is None
    assert lab.curve == ()


def test_a_setting_scored_twice_is_one_point_of_the_curve():
    lab = tiny_models.lab()
    for kept in (0.5, 0.3, 0.5):
        lab.kept = kept
        lab.evaluate()
    assert [round(point.kept_params, 1) for point in lab.curve] == [0.3, 0.5]


def test_the_front_is_what_no_other_point_beats():
    lab = tiny_models.lab()
    for method, metric in (("svd", "plain"), ("mpo", "plain")):
        lab.decompose(method, metric, progress=lambda what, done, total: None)
        for kept in (0.9, 0.7, 0.5, 0.3):
            lab.kept = kept
            lab.evaluate()

    def beaten(point):
        return any(
            (other.n_params, other.perplexity) != (point.n_params, point.perplexity)
            and other.n_params <= point.n_params
            and other.perplexity <= point.perplexity
            for other in lab.curve
        )

    best = {point for point in lab.curve if not beaten(point)}
    assert set(pareto(lab.curve)) == best
    assert len(best) < len(lab.curve)


def test_the_code_makes_the_same_bonds_again(monkeypatch):
    lab = tiny_models.lab()
    lab.kept = 0.9
    lab.kept = 0.6
    lab.keep(0.3, "*.W_in")
    lab.bond["blocks.1.attn.W_O"] = 20
    lab.bond["blocks.1.attn.W_O"] = 5
    monkeypatch.setattr("workbench.explore.compression_lab.load", lambda name, device: tiny_models.gpt2())
    code = lab.code()
    assert code.count("lab.") == 5, "the settings that were undone are not in it"
    made: dict = {"text": tiny_models.TEXT}
    exec(code, made)
    assert dict(made["lab"].bond) == dict(lab.bond)


def test_equal_models_write_the_same_text_and_a_cut_one_another():
    lab = tiny_models.lab()
    assert len(set(lab.sample("tensor", 8))) == 1
    lab.kept = 0.1
    before, after = lab.sample("tensor", 8)
    assert before != after
    assert lab.sample("tensor", 8) == (before, after)
    assert list(lab.write("tensor", 8))[-1] == after


def test_an_interrupted_decomposition_goes_on_where_it_stopped(monkeypatch):
    lab = CompressionLab.from_model(tiny_models.gpt2(), tiny_models.TEXT, max_windows=24)
    made, original = [], LowRank.from_weight.__func__

    def counted(cls, weight, *others):
        if len(made) == 5:
            made.append("interrupt")
            raise KeyboardInterrupt
        made.append(tuple(weight.shape))
        return original(cls, weight, *others)

    monkeypatch.setattr(LowRank, "from_weight", classmethod(counted))
    with pytest.raises(KeyboardInterrupt):
        lab.decompose("svd", "plain", progress=lambda what, done, total: None)
    assert lab.recipe is None
    lab.decompose("svd", "plain", progress=lambda what, done, total: None)
    assert len([shape for shape in made if shape != "interrupt"]) == len(lab.matrices), "none was decomposed twice"
    monkeypatch.undo()
    lab.kept = 0.3
    undisturbed = tiny_models.lab()
    undisturbed.kept = 0.3
    assert lab.evaluate().perplexity == undisturbed.evaluate().perplexity


def test_a_gpu_without_room_leaves_the_work_to_the_cpu(monkeypatch):
    original, tries = LowRank.from_weight.__func__, []

    def full(cls, weight, *others):
        tries.append(weight.shape)
        if len(tries) == 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return original(cls, weight, *others)

    monkeypatch.setattr(LowRank, "from_weight", classmethod(full))
    with pytest.warns(RuntimeWarning, match=r"blocks\.0\.attn\.W_QKV: the GPU has too little free memory"):
        lab = tiny_models.lab()
    assert len(tries) == len(lab.matrices) + 1
    assert set(lab.layers) == set(lab.matrices)


def test_the_frame_says_what_the_lab_holds():
    lab = tiny_models.lab()
    lab.kept = 0.5
    lab.evaluate()
    frame = lab.frame("blocks.1.mlp.W_in")
    layer = lab.layers["blocks.1.mlp.W_in"]
    assert frame.cut == layer.now.bond
    assert frame.values == tuple(layer.uncut.spectrum.values.tolist())
    assert frame.point == lab.curve[-1]
    row = frame.heatmap()[frame.kinds.index("W_in")]
    assert row[1] == layer.uncut.spectrum.discarded_weight(layer.now.bond)
    assert f"{lab.sizes.n_params:,} of {lab.sizes.dense_n_params:,} numbers" in str(frame)


@pytest.mark.gpu
@pytest.mark.parametrize(("method", "metric"), [("svd", "input"), ("mpo", "plain")])
def test_a_gpu_gives_the_numbers_of_the_cpu(method, metric):
    points = []
    for device in ("cpu", "cuda"):
        lab = CompressionLab.from_model("pygpt", device=device, max_windows=8)
        lab.decompose(method, metric)
        lab.kept = 0.5
        points.append(lab.evaluate())
    assert points[0].bonds == points[1].bonds
    assert points[1].perplexity == pytest.approx(points[0].perplexity, rel=1e-3)
