"""Views of hostile names on one page: what would act in a page that reads them as markup stays text there."""

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.browser

TESTS = Path(__file__).resolve().parents[1]
HEAD = f"""\
import sys
sys.path.insert(0, {str(TESTS)!r})
from IPython.display import display
import hostile"""
# Those of the other views are drawn by the same means: HTML, and drawings as these have.
VIEWS = ("CompressionView", "ExplainView", "Inspector", "LedgerView", "SampleView", "TheatreView", "ZoomView")
SHOWN = [f'display(hostile.VIEWS["{name}"]())' for name in VIEWS]
DRAWN = "display(hostile.program(), hostile.program().plotly(), hostile.diagram() == hostile.diagram())"
# A cell at a time, each drawn before the next: anywidget gives a model two seconds, which a dozen at once can exceed.
RUN_EACH = """async () => {
  const app = window.jupyterapp;
  const panel = app.shell.currentWidget;
  await panel.context.ready;
  await panel.sessionContext.ready;
  await panel.sessionContext.session.kernel.info;
  const errors = [];
  for (const [number, cell] of panel.content.widgets.entries()) {
    panel.content.activeCellIndex = number;
    await app.commands.execute("notebook:run-cell");
    await new Promise((done) => requestIdleCallback(done, { timeout: 10000 }));
    for (const output of cell.model.outputs.toJSON()) if (output.output_type === "error") errors.push(output.evalue);
  }
  return errors;
}"""
# The hostile element anywhere but where plotly keeps one of its own, or an attribute that would act.
ACTING = """() => [...document.querySelectorAll("*")].filter(
  (node) => node.matches(".jp-OutputArea img:not(.plot-img)")
    || [...node.attributes].some(({ name }) => name === "onerror")
).map((node) => node.outerHTML.slice(0, 200))"""
POINTS = ".jp-OutputArea .js-plotly-plot .nsewdrag"


@pytest.fixture
def page_of_views(lab, open_notebook) -> Page:
    lab.write_notebook("hostile.ipynb", HEAD, *SHOWN, DRAWN)
    page = open_notebook("hostile.ipynb", run=False)
    assert page.evaluate(RUN_EACH) == []
    page.set_default_timeout(20_000)
    return page


def test_names_tokens_symbols_and_prompts_that_are_markup_stay_text_in_the_views(page_of_views):
    page = page_of_views
    expect(page.locator(".tn-view svg")).to_have_count(4)
    page.locator(".js-plotly-plot .main-svg:visible").first.wait_for()
    page.locator(".tn-ledger .tn-path").first.wait_for()
    for place in page.locator(".tn-view svg .tn-mark").all()[:6]:
        place.hover(force=True)
    for plot in page.locator(f"{POINTS}:visible").all():
        plot.scroll_into_view_if_needed()
        plot.hover(force=True)
    assert page.evaluate(ACTING) == []
    assert page.evaluate("() => window.hacked === undefined")
    text = page.locator(".jp-Notebook").first.inner_text()
    assert text.count('<img src=x onerror="window.hacked=1">') > 20
