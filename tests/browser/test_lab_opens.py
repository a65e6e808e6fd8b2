"""JupyterLab opens as `workbench lab` opens it: behind a token, without news, with widgets that answer to keys."""

import urllib.error
import urllib.request
from pathlib import Path

import pytest
from playwright.sync_api import expect

pytestmark = pytest.mark.browser

SLIDER = """\
import os
import ipywidgets
bond = ipywidgets.IntSlider(value=3, min=0, max=9, description="bond")
said = ipywidgets.Label("bond is 3")
bond.observe(lambda change: setattr(said, "value", f"bond is {change.new}"), "value")
print("idle threads are", os.environ["OMP_WAIT_POLICY"])
ipywidgets.VBox([bond, said])"""


def test_a_slider_moves_by_key_press_and_the_text_follows(lab, open_notebook):
    lab.write_notebook("slider.ipynb", SLIDER)
    page = open_notebook("slider.ipynb")
    expect(page.get_by_text("idle threads are PASSIVE")).to_be_visible()
    expect(page.get_by_text("bond is 3", exact=True)).to_be_visible()
    page.locator(".noUi-handle").focus()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_text("bond is 4", exact=True)).to_be_visible()


def test_the_token_is_asked_for(lab):
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"{lab.url}/api/sessions", timeout=10)
    with refused.value:
        assert refused.value.code == 403


def test_lab_neither_asks_about_news_nor_fetches_it(lab, open_notebook):
    asked = []
    lab.write_notebook("quiet.ipynb", "print('quiet')")
    page = open_notebook("quiet.ipynb", run=False)
    page.on("request", lambda request: asked.append(request.url))
    page.reload()
    expect(page.get_by_text("print('quiet')")).to_be_visible()
    page.wait_for_load_state("networkidle")
    expect(page.locator(".Toastify__toast")).to_have_count(0)
    assert not [url for url in asked if "/lab/api/news" in url or "/lab/api/update" in url]
    assert asked


def test_lab_listens_on_this_computer_alone(lab):
    tables = [path for path in map(Path, ("/proc/net/tcp", "/proc/net/tcp6")) if path.exists()]
    if not tables:
        pytest.skip("this system has no /proc/net/tcp to read who listens where")
    rows = [line.split() for table in tables for line in table.read_text(encoding="ascii").splitlines()[1:]]
    port = f"{int(lab.url.rsplit(':', 1)[1]):04X}"
    listening = [row[1].rsplit(":", 1)[0] for row in rows if row[3] == "0A" and row[1].endswith(f":{port}")]
    assert listening == ["0100007F"]  # 127.0.0.1, its bytes from the last
