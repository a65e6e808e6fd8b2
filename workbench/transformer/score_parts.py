"""Which parts of the residual stream one head's scores are made of: composition on given tokens."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.transformer.anatomy import Anatomy, Norm
from workbench.transformer.block_runs import run_blocks
from workbench.transformer.load import LanguageModel
from workbench.transformer.reading import anatomy_of
from workbench.transformer.view import Tokens, tokens_of
from workbench.transformer.weight import Weight

CONSTANT = "biases"


@dataclass(frozen=True)
class ScorePart:
    """The share, 0 to 1, of a head's scores in which the part `asks` of the stream asks for the part `answers`."""

    asks: str
    answers: str
    share: float

    def __str__(self) -> str:
        return f"{self.asks} asks, {self.answers} answers: {self.share:.1%}"


@dataclass(frozen=True, eq=False)
class ScoreShares:
    """One head's scores on given tokens as a sum over pairs of parts: one that asks and one that answers.

    `parts` are what was added to the residual stream before the head: "embed" (tokens and positions), "head 0.3" …,
    "mlp 0" …, and "biases", where there are any: all that is the same at every position. `queries` and `keys` are
    what the head makes of each, rotated and scaled; `shares[i, j]` is the squared norm of the scores of the pair over
    the sum of all pairs' (0 where nothing scores). A score that is the same for all keys of a query is taken away
    first: the softmax does not see it.
    """

    name: str
    parts: tuple[str, ...]
    queries: Float[Tensor, "p t k"]
    keys: Float[Tensor, "p t k"]
    shares: Float[Tensor, "p p"]

    def share(self, asks: str, answers: str) -> float:
        """The share of one pair. Raises ValueError for a part that is not there."""
        return float(self.shares[self._number(asks), self._number(answers)])

    def scores(self, asks: str, answers: str) -> Float[Tensor, "t t"]:
        """The scores of one pair, (query, key), before the mask; over all pairs they sum to the head's own."""
        return self.queries[self._number(asks)] @ self.keys[self._number(answers)].mT

    @property
    def total(self) -> Float[Tensor, "t t"]:
        """The scores of all pairs together, before the mask: the head's own."""
        return self.queries.sum(0) @ self.keys.sum(0).mT

    def strongest(self, n: int = 10) -> tuple[ScorePart, ...]:
        """The `n` pairs with the largest shares, largest first; all of them where there are fewer."""
        order = self.shares.flatten().argsort(descending=True)[:n].tolist()
        pairs = [divmod(place, len(self.parts)) for place in order]
        return tuple(ScorePart(self.parts[i], self.parts[j], float(self.shares[i, j])) for i, j in pairs)

    def _number(self, part: str) -> int:
        if part not in self.parts:
            raise ValueError(f"the scores of {self.name} have no part {part!r}; they have {', '.join(self.parts)}.")
        return self.parts.index(part)


def score_shares(model: LanguageModel | Anatomy, layer: int, head: int, tokens: Tokens) -> ScoreShares:
    """What one head's scores on these tokens are made of, by what each earlier head and MLP wrote.

    Exact, with patterns as they are: the outputs of earlier heads are fixed, and so is what the norm before the head
    divides each position by, so query and key are linear in the parts, and the score is a sum over pairs of them. The
    parts are summed in float64.
    Raises ValueError for a head that is not there, or tokens that the model cannot read.
    Cost: one run of the blocks before, and O(p² t² k) for p parts. Source: Elhage et al. (2021).
    """
    anatomy = anatomy_of(model)
    attn, norm = anatomy.head(layer, head), anatomy.block(layer).ln1
    row = tokens_of(model, tokens, anatomy)
    parts, constant, stream = _written(anatomy, layer, row)
    names = (*parts, CONSTANT)
    read = _frozen(norm, torch.stack([*parts.values(), constant.expand_as(stream)]), stream)
    sides = []
    for weight, bias in ((attn.W_Q, attn.b_Q), (attn.W_K, attn.b_K)):
        made = read @ weight.dense().double().mT
        if bias is not None:
            made[-1] += bias.double()
        if anatomy.rotation is not None:
            made = torch.einsum("tjk,ptk->ptj", anatomy.rotation(len(row)).double(), made)
        sides.append(made)
    if not any(bool(side[-1].any()) for side in sides):
        names, sides = names[:-1], [side[:-1] for side in sides]
    queries, keys = sides[0] * attn.scale, sides[1]
    return ScoreShares(f"head {layer}.{head} of {anatomy.name}", names, queries, keys, _shares(queries, keys))


def _written(anatomy: Anatomy, layer: int, tokens: Tensor) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    """What each head and MLP before a layer writes (t, d), what all biases write, and the stream that they sum to."""
    parts: dict[str, Tensor] = {}
    constant = torch.zeros(anatomy.d_model, dtype=torch.float64, device=tokens.device)
    for number, values in enumerate(run_blocks(anatomy, tokens)):
        parts = parts or {"embed": values["resid_pre"].double()}
        if number == layer:
            return parts, constant, values["resid_pre"].double()
        block = anatomy.blocks[number]
        for head in range(block.attn.n_heads):
            parts[f"head {number}.{head}"] = values["z"][head].double() @ _out(block.attn.head(head).W_O).mT
        if block.mlp is not None:
            parts[f"mlp {number}"] = values["mlp"].double()
        for bias in (block.attn.b_O, None if block.mlp is None else block.mlp.b_out):
            constant = constant if bias is None else constant + bias
    raise AssertionError(f"block {layer} was not run")  # it is one of the anatomy's


def _out(weight: Weight) -> Tensor:
    whole = weight.dense().double()
    return whole if weight.legs == ("d", "k") else whole.mT


def _frozen(norm: Norm | None, parts: Float[Tensor, "p t d"], stream: Float[Tensor, "t d"]) -> Float[Tensor, "p t d"]:
    """The parts as the norm of their sum leaves them, what it divides by being fixed; its shift is the last one's."""
    if norm is None:
        return parts
    centred = parts - parts.mean(-1, keepdim=True) if norm.kind == "LN" else parts
    read = centred / norm.scale(stream)[:, None] * norm.gain
    if norm.shift is not None:
        read[-1] += norm.shift
    return read


def _shares(queries: Float[Tensor, "p t k"], keys: Float[Tensor, "p t k"]) -> Float[Tensor, "p p"]:
    """The share of each pair, over the keys that a query sees, less their mean."""
    n = queries.shape[1]
    seen = torch.ones(n, n, dtype=queries.dtype, device=queries.device).tril()
    squares = []
    for asking in queries:  # one part at a time: all pairs at once would be p² t² numbers
        scores = (asking @ keys.mT) * seen
        mean = scores.sum(-1, keepdim=True) / seen.sum(-1, keepdim=True)
        squares.append(((scores - mean) * seen).square().sum((1, 2)))
    found = torch.stack(squares)
    return found / found.sum() if bool(found.any()) else found
