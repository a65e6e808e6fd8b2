"""Explanations of the number of a verb that a language model says: how much each word before it is made to count.

The choice explained is the log-odds, in nats, of singular against plural verbs at the place of the verb. Each
explanation gives every word before it a number, 0 or more; nan where a shorter beginning has no word. That which noun
decides is known (`workbench.truth.grammar_agreement`) is not told to any of them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.transformer.attribution_rules import mean_on_line, rolled_out
from workbench.transformer.load import LanguageModel
from workbench.transformer.matrices import shared_copy
from workbench.truth.grammar_agreement import NumberedWords


@dataclass(frozen=True, eq=False)
class VerbPrompts:
    """A model of a known language, and beginnings of sentences as it reads them: a stop, and the words.

    Shorter ones are filled up with stops, which nothing before them attends to. The verb is predicted at `last`.
    """

    lm: LanguageModel
    words: NumberedWords
    tokens: Int[Tensor, "n t"]
    last: Int[Tensor, " n"]

    @classmethod
    def of(cls, lm: LanguageModel, words: NumberedWords, prefixes: Sequence[Sequence[int]]) -> "VerbPrompts":
        """Of prefixes. Raises ValueError for none, or one that does not fit the context of the model."""
        lengths = [len(prefix) for prefix in prefixes]
        longest = max(lengths, default=0)
        if not 0 < longest < lm.context:
            raise ValueError(
                f"{lm.name} reads 2 to {lm.context} tokens, the stop before a sentence among them, and the longest of "
                f"{len(lengths)} prefixes has {longest} words; give others."
            )
        if len(lm.tokenizer) != len(words.other):
            raise ValueError(
                f"{lm.name} has {len(lm.tokenizer)} tokens and the language {len(words.other)} words; they must be the "
                "same ones, as those of truth-gpt are."
            )
        stop = lm.tokenizer.bos_token_id
        tokens = torch.full((len(lengths), longest + 1), stop)  # pyright: ignore[reportArgumentType, reportCallIssue]
        for row, prefix in enumerate(prefixes):
            tokens[row, 1 : len(prefix) + 1] = torch.tensor(prefix)
        return cls(lm, words, tokens, torch.tensor(lengths))

    def embedded(self, tokens: Int[Tensor, "n t"]) -> Float[Tensor, "n t d"]:
        """The token embeddings."""
        return self.table[tokens.to(self.lm.device)]

    @property
    def table(self) -> Float[Tensor, "v d"]:
        """The token embeddings of all words."""
        return self.lm.model.get_input_embeddings().weight.detach()  # pyright: ignore

    @property
    def numberless(self) -> Float[Tensor, "n t d"]:
        """The mean embedding of each word and its other number: its own, for a word without."""
        return (self.embedded(self.tokens) + self.embedded(self.words.other[self.tokens])) / 2

    def next_words(self, embedded: Float[Tensor, "n t d"]) -> Float[Tensor, "n v"]:
        """ln q of every word to come, where these are the token embeddings that are read."""
        logits = self.lm.model(inputs_embeds=embedded, use_cache=False).logits
        rows = torch.arange(len(embedded), device=logits.device)
        return logits[rows, self.last.to(logits.device)].double().log_softmax(-1)

    def log_verbs(self, embedded: Float[Tensor, "n t d"]) -> Float[Tensor, "n 2"]:
        """ln of the probability that a singular, and that a plural verb comes next, where these are read."""
        said = self.next_words(embedded)
        kinds = self.words.verbs.to(said.device)
        return torch.stack([said[:, kind].logsumexp(-1) for kind in kinds], dim=-1)

    def log_odds(self, embedded: Float[Tensor, "n t d"]) -> Float[Tensor, " n"]:
        """Of a singular against a plural verb, in nats, where these are read."""
        singular, plural = self.log_verbs(embedded).unbind(-1)
        return singular - plural

    def of_words(self, scores: Float[Tensor, "n t"]) -> Float[Tensor, "n words"]:
        """What positions are given, without the stop, and nan after the last word."""
        places = torch.arange(1, scores.shape[1])
        return scores[:, 1:].cpu().double().masked_fill(places > self.last[:, None], torch.nan)


Explain = Callable[[VerbPrompts], Float[Tensor, "n words"]]


def attention(prompts: VerbPrompts) -> Float[Tensor, "n words"]:
    """What the last word attends to, 0 to 1, a mean over heads and layers; exact. Cost: one pass."""
    return prompts.of_words(_at_last(prompts, _patterns(prompts).mean(0)))


def rollout(prompts: VerbPrompts) -> Float[Tensor, "n words"]:
    """The share, 0 to 1, of the last word's position that comes from each: attention `rolled_out`. Cost: one pass."""
    return prompts.of_words(_at_last(prompts, rolled_out(_patterns(prompts))))


def gradient_times_input(prompts: VerbPrompts) -> Float[Tensor, "n words"]:
    """The size of the gradient of the log-odds by a word's embedding, times the embedding; in nats, a local measure.

    Cost: one pass and one back.
    """
    embedded = prompts.embedded(prompts.tokens)
    return prompts.of_words((_gradient(prompts, embedded) * embedded).sum(-1).abs())


