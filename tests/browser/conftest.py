"""JupyterLab in Chromium for tests, on a copy of the notebooks.

A test asks for `open_notebook` and drives the page it gives with Playwright (sync API):

    @pytest.mark.browser
    def test_the_error_moves_with_the_bond(open_notebook):
        page = open_notebook("01_compression.ipynb")  # opened, Run All, idle; a cell that raised has failed the test
        slider = page.locator(".noUi-handle").first   # ipywidgets' sliders are noUiSliders
        slider.focus()
        page.keyboard.press("ArrowRight")
        expect(page.locator(".jp-OutputArea")).to_contain_text("bond 9")

`lab.folder` is the copy that Lab serves: a test may write notebooks of its own there (`lab.write_notebook`).
At the end of each test its kernels are shut down, and the test fails if the page asked for anything
outside this computer or wrote an error to the console. `page` alone is the watched page before any notebook.
"""

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, Route, sync_playwright

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
MAC_BROWSERS = (
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
)
# --no-sandbox: root in a container cannot make one; the only pages are our own.
CHROMIUM_ARGUMENTS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-quic",
    "--no-first-run",
)
START_SECONDS = 60
LOAD_MILLISECONDS = 90_000
OPEN_LAB = (
    "import pathlib, sys; from workbench.jupyter import open_lab; "
    "sys.exit(open_lab(pathlib.Path(sys.argv[1]), port=int(sys.argv[2]), browser=False))"
)
# Waits for the notebook in front to have a kernel, runs all cells, and returns each error as "cell N: name: value".
RUN_ALL = """async () => {
  const app = window.jupyterapp;
  const panel = app.shell.currentWidget;
  await panel.context.ready;
  await panel.sessionContext.ready;
  await panel.sessionContext.session.kernel.info;
  await app.commands.execute("notebook:run-all-cells");
  const errors = [];
  panel.content.widgets.forEach((cell, number) => {
    const outputs = cell.model.type === "code" ? cell.model.outputs : { length: 0 };
    for (let i = 0; i < outputs.length; i++) {
      const output = outputs.get(i).toJSON();
      if (output.output_type === "error") errors.push(`cell ${number}: ${output.ename}: ${output.evalue}`);
    }
  });
  return errors;
}"""
SHOWN = """(name) => {
  const shown = window.jupyterapp?.shell?.currentWidget;
  return shown?.context?.path === name && shown.context.isReady;
}"""
IDLE = """() => window.jupyterapp.shell.currentWidget.sessionContext.session?.kernel?.status === "idle" """


