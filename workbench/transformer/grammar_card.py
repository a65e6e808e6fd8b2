"""How far a model trained on the known language is from the truth, and the model card that says so."""

from dataclasses import asdict
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.transformer.card import trained_with
from workbench.transformer.load import LanguageModel, load
from workbench.transformer.sampling import continuation
from workbench.truth.grammar_english import english
from workbench.truth.grammar_score import ExcessLoss, excess_loss
from workbench.truth.grammar_stream import GrammarStream
from workbench.whole_files import replaced_file, write_json

_STREAMS = 512
_SEED = 1_000_002  # of the scored streams: no step of a training run has it
_BATCH_ROWS = 32


def write_grammar_card(out: Path, record: dict, device: str = "cpu") -> dict:
    """Scores the checkpoint in `out` on fresh streams, writes README.md and training.json there, and returns the
    figures."""
    lm = load(out, device)
    language = english()
    figures = {
        "n_params": sum(parameter.numel() for parameter in lm.model.parameters()),
        "language": {
            "rules": len(language.rules),
            "words": len(language.alphabet),
            "mean_sentence": language.mean_length(),
            "sentence_entropy": language.entropy(),
            "entropy_rate": language.entropy() / language.mean_length(),
        },
        "scored_streams": _STREAMS,
    }
    figures |= asdict(score(lm)) | trained_with(device)
    write_json(out / "training.json", record | figures)
    with replaced_file(out / "README.md") as temporary:
        temporary.write_text(_card(lm, record, figures), encoding="utf-8")
    return figures


def score(lm: LanguageModel, n_streams: int = _STREAMS, seed: int = _SEED) -> ExcessLoss:
    """What the model loses beyond the truth on fresh streams that fill its context, each token given all before it."""
    stream = GrammarStream(english(), lm.context)
    x = stream.sample(n_streams, torch.Generator().manual_seed(seed))
    return excess_loss(stream.conditionals(x), said(lm, stream.inputs(x)))


def said(lm: LanguageModel, tokens: Int[Tensor, "n t"]) -> Float[Tensor, "n t v"]:
    """The model's logits at every position, on the CPU."""
    with torch.inference_mode():
        parts = [lm.model(rows.to(lm.device), use_cache=False).logits.cpu() for rows in tokens.split(_BATCH_ROWS)]
    return torch.cat(parts)


def _card(lm: LanguageModel, record: dict, figures: dict) -> str:
    recipe, language = record["recipe"], figures["language"]
    n_tokens = record["step"] * recipe["batch"] * recipe["context"]
    return f"""# truth-gpt

A GPT-2 of {figures["n_params"]:,} parameters ({recipe["n_layers"]} layers, d_model {recipe["d_model"]},
{recipe["n_heads"]} heads, context {recipe["context"]}), float16 in safetensors, trained from nothing by
`workbench train --task grammar` on a language whose distribution is known. So its loss has a known zero: what it
loses beyond the entropy of the language is stated here absolutely, which no natural text allows.

| nats a token | |
|---|---|
| excess loss: the mean KL divergence D(truth ‖ model) | {figures["excess"]:.5f} ± {figures["error"]:.5f} |
| the truth's own entropy at the scored tokens | {figures["entropy"]:.4f} |
| the model's loss there | {figures["loss"]:.4f} |
| entropy rate of the language (exact) | {language["entropy_rate"]:.6f} |

{figures["impossible"]:.2%} of the model's probability is on words that cannot come. Scored are {figures["n_tokens"]:,}
tokens: {figures["scored_streams"]} fresh streams of {recipe["context"]}, every word after all before it. At each the
whole distributions are compared, so the standard error comes from the choice of streams alone.

| | |
|---|---|
| steps, tokens seen | {record["step"]:,} of {recipe["batch"]} fresh rows, {n_tokens / 1e6:.1f}M tokens |
| seconds | {record["seconds"]:.0f} |
| trained with | Python {figures["python"]}, torch {figures["torch"]}, {figures["trained_on"]} |

## Language
`english()` in `workbench.truth.grammar_english`: a probabilistic context-free grammar of {language["rules"]} rules,
{language["words"]} words and marks. A sentence has {language["mean_sentence"]:.3f} of them and an entropy of
{language["sentence_entropy"]:.3f} nats, both exact: the grammar is proved to be unambiguous. Verbs agree with their
subjects across relative clauses, which may hold others. A row is a full stop, and then sentences from the
first word on.

## A sample
Temperature 1, seed 0:

```text
{continuation(lm, lm.model, ".", lm.context - 1, temperature=1.0).strip()}
```

## Load
```python
from workbench import load

lm = load("truth-gpt")
tokens = lm.tokenizer(". the girl that the dogs see", return_tensors="pt")["input_ids"]
print(lm.tokenizer.decode(lm.model(tokens).logits[0, -1].argmax()))
```
One token a word, the full stop and the comma; a text begins with a full stop, as if a sentence had ended there. Other
words are passed over.

## Reproduce
```sh
workbench train --task grammar --out truth-gpt-again --steps {recipe["steps"]}
```
The run is repeatable: the rows of each step depend on the seed and the step alone, and an interrupted run resumes to
the same numbers on the same machine. training.json holds the whole recipe and the loss along the way.
"""