def gradient_times_number(prompts: VerbPrompts) -> Float[Tensor, "n words"]:
    """The same, times what the embedding differs by from the mean of the word's two numbers: 0 for other words."""
    embedded = prompts.embedded(prompts.tokens)
    return prompts.of_words((_gradient(prompts, embedded) * (embedded - prompts.numberless)).sum(-1).abs())


def integrated_gradients(prompts: VerbPrompts) -> Float[Tensor, "n words"]:
    """The size of what a word adds to the log-odds, in nats, from the mean embedding of the vocabulary everywhere.

    See `added_log_odds`. Cost: 48 passes and as many back: the path is a rugged one.
    """
    return prompts.of_words(added_log_odds(prompts, prompts.table.mean(0), 48).abs())


def integrated_number(prompts: VerbPrompts) -> Float[Tensor, "n words"]:
    """The size of what a word's number adds to the log-odds, in nats: from the mean of its two numbers everywhere.

    See `added_log_odds`. Cost: 24 passes and as many back.
    """
    return prompts.of_words(added_log_odds(prompts, prompts.numberless, 24).abs())


def added_log_odds(prompts: VerbPrompts, baseline: Float[Tensor, "*_ d"], nodes: int) -> Float[Tensor, "n t"]:
    """What each position adds to the log-odds, in nats: integrated gradients (Sundararajan et al. 2017).

    From `baseline` embeddings at all positions but the first stop, along the straight line to those read, the gradient
    is integrated by a rule of so many `nodes`. A row sums to the log-odds less the baseline's
    (completeness), up to the rule's error.
    """
    ends = prompts.embedded(prompts.tokens)
    line = ends - baseline
    line[:, 0] = 0
    return mean_on_line(lambda share: (_gradient(prompts, ends - line * (1 - share)) * line).sum(-1).double(), nodes)


def ablation(prompts: VerbPrompts) -> Float[Tensor, "n words"]:
    """How far the log-odds move, in nats, when a word's embedding is the mean of the vocabulary: leave one out.

    The model never reads such a word otherwise. Cost: a pass a word.
    """
    mean, embedded = prompts.table.mean(0), prompts.embedded(prompts.tokens)

    def without(place: int) -> Tensor:
        instead = embedded.clone()
        instead[:, place] = mean
        return instead

    return _moved(prompts, without)


def number_swap(prompts: VerbPrompts) -> Float[Tensor, "n words"]:
    """How far the log-odds move, in nats, when a noun or a verb is in its other number; 0 for other words.

    An exact counterfactual of the model; what is read may be no sentence. Cost: a pass a word.
    """

    def swapped(place: int) -> Tensor:
        instead = prompts.tokens.clone()
        instead[:, place] = prompts.words.other[instead[:, place]]
        return prompts.embedded(instead)

    return _moved(prompts, swapped)


def nothing(prompts: VerbPrompts) -> Float[Tensor, "n words"]:
    """The same for every word: what an explanation that knows nothing, or one by chance, is scored on average."""
    return prompts.of_words(torch.zeros(prompts.tokens.shape))


EXPLANATIONS: Mapping[str, Explain] = {
    "attention": attention,
    "rollout": rollout,
    "gradient × input": gradient_times_input,
    "gradient × number": gradient_times_number,
    "integrated gradients": integrated_gradients,
    "integrated number": integrated_number,
    "ablation": ablation,
    "number swap": number_swap,
    "chance": nothing,
}


def _moved(prompts: VerbPrompts, without: Callable[[int], Float[Tensor, "n t d"]]) -> Float[Tensor, "n words"]:
    with torch.no_grad():
        before = prompts.log_odds(prompts.embedded(prompts.tokens))
        moved = [(prompts.log_odds(without(place)) - before).abs() for place in range(1, prompts.tokens.shape[1])]
    return prompts.of_words(torch.stack([torch.zeros_like(before), *moved], dim=1))


def _gradient(prompts: VerbPrompts, embedded: Float[Tensor, "n t d"]) -> Float[Tensor, "n t d"]:
    """The gradient of each row's log-odds by every embedding that it reads, where these are `embedded`."""
    with torch.enable_grad():
        leaves = embedded.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(prompts.log_odds(leaves).sum(), leaves)  # rows read themselves only
    return gradient


def _patterns(prompts: VerbPrompts) -> Float[Tensor, "layers n t s"]:
    """What each position attends to in each layer, a mean over heads."""
    model = shared_copy(prompts.lm.model)
    model.set_attn_implementation("eager")  # pyright: ignore[reportCallIssue]  # alone gives patterns
    with torch.no_grad():
        run = model(prompts.tokens.to(prompts.lm.device), use_cache=False, output_attentions=True)
    return torch.stack(run.attentions).mean(2)


def _at_last(prompts: VerbPrompts, read: Float[Tensor, "n t s"]) -> Float[Tensor, "n s"]:
    """What is read where the verb is predicted."""
    return read[torch.arange(len(read)), prompts.last]
