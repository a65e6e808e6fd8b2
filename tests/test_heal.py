"""Healing: never worse, undone and resumed to the last bit, and what it reports is what runs."""

import json
import math
import re
from dataclasses import asdict, replace

import pytest
import tiny_models
import torch
from torch.nn import functional
from transformers.pytorch_utils import Conv1D

from workbench.compress import heal_descent, heal_loss
from workbench.compress.evaluate import Evaluator
from workbench.compress.heal import Healing, _comparisons
from workbench.compress.heal_loss import Comparison
from workbench.compress.heal_recipe import HealRecipe
from workbench.compress.heal_student import Student
from workbench.compress.layers import BondLinear
from workbench.compress.windows import Windows, windows_of_text
from workbench.decompose.family import Family
from workbench.decompose.low_rank import LowRank
from workbench.decompose.operator import TrainOperator
from workbench.transformer.attention_only import AttentionOnlyConfig, AttentionOnlyLM
from workbench.transformer.load import LanguageModel
from workbench.transformer.matrices import block_matrices, replace_module, shared_copy

RECIPE = HealRecipe(steps=6, learning_rate=0.02, batch_tokens=192, warmup=2, check_every=2)


def family(weight: torch.Tensor) -> Family:
    """Two members, as of a form that no slice can cut."""
    whole = LowRank.from_weight(weight)
    members = tuple(whole.truncate(bond) for bond in (3, 6))
    errors = tuple(member.error() ** 2 for member in members)
    return Family(members, (3, 6), errors, float(weight.square().sum()), "test", whole.full_bond)


FORMS = {
    "pair": LowRank.from_weight,
    "pivots": LowRank.from_weight,
    "train": lambda weight: TrainOperator.from_weight(weight, sites=3),
    "family": family,
}


