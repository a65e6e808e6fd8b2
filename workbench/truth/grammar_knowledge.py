"""What there is to know of the next word of the known English, kind by kind: exact parts of any model's excess loss.

The words are parted step by step: whether the sentence ends; if not, which part of speech comes; which category of it;
of a category in two numbers, which number; and which of the words left. By the chain rule a divergence from the truth
is the sum of what it is at each step, where a step counts as often as the truth takes it (our own choice of steps).
Steps are told apart further by what went before, so that every nat is of one kind.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from workbench.truth.grammar import Grammar
from workbench.truth.grammar_agreement import VERBS
from workbench.truth.grammar_english import STOP
from workbench.truth.sentence_contexts import PLURAL, SINGULAR, Contexts, categories

KINDS = (
    "sentence end",
    "part of speech",
    "part of speech, inner clause",
    "category",
    "number of a noun phrase",
    "verb number, near",
    "verb number, attractor",
    "verb number, pair",
    "word",
)

# Categories of one part of speech; each other category, and each mark or word outside of all, is one by itself.
_PARTS: Mapping[str, tuple[str, ...]] = {
    "verb": VERBS,
    "noun": ("being-word", "goods-word", "place-word"),
    "adjective": ("adjective", "being-adjective", "goods-adjective"),
    "name or pronoun": ("name", "pronoun", "object-pronoun", "it"),
}


@dataclass(frozen=True, eq=False)
class WordSteps:
    """The nested partitions of the words, coarse to fine: each gives every word the number of its group.

    In order: end or not, part of speech, category, category and number, and the word itself.
    """

    groups: tuple[Int[Tensor, " v"], ...]
    verbs: Bool[Tensor, "2 v"]  # singular, plural

    @classmethod
    def of(cls, grammar: Grammar) -> "WordSteps":
        """Those of a grammar that writes words by categories named as those of the English are."""
        category = categories(grammar)
        part = {stem: name for name, stems in _PARTS.items() for stem in stems}
        words = grammar.alphabet
        stems = [category[word].removesuffix(".sg").removesuffix(".pl") for word in words]
        parts = [part.get(stem, stem) for stem in stems]
        labels = ([str(word == STOP) for word in words], parts, stems, [category[word] for word in words], words)
        verbs = [
            [category[word] == f"{stem}.{number}" and stem in VERBS for word, stem in zip(words, stems, strict=True)]
            for number in ("sg", "pl")
        ]
        return cls(tuple(map(_numbered, labels)), torch.tensor(verbs))

    def even(self) -> Float[Tensor, " v"]:
        """ln q of each word where all branches of a step are alike: what one says who knows the words alone."""
        result = torch.zeros(self.verbs.shape[1], dtype=torch.float64)
        for coarse, fine in zip((torch.zeros_like(self.groups[0]), *self.groups), self.groups, strict=False):
            branches = torch.stack([coarse, fine]).unique(dim=1)[0].bincount()
            result -= branches[coarse].double().log()
        return result

    def divergences(
        self, truth: Float[Tensor, "*places v"], log_q: Float[Tensor, "*places v"]
    ) -> Float[Tensor, "*places 6"]:
        """Of every step: nats that a model which says `log_q` loses there, in the order of steps; last, verbs' number.

        The six sum to the divergence of the whole distributions. The fourth is the number of all words but verbs.
        """
        q, is_verb = log_q.exp(), self.verbs.any(0)
        terms = [_terms(groups, truth, q) for groups in self.groups]
        sums = torch.stack([term.sum(-1) for term in terms], dim=-1)
        steps = sums.diff(dim=-1, prepend=torch.zeros_like(sums[..., :1]))
        of_verbs = [terms[i][..., self.groups[i][is_verb].unique()].sum(-1) for i in (2, 3)]
        verb = of_verbs[1] - of_verbs[0]
        steps[..., 3] -= verb
        return torch.cat([steps, verb[..., None]], dim=-1)


def knowledge_losses(
    steps: WordSteps,
    contexts: Contexts,
    truth: Float[Tensor, "n sites v"],
    logits: Float[Tensor, "m t w"],
) -> Float[Tensor, "n kinds"]:
    """What a model loses in each of the `KINDS`, in nats a token: the mean over each stream, exact in the next word.

    A row sums to the mean divergence of its stream from the truth, the excess loss. Verbs' number is told apart by the
    nearest noun before: near if it has the number of the verb that must come, an attractor if it has the other, pair
    if it is the last of two that are the subject together.
    Raises ValueError for logits of another shape.
    """
    if truth.shape != logits.shape:
        raise ValueError(
            f"the truth is of shape {tuple(truth.shape)} (streams, sites, terminals) and the logits of "
            f"{tuple(logits.shape)}; both must be alike."
        )
    end, part, category, number, word, verb = steps.divergences(truth, logits.to(truth).log_softmax(-1)).unbind(-1)
    singular, plural = (truth @ verbs.to(truth) for verbs in steps.verbs)
    near = contexts.nearest == torch.where(plural > singular, PLURAL, SINGULAR)
    inner = contexts.owed > 1
    each = (
        end, part * ~inner, part * inner, category, number,
        verb * (near & ~contexts.pair), verb * (~near & ~contexts.pair), verb * contexts.pair, word,
    )  # fmt: skip
    return torch.stack(each, dim=-1).mean(1)


def _terms(groups: Int[Tensor, " v"], truth: Float[Tensor, "*_ v"], q: Float[Tensor, "*_ v"]) -> Float[Tensor, "*_ g"]:
    """p ln p/q of each group of words."""
    belongs = torch.nn.functional.one_hot(groups).to(truth)
    p, own = truth @ belongs, q @ belongs
    return torch.special.xlogy(p, p) - torch.special.xlogy(p, own)


def _numbered(labels: Sequence[str]) -> Int[Tensor, " v"]:
    """The label of each word as a number, in the order in which they first come."""
    place = {label: i for i, label in enumerate(dict.fromkeys(labels))}
    return torch.tensor([place[label] for label in labels])
