"""What the lab does beyond cutting: healing, undoing, bonds one by one, and the code that says it all."""

import pytest
import tiny_models
import torch

from workbench import CompressionLab, Recipe
from workbench.compress.heal_recipe import HealRecipe

QUIET = {"progress": lambda what, done, total: None}


@pytest.fixture
def lab() -> CompressionLab:
    made = tiny_models.lab("gpt2", "svd", "plain")
    made.kept = 0.3
    return made


def test_healing_stores_as_much_and_says_what_the_dense_model_says_more_nearly(lab):
    before, stored = lab.evaluate().estimate, lab.sizes
    report = lab.heal(HealRecipe(20, learning_rate=0.05, warmup=2, check_every=5), **QUIET)
    assert report.best_step > 0
    assert report.after < report.before
    assert lab.sizes == stored
    assert lab.evaluate().estimate.kl < before.kl
    assert lab.repairs.done == (f"healed {report.best_step} steps",)
    assert lab.point.after == lab.repairs.done
    assert "healed" in str(lab.frame())
    lab.undo()
    assert lab.evaluate().estimate == before


def test_healing_that_is_left_early_keeps_its_best_and_moves_end_it(lab):
    steps = lab.healing(HealRecipe(50, learning_rate=0.05, warmup=2, check_every=2), **QUIET)
    for _ in range(6):
        next(steps)
    steps.close()
    assert lab.repairs.done == (f"healed {lab.healed.best_step} steps",)
    bare = lab.healing(HealRecipe(50, learning_rate=0.05, warmup=2, check_every=2), **QUIET)
    next(bare)
    lab.bond["blocks.0.mlp.W_in"] = 3
    assert len(list(bare)) <= 1, "the model that was being healed is not there any more"
    assert lab.repairs.done == ()


def test_what_was_scored_before_healing_stays_beside_what_is_scored_after(lab):
    lab.evaluate()
    lab.heal(HealRecipe(6, learning_rate=0.05, warmup=2, check_every=2), **QUIET)
    lab.evaluate()
    assert [len(point.after) for point in lab.curve] == [0, 1]
    assert lab.curve[0].as_dict()["after"] == ()


def test_a_train_takes_one_size_a_bond():
    lab = tiny_models.lab("gpt2", "mpo", "plain", sites=3)
    name = "blocks.0.mlp.W_in"
    full = lab.layers[name].uncut.train.full_bonds
    lab.bond[name] = (full[0], 2)
    assert lab.layers[name].now.train.bonds == (full[0], 2)
    assert f"lab.bond['{name}'] = ({full[0]}, 2)" in lab.code()
    with pytest.raises(ValueError, match=r"blocks\.0\.mlp\.W_in: a train of 2 bonds is cut by that many sizes, not 3"):
        lab.bond[name] = (1, 2, 3)
    assert lab.layers[name].now.train.bonds == (full[0], 2)


def test_the_code_makes_the_setting_again(lab):
    lab.decompose(Recipe("svd", "two-sided", gauge_fixed=True), **QUIET)
    lab.keep(0.5, budget="global")
    lab.compensate(**QUIET)
    code = lab.code()
    assert "from workbench import CompressionLab, Recipe" in code
    assert "lab.decompose(Recipe(method='svd', metric='two-sided'" in code
    assert "lab.keep(0.5, budget='global')" in code
    assert "lab.compensate()" in code
    again = tiny_models.lab()
    lines = [line for line in code.split("\n") if line.startswith("lab.") and "from_model" not in line]
    for line in lines:
        exec(line, {"lab": again, "Recipe": Recipe})
    assert again.evaluate().perplexity == pytest.approx(lab.evaluate().perplexity, rel=1e-6)


def test_the_prediction_is_that_of_the_two_sided_metric_and_of_a_bare_cut(lab):
    assert lab.predicted_loss is None
    lab.decompose("svd", "two-sided", **QUIET)
    lab.kept = 0.5
    harms = [layer.now.error() ** 2 / 2 for layer in lab.layers.values() if not layer.bypassed]
    assert lab.predicted_loss == pytest.approx(sum(harms))
    assert "predicted from the cut alone" in str(lab.frame())
    lab.compensate(**QUIET)
    assert lab.predicted_loss is None


def test_the_two_sided_moment_is_the_mean_over_what_the_model_may_say():
    from workbench.compress.calibrate import calibrate
    from workbench.compress.windows import Windows

    lm = tiny_models.gpt2()
    rows = torch.randint(2, 40, (2, 9), generator=torch.Generator().manual_seed(0))
    windows = Windows(rows.repeat(400, 1), torch.ones(800, 8, dtype=torch.bool))
    name = "blocks.1.mlp.W_out"
    measured = calibrate(lm.model, windows, gradients=True).gradient_moments[name]
    module = dict(lm.model.named_modules())[tiny_models.lab().matrices[name].path]
    outputs = {}
    handle = module.register_forward_hook(lambda m, given, out: outputs.update(out=out))
    embedded = lm.model.get_input_embeddings()(rows[:, :-1]).detach().requires_grad_(True)
    logits = lm.model(inputs_embeds=embedded, use_cache=False).logits
    handle.remove()
    # Labels at different positions are independent: the moment is the sum over positions of what each one's label adds.
    exact = torch.zeros_like(measured)
    log_p = logits.log_softmax(-1)
    for row in range(2):
        for place in range(8):
            for token in range(logits.shape[-1]):
                (g,) = torch.autograd.grad(-log_p[row, place, token], outputs["out"], retain_graph=True)
                g = g.flatten(0, 1).double()
                exact += float(log_p[row, place, token].detach().exp()) * (g.T @ g) / 16
    assert float((measured - exact).norm() / exact.norm()) < 0.1
