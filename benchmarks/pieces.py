"""What the benchmark of diagrams draws: six networks that quimb can draw too, a transformer block, a whole model."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor, nn

from workbench import Add, Apply, Contract, Diagram, Layout, Network, Node, Program, TensorTrain, TrainOperator

Arrays = Mapping[str, Tensor]
Places = dict[str, tuple[float, float]]
randn = partial(torch.randn, dtype=torch.float64)


@dataclass(frozen=True, eq=False)
class Piece:
    """A diagram, torch code for its value, and where a user of quimb would put its tensors, free ends and joints."""

    name: str
    diagram: Diagram
    direct: Callable[[Arrays], Tensor]
    fix: Places
    chains: tuple[tuple[str, ...], ...] = ()
    layout: Layout = field(default_factory=Layout)  # where a user of ours would put them


def pieces() -> list[Piece]:
    """The six pieces, of the same random numbers each time."""
    torch.manual_seed(0)
    train = Diagram.of(TensorTrain.from_dense(randn((2,) * 10)))
    operator = Diagram.of(TrainOperator.from_weight(randn(64, 64), sites=6).truncate(16))
    own, mirror = ([f"A{k}{star}" for k in range(1, 9)] for star in ("", "*"))
    rows = {name: (k, y) for names, y in ((own, 0), (mirror, -1)) for k, name in enumerate(names)}
    cores = Diagram.of(TensorTrain.from_dense(randn((2,) * 8))).arrays
    sites = [tuple(f"A{k}" for k in range(1, n + 1)) for n in (10, 6)]
    x, heads = randn(5, 6), (2, 3, 6)
    qk = {"X": x, "W_Q": randn(3, 6), "W_K": randn(3, 6)}
    ov = {"A": randn(4, 5), "X": x, "W_V": randn(3, 6), "W_O": randn(6, 3)}
    many = {"A": randn(2, 4, 5), "X": x, "W_V": randn(heads), "W_O": randn(2, 6, 3)}
    return [
        Piece(
            "MPS, 10 sites", train, _train, _line(sites[0]) | {f"i{k}": (k - 1, -1) for k in range(1, 11)}, (sites[0],)
        ),
        Piece(
            "MPO, 6 sites", operator, _operator,
            _line(sites[1]) | {f"{leg}{k}": (k - 1, y) for k in range(1, 7) for leg, y in (("i", 1), ("j", -1))},
            (sites[1],),
        ),
        Piece(
            "ladder, 8 sites", Diagram(ladder(8), cores), lambda a: _train(a).square().sum(), rows,
            (tuple(own), tuple(mirror)), Layout.rows([own, mirror]),
        ),
        Piece(
            "QK circuit", _einsum("te,ke,kf,sf->ts", ("X", "W_Q", "W_K", "X"), qk),
            lambda a: a["X"] @ a["W_Q"].T @ a["W_K"] @ a["X"].T, _line(("t", "X", "W_Q", "W_K", "X.1", "s")),
            (("X", "W_Q", "W_K", "X.1"),),
        ),
        Piece(
            "OV circuit", _einsum("ts,se,ke,dk->td", tuple(ov), ov),
            lambda a: a["A"] @ a["X"] @ a["W_V"].T @ a["W_O"].T, _line(("t", *ov, "d")), (tuple(ov),),
        ),
        Piece(
            "heads, pattern frozen", _einsum("hts,se,hke,hdk->td", tuple(many), many), _heads,
            _line(("t", *many, "d")) | {"h": (2.5, 1)}, (tuple(many),),
        ),
    ]  # fmt: skip


def _line(names: tuple[str, ...]) -> Places:
    return {name: (float(k), 0.0) for k, name in enumerate(names)}


def _einsum(equation: str, names: tuple[str, ...], arrays: Arrays) -> Diagram:
    return Diagram(Network.from_einsum(equation, names), arrays)


def _train(arrays: Arrays) -> Tensor:
    first, *rest = arrays.values()
    for core in rest:
        first = torch.tensordot(first, core, dims=1)
    return first


def _operator(arrays: Arrays) -> Tensor:
    dense = _train(arrays)
    return dense.permute(*range(0, dense.ndim, 2), *range(1, dense.ndim, 2))


def _heads(arrays: Arrays) -> Tensor:
    a, x, v, o = arrays.values()
    return sum((a[h] @ x @ v[h].T @ o[h].T for h in range(1, len(a))), a[0] @ x @ v[0].T @ o[0].T)


def ladder(n_sites: int) -> Network:
    """The squared norm of a train: every core joined to its own conjugate."""
    nodes = []
    for star, bond in (("", "a"), ("*", "b")):
        for k in range(1, n_sites + 1):
            left, right = [f"{bond}{k - 1}"] * (k > 1), [f"{bond}{k}"] * (k < n_sites)
            nodes.append(Node(f"A{k}{star}", (*left, f"i{k}", *right), tensor=f"A{k}", conj=bool(star)))
    return Network(tuple(nodes))


def transformer_block(d_model: int = 48, n_heads: int = 12, n_tokens: int = 7) -> Piece:
    """One block of GPT-2's kind: LN, masked attention and GELU MLP with their biases, and the residual sums."""
    torch.manual_seed(0)
    d_head, d_mlp = d_model // n_heads, 4 * d_model
    arrays = {"resid_pre": randn(n_tokens, d_model)}
    legs = {"resid_pre": "td"}
    for name, own in {"W_Q": "hkd", "W_K": "hkd", "W_V": "hkd", "b_Q": "hk", "b_K": "hk", "b_V": "hk", "W_O": "hdk",
                      "b_O": "d", "W_in": "fd", "b_in": "f", "W_out": "df", "b_out": "d",
                      "g_1": "d", "b_1": "d", "g_2": "d", "b_2": "d"}.items():  # fmt: skip
        size = {"h": n_heads, "k": d_head, "d": d_model, "f": d_mlp}
        arrays[name], legs[name] = randn([size[leg] for leg in own]) / math.sqrt(d_model), own

    def norm(x: Tensor, gain: Tensor, shift: Tensor) -> Tensor:
        return nn.functional.layer_norm(x, (d_model,), gain, shift)

    def causal(scores: Tensor) -> Tensor:
        return scores.masked_fill(torch.ones_like(scores, dtype=torch.bool).triu(1), -math.inf)

    def contract(out: str, equation: str, *names: str) -> Contract:
        return Contract(out, Network.from_einsum(equation, names))

    def biased(out: str, term: str, bias: str, own: str) -> Add:
        return Add(out, (term, bias), tuple(own), (tuple(own), tuple(legs[bias])))

    heads = (contract(f"{x.lower()}_0", f"{own[1]}d,hkd->{own}", "normed", f"W_{x}") for x, own in _HEADS)
    steps = (
        Apply("normed", "LN", norm, ("resid_pre", "g_1", "b_1"), ("t", "d")),
        *heads,
        *(biased(x.lower(), f"{x.lower()}_0", f"b_{x}", own) for x, own in _HEADS),
        contract("scores", "htk,hsk->hts", "q", "k"),
        Apply("scaled", "1/√k", partial(torch.mul, other=d_head**-0.5), ("scores",), ("h", "t", "s")),
        Apply("masked", "mask", causal, ("scaled",), ("h", "t", "s")),
        Apply("pattern", "softmax", partial(torch.softmax, dim=-1), ("masked",), ("h", "t", "s")),
        contract("attn", "hts,hsk,hdk->td", "pattern", "v", "W_O"),
        Add("resid_mid", ("resid_pre", "attn", "b_O"), ("t", "d"), (("t", "d"), ("t", "d"), ("d",))),
        Apply("normed_mid", "LN", norm, ("resid_mid", "g_2", "b_2"), ("t", "d")),
        contract("pre_0", "td,fd->tf", "normed_mid", "W_in"),
        biased("pre", "pre_0", "b_in", "tf"),
        Apply("post", "GELU", nn.functional.gelu, ("pre",), ("t", "f")),
        contract("mlp", "tf,df->td", "post", "W_out"),
        Add("resid_post", ("resid_mid", "mlp", "b_out"), ("t", "d"), (("t", "d"), ("t", "d"), ("d",))),
    )
    program = Program({name: tuple(own) for name, own in legs.items()}, steps)
    return Piece("transformer block", Diagram(program, arrays, data=("resid_pre",)), _block, {})


