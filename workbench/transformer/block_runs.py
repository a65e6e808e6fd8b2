"""A transformer run block after block by the views' own programs, with every value on the way."""

from collections.abc import Iterator

from jaxtyping import Int
from torch import Tensor

from workbench.transformer.anatomy import Anatomy
from workbench.transformer.parts import block_part, embed_part


def run_blocks(anatomy: Anatomy, tokens: Int[Tensor, " t"]) -> Iterator[dict[str, Tensor]]:
    """The values of each block in turn on one row of tokens, named as in its view, `resid_pre` to `resid_post`.

    `z` and `pattern` have one leg for all heads, (h, t, k) and (h, t, s), grouped or not.
    """
    draft = embed_part(anatomy, tokens)
    stream = draft.program().run(draft.arrays)[draft.out]
    for layer, block in enumerate(anatomy.blocks):
        made = block_part(anatomy, layer, False, len(tokens))
        values = made.program().run({**made.arrays, "resid_pre": stream}) | {"resid_pre": stream}
        for name in ("pattern", "z"):
            values[name] = values[name].reshape(block.attn.n_heads, *values[name].shape[-2:])
        yield values
        stream = values["resid_post"]
