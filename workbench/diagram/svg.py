"""A scene as SVG: inline in a page, where it follows the page's theme, or a file by itself."""

import html
from zlib import crc32

from workbench.diagram.scene import Mark, Path, Scene, Text, Wire
from workbench.diagram.themes import FONT, LIGHT, Theme


def svg(scene: Scene, theme: Theme = LIGHT, inline: bool = False, zoom: float = 1.0) -> str:
    """The scene as an SVG element. `inline` leaves the background to the page and takes its ink where it says one.

    Every mark and wire carries its name as data-name and a <title> that is shown to who points at it.
    """
    ink = f"var(--jp-content-font-color1, var(--vscode-editor-foreground, {theme.ink}))" if inline else theme.ink
    size = f'width="{scene.width * zoom:.0f}" height="{scene.height * zoom:.0f}"'
    held = [mark for mark in scene.marks if mark.is_frame]
    body = [
        *([] if inline else [f'<rect width="100%" height="100%" fill="{theme.background}"/>']),
        *(_mark(mark, theme, ink) for mark in held),
        *(_wire(wire, ink) for wire in scene.wires),
        *(_mark(mark, theme, ink) for mark in scene.marks if not mark.is_frame),
        *(_text(text, theme, ink) for text in scene.texts),
    ]
    told = f"{escape(scene.title or 'tensor network')}\n{escape(scene.description)}"
    # Ids are the page's: two drawings on one page share them only if they are the same drawing.
    own = f"tn{crc32(chr(10).join([told, *body]).encode('utf-8', 'replace')):08x}"
    title, _, description = told.partition("\n")
    head = [
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-labelledby="{own}-t {own}-d" {size} '
        f'viewBox="0 0 {scene.width:.0f} {scene.height:.0f}" font-family="{FONT}" style="--ink:{ink}">',
        f'<title id="{own}-t">{title}</title>',
        f'<desc id="{own}-d">{description}</desc>',
    ]
    return "\n".join([*head, *body, "</svg>"])


def escape(text: str) -> str:
    """The text as XML: what has a meaning there is escaped, and what may not stand there at all is replaced."""
    allowed = "".join(c if c in "\t\n" or (c >= " " and not "\ud800" <= c <= "\udfff") else "\ufffd" for c in text)
    return html.escape(allowed)


def _wire(wire: Wire, ink: str) -> str:
    return (
        f'<path class="tn-wire" data-name="{escape(wire.name)}" data-leg="{escape(wire.leg)}" '
        f'd="{path_data(wire.path)}" fill="none" stroke="{ink}" stroke-width="{wire.width:.2f}">'
        f"<title>{escape(wire.title)}</title></path>"
    )


def path_data(path: Path) -> str:
    """The `d` of an SVG path."""
    words = [f"M{_pair(path[0])}"]
    for piece in path[1:]:
        words.append(f"L{_pair(piece)}" if len(piece) == 2 else f"C{_pair(piece)}")
    return "".join(words)


def _pair(values: tuple[float, ...]) -> str:
    return " ".join(f"{value:.2f}".rstrip("0").rstrip(".") for value in values)


def _mark(mark: Mark, theme: Theme, ink: str) -> str:
    fill, edge = theme.tones[mark.tone] if mark.tone not in ("dot", "bar") else (ink, ink)  # these are part of a line
    left, top, _, _ = mark.box
    paint = f'fill="{fill}" stroke="{edge}" stroke-width="1.4"'
    if mark.points:
        points = " ".join(f"{x:.2f},{y:.2f}" for x, y in mark.points)
        shape = f'<polygon points="{points}" stroke-linejoin="round" {paint}/>'
    elif mark.kind in ("disc", "dot"):
        shape = f'<circle cx="{mark.x:.2f}" cy="{mark.y:.2f}" r="{mark.width / 2:.2f}" {paint}/>'
    else:
        dash = ' stroke-dasharray="3 3"' if mark.kind == "sum" else ""
        shape = (
            f'<rect x="{left:.2f}" y="{top:.2f}" width="{mark.width:.2f}" height="{mark.height:.2f}" '
            f'rx="{mark.radius:g}" {paint}{dash}/>'
        )
    return (
        f'<g class="tn-mark" data-name="{escape(mark.name)}" data-kind="{mark.kind}">'
        f"{shape}<title>{escape(mark.title)}</title></g>"
    )


def _text(text: Text, theme: Theme, ink: str) -> str:
    fill = theme.label if text.role == "node" else ink
    weight = ' font-weight="bold"' if text.role == "glyph" else ""
    style = ' font-style="italic"' if text.role in ("leg", "function") else ""
    parts, lowered = [], False
    for content, low in text.runs:
        shift = 0.25 * text.size * (low - lowered)
        moved = f' dy="{shift:.1f}"' if shift else ""
        small = f' font-size="{0.75 * text.size:.1f}"' if low else ""
        parts.append(f"<tspan{moved}{small}>{escape(content)}</tspan>" if moved or small else escape(content))
        lowered = low
    return (
        f'<text class="tn-text" data-role="{text.role}" x="{text.x:.2f}" y="{text.y + 0.35 * text.size:.2f}" '
        f'font-size="{text.size:g}" text-anchor="middle" fill="{fill}"{weight}{style}>{"".join(parts)}</text>'
    )
