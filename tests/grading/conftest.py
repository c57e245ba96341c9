"""A released course, and submissions to it."""

import shutil

import nbformat
import pytest

from autograder.course import Course

SLUG = "00_start_here"
RIGHT = "def brighten(image, amount):\n    return np.clip(image + amount, 0, 1)"


@pytest.fixture(scope="session")
def released(tmp_path_factory):
    course = Course.init(tmp_path_factory.mktemp("released") / "course")
    course.release([SLUG])
    return course.root


@pytest.fixture
def course(released, tmp_path):
    return Course.open(shutil.copytree(released, tmp_path / "course"))


@pytest.fixture
def submission(course):
    """`submission(code)`: the student notebook with `code` in the exercise's cell."""
    def make(code=RIGHT):
        notebook = nbformat.read(course.root / "release" / SLUG / f"{SLUG}.ipynb", as_version=4)
        cell(notebook, "brighten").source = code
        return notebook
    return make


@pytest.fixture
def hand_in(tmp_path, course):
    """`hand_in(student, notebook)` collects one notebook (or raw text) into the course."""
    def send(student, notebook):
        folder = tmp_path / "handed" / student
        folder.mkdir(parents=True, exist_ok=True)
        text = notebook if isinstance(notebook, str) else nbformat.writes(notebook)
        (folder / f"{SLUG}.ipynb").write_text(text)
        return list(course.collect(tmp_path / "handed"))
    return send


def cell(notebook, grade_id):
    (found,) = [c for c in notebook.cells
                if c.metadata.get("nbgrader", {}).get("grade_id") == grade_id]
    return found
