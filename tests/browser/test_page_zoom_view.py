"""The zoom in JupyterLab: from a model to the singular values of one head's circuit, by mouse and by keys."""

import re

import pytest
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.browser

VIEW = """\
from workbench.explore.zoom import Zoom
from workbench.widgets.zoom_view import ZoomView
view = ZoomView(Zoom("pygpt", "def read_config(path):"))
view"""
DARK = """() => window.jupyterapp.commands.execute("apputils:change-theme", { theme: "JupyterLab Dark" })"""


@pytest.fixture
def page_of_zoom(lab, open_notebook) -> Page:
    lab.write_notebook("zoom.ipynb", VIEW)
    page = open_notebook("zoom.ipynb")
    page.set_default_timeout(20_000)
    expect_at(page, "model")
    return page


def mark(page: Page, name: str):
    return page.locator(f'.tn-mark[data-name="{name}"]').first


def expect_at(page: Page, path: str) -> None:
    expect(page.get_by_role("status").filter(has_text=re.compile(rf"pygpt › {re.escape(path)}: "))).to_be_visible()


def crumb(page: Page, name: str):
    return page.get_by_role("button", name=name, exact=True)


def test_the_mouse_goes_from_the_model_to_the_singular_values_of_a_circuit(page_of_zoom):
    page = page_of_zoom
    expect(page.locator("table.next")).to_contain_text("config")
    box = mark(page, "blocks.5.attn_out")
    box.click()
    expect(page.get_by_role("button", name="open blocks.5.attn_out › attn")).to_be_enabled()
    expect_at(page, "model")
    mark(page, "blocks.5.resid_mid").dblclick()
    expect_at(page, "blocks.5")
    page.get_by_role("status").hover()
    mark(page, "result/W_O").dblclick()
    expect_at(page, "blocks.5.attn")
    page.get_by_role("combobox", name="Head").select_option(label="head 2")
    expect(page.locator(".widget-html").filter(has_text="pattern of head 2").first).to_be_visible()
    mark(page, "attn_out/attn_out.0/W_O").dblclick()
    expect_at(page, "blocks.5.attn.head.2")
    mark(page, "result/pattern/scores/scaled/q.0/W_Q").dblclick()
    expect_at(page, "blocks.5.attn.head.2.QK")
    mark(page, "W_K").dblclick()
    expect_at(page, "blocks.5.attn.head.2.QK.svd")
    assert set(page.locator(".tn-mark").evaluate_all("(marks) => marks.map((m) => m.dataset.name)")) == {"u", "s", "vh"}
    mark(page, "s").click()
    expect(page.locator(".widget-html").filter(has_text="64 numbers in float32").first).to_be_visible()
    expect(page.get_by_role("button", name="nothing to open")).to_be_disabled()
    crumb(page, "› head 2").click()
    expect_at(page, "blocks.5.attn.head.2")
    crumb(page, "Back").click()
    expect_at(page, "blocks.5.attn.head.2.QK.svd")


def test_keys_alone_go_as_far(page_of_zoom):
    page = page_of_zoom
    page.get_by_role("combobox", name="Part").focus()
    for _ in range(5):  # past embed; letters typed slowly would each begin the search again
        page.keyboard.press("ArrowDown")
    expect(page.get_by_role("button", name="Open blocks.4")).to_be_visible()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect_at(page, "blocks.4")
    expect(page.get_by_role("button", name="Open attn")).to_be_visible()
    page.get_by_role("combobox", name="Part").focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect_at(page, "blocks.4.attn")
    page.get_by_role("combobox", name="Head").focus()
    page.keyboard.press("ArrowDown")
    expect(page.locator(".widget-html").filter(has_text="pattern of head 1").first).to_be_visible()
    press_until(page, "W_O")
    page.keyboard.press("Enter")
    expect_at(page, "blocks.4.attn.head.1")
    expect(mark(page, "result/W_O")).to_be_visible()
    press_until(page, "W_V")
    page.keyboard.press("Enter")
    expect_at(page, "blocks.4.attn.head.1.OV")
    expect(mark(page, "W_O")).to_be_visible()  # the drawing of a head has a W_O of another name
    press_until(page, "W_O")
    page.keyboard.press("Enter")
    expect_at(page, "blocks.4.attn.head.1.OV.svd")


def press_until(page: Page, tensor: str) -> None:
    """Right arrows on the drawing until the tensor is told of."""
    page.locator(".tn-sheet").focus()
    told = page.locator(".tn-told")
    for _ in range(40):
        page.keyboard.press("ArrowRight")
        if (told.text_content() or "").startswith(f"{tensor}:"):
            return
    raise AssertionError(f"40 arrows did not come to {tensor}; the last told {told.text_content()!r}")


def test_norms_fold_and_the_dark_theme_keeps_its_ink(page_of_zoom):
    page = page_of_zoom
    page.evaluate(DARK)
    mark(page, "logits").dblclick()
    expect_at(page, "unembed")
    expect(mark(page, "logits.1/b_U")).to_have_count(0)
    page.get_by_role("button", name="fold norms").click()
    expect(mark(page, "logits.1/b_U")).to_be_visible()
    expect(page.get_by_role("status")).to_contain_text("norms folded into the weights")
    ink, behind = page.locator("table.next th").first.evaluate(
        """(cell) => {
          const bright = (text) => text.match(/\\d+/g).slice(0, 3).reduce((sum, value) => sum + Number(value), 0) / 765;
          let back = cell;
          const clear = (node) => /^rgba\\(.*, 0\\)$/.test(getComputedStyle(node).backgroundColor);
          while (back.parentElement && clear(back)) back = back.parentElement;
          return [bright(getComputedStyle(cell).color), bright(getComputedStyle(back).backgroundColor)];
        }"""
    )
    assert ink - behind > 0.5
