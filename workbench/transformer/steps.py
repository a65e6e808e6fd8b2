"""A transformer's layers as program steps on its named tensors: what is drawn of them is what computes them."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor, nn

from workbench.network import Network
from workbench.node import Node
from workbench.program import Add, Apply, Contract, Program, ProgramStep
from workbench.transformer.anatomy import Attention, Mlp, Norm
from workbench.transformer.weight import Weight

STREAM = ("t", "d")


@dataclass
class Draft:
    """Steps while they are gathered, with the inputs they read and the arrays of those."""

    steps: list[ProgramStep] = field(default_factory=list)
    inputs: dict[str, tuple[str, ...]] = field(default_factory=dict)
    arrays: dict[str, Tensor] = field(default_factory=dict)

    def program(self) -> Program:
        """The program of all steps so far."""
        return Program(self.inputs, tuple(self.steps))

    @property
    def out(self) -> str:
        """The name of the last value."""
        return self.steps[-1].out

    def input(self, name: str, legs: tuple[str, ...], array: Tensor | None = None) -> str:
        """One more input; without an array it must be given when the program runs."""
        self.inputs[name] = legs
        if array is not None:
            self.arrays[name] = array
        return name

    def held(self, weight: Weight) -> Weight:
        """The weight, its arrays among the inputs from now on."""
        self.inputs |= weight.inputs
        self.arrays |= weight.arrays
        return weight

    def contract(self, out: str, legs: tuple[str, ...], *operands: "Operand") -> str:
        """`out` over `legs`: values under legs of their own, and weights, some of whose legs are called otherwise."""
        nodes: list[Node] = []
        for number, (what, named) in enumerate(operands):
            if isinstance(what, Weight):
                taken = {node.name for node in nodes}
                suffix = f".{number}" if taken & {part.tensor for part in what.parts} else ""
                nodes += self.held(what).nodes(dict(named), suffix)  # pyright: ignore[reportCallIssue, reportArgumentType]
            else:
                name = what if what not in {node.name for node in nodes} else f"{what}.{number}"
                nodes.append(Node(name, tuple(named), tensor=what))
        self.steps.append(Contract(out, Network(tuple(nodes), legs, spectators=_shared(nodes, legs))))
        return out

    def product(self, out: str, legs: tuple[str, ...], first: str, second: str) -> str:
        """`out` is two values multiplied number by number: on each leg a dot that joins theirs to its own."""
        dots = [Node(f"dot_{leg}", (leg, f"{leg}.1", f"{leg}.2"), copy=True) for leg in legs]
        values = (Node(name, tuple(f"{leg}.{k}" for leg in legs)) for k, name in enumerate((first, second), start=1))
        self.steps.append(Contract(out, Network((*values, *dots), legs)))
        return out

    def apply(
        self, out: str, label: str, call: Callable[..., Tensor], reads: tuple[str, ...], legs: tuple[str, ...]
    ) -> str:
        """`out` is a named function, a bubble round the first of what it reads."""
        self.steps.append(Apply(out, label, call, reads, legs))
        return out

    def add(self, out: str, legs: tuple[str, ...], *terms: tuple[str, tuple[str, ...]]) -> str:
        """`out` is a sum of values, each with the legs it has."""
        self.steps.append(Add(out, tuple(name for name, _ in terms), legs, tuple(own for _, own in terms)))
        return out

    def biased(self, out: str, legs: tuple[str, ...], bias: Tensor | None, name: str, *operands: "Operand") -> str:
        """A contraction, and the bias added to it if there is one."""
        if bias is None:
            return self.contract(out, legs, *operands)
        own = tuple(leg for leg in legs if leg not in ("t", "s"))
        self.contract(f"{out}.W", legs, *operands)
        self.input(name, own, bias)
        return self.add(out, legs, (f"{out}.W", legs), (name, own))


Operand = tuple[str | Weight, tuple[str, ...] | Mapping[str, str]]  # a value with its legs, or a weight and new names


def _shared(nodes: list[Node], legs: tuple[str, ...]) -> tuple[str, ...]:
    """The legs that can be no bond and no open leg."""
    ends: dict[str, int] = {}
    for node in nodes:
        for leg in node.legs:
            ends[leg] = ends.get(leg, 0) + 1
    return tuple(leg for leg, n in ends.items() if n + (leg in legs) != 2)


def norm_step(draft: Draft, out: str, norm: Norm | None, name: str, read: str, fold: bool) -> str:
    """The norm of a value, with its gain and shift or, where those are folded into what reads it, without."""
    if norm is None:
        return read
    if fold:
        return draft.apply(out, norm.kind, norm.unit, (read,), STREAM)
    reads = [read, draft.input(f"{name}.w", ("d",), norm.gain)]
    if norm.shift is not None:
        reads.append(draft.input(f"{name}.b", ("d",), norm.shift))
    return draft.apply(out, norm.kind, norm.whole, tuple(reads), STREAM)


def folded(weight: Weight, bias: Tensor | None, norm: Norm | None, fold: bool) -> tuple[Weight, Tensor | None]:
    """The weight and bias of what reads a norm, with the norm's gain and shift in them if they are to be folded."""
    if norm is None or not fold:
        return weight, bias
    if norm.shift is not None:
        matrix = weight.dense()
        moved = matrix @ norm.shift  # d is the last leg of every weight that reads the stream
        bias = moved if bias is None else bias + moved
    return weight.scaled("d", norm.gain), bias


