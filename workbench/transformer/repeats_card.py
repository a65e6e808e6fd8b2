"""What a model trained on repeats reached on rows it never saw, and the model card that says so."""

import math
from pathlib import Path

from workbench.transformer.ablation import second_copy_accuracy
from workbench.transformer.card import trained_with
from workbench.transformer.load import LanguageModel, load
from workbench.transformer.repeats import LETTERS, VOCABULARY, first_copy_loss, repeated_tokens
from workbench.whole_files import replaced_file, write_json

_ROWS = 512
_SEED = 1_000  # of the scored rows, whose letters all differ; a training row's are drawn one by one


def write_repeats_card(out: Path, record: dict, device: str = "cpu") -> dict:
    """Scores the checkpoint in `out` on rows it never saw, writes README.md and training.json there, and returns
    the figures."""
    lm = load(out, device)
    recipe = record["recipe"]
    shortest, longest = recipe["shortest_period"], recipe["longest_period"]
    figures = {
        "n_params": sum(parameter.numel() for parameter in lm.model.parameters()),
        "uniform_loss": math.log(len(LETTERS)),
        "scored_rows": _ROWS,
        "periods": {str(period): score(lm, period) for period in (shortest, (shortest + longest) // 2, longest)},
    } | trained_with(device)
    every = figures["periods"].values()
    figures["second_copy_accuracy"] = min(each["second_copy_accuracy"] for each in every)
    write_json(out / "training.json", record | figures)
    with replaced_file(out / "README.md") as temporary:
        temporary.write_text(_card(record, figures), encoding="utf-8")
    return figures


def score(lm: LanguageModel, period: int) -> dict:
    """What the model reaches on rows of one period."""
    tokens = repeated_tokens(_ROWS, period, VOCABULARY, _SEED)
    return {
        "second_copy_accuracy": second_copy_accuracy(lm, tokens, period),
        "first_copy_loss": first_copy_loss(lm.model, tokens, period),
    }


def _card(record: dict, figures: dict) -> str:
    recipe = record["recipe"]
    n_tokens = record["step"] * recipe["batch"] * recipe["context"]
    rows = "\n".join(
        f"| period {period} | {each['second_copy_accuracy']:.2%} | {each['first_copy_loss']:.3f} |"
        for period, each in figures["periods"].items()
    )
    return f"""# attn2

An attention-only GPT-2 of {figures["n_params"]:,} parameters ({recipe["n_layers"]} layers, d_model {recipe["d_model"]},
{recipe["n_heads"]} heads a layer, context {recipe["context"]}), float16 in safetensors. A block is a LayerNorm and
attention with biases, without an MLP; positions are learned, and the unembedding is its own. It is trained from
nothing by `workbench train --task repeats`, and is here so that induction heads can be looked at where there is little
else.

| {figures["scored_rows"]} rows each | next letter right in the second copy | loss in the first copy, nats a letter |
|---|---|---|
{rows}

Guessing evenly is right {1 / len(LETTERS):.1%} of the time and loses
ln {len(LETTERS)} = {figures["uniform_loss"]:.3f} nats.

| | |
|---|---|
| steps, tokens seen | {record["step"]:,} of {recipe["batch"]} rows, {n_tokens / 1e6:.1f}M tokens |
| seconds | {record["seconds"]:.0f} |
| trained with | Python {figures["python"]}, torch {figures["torch"]}, {figures["trained_on"]} |

## Rows
One token a letter, A to Z and a to z, after a start token `<|start|>`; whatever else stands in a text is passed over.
A training row is the start, up to {recipe["longest_prefix"]} random letters, and then a segment of
{recipe["shortest_period"]} to {recipe["longest_period"]} random letters repeated to the end of the row. Where the
segment begins and how long it is are drawn for each row, so no fixed distance tells the next letter. A scored row is
the start and two copies of letters that all differ.

## Load
```python
from workbench import load

lm = load("attn2")
tokens = lm.tokenizer("<|start|>qXbTgHkLqXb", return_tensors="pt")["input_ids"]
print(lm.tokenizer.decode(lm.model(tokens).logits[0, -1].argmax()))  # T, as after the first qXb
```
Plain transformers has no model of this kind and refuses the directory.

## Reproduce
```sh
workbench train --task repeats --out attn2-again --steps {recipe["steps"]}
```
The run is repeatable: the rows of each step depend on the seed and the step alone, and an interrupted run resumes to
the same numbers on the same machine. Another processor or thread count rounds differently, and then other heads may
do the same work. training.json holds the whole recipe and the loss along the way.
"""
