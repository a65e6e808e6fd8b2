"""What explain.py measures besides the leader boards: what misleads, what a probe finds, what a grammar decides."""

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

import torch

from workbench.born.digits import digits
from workbench.born.explain.estimates import estimate_information
from workbench.born.explain.features import feature_curves, feature_scores, learn_classes
from workbench.born.explain.pairs import information_map, pair_marginals
from workbench.born.explain.score import off_diagonal
from workbench.born.explain.shapley import shapley_values, surprise_shapley
from workbench.born.explain.states import quantum_information_map
from workbench.born.machine import BornMachine
from workbench.born.two_site import SweepRecipe, sweep
from workbench.explore.bond_knowledge import KnowledgeLab
from workbench.explore.sample_choices import sweep_learner
from workbench.transformer.agreement_scores import agreement_fidelity, explanation_scores
from workbench.transformer.belief_probe import probe_beliefs
from workbench.transformer.load import load
from workbench.transformer.string_gpt import StringGPTRecipe, learn_strings
from workbench.truth.grammar_agreement import NumberedWords, agreement_cases
from workbench.truth.grammar_english import english
from workbench.truth.ising_chain import ising_chain
from workbench.truth.planted import planted_chain
from workbench.truth.processes import mess3

Row = Mapping[str, object]


def reach() -> Iterator[Row]:
    """Seconds of what is exact on long chains: medians of five runs."""
    machine = BornMachine.random([2] * 64, 16, torch.Generator().manual_seed(0))
    short = BornMachine.random([2] * 16, 16, torch.Generator().manual_seed(0))
    string = short.sample(1, torch.Generator().manual_seed(0))
    timed: dict[str, tuple[Callable[[], object], float]] = {
        "mutual information of all pairs, 64 sites, bond 16": (lambda: information_map(pair_marginals(machine)), 2),
        "quantum mutual information of all pairs, 64 sites, bond 16": (lambda: quantum_information_map(machine), 2),
        "Shapley values of p, 16 sites, bond 16": (lambda: shapley_values(short, string), 5),
        "Shapley values of the surprise, 16 sites, bond 16": (lambda: surprise_shapley(short, string), 5),
    }
    for what, (call, wanted) in timed.items():
        call()
        seconds = []
        for _ in range(5):
            start = time.perf_counter()
            call()
            seconds.append(time.perf_counter() - start)
        yield {"what": what, "seconds": statistics.median(seconds), "wanted": wanted}


def bias() -> Iterator[Row]:
    """The mutual information of samples of independent bits, which truly have none, beside its bias to first order."""
    for n in (30, 100, 300, 1_000, 3_000, 10_000):
        drawn = []
        for seed in range(20):
            generator = torch.Generator().manual_seed(seed)
            x = torch.randint(0, 2, (n, 16), generator=generator)
            found = estimate_information(x, 2, generator, resamples=2)
            drawn.append((float(off_diagonal(found.plug_in).mean()), float(off_diagonal(found.corrected).mean())))
        plug_in, corrected = (statistics.mean(values) for values in zip(*drawn, strict=True))
        yield {"n": n, "plug_in": plug_in, "corrected": corrected, "first_order": 1 / (2 * n)}


def excess() -> Iterator[Row]:
    """Entanglement beyond the truth's in the middle of a chain, by bond and number of samples: overfitting."""
    source = ising_chain(12, 0.5)
    exact = BornMachine(source.mps()).entropies()[5]
    for max_bond in (2, 4, 8, 16):
        for n in (200, 1_000, 5_000, 20_000):
            found = []
            for seed in range(5):
                samples = source.sample(n, torch.Generator().manual_seed(seed))
                machine = sweep_learner(max_bond).learn(samples, 2, seed)
                assert isinstance(machine, BornMachine)
                found.append(machine.entropies()[5] - exact)
            yield {"max_bond": max_bond, "n": n, "excess_entropy": statistics.median(found), "seeds": 5}


def order() -> Iterator[Row]:
    """The same chain with its sites in and out of order: the bond that it needs."""
    for seed in (None, *range(10)):
        yield {"seed": seed, "bond": max(planted_chain(12, 0.5, seed).source.bond_dims())}


def beliefs() -> Iterator[Row]:
    """A linear probe of a GPT that learned Mess3 for the belief behind ten symbols, beside what learned nothing."""
    process = mess3()
    samples = process.sample(20_000, 11, torch.Generator().manual_seed(0))
    for steps in (200, 600, 1_500):
        gpt = learn_strings(samples, 3, StringGPTRecipe(d_model=64, steps=steps))
        for seed in range(3):
            found = probe_beliefs(gpt, process, seed=seed)
            row = {name: value for name, value in vars(found).items() if isinstance(value, int | float)}
            yield {"steps": steps, "seed": seed} | row | {
                "beyond_one_symbol": found.beyond_one_symbol, "beyond_untrained": found.beyond_untrained,
                "distance_correlation": found.distance_correlation(),
            }  # fmt: skip


def agreement(n_cases: int = 300) -> Iterator[Row]:
    """Which word decides the number of a verb, by explanations of truth-gpt, where the grammar tells."""
    lm, words = load("truth-gpt"), NumberedWords.of(english())
    for across in (False, True):
        cases = agreement_cases(english(), words, n_cases, torch.Generator().manual_seed(0), across)
        fidelity = agreement_fidelity(lm, words, cases)
        told = {"across_attractors": across, "cases": len(cases)}
        yield told | {"explanation": None} | {name: vars(share) for name, share in vars(fidelity).items()}
        for name, score in explanation_scores(lm, words, cases).items():
            yield told | {"explanation": name} | {part: vars(share) for part, share in vars(score).items()}


def knowledge() -> Iterator[Row]:
    """What truth-gpt loses of each kind of knowledge when one of its matrices is cut, all else uncut."""
    for metric in ("plain", "input"):
        found = KnowledgeLab("truth-gpt", metric, n_streams=64).map(progress=lambda *told: None)
        errors = found.errors / found.nothing
        for row, matrix in enumerate(found.matrices):
            for column, bond in enumerate(found.bonds):
                yield {
                    "metric": metric, "matrix": matrix, "bond": bond, "full_bond": found.full_bonds[row],
                    "lost": found.at(matrix, bond),
                    "errors": dict(zip(found.kinds, errors[row, column].tolist(), strict=True)),
                }  # fmt: skip


def features() -> Iterator[Row]:
    """Digits classified from few pixels, chosen by entanglement, by classical measures, and by chance."""
    for seed in range(3):
        data = digits(seed)
        recipe = SweepRecipe(max_bond=8, rounds=4)
        machine = sweep(data.train, replace(recipe, seed=seed)).finish()
        classifier = learn_classes(data.train, data.train_labels)
        scored = feature_scores(machine, data.train, data.train_labels, torch.Generator().manual_seed(seed))
        curves = feature_curves(classifier, data.test, data.test_labels, scored, (4, 8, 16, 24, 32, 48, 64))
        for name, shares in zip(curves.orders, curves.accuracies.tolist(), strict=True):
            yield {"seed": seed, "order": name, "accuracy": dict(zip(map(str, curves.counts), shares, strict=True))}
