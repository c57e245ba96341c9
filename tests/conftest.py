"""Fixtures shared by all tests."""

from __future__ import annotations

import ast
import functools

import matplotlib
import matplotlib.pyplot as plt
import pytest

from autograder.build import source_notebooks
from autograder.exercise import load_all
from cnnlab import own

matplotlib.use("agg")


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
