"""The zoom as a widget, without a page: clicks, keys, buttons and menus, and everything that follows."""

from dataclasses import replace

import pytest
import torch
from tiny_models import FAMILIES

from workbench.explore.predictions import NextTokens
from workbench.explore.zoom import Zoom
from workbench.transformer.by_hand import induction_by_hand
from workbench.widgets.token_charts import next_tokens_html, pattern_svg, visible
from workbench.widgets.zoom_still import zoom_still
from workbench.widgets.zoom_view import ZoomView


@pytest.fixture
def view() -> ZoomView:
    return ZoomView(Zoom(FAMILIES["gpt2"](), "tensor"))


def use(view: ZoomView, name: str, by: str, kind: str = "mark") -> None:
    """What a page tells when a mark or wire is clicked or used by a key."""
    scene = view.scene_view
    scene.set_state({"selected": name, "selected_kind": kind})
    told = {"activated_name": name, "activated_kind": kind, "activated_by": by, "activated": scene.activated + 1}
    scene.set_state(told)


def shown_crumbs(view: ZoomView) -> list[str]:
    return [button.description for button in view.crumbs if button.layout.display != "none"]


def test_a_click_looks_and_a_second_click_or_a_key_opens(view):
    use(view, "blocks.1.attn_out", "click")
    assert view.zoom.path == "model"
    assert view.panel.words.value.count("blocks.1.attn_out: t 6 × d 32") == 1
    assert (view.deeper.description, view.deeper.disabled) == ("open blocks.1.attn_out › attn", False)
    use(view, "blocks.1.attn_out", "click again")
    assert view.zoom.path == "blocks.1.attn"
    assert view.scene_view.selected == ""
    assert "Point at a tensor" in view.panel.words.value
    view.head.value = 1
    use(view, "attn_out/attn_out.0/W_O", "key")
    assert view.zoom.path == "blocks.1.attn.head.1"
    assert shown_crumbs(view) == ["model", "› blocks.1", "› attn", "› head 1"]


def test_the_buttons_lead_down_up_and_back(view):
    assert view.part.value == "embed"
    view.part.value = "blocks.0"
    view.enter.click()
    assert view.zoom.path == "blocks.0"
    assert view.part.value == "blocks.0.attn", "the first part is offered"
    use(view, "mlp/W_out", "click")
    view.deeper.click()
    assert view.zoom.path == "blocks.0.mlp"
    assert view.enter.disabled
    view.crumbs[0].click()
    assert view.zoom.path == "model"
    assert view.head.layout.display == "none"
    view.back.click()
    assert view.zoom.path == "blocks.0.mlp"


def test_a_click_on_what_opens_nothing_stays(view):
    view.zoom.open("blocks.0.attn.head.0.QK.svd")
    view._draw()
    use(view, "u", "click again")
    assert view.zoom.path == "blocks.0.attn.head.0.QK.svd"
    assert (view.deeper.description, view.deeper.disabled) == ("nothing to open", True)
    assert "singular values of the circuit" in view.tokens.value


def test_folding_redraws_the_view_with_the_norms_in_its_weights(view):
    view.part.value = "unembed"
    view.enter.click()
    assert 'data-name="logits.1/b_U"' not in view.scene_view.svg
    view.fold.value = True
    assert 'data-name="logits.1/b_U"' in view.scene_view.svg
    assert "norms folded" in view.status.value
    view.crumbs[0].click()
    assert view.zoom.fold
    assert view.fold.value
    assert "norms folded" in view.status.value


def test_the_head_menu_moves_the_view_and_follows_it(view):
    view.zoom.open("blocks.1.attn.head.0.OV")
    view._draw()
    view.head.value = 1
    assert view.zoom.path == "blocks.1.attn.head.1.OV"
    view.crumbs[3].click()
    assert view.zoom.path == "blocks.1.attn.head.1"
    assert view.head.value == 1
    assert "pattern of head 1" in view.tokens.value


def test_what_is_pointed_at_is_told_and_then_what_is_selected_again(view):
    use(view, "logits", "click")
    chosen = view.panel.words.value
    view.scene_view.set_state({"hovered": "blocks.0.mlp_out", "hovered_kind": "mark"})
    assert "blocks.0.mlp_out: t 6 × d 32" in view.panel.words.value
    view.scene_view.set_state({"hovered": "", "hovered_kind": ""})
    assert view.panel.words.value == chosen


def test_widgets_are_built_once(view):
    before = [id(view.scene_view), *map(id, view.crumbs), id(view.part), id(view.panel)]
    for path in ("blocks.0", "blocks.0.attn.head.1.QK", "embed"):
        view.zoom.open(path)
        view._draw()
    assert before == [id(view.scene_view), *map(id, view.crumbs), id(view.part), id(view.panel)]


@pytest.mark.parametrize(
    "path", ["model", "blocks.1.attn.head.0", "blocks.1.attn.head.0.OV", "blocks.1.attn.head.0.OV.svd", "embed"]
)
def test_the_still_picture_is_drawn_from_the_same_frame(path):
    zoom = Zoom(induction_by_hand(), torch.tensor([0, 3, 5, 3]))
    zoom.open(path)
    zoom.select(zoom.diagram.scene.marks[-1].name)
    frame = zoom.frame()
    figure = zoom_still(frame)
    figure.draw_without_rendering()
    n_told = (frame.pattern is not None) + bool(frame.next_tokens) + (frame.spectrum is not None)
    titles = [axes.get_title() for axes in figure.axes]
    assert len([axes for axes in figure.axes if axes.get_label() != "<colorbar>"]) == 3 + n_told
    assert ("pattern of head 0" in titles) == (frame.pattern is not None)


def test_a_pattern_tells_every_cell_and_writes_names_as_text():
    drawn = pattern_svg(((1.0, 0.0), (0.25, 0.75)), ("<b>", "\n  "))
    assert drawn.count("<rect x=") == 3, "keys after their query are not attended to"
    assert "⏎·· attends to &lt;b&gt;: 0.25" in drawn
    assert "<b>" not in drawn
    with pytest.raises(ValueError, match=r"a pattern of 1 × 2 does not fit 3 tokens"):
        pattern_svg(((1.0, 0.0),), ("a", "b", "c"))


def test_tokens_are_shown_with_their_spaces_and_cut_where_they_are_long():
    assert visible(" a\tb\n") == "·a⇥b⏎"
    assert visible("a" * 11) == "a" * 9 + "…"
    assert visible("a" * 10) == "a" * 10
    table = next_tokens_html((NextTokens("<", ((">", 0.5), (" b", 0.25))),))
    assert "<code>&lt;</code>" in table
    assert "<code>&gt;</code> 50%" in table
    assert "<code>·b</code> 25%" in table


def test_the_button_beside_the_menu_says_what_it_opens():
    view = ZoomView(Zoom(induction_by_hand()))
    assert view.enter.description == "Open embed"
    view.part.value = "blocks.1"
    assert view.enter.description == "Open blocks.1"
    view.enter.click()
    assert view.zoom.path == "blocks.1"
    assert view.enter.description == "Open attn"


def test_a_name_with_the_signs_of_a_formula_is_printed_as_it_is():
    hand = replace(induction_by_hand(), name="a_$x^$")
    figure = zoom_still(Zoom(hand, [0, 1, 2, 1]).frame())
    figure.canvas.draw()
    assert "a_$x^$" in figure.get_suptitle()
