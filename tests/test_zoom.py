"""Zooming: every part opens by a click on it, no view runs the model again, and what is shown is the model's own."""

import time
from dataclasses import replace

import pytest
import torch
from tiny_models import FAMILIES

from workbench import load
from workbench.explore.inspect import LegFrame, TensorFrame
from workbench.explore.zoom import Zoom
from workbench.explore.zoom_targets import path_name
from workbench.program import Program
from workbench.rounding import largest_relative_error
from workbench.transformer.by_hand import induction_by_hand
from workbench.transformer.capture import activations
from workbench.transformer.circuit import qk_circuit
from workbench.transformer.reading import anatomy_of
from workbench.transformer.view import above, view
from workbench.transformer.weight import Weight

TEXT = "tensor bond"
HAND = torch.tensor([0, 4, 7, 2, 4, 7])


@pytest.fixture(scope="module")
def gpt2() -> Zoom:
    return Zoom(FAMILIES["gpt2"](), TEXT)


@pytest.fixture
def llama() -> Zoom:
    return Zoom(FAMILIES["llama"](), TEXT)


def opens(zoom: Zoom, path: str) -> dict[str, set[str | None]]:
    """What a click opens, by the tensor that is clicked on."""
    zoom.open(path)
    found: dict[str, set[str | None]] = {}
    for mark in zoom.diagram.scene.marks:
        found.setdefault(mark.tensor or "dot", set()).add(zoom.target(mark.name))
    return found


def test_from_the_model_every_box_opens_its_part_and_every_sum_its_block(gpt2):
    assert opens(gpt2, "model") == {
        "tokens": {"embed"}, "blocks.0.resid_pre": {"embed"}, "logits": {"unembed"},
        "blocks.0.attn_out": {"blocks.0.attn"}, "blocks.0.mlp_out": {"blocks.0.mlp"},
        "blocks.1.attn_out": {"blocks.1.attn"}, "blocks.1.mlp_out": {"blocks.1.mlp"},
        "blocks.0.resid_mid": {"blocks.0"}, "blocks.0.resid_post": {"blocks.0"},
        "blocks.1.resid_mid": {"blocks.1"}, "blocks.1.resid_post": {"blocks.1"},
    }  # fmt: skip
    by_leg = {wire.leg: gpt2.target(wire.name, "wire") for wire in gpt2.diagram.scene.wires}
    assert by_leg["tokens"] == "embed"
    assert by_leg["blocks.0.resid_pre"] == "blocks.0"
    assert by_leg["blocks.1.resid_mid"] == "blocks.1"


def test_in_a_block_a_click_tells_attention_from_the_mlp(gpt2):
    found = opens(gpt2, "blocks.1")
    attention = {"ln1", "pattern", "scores", "scaled", "q", "k", "v", "W_Q", "b_K", "W_O", "b_O", "result"}
    assert {path for name in attention for path in found[name]} == {"blocks.1.attn"}
    assert {path for name in ("ln2", "W_in", "post", "b_out", "mlp") for path in found[name]} == {"blocks.1.mlp"}
    assert found["resid_pre"] == found["resid_mid"] == found["dot"] == {None}
    wires = {wire.name: gpt2.target(wire.name, "wire") for wire in gpt2.diagram.scene.wires}
    assert wires["mlp/f"] == "blocks.1.mlp"
    assert wires["result/s"] == "blocks.1.attn"
    assert wires["resid_mid/resid_mid.0/d"] is None


def test_in_a_layer_a_click_opens_the_chosen_head_and_in_a_head_its_circuit(gpt2):
    gpt2.open("blocks.1.attn")
    gpt2.head = 1
    found = opens(gpt2, "blocks.1.attn")
    assert found["W_Q"] == found["pattern"] == found["W_O"] == {"blocks.1.attn.head.1"}
    assert found["b_O"] == {None}, "the bias after all heads is no head's own"
    found = opens(gpt2, "blocks.1.attn.head.1")
    here = "blocks.1.attn.head.1"
    assert found["W_Q"] == found["W_K"] == found["b_Q"] == found["pattern"] == {f"{here}.QK"}
    assert found["W_V"] == found["W_O"] == found["v"] == {f"{here}.OV"}
    assert found["ln1"] == {None, f"{here}.QK", f"{here}.OV"}, "as a norm, as what QK reads, and as what OV reads"
    assert found["resid_pre"] == {None}


