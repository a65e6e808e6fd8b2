"""Whether a GPT that learned from a hidden Markov process holds, linearly, what a string tells of the hidden state.

What is asked for is the belief behind a prefix: the normalised left environment of the process (`HiddenMarkov.belief`).
A linear map of the residual stream is fitted to it on some prefixes and judged on others, in turn for all. Much of a
belief is told by the last few symbols, which any network holds, a random one too; so the same map is fitted to an
untrained network and to tables of the last symbols, and only what is above these was learned.
Source of the question: Shai et al. (2024), arXiv 2405.15943.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from workbench.transformer.string_gpt import StringGPT
from workbench.truth.hmm import HiddenMarkov
from workbench.truth.strings import draw_many, numbered_strings, string_numbers

_ROWS = 2048  # prefixes that are read at once
_PARTS = 10  # of the prefixes, each predicted from the others
_ROUNDING = 1e-6  # directions of the stream that are smaller than this share of the largest are float32's rounding


@dataclass(frozen=True, eq=False)
class BeliefProbe:
    """How much of the belief behind prefixes of `length` symbols a linear map reads off the residual stream.

    All numbers are R² on prefixes not fitted to, a share of the belief's variance: `r2` of the network, `untrained` of
    one that learned nothing, `one_symbol` and `two_symbols` of the best function of the last one and two, and
    `all_symbols` of a linear map of which symbol stands where, without a network.
    `beliefs`, `predicted` (each by a map not fitted to it) and `weights`, the chance of a prefix, have a row a prefix.
    """

    layer: int
    length: int
    r2: float
    untrained: float
    one_symbol: float
    two_symbols: float
    all_symbols: float
    beliefs: Float[Tensor, "n state"]
    predicted: Float[Tensor, "n state"]
    weights: Float[Tensor, " n"]

    @property
    def beyond_one_symbol(self) -> float:
        """The share that the probe explains of what the last symbol leaves open; below 0 if it knows less."""
        return beyond(self.r2, self.one_symbol)

    @property
    def beyond_untrained(self) -> float:
        """The share that the probe explains of what that of the untrained network leaves open."""
        return beyond(self.r2, self.untrained)

    @property
    def errors(self) -> Float[Tensor, " n"]:
        """How far each belief is from the predicted one, in probability (Euclidean)."""
        return (self.predicted - self.beliefs).norm(dim=1)

    def distance_correlation(self, pairs: int = 10_000, seed: int = 0) -> float:
        """The correlation of how far apart two beliefs are, and the two predicted ones, over pairs drawn by chance.

        1 if the geometry is the same up to size. (Pearson's; not the measure of that name of Székely.)
        """
        generator = torch.Generator().manual_seed(seed)
        one, other = (draw_many(self.weights, pairs, generator) for _ in range(2))
        apart = [(points[one] - points[other]).norm(dim=1) for points in (self.beliefs, self.predicted)]
        return float(torch.corrcoef(torch.stack(apart))[0, 1])

    def __str__(self) -> str:
        return (
            f"beliefs behind {self.length} symbols, after layer {self.layer}: R² {self.r2:.4f}; untrained "
            f"{self.untrained:.4f}, last symbol {self.one_symbol:.4f}, last two {self.two_symbols:.4f}, all symbols "
            f"linearly {self.all_symbols:.4f}; of what the last symbol leaves open {self.beyond_one_symbol:.1%}, of "
            f"what the untrained network does {self.beyond_untrained:.1%}"
        )


def beyond(r2: float, baseline: float) -> float:
    """The share of the variance which a baseline leaves open that is explained: (R² - baseline) / (1 - baseline).

    0 if the baseline leaves nothing.
    """
    return (r2 - baseline) / (1 - baseline) if baseline < 1 else 0.0


def probe_beliefs(
    gpt: StringGPT,
    process: HiddenMarkov,
    layer: int | None = None,
    length: int | None = None,
    most: int = 20_000,
    seed: int = 0,
) -> BeliefProbe:
    """The probe of the residual stream after block `layer` (0: the embeddings; the last, if none is given).

    It is read where the last of `length` symbols is, all the GPT reads if none is given. If there are at most `most`
    prefixes, they are all taken, with their probabilities; else so many are drawn, and each different one counts as
    often as it came. The different ones are dealt into ten parts; each is predicted by least squares, without a ridge,
    fitted to the other nine. `seed` deals them and draws the weights of the untrained network.
    Raises ValueError for a layer or length that is not there, other symbols than the process has, fewer prefixes to
    fit to than a linear map has numbers, or beliefs that are all the same.
    Cost: twice a pass of all prefixes (a few seconds for 20,000 of 10 symbols, at a width of 64).
    """
    layer = gpt.model.config.n_layer if layer is None else layer
    length = gpt.n_sites - 1 if length is None else length
    _check(gpt, process, layer, length)
    prefixes, weights = _prefixes(process, length, most, seed)
    beliefs = process.belief(prefixes)
    parts = torch.randperm(len(prefixes), generator=torch.Generator().manual_seed(seed)).tensor_split(_PARTS)
    _check_told(beliefs, len(prefixes) - len(parts[0]), gpt.model.config.n_embd + 1)

    def judged(features: Float[Tensor, "n f"]) -> tuple[float, Tensor]:
        predicted = _held_back(features, beliefs, weights, parts)
        return _r2(predicted, beliefs, weights), predicted

    r2, predicted = judged(residuals(gpt, prefixes, layer))
    return BeliefProbe(
        layer=layer,
        length=length,
        r2=r2,
        untrained=judged(residuals(gpt.untrained(seed), prefixes, layer))[0],
        one_symbol=judged(_last_symbols(prefixes, 1, gpt.n_symbols))[0],
        two_symbols=judged(_last_symbols(prefixes, 2, gpt.n_symbols))[0],
        all_symbols=judged(functional.one_hot(prefixes, gpt.n_symbols).double().flatten(1))[0],
        beliefs=beliefs,
        predicted=predicted,
        weights=weights / weights.sum(),
    )


def residuals(gpt: StringGPT, prefixes: Int[Tensor, "n length"], layer: int) -> Float[Tensor, "n d"]:
    """The residual stream after block `layer` (0: the embeddings) where the last symbol of each prefix is read."""
    blocks = [*gpt.model.transformer.h, gpt.model.transformer.ln_f]  # each is given what came before, no norm applied
    found: list[Tensor] = []
    taking = blocks[layer].register_forward_pre_hook(lambda module, given: found.append(given[0][:, -1].double()))
    try:
        with torch.no_grad():
            for rows in prefixes.split(_ROWS):
                gpt.model(functional.pad(rows, (1, 0), value=gpt.n_symbols), use_cache=False)
    finally:
        taking.remove()
    return torch.cat(found)


def triangle(beliefs: Float[Tensor, "n states"]) -> Float[Tensor, "n 2"]:
    """Where beliefs over three states lie in the triangle of corners (0, 0), (1, 0) and (1/2, √3/2), a state each.

    Predicted ones may lie outside. Raises ValueError for another number of states.
    """
    if beliefs.shape[1] != 3:
        raise ValueError(f"a triangle shows beliefs over 3 states, and these are over {beliefs.shape[1]}.")
    return beliefs @ beliefs.new_tensor([[0, 0], [1, 0], [0.5, 0.75**0.5]])


def _prefixes(process: HiddenMarkov, length: int, most: int, seed: int) -> tuple[Tensor, Tensor]:
    """Different prefixes that can be, and how much each counts."""
    n_symbols = len(process.alphabet)
    if n_symbols**length <= most:
        every = numbered_strings(torch.arange(n_symbols**length), length, n_symbols)
        p = process.log_prob(every).exp()
        return every[p > 0], p[p > 0]
    drawn = process.sample(most, length, torch.Generator().manual_seed(seed))
    prefixes, counts = torch.unique(drawn, dim=0, return_counts=True)
    return prefixes, counts.double()


def _last_symbols(prefixes: Int[Tensor, "n length"], n: int, n_symbols: int) -> Float[Tensor, "n f"]:
    """Which of all combinations the last n symbols are: a linear map of this is any function of them."""
    n = min(n, prefixes.shape[1])
    return functional.one_hot(string_numbers(prefixes[:, -n:], n_symbols), n_symbols**n).double()


def _held_back(
    features: Float[Tensor, "n f"],
    beliefs: Float[Tensor, "n state"],
    weights: Float[Tensor, " n"],
    parts: tuple[Tensor, ...],
) -> Float[Tensor, "n state"]:
    """What a linear map says of each prefix that is fitted to all parts but the one which that prefix is in."""
    features = torch.cat([features, features.new_ones(len(features), 1)], dim=1)
    root, predicted = weights[:, None].sqrt(), torch.empty_like(beliefs)
    for part in parts:
        kept = torch.ones(len(beliefs), dtype=torch.bool).index_fill(0, part, False)
        # By singular values: torch's default driver, gelsy, changes its answers where features depend on each other.
        found = torch.linalg.lstsq((features * root)[kept], (beliefs * root)[kept], rcond=_ROUNDING, driver="gelsd")
        predicted[part] = features[part] @ found.solution
    return predicted


def _r2(predicted: Float[Tensor, "n state"], beliefs: Float[Tensor, "n state"], weights: Float[Tensor, " n"]) -> float:
    spread = beliefs - weights @ beliefs / weights.sum()
    left, all_of_it = (weights @ table.square().sum(1) for table in (predicted - beliefs, spread))
    return 1 - float(left / all_of_it)


def _check(gpt: StringGPT, process: HiddenMarkov, layer: int, length: int) -> None:
    n_layers, n_symbols = gpt.model.config.n_layer, len(process.alphabet)
    if not 0 <= layer <= n_layers:
        raise ValueError(f"there is no stream after layer {layer}; this GPT has {n_layers}, give 0 to {n_layers}.")
    if not 1 <= length < gpt.n_sites:
        raise ValueError(
            f"a GPT of strings of {gpt.n_sites} symbols reads 1 to {gpt.n_sites - 1} of them, not {length}; train it "
            "on strings that are longer than the prefixes."
        )
    if n_symbols != gpt.n_symbols:
        raise ValueError(f"the process has {n_symbols} symbols, but the GPT learned strings of {gpt.n_symbols}.")


def _check_told(beliefs: Float[Tensor, "n state"], n_fitted: int, n_features: int) -> None:
    if n_fitted <= n_features:
        raise ValueError(
            f"a linear map of this network's stream has {n_features} numbers a state, which fit the beliefs behind "
            f"{n_fitted} prefixes whatever they are; ask for longer prefixes, or more."
        )
    if float((beliefs - beliefs[0]).abs().max()) < 1e-9:
        raise ValueError("every prefix leaves the same belief, so there is nothing to read off.")
