"""Drawings that are large, labels that have little room, and layouts that cannot be."""

import math
import re
from dataclasses import replace

import jaxtyping
import pytest
from drawn import comb, complete, lattice, mps, star, steps
from hypothesis import given
from hypothesis import strategies as st
from test_diagram_geometry import check_graph, many

from workbench.diagram.defects import defects
from workbench.diagram.drawing import Diagram
from workbench.diagram.place import Layout, auto_layout
from workbench.network import Network
from workbench.node import Node

# ---- many

LARGE = {
    "star of 20": star(20),
    "star of 60": star(60),
    "K9": complete(9),
    "comb of 300 teeth": comb(300),
    "500 contractions": steps(500),
}


@pytest.mark.parametrize("name", LARGE)
def test_a_large_drawing_has_no_defect(name):
    scene = Diagram(LARGE[name]).scene
    assert defects(scene) == ()
    nodes = len(getattr(LARGE[name], "nodes", ())) or 501
    assert len([mark for mark in scene.marks if mark.kind != "dot"]) == nodes


def test_a_tree_may_be_a_thousand_nodes_deep():
    chain = mps(1000)
    layout = Layout.tree(chain, "A0")
    assert layout.cells == {f"A{k}": (0.0, k) for k in range(1000)}
    assert len({mark.y for mark in Diagram(chain, layout=layout).scene.marks}) == 1000
    rows = {name: row for name, (_, row) in auto_layout(comb(1000), {}).items()}
    assert [rows[f"A{k}"] for k in range(1000)] == [abs(499 - k) for k in range(1000)]
    assert all(rows[f"T{k}"] == rows[f"A{k}"] + 1 for k in range(1000))


@given(st.lists(st.integers(0, 10**6), min_size=2, max_size=14))
@many
def test_the_middle_of_a_tree_is_the_node_that_the_farthest_other_is_nearest_to(numbers):
    parents = [number % (k + 1) for k, number in enumerate(numbers)]
    names = [f"N{k}" for k in range(len(parents) + 1)]
    pairs = [(parent, k + 1) for k, parent in enumerate(parents)]
    neighbours = {name: [] for name in names}
    for a, b in pairs:
        neighbours[names[a]].append(names[b])
        neighbours[names[b]].append(names[a])
    legs = {k: tuple(f"e{n}" for n, pair in enumerate(pairs) if k in pair) for k in range(len(names))}
    network = Network(tuple(Node(name, legs[k]) for k, name in enumerate(names)))
    if max(map(len, neighbours.values())) > 2:  # else it is a chain
        (root,) = [name for name, (_, row) in auto_layout(network, {}).items() if row == 0]
        assert root == min(names, key=lambda name: (depth(neighbours, name), -len(neighbours[name])))


def depth(neighbours: dict[str, list[str]], root: str) -> int:
    """How far the farthest node is from the root."""
    seen, layers = {root}, [[root]]
    while layers[-1]:
        layers.append([b for a in layers[-1] for b in neighbours[a] if b not in seen])
        seen.update(layers[-1])
    return len(layers) - 2


def test_columns_without_nodes_take_the_same_room_each():
    widths = []
    for far in (1, 2, 3, 9999):
        diagram = Diagram(mps(2), layout=Layout({"A0": (0, 0), "A1": (far, 0)}))
        assert defects(diagram.scene) == ()
        widths.append(diagram.scene.width)
    assert [width - widths[0] for width in widths] == pytest.approx([0, 48, 96, 9998 * 48])


# ---- labels with little room


def test_each_of_parallel_bonds_has_its_name_whatever_their_number_and_width():
    bonds = ("one", "bond_two", "three", "four", "five")
    for n in (1, 2, 3, 5):
        nodes = Node("A", ("i", *bonds[:n])), Node("B", (*bonds[:n], "j"), form="diagonal" if n == 5 else "tensor")
        for size in (1, 1024):
            network = Network(nodes, ("i", "j"), dict.fromkeys(bonds[:n], size))
            scene = Diagram(network).scene
            assert defects(scene) == ()
            assert all(len(wire.path) == 2 for wire in scene.wires)
            check_graph(network, Diagram(network).svg())
    assert defects(Diagram(Network.from_einsum("aaa->", ["A"]).spectators_as_copies()).scene) == ()


