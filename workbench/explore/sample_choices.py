"""The sources and learners that an explorer of sample complexity offers if nobody gives others."""

from dataclasses import replace
from functools import partial

import torch
from jaxtyping import Int
from torch import Tensor

from workbench.born.counts import AffineCode, Counted
from workbench.born.density_pass import one_pass
from workbench.born.machine import BornMachine
from workbench.born.two_site import SweepRecipe, sweep
from workbench.explore.sample_complexity import Learner
from workbench.explore.sample_explorer import Family
from workbench.transformer.string_gpt import StringGPT, StringGPTRecipe, learn_strings
from workbench.truth.ground_state import ground_state
from workbench.truth.hamiltonian import transverse_ising
from workbench.truth.images import bars_and_stripes
from workbench.truth.ising_chain import ising_chain
from workbench.truth.parity import even_parity
from workbench.truth.source import Source
from workbench.truth.state import ghz, w_state
from workbench.truth.words import dyck, motzkin

SIZES = tuple(range(8, 21))
_IMAGES = {9: (3, 3), 12: (3, 4), 16: (4, 4), 20: (4, 5)}
COUNTS = Learner("counts", lambda samples, n_symbols, seed: Counted.of(samples))
LINEAR_CODE = Learner("linear code", lambda samples, n_symbols, seed: AffineCode.of(samples))


def usual_families() -> tuple[Family, ...]:
    """Sources from counting, statistical mechanics and quantum physics, of 8 to 20 sites where they have them."""
    return (
        Family("even parity", even_parity, SIZES),
        Family("bars and stripes", lambda n_sites: bars_and_stripes(*_IMAGES[n_sites]), tuple(_IMAGES)),
        Family("Ising chain, β = 0.5", partial(ising_chain, beta=0.5), SIZES),
        Family("transverse-field Ising ground state, h = 1, in z", _critical_chain, SIZES[:-4]),
        Family("GHZ state, in z", ghz, SIZES),
        Family("W state, in z", w_state, SIZES),
        Family("Dyck words", dyck, SIZES[::2]),
        Family("Motzkin words", motzkin, (8, 9, 10, 11, 12)),
    )


def usual_learners() -> tuple[Learner, ...]:
    """The one-pass method, sweeps of a Born machine, a GPT, and two learners without a model."""
    return (
        one_pass_learner(2),
        one_pass_learner(8),
        sweep_learner(4),
        gpt_learner(StringGPTRecipe()),
        COUNTS,
        LINEAR_CODE,
    )


def one_pass_learner(max_bond: int, distinct: bool = False) -> Learner:
    """`one_pass` at a bond; `distinct` draws different strings, as Bradley, Stoudenmire & Terilla (2019) do."""

    def learn(samples: Int[Tensor, "n sites"], n_symbols: int, seed: int) -> BornMachine:
        strings, counts = torch.unique(samples, dim=0, return_counts=True)
        return one_pass(strings, max_bond, n_symbols, counts).machine

    name = f"one pass, bond {max_bond}{', different strings' if distinct else ''}"
    return Learner(name, learn, distinct)


def sweep_learner(max_bond: int) -> Learner:
    """Two-site sweeps up to a bond; a fifth of the samples, held out, chooses the round that is kept."""

    def learn(samples: Int[Tensor, "n sites"], n_symbols: int, seed: int) -> BornMachine:
        held_out = max(1, len(samples) // 5)
        recipe = SweepRecipe(max_bond=max_bond, rounds=12, patience=3, symbols=n_symbols, seed=seed)
        return sweep(samples[held_out:], recipe, samples[:held_out]).finish()

    return Learner(f"sweeps, bond {max_bond}", learn)


def gpt_learner(recipe: StringGPTRecipe) -> Learner:
    """A GPT by a recipe, whose seed is that of the samples."""

    def learn(samples: Int[Tensor, "n sites"], n_symbols: int, seed: int) -> StringGPT:
        return learn_strings(samples, n_symbols, replace(recipe, seed=seed))

    usual = StringGPTRecipe()
    others = {name: own for name, own in vars(recipe).items() if name not in ("n_layers", "d_model")}
    told = "".join(f", {name} {own}" for name, own in others.items() if own != getattr(usual, name))
    return Learner(f"GPT of {recipe.n_layers} layers, width {recipe.d_model}{told}", learn)


def _critical_chain(n_sites: int) -> Source:
    return ground_state(transverse_ising(n_sites, 1.0))
