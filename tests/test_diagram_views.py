"""The theatre, the bond slider and proof mode as widgets, without a page: a move, and everything that follows."""

import ipywidgets as widgets
import pytest
import torch
from torch import Tensor

from workbench.decompose.train import TensorTrain
from workbench.diagram.drawing import Diagram
from workbench.explore.cut import CutLab
from workbench.explore.proving import ProofLab
from workbench.explore.theatre import Theatre
from workbench.rewrite.bonds import InsertGauge
from workbench.rewrite.isometries import SplitSVD
from workbench.widgets.attempt import attempted
from workbench.widgets.cut_view import CutView
from workbench.widgets.proof_view import ProofView
from workbench.widgets.scene_view import SceneView
from workbench.widgets.stills import cut_still, proof_still, theatre_still
from workbench.widgets.theatre_view import TheatreView


def random(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64)


def chain() -> Diagram:
    return Diagram.from_einsum("ij,jk,kl,l->i", A=random(2, 3), B=random(3, 4), C=random(4, 5), v=random(5))


def click(scene: SceneView, name: str, kind: str) -> None:
    """What the page sends when a mark or a wire is clicked."""
    with scene.hold_trait_notifications():
        scene.activated_name, scene.activated_kind = name, kind
        scene.activated += 1


# ---- the theatre


def test_moving_the_step_slider_moves_the_drawing_the_costs_and_the_heatmap():
    view = TheatreView(Theatre(chain()))
    before = view.scene.svg
    assert view.made.value == ""
    view.step.value = 2
    assert view.scene.svg != before
    assert "12 multiply-adds in this step" in view.numbers.value
    assert "32 so far" in view.numbers.value
    assert "<svg" in view.made.value
    assert view.scene.highlight == ["#2"]


def test_clicking_bonds_plays_ones_own_order():
    view = TheatreView(Theatre(chain()))
    click(view.scene, "j", "wire")
    assert view.order.value == "your own"
    assert view.theatre.frame().merged == ("A", "B")
    assert "yours" in view.numbers.value
    assert view.step.value == view.step.max == 1
    view.undo.click()
    assert view.theatre.n_steps == 0


def test_clicking_two_tensors_merges_them():
    view = TheatreView(Theatre(chain()))
    click(view.scene, "B", "mark")
    assert view.scene.highlight == ["B"]
    assert "B is picked" in view.status.value
    click(view.scene, "C", "mark")
    assert view.theatre.frame().merged == ("B", "C")


def test_a_click_that_merges_nothing_is_said_and_changes_nothing():
    view = TheatreView(Theatre(chain()))
    click(view.scene, "i", "wire")
    assert 'role="alert"' in view.status.value
    assert "joins 1 tensors" in view.status.value
    assert view.theatre.n_steps == 0


def test_choosing_another_order_starts_it_again():
    view = TheatreView(Theatre(chain()))
    view.step.value = 3
    view.order.value = "greedy"
    assert view.step.value == 0
    assert not view.theatre.is_own


# ---- the bond slider


def test_the_slider_cuts_and_everything_follows():
    view = CutView(CutLab(TensorTrain.from_dense(random(4, 5, 6))))
    spectrum, drawing = view.spectrum.value, view.scene.svg
    view.size.value = 2
    assert view.lab.bonds["a1"] == 2
    assert view.spectrum.value != spectrum
    assert view.scene.svg != drawing
    assert "2 of 4" in view.numbers.value


def test_clicking_a_bond_chooses_it_and_moves_nothing():
    view = CutView(CutLab(TensorTrain.from_dense(random(4, 5, 6))))
    view.size.value = 3
    click(view.scene, "a2", "wire")
    assert view.bond.value == "a2"
    assert (view.size.value, view.size.max) == (6, 6)
    assert view.lab.bonds == {"a1": 3, "a2": 6}
    click(view.scene, "a1", "wire")
    assert (view.size.value, view.size.max) == (3, 4)
    assert view.lab.bonds == {"a1": 3, "a2": 6}


def test_reset_opens_every_bond():
    view = CutView(CutLab(TensorTrain.from_dense(random(4, 5, 6))))
    view.size.value = 1
    view.reset.click()
    assert view.lab.bonds == view.lab.full_bonds
    assert view.size.value == 4


# ---- proof mode


