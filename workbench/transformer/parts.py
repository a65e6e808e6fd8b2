"""The parts of a transformer as drafts of programs: from one head's circuit to the whole model."""

from jaxtyping import Int
from torch import Tensor

from workbench.diagram.place import Layout
from workbench.network import Network
from workbench.node import Node
from workbench.program import Contract, Program
from workbench.transformer.anatomy import Anatomy, Attention
from workbench.transformer.circuit import ov_circuit, qk_circuit
from workbench.transformer.steps import STREAM, Draft, attention_steps, embed_steps, mlp_steps, unembed_steps
from workbench.transformer.weight import Weight


def embed_part(anatomy: Anatomy, tokens: Int[Tensor, " t"] | None) -> Draft:
    """From tokens to the residual stream that block 0 reads."""
    draft = Draft()
    W_pos = None if anatomy.W_pos is None or tokens is None else anatomy.W_pos[: len(tokens)]
    embed_steps(draft, anatomy.W_E, W_pos, tokens, anatomy.W_pos is not None)
    return draft


def direct_part(anatomy: Anatomy, fold: bool, tokens: Int[Tensor, " t"] | None) -> Draft:
    """From tokens straight to logits, past every block."""
    draft = embed_part(anatomy, tokens)
    unembed_steps(draft, anatomy.W_U, anatomy.ln_final, fold, draft.out)
    return draft


def lens_part(anatomy: Anatomy, fold: bool) -> Draft:
    """From the residual stream after a block to logits: the end of the model, or a logit lens inside it."""
    draft = Draft()
    draft.input("resid_post", STREAM)
    unembed_steps(draft, anatomy.W_U, anatomy.ln_final, fold, "resid_post")
    return draft


def attention_part(anatomy: Anatomy, layer: int, fold: bool, n: int) -> Draft:
    """All heads of a layer, from what they read to what they write, with the bias."""
    attn = anatomy.block(layer).attn
    draft = _attending(anatomy, attn, layer, fold, n, "attn_out" if attn.b_O is None else "result")
    _with_bias(draft, "attn_out", attn.b_O, "b_O")
    return draft


def head_part(anatomy: Anatomy, layer: int, head: int, fold: bool, n: int) -> Draft:
    """One head, from what it reads to what it alone writes."""
    return _attending(anatomy, anatomy.head(layer, head), layer, fold, n, "result")


def mlp_part(anatomy: Anatomy, layer: int, fold: bool) -> Draft:
    """An MLP, from what it reads to what it writes. Raises ValueError where the block has none."""
    block = anatomy.block(layer)
    if block.mlp is None:
        raise ValueError(f"block {layer} of {anatomy.name} has no MLP; it has attention alone.")
    draft = Draft()
    read = draft.input("resid_mid", STREAM)
    mlp_steps(draft, block.mlp, block.ln2, fold, read, "mlp_out" if block.mlp.b_out is None else "mlp")
    _with_bias(draft, "mlp_out", block.mlp.b_out, "b_out")
    return draft


def mlp_layout(program: Program) -> Layout:
    """A gated MLP's two branches above each other, the dots where they part and meet between; else nothing is said."""
    steps = {step.out: step for step in program.steps}
    linear, out = steps.get("pre_linear"), steps.get("mlp", steps.get("mlp_out"))
    if linear is None or not isinstance(out, Contract):
        return Layout()
    inside = ["pre_linear"]  # with its bias it is one node, a sum
    if isinstance(linear, Contract):
        stream, *weight = linear.network.nodes
        inside = [stream.name, *(node.name for node in reversed(weight))]
    after = [node.name for node in reversed(out.network.nodes[1:])]
    last = len(inside) + 1.0
    cells = {"gate": (last / 2, 0), "dot_t": (0.0, 1), "dot_f": (last, 1)}
    cells |= {name: (last + k, 1) for k, name in enumerate(after, start=1)}
    cells |= {name: (float(k), 2) for k, name in enumerate(inside, start=1)}
    return Layout(cells, {"t": "left", "d": "right"})


def block_part(anatomy: Anatomy, layer: int, fold: bool, n: int) -> Draft:
    """A whole block: the residual stream, and the two sums on it."""
    block = anatomy.block(layer)
    draft = _attending(anatomy, block.attn, layer, fold, n, "result")
    after = "resid_post" if block.mlp is None else "resid_mid"
    _residual(draft, after, "resid_pre", block.attn.b_O, "b_O")
    if block.mlp is not None:
        mlp_steps(draft, block.mlp, block.ln2, fold, after, "mlp")
        _residual(draft, "resid_post", after, block.mlp.b_out, "b_out")
    return draft