class Subject:
    """A tiny model cut at every matrix but the first, and the text it is healed on."""

    def __init__(self, lm: LanguageModel, form: str = "pair", bond: int = 6) -> None:
        self.lm, self.matrices = lm, block_matrices(lm.model)
        self.model = shared_copy(lm.model)
        self.layers = {}
        for name, matrix in self.matrices.items():
            layer = BondLinear(matrix.module, matrix.bias, FORMS[form](matrix.weight))
            self.layers[name] = layer
            replace_module(self.model, matrix.path, layer)
        for layer in self.cut.values():
            layer.cut(bond)
            if form == "pivots":
                layer.put(layer.now.fixed())
        self.windows = windows_of_text(lm, tiny_models.TEXT[:800]).shuffled(5)

    @property
    def cut(self) -> dict[str, BondLinear]:
        """All layers but the first."""
        return dict(list(self.layers.items())[1:])

    def healing(self, recipe: HealRecipe = RECIPE, **others) -> Healing:
        return Healing(self.model, self.lm.model, self.layers, self.windows, recipe, **others)

    def logits(self) -> torch.Tensor:
        return tiny_models.logits(self.model, tiny_models.tokens())

    def held_back_kl(self) -> float:
        """Of the running model on the rows that the recipe holds back, by the way that scores settings."""
        rows = self.windows.shuffled(RECIPE.seed).rows(0, len(self.windows) // 4)
        return list(Evaluator(self.lm.model, rows).estimates(self.model))[-1].kl

    def numbers(self) -> dict[str, torch.Tensor]:
        """Copies of everything that the cut layers run."""
        found = {}
        for name, layer in self.cut.items():
            found |= {f"{name}/{key}": tensor.clone() for key, tensor in layer.now.tensors().items()}
            if layer.present_bias is not None:
                found[f"{name}/bias"] = layer.present_bias.detach().clone()
        return found


def attention_only() -> LanguageModel:
    config = AttentionOnlyConfig(
        vocab_size=tiny_models.VOCABULARY, n_positions=tiny_models.CONTEXT, n_embd=32, n_layer=2, n_head=2,
        bos_token_id=0, eos_token_id=0, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
    )  # fmt: skip
    return tiny_models._made("tiny-attention", AttentionOnlyLM(config))


MODELS = {**tiny_models.FAMILIES, "attention": attention_only}
KINDS = [("gpt2", "pair"), ("llama", "pair"), ("attention", "pair"), ("gpt2", "pivots"), ("gpt2", "train"),
         ("gpt2", "family")]  # fmt: skip


@pytest.fixture
def subject() -> Subject:
    return Subject(tiny_models.gpt2())


def assert_same(ours: dict[str, torch.Tensor], others: dict[str, torch.Tensor]) -> None:
    assert ours.keys() == others.keys()
    different = [name for name in ours if not torch.equal(ours[name], others[name])]
    assert different == []


@pytest.mark.parametrize(("model", "form"), KINDS)
def test_healing_brings_the_running_model_nearer_and_stores_as_many_numbers(model, form):
    subject = Subject(MODELS[model](), form)
    sizes = {name: layer.n_params for name, layer in subject.layers.items()}
    forms = {name: type(layer.now.truncate(layer.now.bond)) for name, layer in subject.layers.items()}
    healing = subject.healing()
    steps = list(healing.run())
    report = healing.report
    assert [step.step for step in steps] == [1, 2, 3, 4, 5, 6]
    assert (report.ended, report.steps, report.learning_rate) == ("finished", 6, 0.02)
    assert report.after < 0.9 * report.before
    assert report.after == pytest.approx(subject.held_back_kl(), rel=1e-4)
    assert {name: layer.n_params for name, layer in subject.layers.items()} == sizes
    expected = {name: LowRank if kind is Family else kind for name, kind in forms.items()}  # a member is put by itself
    now = {name: type(layer.now) for name, layer in subject.cut.items()}
    assert now == {name: expected[name] for name in now}


@pytest.mark.parametrize("model", ["gpt2", "llama"])
def test_a_healed_model_is_the_dense_one_with_other_block_matrices_and_biases(model):
    subject = Subject(MODELS[model]())
    before = subject.numbers()
    list(subject.healing().run())
    after = subject.numbers()
    assert [name for name in before if torch.equal(before[name], after[name])] == []
    plain = shared_copy(subject.lm.model)
    for name, layer in subject.cut.items():
        module = type(subject.matrices[name].module)
        made = plain.get_submodule(subject.matrices[name].path)
        weight = layer.now.dense()
        made.weight = torch.nn.Parameter(weight.T if module is Conv1D else weight, requires_grad=False)
        if layer.present_bias is not None:
            made.bias = layer.present_bias
    torch.testing.assert_close(tiny_models.logits(plain, tiny_models.tokens()), subject.logits(), atol=1e-4, rtol=1e-4)
    assert all(not tensor.requires_grad and tensor.is_leaf for tensor in after.values())


def test_the_dense_model_and_the_decompositions_stay_as_they_were(subject):
    dense = {name: parameter.clone() for name, parameter in subject.lm.model.named_parameters()}
    uncut = {name: layer.uncut.dense() for name, layer in subject.layers.items()}
    list(subject.healing().run())
    assert_same(dict(subject.lm.model.named_parameters()), dense)
    assert_same({name: layer.uncut.dense() for name, layer in subject.layers.items()}, uncut)
    assert all(parameter.grad is None for parameter in subject.model.parameters())
    assert next(iter(subject.layers.values())).bypassed


def test_undo_gives_back_the_cut_to_the_last_bit(subject):
    before, logits = subject.numbers(), subject.logits()
    healing = subject.healing()
    list(healing.run())
    assert not torch.equal(subject.logits(), logits)
    healing.undo()
    assert_same(subject.numbers(), before)
    assert torch.equal(subject.logits(), logits)
    assert healing.report.ended == "undone"
    with pytest.raises(RuntimeError, match="cannot go on: undone after 6 of 6 steps"):
        next(healing.run())


def test_undo_refuses_to_take_back_a_cut_that_was_made_since(subject):
    healing = subject.healing()
    list(healing.run())
    subject.cut["blocks.1.mlp.W_in"].cut(4)
    with pytest.raises(RuntimeError, match="nothing left to undo"):
        healing.undo()
    assert subject.cut["blocks.1.mlp.W_in"].now.bond == 4


def test_a_run_goes_on_after_a_restart_to_the_same_bits(tmp_path):
    whole, first = Subject(tiny_models.gpt2()), Subject(tiny_models.gpt2())
    undisturbed = whole.healing()
    list(undisturbed.run())
    interrupted = first.healing(checkpoint=tmp_path / "healing")
    for step in interrupted.run():
        if step.step == 3:
            interrupted.save()
        if step.step == 4:  # what came after the checkpoint is lost
            break
    second = Subject(tiny_models.gpt2())
    resumed = second.healing(checkpoint=tmp_path / "healing")
    assert len(resumed.curve) == 3
    assert second.held_back_kl() < resumed.report.before  # it runs the best state at once
    list(resumed.run())
    assert_same(second.numbers(), whole.numbers())
    assert [replace(step, seconds=0) for step in resumed.curve] == [replace(s, seconds=0) for s in undisturbed.curve]
    assert resumed.report.after == undisturbed.report.after
    third = Subject(tiny_models.gpt2())
    finished = third.healing(checkpoint=tmp_path / "healing")
    assert (list(finished.run()), finished.report.ended) == ([], "finished")
    assert_same(third.numbers(), whole.numbers())
    assert sorted(path.name for path in (tmp_path / "healing").iterdir()) == ["heal.json", "step6.safetensors"]


def test_a_stopped_run_is_scored_where_it_stopped_and_can_go_on(subject):
    whole = Subject(tiny_models.gpt2())
    list(whole.healing().run())
    healing = subject.healing()
    for step in healing.run():
        if step.step == 3:
            healing.stop()
    assert (healing.report.ended, healing.report.steps, healing.report.best_step) == ("stopped", 3, 3)
    assert subject.held_back_kl() == pytest.approx(healing.report.after, rel=1e-4)
    assert [step.step for step in healing.run()] == [4, 5, 6]
    assert_same(subject.numbers(), whole.numbers())


def test_what_is_no_better_on_the_rows_held_back_is_never_run(subject):
    healing = subject.healing()
    list(healing.run())
    healed = subject.numbers()
    again = subject.healing(replace(RECIPE, learning_rate=0.5, steps=2))  # too high, and not enough to diverge
    list(again.run())
    assert max(step.held_back for step in again.curve if step.held_back) > again.report.before
    assert again.report.best_step == 0
    assert again.report.after == again.report.before == pytest.approx(healing.report.after)
    assert "no step was better on the held-back rows than the start" in again.report.message
    assert_same(subject.numbers(), healed)


@pytest.mark.parametrize(("bond", "rate"), [(28, 30.0), (6, 1e25)])
def test_a_run_that_diverges_ends_with_the_best_state_and_a_message(bond, rate):
    subject = Subject(tiny_models.gpt2(), bond=bond)
    before = subject.numbers()
    healing = subject.healing(replace(RECIPE, learning_rate=rate))
    list(healing.run())
    report = healing.report
    assert report.ended == "diverged"
    assert report.steps < 6
    told = r"at step \d the loss was \S+ nats a token, from \S+ at the start: give a learning rate below"
    assert re.search(told, report.message)
    assert_same(subject.numbers(), before)
    with pytest.raises(RuntimeError, match="cannot go on: diverged"):
        next(healing.run())


def test_a_step_whose_loss_is_not_finite_changes_nothing(subject):
    student = Student(subject.model, subject.layers)
    training, _ = _comparisons(subject.lm.model, subject.windows, RECIPE)
    descent = heal_descent.Descent(student, training, 0)
    student.load({name: torch.full_like(leaf, 1e30) for name, leaf in student.leaves.items()})
    before = student.copied()
    assert math.isnan(descent.step(0, 0.02).total)
    assert_same(student.copied(), before)
    assert descent.moments() == {}


def test_a_layer_that_is_cut_meanwhile_ends_the_run_and_stays_cut(subject):
    healing = subject.healing()
    for step in healing.run():
        if step.step == 3:
            subject.cut["blocks.1.mlp.W_in"].cut(4)
    assert (healing.report.ended, healing.report.steps) == ("moved", 3)
    assert subject.cut["blocks.1.mlp.W_in"].now.bond == 4


def test_the_searched_rate_is_the_one_whose_trial_ended_best_and_the_run_starts_afresh(subject):
    healing = subject.healing(replace(RECIPE, learning_rate=None, steps=2))
    told = []
    list(healing.run(progress=lambda what, done, total: told.append((what, done, total))))
    trials = {trial.learning_rate: trial.loss for trial in healing.report.trials}
    assert 3 <= len(trials) <= 5
    assert healing.report.learning_rate == min(trials, key=trials.__getitem__)
    assert min(trials.values()) < healing.report.before
    assert told[-1] == ("learning rate", 55, 55)
    given = Subject(tiny_models.gpt2())
    list(given.healing(replace(RECIPE, learning_rate=healing.learning_rate, steps=2)).run())
    assert_same(subject.numbers(), given.numbers())


def test_a_search_that_is_left_chooses_nothing_and_can_be_made_again(subject):
    healing = subject.healing(replace(RECIPE, learning_rate=None, steps=1))
    before = subject.numbers()
    assert list(healing.run(progress=lambda what, done, total: healing.stop())) == []
    assert (healing.learning_rate, healing.report.trials, healing.report.ended) == (None, (), "stopped")
    assert_same(subject.numbers(), before)
    assert len(list(healing.run())) == 1


def test_a_search_goes_down_until_the_loss_is_finite_and_says_so_if_it_never_is(subject, monkeypatch):
    monkeypatch.setattr(heal_descent, "_FIRST", 1e25)
    monkeypatch.setattr(heal_descent, "_FACTOR", 1e13)
    healing = subject.healing(replace(RECIPE, learning_rate=None, steps=1))
    list(healing.run())
    assert [trial.loss is None for trial in healing.trials][:2] == [True, True]
    assert healing.learning_rate == pytest.approx(0.1)
    monkeypatch.setattr(heal_descent, "_FACTOR", 1.01)
    hopeless = Subject(tiny_models.gpt2())
    before = hopeless.numbers()
    failed = hopeless.healing(replace(RECIPE, learning_rate=None, steps=1))
    assert list(failed.run()) == []
    assert "the loss was not finite at any learning rate of 1e+25, 9.9e+24" in failed.report.message
    assert_same(hopeless.numbers(), before)


@pytest.mark.parametrize("kl_weight", [1.0, 0.25])
@pytest.mark.parametrize("form", ["pair", "pivots", "train"])
def test_the_loss_and_its_gradient_are_those_of_whole_logits(form, kl_weight, monkeypatch):
    monkeypatch.setattr(heal_loss, "_LOGITS_AT_ONCE", 7 * tiny_models.VOCABULARY)  # seven positions at once
    subject = Subject(tiny_models.gpt2(), form)
    windows = subject.windows.rows(0, 3)
    windows.scored[0, :5] = False
    student = Student(subject.model, subject.layers)
    comparison = Comparison(subject.lm.model, windows, 3, kl_weight, torch.float32)
    leaves = list(student.leaves.values())
    loss, gradients = comparison.gradients(student.model, leaves, 0)

    said = student.model(windows.tokens[:, :-1], use_cache=False).logits[windows.scored].softmax(-1)
    expected = tiny_models.logits(subject.lm.model, windows.tokens[:, :-1])[windows.scored].softmax(-1)
    kl = (expected * (expected / said).log()).sum(-1).mean()
    text = functional.nll_loss(said.log(), windows.tokens[:, 1:][windows.scored])
    total = kl_weight * kl + (1 - kl_weight) * text
    assert (loss.total, loss.kl) == pytest.approx((total.item(), kl.item()), rel=1e-5)
    assert comparison.loss(student.model).total == pytest.approx(total.item(), rel=1e-5)
    torch.testing.assert_close(gradients, list(torch.autograd.grad(total, leaves)), atol=1e-5, rtol=1e-3)


def test_rows_held_back_are_never_trained_on_and_every_other_one_once_an_epoch(subject):
    windows = Windows(subject.windows.tokens, subject.windows.scored.clone())
    windows.scored[7] = False
    training, held_back = _comparisons(subject.lm.model, windows, RECIPE)
    rows = [[tuple(row.tolist()) for batch in part._batches for row in batch.tokens] for part in (training, held_back)]
    scored = [tuple(row.tolist()) for row in windows.tokens[windows.scored.any(1)]]
    assert sorted(rows[0] + rows[1]) == sorted(scored)
    assert len(rows[1]) == len(scored) // 4
    descent = heal_descent.Descent(Student(subject.model, subject.layers), training, 3)
    n = len(training)
    order = [descent._batch(index) for index in range(3 * n)]
    assert all(sorted(order[k : k + n]) == list(range(n)) for k in (0, n, 2 * n))
    assert order[:n] != order[n : 2 * n]


def test_numbers_of_half_precision_learn_in_single_precision_and_are_put_back_as_they_were():
    pair = LowRank.from_weight(torch.randn(4, 3, generator=torch.Generator().manual_seed(0))).truncate(2)
    half = pair.with_tensors({name: tensor.bfloat16() for name, tensor in pair.tensors().items()})
    layer = BondLinear(None, torch.zeros(4), pair)
    layer.put(half)
    model = torch.nn.Sequential(layer)
    student = Student(model, {"only": layer})
    assert {leaf.dtype for leaf in student.leaves.values()} == {torch.float32}
    student.put({"only": layer}, {name: leaf.detach() + 1 for name, leaf in student.leaves.items()})
    assert {tensor.dtype for tensor in layer.now.tensors().values()} == {torch.bfloat16}
    assert layer.present_bias.tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize("steps", [1, 5, 40])
def test_a_learning_rate_rises_once_to_its_height_and_falls_towards_zero(steps):
    shares = [HealRecipe(steps=steps, warmup=10).share(step) for step in range(steps)]
    top = shares.index(max(shares))
    assert max(shares) == 1
    assert shares[: top + 1] == sorted(shares[: top + 1])
    assert shares[top:] == sorted(shares[top:], reverse=True)
    assert min(shares) > 0
    assert steps < 40 or shares[-1] < 0.01


def test_a_checkpoint_of_another_run_is_refused_and_the_layers_stay(subject, tmp_path):
    path = tmp_path / "healing"
    list(subject.healing(checkpoint=path).run())

    def refused(message: str, other: Subject, recipe: HealRecipe = RECIPE) -> None:
        before = other.numbers()
        with pytest.raises(ValueError, match=message):
            other.healing(recipe, checkpoint=path)
        assert_same(other.numbers(), before)

    fresh = Subject(tiny_models.gpt2())
    refused("a run with other learning_rate, seed; give", fresh, replace(RECIPE, learning_rate=0.01, seed=4))
    fresh.windows = windows_of_text(fresh.lm, "ab " * 300)
    refused("whose best loss was .* but with this model and text it is", fresh)
    refused(r"left as \(32, 6\), but these layers need \(32, 4\)", Subject(tiny_models.gpt2(), bond=4))
    refused(r"W_K/left as None, but these layers need \(16, 6\)", Subject(tiny_models.llama()))
    record = json.loads((path / "heal.json").read_text())
    assert record["recipe"] == asdict(RECIPE)
    (path / "heal.json").write_text(json.dumps(record | {"format": 3}))
    refused("is no heal run of format 2", Subject(tiny_models.gpt2()))
    (path / "heal.json").write_text("{")
    refused("is damaged", Subject(tiny_models.gpt2()))


def test_what_cannot_be_healed_is_refused_with_what_to_do(subject):
    with pytest.raises(
        ValueError, match="two or more rows with scored tokens, one to train on and one held back, not 1"
    ):
        Healing(subject.model, subject.lm.model, subject.layers, subject.windows.rows(0, 1))
    with pytest.raises(ValueError, match=r"layer blocks\.0\.attn\.W_O is not part of the model"):
        Healing(subject.lm.model, subject.lm.model, subject.layers, subject.windows)
    for layer in subject.layers.values():
        layer.cut(layer.uncut.full_bond)
    with pytest.raises(ValueError, match="none of the 8 layers is cut"):
        subject.healing()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"steps": 0}, "steps is a whole number of 1 or more, not 0"),
        ({"batch_tokens": -3}, "batch_tokens is a whole number of 1 or more, not -3"),
        ({"kl_weight": 1.5}, "0 to 1, not 1.5"),
        ({"learning_rate": 0.0}, "above 0 and finite, not 0.0"),
        ({"learning_rate": math.nan}, "above 0 and finite, not nan"),
    ],
)
def test_a_recipe_refuses_what_it_cannot_run(wrong, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        HealRecipe(**wrong)


@pytest.mark.gpu
def test_a_model_on_the_gpu_is_healed_there():
    lm = tiny_models.gpt2()
    lm = LanguageModel(lm.name, lm.source, lm.model.to("cuda"), lm.tokenizer)
    subject = Subject(lm)
    healing = subject.healing()
    list(healing.run())
    assert healing.report.after < healing.report.before
    assert {tensor.device.type for tensor in subject.numbers().values()} == {"cuda"}
