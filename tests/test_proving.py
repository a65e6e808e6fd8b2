"""Proof mode without a page: steps that hold, steps refused with their number, truncations that say so, files."""

import inspect
import json

import pytest
import torch
from torch import Tensor

from workbench.diagram.drawing import Diagram
from workbench.diagram.place import Layout
from workbench.explore.proving import ProofLab
from workbench.network import Network
from workbench.program import Apply, Contract, Program
from workbench.rewrite.bonds import Absorb, InsertGauge
from workbench.rewrite.functions import MoveThrough
from workbench.rewrite.isometries import SplitSVD
from workbench.spectrum import Spectrum


def random(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64)


@pytest.fixture
def lab() -> ProofLab:
    return ProofLab(Diagram.from_einsum("ij,jk->ik", A=random(5, 4), B=random(4, 3)))


def rows_of_a_pattern() -> Diagram:
    steps = (
        Contract("scores", Network.from_einsum("td,sd->ts", ["Q", "K"])),
        Apply("pattern", "softmax", torch.nn.Softmax(dim=-1), ("scores",), ("t", "s")),
        Contract("out", Network.from_einsum("ts,sr->tr", ["pattern", "M"])),
    )
    program = Program({"Q": ("t", "d"), "K": ("s", "d"), "M": ("s", "r")}, steps)
    return Diagram(program, {"Q": random(4, 3), "K": random(4, 3), "M": random(4, 4)})


def test_a_step_that_holds_is_taken_and_drawn_on_both_sides(lab):
    assert lab.apply(InsertGauge("out", "j", "G", 0))
    frame = lab.frame()
    assert frame.sign == "="
    assert frame.error < 1e-12
    assert frame.new == ("G", "G⁻¹")
    assert frame.gone == ()
    assert {mark.name for mark in frame.before.marks} == {"A", "B"}
    assert len(frame.lines) == 1


def test_a_truncation_says_its_error_and_never_equals(lab):
    values = torch.linalg.svdvals(lab.diagram.arrays["A"])
    assert lab.apply(SplitSVD("out", "A", ("i",), None, ("U", "S", "Vh")), bond=2)
    frame = lab.frame()
    assert frame.sign == "≈"
    assert "≈" in frame.lines[0]
    assert "=" not in frame.lines[0]
    split = lab.proof.last[1]
    measured = torch.linalg.vector_norm(lab.diagram.arrays["A"] - split["U"] * split["S"] @ split["Vh"])
    assert float(measured) == pytest.approx(Spectrum(values).error(2))


def test_an_untrue_rewrite_is_refused_with_its_number_and_changes_nothing():
    lab = ProofLab(rows_of_a_pattern())
    before = lab.proof
    assert not lab.apply(MoveThrough("out", "pattern"))
    assert lab.proof is before
    assert "is untrue: it changes 'out' by" in lab.frame().refused
    assert "refused" in str(lab.frame())


def test_a_rewrite_that_does_not_fit_is_refused_in_words(lab):
    assert not lab.apply(Absorb("out", "A", "Z"))
    assert "Z" in lab.refused


def test_every_offered_rewrite_can_be_tried(lab):
    options = lab.options()
    assert len(options) >= 4
    for rewrite in options:
        lab.apply(rewrite)
        lab.undo()
    assert lab.frame().lines == ()


def test_a_rewrite_can_be_named_by_its_words(lab):
    assert lab.apply("absorb B into A")
    assert lab.now.program.inputs == {"A": ("i", "k")}
    with pytest.raises(ValueError, match="no rewrite reads 'vanish' here; those that do are"):
        lab.apply("vanish")


def test_undo_takes_back_one_step(lab):
    lab.apply(InsertGauge("out", "j", "G", 0))
    lab.apply(Absorb("out", "G", "A"))
    lab.undo()
    assert len(lab.frame().lines) == 1
    assert lab.frame().new == ("G", "G⁻¹")


def test_a_proof_is_saved_replayed_and_measured_again(lab, tmp_path):
    lab.apply(InsertGauge("out", "j", "G", 0))
    lab.apply(Absorb("out", "G", "A"))
    lab.save(tmp_path / "proof.json")
    again = ProofLab(lab.diagram)
    again.replay(tmp_path / "proof.json")
    assert again.frame().lines == lab.frame().lines
    assert [step["rewrite"] for step in json.loads((tmp_path / "proof.json").read_text())] == ["InsertGauge", "Absorb"]


