"""One weight in every format under the hand: a slider for the share kept, the tensors to scale, the numbers as text."""

# pyright: reportAttributeAccessIssue=false, reportArgumentType=false
# (traits are typed when they run)

import math
from collections.abc import Iterator
from html import escape

import ipywidgets as widgets

from workbench.diagram.themes import FONT
from workbench.explore.one_weight import METRICS, WeightFrame, WeightLab
from workbench.widgets.latest import Latest
from workbench.widgets.own_keys import OwnKeys
from workbench.widgets.to_scale import SIZE, Block, Shown, drawn_to_scale


class FormatsView(widgets.VBox):
    """A `WeightLab` to look at and to move: every format is cut to the share that the slider says.

    Built once; a move changes traits. What a cut drops is measured in a thread of its own, some tenths of a second at
    the size of a small GPT: the slider is heard meanwhile.
    """

    def __init__(self, lab: WeightLab, kept: float = 0.5) -> None:
        self.lab = lab
        self.kept = widgets.FloatSlider(
            value=kept, min=0.05, max=1.0, step=0.01, description="Numbers kept", readout_format=".0%",
            layout=widgets.Layout(width="min(560px, 98%)"), style={"description_width": "9em"},
        )  # fmt: skip
        self.drawing, self.numbers, self.status = widgets.HTML(), widgets.HTML(), widgets.HTML()
        self._frames = Latest(self._steps, self._failed)
        super().__init__([self.kept, self.drawing, self.numbers, self.status])
        OwnKeys.within(self)
        self.kept.observe(lambda change: self._frames.restart(), "value")
        self._show(lab.frame(self.kept.value))

    def settle(self, seconds: float | None = None) -> None:
        """Waits until what the slider asks for is shown; for scripts and tests."""
        self._frames.settle(seconds)

    def _steps(self) -> Iterator[None]:
        self._show(self.lab.frame(self.kept.value))
        yield

    def _show(self, frame: WeightFrame) -> None:
        self.drawing.value, self.numbers.value, self.status.value = formats_svg(frame), _table(frame), ""

    def _failed(self, error: BaseException) -> None:
        self.status.value = f'<span role="alert">{escape(str(error))}</span>'


def formats_svg(frame: WeightFrame) -> str:
    """Every format's tensors, as much area as they hold numbers, as SVG text in the page's own ink."""
    drawing = drawn_to_scale(frame)
    width, height = drawing.width, drawing.height
    told = f"{frame.matrix} of {frame.model} in {len(frame.formats)} formats, cut to {frame.kept:.0%}, drawn to scale"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="{escape(told)}" '
        f'style="max-width:100%;height:auto" width="{width:.0f}" viewBox="0 0 {width:.0f} {height:.0f}" '
        f'font-family="{FONT}" font-size="{SIZE:g}" fill="currentColor">'
        f"<title>{escape(told)}</title>{''.join(_format(own) for own in drawing.shown)}</svg>"
    )


def _format(own: Shown) -> str:
    words = "".join(f'<text x="{x:.1f}" y="{y:.1f}">{escape(line)}</text>' for x, y, line in own.words)
    left, top, name = own.title
    title = f'<text x="{left:.1f}" y="{top:.1f}" font-weight="bold">{escape(name)}</text>'
    return f"<g>{title}{''.join(_block(block, own.colour) for block in own.blocks)}{words}</g>"


def _block(block: Block, colour: str) -> str:
    points = " ".join(f"{x:.2f},{y:.2f}" for x, y in block.outline)
    seams = "".join(f"M{x1:.2f} {y1:.2f}L{x2:.2f} {y2:.2f}" for (x1, y1), (x2, y2) in block.seams)
    drawn = f'<polygon points="{points}" fill="{colour}" stroke="{colour}"/>'
    return drawn + (f'<path d="{seams}" stroke="white" stroke-width="0.6"/>' if seams else "")


def _table(frame: WeightFrame) -> str:
    dense = math.prod(frame.shape)
    heads = ("format", "bond", "numbers", "multiply-adds", "at best", *(f"error, {metric}" for metric in METRICS))
    rows = [
        (own.name, f"{own.bond}", f"{own.n_params / dense:.1%}", f"{own.multiply_adds / dense:.2f}",
         f"{own.fewest / dense:.2f}", *(f"{own.errors[metric]:.3f}" for metric in METRICS))
        for own in frame.formats
    ]  # fmt: skip
    head = "".join(f"<th scope='col' style='padding:0 .7em;white-space:nowrap'>{escape(word)}</th>" for word in heads)
    body = "".join(
        f"<tr><th scope='row' style='text-align:left;white-space:nowrap'>{escape(name)}</th>"
        + "".join(f"<td style='text-align:right;padding:0 .7em'>{value}</td>" for value in values)
        + "</tr>"
        for name, *values in rows
    )
    told = escape(f"{frame.model}, {frame.matrix}, at most {frame.kept:.0%} of its {dense:,} numbers")
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return f'<div role="status" aria-live="polite">{told}{table}</div>'
