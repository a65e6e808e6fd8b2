"""A tiny GPT-2 learned from strings of symbols, with exact probabilities: a transformer beside a tensor network."""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional
from transformers import GPT2Config, GPT2LMHeadModel

from workbench.truth.strings import draw

_SCORED_ROWS = 4096  # strings that are scored at once


@dataclass(frozen=True)
class StringGPTRecipe:
    """Everything that decides the learned weights, apart from the samples and the machine's floating point.

    A share `held_back` of the samples is not trained on; of the states met every `check_every` steps the one with the
    smallest loss there is kept.
    """

    d_model: int = 32
    n_layers: int = 2
    n_heads: int = 2
    batch: int = 128
    steps: int = 600
    learning_rate: float = 3e-3
    weight_decay: float = 0.1
    held_back: float = 0.2
    check_every: int = 20
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.held_back < 1:
            raise ValueError(f"held_back is a share between 0 and 1 of the samples, not {self.held_back}.")
        if self.d_model % self.n_heads:
            raise ValueError(f"a width of {self.d_model} does not divide into {self.n_heads} heads.")


@dataclass(frozen=True, eq=False)
class StringGPT:
    """A GPT-2 over strings of `n_sites` symbols out of `n_symbols`; a token of its own starts each.

    Position t predicts symbol t; it reads symbol t - 1, position 0 the start, so that the last symbol is never read.
    `curve` holds (step, mean loss on the samples held back), nats a string; `best_step` is the step that is kept.
    """

    model: GPT2LMHeadModel
    n_sites: int
    n_symbols: int
    curve: tuple[tuple[int, float], ...]
    best_step: int

    @property
    def n_params(self) -> int:
        """Numbers learned."""
        return sum(parameter.numel() for parameter in self.model.parameters())

    def log_prob(self, x: Int[Tensor, "n sites"]) -> Float[Tensor, " n"]:
        """ln of each string's probability, float64: a sum of next-symbol terms, so normalised to rounding."""
        with torch.inference_mode():
            parts = [_log_prob(self.model, rows, self.n_symbols) for rows in self.checked(x).split(_SCORED_ROWS)]
        return torch.cat(parts)

    def log_conditionals(self, x: Int[Tensor, "n sites"]) -> Float[Tensor, "n sites symbols"]:
        """ln q of every symbol at every site, given the string's symbols before it; float64, nats."""
        with torch.no_grad():
            parts = [self.log_next(self.embedded(rows)) for rows in self.checked(x).split(_SCORED_ROWS)]
        return torch.cat(parts)

    def checked(self, x: Int[Tensor, "n sites"]) -> Int[Tensor, "n sites"]:
        """The strings. Raises ValueError for another length or alphabet than was learned."""
        _check(x, self.n_sites, self.n_symbols)
        return x

    def embedded(self, x: Int[Tensor, "n sites"]) -> Float[Tensor, "n sites d"]:
        """The embedding of the token that each position reads: the start, then every symbol but the last."""
        return self.model.transformer.wte(_read(self.checked(x), self.n_symbols))

    def log_next(self, embedded: Float[Tensor, "n t d"]) -> Float[Tensor, "n t symbols"]:
        """ln q of the symbol at each position, from the embeddings that are read, which it may be differentiated by."""
        return _log_next(self.model(inputs_embeds=embedded, use_cache=False).logits, self.n_symbols)

    def sample(self, n: int, generator: torch.Generator) -> Int[Tensor, "n sites"]:
        """So many independent strings, symbol by symbol. Cost: a pass over all that is written so far, a symbol."""
        parts = [torch.empty(0, self.n_sites, dtype=torch.int64)]
        for first in range(0, n, _SCORED_ROWS):
            x = torch.zeros(min(_SCORED_ROWS, n - first), self.n_sites, dtype=torch.int64)
            for site in range(self.n_sites):
                with torch.no_grad():
                    logits = self.model(_read(x[:, : site + 1], self.n_symbols), use_cache=False).logits[:, -1]
                x[:, site] = draw(_log_next(logits, self.n_symbols).exp(), generator)
            parts.append(x)
        return torch.cat(parts)

    def untrained(self, seed: int) -> "StringGPT":
        """A network of the same sizes that learned nothing, its weights drawn by the seed: a control."""
        model = _drawn(copy.deepcopy(self.model.config), seed)
        return StringGPT(model.requires_grad_(False), self.n_sites, self.n_symbols, (), 0)


