"""Drawings read back from their coordinates: the graph they show, and that nothing in them misleads."""

import math
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from xml.etree import ElementTree

import pytest
from drawn import SVG, attention, ladder, lattice, mlp, mps, random_program, read_wires, ring, tree
from hypothesis import example, given, settings
from hypothesis import strategies as st
from test_network import every_network

from workbench.diagram.defects import defects
from workbench.diagram.drawing import Diagram
from workbench.diagram.place import Layout
from workbench.diagram.routes import with_diamonds
from workbench.diagram.scene import Mark, Scene, Text, Wire, sampled, turned
from workbench.network import Network
from workbench.node import Node
from workbench.program import Add, Apply, Contract, Program

many = settings(max_examples=60)


def check_faultless(scene: Scene) -> None:
    """No defect but wires without room for a label, and every name once."""
    assert [fault for fault in defects(scene) if not fault.endswith("has no label.")] == []
    names = Counter(mark.name for mark in scene.marks)
    assert max(names.values()) == 1


def check_graph(network: Network, svg: str) -> None:
    """The SVG's coordinates show the network: every leg once, between its nodes."""
    network, _ = with_diamonds(network.spectators_as_copies())
    expected = Counter((leg, tuple(sorted(name for name, _ in ends))) for leg, ends in network.ends.items())
    assert Counter((wire.leg, tuple(sorted(wire.marks))) for wire in read_wires(svg)) == expected
    marks = [group.get("data-name") for group in ElementTree.fromstring(svg).iter(f"{SVG}g")]
    assert sorted(map(str, marks)) == sorted(node.name for node in network.nodes)


def spots(diagram: Diagram) -> dict[str, tuple[float, float]]:
    return {mark.node: (mark.x, mark.y) for mark in diagram.scene.marks}


# ---- any network, any program


@given(every_network)
@example(Network((Node("T", ("a", "b", "b", "a")), Node("S", ()), Node("dot", ("c", "c", "d"), copy=True)), ("d",)))
@many
def test_the_coordinates_of_a_drawing_show_its_network(network):
    diagram = Diagram(network)
    check_graph(network, diagram.svg())
    check_faultless(diagram.scene)


@given(st.integers(0, 10**6))
@many
def test_a_program_is_drawn_without_a_defect_and_its_wires_end_on_their_marks(seed):
    diagram = Diagram(random_program(seed))
    check_faultless(diagram.scene)
    seen = read_wires(diagram.svg())
    expected = [(wire.name, *sorted(end for end in wire.ends if end)) for wire in diagram.scene.wires]
    assert sorted((wire.name, *sorted(wire.marks)) for wire in seen) == sorted(expected)


@given(every_network)
@settings(max_examples=20)
def test_the_same_network_is_drawn_the_same_way_every_time(network):
    again = Network(network.nodes, network.open_legs, dict(network.sizes), network.spectators)
    assert Diagram(network).scene == Diagram(again).scene


PIECES = {
    "attention": Diagram(attention()),
    "attention in rows": Diagram(attention(), rows=("A",)),
    "mlp": Diagram(mlp()),
    "ring": Diagram(ring(7)),
    "tree": Diagram(tree(3)),
    "lattice": Diagram(lattice(3, 4)[0], layout=lattice(3, 4)[1]),
    "complete graph": Diagram(Network.from_einsum("abcd,aefg,behi,cfhj,dgij->", list("ABCDE"))),
    "wide sum": Diagram(
        Program({f"x{k}": ("t",) for k in range(12)}, (Add("y", tuple(f"x{k}" for k in range(12)), ("t",)),))
    ),
}


@pytest.mark.parametrize("name", PIECES)
def test_a_gallery_piece_has_no_defect_and_every_wire_its_label(name):
    check_faultless(PIECES[name].scene)
    assert defects(PIECES[name].scene) == ()


# ---- shapes that are known


@pytest.mark.parametrize("turn", [1, -1])
def test_a_chain_keeps_the_order_of_its_sites_on_one_line(turn):
    network = mps(6)
    at = spots(Diagram(replace(network, nodes=network.nodes[::turn])))
    xs = [at[f"A{k}"][0] for k in range(6)][::turn]
    assert xs == sorted(xs)
    assert len({y for _, y in at.values()}) == 1


