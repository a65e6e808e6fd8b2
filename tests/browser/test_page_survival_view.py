"""The survival view in JupyterLab: a hand on the slider, a press on the table, and every linked view moves."""

import pytest
from playwright.sync_api import Locator, Page, expect

pytestmark = pytest.mark.browser

VIEW = """\
from workbench.explore.survival import SurvivalLab
from workbench.widgets.survival_view import SurvivalView
lab = SurvivalLab("attn2", n_rows=4)
view = SurvivalView(lab)
view"""


def numbers(page: Page) -> Locator:
    return page.get_by_role("status").filter(has_text="of its weight lost")


def cell(page: Page, row: int, column: int) -> Locator:
    return page.locator(f'.tn-cells button[data-row="{row}"][data-column="{column}"]')


@pytest.fixture
def view(lab, open_notebook) -> Page:
    lab.write_notebook("survival.ipynb", VIEW)
    page = open_notebook("survival.ipynb")
    expect(numbers(page)).to_contain_text("cut to 64 of 64")
    return page


def measured(page: Page) -> Page:
    page.get_by_role("button", name="Measure the table").click()
    expect(page.locator(".tn-cells thead th[scope=col] .tn-note")).to_have_count(3)
    expect(page.locator(".tn-cells tbody tr")).to_have_count(8)
    return page


def test_the_slider_answers_to_the_arrow_keys_and_everything_follows(view):
    before = view.get_by_role("img", name="heatmap of").nth(1).inner_html()
    view.locator(".noUi-handle").first.focus()
    for _ in range(60):
        view.keyboard.press("ArrowLeft")
    expect(numbers(view)).to_contain_text("cut to 4 of 64")
    expect(view.get_by_role("img", name="cut at 4")).to_be_visible()
    assert view.get_by_role("img", name="heatmap of").nth(1).inner_html() != before


def test_a_cell_is_pressed_by_hand_and_by_key_and_its_head_and_matrix_are_chosen(view):
    measured(view)
    heads = view.locator(".tn-cells tbody th").all_inner_texts()
    row = next(number for number, head in enumerate(heads) if head.startswith("1.3"))
    bond = cell(view, row, 1).inner_text()
    cell(view, row, 1).click()
    expect(numbers(view)).to_contain_text(f"head 1.3, blocks.0.attn.W_O cut to {bond} of 64")
    expect(cell(view, row, 1)).to_have_attribute("aria-pressed", "true")
    expect(view.get_by_role("combobox", name="Matrix")).to_have_value("blocks.0.attn.W_O")
    cell(view, row, 1).focus()
    view.keyboard.press("ArrowRight")
    expect(cell(view, row, 2)).to_be_focused()
    bond = cell(view, row, 2).inner_text()
    view.keyboard.press("Enter")
    expect(numbers(view)).to_contain_text(f"blocks.1.attn.W_QKV cut to {bond} of 64")
    expect(cell(view, row, 2)).to_have_attribute("aria-pressed", "true")
    assert view.locator(".tn-cells button[tabindex='0']").count() == 1, "one stop for the Tab key"


def test_a_head_without_an_induction_score_has_no_bond(view):
    measured(view)
    assert {text.strip() for text in view.locator(".tn-cells tbody tr").first.locator("td").all_inner_texts()} == {"–"}
    cell(view, 0, 0).click()
    expect(numbers(view)).to_contain_text("head 0.0, blocks.0.attn.W_QKV cut to 64 of 64")


def test_the_table_and_the_charts_take_the_ink_of_a_dark_page(view):
    measured(view)
    ink = "(element) => getComputedStyle(element).color"
    light = [view.locator(".tn-cells caption").evaluate(ink), cell(view, 5, 0).evaluate(ink)]
    view.evaluate("() => window.jupyterapp.commands.execute('apputils:change-theme', { theme: 'JupyterLab Dark' })")
    view.wait_for_function("() => document.body.dataset.jpThemeLight === 'false'")
    dark = [view.locator(".tn-cells caption").evaluate(ink), cell(view, 5, 0).evaluate(ink)]
    assert all(new != old for new, old in zip(dark, light, strict=True))
