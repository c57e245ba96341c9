"""Planting of secrets and keepsakes before a run, and judging afterwards what became of them."""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import signal
from html.parser import HTMLParser
from pathlib import Path

import nbformat

from tests.hostile.case import Case, World, cell

KEPT = "do not touch"
RENDER_LIMIT = 30  # seconds for the HTML of one notebook


class Secrets:
    """Random words in the places that a submission must not see; `found_in` says which stand in a text."""

    def __init__(self):
        self.words = {where: f"SECRET-{where}-{secrets.token_hex(8)}"
                      for where in ("environment", "source", "gradebook", "submitted", "home")}

    def found_in(self, text: str) -> list[str]:
        return [where for where, word in self.words.items() if word in text]


def plant(world: World, cases: list[Case], words: Secrets) -> None:
    """Make home and outside, with private files and one file for each case that it may try to spoil."""
    for folder in (world.base / "outside", world.home / "notes", world.course / "notes"):
        folder.mkdir(parents=True, exist_ok=True)
    (world.home / "notes" / "private.txt").write_text(words.words["home"])
    for case in cases:
        _keepsake(world, case).write_text(KEPT)


def plant_in_source(path: Path, words: Secrets) -> None:
    """Put a secret into the solution of a source notebook, which releasing it takes away."""
    notebook = nbformat.read(path, as_version=4)
    for one in notebook.cells:
        if "### BEGIN SOLUTION" in one.source:
            one.source = re.sub(r"( *)(### BEGIN SOLUTION)", rf"\1\2\n\1# {words.words['source']}", one.source, count=1)
    nbformat.write(notebook, path)


def plant_in_submission(notebook, words: Secrets) -> None:
    cell(notebook, "brighten").source += f"\n# {words.words['submitted']}"


def spoiled(world: World, case: Case) -> list[str]:
    """What became of the case's own file in the course folder, if anything did."""
    path = _keepsake(world, case)
    try:
        return [] if path.read_text() == KEPT else [f"overwrote {path}"]
    except OSError:
        return [f"deleted {path}"]


def _keepsake(world, case):
    return world.course / "notes" / f"{case.mark}.txt"


def leaks(case: Case, texts: list[str], words: Secrets) -> list[str]:
    """The secrets that stand in what was graded and in the feedback, and what the payload says it found."""
    text = "\n".join(texts)
    found = words.found_in(text)
    return found + ["own finding"] * (f"LEAK-{case.mark}" in text)


LOADS = [("object", "data"), ("meta", "content"), ("script", "src"), ("iframe", "src"), ("embed", "src")]


class Live(HTMLParser):
    """Finds a mark where a browser would run it: scripts, event handlers, javascript: and srcdoc."""

    def __init__(self, mark: str):
        super().__init__(convert_charrefs=True)
        self.mark, self.found, self._script = mark, [], False

    def handle_starttag(self, tag, attributes):
        self._script = tag in ("script", "style") and tag == "script"
        for name, value in attributes:
            value = re.sub(r"[\s\x00-\x20]", "", value or "").lower()
            runs = name.startswith("on") or name in ("srcdoc", "style") or value.startswith(
                ("javascript:", "vbscript:", "data:text/html", "data:image/svg"))
            if self.mark in value and (runs or (tag, name) in LOADS):
                self.found.append(f"<{tag} {name}>")

    def handle_endtag(self, tag):
        if tag == "script":
            self._script = False

    def handle_data(self, data):
        if self._script and self.mark in data:
            self.found.append("<script>")


def live_scripts(case: Case, pages: list[str]) -> list[str]:
    """The kinds of places where the case's mark would run in a browser that shows one of `pages`."""
    found = []
    for page in pages:
        parser = Live(case.mark)
        parser.feed(page)
        found += parser.found
    return sorted({f"live {f}" for f in found})


@contextlib.contextmanager
def limited(seconds: float):
    """Raise TimeoutError in the block when its time is up."""
    def stop(signum, frame):
        raise TimeoutError

    previous = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


def rendered(path: Path) -> str:
    """A graded notebook as HTML, as nbconvert shows it without any cleaning."""
    from nbconvert import HTMLExporter

    try:
        with limited(RENDER_LIMIT):
            return HTMLExporter().from_filename(str(path))[0]
    except Exception as e:  # noqa: BLE001  a notebook that cannot be shown shows no script
        return f"not rendered: {type(e).__name__}"


def outputs_text(path: Path) -> str:
    """All the text in a notebook file, as it is and with JSON's escapes undone."""
    try:
        raw = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    if len(raw) > 20_000_000:
        return raw
    try:
        return raw + "\n".join(_strings(json.loads(raw)))
    except (ValueError, RecursionError):
        return raw


def _strings(value):
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | dict):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _strings(item)


def remove(folder: Path) -> None:
    """Delete a folder of a run, write-protected parts included, without following links."""
    import shutil

    for place, folders, _ in os.walk(folder):
        for name in folders:
            if not os.path.islink(os.path.join(place, name)):
                os.chmod(os.path.join(place, name), 0o700)
    shutil.rmtree(folder, ignore_errors=True)
