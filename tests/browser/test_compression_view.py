"""The compression view in JupyterLab: a hand on the slider, and every linked view moves."""

import json

import pytest
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.browser

VIEW = """\
from workbench import CompressionLab, CompressionView
lab = CompressionLab.from_model("pygpt", max_windows=8)
lab.decompose("svd", "plain")
lab.kept = 0.6
view = CompressionView(lab)
view"""

# What the three charts show: the marker of the present setting, the heatmap, the cut; and their ink.
CHARTS = """() => {
  const drawn = [...document.querySelectorAll(".js-plotly-plot")].filter((plot) => plot.layout && plot.data);
  const plots = drawn.filter((plot) => plot.layout.title?.text !== "Healing");  // that one is folded away
  if (plots.length < 3) return null;
  const [trade, heat, spectrum] = plots;
  const now = trade.data.find((trace) => trace.name === "now");
  if (!now || !heat.data[0].z || !spectrum.layout.shapes?.length) return null;
  return {
    now: [...now.x, ...now.y],
    heatmap: JSON.stringify([...heat.data[0].z].map((row) => [...row])),
    cut: spectrum.layout.shapes[0].x0,
    title: spectrum.layout.title.text,
    ink: trade._fullLayout.font.color,
  };
}"""


def charts(page: Page) -> dict:
    return page.wait_for_function(CHARTS, timeout=20_000).json_value()  # a busy page draws them one after another


def settled(page: Page, n_windows: int = 8) -> str:
    """The numbers once every window is scored: each holds 255 scored tokens."""
    status = page.get_by_role("status").filter(has_text="perplexity")
    expect(status).to_contain_text(f"on {n_windows * 255:,} tokens", timeout=60_000)
    return status.inner_text()


@pytest.fixture
def view(lab, open_notebook) -> Page:
    lab.write_notebook("view.ipynb", VIEW)
    page = open_notebook("view.ipynb")
    settled(page)
    return page


def test_dragging_the_slider_moves_every_linked_view(view):
    before, numbers = charts(view), settled(view)
    written = view.get_by_text("This setting").locator("..").inner_text()
    handle = view.locator(".noUi-handle").first
    box = handle.bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    view.mouse.move(x, y)
    view.mouse.down()
    for step in range(1, 11):
        view.mouse.move(x - 12 * step, y)
    view.mouse.up()
    view.wait_for_function(f"(old) => JSON.stringify(({CHARTS})().heatmap) !== old", arg=json.dumps(before["heatmap"]))
    after_numbers = settled(view)
    after = charts(view)
    assert after["now"][0] < before["now"][0], "fewer numbers are stored"
    assert after["now"][1] > before["now"][1], "and the perplexity is higher"
    assert after["heatmap"] != before["heatmap"]
    assert after["cut"] < before["cut"]
    assert after["title"] != before["title"]
    assert after_numbers != numbers
    assert view.get_by_text("This setting").locator("..").inner_text() != written


def test_the_slider_answers_to_the_arrow_keys_and_can_be_found_by_its_label(view):
    before = charts(view)
    expect(view.get_by_text("Whole model kept", exact=True)).to_be_visible()
    view.locator(".noUi-handle").first.focus()
    view.keyboard.press("ArrowLeft")
    view.wait_for_function(f"(old) => ({CHARTS})().cut < old", arg=before["cut"])


def test_the_charts_follow_a_dark_theme(view):
    light = charts(view)["ink"]
    view.evaluate("() => window.jupyterapp.commands.execute('apputils:change-theme', { theme: 'JupyterLab Dark' })")
    view.wait_for_function(f"(old) => ({CHARTS})().ink !== old", arg=light)
    assert charts(view)["ink"] == "#eeeeee"


def test_copy_code_shows_lines_that_name_the_setting(view):
    view.get_by_role("button", name="Copy code").click()
    expect(view.locator("textarea").filter(has_text="").first).to_be_visible()
    view.wait_for_function(
        """() => [...document.querySelectorAll("textarea")].some((area) => area.value.includes("lab.kept = 0.6"))"""
    )


def test_what_was_scored_before_the_view_keeps_the_marks_of_each_trace(lab, open_notebook):
    lab.write_notebook("scored.ipynb", VIEW.replace("view = ", "lab.evaluate()\nview = "))
    page = open_notebook("scored.ipynb")
    page.wait_for_function(f"() => ({CHARTS})() !== null")
    page.wait_for_function(f"() => ({CHARTS})().now.length === 2")
    symbols = page.evaluate("""() => {
      const plots = [...document.querySelectorAll(".js-plotly-plot")];
      const trade = plots.find((plot) => plot.data?.some((trace) => trace.name === "now"));
      const shown = (name) => trade._fullData.find((trace) => trace.name === name).marker.symbol;
      return [shown("now"), shown("svd, plain")].map((symbol) => [symbol].flat()[0]);
    }""")
    assert symbols == ["diamond-open", "square"]
