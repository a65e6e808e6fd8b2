"""Every notebook as it lies in the repository, opened one after another: each request stays on this computer."""

import pytest
from conftest import IDLE, NOTEBOOKS, SHOWN, is_local
from playwright.sync_api import expect

pytestmark = pytest.mark.browser

OPEN = "(path) => window.jupyterapp.commands.execute('docmanager:open', { path }).then(() => null)"
# Lab draws a cell when it comes near the window: all of them are drawn once they have been scrolled to.
SCROLL = """async () => {
  const notebook = window.jupyterapp.shell.currentWidget.content;
  for (let k = 0; k < notebook.widgets.length; k += 3) {
    await notebook.scrollToItem(k);
    await new Promise((done) => setTimeout(done, 20));
  }
}"""
CLOSE = "() => window.jupyterapp.commands.execute('application:close-all').then(() => null)"


def test_no_notebook_asks_another_machine_for_anything(lab, open_notebook):
    names = sorted(path.name for path in NOTEBOOKS.glob("*.ipynb"))
    asked = []
    page = open_notebook(names[0], run=False)
    page.on("request", lambda request: asked.append(request.url))
    for name in names:
        page.evaluate(OPEN, name)
        page.wait_for_function(SHOWN, arg=name)
        page.wait_for_function(IDLE)  # Lab starts its kernel; closed on the way, the debugger would complain
        page.evaluate(SCROLL)
        expect(page.locator(".jp-Notebook:visible .jp-OutputArea-output").first).to_be_attached()
    page.wait_for_load_state("networkidle")
    assert len(asked) >= len(names)
    assert [url for url in asked if not is_local(url)] == []
    page.evaluate(CLOSE)