def test_a_circuit_opens_into_its_singular_values_and_those_into_nothing(gpt2):
    here = "blocks.0.attn.head.0"
    assert opens(gpt2, f"{here}.QK") == {"W_Q": {f"{here}.QK.svd"}, "W_K": {f"{here}.QK.svd"}}
    assert gpt2.target("k", "wire") == f"{here}.QK.svd"
    assert opens(gpt2, f"{here}.full_OV") == {
        "W_U": {"unembed"}, "W_O": {f"{here}.OV"}, "W_V": {f"{here}.OV"}, "W_E": {"embed"},
    }  # fmt: skip
    assert set().union(*opens(gpt2, f"{here}.OV.svd").values()) == {None}
    assert set().union(*opens(gpt2, "blocks.0.mlp").values()) == {None}
    found = opens(gpt2, "direct_path")
    assert found["W_E"] == found["pos_embed"] == {"embed"}
    assert found["W_U"] == found["ln_final"] == {"unembed"}
    assert gpt2.target("nothing of that name") is None


def test_grouped_heads_open_by_their_number_among_query_heads(llama):
    llama.open("blocks.1.attn")
    assert llama.n_heads == 4
    llama.head = 3
    found = opens(llama, "blocks.1.attn")
    assert found["W_K"] == found["R"] == {"blocks.1.attn.head.3"}
    found = opens(llama, "blocks.1.attn.head.3")
    assert found["R"] == {"blocks.1.attn.head.3.QK"}
    assert opens(llama, "blocks.1")["W_gate"] == {"blocks.1.mlp"}


def test_a_factor_that_query_key_and_value_share_opens_what_it_is_drawn_in():
    anatomy = anatomy_of(FAMILIES["gpt2"]())
    block = anatomy.blocks[1]
    shared = torch.randn(5, 32)
    attn = block.attn
    pairs = [
        Weight.pair(name, {"h": 2, "k": 16}, {"d": 32}, (torch.randn(32, 5), shared), "W_QKV.R")
        for name in ("W_Q", "W_K", "W_V")
    ]
    attn = replace(attn, W_Q=pairs[0], W_K=pairs[1], W_V=pairs[2])
    zoom = Zoom(replace(anatomy, blocks=(anatomy.blocks[0], replace(block, attn=attn))), HAND)
    here = "blocks.1.attn.head.0"
    assert opens(zoom, "blocks.1.attn")["W_QKV.R"] == {here}
    found = opens(zoom, here)
    assert found["W_QKV.R"] == {f"{here}.QK", f"{here}.OV"}
    assert found["W_Q.L"] == {f"{here}.QK"}
    assert found["W_V.L"] == {f"{here}.OV"}
    assert set().union(*opens(zoom, f"{here}.QK").values()) == {f"{here}.QK.svd"}


@pytest.mark.parametrize("model", ["gpt2", "llama", "by hand"])
def test_what_a_click_opens_is_there_and_leads_back(model):
    zoom = Zoom(induction_by_hand(), HAND) if model == "by hand" else Zoom(FAMILIES[model](), TEXT)
    seen, waiting = set(), ["model"]
    while waiting:
        path = waiting.pop()
        seen.add(path)
        zoom.open(path)
        names = [mark.name for mark in zoom.diagram.scene.marks]
        targets = {zoom.target(name) for name in names} | {None}
        waiting += sorted({*zoom.children, *(t for t in targets if t)} - seen - set(waiting))
        zoom.up()
        assert zoom.path == above(path)
    heads = {path for path in seen if ".head." in path}
    assert len(heads) == 7 * len(zoom.anatomy.heads)


