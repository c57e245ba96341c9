"""The learner's own layers come out of their notebooks, or one sentence says why not."""

import subprocess
import sys

import nbformat
import numpy as np
import pytest
from IPython.core.interactiveshell import InteractiveShell

from autograder import build
from autograder.exercise import load_all
from cnnlab import layers, own
from cnnlab.own import OwnError

CONV = '''
class Double:
    """y = 2 x, by a helper."""

    def forward(self, x):
        return twice(x)

    def backward(self, dy):
        return 2 * dy
'''
HELPER = "import numpy as np\n\nSCALE = np.array(2.0)\ndef twice(x):\n    return np.add(x, x)"


@pytest.fixture
def write(tmp_path):
    """write(name, *cells): a notebook in tmp_path; a cell is its source, or (source,) for one of an exercise."""
    def notebook(name, *cells):
        made = nbformat.v4.new_notebook()
        for cell in cells:
            is_exercise = isinstance(cell, tuple)
            metadata = {"nbgrader": {"solution": True, "grade_id": "x"}} if is_exercise else {}
            made.cells.append(nbformat.v4.new_code_cell(cell[0] if is_exercise else cell, metadata=metadata))
        made.cells.append(nbformat.v4.new_markdown_cell("A remark."))
        nbformat.write(made, tmp_path / f"{name}.ipynb")
        return tmp_path

    return notebook


def test_a_class_and_what_it_needs_are_taken_and_nothing_else_is_run(write):
    folder = write("05_x", HELPER, (CONV,), 'raise SystemExit("a figure")', "print('no')\ndef later(): pass")
    taken = own.load("05_x", ["Double", "later"], folder)
    assert list(taken) == ["Double", "later"]
    assert taken["Double"]().forward(3.0) == 6


def test_the_rest_of_the_library_stands_beside_it(write):
    class Mine:
        pass

    nn = own.layers({"05_x": ["Double"]}, write("05_x", HELPER, (CONV,)), Linear=Mine)
    assert nn.Double().backward(1.0) == 2
    assert nn.Linear is Mine and nn.Sequential is layers.Sequential and nn.SGD is layers.SGD


def test_a_missing_notebook_is_named(tmp_path):
    with pytest.raises(OwnError, match=r"^There is no 05_x\.ipynb beside this notebook, in /"):
        own.load("05_x", ["Conv2d"], tmp_path)


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"cells": [3]}', "<html>"])
def test_a_file_that_is_no_notebook_is_named(tmp_path, text):
    (tmp_path / "05_x.ipynb").write_text(text)
    with pytest.raises(OwnError, match=r"^05_x\.ipynb cannot be read as a notebook\.$"):
        own.load("05_x", ["Conv2d"], tmp_path)


def test_an_exercise_that_is_not_written_is_named(write):
    half = CONV.replace("return 2 * dy", "# YOUR CODE HERE\n        raise NotImplementedError()")
    with pytest.raises(OwnError, match=r"^`Double` is not written yet in 05_x\.ipynb: complete its cell there"):
        own.load("05_x", ["Double"], write("05_x", HELPER, (half,)))


def test_a_line_left_behind_the_answer_does_no_harm(write):
    left = CONV.replace("return 2 * dy", "return 2 * dy\n        raise NotImplementedError()")
    assert own.load("05_x", ["Double"], write("05_x", HELPER, (left,)))


def test_a_name_that_is_not_there_is_named(write):
    with pytest.raises(OwnError, match=r"^`Conv2d` is not in 05_x\.ipynb\.$"):
        own.load("05_x", ["Conv2d"], write("05_x", HELPER, (CONV,)))


def test_a_cell_that_does_not_run_is_told_if_the_name_is_missing(write):
    folder = write("05_x", HELPER, ("class Conv2d\n    pass",))
    with pytest.raises(OwnError, match=r"^`Conv2d` is not in 05_x\.ipynb\. Its cell 2 does not run \(SyntaxError: "):
        own.load("05_x", ["Conv2d"], folder)


def test_other_cells_may_fail(write):
    folder = write("05_x", "%matplotlib inline", HELPER, ("x = 1 / 0",), "import nothing_of_this_name", (CONV,))
    assert own.load("05_x", ["Double"], folder)["Double"]().forward(1.0) == 2


def test_the_sentence_stands_in_the_place_of_a_traceback():
    shell = InteractiveShell()
    shown = []
    shell._showtraceback = lambda etype, value, stb: shown.append(stb)
    shell.run_cell("from cnnlab import own; own.load('05_nothing', ['Conv2d'])")
    assert len(shown) == 1 and shown[0] == [shown[0][0]] and shown[0][0].startswith("There is no 05_nothing.ipynb")


def test_a_helper_that_is_not_written_says_so_with_its_line(write):
    stub = "def twice(x):\n    # YOUR CODE HERE\n    raise NotImplementedError()"
    double = own.load("05_x", ["Double"], write("05_x", (stub,), (CONV,)))["Double"]()
    with pytest.raises(NotImplementedError) as e:
        double.forward(1.0)
    # cnnlab.notebook looks at the line to say it kindly.
    assert str(e.traceback[-1].statement).strip() == "raise NotImplementedError()"


def test_importing_it_needs_neither_nbformat_nor_torch():
    code = "import sys, cnnlab.own; print([m for m in ('torch', 'nbformat', 'scipy') if m in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


NEEDED = {"05_backpropagation": ["Conv2d"], "06_pooling": ["MaxPool2d"]}


@pytest.fixture
def solved(tmp_path):
    entries = {slug: load_all()[slug] for slug in NEEDED}
    for slug, notebook in build.source_notebooks(entries).items():
        nbformat.write(notebook, tmp_path / f"{slug}.ipynb")
    return tmp_path


def test_the_layers_of_notebooks_05_and_06_are_those_of_the_library(solved):
    nn, rng = own.layers(NEEDED, solved), np.random.default_rng(0)
    weight, bias, x = rng.normal(size=(3, 2, 3, 2)), rng.normal(size=3), rng.normal(size=(2, 2, 9, 8))
    assert nn.Conv2d is not layers.Conv2d and nn.MaxPool2d is not layers.MaxPool2d
    for mine, theirs in [(nn.Conv2d(weight, bias, 2, 1), layers.Conv2d(weight, bias, 2, 1)),
                         (nn.MaxPool2d(2), layers.MaxPool2d(2))]:
        y = theirs.forward(x)
        dy = rng.normal(size=y.shape)
        np.testing.assert_allclose(mine.forward(x), y, atol=1e-10)
        np.testing.assert_allclose(mine.backward(dy), theirs.backward(dy), atol=1e-10)


@pytest.mark.parametrize("slug", NEEDED)
def test_their_student_versions_are_not_written_yet(slug):
    with pytest.raises(OwnError, match="is not written yet"):
        own.load(slug, NEEDED[slug], build.NOTEBOOKS)


