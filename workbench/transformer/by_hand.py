"""An induction head written down, not trained: every weight has a reason, and what it computes is known for sure."""

import torch

from workbench.transformer.anatomy import Anatomy, Attention, Block
from workbench.transformer.weight import Weight


def induction_by_hand(n_words: int = 12, context: int = 25, sharpness: float = 60.0) -> Anatomy:
    """Two attention-only layers of one head each that continue a repeated sequence of `n_words` words, in float64.

    The residual stream has three parts: the token (`n_words` words and, as token 0, a start), its position, and a
    scratch of the size of the first. Head 0.0 looks one position back and copies the token it finds there to the
    scratch; head 1.0 asks with its token for the same token in a scratch, and copies to the logits the token that
    stands there. `sharpness` multiplies the scores: at 60 the softmax is all but a choice. No norm, no bias.

    Without the start token, position 0 attends to itself and takes its own token for its predecessor's.
    Source: the circuit of Elhage et al. (2021), written as in Taylor (2024).
    """
    if n_words < 2 or context < 2 or sharpness <= 0:
        raise ValueError(
            f"an induction head needs 2 words, a context of 2 and a sharpness above 0, not {n_words}, {context} "
            f"and {sharpness}."
        )
    n_tokens = n_words + 1
    one = torch.eye(2 * n_tokens + context, dtype=torch.float64)
    token, position, scratch = one.split((n_tokens, context, n_tokens))  # each reads its part; transposed, it writes
    before = position.roll(-1, 0)  # row t+1 … reads position t, so a query at t asks for the key at t - 1
    shift = Attention(
        _weight("W_Q", sharpness * before), _weight("W_K", position), _weight("W_V", token), _write("W_O", scratch), 1.0
    )
    match = Attention(
        _weight("W_Q", sharpness * token), _weight("W_K", scratch), _weight("W_V", token), _write("W_O", 2 * token), 1.0
    )
    return Anatomy(
        "induction by hand", Weight.of("W_E", "dv", token.mT), Weight.of("W_U", "vd", token),
        (Block(shift), Block(match)), context, W_pos=position, first=0,
    )  # fmt: skip


def _weight(name: str, read: torch.Tensor) -> Weight:
    return Weight.of(name, "hkd", read[None])


def _write(name: str, read: torch.Tensor) -> Weight:
    """A weight that writes where `read` reads."""
    return Weight.of(name, "hdk", read.mT[None])
