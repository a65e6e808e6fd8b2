"""A scene on matplotlib axes: for paper, PNG files and figures of several panels."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyBboxPatch, PathPatch, Polygon
from matplotlib.path import Path as Curve

from workbench.diagram.scene import Mark, Path, Scene, Text
from workbench.diagram.themes import LIGHT, Theme

_INCH = 96  # pixels
_SPECIAL = "\\$#%&~^{}"  # to the formulas in which matplotlib lowers a part of a text


def printed(scene: Scene, theme: Theme = LIGHT) -> Figure:
    """The scene as a figure of its own size, 96 pixels an inch."""
    figure = Figure(figsize=(scene.width / _INCH, scene.height / _INCH), facecolor=theme.background)
    drawn_on(figure.add_axes((0, 0, 1, 1)), scene, theme)
    return figure


def drawn_on(axes: Axes, scene: Scene, theme: Theme = LIGHT) -> None:
    """Draws the scene on axes: a pixel is a unit, y grows downward, nothing else is shown."""
    axes.set(xlim=(0, scene.width), ylim=(scene.height, 0), aspect="equal")
    axes.set_axis_off()
    points = 72 / _INCH  # of a pixel, where the axes are as large as the scene
    for mark in scene.marks:
        axes.add_patch(_patch(mark, theme, points))
    for wire in scene.wires:
        axes.add_patch(
            PathPatch(_curve(wire.path), fill=False, edgecolor=theme.ink, linewidth=wire.width * points, zorder=2)
        )
    for text in scene.texts:
        _write(axes, text, theme, points)


def _curve(path: Path) -> Curve:
    points, codes = [path[0]], [int(Curve.MOVETO)]
    for piece in path[1:]:
        points += [(piece[k], piece[k + 1]) for k in range(0, len(piece), 2)]
        codes += [int(Curve.LINETO)] if len(piece) == 2 else [int(Curve.CURVE4)] * 3
    return Curve(points, codes)


def _patch(mark: Mark, theme: Theme, points: float) -> Circle | FancyBboxPatch | Polygon:
    fill, edge = theme.tones[mark.tone]
    if fill.startswith("rgba"):
        *grey, alpha = (float(value) for value in fill[5:-1].split(","))
        paint: dict = {"facecolor": (*(value / 255 for value in grey), alpha)}
    else:
        paint = {"facecolor": fill}
    paint |= {"edgecolor": edge, "linewidth": 1.4 * points, "zorder": 1 if mark.is_frame else 3}
    if mark.kind == "sum":
        paint["linestyle"] = "--"
    if mark.points:
        return Polygon(mark.points, closed=True, joinstyle="round", **paint)
    if mark.kind in ("disc", "dot"):
        return Circle((mark.x, mark.y), mark.width / 2, **paint)
    left, top, _, _ = mark.box
    shape = f"round,pad=0,rounding_size={min(mark.radius, mark.width / 2, mark.height / 2)}"
    return FancyBboxPatch((left, top), mark.width, mark.height, boxstyle=shape, **paint)


def _write(axes: Axes, text: Text, theme: Theme, points: float) -> None:
    colour = theme.label if text.role == "node" else theme.ink
    style = "italic" if text.role in ("leg", "function") else "normal"
    is_math = len(text.runs) > 1 and not set(text.content) & set(_SPECIAL)
    pieces = [rf"$_\mathrm{{{_plain(part)}}}$" if low else part for part, low in text.runs]
    content = "".join(pieces) if is_math else text.content
    axes.text(
        text.x, text.y, content, fontsize=text.size * points, color=colour, style=style, zorder=4,
        ha="center", va="center", family="DejaVu Sans", weight="bold" if text.role == "glyph" else "normal",
        parse_math=is_math,
    )  # fmt: skip


def _plain(part: str) -> str:
    return part.replace("_", r"\_")
