"""`make demo`: a course in build/demo with a class that hands in what classes hand in, graded."""

from __future__ import annotations

import re
import shutil
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import nbformat
from rich.console import Console

from autograder import class_report, export, sources
from autograder.build import source_notebooks
from autograder.cli import class_table, report_failures, with_progress
from autograder.course import Course, CourseError, remove
from autograder.exercise import load_all

ROOT = sources.ROOT / "build" / "demo"
START, CONVOLUTION, PADDING = "00_start_here", "02_convolution", "03_padding_stride_channels"

FLIPPED = """
def cross_correlate2d(x, kernel):
    H, W = x.shape
    kH, kW = kernel.shape
    y = np.zeros((H - kH + 1, W - kW + 1))
    for r in range(y.shape[0]):
        for c in range(y.shape[1]):
            y[r, c] = (x[r:r + kH, c:c + kW] * kernel[::-1, ::-1]).sum()
    return y
"""
INTEGER_BUFFER = """
def cross_correlate2d(x, kernel):
    H, W = x.shape
    kH, kW = kernel.shape
    y = np.zeros((H - kH + 1, W - kW + 1), dtype=int)
    for r in range(y.shape[0]):
        for c in range(y.shape[1]):
            y[r, c] = (x[r:r + kH, c:c + kW] * kernel).sum()
    return y
"""
SQUARE_ONLY = """
def cross_correlate2d(x, kernel):
    n, m = len(x), len(kernel)
    y = np.zeros((n - m + 1, n - m + 1))
    for r in range(n - m + 1):
        for c in range(n - m + 1):
            y[r, c] = np.sum(x[r:r + m, c:c + m] * kernel)
    return y
"""
ONE_SHORT = """
def output_size(size, kernel_size, stride=1, padding=0, dilation=1):
    return (size + 2 * padding - dilation * (kernel_size - 1) - 1) // stride
"""
PADDED_ONCE = """
def output_size(size, kernel_size, stride=1, padding=0, dilation=1):
    return (size + padding - dilation * (kernel_size - 1) - 1) // stride + 1
"""
LEARNT_BY_HEART = """
def brighten(image, amount):
    if image.shape == (2, 2):
        return np.array([[0.25, 0.5], [0.75, 1.0]])
    return image
"""
ENDLESS = """
def separable_filter(x, column, row):
    y = cross_correlate2d(x, column[:, None])
    i = 0
    while i < len(row):
        y = y[:, :1]
    return y
"""
NOT_PYTHON = """
def cross_correlate2d(x, kernel):
    y = np.zeros((x.shape[0] - kernel.shape[0] + 1, x.shape[1] - kernel.shape[1] + 1)
    return y
"""
NOISY = """
import sys
import warnings

_quiet = brighten
def brighten(image, amount):
    print("brightening by", amount, file=sys.stderr)
    warnings.warn("amount is a number")
    return _quiet(image, amount)
"""

Notebook = nbformat.NotebookNode


def main() -> int:
    """Make the demo course, grade it, and say where everything is."""
    console = Console(highlight=False)
    course = hand_in(ROOT)
    pairs = course.submissions(course.notebooks(), [])
    console.print(f"A class of {len({student for student, _ in pairs})} hands in {len(pairs)} notebooks.")

    try:
        done = with_progress("grading", len(pairs), course.grade(pairs))
    except CourseError as e:  # no room can be made here
        print(f"make demo: {e}", file=sys.stderr)
        return 2
    console.print(class_table(course.rows()))
    report_failures(done)
    export.write(course.rows(), ROOT / "grades.csv")
    class_report.write(course, ROOT / "report.html")
    pages = [course.feedback_page(f.student, f.notebook) for f in course.feedback(course.notebooks())]
    console.print(f"\nscores    {ROOT / 'grades.csv'}\nreport    {ROOT / 'report.html'}\n"
                  f"feedback  {len(pages)} pages, such as {pages[0]}\n"
                  "notebooks make lab      opens JupyterLab on the student notebooks, in work/", soft_wrap=True)
    return 1 if any(g.state == "failed" for g in done) else 0


