"""Diagrams under the hand in JupyterLab: hover, pick, drag, zoom, keys; the panel beside; frozen bubbles."""

import re
from collections.abc import Callable, Iterator

import pytest
import torch
from contrast import contrasts
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.browser

HEAD = """\
import torch
from workbench import Apply, Contract, Diagram, Network, Node, Program
torch.manual_seed(0)
def made(*shape): return torch.randn(*shape, dtype=torch.float64)
arrays = {"X": made(5, 6), "W_Q": made(3, 6), "W_K": made(3, 6), "W_OV": made(6, 6)}
scores = Network((Node("X", ("t", "d")), Node("W_Q", ("k", "d")), Node("W_K", ("k", "e")),
                  Node("Y", ("s", "e"), tensor="X")), ("t", "s"))
out = Network((Node("P", ("t", "s"), tensor="pattern"), Node("X", ("s", "d")), Node("W_OV", ("f", "d"))), ("t", "f"))
steps = (Contract("scores", scores),
         Apply("pattern", "softmax", lambda x: torch.softmax(x, -1), ("scores",), ("t", "s")),
         Contract("out", out))
program = Program({"X": ("t", "d"), "W_Q": ("k", "d"), "W_K": ("k", "d"), "W_OV": ("f", "d")}, steps)
head = Diagram(program, arrays, title="one head", data=("X",))
"""
INSPECTOR = """\
from workbench.widgets.inspector import Inspector
inspector = Inspector(head)
inspector"""
FREEZE = """\
from workbench.explore.freeze import FreezeLab
from workbench.widgets.freeze_view import FreezeView
view = FreezeView(FreezeLab(head))
view"""
EVIL = """\
from workbench.widgets.inspector import Inspector
evil = "<img src=x onerror=document.title='caught'>"
Inspector(Diagram.from_einsum("ij,jk->ik", **{evil: made(3, 4), "B&<b>": made(4, 2)}))"""
# How long from this key press until the drawing is another one on the page.
TIMED = """async (key) => {
  const sheet = document.querySelector(".tn-sheet");
  const start = performance.now();
  const redrawn = new Promise((done) => {
    const watch = new MutationObserver(() => {
      watch.disconnect();
      requestAnimationFrame(() => done(performance.now() - start));
    });
    watch.observe(sheet, { childList: true });
  });
  sheet.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
  return await redrawn;
}"""
CELLS = "() => window.jupyterapp.shell.currentWidget.content.widgets.map((cell) => cell.model.type)"
# Contrast, as WCAG defines it, of the told line's ink and of the ring with what is behind them.
CONTRASTS = contrasts(".tn-told", told=(".tn-told", "color"), ring=(".tn-ring", "stroke"))


@pytest.fixture
def inspector(lab, open_notebook) -> Page:
    lab.write_notebook("inspector.ipynb", HEAD, INSPECTOR)
    page = open_notebook("inspector.ipynb")
    page.locator(".tn-sheet svg").wait_for()
    page.set_default_timeout(10_000)
    return page


def mark(page: Page, name: str):
    return page.locator(f'.tn-mark[data-name="{name}"]')


def wire(page: Page, name: str):
    return page.locator(f'.tn-wire[data-name="{name}"]')


def centre(locator) -> tuple[float, float]:
    box = locator.bounding_box()
    assert box is not None
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def panel(page: Page):
    return page.locator(".jp-OutputArea .widget-html").filter(has_text=re.compile(".")).first


def leave(page: Page) -> None:
    page.mouse.move(2, 700)