@pytest.mark.parametrize("order", ["row by row", "rung by rung"])
def test_the_rungs_of_a_ladder_are_vertical_and_straight(order):
    network = ladder(6)
    if order == "rung by rung":
        rungs = [node for k in range(6) for node in (network.nodes[k], network.nodes[k + 6])]
        network = replace(network, nodes=tuple(rungs))
    wires = {wire.leg: wire for wire in read_wires(Diagram(network).svg())}
    at = spots(Diagram(network))
    for k in range(6):
        assert wires[f"s{k}"].start[0] == wires[f"s{k}"].end[0] == round(at[f"A{k}"][0], 2)
        assert len(next(w for w in Diagram(network).scene.wires if w.leg == f"s{k}").path) == 2
    assert [at[f"A{k}"][0] for k in range(6)] == [at[f"B{k}"][0] for k in range(6)]


@pytest.mark.parametrize("n", [3, 4, 5, 8, 11])
def test_a_ring_is_closed_and_its_neighbours_stand_beside_each_other(n):
    diagram = Diagram(ring(n))
    check_graph(ring(n), diagram.svg())
    assert defects(diagram.scene) == ()
    at = spots(diagram)
    assert len({y for _, y in at.values()}) == (1 if n < 5 else 2)
    steps = [math.dist(at[f"A{k}"], at[f"A{(k + 1) % n}"]) for k in range(n)]
    assert max(steps[:-1] if n < 5 else steps) < 160


def test_a_tree_has_its_root_on_top_and_children_below_their_parents():
    at = spots(Diagram(tree(4)))
    for level in range(3):
        for k in range(2**level):
            (x, y), children = at[f"T{level}.{k}"], [at[f"T{level + 1}.{2 * k + j}"] for j in (0, 1)]
            assert all(child[1] > y for child in children)
            assert children[0][0] < x < children[1][0]
    rows = {level: {at[f"T{level}.{k}"][1] for k in range(2**level)} for level in range(4)}
    assert all(len(ys) == 1 for ys in rows.values())


@pytest.mark.parametrize("network", [mps(60), ladder(60)], ids=["train", "norm"])
def test_sixty_sites_are_drawn_without_a_defect(network):
    assert defects(Diagram(network).scene) == ()


def test_a_line_is_wider_by_the_same_step_for_every_doubling_of_its_size():
    sizes = {f"s{k}": 2**k for k in range(8)}
    wires = {w.leg: w for w in Diagram(replace(mps(8), sizes=sizes)).scene.wires}
    widths = [wires[f"s{k}"].width for k in range(8)]
    steps = [b - a for a, b in pairwise(widths)]
    assert steps[0] > 0.3
    assert steps == pytest.approx([steps[0]] * 7)
    assert 'stroke-width="4.35"' in Diagram(replace(mps(8), sizes=sizes)).svg()


def test_the_legs_of_a_dot_that_go_the_same_way_are_apart():
    dot = Node("dot", ("a", "b", "c", "d"), copy=True)
    scene = Diagram(Network((dot, Node("T", ("a",))), ("b", "c", "d"))).scene
    assert defects(scene) == ()
    ends = sorted(wire.path[-1][-2:] for wire in scene.wires if wire.ends[1] is None)
    assert all(math.dist(a, b) > 12 for a, b in pairwise(ends))


def test_a_leg_that_a_function_makes_leaves_beside_those_it_keeps():
    steps = (
        Apply("e", "embed", lambda x: x, ("x",), ("t", "d", "c")),
        Contract("y", Network.from_einsum("tdc,d->tc", ["e", "w"])),
    )
    scene = Diagram(Program({"x": ("t",), "w": ("d",)}, steps)).scene
    assert defects(scene) == ()
    assert len({wire.path[-1][-2:] for wire in scene.wires if wire.ends[1] is None}) == 2


def test_a_path_that_is_turned_twice_is_itself_and_passes_the_same_points():
    path = ((0.0, 0.0), (30.0, 40.0), (50.0, 50.0, 70.0, 50.0, 90.0, 10.0))
    assert turned(turned(path)) == path
    there, back = list(sampled(path)), list(sampled(turned(path)))
    assert [pytest.approx(point) for point in there[::-1]] == back


def test_a_layout_that_places_only_some_nodes_is_refused_by_name():
    with pytest.raises(ValueError, match="the layout places no A2, A3; give each a cell"):
        _ = Diagram(mps(4), layout=Layout({"A0": (0.0, 0), "A1": (1.0, 0)})).scene


# ---- each defect is told


def box(name: str, x: float, y: float, size: float = 30, kind: str = "box") -> Mark:
    return Mark(name, name, kind, x, y, size, size)


def wire(name: str, *points: tuple[float, float], ends=(None, None), label: str = "") -> Wire:
    return Wire(name, name, points, ends, label=label)


def told(marks=(), wires=(), texts=()) -> tuple[str, ...]:
    return defects(Scene(300, 200, tuple(marks), tuple(wires), tuple(texts)))


