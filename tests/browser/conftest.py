"""A real JupyterLab server and a real browser."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from autograder import sources

SCREENSHOTS = sources.ROOT / "build" / "screenshots"


@pytest.fixture
def page(chromium):
    page = chromium.new_page(viewport={"width": 1100, "height": 1000})
    page.set_default_timeout(60_000)
    yield page
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / "last.png")  # what was on the screen if the test failed
    page.close()


@pytest.fixture
def lab(tmp_path):
    """`lab(folder)` starts JupyterLab there, as `make lab` does, and returns its address.

    home: that of who starts it, with their settings in .jupyter.
    """
    servers = []

    def start(folder: Path, home: Path = tmp_path) -> str:
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            port = s.getsockname()[1]
        log = home / "lab.log"
        with log.open("w") as out:
            servers.append(subprocess.Popen(
                [sys.executable, "-c", "import sys; from autograder.lab import main; main(*sys.argv[1:])",
                 str(folder), "--no-browser", f"--port={port}",
                 "--IdentityProvider.token=", "--ServerApp.disable_check_xsrf=True"],
                cwd=folder, stdout=out, stderr=out,
                env=os.environ | {"HOME": str(home), "JUPYTER_CONFIG_DIR": str(home / ".jupyter")}))
        address = f"http://127.0.0.1:{port}"
        for _ in range(120):
            try:
                urllib.request.urlopen(f"{address}/api", timeout=2).close()
                return address
            except OSError:
                time.sleep(0.5)
        raise AssertionError(f"JupyterLab did not start:\n{log.read_text()}")

    yield start
    for server in servers:
        server.terminate()
        server.wait(20)
