"""The explorer of sample complexity in JupyterLab: points appear as they are measured, and the number is read off."""

import pytest
from playwright.sync_api import Locator, Page, expect

pytestmark = pytest.mark.browser

VIEW = """\
from workbench import SampleExplorer, SampleView
from workbench.explore.sample_choices import usual_families, usual_learners
explorer = SampleExplorer(usual_families(), usual_learners(), sizes=(16, 64, 256), seeds=range(3))
explorer.choose("even parity", 8, "linear code")
view = SampleView(explorer)
view"""


def told(page: Page) -> Locator:
    return page.get_by_role("status").filter(has_text="on even parity")


@pytest.fixture
def view(lab, open_notebook) -> Page:
    lab.write_notebook("samples.ipynb", VIEW)
    page = open_notebook("samples.ipynb")
    expect(told(page)).to_contain_text("nothing is measured yet")
    return page


def test_points_are_measured_by_hand_and_the_target_is_moved_by_keys(view):
    view.get_by_role("button", name="Measure").click()
    expect(told(view)).to_contain_text("9 of 9 points")
    expect(told(view)).to_contain_text("90% of overlap takes 16 samples")
    expect(view.locator(".js-plotly-plot .legendtext").filter(has_text="linear code")).to_be_visible()
    view.get_by_role("combobox", name="Learner").select_option("one pass, bond 2")
    expect(told(view)).to_contain_text("one pass, bond 2 on even parity: nothing is measured yet")
    view.get_by_role("button", name="Measure").click()
    expect(told(view)).to_contain_text("9 of 9 points")
    expect(view.locator(".js-plotly-plot .legendtext")).to_have_count(2)
    view.locator(".noUi-handle").last.focus()
    for _ in range(20):
        view.keyboard.press("ArrowLeft")
    expect(told(view)).to_contain_text("70% of overlap takes")


def test_the_legend_of_what_was_measured_before_names_the_learners_alone_in_either_theme(lab, open_notebook):
    lab.write_notebook("measured.ipynb", VIEW.replace("view =", "explorer.run(lambda *told: None)\nview ="))
    page = open_notebook("measured.ipynb")
    expect(told(page)).to_contain_text("9 of 9 points")
    names = page.locator(".js-plotly-plot .legendtext")
    expect(names).to_have_text(["linear code"])
    for theme, light in (("JupyterLab Dark", "false"), ("JupyterLab Light", "true")):
        page.evaluate("(theme) => window.jupyterapp.commands.execute('apputils:change-theme', { theme })", theme)
        page.wait_for_function("(light) => document.body.dataset.jpThemeLight === light", arg=light)
        page.wait_for_timeout(1000)  # the page tells the kernel, and the kernel the chart
        expect(names).to_have_text(["linear code"])
