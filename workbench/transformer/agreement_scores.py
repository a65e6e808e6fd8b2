"""How right explanations of a verb's number are, and how right the model is that they explain."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.born.explain.score import area_under_curve
from workbench.transformer.agreement_explanations import EXPLANATIONS, VerbPrompts
from workbench.transformer.load import LanguageModel
from workbench.truth.grammar_agreement import AgreementCase, NumberedWords


@dataclass(frozen=True)
class Share:
    """A mean over cases, with its standard error (nan for a single one)."""

    value: float
    error: float

    @classmethod
    def of(cls, values: Float[Tensor, " n"]) -> "Share":
        """Of one number a case."""
        return cls(float(values.mean()), float(values.std()) / math.sqrt(len(values)) if len(values) > 1 else math.nan)

    def __str__(self) -> str:
        return f"{self.value:.3f} ± {self.error:.3f}"


@dataclass(frozen=True)
class ControllerScore:
    """How often an explanation gives the word that decides the most: of all words before the verb, and of the nouns.

    `auc` is the chance that it gives it more than another word, a tie counting half. Ties for the first place share it.
    """

    first_word: Share
    first_noun: Share
    auc: Share

    def __str__(self) -> str:
        return f"first word {self.first_word}, first noun {self.first_noun}, AUC {self.auc}"


@dataclass(frozen=True)
class AgreementFidelity:
    """A model beside the truth, over cases: both are asked before and after the deciding noun changes its number.

    `right` is how often the model holds the right number for likelier, and `odds` the log-odds of the right one, in
    nats (the truth's are infinite). `error` is the mean, 0 to 1, of how far the model's change of the probability of a
    plural verb is from the truth's, and `change` the mean size of the truth's. Exact for each case.
    """

    right: Share
    odds: Share
    error: Share
    change: Share

    def __str__(self) -> str:
        return (
            f"the right number is likelier in {self.right}, by {self.odds} nats; when the deciding noun changes, "
            f"p(plural verb) moves by {self.change} in truth, and by {self.error} more or less in the model"
        )


def controller_score(cases: Sequence[AgreementCase], given: Float[Tensor, "n words"]) -> ControllerScore:
    """The score of what an explanation gives the words of each case.

    Raises ValueError for another number of rows, or one with a number that is not finite where there is a word. A case
    of a single word, or noun, has its deciding one first.
    """
    if len(given) != len(cases):
        raise ValueError(f"{len(cases)} cases are scored by a row each, and {len(given)} rows are given.")
    words, nouns, areas = [], [], []
    for row, (case, values) in enumerate(zip(cases, given, strict=True)):
        own = values[: len(case.prefix)]
        if len(own) < len(case.prefix) or not bool(own.isfinite().all()):
            raise ValueError(f"row {row} has no finite number for each of the {len(case.prefix)} words of its case.")
        wanted = torch.zeros(len(own), dtype=torch.bool)
        wanted[case.controller] = True
        words.append(_first(own, wanted))
        nouns.append(_first(own[list(case.nouns)], wanted[list(case.nouns)]))
        if len(own) > 1:
            areas.append(area_under_curve(own, wanted))
    return ControllerScore(*(Share.of(torch.tensor(each, dtype=torch.float64)) for each in (words, nouns, areas)))


def explanation_scores(
    lm: LanguageModel, words: NumberedWords, cases: Sequence[AgreementCase]
) -> dict[str, ControllerScore]:
    """The scores of all `EXPLANATIONS` of what the model says in these cases.

    Cost: some hundred passes over them and seventy back.
    """
    prompts = VerbPrompts.of(lm, words, [case.prefix for case in cases])
    return {name: controller_score(cases, explain(prompts)) for name, explain in EXPLANATIONS.items()}


def agreement_fidelity(lm: LanguageModel, words: NumberedWords, cases: Sequence[AgreementCase]) -> AgreementFidelity:
    """What the model says in these cases beside the truth. Cost: two passes over them."""
    before, after = (_log_verbs(lm, words, [getattr(case, which) for case in cases]) for which in ("prefix", "swapped"))
    truth = torch.tensor([[case.verbs, case.swapped_verbs] for case in cases], dtype=torch.float64)
    plural = torch.tensor([case.plural for case in cases])
    odds = torch.where(plural, before[:, 1] - before[:, 0], before[:, 0] - before[:, 1])
    change = after[:, 1].exp() - before[:, 1].exp()
    true_change = truth[:, 1, 1] - truth[:, 0, 1]
    return AgreementFidelity(
        Share.of((odds > 0).double()),
        Share.of(odds),
        Share.of((change - true_change).abs()),
        Share.of(true_change.abs()),
    )


def _log_verbs(lm: LanguageModel, words: NumberedWords, prefixes: Sequence[Sequence[int]]) -> Float[Tensor, "n 2"]:
    prompts = VerbPrompts.of(lm, words, prefixes)
    with torch.no_grad():
        return prompts.log_verbs(prompts.embedded(prompts.tokens)).cpu()


def _first(values: Float[Tensor, " n"], wanted: Tensor) -> float:
    """1 if the wanted value is the largest, 0 if not; those that are tied for it share."""
    tied = values >= values.max()
    return float((tied & wanted).sum() / tied.sum())