def test_the_model_is_run_once_for_each_setting_and_opening_a_layer_runs_nothing(monkeypatch):
    ran = []
    run = Program.run
    monkeypatch.setattr(Program, "run", lambda self, arrays: ran.append(self.out) or run(self, arrays))
    zoom = Zoom(FAMILIES["gpt2"](), TEXT)
    assert ran.count("logits") == 2, "the model, and within it the box that makes the logits"
    ran.clear()
    for path in ("blocks.1", "blocks.1.attn", "blocks.1.attn.head.1", "blocks.1.attn.head.1.QK", "blocks.1.mlp"):
        zoom.open(path)
    assert ran == []
    zoom.open("model")
    zoom.frame()
    assert ran == []
    zoom.fold = True
    zoom.fold = False
    assert ran.count("blocks.0.resid_pre") == 0
    assert len([out for out in ran if out == "logits"]) == 2, "one more pass, folded; the first is kept"


def test_any_view_of_pygpt_opens_within_three_tenths_of_a_second():
    zoom = Zoom("pygpt", "def read_config(path):\n    with open(path) as")
    paths = ["blocks.5", "blocks.5.attn", "blocks.5.attn.head.2", "blocks.5.attn.head.2.QK", "blocks.5.mlp", "model"]
    taken = {path: [] for path in paths}
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)  # on a busy machine several wait for each other, which counts as work
    for _ in range(3):
        for path in paths:
            start = time.process_time()
            zoom.open(path)
            zoom.frame()
            taken[path].append(time.process_time() - start)
    torch.set_num_threads(n_threads)
    slow = {path: sorted(times)[1] for path, times in taken.items() if sorted(times)[1] > 0.3}
    assert not slow


def test_what_is_selected_is_the_models_own_value(gpt2):
    own = activations(FAMILIES["gpt2"](), TEXT)
    gpt2.open("blocks.1.attn.head.1")
    gpt2.select("result/pattern")
    frame = gpt2.frame()
    assert isinstance(frame.shown, TensorFrame)
    assert frame.shown.norm == pytest.approx(float(own["blocks.1.pattern"][1].norm()), rel=1e-5)
    assert frame.pattern is not None
    wanted = own["blocks.1.pattern"][1]
    assert largest_relative_error(wanted, torch.tensor(frame.pattern.heatmap)) < 1e-5
    assert frame.target == "blocks.1.attn.head.1.QK"
    gpt2.open("blocks.1.attn")
    for head in (1, 0):
        gpt2.head = head
        frame = gpt2.frame()
        assert frame.pattern is not None
        assert largest_relative_error(own["blocks.1.pattern"][head], torch.tensor(frame.pattern.heatmap)) < 1e-5
    gpt2.open("blocks.1.attn.head.1")
    gpt2.select("result/k", "wire")
    assert isinstance(gpt2.frame().shown, LegFrame)
    gpt2.open("model")
    gpt2.select("blocks.1.attn_out")
    shown = gpt2.frame().shown
    assert isinstance(shown, TensorFrame)
    assert shown.norm == pytest.approx(float(own["blocks.1.attn_out"].norm()), rel=1e-5)


def test_next_tokens_are_those_of_the_models_own_logits(llama):
    lm = FAMILIES["llama"]()
    shares = activations(lm, TEXT)["logits"].softmax(-1)
    for path in ("model", "unembed", "blocks.1.logit_lens"):
        llama.open(path)
        rows = llama.frame().next_tokens
        assert [row.token for row in rows] == list(TEXT)
        for row, own in zip(rows, shares, strict=True):
            assert row.likeliest[0][0] == lm.tokenizer.decode([int(own.argmax())])
            assert row.likeliest[0][1] == pytest.approx(float(own.max()), rel=1e-4)
            assert [share for _, share in row.likeliest] == sorted((s for _, s in row.likeliest), reverse=True)
    llama.open("blocks.1.mlp")
    assert llama.frame().next_tokens == ()


@pytest.mark.parametrize("fold", [False, True])
def test_the_spectrum_of_a_circuit_is_that_of_its_dense_matrix(gpt2, fold):
    gpt2.fold = fold
    matrix = qk_circuit(gpt2.anatomy, 1, 0, fold).dense()
    for path in ("blocks.1.attn.head.0.QK", "blocks.1.attn.head.0.QK.svd"):
        gpt2.open(path)
        spectrum = gpt2.frame().spectrum
        assert spectrum is not None
        wanted = torch.linalg.svdvals(matrix.double())[:16]
        assert spectrum.values.tolist() == pytest.approx(wanted.tolist(), rel=1e-4)
        assert "16 singular values, effective rank" in str(gpt2.frame())
    gpt2.fold = False


