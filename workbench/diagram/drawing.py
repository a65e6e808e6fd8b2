"""A diagram: one object that is drawn, run, costed, written as a formula, and compared with another."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor

from workbench.contraction import ContractionPlan
from workbench.diagram.block import Style
from workbench.diagram.equation import Equation
from workbench.diagram.flow import flow_scene
from workbench.diagram.picture import program_pictures
from workbench.diagram.place import Layout
from workbench.diagram.scene import Scene
from workbench.diagram.sheet import Line, picture_lines, sheet
from workbench.diagram.svg import svg
from workbench.diagram.themes import THEMES, Theme
from workbench.diagram.tikz import tikz
from workbench.diagram.words import described, einsum_text, formula
from workbench.exchange import from_quimb
from workbench.network import Network
from workbench.program import Contract, Program, check_axes
from workbench.whole_files import replaced_file


@dataclass(frozen=True)
class Cost:
    """What the contractions of a diagram cost, in multiply-adds (exact): the plan of each, by its value."""

    plans: Mapping[str, ContractionPlan]

    @property
    def cost(self) -> int:
        """Of all, in the orders planned."""
        return sum(plan.cost for plan in self.plans.values())

    @property
    def naive_cost(self) -> int:
        """Of all, each as one sum over all its legs at once."""
        return sum(plan.naive_cost for plan in self.plans.values())

    @property
    def largest_intermediate(self) -> int:
        """Numbers in the largest tensor made on the way."""
        return max((plan.largest_intermediate for plan in self.plans.values()), default=0)

    def __repr__(self) -> str:
        if len(self.plans) == 1:
            return repr(next(iter(self.plans.values())))
        parts = [f"{name}: {plan!r}" for name, plan in self.plans.items()]
        return "\n".join([*parts, f"together {self.cost:,} multiply-adds, {self.naive_cost:,} all at once"])


@dataclass(frozen=True, eq=False)
class Diagram:
    """A `Network` or `Program` with, if you like, the arrays of its tensors; in a notebook cell it shows itself.

    `layout` places nodes by hand; without one their places follow from the network's shape. `data` names inputs to
    colour as data, `rows` values to draw on a line of their own. Numbers are computed only when asked for.
    """

    subject: Network | Program
    arrays: Mapping[str, Tensor] = field(default_factory=dict)
    layout: Layout = field(default_factory=Layout)
    title: str = ""
    data: tuple[str, ...] = ()
    rows: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for value, kinds in ((self.subject, (Network, Program)), (self.arrays, (Mapping,)), (self.layout, (Layout,))):
            if not isinstance(value, kinds):
                wanted = " or a ".join(kind.__name__ for kind in kinds)
                raise TypeError(f"a Diagram is made of a {wanted} here, and a {type(value).__name__} was given.")
        object.__setattr__(self, "arrays", dict(self.arrays))
        if isinstance(self.subject, Network) and self.arrays:
            object.__setattr__(self, "subject", self.subject.sized_by(self.arrays))
        for name, array in self.arrays.items():
            if name not in self.program.inputs:
                raise ValueError(f"arrays has {name!r}, but the inputs are {', '.join(self.program.inputs)}.")
            check_axes(name, self.program.inputs[name], array)
        self._check_names()

    def _check_names(self) -> None:
        """Raises ValueError where `data` or the layout's sides name what is not there."""
        program = self.program
        for name in self.data:
            if name not in program.inputs:
                raise ValueError(f"data names {name!r}; the inputs are {', '.join(program.inputs)}.")
        legs = {leg for own in program.legs.values() for leg in own}
        legs |= {leg for step in program.steps if isinstance(step, Contract) for leg in step.network.ends}
        for leg in self.layout.sides:
            if leg not in legs:
                raise ValueError(f"the layout says where {leg!r} leaves; the legs are {', '.join(sorted(legs))}.")

    @classmethod
    def from_einsum(cls, equation: str, **arrays: Tensor) -> "Diagram":
        """The diagram of an einsum, its operands named in order: `Diagram.from_einsum("ij,jk->ik", A=a, B=b)`.

        A tensor that stands twice has one name, so it is said by `Diagram(Network.from_einsum(…, names), arrays)`.
        """
        return cls(Network.from_einsum(equation, list(arrays)), arrays)

    @classmethod
    def from_tensornetwork(cls, nodes: Sequence[Any], open_edges: Sequence[Any] | None = None) -> "Diagram":
        """The diagram of connected tensornetwork nodes on the pytorch backend."""
        return cls(*Network.from_tensornetwork(nodes, open_edges))

    @classmethod
    def from_quimb(cls, network: Any) -> "Diagram":
        """The diagram of a quimb TensorNetwork or Tensor."""
        return cls(*from_quimb(network))

    @classmethod
    def of(cls, form: object, title: str = "") -> "Diagram":
        """The diagram of a decomposition with its own arrays; cores are drawn as isometries where they are."""
        from workbench.diagram.forms import parts_of  # loads every decomposition

        return cls(*parts_of(form), title)

    @cached_property
    def program(self) -> Program:
        """What is computed, step by step."""
        return self.subject if isinstance(self.subject, Program) else Program.of(self.subject)

    @cached_property
    def sizes(self) -> dict[str, dict[str, int]]:
        """The sizes of the legs within each value, as far as they are known without running."""
        return self.program.sizes(self.arrays)

    def with_arrays(self, arrays: Mapping[str, Tensor]) -> "Diagram":
        """The same diagram with these arrays."""
        return replace(self, arrays=arrays)

    def run(self, arrays: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
        """Every value by name, from these arrays or its own; the result's name is `program.out`.

        Raises ValueError, TypeError or MemoryError, naming the tensor, where they do not fit (see `Program.run`).
        """
        return self.program.run(self.arrays if arrays is None else arrays)

    def result(self, arrays: Mapping[str, Tensor] | None = None) -> Tensor:
        """The value of the whole."""
        return self.run(arrays)[self.program.out]

    def cost(self) -> Cost:
        """The plan of every contraction; sizes come from the arrays, or from the network where it has them."""
        if isinstance(self.subject, Network):
            return Cost({self.program.out: self.subject.plan()})
        return Cost(self.subject.plans(self.arrays))

    def einsum(self) -> str:
        """The equation of a single contraction; for more steps, one line of Python for each."""
        return einsum_text(self.program)

    def formula(self) -> str:
        """The program as a LaTeX index formula."""
        return formula(self.program)

    @cached_property
    def scene(self) -> Scene:
        """Its geometry."""
        return self.scene_with({})

    def scene_with(self, widths: Mapping[float, float]) -> Scene:
        """Its geometry with columns no narrower than `widths`, and as many of them."""
        title = self.title or "tensor network"
        if self.layout.flow:
            return flow_scene(self.program, title, self.description)
        return sheet(self.lines(widths), title, self.description)

    def lines(self, widths: Mapping[float, float] | None = None, prefix: str = "") -> list[Line]:
        """Its blocks line by line; `widths` are the least widths of columns, `prefix` begins the names of all marks."""
        pictures = program_pictures(self.program, self.sizes, self.rows)
        return picture_lines(pictures, self._style(prefix), self.layout, len(pictures) > 1, widths or {})

    @property
    def description(self) -> str:
        """The picture in words."""
        return described(self.program, self.sizes)

    def svg(self, path: str | Path | None = None, theme: str = "light") -> str:
        """The drawing as SVG; written to `path` too, if one is given."""
        text = svg(self.scene, _theme(theme))
        if path is not None:
            with replaced_file(Path(path)) as temporary:
                temporary.write_text(text, encoding="utf-8")
        return text

    def png(self, path: str | Path, theme: str = "light", dpi: int = 144) -> Path:
        """The drawing as a PNG file, made by matplotlib."""
        from workbench.diagram.printed import printed  # loads matplotlib

        figure = printed(self.scene, theme=_theme(theme))
        with replaced_file(Path(path)) as temporary:
            figure.savefig(temporary, format="png", dpi=dpi)
        return Path(path)

    def tikz(self) -> str:
        """The drawing as a tikzpicture, which LaTeX's tikz package alone typesets."""
        return tikz(self.scene)

    def matplotlib(self, axes: Any = None, theme: str = "light") -> Any:
        """The drawing on matplotlib axes, or on new ones of its size; returns the axes."""
        from workbench.diagram.printed import drawn_on, printed  # loads matplotlib

        if axes is None:
            return printed(self.scene, theme=_theme(theme)).axes[0]
        drawn_on(axes, self.scene, _theme(theme))
        return axes

    def plotly(self, theme: str = "light") -> Any:
        """The drawing as a plotly figure: pan, zoom, and point at anything to be told what it is."""
        from workbench.diagram.hovered import hovered  # loads plotly

        return hovered(self.scene, _theme(theme))

    def __eq__(self, other: object) -> "Equation":  # type: ignore[override]
        """The equation of two diagrams: its truth is that of the numbers, and it shows both sides."""
        if not isinstance(other, Diagram):
            return NotImplemented
        return Equation(self, other)

    __hash__ = object.__hash__

    def __repr__(self) -> str:
        head = f"Diagram {self.title!r}" if self.title else "Diagram"
        return f"{head}: {self.einsum()}"

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        return shown(self.scene, repr(self))

    def _style(self, prefix: str) -> Style:
        legs, sizes = self.program.legs, self.sizes
        values = {step.out for step in self.program.steps}
        tone = {name: "data" if name in self.data else "value" if name in values else "tensor" for name in legs}
        told = {}
        for name, own in legs.items():
            known = sizes.get(name, {})
            shape = " × ".join(f"{leg} {known[leg]}" if leg in known else leg for leg in own)
            told[name] = f"{name}: {shape or 'a number'}"
        return Style(tone, told, prefix)


def shown(scene: Scene, text: str) -> dict[str, str]:
    """What a notebook shows of a scene: inline SVG in a frame that scrolls, a picture by itself, and text."""
    inline = f'<div style="overflow-x:auto">{svg(scene, inline=True)}</div>'
    return {"text/html": inline, "image/svg+xml": svg(scene), "text/plain": text}


def _theme(name: str) -> Theme:
    if name not in THEMES:
        raise ValueError(f"there is no theme {name!r}; the themes are {', '.join(THEMES)}.")
    return THEMES[name]