def ends(page: Page, name: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    numbers = [float(v) for v in re.findall(r"-?[\d.]+", wire(page, name).get_attribute("d") or "")]
    return tuple(numbers[:2]), tuple(numbers[-2:])


def shift(before: tuple[float, ...], after: tuple[float, ...]) -> tuple[int, int]:
    return round(after[0] - before[0]), round(after[1] - before[1])


def drag(page: Page, start: tuple[float, float], by: tuple[float, float]) -> None:
    page.mouse.move(*start)
    page.mouse.down()
    page.mouse.move(start[0] + by[0] / 2, start[1] + by[1] / 2)
    page.mouse.move(start[0] + by[0], start[1] + by[1])
    page.mouse.up()


def sheet_box(page: Page) -> dict:
    return page.locator(".tn-sheet").evaluate("(sheet) => sheet.getBoundingClientRect().toJSON()")


def blank(page: Page) -> tuple[float, float]:
    """A point of the sheet with nothing under it."""
    box = sheet_box(page)
    return box["x"] + 6, box["y"] + box["height"] - 6


def offset(page: Page, point: tuple[float, float]) -> dict:
    box = sheet_box(page)
    return {"x": point[0] - box["x"], "y": point[1] - box["y"]}


def ring_box(page: Page) -> dict:
    box = page.locator(".tn-ring").bounding_box()
    assert box is not None
    return box


def norm_of_w_ov() -> float:
    """Of the fourth array that `HEAD` makes."""
    torch.manual_seed(0)
    return [float(torch.randn(*shape, dtype=torch.float64).norm()) for shape in ((5, 6), (3, 6), (3, 6), (6, 6))][3]


def test_pointing_tells_and_a_click_keeps_the_tensor_in_the_panel(inspector):
    told = inspector.locator(".tn-told")
    mark(inspector, "W_OV").hover()
    expect(told).to_have_text("W_OV: f 6 × d 6")
    expect(panel(inspector)).to_contain_text("W_OV: f 6 × d 6")
    leave(inspector)
    expect(told).to_have_text("")
    expect(panel(inspector)).to_contain_text("Point at a tensor or a leg")
    mark(inspector, "W_OV").click()
    leave(inspector)
    expect(panel(inspector)).to_contain_text(f"Frobenius norm {norm_of_w_ov():.6g}")
    ring, drawn = ring_box(inspector), mark(inspector, "W_OV").bounding_box()
    assert ring["x"] < drawn["x"]
    assert ring["x"] + ring["width"] > drawn["x"] + drawn["width"]
    assert inspector.locator(".jp-OutputArea svg[aria-label^=heatmap]").count() == 1
    assert inspector.locator(".jp-OutputArea svg[aria-label^=spectrum]").count() == 1
    inspector.mouse.click(*blank(inspector))
    expect(inspector.locator(".tn-ring")).to_have_count(0)
    expect(panel(inspector)).to_contain_text("Point at a tensor or a leg")


def test_a_leg_is_picked_beside_its_thin_line_and_told_with_what_it_joins(inspector):
    x, y = centre(wire(inspector, "s"))
    inspector.mouse.click(x, y + 4)
    leave(inspector)
    expect(panel(inspector)).to_contain_text("leg s: size 5")
    expect(panel(inspector)).to_contain_text("joins pattern and X")


def test_a_dragged_mark_takes_the_ends_of_its_wires_along_and_r_puts_all_back(inspector):
    before, far = {name: ends(inspector, name) for name in ("s", "d", "f")}, mark(inspector, "W_OV").bounding_box()
    drag(inspector, centre(mark(inspector, "X")), (30, 40))
    moved = {name: ends(inspector, name) for name in ("s", "d", "f")}
    assert shift(before["s"][0], moved["s"][0]) == (0, 0), "the bubble's end of the wire stays"
    assert shift(before["s"][1], moved["s"][1]) == (30, 40)
    assert shift(before["d"][0], moved["d"][0]) == (30, 40)
    assert shift(before["d"][1], moved["d"][1]) == (0, 0)
    assert mark(inspector, "W_OV").bounding_box() == far
    whole, dragged = inspector.locator(".tn-sheet svg").bounding_box(), mark(inspector, "X").bounding_box()
    assert whole["y"] + whole["height"] > dragged["y"] + dragged["height"], "the drawing grows with what is dragged out"
    drag(inspector, centre(mark(inspector, "W_OV")), (0, -20))
    assert shift(before["f"][1], ends(inspector, "f")[1]) == (0, -20), "a free leg goes with its tensor"
    inspector.locator(".tn-sheet").focus()
    inspector.keyboard.press("r")
    assert {name: ends(inspector, name) for name in ("s", "d", "f")} == before


def test_a_bubble_stays_where_it_is_and_a_drag_on_it_moves_the_view(inspector):
    box = mark(inspector, "pattern").bounding_box()
    path = wire(inspector, "pattern/d").get_attribute("d")
    drag(inspector, (box["x"] + 8, box["y"] + 8), (25, 10))
    assert wire(inspector, "pattern/d").get_attribute("d") == path
    now = mark(inspector, "pattern").bounding_box()
    assert (round(now["x"] - box["x"]), round(now["y"] - box["y"])) == (25, 10)
    inspector.locator(".tn-sheet").dblclick(position=offset(inspector, blank(inspector)))
    assert mark(inspector, "pattern").bounding_box() == box


def test_the_keys_pick_marks_then_wires_in_reading_order(inspector):
    told, sheet = inspector.locator(".tn-told"), inspector.locator(".tn-sheet")
    sheet.focus()
    expect(told).to_contain_text("Arrow keys pick")
    seen = []
    for _ in range(9):
        inspector.keyboard.press("ArrowRight")
        seen.append(told.inner_text())
    assert [text.split(":")[0] for text in seen[:7]] == ["X", "W_Q", "softmax", "W_K", "X", "X", "W_OV"]
    assert seen[7:] == ["t = 5", "t = 5"], "the leg outside the bubble, then its part inside"
    inspector.keyboard.press("ArrowLeft")
    inspector.keyboard.press("ArrowLeft")
    expect(told).to_contain_text("W_OV")
    expect(panel(inspector)).to_contain_text("W_OV")
    inspector.keyboard.press("Escape")
    expect(inspector.locator(".tn-ring")).to_have_count(0)
    assert inspector.evaluate(CELLS) == ["code", "code"], "no key went to the notebook"
    assert inspector.evaluate("() => document.activeElement.className").startswith("tn-sheet")


def test_keys_and_a_wheel_with_control_zoom_and_a_bare_wheel_does_not(inspector):
    width = mark(inspector, "X").bounding_box()["width"]
    inspector.locator(".tn-sheet").focus()
    inspector.keyboard.press("+")
    assert mark(inspector, "X").bounding_box()["width"] > 1.2 * width
    inspector.keyboard.press("-")
    assert mark(inspector, "X").bounding_box()["width"] == pytest.approx(width, rel=0.05)
    x, y = centre(mark(inspector, "X"))
    inspector.mouse.move(x, y)
    inspector.mouse.wheel(0, -100)
    assert mark(inspector, "X").bounding_box()["width"] == pytest.approx(width, rel=0.05)
    inspector.keyboard.down("Control")
    inspector.mouse.wheel(0, -100)
    inspector.keyboard.up("Control")
    inspector.wait_for_function(
        "(width) => document.querySelector('.tn-mark[data-name=X]').getBoundingClientRect().width > 1.2 * width",
        arg=width,
    )
    assert centre(mark(inspector, "X")) == pytest.approx((x, y), abs=1.5), "what is under the pointer stays there"


@pytest.fixture
def themed(inspector) -> Iterator[Callable[[str], None]]:
    """A function that sets Lab's theme, which is light again after the test."""

    def set_theme(theme: str) -> None:
        inspector.evaluate("(theme) => window.jupyterapp.commands.execute('apputils:change-theme', { theme })", theme)
        inspector.wait_for_function(
            "(light) => document.body.dataset.jpThemeLight === light", arg=str("Light" in theme).lower()
        )
        inspector.wait_for_timeout(400)  # Lab fades its colours

    yield set_theme
    set_theme("JupyterLab Light")


@pytest.mark.parametrize("theme", ["JupyterLab Light", "JupyterLab Dark"])
def test_words_and_ring_are_readable_in_light_and_dark(inspector, themed, theme):
    themed(theme)
    mark(inspector, "pattern").click(position={"x": 5, "y": 5})
    expect(panel(inspector)).to_contain_text("pattern")
    mark(inspector, "W_OV").hover()
    inspector.wait_for_function("() => document.querySelector('.tn-ring')")
    contrast = inspector.evaluate(CONTRASTS)
    assert (contrast["behind"] < 0.2) == ("Dark" in theme)
    assert contrast["told"] > 7
    assert contrast["ring"] > 3


def test_a_name_that_is_markup_stays_text(lab, open_notebook):
    lab.write_notebook("evil.ipynb", HEAD, EVIL)
    page = open_notebook("evil.ipynb")
    page.set_default_timeout(10_000)
    evil = "<img src=x onerror=document.title='caught'>"
    first = page.locator(".tn-mark").first
    first.click()
    leave(page)
    expect(page.locator(".tn-told")).to_contain_text(evil)
    expect(panel(page)).to_contain_text(evil)
    page.mouse.click(*centre(wire(page, "j")))
    expect(panel(page)).to_contain_text(f"joins {evil} and B&<b>")
    assert page.locator(".jp-OutputArea img").count() == 0
    assert page.title() != "caught"


def test_a_bubble_is_frozen_and_let_go_by_button_by_click_and_by_key(lab, open_notebook, capsys):
    lab.write_notebook("freeze.ipynb", HEAD, FREEZE)
    page = open_notebook("freeze.ipynb")
    page.set_default_timeout(10_000)
    numbers = page.get_by_role("status").filter(has_text="as a function of")
    expect(numbers).to_contain_text("not linear")
    page.get_by_role("button", name="softmax → pattern: live").click()
    expect(numbers).to_contain_text("linear to rounding")
    expect(page.locator(".tn-mark[data-kind=bubble]")).to_have_count(0)
    expect(page.get_by_role("button", name="softmax → pattern: frozen")).to_be_visible()
    mark(page, "P").click()
    expect(page.locator(".tn-mark[data-kind=bubble]")).to_have_count(1)
    expect(numbers).to_contain_text("not linear")
    expect(page.locator(".tn-ring")).to_have_count(1)  # the selection outlives the redrawing
    took = [page.evaluate(TIMED, "Enter") for _ in range(8)]
    expect(page.locator(".tn-mark[data-kind=bubble]")).to_have_count(1)
    with capsys.disabled():
        print(f"\nfrom key press to redrawn diagram: {', '.join(f'{ms:.0f}' for ms in took)} ms")