def test_a_rewrite_is_chosen_applied_drawn_and_taken_back():
    view = ProofView(ProofLab(Diagram.from_einsum("ij,jk->ik", A=random(5, 4), B=random(4, 3))))
    view.rewrite.value = next(r for _, r in view.rewrite.options if isinstance(r, InsertGauge))
    view.apply.click()
    assert len(view.lab.proof.steps) == 1
    assert "largest relative error" in view.lines.value
    assert set(view.after.highlight) == {"G", "G⁻¹"}
    assert not view.undo.disabled
    view.undo.click()
    assert view.lab.proof.steps == ()
    assert view.undo.disabled


def test_a_bond_makes_a_split_a_truncation():
    view = ProofView(ProofLab(Diagram.from_einsum("ij,jk->ik", A=random(5, 4), B=random(4, 3))))
    view.rewrite.value = next(r for _, r in view.rewrite.options if isinstance(r, SplitSVD))
    assert view.bond.layout.display == "flex"
    view.bond.value = 2
    view.apply.click()
    assert "≈" in view.lines.value
    view.rewrite.value = next(r for _, r in view.rewrite.options if isinstance(r, InsertGauge))
    view.apply.click()
    assert len(view.lab.proof.steps) == 2, "a bond that is left in the hidden field is for splits alone"


def test_a_picked_tensor_narrows_the_menu_to_what_names_it():
    view = ProofView(ProofLab(chain()))
    everything = len(view.rewrite.options)
    assert view.rewrite.value is view.rewrite.options[0][1]
    view.after.selected = "v"
    assert 0 < len(view.rewrite.options) < everything
    assert all("v" in told.split() for told, _ in view.rewrite.options)


def test_a_file_that_is_not_there_is_said(tmp_path):
    view = ProofView(ProofLab(chain()))
    view.path.value = str(tmp_path / "none.json")
    view.load.click()
    assert 'role="alert"' in view.status.value
    assert "none.json" in view.status.value


def test_a_proof_is_saved_and_replayed_from_the_page(tmp_path):
    view = ProofView(ProofLab(chain()))
    view.rewrite.value = next(r for _, r in view.rewrite.options if isinstance(r, InsertGauge))
    view.apply.click()
    view.path.value = str(tmp_path / "proof.json")
    view.save.click()
    view.undo.click()
    view.load.click()
    assert len(view.lab.proof.steps) == 1


# ---- printed twins


@pytest.mark.parametrize("step", [0, 2])
def test_the_theatre_is_printed_from_the_same_frame(step):
    theatre = Theatre(chain())
    theatre.go(step)
    figure = theatre_still(theatre.frame())
    labels = [tick.get_text() for tick in figure.axes[2].get_yticklabels()]
    assert labels == ["all at once", "greedy", "optimal"]
    told = [point.get_xdata()[0] for point in figure.axes[2].lines[: len(labels)]]
    assert told == list(theatre.frame().costs.values())


def test_the_cut_is_printed_where_it_is():
    lab = CutLab(TensorTrain.from_dense(random(4, 5, 6)))
    lab.cut("a1", 3)
    figure = cut_still(lab.frame())
    kept, dropped, line = figure.axes[1].lines
    values = lab.frame().spectrum.values.tolist()
    assert list(kept.get_ydata()) == values[:3]
    assert list(dropped.get_ydata()) == pytest.approx(values[3:])
    assert line.get_xdata()[0] == 3.5


def test_the_proof_is_printed_with_its_sign_and_both_sides():
    lab = ProofLab(chain())
    assert len(proof_still(lab.frame()).axes) == 1
    lab.apply(InsertGauge("out", "j", "G", 0))
    figure = proof_still(lab.frame())
    assert len(figure.axes) == 2
    assert "=" in figure.get_suptitle()


@pytest.mark.parametrize("error", [ValueError, OSError, MemoryError])
def test_what_cannot_be_done_is_said_with_its_signs_escaped_and_forgotten_by_the_next_move(error):
    status = widgets.HTML("what was said before")

    def fails() -> None:
        assert status.value == ""
        raise error("3 < 4")

    attempted(status, fails)
    assert status.value == '<span role="alert">3 &lt; 4</span>'
    attempted(status, lambda: None)
    assert status.value == ""


def test_a_fault_of_the_code_itself_is_not_swallowed():
    with pytest.raises(KeyError):
        attempted(widgets.HTML(), lambda: {}["nothing"])
