"""Exercises: right answers in any form and order of writing, wrong ones with the reason, and no answer."""

import re

import pytest
import torch

from workbench.decompose.low_rank import LowRank
from workbench.diagram.drawing import Diagram
from workbench.explore.exercise import Exercise
from workbench.network import Network
from workbench.node import Node
from workbench.program import Apply, Program

PRODUCT = Exercise(Diagram(Network.from_einsum("ij,jk->ik", ["A", "B"])))


def test_an_einsum_a_network_and_a_diagram_are_graded_alike():
    network = Network((Node("B", ("x", "z")), Node("A", ("y", "x"))), ("y", "z"))
    for answer in ("ij,jk->ik", "ab,bc->ac", network, Diagram(network)):
        grade = PRODUCT.check(answer)
        assert grade
        assert repr(grade).startswith("right: largest relative error")


def test_a_diagram_with_arrays_of_its_own_is_graded_on_other_ones():
    diagram = Diagram.from_einsum("ij,jk->ik", A=torch.ones(2, 9), B=torch.ones(9, 4))
    assert PRODUCT.check(diagram)


def test_an_answer_in_another_form_that_computes_the_same_is_right():
    trace = Exercise(Diagram(Network.from_einsum("ij,ji->", ["A", "B"])))
    dots = (
        Node("A", ("i", "j")),
        Node("B", ("k", "l")),
        Node("one", ("j", "k"), copy=True),
        Node("other", ("i", "l"), copy=True),
    )
    assert trace.check(Network(dots))


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (None, "not yet: no answer yet"),
        ("ij,jk->ki", r"not yet: it has shape \(5, 3\) where \(3, 5\) is wanted \(order matters\)"),
        ("ij,kj->ik", r"bond 'j' has size 2 on node 'A' but 5 on node 'B'"),
        ("ij,jk", "equation 'ij,jk' is not letters, commas and one arrow"),
        ("ij,jk,kl->il", "has 3 operands, but 2 names were given"),
        (Network.from_einsum("ij,jk->ik", ["A", "C"]), "it uses C; the tensors are A, B"),
    ],
)
def test_what_is_not_right_is_told_why(answer, told):
    grade = PRODUCT.check(answer)
    assert not grade
    assert re.search(told, repr(grade)), repr(grade)


def test_a_square_that_is_transposed_is_noticed():
    gram = Exercise(Diagram(Network.from_einsum("ij,kj->ik", ["A", "B"])))
    assert gram.check("ij,kj->ik")
    grade = Exercise(Diagram(Network.from_einsum("ij,ij->", ["A", "B"]))).check("ij,ji->")
    assert not grade


def test_numbers_that_differ_are_told_with_their_error():
    wanted = Exercise(Diagram(Network.from_einsum("i,i,i->i", ["a", "b", "b"])))
    grade = wanted.check(Network.from_einsum("i,i,i->i", ["a", "a", "b"]))
    assert not grade
    assert "largest relative error" in grade.told


def test_a_decomposition_can_be_what_is_wanted():
    wanted = Exercise(Diagram.of(LowRank.from_weight(torch.randn(6, 4, dtype=torch.float64))))
    assert wanted.check("ia,aj->ij")
    assert not wanted.check("ia,aj->ji")


def test_an_einsum_names_a_tensor_as_often_as_it_is_wanted():
    scores = Exercise(Diagram(Network.from_einsum("td,de,se->ts", ["X", "W", "X"])))
    assert scores.check("ad,dc,bc->ab")
    assert not scores.check("ad,cd,bc->ab")


def test_an_answer_of_another_kind_is_told_what_is_one():
    assert repr(PRODUCT.check(3)) == "not yet: a int is no answer; write an einsum, a Network or a Diagram"


def test_an_exercise_of_a_function_is_refused_where_it_is_made():
    program = Program({"x": ("i",)}, (Apply("y", "relu", torch.relu, ("x",), ("i",)),))
    with pytest.raises(ValueError, match="an exercise wants the diagram of one network, and this one has 1 steps"):
        Exercise(Diagram(program))
