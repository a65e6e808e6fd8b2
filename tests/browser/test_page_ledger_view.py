"""The path ledger in JupyterLab: cards are pressed by hand or by key, sorted, added to; both themes are readable."""

from collections.abc import Callable, Iterator

import pytest
from contrast import contrasts
from playwright.sync_api import Locator, Page, expect

pytestmark = pytest.mark.browser

HEAD = """\
import torch
from workbench.explore.path_ledger import LedgerLab
from workbench.transformer.by_hand import induction_by_hand
from workbench.transformer.repeats import repeated_tokens
from workbench.widgets.ledger_view import LedgerView
view = LedgerView(LedgerLab(induction_by_hand(), repeated_tokens(1, 12, 13)[0]))
view"""
TRAINED = """\
from dataclasses import replace
import torch
from workbench.explore.path_ledger import LedgerLab
from workbench.transformer.anatomy import Anatomy, Attention, Block, Norm
from workbench.transformer.weight import Weight
from workbench.widgets.ledger_view import LedgerView
generator = torch.Generator().manual_seed(0)
made = lambda *shape: torch.randn(shape, generator=generator, dtype=torch.float64)
def attention():
    q, k, v = (Weight.of(name, "hkd", made(4, 3, 12)) for name in ("W_Q", "W_K", "W_V"))
    return Attention(q, k, v, Weight.of("W_O", "hdk", made(4, 12, 3)), 3**-0.5, b_V=made(4, 3), b_O=made(12))
norm = Norm("LN", 1 + 0.1 * made(12), made(12), 1e-5)
blocks = tuple(Block(attention(), norm) for _ in range(2))
embedded, unembedded = Weight.of("W_E", "dv", made(12, 11)), Weight.of("W_U", "vd", made(11, 12))
model = Anatomy("random", embedded, unembedded, blocks, 9, W_pos=made(9, 12), ln_final=norm)
view = LedgerView(LedgerLab(model, torch.arange(9)))
view"""
# Contrast, as WCAG defines it, of a card's ink and of the two colours of its bars with what is behind them.
CONTRASTS = contrasts(
    ".tn-path",
    ink=(".tn-path", "color"),
    above=(".tn-fill:not(.tn-below)", "backgroundColor"),
    below=(".tn-below", "backgroundColor"),
)


@pytest.fixture
def ledger(lab, open_notebook) -> Page:
    lab.write_notebook("ledger.ipynb", HEAD)
    page = open_notebook("ledger.ipynb")
    page.locator(".tn-ledger svg").first.wait_for()
    page.set_default_timeout(10_000)
    return page


@pytest.fixture
def themed(ledger) -> Iterator[Callable[[str], None]]:
    """A function that sets Lab's theme, which is light again after the test."""

    def set_theme(theme: str) -> None:
        ledger.evaluate("(theme) => window.jupyterapp.commands.execute('apputils:change-theme', { theme })", theme)
        ledger.wait_for_function(
            "(light) => document.body.dataset.jpThemeLight === light", arg=str("Light" in theme).lower()
        )
        ledger.locator("#jupyterlab-splash").wait_for(state="detached")  # Lab removes one that a next change shows too

    yield set_theme
    set_theme("JupyterLab Light")


def card(page: Page, name: str) -> Locator:
    return page.locator(f'.tn-path[data-name="{name}"]')


def names(page: Page) -> list[str]:
    return page.locator(".tn-path").evaluate_all("(cards) => cards.map((card) => card.dataset.name)")


def large(page: Page, name: str) -> Locator:
    """A mark of the large drawing."""
    return page.locator(f'.tn-sheet .tn-mark[data-name="{name}"]')


