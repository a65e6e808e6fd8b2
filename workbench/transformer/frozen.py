"""An attention-only model's run, held: patterns and scales of norms as they were, so that what is left is linear."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.transformer.anatomy import Anatomy, Attention, Norm
from workbench.transformer.parts import embed_part
from workbench.transformer.steps import STREAM, Draft, attention_steps
from workbench.transformer.weight import Weight

Scales = tuple[Float[Tensor, " t"] | None, ...]


@dataclass(frozen=True, eq=False)
class FrozenRun:
    """One run of a model on one row of tokens: what its patterns and norms were.

    `patterns` are those of each layer, (h, t, s) or, with groups, (g, m, t, s). `scales` are what each norm divided
    each position by, of each layer and then of the final one; None where there is no norm.
    """

    anatomy: Anatomy
    tokens: Int[Tensor, " t"]
    embedded: Float[Tensor, "t d"]
    patterns: tuple[Tensor, ...]
    scales: Scales
    logits: Float[Tensor, "t v"]

    @property
    def norms(self) -> tuple[Norm | None, ...]:
        """The norm before each layer, and the final one."""
        return (*(block.ln1 for block in self.anatomy.blocks), self.anatomy.ln_final)

    def pattern(self, layer: int, head: int) -> Float[Tensor, "t s"]:
        """How much each position took from each, in one head."""
        return self.patterns[layer].flatten(0, -3)[head]


def frozen_run(
    anatomy: Anatomy,
    tokens: Int[Tensor, " t"],
    scales: Scales | None = None,
    patterns: Sequence[Tensor] | None = None,
) -> FrozenRun:
    """The run of a model on checked tokens; with `scales` or `patterns`, these are taken in place of its own.

    Raises ValueError for a model with an MLP. All is computed in the weights' dtype, an RMSNorm too, which the views
    take in float32, as transformers does: in float64 the two differ by float32's rounding.
    """
    check_attention_only(anatomy)
    draft = embed_part(anatomy, tokens)
    stream = embedded = draft.program().run(draft.arrays)[draft.out]
    rotation = None if anatomy.rotation is None else anatomy.rotation(len(tokens))
    seen: list[Tensor] = []
    used: list[Tensor | None] = []
    for layer, block in enumerate(anatomy.blocks):
        used.append(_scale(block.ln1, stream) if scales is None else scales[layer])
        draft = Draft()
        draft.input("ln1", STREAM, _normed(block.ln1, stream, used[-1]))
        attention_steps(draft, block.attn, None, False, rotation, "ln1", "result")
        program, arrays = draft.program(), draft.arrays
        if patterns is not None:
            program = program.frozen("pattern")
            arrays = {name: array for name, array in arrays.items() if name in program.inputs}
            arrays["pattern"] = patterns[layer]
        values = program.run(arrays)
        seen.append(values["pattern"])
        stream = stream + values["result"] + (0 if block.attn.b_O is None else block.attn.b_O)
    used.append(_scale(anatomy.ln_final, stream) if scales is None else scales[-1])
    logits = _normed(anatomy.ln_final, stream, used[-1]) @ anatomy.W_U.dense().mT
    return FrozenRun(anatomy, tokens, embedded, tuple(seen), tuple(used), logits)


def check_attention_only(anatomy: Anatomy) -> None:
    """Raises ValueError, naming the block, for a model with an MLP."""
    for layer, block in enumerate(anatomy.blocks):
        if block.mlp is not None:
            raise ValueError(
                f"block {layer} of {anatomy.name} has an MLP, whose activation is not linear whatever is frozen; a "
                'ledger of paths is of attention-only models, such as load("attn2") or induction_by_hand().'
            )


def reading(weight: Weight, norm: Norm | None) -> Weight:
    """The weight that reads a norm, with the norm's gain and, for a LayerNorm, its centring in it.

    Divided by the scale at each position, what it gives is what the weight gives of the norm without its shift: exact.
    """
    if norm is None:
        return weight
    folded = weight.scaled("d", norm.gain)
    if norm.kind != "LN":
        return folded
    parts = []
    for part in folded.parts:
        if "d" in part.legs:
            part = replace(part, array=part.array - part.array.mean(part.legs.index("d"), keepdim=True))
        parts.append(part)
    return replace(folded, parts=tuple(parts))


def constant(attn: Attention, norm: Norm | None) -> Float[Tensor, " d"] | None:
    """What a layer writes at every position whatever it reads: b_O + W_O (b_V + W_V shift); None where that is nothing.

    The rows of a pattern sum to one, so attending changes nothing of it.
    """
    value, out = attn.b_V, attn.b_O
    if norm is not None and norm.shift is not None:
        moved = attn.W_V.dense() @ norm.shift  # d is its last leg
        value = moved if value is None else value + moved
    if value is None:
        return out
    whole = attn.W_O.dense()
    if "g" in attn.head_legs:
        value = value[:, None].expand(-1, attn.W_O.size("m"), -1)  # (g, m, k): the heads of a group share its values
    written = torch.einsum("...dk,...k->d", whole, value)
    return written if out is None else written + out


def _scale(norm: Norm | None, stream: Tensor) -> Tensor | None:
    return None if norm is None else norm.scale(stream)


def _normed(norm: Norm | None, stream: Tensor, scale: Tensor | None) -> Tensor:
    """The norm of a stream, divided by this scale at each position."""
    if norm is None or scale is None:
        return stream
    centred = stream - stream.mean(-1, keepdim=True) if norm.kind == "LN" else stream
    scaled = centred / scale[:, None] * norm.gain
    return scaled if norm.shift is None else scaled + norm.shift
