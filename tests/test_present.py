"""The lab's present model, opened by a view: a cut matrix is drawn as its factors, and the view gives the model's own
values."""

import pytest
import tiny_models
import torch
from torch import Tensor

from workbench import CompressionLab
from workbench.compress.layers import BondLinear
from workbench.rounding import largest_relative_error, tolerance
from workbench.transformer.capture import activations
from workbench.transformer.circuit import ov_circuit, qk_circuit
from workbench.transformer.matrices import shared_copy
from workbench.transformer.reading import anatomy_of
from workbench.transformer.view import view

KINDS = [("gpt2", "svd", "plain", 2), ("gpt2", "svd", "input", 2), ("gpt2", "mpo", "plain", 2)]
KINDS += [("llama", "svd", "plain", 2), ("llama", "mpo", "plain", 3)]
PARTS = ("blocks.{}", "blocks.{}.attn", "blocks.{}.mlp", "blocks.{}.attn.head.1")


@pytest.fixture(params=KINDS, ids=lambda kind: "-".join(map(str, kind)))
def lab(request) -> CompressionLab:
    """A tiny model, most of it cut; W_O of block 0 and W_in of block 1 are whole and bypassed."""
    made = tiny_models.lab(*request.param)
    made.kept = 0.4
    for name in ("blocks.0.attn.W_O", "blocks.1.mlp.W_in"):
        made.bond[name] = made.layers[name].uncut.full_bond
        assert made.layers[name].bypassed
    return made


def own_values(lab: CompressionLab, tokens: Tensor) -> dict[str, Tensor]:
    return activations(lab.present, tokens)


def sizes(lab: CompressionLab, path: str) -> dict[str, set[int]]:
    """The size of every leg of every input of a view, by the leg's name."""
    diagram = view(lab.present, path, tiny_models.tokens()[0])
    found: dict[str, set[int]] = {}
    for step in diagram.program.steps:
        for node in getattr(getattr(step, "network", None), "nodes", ()):
            array = diagram.arrays.get(node.tensor or node.name)
            for axis, leg in enumerate(node.legs if array is not None else ()):
                found.setdefault(leg, set()).add(array.shape[axis])
    return found


@pytest.mark.parametrize("fold", [False, True], ids=["drawn", "folded"])
def test_a_view_of_the_present_model_gives_the_present_models_own_values(lab, fold):
    tokens = tiny_models.tokens()[0]
    own, uncut = own_values(lab, tokens), activations(lab.lm, tokens)
    assert largest_relative_error(uncut["logits"], own["logits"]) > 0.01, "the cuts matter"
    compared = set()
    for layer in range(2):
        for path in PARTS[:3]:
            for name, value in view(lab.present, path.format(layer), tokens, fold).run().items():
                wanted = own.get(f"blocks.{layer}.{name}")
                if wanted is None or (fold and name in ("ln1", "ln2")):
                    continue
                error = largest_relative_error(wanted, value.reshape(wanted.shape))
                assert error <= tolerance(wanted.dtype), f"{path.format(layer)}: {name}: {error:.1e}"
                compared.add(name)
    assert compared >= {"q", "k", "v", "pattern", "z", "attn_out", "resid_mid", "pre", "post", "mlp_out", "resid_post"}
    error = largest_relative_error(own["logits"], view(lab.present, "model", tokens, fold).result())
    assert error <= tolerance(torch.float32)