def test_the_sum_is_drawn_term_by_term_and_a_pressed_card_opens_below(ledger):
    assert names(ledger) == ["1.0", "direct", "0.0", "0.0 → 1.0"]
    assert ledger.locator(".tn-sign").all_inner_texts() == ["", "+", "+", "+"]
    expect(card(ledger, "1.0")).to_have_attribute("aria-pressed", "true")
    expect(large(ledger, "A_1.0")).to_be_visible()
    card(ledger, "0.0 → 1.0").click()
    expect(large(ledger, "A_0.0")).to_be_visible()
    expect(card(ledger, "0.0 → 1.0")).to_have_attribute("aria-pressed", "true")
    expect(card(ledger, "1.0")).to_have_attribute("aria-pressed", "false")
    expect(ledger.get_by_text("0.0 → 1.0 (virtual head)")).to_be_visible()


def test_cards_are_reached_and_pressed_by_keys_which_lab_leaves_to_them(ledger):
    count = "() => window.jupyterapp.shell.currentWidget.content.widgets.length"
    cells = ledger.evaluate(count)
    card(ledger, "1.0").focus()
    ledger.keyboard.press("Tab")
    expect(card(ledger, "direct")).to_be_focused()
    ledger.keyboard.press("Enter")
    expect(card(ledger, "direct")).to_have_attribute("aria-pressed", "true")
    expect(large(ledger, "A_1.0")).to_have_count(0)
    ledger.keyboard.press("Tab")
    ledger.keyboard.press("Space")
    expect(large(ledger, "A_0.0")).to_be_visible()
    expect(card(ledger, "0.0")).to_be_focused()
    for key in ("a", "b", "x"):  # in Lab these make and cut cells
        ledger.keyboard.press(key)
    assert ledger.evaluate(count) == cells


def test_sorting_moves_the_cards(ledger):
    ledger.get_by_role("combobox", name="Sorted by").select_option("name")
    expect(ledger.locator(".tn-path").first).to_have_attribute("data-name", "direct")
    assert names(ledger) == ["direct", "0.0", "1.0", "0.0 → 1.0"]


def test_positions_narrow_the_numbers_and_a_last_one_alone_is_refused(ledger):
    low = ledger.locator(".noUi-handle-lower")
    low.focus()
    ledger.keyboard.press("ArrowRight")
    expect(ledger.get_by_role("status").filter(has_text="over positions 1 to 24")).to_be_visible()
    ledger.keyboard.press("End")
    expect(ledger.get_by_role("alert").filter(has_text="positions 24 to 24 are none of 0 to 24")).to_be_visible()


def test_a_long_sum_shows_a_dozen_and_more_when_asked(lab, open_notebook):
    lab.write_notebook("long.ipynb", TRAINED)
    page = open_notebook("long.ipynb")
    page.locator(".tn-ledger svg").first.wait_for()
    assert len(names(page)) == 12
    expect(page.locator(".tn-rest")).to_have_text("14 more paths")
    page.get_by_role("button", name="Show 12 more").click()
    expect(page.locator(".tn-path")).to_have_count(24)
    page.get_by_role("button", name="Show 2 more").click()
    expect(page.locator(".tn-path")).to_have_count(26)
    expect(page.locator(".tn-rest")).to_have_count(0)
    page.get_by_role("button", name="Show fewer").click()
    expect(page.locator(".tn-path")).to_have_count(12)
    card(page, "biases").scroll_into_view_if_needed()
    inside = page.locator(".tn-picture").evaluate_all(
        """(pictures) => pictures.every((picture) => {
          const [box, svg] = [picture, picture.firstElementChild].map((node) => node.getBoundingClientRect());
          return svg.left >= box.left - 1 && svg.right <= box.right + 1 && svg.height <= box.height + 1;
        })"""
    )
    assert inside, "a small drawing is larger than its card"


@pytest.mark.parametrize("theme", ["JupyterLab Light", "JupyterLab Dark"])
def test_cards_are_readable_in_light_and_dark(ledger, themed, theme):
    themed(theme)
    contrast = ledger.evaluate(CONTRASTS)
    assert (contrast["behind"] < 0.2) == ("Dark" in theme)
    assert contrast["ink"] >= 4.5
    assert contrast["above"] >= 3
    assert contrast["below"] >= 3
