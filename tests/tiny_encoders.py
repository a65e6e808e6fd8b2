"""Random models that are no causal language models: encoders of text and of images, and an encoder with a decoder."""

from collections.abc import Iterator, Mapping

import torch
from torch import nn
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    PreTrainedModel,
    T5Config,
    T5ForConditionalGeneration,
    ViTConfig,
    ViTModel,
)

VOCABULARY = 60
BLOCKS = {"bert": "bert.encoder.*", "vit": "layers.*", "t5": "*.block.*"}  # patterns of the matrices in the blocks


def bert() -> PreTrainedModel:
    """A classifier of text into three, two blocks of width 32."""
    config = BertConfig(
        vocab_size=VOCABULARY, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48,
        max_position_embeddings=16, num_labels=3,
    )  # fmt: skip
    return _made(BertForSequenceClassification(config))


def vit() -> PreTrainedModel:
    """An encoder of images 8 × 8 in patches of 2 × 2, one channel."""
    config = ViTConfig(
        image_size=8, patch_size=2, num_channels=1, hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=48,
    )  # fmt: skip
    return _made(ViTModel(config))


def t5() -> PreTrainedModel:
    """An encoder and a decoder of two blocks each, with a gated MLP."""
    config = T5Config(
        vocab_size=VOCABULARY, d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=2, feed_forward_proj="gated-gelu"
    )
    return _made(T5ForConditionalGeneration(config))


ENCODERS = {"bert": bert, "vit": vit, "t5": t5}


def batches(kind: str, n_batches: int = 12) -> list[dict]:
    """Random inputs, five samples a batch; texts of 8 to 12 tokens are padded to 12, and a decoder reads 7."""
    draws, made = torch.Generator().manual_seed(3), []
    for _ in range(n_batches):
        if kind == "vit":
            made.append({"pixel_values": torch.randn(5, 1, 8, 8, generator=draws)})
            continue
        tokens = torch.randint(1, VOCABULARY, (5, 12), generator=draws)
        counts = torch.arange(12) < torch.tensor([12, 8, 9, 10, 11])[:, None]
        batch = {"input_ids": tokens, "attention_mask": counts.long()}
        if kind == "t5":
            batch["decoder_input_ids"] = torch.randint(1, VOCABULARY, (5, 7), generator=draws)
        made.append(batch)
    return made


def one_by_one(batch: Mapping) -> Iterator[dict]:
    """The samples of a batch, each without padding."""
    for index in range(len(next(iter(batch.values())))):
        own = {name: value[index : index + 1] for name, value in batch.items()}
        if "attention_mask" in own:
            n_tokens = int(own.pop("attention_mask").sum())
            own["input_ids"] = own["input_ids"][:, :n_tokens]
        yield own


def output(model: nn.Module, batch: Mapping) -> torch.Tensor:
    """The model's logits, or its last hidden state."""
    with torch.no_grad():
        given = model(**batch)
    return given["logits"] if "logits" in given else given["last_hidden_state"]


def _made(model: PreTrainedModel) -> PreTrainedModel:
    """Larger random weights than usual, so that a cut matters, and biases; always the same ones."""
    draws = torch.Generator().manual_seed(7)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            parameter.data.normal_(0, 0.15, generator=draws)
        else:
            parameter.data += 0.05 * torch.randn(parameter.shape, generator=draws)
    return model.eval()
