"""The recipe of a small GPT-2 trained on the standard library's own text: its tokenizer and its windows."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Int
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from workbench.transformer.corpus import is_test, split, stdlib_modules
from workbench.transformer.training import Material, TrainingRecipe, kept_tokenizer

END_OF_TEXT = "<|endoftext|>"


@dataclass(frozen=True)
class TextRecipe(TrainingRecipe):
    """A GPT-2 on the text of Python's standard library."""

    vocabulary: int = 4096
    library_share: float = 0.7  # of the windows; the rest come from the library's own test-suite

    def model(self) -> GPT2LMHeadModel:
        """The untrained model, its random weights from torch's global generator."""
        config = GPT2Config(
            vocab_size=self.vocabulary,
            n_positions=self.context,
            n_embd=self.d_model,
            n_layer=self.n_layers,
            n_head=self.n_heads,
            activation_function="gelu_pytorch_tanh",  # GPT-2's own GELU in one kernel: 1.2 to 1.5x faster here
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            bos_token_id=0,
            eos_token_id=0,
        )
        return GPT2LMHeadModel(config)

    def material(self, out: Path, root: Path | None = None) -> Material:
        """The library's own tokenizer and windows, and which modules were in which part.

        Raises ValueError if the text fills no window.
        """
        modules = stdlib_modules(root)
        parts = split(modules)
        texts = [modules[name] for name in parts.train]
        tokenizer = kept_tokenizer(out, lambda: train_tokenizer(iter(texts), self.vocabulary), END_OF_TEXT)
        streams = [
            token_stream(tokenizer, [modules[name] for name in parts.train if is_test(name) == tests])
            for tests in (False, True)
        ]
        if len(streams[0]) <= self.context:
            raise ValueError(f"the training text has {len(streams[0])} tokens; one window needs {self.context + 1}.")
        listed = {"split.json": {"held_out": parts.held_out, "set_aside": parts.set_aside}}
        return Material(tokenizer, lambda step: windows(streams, self, step), listed)


def train_tokenizer(texts: Iterator[str], vocabulary: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer of `vocabulary` entries; entry 0 is the end-of-text mark."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=END_OF_TEXT, eos_token=END_OF_TEXT, clean_up_tokenization_spaces=False
    )


def token_stream(tokenizer: PreTrainedTokenizerFast, texts: Sequence[str]) -> Int[Tensor, " n"]:
    """All texts as one stream, each begun by the end-of-text mark."""
    mark = tokenizer.convert_tokens_to_ids(END_OF_TEXT)
    encoded = tokenizer.backend_tokenizer.encode_batch(list(texts))
    return torch.tensor([token for text in encoded for token in (mark, *text.ids)], dtype=torch.int32)


def windows(streams: Sequence[Int[Tensor, " _"]], recipe: TextRecipe, step: int) -> Int[Tensor, "b t"]:
    """The windows of one step: a function of the seed and the step alone, so that resuming changes nothing."""
    generator = torch.Generator().manual_seed(recipe.seed * 1_000_003 + step)
    library, tests = streams
    rows = []
    for draw in torch.rand(recipe.batch, generator=generator).tolist():
        stream = library if draw < recipe.library_share or len(tests) <= recipe.context else tests
        start = int(torch.randint(len(stream) - recipe.context, (1,), generator=generator))
        rows.append(stream[start : start + recipe.context + 1])
    return torch.stack(rows).long()
