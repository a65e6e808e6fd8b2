"""A model to zoom into: from the whole of it to the singular values of one head's circuit, on its own weights."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from workbench.diagram.drawing import Diagram
from workbench.diagram.scene import Mark, Scene
from workbench.explore.inspect import LegFrame, TensorFrame, inspected, leg_frame, picked, tensor_frame, value_at
from workbench.explore.predictions import NextTokens, next_tokens, token_texts
from workbench.explore.zoom_targets import opened_by, path_name
from workbench.program import Contract
from workbench.spectrum import Spectrum
from workbench.transformer.anatomy import Anatomy
from workbench.transformer.circuit import ov_circuit, qk_circuit
from workbench.transformer.load import LanguageModel, load
from workbench.transformer.reading import anatomy_of
from workbench.transformer.view import Tokens, above, paths, tokens_of, view_of


@dataclass(frozen=True, eq=False)
class ZoomFrame:
    """One view of a model and what is looked at in it.

    `crumbs` lead from the model to here, each a name and its path; `children` are the views below, `target` is what
    the selected tensor or leg opens, "" for none. `cost` counts the multiply-adds of the contractions that are drawn,
    or, of the model, of all its parts; None without tokens. `pattern` is that of the head (in `.attn`, of the chosen
    one), query positions by key positions; `next_tokens` are those of a view that ends in logits; `spectrum` is the
    exact one of the circuit that is drawn.
    """

    model: str
    path: str
    crumbs: tuple[tuple[str, str], ...]
    scene: Scene
    formula: str
    cost: int | None
    children: tuple[str, ...]
    tokens: tuple[str, ...]
    fold: bool
    head: int
    n_heads: int  # of the block this view is in; 0 for none
    selected: str = ""
    shown: TensorFrame | LegFrame | None = None
    target: str = ""
    pattern: TensorFrame | None = None
    next_tokens: tuple[NextTokens, ...] = ()
    spectrum: Spectrum | None = None

    @property
    def told(self) -> str:
        """Tokens, cost, and how much of the circuit's rank is used, in a line."""
        parts = [f"{len(self.tokens)} token{'s' * (len(self.tokens) != 1)}" if self.tokens else "no tokens"]
        if self.cost is not None:
            parts.append(f"{self.cost:,} multiply-adds")
        if self.fold:
            parts.append("norms folded into the weights that read them")
        if self.spectrum is not None:
            rank = math.exp(self.spectrum.entropy())
            parts.append(f"{len(self.spectrum)} singular values, effective rank {rank:.1f}")
        return "; ".join(parts)

    def __str__(self) -> str:
        lines = [f"{self.model}: {' › '.join(name for name, _ in self.crumbs)}", self.told]
        if self.children:
            lines.append(f"opens into {', '.join(path_name(path) for path in self.children)}")
        lines += [str(each) for each in self.next_tokens]
        if self.pattern is not None:
            lines.append(f"pattern of head {self.head}: {self.pattern.heatmap_told}")
        if self.shown is not None:
            lines.append(str(self.shown))
            lines += [f"opens {self.target}"] if self.target else []
        return "\n".join(lines)


