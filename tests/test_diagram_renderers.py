"""Four renderers of one scene: the same things at the same places, safe to embed, readable by everyone."""

import math
import re
from dataclasses import replace
from itertools import combinations
from xml.etree import ElementTree

import numpy as np
import pytest
from drawn import SVG, attention, lattice, mlp
from matplotlib.patches import Circle, FancyBboxPatch, PathPatch, Polygon
from matplotlib.path import Path as Curve

from workbench.diagram.drawing import Diagram
from workbench.diagram.scene import Mark, Scene, Text, Wire, sampled
from workbench.diagram.svg import svg
from workbench.diagram.themes import THEMES
from workbench.diagram.tikz import tikz
from workbench.network import Network
from workbench.node import Node

DECOMPOSED = Network(
    (
        Node("U", ("i", "a"), form="isometry", tip=("a",)),
        Node("S", ("b",), form="diagonal"),
        Node("dot", ("a", "b", "c"), copy=True),
        Node("V_h", ("c", "j"), form="unitary", tip=("c",)),
    ),
    ("i", "j"),
    {"i": 8, "a": 4, "j": 4},
)
SCENES = {
    "attention": Diagram(attention()).scene,
    "mlp": Diagram(mlp(), data=("x",)).scene,
    "lattice": Diagram(lattice(2, 3)[0], layout=lattice(2, 3)[1]).scene,
    "svd": Diagram(DECOMPOSED).scene,
}
every_scene = pytest.mark.parametrize("scene", SCENES.values(), ids=SCENES)


def flat(wire: Wire) -> list[float]:
    return [value for piece in wire.path for value in piece]


def frames_first(marks: tuple[Mark, ...]) -> list[Mark]:
    """The marks as they are painted: frames under wires, nodes above."""
    return sorted(marks, key=lambda mark: mark.kind not in ("bubble", "sum"))


# ---- svg


@every_scene
def test_an_svg_is_well_formed_and_says_what_it_is(scene):
    root = ElementTree.fromstring(svg(scene))
    assert root.get("role") == "img"
    title, desc, *_ = root
    assert (title.tag, desc.tag) == (f"{SVG}title", f"{SVG}desc")
    assert title.text == scene.title
    assert desc.text == scene.description
    assert root.get("aria-labelledby") == f"{title.get('id')} {desc.get('id')}"


@every_scene
@pytest.mark.parametrize("inline", [True, False])
def test_an_svg_refers_to_nothing_outside_and_runs_nothing(scene, inline):
    text = svg(scene, inline=inline).replace('xmlns="http://www.w3.org/2000/svg"', "")
    for word in ("http", "//", "url(", "href", "<script", "javascript", "@import", "<image", "<foreignObject"):
        assert word not in text
    assert not re.search(r"\son\w+=", text)


def test_two_drawings_on_a_page_share_no_id():
    ids = [re.findall(r' id="([^"]*)"', svg(SCENES[name])) for name in list(SCENES)[:2]]
    assert len(ids[0]) == 2
    assert not set(ids[0]) & set(ids[1])


def test_the_same_drawing_is_the_same_file_to_the_byte():
    assert svg(SCENES["svd"]) == svg(SCENES["svd"])


def test_letters_that_xml_forbids_are_replaced():
    scene = replace(SCENES["svd"], title="a\x00b\x1b\ud800c")
    assert ElementTree.fromstring(svg(scene)).find(f"{SVG}title").text == "a\ufffdb\ufffd\ufffdc"


@every_scene
def test_an_svg_has_every_mark_wire_and_text_at_its_place(scene):
    root = ElementTree.fromstring(svg(scene))
    for path, wire in zip(root.iter(f"{SVG}path"), scene.wires, strict=True):
        numbers = [float(word) for word in re.findall(r"-?[\d.]+", path.get("d", ""))]
        assert numbers == pytest.approx(flat(wire), abs=0.006)
        assert path[0].text == wire.title
    for group, mark in zip(root.iter(f"{SVG}g"), frames_first(scene.marks), strict=True):
        assert (group.get("data-name"), group.get("data-kind")) == (mark.name, mark.kind)
        shape = {key: float(value) for key, value in group[0].items() if re.fullmatch(r"-?[\d.]+", value)}
        if "cx" in shape:
            assert (shape["cx"], shape["cy"], 2 * shape["r"]) == pytest.approx((mark.x, mark.y, mark.width), abs=0.02)
        elif "x" in shape:
            assert [shape[key] for key in ("x", "y", "width", "height")] == pytest.approx(
                [*mark.box[:2], mark.width, mark.height], abs=0.006
            )
        else:
            numbers = [float(word) for word in re.split("[ ,]", group[0].get("points", ""))]
            assert numbers == pytest.approx([value for point in mark.points for value in point], abs=0.006)
    for element, text in zip(root.iter(f"{SVG}text"), scene.texts, strict=True):
        assert "".join(element.itertext()) == "".join(part for part, _ in text.runs)
        assert float(element.get("x", "")) == pytest.approx(text.x, abs=0.006)
        assert float(element.get("y", "")) == pytest.approx(text.y + 0.35 * text.size, abs=0.006)
        assert element.get("text-anchor") == "middle"


