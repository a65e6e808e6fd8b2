"""Sequences that repeat themselves: what a model needs induction heads for, and a recipe that trains one on them."""

import string
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, Int
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast

from workbench.transformer.attention_only import AttentionOnlyConfig, AttentionOnlyLM
from workbench.transformer.training import Material, TrainingRecipe, kept_tokenizer

START = "<|start|>"
LETTERS = string.ascii_uppercase + string.ascii_lowercase
VOCABULARY = 1 + len(LETTERS)
_BATCH_ROWS = 32


@dataclass(frozen=True)
class RepeatsRecipe(TrainingRecipe):
    """An attention-only model on letters drawn at random, some of which are then repeated to the end of the row.

    Where the repeated segment begins and how long it is are drawn for each row, so that no fixed distance and no
    fixed position tells the next letter: it can only be looked up where the present one stood before.
    """

    d_model: int = 64
    n_layers: int = 2
    n_heads: int = 4
    context: int = 64
    batch: int = 32
    steps: int = 4000
    learning_rate: float = 3e-3
    decay: float = 0.6
    weight_decay: float = 3.0  # strong, so that a head that is not needed fades
    seed: int = 1
    longest_prefix: int = 4  # letters before the segment begins
    shortest_period: int = 4
    longest_period: int = 30

    def __post_init__(self) -> None:
        needed = self.longest_prefix + 2 * self.longest_period
        if needed > self.context:
            raise ValueError(
                f"a context of {self.context} does not hold a prefix of {self.longest_prefix} and "
                f"{self.longest_period} letters twice; give context={needed} or more."
            )
        if not 2 <= self.shortest_period <= self.longest_period or self.longest_prefix < 0:
            raise ValueError(
                f"periods of {self.shortest_period} to {self.longest_period} after a prefix of up to "
                f"{self.longest_prefix} are none; the shortest period is 2 or more, and the prefix 0 or more."
            )

    def model(self) -> AttentionOnlyLM:
        """The untrained model, its random weights from torch's global generator."""
        config = AttentionOnlyConfig(
            vocab_size=VOCABULARY,
            n_positions=self.context,
            n_embd=self.d_model,
            n_layer=self.n_layers,
            n_head=self.n_heads,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            bos_token_id=0,
            eos_token_id=None,
            tie_word_embeddings=False,
        )
        return AttentionOnlyLM(config)

    def material(self, out: Path, root: Path | None = None) -> Material:
        """One token a letter, and rows that need no text: `root` is not read."""
        return Material(kept_tokenizer(out, letter_tokenizer, START), lambda step: training_rows(self, step))


def letter_tokenizer() -> PreTrainedTokenizerFast:
    """One token a letter, A to Z and a to z; entry 0 is the start. Whatever else stands in a text is passed over."""
    entries = {START: 0} | {letter: 1 + index for index, letter in enumerate(LETTERS)}
    tokenizer = Tokenizer(models.WordLevel(entries, unk_token=START))  # nothing unknown is left to it
    tokenizer.normalizer = normalizers.Replace(Regex("[^A-Za-z]"), "")
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=START, clean_up_tokenization_spaces=False)


def training_rows(recipe: RepeatsRecipe, step: int) -> Int[Tensor, "b t"]:
    """The rows of one step: a function of the seed and the step alone, so that resuming changes nothing."""
    generator = torch.Generator().manual_seed(recipe.seed * 1_000_003 + step)
    each = (recipe.batch, 1)
    letters = torch.randint(1, VOCABULARY, (recipe.batch, recipe.context), generator=generator)
    prefix = torch.randint(0, recipe.longest_prefix + 1, each, generator=generator)
    period = torch.randint(recipe.shortest_period, recipe.longest_period + 1, each, generator=generator)
    at = torch.arange(recipe.context).expand_as(letters)
    at = torch.where(at < prefix, at, prefix + (at - prefix) % period)
    return torch.cat((torch.zeros(each, dtype=torch.long), letters.gather(1, at)), dim=1)


def repeated_tokens(n_rows: int, period: int, vocabulary: int, seed: int = 0, start: int = 0) -> Int[Tensor, "n t"]:
    """Rows of the token `start`, then `period` different random tokens, then the same ones again.

    The tokens of a row differ, so in the second copy the present one says what comes next. (n, 1 + 2 period).
    Raises ValueError if the vocabulary has not so many tokens beside `start`.
    """
    if n_rows < 1 or period < 2:
        raise ValueError(f"{n_rows} rows of period {period} were asked for; give 1 or more, of period 2 or more.")
    if not 0 <= start < vocabulary or period > vocabulary - 1:
        raise ValueError(
            f"a vocabulary of {vocabulary} has not {period} different tokens beside the start {start}; give a shorter "
            "period, and a start within it."
        )
    generator = torch.Generator().manual_seed(seed)
    others = torch.rand(n_rows, vocabulary - 1, generator=generator).argsort(1)[:, :period]
    copied = others + (others >= start)
    return torch.cat((torch.full((n_rows, 1), start), copied, copied), dim=1)


def second_copy_hits(logits: Float[Tensor, "n p v"], rows: Int[Tensor, "n t"]) -> float:
    """The share, 0 to 1, of the last p tokens of each row that the logits at the position before each get right."""
    return float((logits.argmax(-1) == rows[:, -logits.shape[1] :].to(logits.device)).double().mean())


def first_copy_loss(model: nn.Module, tokens: Int[Tensor, "n t"], period: int) -> float:
    """The mean loss in nats over the tokens of the first copy, which nothing foretells."""
    logits = _logits(model, tokens, period)[:, :period]
    wanted = tokens[:, 1 : period + 1].to(logits.device)
    return float(nn.functional.cross_entropy(logits.flatten(0, 1), wanted.flatten()))


def _logits(model: nn.Module, tokens: Int[Tensor, "n t"], period: int) -> Float[Tensor, "n t v"]:
    """The model's logits at every position. Raises ValueError unless the rows are a start and two copies."""
    if tokens.shape[1] != 1 + 2 * period:
        raise ValueError(
            f"rows of {tokens.shape[1]} tokens are no start and two copies of {period}, which are {1 + 2 * period}."
        )
    device = next(model.parameters()).device
    with torch.no_grad():
        parts = [model(rows.to(device), use_cache=False).logits.float() for rows in tokens.split(_BATCH_ROWS)]
    return torch.cat(parts)
