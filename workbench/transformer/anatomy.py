"""A transformer as named tensors: what views draw and circuits are made of, whatever library or hand made it.

Names are those of TransformerLens (W_Q, resid_pre, pattern …); axes are ours, (out, in): W_Q is (h, k, d) and W_O is
(h, d, k). Legs: t query position, s key position, h head, d d_model, k d_head, f d_mlp, v vocabulary. Where several
query heads share one key head (grouped queries), a head is the pair g (group) and m (member of the group).
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from workbench.transformer.weight import Weight


@dataclass(frozen=True, eq=False)
class Norm:
    """A LayerNorm ("LN", with a shift) or an RMSNorm ("RMS", without)."""

    kind: str
    gain: Float[Tensor, " d"]
    shift: Float[Tensor, " d"] | None
    eps: float

    def scale(self, x: Float[Tensor, "t d"]) -> Float[Tensor, " t"]:
        """What each position is divided by."""
        centred = x - x.mean(-1, keepdim=True) if self.kind == "LN" else x
        return (centred.square().mean(-1) + self.eps).sqrt()

    def unit(self, x: Float[Tensor, "*t d"]) -> Float[Tensor, "*t d"]:
        """The norm without its gain and shift."""
        if self.kind == "LN":
            return nn.functional.layer_norm(x, x.shape[-1:], eps=self.eps)
        # In float32 whatever the dtype, as transformers has it: a view is to give its model's own numbers.
        wide = x.to(torch.float32)
        return (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.eps)).to(x.dtype)

    def whole(self, x: Tensor, gain: Tensor, *shift: Tensor) -> Tensor:
        """The norm with this gain and, for a LayerNorm, this shift."""
        if self.kind == "LN":
            return nn.functional.layer_norm(x, x.shape[-1:], gain, *shift, eps=self.eps)
        return gain * self.unit(x)


@dataclass(frozen=True, eq=False)
class Attention:
    """The weights of one attention layer; a bias that is not there is None.

    `scale` multiplies the scores. `in_float32` is whether the softmax is taken in float32, as transformers' LLaMA does.
    """

    W_Q: Weight  # h k d, or with groups g m k d
    W_K: Weight  # h k d, or g k d
    W_V: Weight
    W_O: Weight  # h d k, or g m d k
    scale: float
    b_Q: Tensor | None = None  # h k, or g m k
    b_K: Tensor | None = None
    b_V: Tensor | None = None
    b_O: Tensor | None = None  # d
    in_float32: bool = False

    @property
    def head_legs(self) -> tuple[str, ...]:
        """The legs that tell heads apart: h alone, or g and m."""
        return tuple(leg for leg in self.W_Q.legs if leg in ("h", "g", "m"))

    @property
    def n_heads(self) -> int:
        """How many query heads there are."""
        count = 1
        for leg in self.head_legs:
            count *= self.W_Q.size(leg)
        return count

    @property
    def d_head(self) -> int:
        """The size of one head's queries and keys."""
        return self.W_Q.size("k")

    def head(self, index: int) -> "Attention":
        """The weights of one head alone, without legs for heads; the bias after all heads is no head's own."""
        at = {"h": index}
        if "g" in self.head_legs:
            at = dict(zip("gm", divmod(index, self.W_Q.size("m")), strict=True))

        def of(weight: Weight) -> Weight:
            for leg in at:
                weight = weight.at(leg, at[leg]) if leg in weight.legs else weight
            return weight

        def part(bias: Tensor | None, weight: Weight) -> Tensor | None:
            for leg in weight.legs if bias is not None else ():
                if leg in at:
                    bias = bias[at[leg]]  # pyright: ignore[reportOptionalSubscript]
            return bias

        return Attention(
            of(self.W_Q), of(self.W_K), of(self.W_V), of(self.W_O), self.scale,
            part(self.b_Q, self.W_Q), part(self.b_K, self.W_K), part(self.b_V, self.W_V), None, self.in_float32,
        )  # fmt: skip


@dataclass(frozen=True, eq=False)
class Mlp:
    """The weights of one MLP. With `W_gate` it is gated: the activation of the gate multiplies what `W_in` gives."""

    W_in: Weight  # f d
    W_out: Weight  # d f
    label: str  # the activation's name
    activation: Callable[[Tensor], Tensor] = field(repr=False)
    b_in: Tensor | None = None
    b_out: Tensor | None = None
    W_gate: Weight | None = None
    b_gate: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Block:
    """Attention and MLP, each behind its norm. What an attention-only or hand-built model has not is None."""

    attn: Attention
    ln1: Norm | None = None
    mlp: Mlp | None = None
    ln2: Norm | None = None


@dataclass(frozen=True, eq=False)
class Anatomy:
    """Everything that decides what a transformer computes, as named tensors that are views of the model's own.

    `rotation(n)` is, for rotary positions, the tensor (n, k, k) that turns a query or key at each position.
    """

    name: str
    W_E: Weight  # d v
    W_U: Weight  # v d
    blocks: tuple[Block, ...]
    context: int
    W_pos: Tensor | None = None  # t d
    ln_final: Norm | None = None
    rotation: Callable[[int], Float[Tensor, "n k k"]] | None = field(default=None, repr=False)
    first: int | None = None  # the token that begins a text, where there is one

    @property
    def d_vocab(self) -> int:
        """How many tokens there are."""
        return self.W_E.size("v")

    @property
    def d_model(self) -> int:
        """The size of the residual stream."""
        return self.W_E.size("d")

    @property
    def heads(self) -> tuple[tuple[int, int], ...]:
        """Every head as (layer, head), in order."""
        return tuple((layer, head) for layer, block in enumerate(self.blocks) for head in range(block.attn.n_heads))

    def check_tokens(self, tokens: Tensor) -> Int[Tensor, " t"]:
        """The tokens, as given. Raises ValueError unless they are in the vocabulary and fit the context."""
        if tokens.ndim != 1 or len(tokens) == 0:
            raise ValueError(f"{self.name} takes one row of 1 to {self.context} tokens, not a {tuple(tokens.shape)}.")
        if len(tokens) > self.context:
            raise ValueError(f"{len(tokens)} tokens were given, and {self.name} has a context of {self.context}.")
        low, high = int(tokens.min()), int(tokens.max())
        if low < 0 or high >= self.d_vocab:
            raise ValueError(
                f"the tokens are {low} to {high}, and {self.name} has a vocabulary of {self.d_vocab} "
                f"(0 to {self.d_vocab - 1}): were they made by another tokenizer?"
            )
        return tokens

    def block(self, layer: int) -> Block:
        """One block. Raises ValueError, saying which there are, for another."""
        if not 0 <= layer < len(self.blocks):
            raise ValueError(f"{self.name} has no block {layer}; it has {_told(len(self.blocks))}.")
        return self.blocks[layer]

    def head(self, layer: int, head: int) -> Attention:
        """One head's weights. Raises ValueError, saying which there are, for another."""
        attn = self.block(layer).attn
        if not 0 <= head < attn.n_heads:
            raise ValueError(f"block {layer} of {self.name} has no head {head}; it has {_told(attn.n_heads)}.")
        return attn.head(head)


def _told(n: int) -> str:
    return "0 alone" if n == 1 else f"0 to {n - 1}"