# ---- matplotlib, plotly, tikz


@every_scene
def test_matplotlib_draws_the_scene_at_its_coordinates(scene):
    from workbench.diagram.printed import printed

    figure = printed(scene)
    (axes,) = figure.axes
    assert (axes.get_xlim(), axes.get_ylim()) == ((0, scene.width), (scene.height, 0))
    assert figure.get_size_inches() * 96 == pytest.approx([scene.width, scene.height])
    marks, wires = axes.patches[: len(scene.marks)], axes.patches[len(scene.marks) :]
    for patch, mark in zip(marks, scene.marks, strict=True):
        if isinstance(patch, Circle):
            assert (*patch.center, 2 * patch.radius) == pytest.approx((mark.x, mark.y, mark.width))
        elif isinstance(patch, Polygon):
            assert patch.get_xy()[:-1] == pytest.approx(np.array(mark.points))
        else:
            assert isinstance(patch, FancyBboxPatch)
            found = [patch.get_x(), patch.get_y(), patch.get_width(), patch.get_height()]
            assert found == pytest.approx([*mark.box[:2], mark.width, mark.height])
    for patch, wire in zip(wires, scene.wires, strict=True):
        assert isinstance(patch, PathPatch)
        assert patch.get_path().vertices.ravel() == pytest.approx(flat(wire))
        curved = [
            code for piece in wire.path[1:] for code in ([Curve.LINETO] if len(piece) == 2 else [Curve.CURVE4] * 3)
        ]
        assert patch.get_path().codes.tolist() == [Curve.MOVETO, *curved]
        assert patch.get_linewidth() * 96 / 72 == pytest.approx(wire.width)
    for written, text in zip(axes.texts, scene.texts, strict=True):
        assert written.get_position() == pytest.approx((text.x, text.y))
        assert written.get_text().startswith(text.runs[0][0])
        assert written.get_parse_math() == (len(text.runs) > 1)
        assert (written.get_ha(), written.get_va()) == ("center", "center")


@every_scene
def test_plotly_draws_the_scene_at_its_coordinates(scene):
    from workbench.diagram.hovered import hovered

    figure = hovered(scene)
    assert tuple(figure.layout.xaxis.range) == (0, scene.width)
    assert tuple(figure.layout.yaxis.range) == (scene.height, 0)
    *wires, nodes = figure.data
    for trace, wire in zip(wires, scene.wires, strict=True):
        assert pytest.approx(np.array(list(sampled(wire.path)))) == np.array([trace.x, trace.y]).T
        assert (trace.line.width, trace.text) == (wire.width, wire.title)
    for shape, mark in zip(figure.layout.shapes, scene.marks, strict=True):
        if shape.type == "path":
            numbers = [float(word) for word in re.findall(r"-?[\d.]+", shape.path)]
            points = [*mark.points, mark.points[0]]
            assert numbers == pytest.approx([value for point in points for value in point], abs=0.006)
        else:
            assert (shape.x0, shape.y0, shape.x1, shape.y1) == pytest.approx(mark.box)
            assert (shape.type == "circle") == (mark.kind in ("disc", "dot"))
    plain = [mark for mark in scene.marks if mark.kind not in ("bubble", "sum")]
    assert list(zip(nodes.x, nodes.y, nodes.text, strict=True)) == [(mark.x, mark.y, mark.title) for mark in plain]
    for note, text in zip(figure.layout.annotations, scene.texts, strict=True):
        assert (note.x, note.y) == (text.x, text.y)
        assert re.sub("<[^>]*>", "", note.text) == "".join(part for part, _ in text.runs)


@every_scene
def test_tikz_draws_the_scene_at_its_coordinates(scene):
    lines = [line for line in tikz(scene).splitlines() if re.match(r"  \\(draw|node)", line)]
    things = [
        *(mark for mark in frames_first(scene.marks) if mark.kind in ("bubble", "sum")),
        *scene.wires,
        *(mark for mark in scene.marks if mark.kind not in ("bubble", "sum")),
        *scene.texts,
    ]
    for line, thing in zip(lines, things, strict=True):
        numbers = [float(word) for pair in re.findall(r"\((-?[\d.]+),(-?[\d.]+)\)", line) for word in pair]
        if isinstance(thing, Wire):
            assert numbers == pytest.approx(flat(thing), abs=0.06)
        elif isinstance(thing, Text) or thing.kind in ("disc", "dot"):
            assert numbers == pytest.approx([thing.x, thing.y], abs=0.06)
        elif thing.points:
            assert numbers == pytest.approx([value for point in thing.points for value in point], abs=0.06)
        else:
            assert numbers == pytest.approx(thing.box, abs=0.06)


NAMES = ["W_Q", "a_b_c", "50%", "x{y", "}}", "\\end", "#1", "$x$", "a&b", "~^", "μ"]


