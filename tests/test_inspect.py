"""What a panel tells of a picked tensor or leg: every number a second way."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from workbench import Apply, Contract, Diagram, Network, Node, Program
from workbench.explore.inspect import (
    CELLS,
    LARGEST,
    NARROWEST,
    inspected,
    leg_frame,
    picked,
    tensor_frame,
    value_at,
)
from workbench.widgets.inspector import Inspector
from workbench.widgets.stills import inspector_still


def made(*shape: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(*shape, dtype=dtype)


@pytest.fixture
def diagram() -> Diagram:
    """A bubble inside a contraction; one tensor used twice; a leg called as a tensor is."""
    scores = Network((Node("X", ("t", "d")), Node("Y", ("s", "d"), tensor="X")), ("t", "s"))
    out = Network((Node("P", ("t", "s"), tensor="pattern"), Node("W", ("s", "W"))), ("t", "W"))
    steps = (
        Contract("scores", scores),
        Apply("pattern", "softmax", lambda x: torch.softmax(x, -1), ("scores",), ("t", "s")),
        Contract("out", out),
    )
    return Diagram(Program({"X": ("t", "d"), "W": ("s", "W")}, steps), {"X": made(5, 3), "W": made(5, 4)})


@given(st.lists(st.integers(1, 4), min_size=1, max_size=4), st.integers(0, 99))
def test_the_numbers_are_those_of_a_loop_over_all_entries(shape, seed):
    tensor = torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    frame = inspected({"A": tensor}, "A", [f"i{k}" for k in range(len(shape))])
    entries = tensor.reshape(-1).tolist()
    assert frame.shape == tuple(shape)
    assert (frame.n_numbers, frame.n_nonfinite) == (len(entries), 0)
    assert frame.norm == pytest.approx(math.sqrt(sum(v * v for v in entries)))
    assert (frame.low, frame.high) == (min(entries), max(entries))
    assert frame.mean == pytest.approx(sum(entries) / len(entries))
    assert frame.spectrum is not None
    assert frame.spectrum.error(0) == pytest.approx(frame.norm), "the squared singular values add up to the norm's"


def test_the_first_half_of_the_legs_are_the_rows_unless_told():
    tensor = made(2, 3, 4, 5)
    frame = inspected({"A": tensor}, "A", ("a", "b", "c", "d"))
    assert (frame.rows, frame.columns) == (("a", "b"), ("c", "d"))
    assert torch.tensor(frame.heatmap).double() == pytest.approx(tensor.reshape(6, 20))
    other = inspected({"A": tensor}, "A", ("a", "b", "c", "d"), rows_legs=("c",))
    assert (other.rows, other.columns) == (("c",), ("a", "b", "d"))
    assert torch.tensor(other.heatmap).double() == pytest.approx(tensor.permute(2, 0, 1, 3).reshape(4, 30))
    assert other.spectrum is not None
    wanted = torch.linalg.svdvals(tensor.permute(2, 0, 1, 3).reshape(4, 30))
    assert other.spectrum.values.tolist() == pytest.approx(wanted.tolist())


def test_a_vector_is_one_row_and_a_number_one_cell():
    assert inspected({"v": made(5)}, "v", ("i",)).columns == ("i",)
    frame = inspected({"c": torch.tensor(2.0)}, "c", ())
    assert frame.heatmap == ((2.0,),)
    assert str(frame).startswith("c: a number\n1 number in float32\n")


@pytest.mark.parametrize(("n_rows", "n_columns"), [(48, 49), (96, 30), (100, 131)])
def test_a_large_heatmap_is_of_block_means_the_last_block_smaller(n_rows, n_columns):
    tensor = made(n_rows, n_columns)
    frame = inspected({"A": tensor}, "A", ("i", "j"))
    high, wide = math.ceil(n_rows / CELLS), math.ceil(n_columns / CELLS)
    assert len(frame.heatmap) <= CELLS
    assert len(frame.heatmap[0]) <= CELLS
    for r, row in enumerate(frame.heatmap):
        for c, value in enumerate(row):
            block = tensor[r * high : (r + 1) * high, c * wide : (c + 1) * wide]
            assert value == pytest.approx(float(block.mean()))
    assert f"each cell the mean of up to {high} × {wide}" in frame.heatmap_told


def test_numbers_that_are_not_finite_are_counted_and_left_out():
    frame = inspected({"A": torch.tensor([[1.0, math.nan, 2.0], [math.inf, 2.0, -4.0]])}, "A", ("i", "j"))
    assert frame.n_nonfinite == 2
    assert (frame.norm, frame.low, frame.high, frame.mean) == (5.0, -4.0, 2.0, 0.25)
    assert frame.spectrum is None
    assert "not all of its numbers are finite" in str(frame)
    assert "6 numbers in float32, 2 of them not finite" in str(frame)


def test_complex_numbers_are_shown_by_their_magnitudes_and_have_a_spectrum():
    tensor = torch.tensor([[3 + 4j, 0], [0, 1j], [0, 0]], dtype=torch.complex128)
    frame = inspected({"A": tensor}, "A", ("i", "j"))
    assert (frame.low, frame.high) == (0.0, 5.0)
    assert frame.heatmap[0] == (5.0, 0.0)
    assert frame.spectrum is not None
    assert frame.spectrum.values.tolist() == pytest.approx([5.0, 1.0])
    assert "magnitudes" in frame.heatmap_told


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.int64, torch.bool])
def test_any_dtype_can_be_looked_at(dtype):
    tensor = torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0]]).to(dtype)
    frame = inspected({"A": tensor}, "A", ("i", "j"))
    assert (frame.norm, frame.n_numbers, frame.high) == (2.0, 6, 1.0)
    assert frame.dtype == str(dtype).removeprefix("torch.")


def test_a_tensor_without_numbers_says_so():
    frame = inspected({"A": torch.zeros(3, 0)}, "A", ("i", "j"))
    assert frame.heatmap == ()
    assert frame.spectrum is None
    assert "holds no number" in str(frame)


def test_a_spectrum_that_would_take_long_is_left_out_in_words():
    many = inspected({"A": torch.zeros(1).expand(2, LARGEST // 2 + 1)}, "A", ("i", "j"))
    assert many.spectrum is None
    assert "more than 4,000,000 numbers" in str(many)
    wide = inspected({"A": torch.ones(1).expand(NARROWEST + 1, NARROWEST + 2)}, "A", ("i", "j"))
    assert wide.spectrum is None
    assert "its smaller side is more than 1,024" in str(wide)


def test_a_gradient_does_not_stop_a_look():
    assert inspected({"A": made(2, 3).requires_grad_()}, "A", ("i", "j")).spectrum is not None


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="there is no value 'B'; there are A"):
        inspected({"A": made(3, 4)}, "B", ("i", "j"))
    with pytest.raises(ValueError, match=r"'A' has 1 legs \(i\) but 2 axes"):
        inspected({"A": made(3, 4)}, "A", ("i",))
    with pytest.raises(ValueError, match="rows_legs names 'k'; the legs of 'A' are i, j"):
        inspected({"A": made(3, 4)}, "A", ("i", "j"), ("k",))


def test_a_name_of_a_tensor_and_a_leg_means_the_tensor_unless_a_wire_is_asked_for(diagram):
    scene = diagram.scene
    assert value_at(picked(scene, "W")) == "W"
    assert [wire.leg for wire in picked(scene, "W", "wire")] == ["W"]
    assert value_at(picked(scene, "pattern/X", "wire")) == "X", "no wire is called so"
    assert picked(scene, "no such") is None
    assert {value_at(mark) for mark in scene.marks} == {"X", "W", "pattern"}


def test_every_mark_leads_to_the_value_it_stands_for(diagram):
    values = diagram.run()
    for mark in diagram.scene.marks:
        frame = tensor_frame(diagram, values, mark)
        assert frame.norm == pytest.approx(float(values[frame.name].norm()))
    second = picked(diagram.scene, "pattern/Y")
    assert tensor_frame(diagram, values, second).name == "X", "a second use of X is X"


def test_a_copy_node_holds_no_tensor_and_is_named_where_a_leg_joins_it():
    network = Network((Node("v", ("i",)), Node("δ", ("i", "j", "k"), copy=True)), ("j", "k"))
    drawn = Diagram(network, {"v": made(3)})
    dot = next(mark for mark in drawn.scene.marks if mark.kind == "dot")
    assert tensor_frame(drawn, drawn.run(), dot) is None
    assert str(leg_frame(drawn.scene, picked(drawn.scene, "i"))) == "leg i: size 3\njoins v and a copy node"


def test_without_arrays_the_legs_are_told_with_the_sizes_that_are_known():
    bare = Diagram(Network.from_einsum("ij,jk->ik", ["A", "B"]))
    frame = tensor_frame(bare, {}, bare.scene.marks[0])
    assert str(frame) == "A: i ? × j ?\nno array: its numbers are not known"
    assert frame.heatmap == ()
    sized = Diagram(Network.from_einsum("ij,jk->ik", ["A", "B"], {"i": 3, "j": 4, "k": 5}))
    assert str(leg_frame(sized.scene, picked(sized.scene, "i"))) == "leg i: size 3\nopen leg of A"
    assert str(leg_frame(bare.scene, picked(bare.scene, "i"))) == "leg i: size not known\nopen leg of A"


def test_the_panel_tells_what_is_selected_and_while_pointing_what_is_pointed_at(diagram):
    inspector = Inspector(diagram)
    view = inspector.scene_view
    assert "Point at a tensor" in inspector.words.value
    view.selected = "W"
    assert f"Frobenius norm {float(diagram.arrays['W'].norm()):.6g}" in inspector.words.value
    selected = (inspector.words.value, inspector.heatmap.value, inspector.spectrum.value)
    assert all("<svg" in value for value in selected[1:])
    view.hovered = "pattern"
    assert f"Frobenius norm {float(diagram.run()['pattern'].norm()):.6g}" in inspector.words.value
    view.hovered_kind, view.hovered = "wire", "W"
    assert "leg W: size 4" in inspector.words.value
    assert (inspector.heatmap.value, inspector.spectrum.value) == ("", "")
    view.hovered = ""
    assert (inspector.words.value, inspector.heatmap.value, inspector.spectrum.value) == selected


def test_names_in_the_panel_are_text():
    evil = "<img src=x onerror=alert(1)>"
    inspector = Inspector(Diagram.from_einsum("ij,jk->ik", **{evil: made(3, 4), "B": made(4, 2)}))
    inspector.scene_view.selected = evil
    assert "&lt;img src=x" in inspector.words.value
    assert "<img" not in inspector.words.value + inspector.heatmap.value + inspector.spectrum.value


def test_the_printed_twin_shows_the_numbers_of_the_frame(diagram):
    frame = Inspector(diagram).frame("pattern")
    figure = inspector_still(diagram, frame)
    drawing, heat, spectrum, *_ = figure.axes
    low, high = heat.images[0].get_clim()
    assert low == -high, "zero has the middle colour"
    assert heat.images[0].get_array().tolist() == [list(row) for row in frame.heatmap]
    assert spectrum.lines[0].get_ydata() == pytest.approx(
        frame.spectrum.values.clamp_min(1e-8 * frame.spectrum.values[0])
    )
    assert f"norm {frame.norm:.6g}" in figure.get_suptitle()
    assert len(drawing.patches) == len(diagram.scene.marks) + len(diagram.scene.wires)


def test_the_printed_twin_without_arrays_says_so():
    bare = Diagram(Network.from_einsum("ij,jk->ik", ["A", "B"]))
    figure = inspector_still(bare, tensor_frame(bare, {}, bare.scene.marks[0]))
    assert [text.get_text() for axes in figure.axes[1:] for text in axes.texts] == ["no array", "no array"]