class Zoom:
    """A model, the view of it that is open, and what is selected there.

    `tokens` are a text, or a row of token ids; without them views are drawn and their weights can be looked at. The
    model is run once for each setting of `fold`; opening a view runs nothing, looking at a value runs what is drawn.
    Raises what `workbench.load` and `view` raise, for a model or tokens that they cannot read.
    """

    def __init__(
        self, model: LanguageModel | Anatomy | str | Path, tokens: Tokens | None = None, fold: bool = False
    ) -> None:
        self.model = load(model) if isinstance(model, str | Path) else model
        self.anatomy = anatomy_of(self.model)
        self.tokens = None if tokens is None else tokens_of(self.model, tokens, self.anatomy)
        self._texts = () if self.tokens is None else token_texts(self.model, self.tokens)
        self._passes: dict[bool, dict[str, Tensor]] = {}
        self._head = 0
        self._before: list[str] = []
        self._show("model", fold)

    @property
    def path(self) -> str:
        """The view that is open."""
        return self._path

    @property
    def diagram(self) -> Diagram:
        """The view that is open, as it is drawn and run."""
        return self._diagram

    @property
    def children(self) -> tuple[str, ...]:
        """The views that this one opens into."""
        return paths(self.anatomy, self._path)

    @property
    def n_heads(self) -> int:
        """How many heads the block has that this view is in; 0 in the views of the whole model."""
        return self.anatomy.blocks[int(self._path.split(".")[1])].attn.n_heads if "." in self._path else 0

    @property
    def head(self) -> int:
        """The head that is meant by a tensor which all heads share. In a head's view, that head: setting it moves."""
        return min(self._head, self.n_heads - 1) if self.n_heads else self._head

    @head.setter
    def head(self, head: int) -> None:
        most = max(block.attn.n_heads for block in self.anatomy.blocks)
        if not 0 <= head < (self.n_heads or most):
            raise ValueError(
                f"{self._path} of {self.anatomy.name} has no head {head}; it has 0 to {(self.n_heads or most) - 1}."
            )
        start, found, rest = self._path.partition(".head.")
        self._head = head
        if found:
            self._show(".".join([f"{start}.head.{head}", *rest.split(".")[1:]]), self.fold)

    @property
    def fold(self) -> bool:
        """Whether the gains and shifts of norms are drawn within the weights that read them; setting it redraws."""
        return self._fold

    @fold.setter
    def fold(self, fold: bool) -> None:
        self._show(self._path, fold)

    def open(self, path: str) -> None:
        """Opens a view. Raises ValueError, saying what there is, where there is none such; then nothing changes."""
        before = self._path
        self._show(path, self._fold)
        if path != before:
            self._before.append(before)

    def up(self) -> None:
        """Opens the view that this one is part of; of the model, that."""
        self.open(above(self._path))

    def back(self) -> None:
        """Opens the view that was open before; where there was none, nothing changes."""
        if self._before:
            self._show(self._before.pop(), self._fold)

    @property
    def has_before(self) -> bool:
        """Whether another view was open before."""
        return bool(self._before)

    def target(self, name: str, kind: str = "") -> str | None:
        """The path that a click on the mark or wire of that name opens; None where there is nothing below it."""
        return opened_by(self._diagram.scene, self._path, self.head, name, kind)

    def select(self, name: str, kind: str = "") -> None:
        """Looks at the mark or wire of that name, "" at none. `kind` says which is meant where both are called so."""
        self._selected = name, kind

    def shown(self, name: str, kind: str = "") -> TensorFrame | LegFrame | None:
        """What a reader sees of the mark or wire of that name; None where there is none such, or nothing to see."""
        what = picked(self._diagram.scene, name, kind)
        if not isinstance(what, Mark):
            return None if what is None else leg_frame(self._diagram.scene, what)
        value = value_at(what)
        if value not in self._frames:
            values = self._diagram.arrays if value in self._diagram.arrays else self._values()
            self._frames[value] = tensor_frame(self._diagram, values, what)
        return self._frames[value]

    def frame(self) -> ZoomFrame:
        """The open view and what is selected, as numbers. Cost: what is drawn is run once, where it shows a value."""
        selected, kind = self._selected
        return replace(
            self._plain,
            head=self.head,
            selected=selected,
            shown=self.shown(selected, kind) if selected else None,
            target=(self.target(selected, kind) or "") if selected else "",
            pattern=self._pattern(),
        )

    def _show(self, path: str, fold: bool) -> None:
        diagram = view_of(self.anatomy, path, fold, self.tokens, self._known(fold))
        scene = diagram.scene
        self._path, self._fold, self._diagram = path, fold, diagram
        self._selected = "", ""
        self._found: Mapping[str, Tensor] | None = None
        self._frames: dict[str, TensorFrame | None] = {}  # by value: a spectrum is computed once
        if ".head." in path:
            self._head = int(path.partition(".head.")[2].split(".")[0])
        self._plain = ZoomFrame(
            self.anatomy.name, path, _crumbs(path), scene, diagram.formula(), self._cost(), self.children, self._texts,
            fold, self.head, self.n_heads, next_tokens=self._next_tokens(), spectrum=self._spectrum(),
        )  # fmt: skip

    def _known(self, fold: bool) -> dict[str, Tensor]:
        """The values of the model view: the streams that all other views begin with are among them."""
        if self.tokens is None:
            return {}
        if fold not in self._passes:
            values = view_of(self.anatomy, "model", fold, self.tokens, {}).run()
            for layer in range(1, len(self.anatomy.blocks)):
                values[f"blocks.{layer}.resid_pre"] = values[f"blocks.{layer - 1}.resid_post"]
            self._passes[fold] = values
        return self._passes[fold]

    def _values(self) -> Mapping[str, Tensor]:
        """Every value of the open view; the weights alone, where there are no tokens to run it on."""
        if self._found is None:
            if self._path == "model" and self.tokens is not None:
                self._found = self._known(self._fold)
            else:
                whole = set(self._diagram.program.inputs) <= set(self._diagram.arrays)
                self._found = self._diagram.run() if whole else self._diagram.arrays
        return self._found

    def _cost(self) -> int | None:
        if self._path != "model":
            return _cost(self._diagram)
        parts = [
            _cost(view_of(self.anatomy, path, self._fold, self.tokens, self._known(self._fold)))
            for path in self.children
            if path != "direct_path"
        ]
        return None if None in parts else sum(part for part in parts if part is not None)

    def _next_tokens(self) -> tuple[NextTokens, ...]:
        if self.tokens is None or self._diagram.program.out != "logits":
            return ()
        return next_tokens(self.model, self._texts, self._values()["logits"])

    def _pattern(self) -> TensorFrame | None:
        """Of the head in whose view this is; in a layer's, of the one that is chosen."""
        if self.tokens is None or "pattern" not in self._diagram.program.legs or above(self._path) == "model":
            return None
        array = self._values()["pattern"]
        array = array.reshape(-1, *array.shape[-2:])
        return inspected({"pattern": array[self.head if len(array) > 1 else 0]}, "pattern", ("t", "s"))

    def _spectrum(self) -> Spectrum | None:
        """Of a circuit over the stream; the ones over tokens have the same rank, and are too large."""
        parts = self._path.split(".")
        if "s" in self._diagram.arrays:
            return Spectrum(self._diagram.arrays["s"])
        if parts[-1] not in ("QK", "OV"):
            return None
        circuit = qk_circuit if parts[-1] == "QK" else ov_circuit
        return circuit(self.anatomy, int(parts[1]), int(parts[4]), self._fold).spectrum


def _crumbs(path: str) -> tuple[tuple[str, str], ...]:
    found = [path]
    while found[-1] != "model":
        found.append(above(found[-1]))
    return tuple((path_name(each), each) for each in reversed(found))


def _cost(diagram: Diagram) -> int | None:
    """The multiply-adds of all contractions, from sizes alone; None where some are not known."""
    if not set(diagram.program.inputs) <= set(diagram.arrays):
        return None
    total = 0
    for step in diagram.program.steps:
        if isinstance(step, Contract):
            total += replace(step.network, sizes=diagram.sizes[step.out]).plan(step.order).cost
    return total