@dataclass(frozen=True)
class Lab:
    """A running JupyterLab: its address, its token, and the folder of notebooks it serves."""

    url: str
    token: str
    folder: Path

    def api(self, path: str, method: str = "GET") -> bytes:
        """The body of the server's answer to a request under /api."""
        headers = {"Authorization": f"token {self.token}"}
        request = urllib.request.Request(f"{self.url}/api/{path}", method=method, headers=headers)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.read()

    def write_notebook(self, name: str, *cells: str) -> None:
        """Writes a Python notebook of code cells to the folder that Lab serves."""
        kernel = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
        blank = {"cell_type": "code", "execution_count": None, "metadata": {}, "outputs": []}
        code = [blank | {"id": f"cell-{number}", "source": source} for number, source in enumerate(cells)]
        notebook = {"cells": code, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
        (self.folder / name).write_text(json.dumps(notebook), encoding="utf-8")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """The Chromium of this computer, without a window."""
    found = [path for name in BROWSERS if (path := shutil.which(name))] + [p for p in MAC_BROWSERS if Path(p).exists()]
    if not found:
        reason = f"no Chromium here (looked for {', '.join(BROWSERS)} on the PATH); install your system's chromium"
        if os.environ.get("WORKBENCH_REQUIRE_BROWSER"):
            pytest.fail(f"{reason}; WORKBENCH_REQUIRE_BROWSER is set, so this is a failure.")
        pytest.skip(reason)
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=found[0], args=CHROMIUM_ARGUMENTS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def lab(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """JupyterLab as `workbench lab` opens it, with Jupyter folders of its own, on a copy of the notebooks."""
    root = tmp_path_factory.mktemp("lab")
    folder = _copied_notebooks(root)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    served = Lab(f"http://127.0.0.1:{port}", secrets.token_hex(16), folder)
    served.write_notebook("empty.ipynb")
    log = root / "lab.log"
    with log.open("wb") as output:
        command = [sys.executable, "-c", OPEN_LAB, str(folder / "empty.ipynb"), str(port)]
        environment = _environment(root, served.token)
        process = subprocess.Popen(
            command, env=environment, cwd=root, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
    try:
        _wait_for(served, process, log)
        yield served
    finally:
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A new page; the test fails if it leaves this computer or writes an error to the console."""
    context = browser.new_context(viewport={"width": 1400, "height": 1000})
    context.set_default_timeout(LOAD_MILLISECONDS)
    page = context.new_page()
    outside: list[str] = []
    errors: list[str] = []

    def stay(route: Route) -> None:
        outside.append(route.request.url)
        route.abort()

    def note_request(request: Request) -> None:
        if not is_local(request.url) and request.url not in outside:
            outside.append(request.url)

    def note_console(message: ConsoleMessage) -> None:
        if message.type == "error":
            errors.append(f"{message.text} ({message.location.get('url', '')})")

    context.route(lambda url: not is_local(url), stay)
    page.on("request", note_request)
    page.on("websocket", lambda socket: None if is_local(socket.url) else outside.append(socket.url))
    page.on("console", note_console)
    page.on("pageerror", lambda error: errors.append(str(error)))
    yield page
    context.close()
    assert not outside, f"the page asked for addresses outside this computer: {outside}"
    assert not errors, f"the page wrote errors to its console: {errors}"


@pytest.fixture
def open_notebook(lab: Lab, page: Page) -> Iterator[Callable[..., Page]]:
    """A function of a notebook's name: opens it in Lab, runs all its cells, waits for idle, and returns the page.

    A name of the checkout's notebooks is copied afresh, so no test sees what another has saved. The test
    fails if a cell raises. `run=False` only opens; `seconds` is how long Run All may take.
    """

    def open_(name: str, run: bool = True, seconds: float = 180) -> Page:
        if (NOTEBOOKS / name).is_file():
            shutil.copyfile(NOTEBOOKS / name, lab.folder / name)
        page.goto(f"{lab.url}/lab/tree/{quote(name)}?token={lab.token}&reset")
        page.wait_for_function(SHOWN, arg=name)
        if run:
            run_all(page, seconds)
        return page

    yield open_
    for session in json.loads(lab.api("sessions")):
        lab.api(f"sessions/{session['id']}", "DELETE")


def run_all(page: Page, seconds: float = 180) -> None:
    """Runs all cells of the notebook in front and waits for its kernel to be idle; asserts that none raised."""
    page.set_default_timeout(seconds * 1000)
    errors = page.evaluate(RUN_ALL)
    assert not errors, f"cells raised: {errors}"
    page.wait_for_function(IDLE)
    page.set_default_timeout(LOAD_MILLISECONDS)


def is_local(url: str) -> bool:
    """Whether loading `url` stays on this computer."""
    parts = urlsplit(url)
    return parts.scheme in ("data", "blob", "about") or parts.hostname in ("127.0.0.1", "localhost")


def _copied_notebooks(root: Path) -> Path:
    """A folder with copies of the notebooks and nothing else: they need no neighbours."""
    folder = root / "notebooks"
    folder.mkdir()
    for notebook in NOTEBOOKS.glob("*.ipynb"):
        shutil.copyfile(notebook, folder / notebook.name)
    return folder


def _environment(root: Path, token: str) -> dict[str, str]:
    """The environment of Lab: folders of its own for all that Jupyter reads or writes, and its app within reach."""
    own = {name: str(root / name.lower()) for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR")}
    own |= {"JUPYTERLAB_WORKSPACES_DIR": str(root / "workspaces"), "IPYTHONDIR": str(root / "ipython")}
    own |= {"JUPYTERLAB_SETTINGS_DIR": str(root / "settings"), "JUPYTER_TOKEN": token}
    config = Path(own["JUPYTER_CONFIG_DIR"])
    config.mkdir()
    (config / "jupyter_lab_config.json").write_text('{"LabApp": {"expose_app_in_browser": true}}', encoding="utf-8")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("JUPYTER", "PYTEST_"))}
    return inherited | own


def _wait_for(lab: Lab, process: subprocess.Popen, log: Path) -> None:
    """Returns when Lab answers; fails with its log if it stops first or is too slow."""
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        try:
            lab.api("status")
            return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.1)
    state = "is still not answering" if process.poll() is None else f"stopped with exit code {process.returncode}"
    pytest.fail(f"JupyterLab {state}; its log:\n{log.read_text(encoding='utf-8')[-3000:]}")