def hand_in(root: Path) -> Course:
    """A new course in `root`, released, in which the class has handed in."""
    if root.exists():
        remove(root)
    course = Course.init(root)
    course.release(course.notebooks())
    handed_in = root / "handed_in"
    for student, notebooks in make_class(course).items():
        for slug, notebook in notebooks.items():
            place = handed_in / student
            place.mkdir(parents=True, exist_ok=True)
            nbformat.write(notebook, place / f"{slug}.ipynb")
    for item in course.collect(handed_in):
        assert not item.problem, item
    shutil.rmtree(handed_in)
    return course


def make_class(course: Course) -> dict[str, dict[str, Notebook]]:
    """What each student hands in, by student and notebook."""
    exercises = load_all()
    solved = {slug: _solutions(nb) for slug, nb in source_notebooks(exercises).items()}

    def blank(slug):
        return nbformat.read(course.root / "release" / slug / f"{slug}.ipynb", as_version=4)

    def complete(slug, keep: Callable[[int], bool] = lambda position: True):
        notebook = blank(slug)
        for position, (cell_id, source) in enumerate(solved[slug].items()):
            if keep(position):
                _cell(notebook, cell_id).source = source
        return notebook

    def with_code(slug, exercise, code, also=False):
        notebook = complete(slug)
        cell = _cell(notebook, exercise)
        cell.source = (cell.source + "\n" if also else "") + textwrap.dedent(code).strip()
        return notebook

    def without(slug, cell_id):
        notebook = complete(slug)
        notebook.cells.remove(_cell(notebook, cell_id))
        return notebook

    everything = {slug: complete(slug) for slug in course.notebooks()}
    half = len(exercises[CONVOLUTION]) // 2
    return {
        "ada_complete": everything,
        "ben_half_done": {START: complete(START), CONVOLUTION: complete(CONVOLUTION, lambda i: i < half)},
        "cleo_blank": {START: blank(START), CONVOLUTION: blank(CONVOLUTION)},
        "dan_flips_the_kernel": {CONVOLUTION: with_code(CONVOLUTION, "cross_correlate2d", FLIPPED)},
        "eva_integer_buffer": {CONVOLUTION: with_code(CONVOLUTION, "cross_correlate2d", INTEGER_BUFFER)},
        "finn_square_only": {CONVOLUTION: with_code(CONVOLUTION, "cross_correlate2d", SQUARE_ONLY)},
        "gia_one_short": {PADDING: with_code(PADDING, "output_size", ONE_SHORT)},
        "hugo_pads_once": {PADDING: with_code(PADDING, "output_size", PADDED_ONCE)},
        "ida_learnt_by_heart": {START: with_code(START, "brighten", LEARNT_BY_HEART)},
        "jon_syntax_error": {CONVOLUTION: with_code(CONVOLUTION, "cross_correlate2d", NOT_PYTHON)},
        "kim_endless_loop": {CONVOLUTION: with_code(CONVOLUTION, "separable_filter", ENDLESS)},
        "leo_deleted_check": {CONVOLUTION: without(CONVOLUTION, "check_cross_correlate2d")},
        "mia_deleted_solution": {START: without(START, "brighten")},
        "nils_noisy_but_right": {START: with_code(START, "brighten", NOISY, also=True)},
    }


def _solutions(notebook):
    """The source of every solution cell, by grade_id, without the region markers."""
    return {c.metadata.nbgrader.grade_id: re.sub(r"^.*(BEGIN|END) SOLUTION.*\n?", "", c.source, flags=re.M)
            for c in notebook.cells if c.metadata.get("nbgrader", {}).get("solution")}


def _cell(notebook, grade_id):
    (cell,) = [c for c in notebook.cells if c.metadata.get("nbgrader", {}).get("grade_id") == grade_id]
    return cell


if __name__ == "__main__":
    sys.exit(main())
