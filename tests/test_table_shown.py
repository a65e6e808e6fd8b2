"""A cut token table where it is looked at: views, frames, charts, controls, the command line."""

import json

import pytest
import tiny_models
import torch

from workbench import CompressionLab, Recipe, cli
from workbench.explore.one_cut import OneCut, shapes_patterns
from workbench.transformer.capture import activations
from workbench.transformer.reading import anatomy_of
from workbench.transformer.view import view
from workbench.widgets.charts import draw, figures
from workbench.widgets.compression_view import CompressionView
from workbench.widgets.static import still
from workbench.widgets.survival_view import _place_told

QUIET = {"progress": lambda what, done, total: None}
V, D = tiny_models.VOCABULARY, 32
KINDS = [("gpt2", "both"), ("gpt2", "input"), ("llama", "both")]


def made(family: str, table: str) -> CompressionLab:
    """A lab on a tiny model whose table has a bond too; every bond full."""
    lab = CompressionLab.from_model(tiny_models.FAMILIES[family](), tiny_models.TEXT, max_windows=24)
    lab.decompose(Recipe("svd", "plain", table=table), **QUIET)
    return lab


@pytest.mark.parametrize(("family", "table"), KINDS)
def test_the_views_of_the_present_model_draw_the_cut_table_and_give_its_own_values(family, table):
    lab, tokens = made(family, table), tiny_models.tokens()[0]
    lab.kept = 0.4
    own = activations(lab.present, tokens)
    looked_up = lab.present.model.get_input_embeddings()(tokens)
    for path, name, value in (
        ("embed", "embed", looked_up), ("unembed", "logits", own["logits"]), ("model", "logits", own["logits"])
    ):  # fmt: skip
        torch.testing.assert_close(view(lab.present, path, tokens).run()[name], value, atol=1e-4, rtol=1e-4)
    drawn = {mark.name.rpartition("/")[2] for mark in view(lab.present, "embed", tokens).scene.marks}
    assert {"W_E.L", "W_E.R"} <= drawn
    head = {mark.name.rpartition("/")[2] for mark in view(lab.present, "unembed", tokens).scene.marks}
    assert ("W_U" in head) == (table == "input")
    torch.testing.assert_close(anatomy_of(lab.present).W_E.dense().T, lab.layers["embed.W_E"].now.dense())


def test_the_present_model_writes_with_its_cut_table():
    lab = made("gpt2", "both")
    lab.keep(0.1, "embed.W_E")
    dense, present = lab.sample("tensor bond", 4)
    assert dense != present


def test_a_frame_tells_of_the_table_and_draws_the_blocks_alone():
    lab = made("llama", "both")
    lab.kept = 0.4
    frame = lab.frame("unembed.W_U")
    assert frame.kinds[-2:] == ("W_E", "W_U")
    assert frame.block_kinds == frame.kinds[:-2]
    assert [layer.block for layer in frame.layers[-3:]] == [1, None, None]
    assert len(frame.heatmap()) == len(frame.block_kinds)
    assert 0.3 < frame.kept_of("W_E") <= 0.4
    assert "block matrices and table kept" in str(frame)
    assert "table='both'" in lab.code()
    live = figures(frame)
    draw(live, frame)
    assert list(live[1].data[0].y) == list(frame.block_kinds)
    assert not live[1].data[1].x, "no cell is marked"
    assert [label.get_text() for label in still(frame).axes[1].get_yticklabels()] == list(frame.block_kinds)


def test_the_controls_keep_the_table_when_the_recipe_changes_and_move_it():
    lab = made("gpt2", "both")
    shown = CompressionView(lab, prompt="tensor")
    shown.gauge.value = True
    assert lab.recipe == Recipe("svd", "plain", gauge_fixed=True, table="both")
    shown.kinds["W_E"].value = 0.5
    assert 0.4 < lab.layers["embed.W_E"].n_params / (V * D) <= 0.5
    assert all(layer.bypassed for name, layer in lab.layers.items() if name.startswith("blocks."))
    shown.settle(60)


def test_the_table_is_cut_alone_on_a_copy():
    lab = made("llama", "both")
    one, read = OneCut(lab), tiny_models.tokens()
    whole = one.logits(one.read(read)[1])
    one.cut("embed.W_E", 3)
    assert one.state("embed.W_E").bond == 3
    assert not torch.allclose(one.logits(one.read(read)[1]), whole, atol=1e-3)
    one.cut("unembed.W_U", D)
    assert torch.equal(one.logits(one.read(read)[1]), whole)
    assert lab.layers["embed.W_E"].bypassed
    assert [_place_told(name) for name in ("embed.W_E", "blocks.12.mlp.W_in")] == ["embed", "block 12"]


def test_the_patterns_of_every_layer_depend_on_the_lookup_and_of_none_on_the_head():
    assert [shapes_patterns("embed.W_E", layer) for layer in (0, 3)] == [True, True]
    assert not shapes_patterns("unembed.W_U", 3)


def test_the_command_cuts_the_table_too(capsys, monkeypatch):
    monkeypatch.setattr("workbench.transformer.load.load", lambda name, device: tiny_models.gpt2())
    monkeypatch.setattr("workbench.compress.windows.read_text", lambda path: tiny_models.TEXT)
    words = ["compress", "--model", "tiny", "--text", "t.txt", "--method", "svd", "--metric", "plain", "--kept", "0.4"]
    assert cli.main([*words, "--table", "input", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["table"] == "input"
    assert result["bonds"]["embed.W_E"] == int(0.4 * V * D / (V + D))
    assert result["n_params"] > 0.4 * result["dense_n_params"] + V * D / 2
    assert cli.main([*words, "--table", "both"]) == 0
    shown = capsys.readouterr().out
    assert "svd, plain metric, uniform, table: both" in shown
    assert "blocks, table kept" in shown
    assert cli.main([*words, "--table", "tied"]) == 2
    assert "the table is whole, both or input, not 'tied'" in capsys.readouterr().err
