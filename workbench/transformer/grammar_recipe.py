"""A small GPT-2 trained on a language whose distribution is known: the English of `workbench.truth`."""

import re
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Int
from tokenizers import Regex, Tokenizer, models, pre_tokenizers
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from workbench.transformer.training import Material, TrainingRecipe, kept_tokenizer
from workbench.truth.grammar import Grammar
from workbench.truth.grammar_english import STOP, english
from workbench.truth.grammar_stream import GrammarStream


@dataclass(frozen=True)
class GrammarRecipe(TrainingRecipe):
    """A GPT-2 on sentences drawn anew at every step, so that nothing can be learnt by heart."""

    d_model: int = 128
    n_layers: int = 4
    n_heads: int = 4
    context: int = 64
    batch: int = 32
    steps: int = 6000
    learning_rate: float = 3e-3
    warmup: int = 100
    decay: float = 0.6
    weight_decay: float = 0.02

    def model(self) -> GPT2LMHeadModel:
        """The untrained model, its random weights from torch's global generator."""
        config = GPT2Config(
            vocab_size=len(english().alphabet),
            n_positions=self.context,
            n_embd=self.d_model,
            n_layer=self.n_layers,
            n_head=self.n_heads,
            activation_function="gelu_pytorch_tanh",
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            bos_token_id=english().alphabet.index(STOP),
            eos_token_id=None,  # a stream goes on after every sentence
        )
        return GPT2LMHeadModel(config)

    def material(self, out: Path, root: Path | None = None) -> Material:
        """One token a word, and rows that need no text: `root` is not read."""
        tokenizer = kept_tokenizer(out, lambda: word_tokenizer(english(), STOP), STOP)
        return Material(tokenizer, lambda step: training_rows(self, step))


def word_tokenizer(grammar: Grammar, stop: str) -> PreTrainedTokenizerFast:
    """One token a terminal; a text begins with the token `stop`, as if a string had ended there.

    Whatever else stands in a text is passed over.
    """
    entries = {terminal: i for i, terminal in enumerate(grammar.alphabet)}
    words = "|".join(
        rf"\b{word}\b" if word.isalnum() else re.escape(word) for word in sorted(entries, key=len, reverse=True)
    )
    tokenizer = Tokenizer(models.WordLevel(entries, unk_token=stop))  # nothing unknown is left to it
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(words), "removed", invert=True)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=stop, clean_up_tokenization_spaces=False)


def training_rows(recipe: GrammarRecipe, step: int) -> Int[Tensor, "b t"]:
    """The rows of one step, each a stop and sentences from the first word on: a function of the seed and the step."""
    generator = torch.Generator().manual_seed(recipe.seed * 1_000_003 + step)
    stream = GrammarStream(english(), recipe.context)
    return torch.nn.functional.pad(stream.sample(recipe.batch, generator), (1, 0), value=stream.stop)