_HEADS = (("Q", "htk"), ("K", "hsk"), ("V", "hsk"))


def _block(arrays: Arrays) -> Tensor:
    a, f = arrays, nn.functional
    x = a["resid_pre"]
    normed = f.layer_norm(x, x.shape[1:], a["g_1"], a["b_1"])
    q, k, v = (normed @ a[f"W_{m}"].mT + a[f"b_{m}"][:, None] for m in "QKV")  # (h, t, k)
    z = f.scaled_dot_product_attention(q, k, v, is_causal=True)
    mid = x + (z @ a["W_O"].mT).sum(0) + a["b_O"]
    normed = f.layer_norm(mid, x.shape[1:], a["g_2"], a["b_2"])
    return mid + f.linear(f.gelu(f.linear(normed, a["W_in"], a["b_in"])), a["W_out"], a["b_out"])


def overview(n_layers: int = 12, n_heads: int = 12) -> Program:
    """A whole model at a glance: each head and each MLP a term of a sum on the residual stream."""

    def step(out: str, label: str, read: str, legs: str = "td") -> Apply:
        return Apply(out, label, torch.clone, (read,), tuple(legs))

    steps: list[Apply | Add] = []
    stream = "embed"
    for layer in range(n_layers):
        block = f"blocks.{layer}"
        heads = [step(f"{block}.head.{h}", f"L{layer}H{h}", stream) for h in range(n_heads)]
        mid, post = f"resid_mid.{layer}", f"resid_post.{layer}"
        mlp = step(f"{block}.mlp", f"MLP {layer}", mid)
        steps += [*heads, Add(mid, (stream, *(head.out for head in heads)), ("t", "d"))]
        steps += [mlp, Add(post, (mid, mlp.out), ("t", "d"))]
        stream = post
    steps += [step("ln_final", "LN", stream), step("logits", "W_U", "ln_final", "tv")]
    return Program({"embed": ("t", "d")}, tuple(steps))
