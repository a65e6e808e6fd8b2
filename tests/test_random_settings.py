"""Thousands of random cuts, budgets and slider sequences: errors as measured, limits kept, one model at a setting."""

import math
import random
from collections.abc import Iterator
from fnmatch import fnmatchcase
from functools import cache
from itertools import pairwise

import jaxtyping
import pytest
import tiny_models
import torch
from torch import Tensor

from workbench import CompressionLab, Limit, Recipe
from workbench.compress.layers import BondLinear
from workbench.decompose.cp import CanonicalPolyadic
from workbench.decompose.head_tucker import HeadTucker
from workbench.decompose.kronecker import KroneckerSum
from workbench.decompose.low_rank import LowRank
from workbench.decompose.metric import PLAIN, Metric
from workbench.decompose.operator import TrainOperator
from workbench.decompose.ring import TensorRing
from workbench.decompose.train import TensorTrain
from workbench.decompose.tucker import Tucker

CUTS, FITS, BUDGETS, SEQUENCES = 1500, 60, 2100, 400
QUIET = {"progress": lambda what, done, total: None}
PATTERNS = ("*", "*.W_in", "*.W_O", "blocks.0.*", "blocks.1.attn.*", "*.mlp.*")
RECIPES = {
    "svd": ("gpt2", Recipe("svd", "plain")),
    "svd, input": ("llama", Recipe("svd", "input")),
    "svd, two-sided, gauge-fixed": ("gpt2", Recipe("svd", "two-sided", gauge_fixed=True)),
    "svd with the table": ("gpt2", Recipe("svd", "plain", table="both")),
    "svd with the input table": ("gpt2", Recipe("svd", "plain", table="input")),
    "mpo of 3 sites": ("llama", Recipe("mpo", "plain", sites=3)),
    "kronecker": ("gpt2", Recipe("kronecker", "plain", permuted=True)),
    "tucker": ("gpt2", Recipe("tucker", "plain")),
}