def test_the_cost_of_a_view_is_that_of_its_plans_and_of_the_model_that_of_its_parts(gpt2):
    lm = FAMILIES["gpt2"]()
    total = 0
    for path in ("embed", "blocks.0", "blocks.1", "unembed"):
        gpt2.open(path)
        own = view(lm, path, TEXT).cost().cost
        assert gpt2.frame().cost == own
        total += own
    gpt2.open("model")
    assert gpt2.frame().cost == total


def test_without_tokens_weights_can_be_looked_at_and_circuits_run():
    zoom = Zoom(FAMILIES["gpt2"]())
    frame = zoom.frame()
    assert (frame.tokens, frame.cost, frame.next_tokens) == ((), None, ())
    assert "no tokens" in str(frame)
    zoom.open("blocks.0.attn.head.1")
    zoom.select("result/W_O")
    shown = zoom.frame().shown
    assert isinstance(shown, TensorFrame)
    assert shown.norm == pytest.approx(float(zoom.anatomy.head(0, 1).W_O.dense().norm()), rel=1e-5)
    zoom.select("result/pattern")
    shown = zoom.frame().shown
    assert isinstance(shown, TensorFrame)
    assert shown.dtype == ""
    assert zoom.frame().pattern is None
    zoom.open("blocks.0.attn.head.1.QK")
    assert zoom.frame().spectrum is not None


def test_the_chosen_head_moves_a_heads_view_and_back_returns(gpt2):
    gpt2.open("blocks.0.attn.head.1.OV")
    assert gpt2.head == 1
    gpt2.head = 0
    assert gpt2.path == "blocks.0.attn.head.0.OV"
    gpt2.open("embed")
    assert gpt2.n_heads == 0
    gpt2.back()
    assert gpt2.path == "blocks.0.attn.head.0.OV"
    fresh = Zoom(FAMILIES["gpt2"]())
    assert not fresh.has_before
    fresh.back()
    fresh.up()
    assert fresh.path == "model"
    assert not fresh.has_before


def test_a_frame_prints_where_it_is_and_what_it_opens_into():
    zoom = Zoom(induction_by_hand(), HAND)
    zoom.open("blocks.1.attn")
    zoom.select("pattern")
    text = str(zoom.frame())
    assert text.startswith("induction by hand: model › blocks.1 › attn\n6 tokens; ")
    assert "opens into head 0" in text
    assert "pattern of head 0: heatmap: 6 × 6 numbers" in text
    assert text.endswith("opens blocks.1.attn.head.0")
    zoom.open("unembed")
    assert str(zoom.frame()).splitlines()[-1].startswith("'7' → '2' ")


def test_bad_input_is_refused_in_words_and_changes_nothing(gpt2):
    gpt2.open("blocks.1.attn")
    with pytest.raises(ValueError, match="tiny-gpt2 has no block 7; it has 0 to 1"):
        gpt2.open("blocks.7")
    assert gpt2.path == "blocks.1.attn"
    with pytest.raises(ValueError, match=r"blocks.1.attn of tiny-gpt2 has no head 2; it has 0 to 1"):
        gpt2.head = 2
    with pytest.raises(TypeError, match="induction by hand is made by hand and has no tokenizer"):
        Zoom(induction_by_hand(), "words")
    with pytest.raises(FileNotFoundError, match="no directory with a checkpoint"):
        Zoom("./no such model")


@pytest.mark.parametrize(
    ("path", "name"),
    [("model", "model"), ("blocks.5", "blocks.5"), ("blocks.5.attn.head.11", "head 11"), ("blocks.0.mlp", "MLP"),
     ("blocks.5.attn.head.1.QK.svd", "SVD"), ("blocks.0.logit_lens", "logit lens"), ("direct_path", "direct path")],
)  # fmt: skip
def test_a_path_is_named_by_its_last_step(path, name):
    assert path_name(path) == name


def test_a_model_is_loaded_by_its_name(repository):
    zoom = Zoom("pygpt")
    assert zoom.anatomy.name == load("pygpt", "cpu").name