A, B = box("A", 50, 50), box("B", 200, 50)
AB = wire("j", (65, 50), (185, 50), ends=("A", "B"))
FRAME = box("F", 120, 100, 90, "bubble")
FAULTS = {
    "box 'A' overlaps box 'C'.": {"marks": [A, box("C", 70, 60)]},
    "box 'A' overlaps bubble 'F'.": {"marks": [A, box("F", 80, 80, 60, "bubble")]},
    "wire 'j' runs under box 'C', where it does not end.": {"marks": [A, B, box("C", 120, 50)], "wires": [AB]},
    "wire 'j' crosses the wall of bubble 'F', in which it has no end.": {
        "marks": [A, B, box("F", 120, 50, 60, "bubble")],
        "wires": [AB],
    },
    "wire 'k' leaves bubble 'F', in which it has both ends.": {
        "marks": [FRAME],
        "wires": [wire("k", (90, 100), (120, 30), (150, 100))],
    },
    "wires 'j' and 'k' run on top of each other.": {
        "marks": [A, B],
        "wires": [AB, wire("k", (90, 90), (90, 50), (120, 50), (120, 90))],
    },
    "the free ends of wires 'i' and 'k' are on one spot.": {
        "wires": [wire("i", (20, 20), (60, 60)), wire("k", (100, 20), (63, 62))]
    },
    "the leg text 'i' is over the leg text 'k'.": {"texts": [Text(50, 50, "i", "leg"), Text(53, 52, "k", "leg")]},
    "the leg text 'i' is over box 'A'.": {"marks": [A], "texts": [Text(66, 50, "i", "leg")]},
    "the leg text 'i' is over the wall of bubble 'F'.": {"marks": [FRAME], "texts": [Text(75, 100, "i", "leg")]},
    "the leg text 'i' is on wire 'j', which is not its own.": {
        "marks": [A, B],
        "wires": [AB],
        "texts": [Text(120, 51, "i", "leg")],
    },
    "box 'C' is clipped by the edge.": {"marks": [box("C", 290, 50)]},
    "the leg text 'site' is clipped by the edge.": {"texts": [Text(4, 50, "site", "leg")]},
    "wire 'k' is clipped by the edge.": {"wires": [wire("k", (20, 20), (20, 220))]},
    "wire 'k' has no label.": {
        "wires": [wire("k", (20, 20), (20, 60), label="k")],
        "texts": [Text(80, 30, "k", "leg")],
    },
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_defect_is_told_in_a_sentence(fault):
    assert told(**FAULTS[fault]) == (fault,)


def test_what_belongs_together_is_no_defect():
    inner = box("C", 120, 100)
    scene = {
        "marks": [A, B, FRAME, inner],
        "wires": [AB, wire("k", (135, 100), (165, 100), ends=("C", "F")), wire("m", (165, 100), (220, 100))],
        "texts": [Text(50, 50, "A"), Text(120, 42, "j", "leg"), Text(120, 70, "f", "function")],
    }
    assert told(**scene) == ()
    dot = box("dot", 50, 100, 9, "dot")
    rays = [
        wire("a", (50, 100), (52, 115), (30, 140), ends=("dot", None)),
        wire("b", (50, 100), (52, 115), (80, 140), ends=("dot", None)),
    ]
    assert told([dot], rays) == ()


# ---- hostile names

HOSTILE = ["<img src=x onerror=alert(1)>", "a_b_c", "_", "\\frac{x}%$#&~^", "Ωψ̂→日本", "\"'", "]]>", "<!--", "x" * 60]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_stays_text_in_svg_and_hover(name):
    network = Network((Node(name, ("i", name)), Node("B", (name, "k"))), ("i", "k"))
    diagram = Diagram(network, title=name)
    root = ElementTree.fromstring(diagram.svg())
    tags = {element.tag.removeprefix(SVG) for element in root.iter()}
    assert tags <= {"svg", "title", "desc", "rect", "circle", "path", "g", "polygon", "text", "tspan"}
    assert root[0].text == name
    assert name in [element.get("data-name") for element in root.iter(f"{SVG}g")]
    assert name in [element.get("data-leg") for element in root.iter(f"{SVG}path")]
    written = ["".join(element.itertext()) for element in root.iter(f"{SVG}text")]
    assert written.count("".join(part for part, _ in Text(0, 0, name).runs)) == 2
    check_faultless(diagram.scene)
    figure = diagram.plotly()
    hovers = [text for trace in figure.data for text in ([trace.text] if isinstance(trace.text, str) else trace.text)]
    assert not any("<img" in text or "<!--" in text for text in hovers)
    assert not any("<img" in note.text or "<!--" in note.text for note in figure.layout.annotations)