@pytest.fixture(autouse=True)
def unchecked(monkeypatch) -> None:
    """Annotations are checked in other tests; here that would take twice as long as what is checked."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


@cache
def lab_of(recipe: str) -> CompressionLab:
    """One lab a recipe, used by all its cases: each leaves it at a setting of its own."""
    family, made = RECIPES[recipe]
    lab = CompressionLab.from_model(tiny_models.FAMILIES[family](), tiny_models.TEXT, max_windows=12)
    lab.decompose(made, **QUIET)
    return lab


def dice_of(seed: str, n: int) -> Iterator[random.Random]:
    """One generator a case, so that a failing one is made again by its number alone."""
    for number in range(n):
        yield random.Random(f"{seed} {number}")


def norm(tensor: Tensor) -> float:
    return float(torch.linalg.vector_norm(tensor))


# ---- cuts


def tensor_of(dice: random.Random, shape: tuple[int, ...]) -> Tensor:
    """Random entries of any scale; some of low rank, some zero, some whole numbers."""
    generator = torch.Generator().manual_seed(dice.getrandbits(32))
    tensor = torch.randn(shape, generator=generator, dtype=torch.float64)
    kind = dice.choice(("random", "random", "steep", "repeated", "whole", "zero", "small", "large"))
    if kind == "steep":
        return tensor * torch.logspace(0, -6, shape[-1], dtype=torch.float64)
    if kind == "repeated":
        return tensor[..., :1].expand(shape).clone()
    if kind == "whole":
        return tensor.sign()
    return tensor * {"zero": 0.0, "small": 1e-8, "large": 1e8}.get(kind, 1.0)


def moment_of(dice: random.Random, size: int) -> Tensor:
    """A positive second moment of unequal scales."""
    rows = tensor_of(random.Random(dice.getrandbits(32)), (size + 3, size))
    rows = torch.where(rows.abs().max() > 0, rows / rows.abs().max().clamp_min(1e-300), torch.ones_like(rows))
    return rows.T @ rows / (size + 3) + 1e-3 * torch.eye(size, dtype=torch.float64)


def factored(dice: random.Random, n: int, low: int = 1) -> tuple[int, ...]:
    return tuple(dice.randint(low, 4) for _ in range(n))


def cut_case(dice: random.Random) -> tuple[str, float, float, Tensor, float, bool]:
    """What was cut, the error reported, that measured, what is left, the size of the whole, and whether it is exact."""
    kind = dice.choice(("pair", "pair in a metric", "train", "operator", "tucker", "kronecker", "heads"))
    if kind in ("pair", "pair in a metric"):
        weight = tensor_of(dice, (dice.randint(1, 12), dice.randint(1, 12)))
        metric = PLAIN
        if kind != "pair":
            metric = Metric(moment_of(dice, weight.shape[1]), moment_of(dice, weight.shape[0]))
        form = LowRank.from_weight(weight, metric)
        cut = form.truncate(dice.randint(1, form.full_bond))
        measured, whole = (math.sqrt(metric.squared(own)) for own in (weight - cut.dense(), weight))
        return kind, cut.error(), measured, cut.dense(), whole, True
    if kind == "heads":
        n_heads, head_dim = dice.randint(1, 3), dice.randint(1, 4)
        weight = tensor_of(dice, (n_heads * head_dim, dice.randint(1, 8)))
        form = HeadTucker.from_weight(weight, head_dim)
    elif kind in ("train", "tucker"):
        weight = tensor_of(dice, factored(dice, dice.randint(1, 4)))
        form = (TensorTrain if kind == "train" else Tucker).from_dense(weight)
        full = form.full_bonds if kind == "train" else form.full_ranks
        cut = form.truncate(tuple(dice.randint(1, size) for size in full))
        return kind, cut.error_bound(), norm(weight - cut.dense()), cut.dense(), norm(weight), False
    else:
        sites = 2 if kind == "kronecker" else dice.randint(2, 3)
        outs, ins = factored(dice, sites), factored(dice, sites)
        weight = tensor_of(dice, (math.prod(outs), math.prod(ins)))
        if kind == "kronecker":
            form = KroneckerSum.from_weight(weight, outs, ins)
        else:
            form = TrainOperator.from_weight(weight, sites, outs, ins)
    cut = form.truncate(dice.randint(1, form.full_bond))
    exact = kind != "operator" or len(form.spectra) < 2
    return kind, cut.error_bound(), norm(weight - cut.dense()), cut.dense(), norm(weight), exact


def test_the_error_that_a_random_cut_reports_is_the_measured_one_or_the_bound_that_it_is_said_to_be():
    for number, dice in enumerate(dice_of("cut", CUTS)):
        kind, told, measured, left, whole, exact = cut_case(dice)
        assert torch.isfinite(left).all(), (number, kind)
        assert measured <= told * (1 + 1e-7) + 1e-7 * whole + 1e-140, (number, kind, told, measured, whole)
        if exact:
            assert told <= measured * (1 + 1e-7) + 1e-7 * whole + 1e-140, (number, kind, told, measured, whole)


def test_the_error_that_a_random_fit_of_a_form_without_cuts_reports_is_the_measured_one():
    for dice in dice_of("fit", FITS):
        tensor = tensor_of(dice, factored(dice, dice.randint(2, 3), low=2))
        if dice.random() < 0.5:
            form = TensorRing.from_dense(tensor, dice.randint(1, 3), sweeps=2)
        else:
            form = CanonicalPolyadic.from_dense(tensor, dice.randint(1, 2), steps=20)
        assert form.error(tensor) == pytest.approx(norm(tensor - form.dense()), rel=1e-9, abs=1e-9 * norm(tensor))


# ---- budgets


def random_limit(dice: random.Random, lab: CompressionLab) -> Limit:
    """A limit of any unit, from hopeless to needless."""
    sizes, share = lab.sizes, dice.choice((dice.uniform(0, 1.1), 10 ** dice.uniform(-4, 0)))
    unit = dice.choice(("kept", "n_params", "bytes", "multiply_adds"))
    if unit == "kept":
        return Limit(kept=min(1.0, max(share, 1e-6)))
    if unit == "multiply_adds":
        return Limit(multiply_adds=max(1, int(share * sizes.dense_bond_params)))
    numbers = dice.choice((0, sizes.other_params)) + int(share * sizes.dense_bond_params) + 1
    return Limit(n_params=numbers) if unit == "n_params" else Limit(bytes=numbers * sizes.item_bytes)


def stored_in(layer: BondLinear) -> int:
    """Numbers of the tensors of a layer as it is cut; or of its matrix, where they are no fewer."""
    form = layer.now.fixed() if isinstance(layer.now, LowRank) and layer.now.gauge_fixed else layer.now
    return (
        layer.dense_params
        if layer.bypassed
        else min(layer.dense_params, sum(map(torch.numel, form.tensors().values())))
    )


def check_within(lab: CompressionLab, limit: Limit, budget: str, chosen: list[str], what: object) -> None:
    """What is stored or spent, counted from the tensors themselves, is at most the limit."""
    if limit.kept is not None:
        chosen = [lab.layers[name] for name in chosen]
        own = [max(limit.kept * layer.dense_params, layer.ladder.n_params[0]) for layer in chosen]
        if budget == "global":
            own = [limit.kept * layer.dense_params for layer in chosen]
        assert sum(map(stored_in, chosen)) <= sum(own) + 1e-6, what
    elif limit.multiply_adds is not None:
        spent = [
            layer.dense_params if layer.bypassed else min(layer.dense_params, layer.now.apply_cost())
            for name, layer in lab.layers.items()
            if name in chosen and lab.matrices[name].applied
        ]
        assert sum(spent) <= limit.multiply_adds, what
    else:
        numbers = sum(map(stored_in, lab.layers.values())) + lab.sizes.other_params + lab.sizes.untied_params
        given = limit.n_params if limit.n_params is not None else limit.bytes / lab.sizes.item_bytes
        assert numbers <= given, what


@pytest.mark.parametrize("recipe", RECIPES)
def test_no_random_budget_is_exceeded_and_what_is_refused_is_said_in_words_and_moves_nothing(recipe):
    lab, kept = lab_of(recipe), 0
    for number, dice in enumerate(dice_of(f"budget of {recipe}", BUDGETS // len(RECIPES))):
        limit, pattern, budget = random_limit(dice, lab), dice.choice(PATTERNS), dice.choice(("uniform", "global"))
        before, refusal = dict(lab.bond), None
        try:
            lab.keep(limit, pattern, budget)
        except ValueError as error:
            refusal = str(error)
        if refusal is not None:
            assert len(refusal.split()) > 8, (limit, refusal)
            assert dict(lab.bond) == before
            continue
        kept += 1
        chosen = [name for name in lab.bond if fnmatchcase(name, pattern)]
        assert {name: bond for name, bond in lab.bond.items() if name not in chosen} == {
            name: bond for name, bond in before.items() if name not in chosen
        }
        check_within(lab, limit, budget, chosen, (number, limit, pattern, budget))
    assert kept > BUDGETS // len(RECIPES) // 4


@pytest.mark.parametrize("recipe", ["svd", "svd, input", "svd, two-sided, gauge-fixed", "kronecker", "tucker"])
@pytest.mark.parametrize("budget", ["uniform", "global"])
def test_a_larger_budget_does_no_more_harm(recipe, budget):
    lab = lab_of(recipe)
    harms = []
    for kept in sorted(random.Random(recipe).uniform(0.15, 1.0) for _ in range(12)):
        lab.keep(kept, budget=budget)
        harms.append(sum(layer.now.error_bound() ** 2 for layer in lab.layers.values() if not layer.bypassed))
    rungs = [max(own.ladder.squared_errors[0] for own in lab.layers.values())]
    slack = 0.0 if budget == "uniform" else 0.02 * rungs[0]  # the optimum but for what a step leaves over
    assert all(after <= before + slack for before, after in pairwise(harms))


# ---- sequences


def move(lab: CompressionLab, dice: random.Random) -> None:
    """One move of a hand at a slider, or a repair."""
    kind = dice.choice(("bond", "bond", "bond", "keep", "limit", "kept", "reset", "quantise", "undo", "put"))
    name = dice.choice(list(lab.layers))
    full = lab.layers[name].uncut.full_bond
    if kind == "bond":
        lab.bond[name] = dice.randint(1, full)
    elif kind == "keep":
        lab.keep(dice.uniform(0.2, 1), dice.choice(PATTERNS), dice.choice(("uniform", "global")))
    elif kind == "limit":
        lab.keep(Limit(multiply_adds=lab.sizes.dense_bond_params * dice.randint(2, 4) // 4))
    elif kind == "kept":
        lab.kept = dice.uniform(0.2, 1)
    elif kind == "reset":
        lab.reset()
    elif kind == "quantise":
        lab.quantise(dice.choice((8, 4)))
    elif kind == "undo" and lab.repairs.done:
        lab.undo()
    elif kind == "put" and not lab.layers[name].bypassed:
        layer = lab.layers[name]
        layer.put(layer.now.with_tensors({own: 1.25 * part for own, part in layer.now.tensors().items()}))


def check_layers(lab: CompressionLab) -> None:
    """What each bare cut says of its error and its size is what is measured and counted."""
    frame = lab.frame()
    for state in frame.layers:
        layer, matrix = lab.layers[state.name], lab.matrices[state.name]
        if layer.bypassed or layer.now is not layer._bare.now:
            continue
        assert state.n_params == stored_in(layer)
        metric = PLAIN
        if lab.recipe.needs_calibration:
            metric = lab._calibration.measured.metric(state.name, lab.recipe.metric)
        measured, whole = (metric.squared(own.float()) for own in (matrix.weight - layer.now.dense(), matrix.weight))
        told = state.discarded_weight * whole
        assert measured <= told + 2e-4 * whole, state
        if len(layer.uncut.spectra) == 1 or lab.recipe.method != "mpo":
            assert told <= measured + 2e-4 * whole, state
    assert lab.sizes.bond_params == sum(state.n_params for state in frame.layers)


@pytest.mark.parametrize("recipe", RECIPES)
def test_after_random_moves_the_running_model_is_the_one_multiplied_out_and_comes_back_to_the_last_bit(recipe):
    lab, read = lab_of(recipe), tiny_models.tokens(2, 9)
    for number, dice in enumerate(dice_of(f"sequence of {recipe}", SEQUENCES // len(RECIPES))):
        for _ in range(dice.randint(1, 6)):
            move(lab, dice)
        ours = tiny_models.logits(lab._compressed, read)
        plain = tiny_models.logits(tiny_models.densified(lab), read)
        largest = max(1.0, float(plain.abs().max()))
        assert torch.allclose(ours / largest, plain / largest, atol=2e-4, rtol=0), number
        check_layers(lab)
        bonds = dict(lab.bond)
        for name, bond in bonds.items():
            lab.bond[name] = bond
        sizes, first = lab.sizes, tiny_models.logits(lab._compressed, read)
        move(lab, dice)
        for name, bond in bonds.items():
            lab.bond[name] = bond
        assert lab.sizes == sizes, number
        assert torch.equal(tiny_models.logits(lab._compressed, read), first), number


def test_a_whole_matrix_that_is_quantised_has_its_full_bond_and_can_be_set_to_it():
    lab = CompressionLab.from_model(tiny_models.gpt2(), tiny_models.TEXT, max_windows=8)
    lab.decompose("svd", "plain", **QUIET)
    lab.bond["blocks.0.mlp.W_in"] = 3
    before = dict(lab.bond)
    lab.quantise(8)
    assert dict(lab.bond) == before
    assert all(state.bond <= state.full_bond for state in lab.frame().layers)
    lab.bond["blocks.1.mlp.W_in"] = lab.bond["blocks.1.mlp.W_in"]
