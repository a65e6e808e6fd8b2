"""Frozen bubbles: linear to rounding when all between input and output are held, and not before."""

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from workbench import Add, Apply, Contract, Diagram, Layout, Network, Node, Program
from workbench.explore.freeze import FreezeLab
from workbench.widgets.freeze_view import FreezeView
from workbench.widgets.stills import freeze_still


def made(*shape: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(*shape, dtype=dtype)


def head(dtype: torch.dtype = torch.float64, layout: Layout | None = None, rows: tuple[str, ...] = ()) -> Diagram:
    """LayerNorm's scale aside, what a head does: a norm, a pattern made of it, and the pattern applied to it."""
    scores = Network(
        (Node("N", ("t", "d"), tensor="normed"), Node("W", ("d", "e")), Node("M", ("s", "e"), tensor="normed")),
        ("t", "s"),
    )
    out = Network((Node("P", ("t", "s"), tensor="pattern"), Node("N", ("s", "d"), tensor="normed")), ("t", "d"))
    steps = (
        Apply("normed", "norm", lambda x: x / (1 + x.square().mean(-1, keepdim=True)).sqrt(), ("X",), ("t", "d")),
        Contract("scores", scores),
        Apply("pattern", "softmax", lambda x: torch.softmax(x, -1), ("scores",), ("t", "s")),
        Contract("mixed", out),
        Add("out", ("mixed", "X"), ("t", "d")),
    )
    program = Program({"W": ("d", "e"), "X": ("t", "d")}, steps)
    arrays = {"W": made(3, 3, dtype=dtype), "X": made(4, 3, dtype=dtype)}
    return Diagram(program, arrays, layout or Layout(), "a head", ("X",), rows)


def chain(*functions: tuple[str, bool]) -> Diagram:
    """Functions of X one after the other, each with a matrix behind it: named, and whether it is a bubble."""
    steps, last, inputs, arrays = [], "X", {"X": ("a0",)}, {"X": made(3)}
    for k, (name, bent) in enumerate(functions):
        call = (lambda x: torch.tanh(x)) if bent else (lambda x: 2 * x)
        steps.append(Apply(name, "tanh" if bent else "twice", call, (last,), (f"a{k}",)))
        inputs[f"W{k}"], arrays[f"W{k}"] = (f"a{k + 1}", f"a{k}"), made(3, 3)
        node = Node(f"n{k}", (f"a{k}",), tensor=name)
        steps.append(Contract(f"y{k}", Network((Node(f"W{k}", (f"a{k + 1}", f"a{k}")), node), (f"a{k + 1}",))))
        last = f"y{k}"
    return Diagram(Program(inputs, tuple(steps)), arrays)


def test_a_live_bubble_bends_and_a_frozen_one_does_not():
    lab = FreezeLab(head())
    assert lab.bubbles == ("normed", "pattern")
    assert lab.frame().defect > 0.01
    assert not lab.frame().linear
    lab.freeze("pattern")
    assert lab.frame().live == ("normed",)
    assert not lab.frame().linear
    lab.freeze("normed")
    frame = lab.frame()
    assert frame.live == ()
    assert frame.linear
    assert frame.defect < 1e-14
    assert frame.change > 0.1
    assert "linear to rounding" in str(frame)
    assert "no live bubble between them; frozen: normed, pattern" in str(frame)


def test_the_defect_is_that_of_the_four_runs_by_hand():
    lab = FreezeLab(head())
    x, program, arrays = lab.values["X"], lab.program, lab.whole.arrays
    generator = torch.Generator().manual_seed(0)
    u, v = torch.randn(2, 4, 3, generator=generator, dtype=torch.float64)
    u, v = (0.5 * x.norm() * d / d.norm() for d in (u, v))

    def f(moved):
        return program.run({**arrays, "X": moved})["out"]

    wanted = (f(x + u + v) - f(x + u) - f(x + v) + f(x)).norm() / (f(x + u + v) - f(x)).norm()
    assert lab.frame(0.5).defect == pytest.approx(float(wanted))


def test_the_defect_of_a_smooth_function_shrinks_in_proportion_to_the_scale():
    lab = FreezeLab(head())
    logs = [math.log10(lab.frame(10.0**-k).defect) for k in (2, 3, 4)]
    assert [a - b for a, b in itertools.pairwise(logs)] == pytest.approx([1, 1], abs=0.05)


@given(st.lists(st.booleans(), min_size=1, max_size=3), st.integers(0, 7))
def test_a_chain_is_linear_just_when_no_bent_function_behind_the_input_is_live(bent, mask):
    diagram = chain(*((f"f{k}", b) for k, b in enumerate(bent)))
    lab = FreezeLab(diagram)
    for k in range(len(bent)):
        if mask >> k & 1:
            lab.freeze(f"f{k}")
    held = [k for k in range(len(bent)) if mask >> k & 1]
    frame = lab.frame()
    if held:  # whatever leads on from X passes a held value
        assert (frame.change, frame.defect, frame.live) == (0.0, 0.0, ())
        assert "does not change with X" in str(frame)
    else:
        assert frame.linear == (not any(bent))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("scale", [1e-2, 1.0, 10.0])
def test_what_counts_as_rounding_follows_the_dtype_and_the_scale(dtype, scale):
    lab = FreezeLab(head(dtype))
    assert not lab.frame(scale).linear
    lab.freeze("normed"), lab.freeze("pattern")
    assert lab.frame(scale).linear


def test_a_product_of_the_input_with_itself_is_not_linear_though_no_bubble_is_live():
    network = Network((Node("A", ("i", "j")), Node("B", ("k", "j"), tensor="A")), ("i", "k"))
    square = Diagram(network, {"A": made(3, 4)})
    frame = FreezeLab(square).frame()
    assert frame.live == ()
    assert not frame.linear
    assert "none frozen" in str(frame)


def test_the_present_diagram_gives_the_same_numbers_and_draws_held_bubbles_as_nodes():
    lab = FreezeLab(head())
    kinds = {mark.tensor: mark.kind for mark in lab.diagram.scene.marks}
    assert kinds["pattern"] == "bubble"
    lab.toggle("pattern")
    kinds = {mark.tensor: mark.kind for mark in lab.diagram.scene.marks}
    assert kinds["pattern"] == "box"
    assert "scores" not in lab.diagram.run()
    torch.testing.assert_close(lab.diagram.result(), lab.whole.result(), rtol=0, atol=0)
    lab.toggle("pattern")
    assert lab.diagram is lab.whole


def test_a_value_held_behind_another_comes_into_force_when_that_one_is_let_go():
    lab = FreezeLab(chain(("f0", True), ("f1", True)))
    lab.freeze("f0")
    lab.freeze("f1")
    assert lab.frozen == ("f0", "f1")
    assert set(lab.program.inputs) == {"f1", "W1"}
    lab.thaw("f1")
    assert set(lab.program.inputs) == {"f0", "W0", "W1"}


def test_a_bubble_that_nothing_needs_can_be_held_too():
    steps = (
        Apply("y", "tanh", torch.tanh, ("X",), ("i",)),
        Apply("unused", "tanh", torch.tanh, ("X",), ("i",)),
        Add("z", ("y", "X"), ("i",)),
    )
    lab = FreezeLab(Diagram(Program({"X": ("i",)}, steps), {"X": made(4)}))
    assert lab.frame().live == ("y",)
    lab.freeze("y")
    lab.freeze("unused")
    assert lab.frozen == ("y", "unused")
    assert lab.frame().linear


def test_a_layout_and_rows_of_the_whole_are_dropped_where_they_do_not_fit():
    cells = {"pattern": (0.0, 0), "N": (1.0, 0)}
    out = Network((Node("P", ("t", "s"), tensor="pattern"), Node("N", ("s", "d"))), ("t", "d"))
    steps = (Apply("pattern", "softmax", lambda x: torch.softmax(x, -1), ("S",), ("t", "s")), Contract("out", out))
    program = Program({"S": ("t", "s"), "N": ("s", "d")}, steps)
    lab = FreezeLab(Diagram(program, {"S": made(4, 4), "N": made(4, 3)}, Layout(cells)))
    lab.freeze("pattern")
    assert {mark.tensor for mark in lab.diagram.scene.marks} == {"pattern", "N"}
    with_rows = FreezeLab(head(rows=("scores", "pattern")))
    with_rows.freeze("pattern")
    assert with_rows.diagram.rows == ()
    assert with_rows.diagram.scene.marks


def test_the_input_to_move_is_the_data_unless_told():
    assert FreezeLab(head()).varied == "X"
    lab = FreezeLab(head(), "W")
    assert lab.frame().live == ("pattern",), "the norm comes before W"
    lab.freeze("pattern")
    assert lab.frame().change == 0, "the pattern is all that W is for"
    assert FreezeLab(chain(("f", True))).varied == "X"


def test_what_cannot_be_is_refused_in_words():
    with pytest.raises(ValueError, match="has no arrays; give it some"):
        FreezeLab(Diagram.from_einsum("ij,jk->ik", A=made(3, 4), B=made(4, 5)).with_arrays({}))
    with pytest.raises(ValueError, match="no input 'Y' to move; there are W, X"):
        FreezeLab(head(), "Y")
    lab = FreezeLab(head())
    for act in (lab.freeze, lab.thaw, lab.toggle):
        with pytest.raises(ValueError, match="no bubble 'scores' to freeze; there are normed, pattern"):
            act("scores")
    with pytest.raises(ValueError, match="scale 0 moves nothing"):
        lab.frame(0)


def test_a_bubble_that_is_the_result_cannot_be_held_and_stays_live():
    steps = (Apply("y", "tanh", torch.tanh, ("X",), ("i",)),)
    lab = FreezeLab(Diagram(Program({"X": ("i",)}, steps), {"X": made(4)}))
    assert lab.bubbles == ()
    assert lab.frame().live == ("y",)
    with pytest.raises(ValueError, match="no bubble 'y' to freeze; there are none"):
        lab.freeze("y")


def test_whole_numbers_are_no_input_to_move():
    steps = (Apply("y", "twice", lambda x: 2 * x.double(), ("n",), ("i",)), Add("z", ("y", "X"), ("i",)))
    arrays = {"n": torch.arange(3), "X": made(3)}
    lab = FreezeLab(Diagram(Program({"n": ("i",), "X": ("i",)}, steps), arrays), "X")
    assert lab.inputs == ("X",)
    with pytest.raises(ValueError, match="no input 'n' to move"):
        lab.varied = "n"


def activate(view: FreezeView, name: str) -> None:
    """What the page sends for a click."""
    mark = view.scene_view
    with mark.hold_trait_notifications():
        mark.selected = mark.activated_name = name
        mark.selected_kind = mark.activated_kind = "mark"
        mark.activated += 1


def test_a_button_freezes_and_every_linked_view_moves():
    view = FreezeView(FreezeLab(head()))
    assert [button.description for button in view.buttons.values()] == [
        "norm → normed: live",
        "softmax → pattern: live",
    ]
    drawn, numbers = view.scene_view.svg, view.numbers.value
    assert "not linear" in numbers
    view.buttons["pattern"].value = True
    assert view.lab.frozen == ("pattern",)
    assert view.buttons["pattern"].description == "softmax → pattern: frozen"
    assert view.scene_view.svg != drawn
    view.buttons["normed"].value = True
    assert "linear to rounding" in view.numbers.value
    assert view.scene_view.svg.count('data-kind="bubble"') == 0
    view.varied.value = "W"
    assert "out does not change with W" in view.numbers.value


def test_a_click_on_a_bubble_toggles_it_and_the_selection_stays_with_its_value():
    view = FreezeView(FreezeLab(head()))
    bubble = next(mark for mark in view.lab.diagram.scene.marks if mark.tensor == "pattern")
    activate(view, bubble.name)
    assert view.lab.frozen == ("pattern",)
    assert view.buttons["pattern"].value
    node = next(mark for mark in view.lab.diagram.scene.marks if mark.tensor == "pattern")
    assert view.scene_view.selected == node.name
    activate(view, node.name)
    assert view.lab.frozen == ()
    assert view.scene_view.selected == bubble.name
    activate(view, next(mark.name for mark in view.lab.diagram.scene.marks if mark.tensor == "W"))
    assert view.lab.frozen == (), "a plain tensor is no bubble"


def test_the_scale_moves_the_number():
    view = FreezeView(FreezeLab(head()))
    before = view.numbers.value
    view.scale.value = 0.01
    assert view.numbers.value != before
    assert "moved by 0.01 of its norm" in view.numbers.value


def test_the_printed_twin_marks_the_defect_and_what_rounding_leaves():
    lab = FreezeLab(head())
    frame = lab.frame()
    figure = freeze_still(lab.diagram, frame)
    drawing, line = figure.axes
    assert line.lines[0].get_xdata()[0] == frame.defect
    assert line.get_xscale() == "log"
    assert f"{frame.defect:.2e}" in line.get_xlabel()
    assert "not linear" in figure.get_suptitle()
    assert len(drawing.patches) == len(lab.diagram.scene.marks) + len(lab.diagram.scene.wires)