def learn_strings(
    samples: Int[Tensor, "n sites"],
    n_symbols: int,
    recipe: StringGPTRecipe | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> StringGPT:
    """The GPT that learned from the samples, the best state on those held back.

    An interrupt ends it early with the best state so far. Raises ValueError for fewer than two samples, or symbols
    that are not there. Cost: `steps` passes of a batch; a few milliseconds each at the usual size.
    """
    chosen = recipe or StringGPTRecipe()
    n, n_sites = samples.shape
    _check(samples, n_sites, n_symbols)
    if n < 2:
        raise ValueError(f"learning needs two or more samples, one to train on and one held back, not {n}.")
    generator = torch.Generator().manual_seed(chosen.seed)
    order = torch.randperm(n, generator=generator)
    n_held = max(1, int(chosen.held_back * n))
    held_back, training = samples[order[:n_held]], samples[order[n_held:]]
    model = _untrained(chosen, n_sites, n_symbols)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=chosen.learning_rate, betas=(0.9, 0.99), weight_decay=chosen.weight_decay, fused=True
    )
    best, best_loss, best_step, curve = _state(model), math.inf, 0, []
    try:
        for step in range(chosen.steps + 1):
            if step % chosen.check_every == 0 or step == chosen.steps:
                with torch.inference_mode():
                    loss = -float(_log_prob(model, held_back, n_symbols).mean())
                curve.append((step, loss))
                if loss < best_loss:
                    best, best_loss, best_step = _state(model), loss, step
            if step == chosen.steps:
                break
            rows = training[torch.randint(len(training), (min(chosen.batch, len(training)),), generator=generator)]
            for group in optimizer.param_groups:
                group["lr"] = chosen.learning_rate * min(1.0, (step + 1) / 50, 2 * (1 - step / chosen.steps))
            (-_log_prob(model, rows, n_symbols).mean() / n_sites).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            if progress:
                progress("learn", step + 1, chosen.steps)
    except KeyboardInterrupt:
        if not curve:
            raise
    model.load_state_dict(best)
    return StringGPT(model.requires_grad_(False), n_sites, n_symbols, tuple(curve), best_step)


def _untrained(recipe: StringGPTRecipe, n_sites: int, n_symbols: int) -> GPT2LMHeadModel:
    config = GPT2Config(
        vocab_size=n_symbols + 1, n_positions=n_sites, n_embd=recipe.d_model, n_layer=recipe.n_layers,
        n_head=recipe.n_heads, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, bos_token_id=n_symbols,
        eos_token_id=None, tie_word_embeddings=False,
    )  # fmt: skip
    return _drawn(config, recipe.seed)


def _drawn(config: GPT2Config, seed: int) -> GPT2LMHeadModel:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return GPT2LMHeadModel(config)


def _log_prob(model: GPT2LMHeadModel, x: Int[Tensor, "n sites"], n_symbols: int) -> Float[Tensor, " n"]:
    logs = _log_next(model(_read(x, n_symbols), use_cache=False).logits, n_symbols)
    return logs.gather(-1, x[..., None])[..., 0].sum(1)


def _read(x: Int[Tensor, "n t"], n_symbols: int) -> Int[Tensor, "n t"]:
    """The tokens that predict these symbols: the start, and each symbol but the last."""
    return functional.pad(x[:, :-1], (1, 0), value=n_symbols)


def _log_next(logits: Float[Tensor, "*n tokens"], n_symbols: int) -> Float[Tensor, "*n symbols"]:
    return logits[..., :n_symbols].double().log_softmax(-1)  # the start is never said


def _state(model: GPT2LMHeadModel) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def _check(x: Int[Tensor, "n sites"], n_sites: int, n_symbols: int) -> None:
    if x.ndim != 2 or x.shape[1] != n_sites:
        raise ValueError(f"strings of {n_sites} symbols were learned, and shape {tuple(x.shape)} holds others.")
    if x.numel() and not 0 <= int(x.min()) <= int(x.max()) < n_symbols:
        raise ValueError(f"symbols are 0 to {n_symbols - 1}, and these strings hold {int(x.min())} to {int(x.max())}.")
