"""Fixtures shared by all tests."""

from __future__ import annotations

import ast
import functools
import os
import shutil

import matplotlib
import matplotlib.pyplot as plt
import pytest

from autograder.build import source_notebooks
from autograder.exercise import load_all
from cnnlab import own

matplotlib.use("agg")

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync"]


class Names(dict):
    """The names of a notebook; Hypothesis and pytest would write out all their arrays."""

    def __repr__(self):
        return "<the names of a notebook>"


@functools.cache
def _names(slug: str) -> Names:
    notebook = source_notebooks({slug: load_all()[slug]})[slug]
    names = {"__name__": "__main__"}
    for cell in notebook.cells:
        if cell.cell_type == "code":
            own.run(cell.source, ast.parse(cell.source), f"<{slug} {cell.id}>", names)
            plt.close("all")  # as a front end does after each cell
    return Names(names)


@pytest.fixture
def names_of():
    """`names_of(slug)`: every name the solution notebook defines when it runs top to bottom.

    Tests hold the numbers in a notebook's prose against these.
    """
    return _names


@pytest.fixture(scope="session")
def chromium():
    if CHROMIUM is None:
        what = "The browser tests need Chromium; on Debian: apt install chromium"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(what)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()
