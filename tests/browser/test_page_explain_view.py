"""The explorer of explanations in JupyterLab: sites are pressed by hand and by keys, and the charts follow."""

from itertools import combinations

import pytest
from playwright.sync_api import Locator, Page, expect

pytestmark = pytest.mark.browser

VIEW = """\
from workbench import ExplainLab, ExplainView
from workbench.truth.ising_chain import ising_chain
from workbench.truth.parity import even_parity
lab = ExplainLab(even_parity(12), {"same": even_parity(12), "spins": ising_chain(12, 0.5)})
view = ExplainView(lab)
view"""
# Of each trace of the chart with this title: its name, and how many numbers it has.
TRACES = """(title) => [...document.querySelectorAll(".js-plotly-plot")]
  .filter((chart) => chart.layout.title?.text?.startsWith(title))
  .flatMap((chart) => chart.data.map((trace) => `${trace.name} ${trace.y?.length}`))"""

# Of each chart its words, and where they stand.
LABELS = """() => [...document.querySelectorAll(".js-plotly-plot")].map((chart) =>
  [...chart.querySelectorAll("svg text")].filter((text) => text.textContent && text.getBBox().width).map((text) => {
    const { left, right, top, bottom } = text.getBoundingClientRect();
    return { left, right, top, bottom, text: text.textContent };
  }))"""


def told(page: Page) -> Locator:
    return page.get_by_role("status").filter(has_text="marginals differ")


def site(page: Page, name: str) -> Locator:
    return page.locator(".tn-arrow-keys").get_by_role("button", name=name, exact=True)


@pytest.fixture
def view(lab, open_notebook) -> Page:
    lab.write_notebook("explain.ipynb", VIEW)
    page = open_notebook("explain.ipynb")
    expect(told(page)).to_contain_text("Nothing is given")
    return page


def test_sites_are_fixed_and_freed_by_hand_and_by_keys(view):
    names = view.locator(".js-plotly-plot .legendtext")
    expect(names).to_have_text(["truth", "same"] * 3)
    site(view, "3").click()
    expect(told(view)).to_contain_text("Given 0 at site 3: probability 0.5 under the truth, 0.5 under same")
    for _ in range(2):
        view.keyboard.press("ArrowRight")
    expect(site(view, "5")).to_be_focused()
    view.keyboard.press("Enter")
    expect(told(view)).to_contain_text("0 at site 3, 0 at site 5: probability 0.25")
    view.keyboard.press("Space")
    expect(site(view, "5 = 1")).to_be_focused()
    expect(told(view)).to_contain_text("0 at site 3, 1 at site 5")
    view.keyboard.press("ArrowLeft")
    expect(site(view, "4")).to_be_focused()
    view.get_by_role("button", name="Release all").click()
    expect(told(view)).to_contain_text("Nothing is given")
    for k in range(11):
        site(view, f"{k}").click()
    expect(names).to_have_text(["truth", "same"] * 3)
    site(view, "11").click()
    site(view, "11 = 0").click()
    expect(view.get_by_role("alert")).to_contain_text("the truth excludes every string with 0 at site 0, 0 at site 1")
    expect(site(view, "11")).to_be_visible()


def test_another_model_leaves_the_truth_as_it_is_drawn_and_no_label_lies_over_another(lab, open_notebook):
    lab.write_notebook("long.ipynb", VIEW.replace("12", "16").replace("spins", "GPT of 2 layers, width 32"))
    page = open_notebook("long.ipynb")
    page.get_by_role("combobox", name="Model").select_option("GPT of 2 layers, width 32")
    expect(told(page)).to_contain_text("whole strings by 0.")
    expect(page.locator(".js-plotly-plot .legendtext").filter(has_text="GPT of")).to_have_count(3)
    assert page.evaluate(TRACES, "Marginals") == ["truth 16", "GPT of 2 layers, width 32 16"]
    assert page.evaluate(TRACES, "Entanglement") == ["truth 15", "GPT of 2 layers, width 32 15"]
    assert page.evaluate(TRACES, "Schmidt") == ["truth 2", "GPT of 2 layers, width 32 2"]
    for theme, light in (("JupyterLab Dark", "false"), ("JupyterLab Light", "true")):
        page.evaluate("(theme) => window.jupyterapp.commands.execute('apputils:change-theme', { theme })", theme)
        page.wait_for_function("(light) => document.body.dataset.jpThemeLight === light", arg=light)
        page.wait_for_timeout(1000)  # the page tells the kernel, and the kernel the charts
        charts = page.evaluate(LABELS)
        assert [len(labels) > 8 for labels in charts] == [True] * 4
        for one, other in (pair for labels in charts for pair in combinations(labels, 2)):
            beside = one["left"] >= other["right"] or other["left"] >= one["right"]
            below = one["top"] >= other["bottom"] - 1 or other["top"] >= one["bottom"] - 1
            assert beside or below, f"{one['text']!r} lies over {other['text']!r}"
