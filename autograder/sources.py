"""The course's sources: `solutions/NN_slug.py`, jupytext percent files with short cell tags.

    exercise:ID         the cell with the solution between ### BEGIN SOLUTION and ### END SOLUTION
    check:ID            the graded cell, one line: check("ID", function)
    written:ID:POINTS   a Markdown cell answered in words and graded by hand
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import jupytext
import nbformat
from nbformat import NotebookNode

INSTALLED = Path(__file__).resolve().parent / "source"  # where the wheel has the sources; it is not in the repository
IN_REPOSITORY = not INSTALLED.is_dir()
ROOT = Path(__file__).resolve().parent.parent if IN_REPOSITORY else Path.cwd()  # below it build/ is written
SOLUTIONS = ROOT / "solutions" if IN_REPOSITORY else INSTALLED
KERNELSPEC = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}


def need_repository() -> None:
    """End the program, with a sentence, if this autograder was installed from a wheel."""
    if not IN_REPOSITORY:
        raise SystemExit("This needs the course's repository, and this autograder was installed from a wheel.")


class SourceError(ValueError):
    """A source notebook breaks a rule; the message says which and where."""


def slugs() -> list[str]:
    """The notebooks of the course, in order."""
    return sorted(p.stem for p in SOLUTIONS.glob("[0-9][0-9]_*.py"))


def read(slug: str, points: dict[str, float]) -> NotebookNode:
    """The source of `slug` as a notebook with nbgrader's metadata; still with solutions.

    points: what each exercise is worth, by id.  Raises SourceError on a tag that does not fit.
    """
    notebook = jupytext.read(SOLUTIONS / f"{slug}.py", fmt="py:percent")
    for ordinal, cell in enumerate(notebook.cells):
        tags = cell.metadata.get("tags", [])
        cell.metadata = NotebookNode()
        cell.id = f"{slug[:2]}-{ordinal:03d}"
        for tag in tags:
            _apply(cell, tag, points, slug)
    notebook.metadata = NotebookNode(kernelspec=NotebookNode(KERNELSPEC),
                                     language_info=NotebookNode(name="python"))
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    nbformat.validate(notebook)
    return notebook


def exercise_ids(slug: str) -> list[str]:
    """The ids of the graded cells of `slug`, in order."""
    text = (SOLUTIONS / f"{slug}.py").read_text(encoding="utf-8")
    return re.findall(r'"check:([a-z0-9_]+)"', text)


def function_name(slug: str, exercise: str) -> str:
    """The name of the function that `exercise` checks, from its graded cell."""
    text = (SOLUTIONS / f"{slug}.py").read_text(encoding="utf-8")
    found = re.search(rf'"check:{exercise}"\]\ncheck\("{exercise}", (\w+)\)$', text, re.MULTILINE)
    if not found:
        raise SourceError(f'{slug}: no cell check:{exercise} with the line `check("{exercise}", function)`.')
    return found[1]


def _apply(cell, tag, points, slug):
    kind, _, rest = tag.partition(":")
    if kind == "exercise":
        _mark(cell, rest, solution=True)
    elif kind == "check":
        if rest not in points:
            raise SourceError(f"{slug}: check:{rest} has no entry in autograder/exercises/{slug}.py.")
        if not _is_one_check(cell.source, rest):
            raise SourceError(f'{slug}: the cell check:{rest} must be one line, check("{rest}", function).')
        _mark(cell, f"check_{rest}", grade=True, locked=True, points=points[rest])
    elif kind == "written":
        name, _, worth = rest.partition(":")
        _mark(cell, f"written_{name}", grade=True, solution=True, points=float(worth))
    else:
        raise SourceError(f"{slug}: unknown tag {tag!r}; use exercise:ID, check:ID or written:ID:POINTS.")


def _is_one_check(source, exercise):
    match ast.parse(source).body:
        case [ast.Expr(ast.Call(ast.Name("check"), [ast.Constant(value), ast.Name()], []))]:
            return value == exercise
    return False


def _mark(cell, grade_id, *, grade=False, solution=False, locked=False, points=None):
    cell.id = grade_id.replace("_", "-")
    cell.metadata.nbgrader = NotebookNode(
        grade=grade, grade_id=grade_id, locked=locked, schema_version=3, solution=solution, task=False)
    if points is not None:
        cell.metadata.nbgrader.points = float(points)
