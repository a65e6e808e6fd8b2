"""The path ledger as a widget, without a page: a move, and everything that follows; and its printed twin."""

import xml.etree.ElementTree as ET

import pytest
import tiny_models
import torch
from test_attention_only import model as attention_only

from workbench import LanguageModel
from workbench.explore.path_ledger import LedgerLab
from workbench.transformer.by_hand import induction_by_hand
from workbench.transformer.repeats import repeated_tokens
from workbench.widgets.circuit_stills import ledger_still
from workbench.widgets.ledger_view import LedgerView, PathCards


def tiny_view() -> LedgerView:
    lm = LanguageModel("tiny", "tiny", attention_only(), tiny_models.tokenizer())
    return LedgerView(LedgerLab(lm, tiny_models.tokens()[0]))


def view_by_hand() -> LedgerView:
    return LedgerView(LedgerLab(induction_by_hand(), repeated_tokens(1, 12, 13)[0]))


def names(view: LedgerView) -> list[str]:
    return [card["name"] for card in view.cards.cards]


def test_the_cards_are_the_first_rows_with_their_numbers_and_drawings():
    view = tiny_view()
    rows = view.lab.frame().rows
    assert names(view) == [row.name for row in rows[:12]]
    assert view.cards.rest == "14 more paths"
    for card, row in zip(view.cards.cards, rows, strict=False):
        share, right = card["bars"]
        assert (share["told"], right["told"]) == (f"{row.share:.1%}", f"{row.right:+.2f}")
        assert share["length"] == pytest.approx(row.share / max(abs(each.share) for each in rows))
        assert right["length"] == pytest.approx(row.right / max(abs(each.right) for each in rows))
        assert card["aria"] == f"path {row.name}, {row.share:.1%} of the logits, right logit {row.right:+.2f}"
        drawn = ET.fromstring(card["svg"])
        assert float(drawn.get("width", "")) <= 242
        assert float(drawn.get("height", "")) <= 82
        marks = [each.get("data-name", "").rsplit("/", 1)[-1] for each in drawn.iter()]
        assert "W_U" in marks


def test_more_paths_are_shown_when_asked_for_and_fewer_again():
    view = tiny_view()
    assert view.more.description == "Show 12 more"
    assert view.fewer.layout.display == "none"
    view.more.click()
    assert (len(view.cards.cards), view.cards.rest, view.more.description) == (24, "2 more paths", "Show 2 more")
    view.more.click()
    assert (len(view.cards.cards), view.cards.rest, view.more.layout.display) == (26, "", "none")
    view.fewer.click()
    assert len(view.cards.cards) == 12
    assert view.more.layout.display == ""


def test_pressing_a_card_opens_its_path_below():
    view = view_by_hand()
    assert view.lab.selected == view.cards.selected == "1.0"
    before = view.scene.svg, view.shown.value
    view.cards.set_state({"selected": "0.0 → 1.0"})  # what the page sends
    assert view.lab.selected == "0.0 → 1.0"
    assert 'data-name="A_0.0"' in view.scene.svg
    assert "0.0 → 1.0 (virtual head)" in view.numbers.value
    assert "pattern 0.0 → 1.0" in view.shown.value
    assert (view.scene.svg, view.shown.value) != before


def test_a_press_sends_no_card_again():
    view, sent = view_by_hand(), []
    view.cards.send_state = lambda key=None: sent.extend([key] if isinstance(key, str) else key or [])
    view.cards.selected = "direct"
    assert sent
    assert set(sent) == {"selected"}


def test_sorting_orders_the_cards_and_keeps_the_opened_path():
    view = tiny_view()
    opened = view.cards.selected
    view.sort.value = "name"
    assert names(view)[:3] == ["direct", "0.0", "0.1"]
    assert view.cards.selected == view.lab.selected == opened


def test_moving_the_positions_changes_numbers_and_what_has_no_next_token_is_said():
    view = view_by_hand()
    before = view.numbers.value
    view.positions.value = (13, 24)
    assert "over positions 13 to 24" in view.told.value
    assert view.numbers.value != before
    view.positions.value = (24, 24)
    assert 'role="alert"' in view.status.value
    assert "positions 24 to 24 are none of 0 to 24" in view.status.value
    assert view.lab.positions == (13, 24)
    assert "over positions 13 to 24" in view.told.value
    view.positions.value = (0, 24)
    assert view.status.value == ""


def test_the_words_above_say_what_the_sum_is_true_to_and_what_freezing_hides():
    view = tiny_view()
    frame = view.lab.frame()
    assert f"largest relative error {frame.error:.1e}" in view.told.value
    assert f"the logits change by {frame.hidden.frozen_error:.1%}" in view.told.value
    assert "ln_final (LN): divides by" in view.told.value
    assert "no norms: nothing but the patterns is frozen" in view_by_hand().told.value


def test_a_token_that_is_markup_reaches_the_page_as_text():
    evil = "<img src=x onerror=alert(1)>"
    view = tiny_view()
    view.lab._token = lambda token: evil
    view.cards.selected = "direct" if view.cards.selected != "direct" else "0.0"
    assert evil not in view.numbers.value
    assert "&lt;img" in view.numbers.value


def test_script_and_style_lie_in_the_package_and_ask_for_nothing(repository):
    folder = repository / "workbench" / "widgets"
    script, style = (folder / f"ledger_view.{end}" for end in ("js", "css"))
    assert str(PathCards()._esm) == script.read_text(encoding="utf-8")
    for text in (script.read_text(encoding="utf-8"), style.read_text(encoding="utf-8")):
        assert "http" not in text.replace("http://www.w3.org/2000/svg", "")
        for word in ("innerHTML", "import ", "eval(", "fetch("):
            assert word not in text


# ---- the printed twin


def test_the_ledger_is_printed_from_the_same_frame():
    view = tiny_view()
    view.cards.selected = "0.3 → 1.2"
    frame = view.lab.frame()
    figure = ledger_still(frame)
    shares, rights, drawing, heat = figure.axes[:4]
    assert [bar.get_width() for bar in shares.patches] == [row.share for row in frame.rows[:12]]
    assert [bar.get_width() for bar in rights.patches] == [row.right for row in frame.rows[:12]]
    assert [tick.get_text() for tick in shares.get_yticklabels()] == [row.name for row in frame.rows[:12]]
    assert "14 more paths are not shown" in figure.get_suptitle()
    assert {text.get_text() for text in drawing.texts} >= {"X"}
    shown = torch.tensor(heat.images[0].get_array().tolist())
    torch.testing.assert_close(shown, torch.tensor(frame.shown.heatmap))


def test_all_paths_are_printed_where_there_are_few():
    figure = ledger_still(view_by_hand().lab.frame())
    assert len(figure.axes[0].patches) == 4
    assert "not shown" not in figure.get_suptitle()
