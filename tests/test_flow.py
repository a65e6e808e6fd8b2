"""A residual program at a glance: the stream straight, every term a box of its own, and what is no stream refused."""

import pytest
import torch

from workbench.diagram.defects import defects
from workbench.diagram.drawing import Diagram
from workbench.diagram.place import Layout
from workbench.diagram.scene import Scene
from workbench.program import Add, Apply, Program

STREAM = ("t", "d")


def model(n_layers: int, n_heads: int) -> Program:
    """Heads and an MLP in every layer, then a last LayerNorm."""
    steps: list[Apply | Add] = []
    stream = "embed"
    for layer in range(n_layers):
        heads = [f"L{layer}H{head}" for head in range(n_heads)]
        steps += [Apply(name, name, torch.tanh, (stream,), STREAM) for name in heads]
        steps.append(Add(f"mid {layer}", (stream, *heads), STREAM))
        steps.append(Apply(f"LN {layer}", "LN", torch.tanh, (f"mid {layer}",), STREAM))
        steps.append(Apply(f"MLP {layer}", "MLP", torch.tanh, (f"LN {layer}",), STREAM))
        steps.append(Add(f"post {layer}", (f"mid {layer}", f"MLP {layer}"), STREAM))
        stream = f"post {layer}"
    steps.append(Apply("final", "LN", torch.tanh, (stream,), STREAM))
    return Program({"embed": STREAM}, tuple(steps))


def drawn(program: Program) -> Scene:
    return Diagram(program, layout=Layout(flow=True)).scene


@pytest.mark.parametrize(("n_layers", "n_heads"), [(1, 1), (2, 3), (6, 12)])
def test_a_model_is_drawn_with_a_box_for_every_step_and_no_fault(n_layers, n_heads):
    scene = drawn(model(n_layers, n_heads))
    assert defects(scene) == ()
    boxes = {mark.name for mark in scene.marks}
    assert boxes >= {step.out for step in model(n_layers, n_heads).steps}


def test_the_sums_of_a_line_stand_on_one_straight_stream_from_left_to_right():
    marks = {mark.name: mark for mark in drawn(model(2, 3)).marks}
    stream = [marks[name] for name in ("embed", "mid 0", "post 0", "mid 1", "post 1", "final")]
    assert {mark.y for mark in stream} == {stream[0].y}
    assert [mark.x for mark in stream] == sorted(mark.x for mark in stream)
    heads = [marks[f"L0H{k}"] for k in range(3)]
    assert len({mark.y for mark in heads}) == 3
    assert all(mark.y < stream[0].y for mark in heads)


def test_a_branch_of_two_steps_stands_in_one_row():
    marks = {mark.name: mark for mark in drawn(model(1, 2)).marks}
    assert marks["LN 0"].y == marks["MLP 0"].y
    assert marks["LN 0"].x < marks["MLP 0"].x < marks["post 0"].x


def test_a_long_stream_is_continued_on_the_next_line_under_its_name():
    scene = drawn(model(12, 2))
    assert scene.width < 1300
    assert len({mark.y for mark in scene.marks if mark.kind == "disc"}) > 1
    assert defects(scene) == ()


def test_what_is_no_stream_is_refused():
    two = Program(
        {"x": STREAM},
        (
            Apply("a", "f", torch.tanh, ("x",), STREAM),
            Apply("b", "g", torch.tanh, ("x",), STREAM),
            Apply("c", "times", torch.mul, ("a", "b"), STREAM),
        ),
    )
    with pytest.raises(ValueError, match="step 'c' reads a, b; in a flow a step reads one value"):
        drawn(two)
    apart = Program(
        {"x": STREAM, "y": STREAM},
        (Apply("a", "f", torch.tanh, ("y",), STREAM), Add("b", ("x", "a"), STREAM)),
    )
    with pytest.raises(ValueError, match="'a' does not come from the stream 'x', but from 'y'"):
        drawn(apart)
