"""Executed solutions for the website, each run once for the same source."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

import nbformat
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode

from autograder.site import figures
from autograder.solutions import execute
from autograder.sources import ROOT
from cnnlab.probes import FOLDER


class PageError(Exception):
    """A notebook cannot be made a page; the message says which and why."""


def executed(slug: str, source: NotebookNode, exercises: list[str], cached: Path) -> NotebookNode:
    """`source`, run, from the folder `cached` if that source was run before.  Raises PageError if a cell fails."""
    path = cached / f"{slug}-{_fingerprint(source, exercises)}.ipynb"
    if path.is_file():
        return nbformat.read(path, as_version=4)
    source.cells.insert(0, nbformat.v4.new_code_cell(figures.SOURCE))
    try:
        execute(source)
    except CellExecutionError as e:
        raise PageError(f"{slug}: a cell failed with {e.ename}: {e.evalue}") from e
    del source.cells[0]
    cached.mkdir(parents=True, exist_ok=True)
    for old in cached.glob(f"{slug}-*.ipynb"):
        old.unlink()
    nbformat.write(source, path)
    return source


def _fingerprint(source, exercises):
    """Of all that outputs depend on: the source, its exercises' data, and the package that it imports."""
    parts = [nbformat.writes(source), *((FOLDER / f"{e}.json").read_text(encoding="utf-8") for e in exercises)]
    return hashlib.sha256("\n".join([*parts, _package()]).encode()).hexdigest()[:16]


@cache
def _package():
    files = sorted([*ROOT.glob("cnnlab/**/*.py"), *ROOT.glob("cnnlab/results/*"), Path(figures.__file__)])
    return hashlib.sha256(b"".join(f.read_bytes() for f in files)).hexdigest()