@pytest.mark.parametrize("name", NAMES)
def test_tikz_escapes_what_latex_would_take_for_its_own(name):
    scene = Scene(100, 100, (), (), (Text(50, 50, name), Text(50, 80, name, "leg")))
    text = tikz(scene)
    plain = re.sub(r"\\[\\{}_&%$#]", "", text)
    assert plain.count("{") == plain.count("}")
    depth = np.cumsum([{"{": 1, "}": -1}.get(letter, 0) for letter in plain])
    assert depth.min() == 0
    content = re.findall(r"at \([^)]*\) \{(.*)\};", text)
    assert len(content) == 2
    for own in content:
        bare = re.sub(
            r"\\(textbackslash|textasciicircum|textasciitilde)\{\}|\\itshape |\$_\{\\mathrm\{|\}\}\$", "", own
        )
        assert not re.search(r"(?<!\\)[{}_&%$#~^]", bare)


@pytest.mark.parametrize("name", [*NAMES, "$x^_$b", "\\\\q_{r", "_", "a_b c"])
def test_any_name_is_written_by_matplotlib_as_it_is(name):
    from workbench.diagram.printed import printed

    figure = printed(Scene(100, 100, (), (), (Text(50, 50, name),)))
    figure.draw_without_rendering()
    (written,) = figure.axes[0].texts
    base, _, after = name.partition("_")
    low, *rest = re.split(r"(?=\s)", after, maxsplit=1)
    lowered = rf"{base}$_\mathrm{{{low}}}$".replace(low, low.replace("_", r"\_")) + "".join(rest) if low else name
    assert written.get_text() == (lowered if written.get_parse_math() else name)


# ---- themes


def rgb(colour: str) -> np.ndarray:
    return np.array([int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)])


def linear(channels: np.ndarray) -> np.ndarray:
    return np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)


def over(fill: str, background: str) -> np.ndarray:
    """The colour that is seen where a fill is painted on a background."""
    if fill == "none":
        return rgb(background)
    if fill.startswith("#"):
        return rgb(fill)
    *channels, alpha = (float(word) for word in fill[5:-1].split(","))
    return alpha * np.array(channels) / 255 + (1 - alpha) * rgb(background)


def contrast(a: np.ndarray, b: np.ndarray) -> float:
    """WCAG 2: from 1 to 21."""
    light, dark = sorted((float(linear(c) @ [0.2126, 0.7152, 0.0722]) for c in (a, b)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("name", THEMES)
def test_text_stands_out_from_what_it_is_on(name):
    theme = THEMES[name]
    held = ("bubble", "sum", "dot", "bar")
    for tone, (fill, edge) in theme.tones.items():
        if tone not in held:
            assert contrast(rgb(theme.label), over(fill, theme.background)) >= 4.5, tone
        if tone in ("bubble", "sum"):
            assert contrast(rgb(theme.ink), over(fill, theme.background)) >= 4.5, tone
        if fill != "none":  # a node's outline or fill stands out: 3 for what is no text
            seen = max(
                contrast(rgb(edge), rgb(theme.background)),
                contrast(over(fill, theme.background), rgb(theme.background)),
            )
            assert seen >= 3, tone
    assert contrast(rgb(theme.ink), rgb(theme.background)) >= 4.5


# Machado, Oliveira & Fernandes (2009), severity 1, on linear channels
BLINDNESS = {
    "none": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
}


def lab(colour: np.ndarray, blindness: str) -> np.ndarray:
    """CIE L*a*b* of a colour as it is seen."""
    seen = np.clip(BLINDNESS[blindness] @ linear(colour), 0, 1)
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = to_xyz @ seen / np.array([0.9505, 1.0, 1.089])
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("blindness", BLINDNESS)
@pytest.mark.parametrize("name", ["light", "dark"])
def test_tones_are_told_apart_by_fill_or_edge_with_every_eye(name, blindness):
    theme = THEMES[name]
    tones = {tone: pair for tone, pair in theme.tones.items() if tone not in ("bubble", "sum", "dot", "bar")}
    for (a, first), (b, second) in combinations(tones.items(), 2):
        apart = [math.dist(lab(rgb(x), blindness), lab(rgb(y), blindness)) for x, y in zip(first, second, strict=True)]
        assert max(apart) > 12, (a, b, apart)


def test_print_tells_forms_apart_by_shape_alone():
    shapes = {mark.kind for mark in SCENES["svd"].marks}
    assert {"triangle", "diamond", "square"} <= shapes
    fills = {fill for fill, _ in THEMES["print"].tones.values()}
    assert fills <= {"#ffffff", "#000000", "none"}


def test_a_dot_inline_has_the_ink_of_the_page_like_the_lines_it_joins():
    element = ElementTree.fromstring(svg(SCENES["attention"], inline=True))
    dots = [mark for mark in element.iter(f"{SVG}g") if mark.get("data-kind") == "dot"]
    (wire, *_) = (path for path in element.iter(f"{SVG}path"))
    assert dots
    for dot in dots:
        assert dot[0].get("fill") == wire.get("stroke")
        assert "--jp-content-font-color1" in wire.get("stroke")
