"""The strings of a grammar one after the other: a language as a transformer reads it, with exact conditionals."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain, islice

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.decompose.train import TensorTrain
from workbench.truth.amplitudes import minimal
from workbench.truth.chain import ChainSource
from workbench.truth.grammar import Grammar
from workbench.truth.grammar_chart import batches, read
from workbench.truth.grammar_classes import WordClasses
from workbench.truth.grammar_sampling import strings
from workbench.truth.grammar_stacks import stack_cores
from workbench.truth.source import Description
from workbench.truth.strings import check_enumerable, check_sites, check_strings


@dataclass(frozen=True, eq=False)
class GrammarStream:
    """The first `n_sites` tokens of independent strings of a grammar in a row, from the first of a string on.

    A stream is cut, never padded and never conditioned on a length: every token has its true distribution given those
    before it, and a further one has the exact `entropy_rate`. Probabilities, conditionals and samples are exact at any
    length. What sums over all streams (`entropy`, `marginal`, `mps`) goes over words by class, those that may stand in
    for one another, and over the stacks of unfinished rules: a few sites, beyond which it is refused.

    Raises ValueError unless every string ends in a terminal that stands nowhere else (`stop`): only then do strings in
    a row show where they end.
    """

    grammar: Grammar
    n_sites: int
    stop: int = field(init=False)

    def __post_init__(self) -> None:
        if self.n_sites < 1:
            raise ValueError(f"a stream has one or more tokens, not {self.n_sites}.")
        object.__setattr__(self, "stop", end_mark(self.grammar))

    @property
    def alphabet(self) -> tuple[str, ...]:
        """The terminals of the grammar."""
        return self.grammar.alphabet

    def sample(self, n: int, generator: torch.Generator) -> Int[Tensor, "n sites"]:
        """So many independent streams."""
        sentences = strings(self.grammar.start, self.grammar.rules, generator)
        # The rest of the string that is cut at the end of a row is passed over: the next row begins with a new one.
        rows = [list(islice(chain.from_iterable(sentences), self.n_sites)) for _ in range(n)]
        return torch.tensor(rows, dtype=torch.long).reshape(n, self.n_sites)

    def log_prob(self, x: Int[Tensor, "n sites"]) -> Float[Tensor, " n"]:
        """ln p of each stream: whole strings, and the beginning of the one that is cut; -inf for what cannot be."""
        check_strings(x, self.n_sites, self.alphabet)
        total = torch.zeros(len(x), dtype=torch.float64)
        pieces = self._pieces(x)
        for chosen, rows in batches(self.grammar.normal_form, [piece for _, _, piece in pieces]):
            reading = read(self.grammar.normal_form, rows)
            # A string that has come to the stop is finished for certain, so its beginning is all of it.
            total.index_add_(0, torch.tensor([pieces[i][0] for i in chosen]), reading.log_conditional.sum(1))
        return total

    def conditionals(self, x: Int[Tensor, "n sites"]) -> Float[Tensor, "n sites v"]:
        """The exact distribution of the token at every site of each stream, given those before it.

        What a model that has read a stop and x[:, :k] should say of x[:, k] (see `inputs`). Cost: a chart a string, and
        n · sites · v numbers. Raises ValueError if a stream cannot be.
        """
        check_strings(x, self.n_sites, self.alphabet)
        result = torch.zeros(*x.shape, len(self.alphabet), dtype=torch.float64)
        pieces = self._pieces(x)
        for chosen, rows in batches(self.grammar.normal_form, [piece for _, _, piece in pieces]):
            reading = read(self.grammar.normal_form, rows)
            said = reading.next_terminals(self.grammar.normal_form)[:, :-1]
            for i, own, possible in zip(chosen, said, reading.log_conditional.isfinite(), strict=True):
                row, begin, piece = pieces[i]
                if not bool(possible.all()):
                    at = begin + int((~possible).nonzero()[0])
                    raise ValueError(
                        f"stream {row} cannot be: {self.alphabet[int(x[row, at])]!r} at site {at} is impossible."
                    )
                result[row, begin : begin + len(piece)] = own
        return result

    def inputs(self, x: Int[Tensor, "n sites"]) -> Int[Tensor, "n sites"]:
        """What a model reads to say each token of streams: a stop, and all tokens but the last."""
        return torch.nn.functional.pad(x[:, :-1], (1, 0), value=self.stop)

    def entropy_rate(self) -> float:
        """Of a further token (exact): the entropy of a string over its mean length. Raises as `Grammar.entropy`."""
        return self.grammar.entropy() / self.grammar.mean_length()

    def entropy(self) -> float:
        """Of all the tokens (exact). Raises ValueError where there are too many stacks to sum over."""
        return float(self.position_entropies().sum())

    def position_entropies(self) -> Float[Tensor, " sites"]:
        """Of the token at each site, given those before it. Raises ValueError where there are too many stacks."""
        shares = torch.stack([self._by_class.marginal([site]) for site in range(self.n_sites)])
        return self._by_class.position_entropies() + shares @ self._classes.entropies()

    def marginal(self, sites: Sequence[int]) -> Float[Tensor, "*terminals"]:
        """The joint distribution of the tokens at `sites`, an axis a site in the order given.

        Raises ValueError above 2^24 entries, and where there are too many stacks.
        """
        kept = check_sites(sites, self.n_sites)
        check_enumerable(len(self.alphabet), len(kept), "give fewer sites")
        return self._classes.spread(self._by_class.marginal(kept))

    def mutual_information(self, i: int, j: int) -> float:
        """Between the tokens at two sites: that between their classes, which say all that they tell of one another."""
        return self._by_class.mutual_information(i, j)

    def mps(self) -> TensorTrain:
        """The amplitudes √p: those of the classes, each spread over its terminals. Raises as `ChainSource.mps`."""
        amplitudes = self._classes.share.sqrt()[:, None]
        cores = [core[:, self._classes.of_terminal] * amplitudes for core in self._by_class.mps().cores]
        return minimal(TensorTrain.from_cores(cores))

    def bond_dims(self) -> tuple[int, ...]:
        """The ranks of the amplitudes, which are those of the classes alone. Raises as `mps`."""
        return self._by_class.bond_dims()

    def describe(self) -> Description:
        """What it is and where it comes from."""
        told = f"{len(self.grammar.rules)} rules, {len(self.alphabet)} terminals, the first {self.n_sites} of a stream"
        return Description("probabilistic context-free grammar", told, "prefix probabilities (Jelinek & Lafferty 1991)")

    @cached_property
    def _classes(self) -> WordClasses:
        return WordClasses.of(self.grammar.normal_form)

    @cached_property
    def _by_class(self) -> ChainSource:
        """The same stream with every terminal replaced by its class."""
        cores = stack_cores(self.grammar.normal_form, self._classes.emitted, self.n_sites)
        return ChainSource(cores, self._classes.names(self.alphabet), self.describe())

    def _pieces(self, x: Int[Tensor, "n sites"]) -> list[tuple[int, int, list[int]]]:
        """The strings of each stream, the last one cut: the row, the site where it begins, and its tokens."""
        pieces = []
        for row, tokens in enumerate(x.tolist()):
            begins = [0, *(site + 1 for site, token in enumerate(tokens) if token == self.stop)]
            ends = [*begins[1:], len(tokens)]
            pieces += [(row, begin, tokens[begin:end]) for begin, end in zip(begins, ends, strict=True) if begin < end]
        return pieces


def end_mark(grammar: Grammar) -> int:
    """The index of the terminal that ends every string and stands nowhere else.

    Raises ValueError if there is none: then strings in a row do not show where they end.
    """
    final = {rule.right[-1] for rule in grammar.rules if rule.left == grammar.start}
    inner = {symbol for rule in grammar.rules for symbol in rule.right[: -1 if rule.left == grammar.start else None]}
    if len(final) > 1 or final - set(grammar.alphabet) or final & inner or grammar.start in inner:
        raise ValueError(
            f"the rules of {grammar.start!r} end in {', '.join(sorted(final))}; strings in a row show their ends if "
            f"all these rules end in one terminal, and neither it nor {grammar.start!r} stands elsewhere."
        )
    return grammar.alphabet.index(final.pop())
