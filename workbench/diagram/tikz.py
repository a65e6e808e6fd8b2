"""A scene as a tikzpicture. It needs LaTeX's tikz package where it is typeset, and nothing where it is written."""

from workbench.diagram.scene import Mark, Path, Scene, Text, Wire
from workbench.diagram.themes import LIGHT, Theme

_SCALE = 0.03  # centimetres in a pixel


def tikz(scene: Scene, theme: Theme = LIGHT) -> str:
    """The scene as a tikzpicture, in the colours of a theme."""
    lines = [rf"\begin{{tikzpicture}}[x={_SCALE}cm, y=-{_SCALE}cm, line cap=round, line join=round]"]
    for tone, (fill, edge) in theme.tones.items():
        for part, colour in (("fill", fill), ("edge", edge)):
            if colour.startswith("#"):
                lines.append(rf"  \definecolor{{tn-{tone}-{part}}}{{HTML}}{{{colour[1:].upper()}}}")
    held = [mark for mark in scene.marks if mark.is_frame]
    lines += [_mark(mark, theme) for mark in held]
    lines += [_wire(wire) for wire in scene.wires]
    lines += [_mark(mark, theme) for mark in scene.marks if not mark.is_frame]
    lines += [_text(text) for text in scene.texts]
    return "\n".join([*lines, r"\end{tikzpicture}"])


def _at(x: float, y: float) -> str:
    return f"({x:.1f},{y:.1f})"


def _wire(wire: Wire) -> str:
    return rf"  \draw[line width={0.6 * wire.width:.2f}pt] {_path(wire.path)};"


def _path(path: Path) -> str:
    words = [_at(*path[0])]
    for piece in path[1:]:
        if len(piece) == 2:
            words.append(f"-- {_at(*piece)}")
        else:
            x1, y1, x2, y2, x, y = piece
            words.append(f".. controls {_at(x1, y1)} and {_at(x2, y2)} .. {_at(x, y)}")
    return " ".join(words)


def _mark(mark: Mark, theme: Theme) -> str:
    fill, _ = theme.tones[mark.tone]
    paint = f"draw=tn-{mark.tone}-edge"
    if fill.startswith("#"):
        paint += f", fill=tn-{mark.tone}-fill"
    elif mark.kind == "bubble":
        paint += ", fill=black!8"
    left, top, right, bottom = mark.box
    if mark.points:
        return rf"  \draw[{paint}] {' -- '.join(_at(*point) for point in mark.points)} -- cycle;"
    if mark.kind in ("disc", "dot"):
        return rf"  \draw[{paint}] {_at(mark.x, mark.y)} circle[radius={mark.width / 2 * _SCALE:.3f}cm];"
    radius = mark.radius * _SCALE
    dashed = ", dashed" if mark.kind == "sum" else ""
    return rf"  \draw[{paint}, rounded corners={radius:.2f}cm{dashed}] {_at(left, top)} rectangle {_at(right, bottom)};"


def _text(text: Text) -> str:
    size = r"\scriptsize" if text.role == "leg" else r"\small"
    style = r"\itshape " if text.role in ("leg", "function") else ""
    pieces = [rf"$_{{\mathrm{{{_escaped(part)}}}}}$" if low else _escaped(part) for part, low in text.runs]
    content = style + "".join(pieces)
    return rf"  \node[inner sep=0, font={size}] at {_at(text.x, text.y)} {{{content}}};"


def _escaped(text: str) -> str:
    replaced = {"\\": r"\textbackslash{}", "^": r"\textasciicircum{}", "~": r"\textasciitilde{}"}
    return "".join(replaced.get(letter, "\\" + letter if letter in "{}_&%$#" else letter) for letter in text)