def test_a_file_that_fails_leaves_the_proof_as_it_was(lab, tmp_path):
    lab.apply(InsertGauge("out", "j", "G", 0))
    (tmp_path / "bad.json").write_text('[{"rewrite": "Vanish"}]')
    with pytest.raises(ValueError, match="step 1 has rewrite 'Vanish', which is none of"):
        lab.replay(tmp_path / "bad.json")
    assert len(lab.frame().lines) == 1


@pytest.mark.parametrize("content", ["{}", "[null]", "not JSON", '[{"rewrite": "Absorb", "value": 1}]'])
def test_a_file_of_another_shape_leaves_the_proof_as_it_was(lab, tmp_path, content):
    lab.apply(InsertGauge("out", "j", "G", 0))
    (tmp_path / "bad.json").write_text(content)
    with pytest.raises(ValueError, match=r"bad\.json"):
        lab.replay(tmp_path / "bad.json")
    assert len(lab.frame().lines) == 1


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_arrays_of_too_few_digits_are_refused_when_the_lab_is_made(dtype):
    diagram = Diagram.from_einsum("ij,jk->ik", A=random(5, 4).to(dtype), B=random(4, 3).to(dtype))
    with pytest.raises(ValueError, match=f"the array of 'A' is {dtype}: an equality cannot be measured in {dtype}"):
        ProofLab(diagram)


def test_whole_numbers_are_refused_in_words_by_the_rewrite_that_computes_with_them():
    lab = ProofLab(Diagram.from_einsum("ij,jk->ik", A=torch.ones(5, 4).long(), B=torch.ones(4, 3).long()))
    for rewrite in ("split A by SVD", "move the centre to A", "insert G G⁻¹ on j"):
        assert not lab.apply(rewrite)
        assert "is torch.int64: an equality cannot be measured in torch.int64" in lab.refused


@pytest.mark.parametrize("bond", ["x", 1.5, True])
def test_a_bond_that_is_no_whole_number_changes_nothing(lab, bond):
    lab.apply(Absorb("out", "A", "Z"))
    before = lab.proof, lab.refused
    unchecked = inspect.unwrap(ProofLab.apply)  # without the types that tests check
    with pytest.raises(TypeError, match=f"a bond dimension is a whole number, not {bond!r}"):
        unchecked(lab, "split A by SVD", bond=bond)
    assert (lab.proof, lab.refused) == before


def test_a_bond_is_for_a_split_alone(lab):
    with pytest.raises(
        ValueError, match="bond 2 was given, but 'absorb B into A' cuts none; give one to a split by SVD"
    ):
        lab.apply("absorb B into A", bond=2)
    assert lab.proof.steps == ()
    assert not lab.apply("split A by SVD", bond=9)
    assert lab.refused == "bond 9 does not fit: this bond can be cut to 1, 2, … 4 (full)."


def test_a_name_that_is_empty_is_refused(lab):
    assert not lab.apply(InsertGauge("out", "j", "", 0))
    assert lab.refused == "InsertGauge has gauge ''; a name has one letter or more."


def test_a_gauge_that_would_not_fit_is_refused_in_words(monkeypatch):
    monkeypatch.setattr("workbench.memory.free_bytes", lambda: 2**30)
    lab = ProofLab(Diagram.from_einsum("ij,jk->ik", A=random(1, 300_000), B=random(300_000, 1)))
    assert not lab.apply("insert G G⁻¹ on j")
    assert "gauge 'G' on bond 'j' of size 300000 makes a tensor" in lab.refused


def test_sides_given_by_hand_are_kept_while_their_legs_are_there():
    diagram = Diagram.from_einsum("ij,jk->ik", A=random(5, 4), B=random(4, 3))
    lab = ProofLab(Diagram(diagram.subject, diagram.arrays, Layout(sides={"i": "down", "k": "down"})))
    lab.apply(InsertGauge("out", "j", "G", 0))
    ends = [wire.path[-1] for wire in lab.frame().after.wires if wire.leg in ("i", "k")]
    assert ends[0][1] == ends[1][1] > lab.frame().after.marks[0].y


def test_a_diagram_without_arrays_is_refused():
    with pytest.raises(ValueError, match="a proof is measured on arrays, and this diagram has none"):
        ProofLab(Diagram(Network.from_einsum("ij,jk->ik", ["A", "B"])))
