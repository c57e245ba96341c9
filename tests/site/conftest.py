"""A small site, served to a real browser from which the rest of the world is cut off."""

from __future__ import annotations

import functools
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from autograder import sources
from autograder.site import build

NOTEBOOKS = ("00", "03")  # quick to run; 03 has formulas, an animation, a widget, written questions
LEFT = "net::ERR_ABORTED"  # the reader went on before a picture was there
SCREENSHOTS = sources.ROOT / "build" / "screenshots"


@pytest.fixture(scope="session")
def site():
    """The folder of a site with NOTEBOOKS, built as `make site` builds it; executed once for the same sources."""
    folder = sources.ROOT / "build" / "site-tests"
    build.site(folder / "site", folder / "work", list(NOTEBOOKS), progress=list)
    return folder / "site"


@pytest.fixture(scope="session")
def address(site):
    """Where the site is served."""
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


class Visit:
    """A browser's page on the site, and everything that went wrong while it was open."""

    def __init__(self, page, address: str):
        self.page, self.address, self.trouble = page, address, []
        page.set_default_timeout(60_000)
        page.on("console", lambda m: self._note(f"{m.type}: {m.text}") if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda e: self._note(f"exception: {e}"))
        page.on("requestfailed", lambda r: None if r.failure == LEFT else self._note(f"{r.failure}: {r.url}"))
        page.on("response", lambda r: self._note(f"{r.status}: {r.url}") if r.status >= 400 else None)
        page.route("**/*", self._only_here)

    def open(self, path: str | Path):
        """Open a page and wait until its formulas are set."""
        self.page.goto(f"{self.address}/{path}", wait_until="load")
        self.page.evaluate("window.MathJax?.Hub && new Promise(done => MathJax.Hub.Queue(done))")
        return self.page

    def _only_here(self, route):
        if not route.request.url.startswith(self.address):
            self._note(f"from elsewhere: {route.request.url}")
            return route.abort()
        return route.continue_()

    def _note(self, what):
        self.trouble.append(f"{self.page.url}: {what}")


@pytest.fixture
def visit(chromium, address, request):
    """A Visit; @pytest.mark.parametrize("visit", […], indirect=True) gives its browser context other arguments."""
    usual = {"viewport": {"width": 1300, "height": 900}, "reduced_motion": "reduce"}  # no colours in between
    context = chromium.new_context(**usual | getattr(request, "param", {}))
    visit = Visit(context.new_page(), address)
    yield visit
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    visit.page.screenshot(path=SCREENSHOTS / "site.png")  # what was on the screen if the test failed
    context.close()
    assert not visit.trouble
