"""Explanations of what was learned, to be scored: how much each two sites depend, and what each adds to a surprise."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.born.explain.anomaly import site_surprises
from workbench.born.explain.direct import direct_dependence
from workbench.born.explain.estimates import sample_information
from workbench.born.explain.pairs import influence_map, information_map, pair_marginals
from workbench.born.explain.shapley import surprise_shapley
from workbench.born.explain.states import quantum_information_map
from workbench.born.likelihood import Probable
from workbench.born.machine import BornMachine
from workbench.born.questions import ChainModel
from workbench.transformer.string_attributions import gradient_times_input, integrated_gradients
from workbench.transformer.string_gpt import StringGPT
from workbench.transformer.string_maps import (
    ablation_map,
    attention_map,
    gradient_map,
    integrated_gradients_map,
    rollout_map,
)
from workbench.truth.enumerated import TableSource, tabled
from workbench.truth.source import Source

_READ = 256  # strings that a map of a GPT is a mean over


@dataclass(frozen=True, eq=False)
class Subject:
    """What is explained: a model, the samples it learned from, and its distribution in every form that is asked for."""

    model: Probable
    samples: Int[Tensor, "n sites"]
    source: Source
    seed: int = 0

    @cached_property
    def known(self) -> TableSource:
        """The model's distribution in a table of all strings: exact."""
        return tabled(self.source, self.model, "the model")

    @cached_property
    def joint(self) -> Float[Tensor, "i j a b"]:
        """The joint distributions of all pairs: of a chain by a sweep, else from the table."""
        return pair_marginals(self.model if isinstance(self.model, ChainModel) else self.known)

    @cached_property
    def state(self) -> BornMachine:
        """The model's own state, or that of the roots of its probabilities."""
        return self.model if isinstance(self.model, BornMachine) else BornMachine(self.known.mps())


@dataclass(frozen=True)
class Explanation:
    """A way to explain: `explain(subject)` is a symmetric map of all pairs, larger where sites depend more.

    `of_gpt` ones look inside a transformer, and ask for one.
    """

    name: str
    explain: Callable[[Subject], Float[Tensor, "i j"]]
    of_gpt: bool = False


def usual_explanations() -> tuple[Explanation, ...]:
    """What any distribution says of itself, what is read inside a GPT, what samples say without a model, and chance."""
    return (
        Explanation("mutual information", lambda subject: information_map(subject.joint)),
        Explanation("quantum mutual information", lambda subject: quantum_information_map(subject.state)),
        Explanation("direct dependence", lambda subject: direct_dependence(subject.known.table)),
        Explanation("influence", lambda subject: influence_map(subject.joint)),
        Explanation("attention", _read_by_gpt(attention_map), of_gpt=True),
        Explanation("attention rollout", _read_by_gpt(rollout_map), of_gpt=True),
        Explanation("gradients", _read_by_gpt(gradient_map), of_gpt=True),
        Explanation("integrated gradients", _read_by_gpt(integrated_gradients_map), of_gpt=True),
        Explanation("ablation", _read_by_gpt(ablation_map), of_gpt=True),
        Explanation(
            "mutual information of the samples",
            lambda subject: sample_information(subject.samples, len(subject.source.alphabet)),
        ),
        Explanation("chance", _chance),
    )


@dataclass(frozen=True)
class Attribution:
    """A way to say what each site of a string adds to its surprise -ln p: `attribute(subject, x)`, n rows of sites."""

    name: str
    attribute: Callable[[Subject, Int[Tensor, "n sites"]], Float[Tensor, "n sites"]]
    of_gpt: bool = False


def usual_attributions() -> tuple[Attribution, ...]:
    """Shapley values and surprises of any distribution, what gradients say of a GPT, and chance."""
    return (
        Attribution("Shapley values", lambda subject, x: surprise_shapley(subject.known.table, x)),
        Attribution("surprise alone", lambda subject, x: site_surprises(subject.known.table, x).alone),
        Attribution(
            "surprise given the others", lambda subject, x: site_surprises(subject.known.table, x).given_others
        ),
        Attribution(
            "surprise given those before", lambda subject, x: site_surprises(subject.known.table, x).given_before
        ),
        Attribution("gradient times input", _of_gpt(gradient_times_input), of_gpt=True),
        Attribution("integrated gradients of the surprise", _of_gpt(integrated_gradients), of_gpt=True),
        Attribution("chance, site by site", lambda subject, x: torch.rand(x.shape, generator=_drawn(subject)).double()),
    )


def fits(how: Explanation | Attribution, model: Probable) -> bool:
    """Whether it can explain this model."""
    return not how.of_gpt or isinstance(model, StringGPT)


def _of_gpt(found: Callable[[StringGPT, Tensor], Tensor]) -> Callable[[Subject, Tensor], Tensor]:
    def explain(subject: Subject, x: Tensor) -> Tensor:
        assert isinstance(subject.model, StringGPT)
        return found(subject.model, x)

    return explain


def _read_by_gpt(found: Callable[[StringGPT, Tensor], Tensor]) -> Callable[[Subject], Tensor]:
    """A map that is a mean over the samples."""
    explain = _of_gpt(found)
    return lambda subject: explain(subject, subject.samples[:_READ])


def _drawn(subject: Subject) -> torch.Generator:
    return torch.Generator().manual_seed(subject.seed)


def _chance(subject: Subject) -> Float[Tensor, "i j"]:
    n = subject.source.n_sites
    drawn = torch.rand(n, n, dtype=torch.float64, generator=_drawn(subject))
    return drawn + drawn.T
