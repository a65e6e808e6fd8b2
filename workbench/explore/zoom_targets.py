"""Where a click leads: the view that a tensor or leg of a view opens into."""

import re

from workbench.diagram.scene import Mark, Scene
from workbench.explore.inspect import picked, value_at
from workbench.transformer.view import above

_OF_BLOCK = re.compile(r"(blocks\.\d+)\.(attn_out|mlp_out|resid_pre|resid_mid|resid_post)")
_MLP = {
    "ln2", "pre", "pre_linear", "gate", "post", "mlp", "mlp_out", "W_in", "W_out", "W_gate", "b_in", "b_out", "b_gate",
}  # fmt: skip
_EMBED, _UNEMBED = ("tokens", "one_hot", "W_E", "embed", "pos_embed", "resid_pre"), ("ln_final", "W_U", "b_U")
_NAMES = {"mlp": "MLP", "logit_lens": "logit lens", "direct_path": "direct path"}
_NAMES |= {"full_QK": "full QK", "full_OV": "full OV", "svd": "SVD"}


def opened_by(scene: Scene, path: str, head: int, name: str, kind: str = "") -> str | None:
    """The path that the mark or wire of that name opens in the view at `path`; None where there is nothing below it.

    `head` is the one that is meant where all heads share a node. A leg opens what all tensors it joins open; on the
    model's stream it opens the block that made it, or that reads it first.
    """
    what = picked(scene, name, kind)
    if what is None:
        return None
    if isinstance(what, Mark):
        return _of_mark(path, head, what)
    if path == "model":
        return _of_stream(what[0].leg)
    ends = {end for wire in what for end in wire.ends}
    found = {_of_mark(path, head, mark) for mark in scene.marks if mark.name in ends and value_at(mark)}
    return found.pop() if len(found) == 1 else None


def path_name(path: str) -> str:
    """What the last step of a path is called: "head 2" of blocks.5.attn.head.2, "QK" of blocks.5.attn.head.2.QK."""
    last = path.removeprefix(f"{above(path)}.").replace("head.", "head ")
    return _NAMES.get(last, last)


def _of_mark(path: str, head: int, mark: Mark) -> str | None:
    value = value_at(mark)
    stem = value.split(".")[0]  # W_Q of a factor W_Q.L, ln1 of a gain ln1.w
    last = path.rsplit(".", 1)[-1]
    if path == "model":
        return "embed" if value == "blocks.0.resid_pre" else _of_stream(value)
    if path == "direct_path":
        return "embed" if stem in _EMBED else "unembed" if stem in _UNEMBED else None
    if not value or stem in ("resid_pre", "resid_mid", "resid_post"):
        return None
    if last in ("QK", "OV"):
        return f"{path}.svd"
    if last in ("full_QK", "full_OV"):
        return {"W_E": "embed", "W_U": "unembed"}.get(stem, f"{above(path)}.{last.removeprefix('full_')}")
    if last == "attn":
        return None if stem in ("b_O", "attn_out") else f"{path}.head.{head}"
    if above(path) == "model" and path.startswith("blocks."):
        return f"{path}.{'mlp' if stem in _MLP else 'attn'}"
    return _circuit(path, mark) if above(path).endswith(".attn") else None


def _of_stream(value: str) -> str | None:
    """In the model: of a value on the stream or beside it."""
    if match := _OF_BLOCK.fullmatch(value):
        return match[1] + {"attn_out": ".attn", "mlp_out": ".mlp"}.get(match[2], "")
    return {"tokens": "embed", "logits": "unembed"}.get(value)


def _circuit(path: str, mark: Mark) -> str | None:
    """In a head: what the softmax is taken of is QK's, the rest OV's. A factor that both share is where it is drawn."""
    within = mark.name.split("/")
    if within[0] == "ln1":  # the norm itself, which both read
        return None
    return f"{path}.{'QK' if 'pattern' in within else 'OV'}"