def model_part(anatomy: Anatomy, fold: bool, tokens: Int[Tensor, " t"] | None) -> Draft:
    """The whole model at a glance: each layer a box that computes what its own view draws."""
    n = 1 if tokens is None else len(tokens)
    draft = Draft()
    embedded = embed_part(anatomy, tokens)
    read = draft.input("tokens", ("t",), tokens)
    stream = _box(draft, "blocks.0.resid_pre", "embed", embedded, read, "tokens", "")
    for layer, block in enumerate(anatomy.blocks):
        prefix = f"blocks.{layer}"
        part = attention_part(anatomy, layer, fold, n)
        out = _box(draft, f"{prefix}.attn_out", f"attn {layer}", part, stream, "resid_pre", f"{prefix}.attn.")
        after = f"{prefix}.resid_post" if block.mlp is None else f"{prefix}.resid_mid"
        stream = draft.add(after, STREAM, (stream, STREAM), (out, STREAM))
        if block.mlp is not None:
            part = mlp_part(anatomy, layer, fold)
            out = _box(draft, f"{prefix}.mlp_out", f"MLP {layer}", part, stream, "resid_mid", f"{prefix}.mlp.")
            stream = draft.add(f"{prefix}.resid_post", STREAM, (stream, STREAM), (out, STREAM))
    _box(draft, "logits", "unembed", lens_part(anatomy, fold), stream, "resid_post", "")
    return draft


def circuit_part(
    anatomy: Anatomy, layer: int, head: int, name: str, fold: bool, n: int
) -> tuple[Network, dict[str, Tensor]]:
    """The network of a head's circuit over d (out) and e (in), or over tokens v and u, or of its singular values."""
    attn, norm = anatomy.head(layer, head), anatomy.block(layer).ln1

    def reading(weight: Weight) -> Weight:
        return weight.scaled("d", norm.gain) if fold and norm is not None else weight

    full, which = name.startswith("full_"), name.removeprefix("full_")
    ends = ("a", "e") if full else ("d", "e")
    if which.endswith(".svd"):
        circuit = (qk_circuit if which.startswith("QK") else ov_circuit)(anatomy, layer, head, fold)
        return _svd_network(*circuit.svd)
    arrays: dict[str, Tensor] = {}
    nodes: list[Node] = []

    def hold(weight: Weight, renamed: dict[str, str], suffix: str = "") -> None:
        arrays.update(weight.arrays)
        nodes.extend(weight.nodes(renamed, suffix))

    opened: tuple[str, ...] = ends
    if full:
        opened = ("v", "u")
        first = anatomy.W_E
        if which == "OV":
            gain = anatomy.ln_final.gain if fold and anatomy.ln_final is not None else None
            first = anatomy.W_U if gain is None else anatomy.W_U.scaled("d", gain)
        hold(first, {"d": ends[0]})
    if which == "OV":
        hold(attn.W_O, {"d": ends[0]})
        hold(reading(attn.W_V), {"d": ends[1]}, ".V" if len(attn.W_V.parts) > 1 else "")
    elif anatomy.rotation is None:
        hold(reading(attn.W_Q), {"d": ends[0]})
        hold(reading(attn.W_K), {"d": ends[1]}, ".K" if len(attn.W_K.parts) > 1 else "")
    else:
        arrays["R"], opened = anatomy.rotation(n), ("n", *opened)
        hold(reading(attn.W_Q), {"d": ends[0]})
        nodes.append(Node("R", ("n", "j", "k")))
        hold(reading(attn.W_K), {"d": ends[1], "k": "j"}, ".K" if len(attn.W_K.parts) > 1 else "")
    if full:
        hold(anatomy.W_E, {"d": ends[1], "v": "u"}, ".1" if which == "QK" else "")
    return Network(tuple(nodes), opened), arrays


def _svd_network(u: Tensor, s: Tensor, vh: Tensor) -> tuple[Network, dict[str, Tensor]]:
    nodes = (
        Node("u", ("d", "a"), form="isometry", tip=("a",)),
        Node("s", ("w",), form="diagonal"),
        Node("dot", ("a", "w", "b"), copy=True),
        Node("vh", ("b", "e"), form="isometry", tip=("b",)),
    )
    return Network(nodes, ("d", "e")), {"u": u, "s": s, "vh": vh}


def _attending(anatomy: Anatomy, attn: Attention, layer: int, fold: bool, n: int, out: str) -> Draft:
    draft = Draft()
    read = draft.input("resid_pre", STREAM)
    rotation = None if anatomy.rotation is None else anatomy.rotation(n)
    attention_steps(draft, attn, anatomy.block(layer).ln1, fold, rotation, read, out)
    return draft


def _with_bias(draft: Draft, out: str, bias: Tensor | None, name: str) -> None:
    """The bias, if there is one, added to the last value."""
    if bias is not None:
        draft.add(out, STREAM, (draft.out, STREAM), (draft.input(name, ("d",), bias), ("d",)))


def _residual(draft: Draft, out: str, stream: str, bias: Tensor | None, name: str) -> None:
    biases = [] if bias is None else [(draft.input(name, ("d",), bias), ("d",))]
    draft.add(out, STREAM, (stream, STREAM), (draft.out, STREAM), *biases)


def _box(draft: Draft, out: str, label: str, part: Draft, read: str, reads_as: str, prefix: str) -> str:
    """One step that computes a whole part: `read` is what the part calls `reads_as`; its weights get a prefix."""
    program = part.program()
    own = [name for name in program.inputs if name != reads_as]
    for name in own:
        draft.input(f"{prefix}{name}", program.inputs[name], part.arrays.get(name))

    def run(*values: Tensor) -> Tensor:
        return program.run(dict(zip([reads_as, *own], values, strict=True)))[program.out]

    legs = program.legs[program.out]
    return draft.apply(out, label, run, (read, *(f"{prefix}{name}" for name in own)), legs)
