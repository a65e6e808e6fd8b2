"""A scene as a plotly figure: to pan and zoom, and to point at."""

import plotly.graph_objects as go

from workbench.diagram.scene import Scene, Text, sampled
from workbench.diagram.svg import path_data
from workbench.diagram.themes import LIGHT, Theme


def hovered(scene: Scene, theme: Theme = LIGHT) -> go.Figure:
    """The scene as a figure; pointing at a node or a leg tells its name and sizes."""
    figure = go.Figure()
    for wire in scene.wires:
        points = list(sampled(wire.path))
        figure.add_scatter(
            x=[x for x, _ in points], y=[y for _, y in points], mode="lines", name=as_written(wire.name),
            line={"color": theme.ink, "width": wire.width}, text=as_written(wire.title), hoverinfo="text",
            showlegend=False,
        )  # fmt: skip
    shapes = []
    for mark in scene.marks:
        fill, edge = theme.tones[mark.tone]
        left, top, right, bottom = mark.box
        shape = {"fillcolor": "rgba(0,0,0,0)" if fill == "none" else fill, "line": {"color": edge, "width": 1.4}}
        if mark.points:
            path = path_data((*mark.points, mark.points[0])) + "Z"
            shapes.append({"type": "path", "path": path.replace("M", "M ").replace("L", " L "), **shape})
        else:
            kind = "circle" if mark.kind in ("disc", "dot") else "rect"
            shapes.append({"type": kind, "x0": left, "x1": right, "y0": top, "y1": bottom, **shape})
        if mark.is_frame:
            shapes[-1]["layer"] = "below"
    nodes = [mark for mark in scene.marks if not mark.is_frame]
    figure.add_scatter(
        x=[mark.x for mark in nodes], y=[mark.y for mark in nodes], mode="markers", name="nodes", showlegend=False,
        marker={"size": 26, "opacity": 0}, hoverinfo="text", text=[as_written(mark.title) for mark in nodes],
    )  # fmt: skip
    figure.update_layout(
        width=max(200, scene.width), height=max(120, scene.height), margin={"l": 0, "r": 0, "t": 0, "b": 0},
        shapes=shapes, annotations=[_annotation(text, theme) for text in scene.texts],
        paper_bgcolor=theme.background, plot_bgcolor=theme.background, hovermode="closest", dragmode="pan",
    )  # fmt: skip
    figure.update_xaxes(visible=False, range=[0, scene.width])
    figure.update_yaxes(visible=False, range=[scene.height, 0], scaleanchor="x")
    return figure


def _annotation(text: Text, theme: Theme) -> dict:
    content = "".join(f"<sub>{as_written(part)}</sub>" if low else as_written(part) for part, low in text.runs)
    if text.role in ("leg", "function"):
        content = f"<i>{content}</i>"
    colour = theme.label if text.role == "node" else theme.ink
    font = {"size": text.size, "color": colour, "family": "DejaVu Sans, Verdana, sans-serif"}
    return {"x": text.x, "y": text.y, "text": content, "showarrow": False, "font": font}


def as_written(text: str) -> str:
    """The text such that plotly shows it as it is, which reads a few tags, formulas in `$`, and `%{…}` in templates."""
    read = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "$": "&#36;", "%": "&#37;"}
    return "".join(read.get(letter, letter) for letter in text)