def attention_steps(
    draft: Draft, attn: Attention, norm: Norm | None, fold: bool, rotation: Tensor | None, read: str, out: str
) -> str:
    """One attention layer, or one head of it, from the residual stream `read` to `out`, which it writes.

    The bias after all heads is left out.
    """
    heads = attn.head_legs
    groups = tuple(leg for leg in attn.W_K.legs if leg in heads)
    q_legs, k_legs = (*heads, "t", "k"), (*groups, "s", "k")
    ln = norm_step(draft, "ln1", norm, "ln1", read, fold)
    W_Q, b_Q = folded(attn.W_Q, attn.b_Q, norm, fold)
    W_K, b_K = folded(attn.W_K, attn.b_K, norm, fold)
    W_V, b_V = folded(attn.W_V, attn.b_V, norm, fold)
    q = draft.biased("q", q_legs, b_Q, "b_Q", (ln, ("t", "d")), (W_Q, {}))
    k = draft.biased("k", k_legs, b_K, "b_K", (W_K, {}), (ln, ("s", "d")))
    v = draft.biased("v", k_legs, b_V, "b_V", (ln, ("s", "d")), (W_V, {}))
    if rotation is not None:
        draft.input("R", ("n", "j", "k"), rotation)
        q = draft.contract("rot_q", (*heads, "t", "j"), (q, q_legs), ("R", ("t", "j", "k")))
        k = draft.contract("rot_k", (*groups, "s", "j"), ("R", ("s", "j", "k")), (k, k_legs))
        q_legs, k_legs = (*heads, "t", "j"), (*groups, "s", "j")
    scores_legs = (*heads, "t", "s")
    scores = draft.contract("qk", scores_legs, (q, q_legs), (k, k_legs))
    label = "1/√k" if math.isclose(attn.scale, attn.d_head**-0.5) else f"·{attn.scale:.3g}"
    if attn.scale != 1:
        scores = draft.apply("scaled", label, partial(torch.mul, other=attn.scale), (scores,), scores_legs)
    scores = draft.apply("scores", "mask", causal, (scores,), scores_legs)
    softmax = partial(_softmax, in_float32=attn.in_float32)
    pattern = draft.apply("pattern", "softmax", softmax, (scores,), scores_legs)
    v_legs = (*groups, "s", "k")
    z = draft.contract("z", (*heads, "t", "k"), (pattern, scores_legs), (v, v_legs))
    return draft.contract(out, STREAM, (z, (*heads, "t", "k")), (attn.W_O, {}))


def mlp_steps(draft: Draft, mlp: Mlp, norm: Norm | None, fold: bool, read: str, out: str) -> str:
    """One MLP from the residual stream `read` to `out`, which it writes; its last bias is left out."""
    ln = norm_step(draft, "ln2", norm, "ln2", read, fold)
    legs = ("t", "f")
    W_in, b_in = folded(mlp.W_in, mlp.b_in, norm, fold)
    if mlp.W_gate is None:
        pre = draft.biased("pre", legs, b_in, "b_in", (ln, STREAM), (W_in, {}))
        post = draft.apply("post", mlp.label, mlp.activation, (pre,), legs)
    else:
        W_gate, b_gate = folded(mlp.W_gate, mlp.b_gate, norm, fold)
        pre = draft.biased("pre", legs, b_gate, "b_gate", (ln, STREAM), (W_gate, {}))
        gate = draft.apply("gate", mlp.label, mlp.activation, (pre,), legs)
        linear = draft.biased("pre_linear", legs, b_in, "b_in", (ln, STREAM), (W_in, {}))
        post = draft.product("post", legs, gate, linear)
    return draft.contract(out, STREAM, (post, legs), (mlp.W_out, {}))


def embed_steps(draft: Draft, W_E: Weight, W_pos: Tensor | None, tokens: Tensor | None, has_positions: bool) -> str:
    """The residual stream's beginning: each token a vector with a single one, embedded, and its position added."""
    draft.input("tokens", ("t",), tokens)
    one_hot = partial(one_hot_rows, n=W_E.size("v"), dtype=W_E.parts[0].array.dtype)
    draft.apply("one_hot", "one-hot", one_hot, ("tokens",), ("t", "v"))
    if not has_positions:
        return draft.contract("embed", STREAM, ("one_hot", ("t", "v")), (W_E, {}))
    draft.contract("embed", STREAM, ("one_hot", ("t", "v")), (W_E, {}))
    draft.input("pos_embed", STREAM, W_pos)
    return draft.add("resid_pre", STREAM, ("embed", STREAM), ("pos_embed", STREAM))


def unembed_steps(draft: Draft, W_U: Weight, norm: Norm | None, fold: bool, read: str) -> str:
    """The logits of a residual stream; a folded norm's shift becomes the bias b_U."""
    ln = norm_step(draft, "ln_final", norm, "ln_final", read, fold)
    W_U, b_U = folded(W_U, None, norm, fold)
    return draft.biased("logits", ("t", "v"), b_U, "b_U", (ln, STREAM), (W_U, {}))


def one_hot_rows(tokens: Tensor, n: int, dtype: torch.dtype) -> Tensor:
    """A row for each token, one at its place and zero elsewhere."""
    return nn.functional.one_hot(tokens, n).to(dtype)


def causal(scores: Tensor) -> Tensor:
    """Scores of keys that come after their query are minus infinity."""
    n_queries, n_keys = scores.shape[-2:]
    ahead = torch.ones(n_queries, n_keys, dtype=torch.bool, device=scores.device).triu(1)
    return scores.masked_fill(ahead, -math.inf)


def _softmax(scores: Tensor, in_float32: bool) -> Tensor:
    """Over the keys; in float32 whatever the dtype where the model's own is."""
    if in_float32:
        return torch.softmax(scores, dim=-1, dtype=torch.float32).to(scores.dtype)
    return torch.softmax(scores, dim=-1)
