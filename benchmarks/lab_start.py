"""The seconds from the start of JupyterLab until one of its kernels has imported the workbench."""

import json
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from pathlib import Path

from websocket import create_connection

_LONGEST = 120


def lab_seconds() -> float:
    """Starts Lab as `workbench lab` does, with Jupyter folders of its own, and stops it again."""
    token = secrets.token_hex(16)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        own = {name: str(Path(folder) / name.lower()) for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR")}
        command = [str(Path(sys.executable).with_name("workbench")), "lab", "--no-browser", "--port", str(port)]
        start = time.perf_counter()
        process = subprocess.Popen(
            command,
            env={**os.environ, **own, "JUPYTER_TOKEN": token},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            kernel = _started_kernel(f"http://127.0.0.1:{port}/api/kernels", token, start)
            _run(f"ws://127.0.0.1:{port}/api/kernels/{kernel}/channels?token={token}", "import workbench")
            return time.perf_counter() - start
        finally:
            process.terminate()
            process.wait(30)


def _started_kernel(url: str, token: str, start: float) -> str:
    headers = {"Authorization": f"token {token}", "Content-Type": "application/json"}
    while time.perf_counter() - start < _LONGEST:
        request = urllib.request.Request(url, b'{"name": "python3"}', headers, method="POST")
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return json.load(answer)["id"]
        except urllib.error.URLError:
            time.sleep(0.05)
    raise TimeoutError(f"JupyterLab did not answer within {_LONGEST} s.")


def _run(url: str, code: str) -> None:
    """Runs `code` in the kernel behind a channel, and returns when it is done."""
    channel = create_connection(url, timeout=_LONGEST)
    number = uuid.uuid4().hex
    header = {"msg_id": number, "msg_type": "execute_request", "username": "", "session": number, "version": "5.3"}
    content = {"code": code, "silent": False, "store_history": False, "user_expressions": {}, "allow_stdin": False}
    message = {"header": header, "parent_header": {}, "metadata": {}, "content": content, "channel": "shell"}
    channel.send(json.dumps(message))
    while True:
        answer = json.loads(channel.recv())
        if answer["msg_type"] == "execute_reply" and answer["parent_header"].get("msg_id") == number:
            assert answer["content"]["status"] == "ok", answer["content"]
            channel.close()
            return