@pytest.mark.parametrize("stem", ["_07be9", "_07be91AAAA"])
def test_a_label_that_finds_no_place_may_choose_before_others(stem):
    network, _ = lattice(3, 3)
    name = {leg: f"{stem}{number}" if leg[0] in "hv" else f"k{leg}" for number, leg in enumerate(network.ends)}
    nodes = tuple(replace(node, legs=tuple(name[leg] for leg in node.legs)) for node in network.nodes)
    scene = Diagram(Network(nodes, tuple(name[leg] for leg in network.open_legs))).scene
    assert scene.unlabelled == ()
    assert defects(scene) == ()


def test_a_label_may_take_room_beyond_the_edges_of_its_picture():
    legs = ("one_long_name", "another_long_name")
    layout = Layout.rows([["A"], ["B"]])
    for n in (1, 2):
        network = Network((Node("A", legs[:n]), Node("B", legs[:n])))
        assert defects(Diagram(network, layout=layout).scene) == ()


def test_a_leg_of_a_spectator_passes_the_dot_of_another_in_one_curve():
    network = Network.from_einsum("gi,hij,hjk,hkl,gl->g", list("ABCDE"))
    scene = Diagram(network).scene
    assert defects(scene) == ()
    upper = min((mark for mark in scene.marks if mark.kind == "dot"), key=lambda mark: mark.y)
    joined = [wire for wire in scene.wires if upper.name in wire.ends and None not in wire.ends]
    assert [len(wire.path) for wire in joined] == [2, 2]


# ---- layouts that cannot be

REFUSED = {
    "node 'A' has the cell 'x'; it needs a tuple of its column and its row": (TypeError, {"A": "x"}),
    "node 'A' has the cell (0, 1, 2); it needs a tuple": (TypeError, {"A": (0, 1, 2)}),
    "node 'A' has the cell [0, 1]; it needs a tuple": (TypeError, {"A": [0, 1]}),
    "node 'A' has the cell ('3', 1); it needs": (TypeError, {"A": ("3", 1)}),
    "node 'A' has the cell (nan, 1); it needs": (ValueError, {"A": (math.nan, 1)}),
    "node 'A' has the cell (3, inf); it needs": (ValueError, {"A": (3, math.inf)}),
    "node 'A' has the cell (3, 0.5); it needs": (ValueError, {"A": (3, 0.5)}),
    "node 'A' has the column 1000000.0; a picture has columns from -10000 to 10000.": (ValueError, {"A": (1e6, 0)}),
    "cells is a list, ['A']; give a mapping of nodes to (column, row).": (TypeError, ["A"]),
}


@pytest.mark.parametrize("message", REFUSED)
def test_a_cell_that_is_no_column_and_row_is_refused_by_name(message, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # or the annotations refuse some first
    kind, cells = REFUSED[message]
    with pytest.raises(kind, match=re.escape(message)):
        Layout(cells)


def test_a_layout_with_unknown_or_repeated_names_is_refused_by_name(monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # or the annotations refuse some first
    with pytest.raises(ValueError, match="the network has no node 'Z' for a root; its nodes are A0, A1, A2"):
        Layout.tree(mps(3), "Z")
    for make in (lambda: Layout.rows([["A", "B"], ["A"]]), lambda: Layout.ring(["A", "B", "A"])):
        with pytest.raises(ValueError, match=re.escape("node 'A' stands 2 times in the layout; give it one place.")):
            make()
    with pytest.raises(TypeError, match=re.escape("sides is a list, ['i']; give a mapping of legs to sides.")):
        Layout(sides=["i"])
    with pytest.raises(TypeError, match=re.escape("sides is a list, ['i']; give a mapping of legs to sides.")):
        Layout.rows([["A"]], ["i"])