def test_the_present_models_own_values_are_those_of_the_multiplied_out_weights(lab):
    read = tiny_models.tokens()
    own = own_values(lab, read[0])["logits"]
    plain = tiny_models.logits(tiny_models.densified(lab), read[:1])[0]
    torch.testing.assert_close(own, plain, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("path", PARTS)
def test_every_part_of_the_present_model_is_drawn(lab, path):
    for layer in range(2):
        assert view(lab.present, path.format(layer), tiny_models.tokens()[0]).scene.marks


def test_a_matrix_cut_by_svd_is_drawn_as_its_factors_whose_bond_has_its_size():
    lab = tiny_models.lab()
    lab.bond["blocks.1.attn.W_QKV"] = 5
    lab.bond["blocks.1.mlp.W_out"] = 3
    legs = sizes(lab, "blocks.1")
    assert {leg: size for leg, size in legs.items() if leg.startswith("r_")} == {"r_QKV": {5}, "r_out": {3}}
    names = {mark.name.rpartition("/")[2] for mark in view(lab.present, "blocks.1.mlp").scene.marks}
    assert {"W_out.L", "W_out.R", "W_in"} <= names, "and the one that is whole as one tensor"


def test_grouped_heads_are_cut_matrix_by_matrix():
    lab = tiny_models.lab("llama")
    lab.bond["blocks.0.attn.W_K"] = 4
    lab.bond["blocks.0.attn.W_O"] = 7
    legs = sizes(lab, "blocks.0.attn")
    assert {leg: size for leg, size in legs.items() if leg.startswith("r_")} == {"r_K": {4}, "r_O": {7}}


def test_a_train_is_drawn_as_the_matrix_it_stands_for():
    lab = tiny_models.lab("gpt2", "mpo")
    lab.bond["blocks.1.mlp.W_in"] = 2
    drawn = anatomy_of(lab.present).blocks[1].mlp
    assert drawn is not None
    assert torch.equal(drawn.W_in.dense(), lab.layers["blocks.1.mlp.W_in"].now.dense())
    assert not any(leg.startswith("r_") for leg in sizes(lab, "blocks.1.mlp"))


def test_a_cut_bond_is_drawn_thinner():
    lab, tokens = tiny_models.lab(), tiny_models.tokens()[0]

    def width() -> float:
        scene = view(lab.present, "blocks.0.mlp", tokens).scene
        return next(wire.width for wire in scene.wires if wire.leg == "r_in")

    lab.bond["blocks.0.mlp.W_in"] = 20
    wide = width()
    lab.bond["blocks.0.mlp.W_in"] = 2
    assert width() < wide


def test_a_heads_circuits_have_at_most_the_rank_of_the_cut():
    lab = tiny_models.lab()
    lab.bond["blocks.0.attn.W_QKV"] = 3
    lab.bond["blocks.0.attn.W_O"] = 2
    anatomy = anatomy_of(lab.present)
    qk, ov = (circuit(anatomy, 0, 1).spectrum for circuit in (qk_circuit, ov_circuit))
    assert qk.error(3) <= 1e-6 * float(qk.values[0]) < float(qk.values[2])
    assert ov.error(2) <= 1e-6 * float(ov.values[0]) < float(ov.values[1])


def test_what_is_opened_after_a_move_is_as_it_is_cut_then_and_the_name_says_how():
    lab, tokens = tiny_models.lab(), tiny_models.tokens()[0]
    assert lab.present.name == "tiny-gpt2 cut to 100.0% (svd, plain metric)"
    held = lab.present
    before = activations(held, tokens)["logits"]
    assert torch.equal(before, activations(lab.lm, tokens)["logits"]), "uncut, every layer is the original one"
    lab.kept = 0.3
    assert not torch.allclose(activations(held, tokens)["logits"], before, atol=1e-3)
    assert lab.present.name == f"tiny-gpt2 cut to {lab.kept:.1%} (svd, plain metric)"
    assert (lab.present.source, lab.present.tokenizer) == (lab.lm.source, lab.lm.tokenizer)


def test_running_a_copy_neither_copies_factors_nor_moves_bonds(lab):
    copied = shared_copy(lab.present.model)
    layers = [layer for layer in copied.modules() if isinstance(layer, BondLinear)]
    assert len(layers) == len(lab.layers)
    for own, theirs in zip(lab.layers.values(), layers, strict=True):
        assert theirs is not own
        assert theirs.uncut is own.uncut
        assert theirs.now is own.now
        theirs.cut(1)
        assert theirs.now.bond == 1
    assert min(layer.now.bond for layer in lab.layers.values()) > 1


def test_there_is_no_present_model_before_a_decomposition():
    lab = CompressionLab.from_model(tiny_models.gpt2(), tiny_models.TEXT, max_windows=24)
    with pytest.raises(RuntimeError, match=r"nothing is decomposed yet; call lab\.decompose"):
        _ = lab.present
