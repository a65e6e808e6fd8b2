"""The token table with a bond: one of a tied model in both its uses, two of an untied one, and what each counts."""

from dataclasses import replace

import pytest
import tiny_models
import torch
from torch import Tensor, nn

from workbench import CompressionLab, Recipe
from workbench.compress.decompositions import decomposition
from workbench.compress.layers import Lookup
from workbench.compress.methods.kronecker import row_blocks
from workbench.decompose.metric import PLAIN, Metric
from workbench.decompose.operator import TrainOperator
from workbench.explore.allocation import Limit
from workbench.explore.alone_cut import AloneCut
from workbench.transformer.matrices import BlockMatrix
from workbench.transformer.tables import layer_of, table_matrices

QUIET = {"progress": lambda what, done, total: None}
V, D = tiny_models.VOCABULARY, 32
KINDS = [("gpt2", "both"), ("gpt2", "input"), ("llama", "both"), ("llama", "input")]
RECIPES = {
    "svd": Recipe("svd", "plain"),
    "pivots": Recipe("svd", "input", gauge_fixed=True),
    "mpo": Recipe("mpo", "plain", sites=3),
    "mpo, refitted": Recipe("mpo", "two-sided"),
    "kronecker": Recipe("kronecker", "plain"),
    "kronecker, permuted": Recipe("kronecker", "plain", permuted=True),
    "kronecker, refitted": Recipe("kronecker", "input"),
    "tucker": Recipe("tucker", "plain"),
    "cp": Recipe("cp", "plain"),
    "ring": Recipe("ring", "plain"),
}


def made(family: str, table: str) -> CompressionLab:
    """A lab on a tiny model whose table has a bond too; every bond full."""
    lab = CompressionLab.from_model(tiny_models.FAMILIES[family](), tiny_models.TEXT, max_windows=24)
    lab.decompose(Recipe("svd", "plain", table=table), **QUIET)
    return lab


def said(model: nn.Module) -> Tensor:
    return tiny_models.logits(model, tiny_models.tokens())


@pytest.mark.parametrize(("family", "table"), KINDS)
def test_full_bonds_are_the_dense_model_to_the_last_bit_and_the_table_comes_last(family, table):
    lab = made(family, table)
    assert torch.equal(said(lab.present.model), said(lab.lm.model))
    names = ["embed.W_E", "unembed.W_U"] if (family, table) == ("llama", "both") else ["embed.W_E"]
    assert list(lab.layers)[-len(names) :] == names
    assert {name for name in lab.matrices if not name.startswith("blocks.")} == set(names)
    assert lab.sizes.n_params == lab.sizes.dense_n_params == sum(p.numel() for p in lab.lm.model.parameters())
    assert str(lab.recipe) == f"svd, plain metric, with the {'input ' if table == 'input' else ''}table"


@pytest.mark.parametrize(("family", "table"), KINDS)
def test_a_model_that_is_cut_everywhere_is_the_one_with_its_matrices_multiplied_out(family, table):
    lab = made(family, table)
    lab.kept = 0.4
    assert not lab.layers["embed.W_E"].bypassed
    torch.testing.assert_close(said(lab.present.model), said(tiny_models.densified(lab)), atol=1e-4, rtol=1e-4)


def check_cut_everywhere(family: str, recipe: Recipe) -> None:
    """At two fifths of their numbers the tables run as their dense matrices would, and not as the whole ones."""
    lm, model, matrices, layers = tiny_models.table_lab(family, recipe)
    assert torch.equal(said(model), said(lm.model))
    for layer in layers.values():
        layer.cut(layer.uncut.bond_within(0.4 * V * D))
        assert not layer.bypassed
        assert layer.n_params <= max(0.4 * V * D, layer.ladder.n_params[0])
    assert not torch.allclose(said(model), said(lm.model), atol=1e-3)
    plain = tiny_models.multiplied_out(lm, matrices, layers)
    torch.testing.assert_close(said(model), said(plain), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=list(RECIPES))
def test_every_method_cuts_a_table(recipe):
    check_cut_everywhere("gpt2", replace(recipe, table="both"))


