"""The milliseconds from a key press on a slider until the diagram beside it is redrawn, in JupyterLab in Chromium."""

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

from playwright.sync_api import sync_playwright

_LONGEST = 120
_BROWSERS = ("chromium", "chromium-browser", "google-chrome")
_CELL = """\
import torch
from workbench import Diagram, Theatre, TheatreView
made = lambda *shape: torch.randn(*shape, dtype=torch.float64)
cores = {f"A{k}": made(4, 8, 4) for k in range(2, 8)} | {"A1": made(8, 4), "A8": made(4, 8)}
chain = "ia,ajb,bkc,cld,dme,enf,fog,gp->ijklmnop"
TheatreView(Theatre(Diagram.from_einsum(chain, **dict(sorted(cores.items()))), "greedy"))"""
_RUN = """async () => {
  const app = window.jupyterapp;
  const panel = app.shell.currentWidget;
  await panel.context.ready;
  await panel.sessionContext.ready;
  await panel.sessionContext.session.kernel.info;
  await app.commands.execute("notebook:run-all-cells");
}"""
_PRESSED = """async (key) => {
  const handle = document.querySelector(".noUi-handle");
  const sheet = document.querySelector(".tn-sheet");
  const start = performance.now();
  const redrawn = new Promise((done) => {
    const watch = new MutationObserver(() => {
      watch.disconnect();
      requestAnimationFrame(() => done(performance.now() - start));
    });
    watch.observe(sheet, { childList: true });
  });
  handle.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
  return await redrawn;
}"""


def redraw_milliseconds(presses: int = 24) -> list[float] | None:
    """The times of key presses on the theatre's slider, the kernel's work and a new layout included.

    The network is a train of eight sites. None where there is no Chromium. The first two presses are not counted.
    """
    browser = next(filter(None, map(shutil.which, _BROWSERS)), None)
    if browser is None:
        return None
    token = secrets.token_hex(16)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        _write_notebook(Path(folder) / "theatre.ipynb")
        own = {name: str(Path(folder) / name.lower()) for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR")}
        process = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}",
             f"--ServerApp.root_dir={folder}", "--LabApp.expose_app_in_browser=True"],
            env={**os.environ, **own, "JUPYTER_TOKEN": token}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            url = f"http://127.0.0.1:{port}"
            _wait_for(f"{url}/api?token={token}")
            return _pressed(browser, f"{url}/lab/tree/theatre.ipynb?token={token}", presses)
        finally:
            process.terminate()
            process.wait(30)


def _pressed(browser: str, url: str, presses: int) -> list[float]:
    arguments = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync"]
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser, args=arguments)
        page = chromium.new_page()
        page.set_default_timeout(_LONGEST * 1000)
        page.goto(url)
        page.wait_for_function("() => window.jupyterapp?.shell?.currentWidget?.context?.isReady")
        page.evaluate(_RUN)
        page.wait_for_selector(".tn-sheet svg")
        page.wait_for_selector(".noUi-handle")
        times = []
        for number in range(presses + 2):
            times.append(page.evaluate(_PRESSED, "ArrowRight" if number % 8 < 4 else "ArrowLeft"))
            page.wait_for_timeout(300)  # until nothing of this press is under way any more
        chromium.close()
    return times[2:]


def _write_notebook(path: Path) -> None:
    kernel = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
    cell = {"cell_type": "code", "execution_count": None, "id": "one", "metadata": {}, "outputs": [], "source": _CELL}
    notebook = {"cells": [cell], "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
    path.write_text(json.dumps(notebook), encoding="utf-8")


def _wait_for(url: str) -> None:
    end = time.monotonic() + _LONGEST
    while time.monotonic() < end:
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.1)
    raise TimeoutError(f"JupyterLab did not answer within {_LONGEST} s.")


if __name__ == "__main__":
    print(redraw_milliseconds())