@pytest.mark.parametrize("recipe", [RECIPES["mpo"], RECIPES["kronecker"]], ids=["mpo", "kronecker"])
def test_a_train_runs_as_two_tables_too(recipe):
    check_cut_everywhere("llama", replace(recipe, table="both"))


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=list(RECIPES))
def test_a_vocabulary_of_a_prime_size_is_no_obstacle(recipe):
    matrix = BlockMatrix("embed.W_E", "wte", nn.Embedding(53, 12), 4, "wte")
    read = torch.rand(53, dtype=torch.float64) + 0.1
    form = decomposition(recipe, matrix, Metric(None, read) if recipe.refit else PLAIN)
    cut = form.truncate(form.bond_within(0.5 * 53 * 12))
    index = torch.tensor([[0, 52], [7, 7]])
    torch.testing.assert_close(cut.rows_at(index), cut.dense()[index], atol=1e-5, rtol=1e-4)


def test_one_row_blocks_of_a_table_halve_it_twice_as_tqcompressor_does():
    assert row_blocks(50257, 768) == ((50257, 1), (192, 4))
    assert row_blocks(53, 7) == ((53, 1), (1, 7)), "the nearest divisor"
    assert row_blocks(53, 31) == ((1, 53), (31, 1)), "a width without one makes a pair"
    halved = torch.kron(torch.randn(V, D // 4), torch.kron(torch.randn(1, 2), torch.randn(1, 2)))
    form = TrainOperator.from_weight(halved, None, *row_blocks(V, D))
    assert form.truncate(1).error_bound() < 1e-3 * float(halved.norm()), "a table halved twice is one product"
    _, _, _, layers = tiny_models.table_lab("gpt2", replace(RECIPES["kronecker"], table="input"))
    ladder = layers["embed.W_E"].ladder
    assert ladder.bonds == (1, 2, 3, 4)
    assert ladder.n_params == tuple(bond * (V * D // 4 + 4) for bond in ladder.bonds)


def test_site_dimensions_are_given_to_the_table_by_its_kind():
    dims = (("W_E", (16, 4), (2, 16)),)
    *_, layers = tiny_models.table_lab("gpt2", Recipe("mpo", "plain", dims=dims, table="both"))
    form = layers["embed.W_E"].uncut
    assert isinstance(form, TrainOperator)
    assert (form.out_dims, form.in_dims) == ((16, 4), (2, 16))


def test_another_recipe_puts_the_table_back():
    lab = made("gpt2", "both")
    lab.keep(0.2, "embed.W_E")
    lab.decompose(Recipe("svd", "plain", table="input"), **QUIET)
    lab.keep(0.2, "embed.W_E")
    assert lab.present.model.get_output_embeddings() is lab.lm.model.get_output_embeddings()
    lab.decompose("svd", "plain", **QUIET)
    assert not any(isinstance(module, Lookup) for module in lab.present.model.modules())
    assert torch.equal(said(lab.present.model), said(lab.lm.model))
    assert "embed.W_E" not in lab.layers


def test_numbers_count_once_while_tied_and_twice_once_the_lookup_alone_is_cut():
    total = sum(p.numel() for p in tiny_models.gpt2().model.parameters())
    both, alone = made("gpt2", "both"), made("gpt2", "input")
    for lab in (both, alone):
        lab.bond["embed.W_E"] = 5
    factors = 5 * (V + D)
    assert both.sizes.n_params == total - V * D + factors
    assert alone.sizes.n_params == total + factors, "the head keeps the table, and the factors come on top"
    assert alone.sizes.bytes == 4 * alone.sizes.n_params
    assert both.kept == alone.kept < 1
    assert alone.evaluate().kept_total > 1
    alone.bond["embed.W_E"] = D
    assert alone.sizes.n_params == total
    untied = made("llama", "both")
    dense = untied.sizes.n_params
    untied.bond["embed.W_E"], untied.bond["unembed.W_U"] = 5, 7
    assert untied.sizes.n_params == dense - 2 * V * D + 12 * (V + D)
    one = made("llama", "input")
    one.bond["embed.W_E"] = 5
    assert one.sizes.n_params == dense - V * D + factors, "an untied lookup leaves the head nothing new to keep"


def test_a_limit_that_a_cut_of_the_lookup_would_only_strain_leaves_it_whole():
    lab = made("gpt2", "input")
    lab.bond["embed.W_E"] = 3
    limit = int(0.7 * lab.sizes.dense_n_params)
    for budget in ("uniform", "global"):
        lab.keep(Limit(n_params=limit), budget=budget)
        assert lab.layers["embed.W_E"].bypassed
        assert 0.9 * limit < lab.sizes.n_params <= limit
    with pytest.raises(ValueError, match=r"embed\.W_E is only looked up, and a cut of it leaves the head a"):
        lab.keep(Limit(bytes=4 * limit), "embed.*")
    lab.kept = 0.4
    assert not lab.layers["embed.W_E"].bypassed
    untied = made("llama", "both")
    untied.keep(Limit(n_params=int(0.7 * untied.sizes.dense_n_params)))
    assert not untied.layers["embed.W_E"].bypassed
    untied.keep(Limit(multiply_adds=int(0.4 * untied.sizes.dense_bond_params)))
    assert untied.layers["embed.W_E"].bypassed, "a lookup of a whole table multiplies nothing"
    assert not untied.layers["unembed.W_U"].bypassed
    with pytest.raises(ValueError, match="a cut of it adds multiply-adds; limit the share kept"):
        untied.keep(Limit(multiply_adds=20_000), "embed.*")


def test_a_limit_counts_the_head_of_a_lookup_that_was_cut_before():
    lab = made("gpt2", "input")
    lab.bond["embed.W_E"] = 3
    limit = int(0.9 * lab.sizes.dense_n_params)
    lab.keep(Limit(n_params=limit), "blocks.*")
    assert 0.85 * limit < lab.sizes.n_params <= limit
    assert lab.bond["embed.W_E"] == 3


def test_budgets_and_a_cut_of_the_table_alone_have_it_among_the_matrices():
    lab = made("gpt2", "both")
    lab.keep(0.4, "embed.W_E")
    bond, points = lab.bond["embed.W_E"], lab.evaluate().estimate
    lab.reset()
    alone = AloneCut(lab.present.model, lab.matrices, lab.evaluator)
    assert alone.added_loss("embed.W_E", bond) == pytest.approx(points.log_ratio, abs=1e-4)
    assert lab.layers["embed.W_E"].bypassed, "the present setting is not touched"
    for budget in ("global", "uniform"):
        lab.keep(0.5, budget=budget)
        assert lab.kept <= 0.5
    profile = lab.sweep(**QUIET)
    assert len(profile.points["embed.W_E"]) > 3
    lab.keep(0.5, budget="measured")
    assert lab.kept <= 0.5


class Scaled(nn.Embedding):
    """An embedding that does more than take rows."""

    def forward(self, index: Tensor) -> Tensor:
        return 2 * super().forward(index)


@pytest.mark.parametrize(
    ("path", "module", "message"),
    [
        ("transformer.wte", Scaled(V, D), "wte of GPT2LMHeadModel, of kind Scaled, may do more than take rows"),
        ("transformer.wte", nn.Embedding(V, D, max_norm=1.0), "of kind Embedding, renormalises rows; leave the table"),
        (
            "lm_head",
            nn.Sequential(nn.Linear(D, V)),
            "lm_head of GPT2LMHeadModel, of kind Sequential, is no linear layer",
        ),
    ],
)
def test_a_table_that_is_more_than_a_table_is_refused(path, module, message):
    model = tiny_models.gpt2().model
    parent, _, name = path.rpartition(".")
    setattr(model.get_submodule(parent), name, module)
    with pytest.raises(ValueError, match=message):
        table_matrices(model, "both")


def test_words_and_models_that_mean_no_table_are_refused():
    with pytest.raises(ValueError, match="the table is whole, both or input, not 'tied'"):
        Recipe("svd", table="tied")
    with pytest.raises(ValueError, match="Linear keeps no embedding and head under"):
        table_matrices(nn.Linear(3, 4), "input")
    lm, _, matrices, _ = tiny_models.table_lab("gpt2", Recipe("svd", "plain", table="input"))
    with pytest.raises(TypeError, match=r"embed\.W_E is a Embedding without a bond; decompose the model first"):
        layer_of(lm.model, matrices["embed.W_E"])
