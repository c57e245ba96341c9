"""Make a submission gradable before nbgrader sees it, or say in a sentence why it cannot be."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import nbformat
from nbformat.v4.nbbase import random_cell_id
from nbgrader.preprocessors import NbGraderPreprocessor


def unreadable(path: Path) -> str:
    """Why the file at `path` cannot be graded as a notebook, in a sentence; "" if it can."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as e:
        return f"it is not a notebook: not UTF-8 text ({e.reason} at byte {e.start})."
    except (ValueError, RecursionError) as e:
        return f"it is not a notebook: not JSON ({e})."
    if not isinstance(data, dict) or not isinstance(data.get("cells", data.get("worksheets")), list):
        return "it is not a notebook: JSON, but without a list of cells."
    if data.get("nbformat") != 4:
        return (f"it has notebook format {data.get('nbformat')}; open it in JupyterLab and save it, "
                "which makes it format 4.")
    return ""


class RestoreCells(NbGraderPreprocessor):
    """Gives back what nbgrader needs: each graded and solution cell of the release, once.

    A cell's nbgrader metadata come from the release; a cell that is gone is put back where it was; a copy
    and a cell with a grade id that was never released become ordinary cells.  Tags are dropped: one of them,
    `skip-execution`, earns full marks in nbgrader.
    """

    def preprocess(self, nb, resources):
        about = resources["nbgrader"]
        # nbgrader works in the course's folder.
        path = Path("release") / about["assignment"] / f"{about['notebook']}.ipynb"
        # Cells have ids from format 4.5 on; what is put back has them already.
        return restore(nbformat.v4.upgrade(nb), nbformat.read(path, as_version=4)), resources


def restore(notebook: nbformat.NotebookNode, released: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Bring the nbgrader cells of `notebook` into the state that `released` has them in, in place."""
    wanted = {_grade_id(cell): cell for cell in released.cells if _grade_id(cell)}
    found = {name: _of(name, cell, notebook.cells) for name, cell in wanted.items()}
    graded_ids = {cell.id for cell in wanted.values()}
    for cell in notebook.cells:
        name = next((n for n, c in found.items() if c is cell), None)
        if name is None and cell.id in graded_ids:
            cell.id = random_cell_id()
        cell.metadata = copy.deepcopy(wanted[name].metadata) if name else nbformat.NotebookNode()
    # By id and by text: a notebook saved in an older format has new ids.
    known = {c.id for c in released.cells} | {c.source for c in released.cells}
    own_text = [c for c in notebook.cells if c.cell_type != "code" and c.source.strip()
                and not known & {c.id, c.source} and c is not found.get(_grade_id(c))]
    for name, cell in wanted.items():
        if found[name] is None:
            found[name] = copy.deepcopy(cell)
            notebook.cells.insert(_place(found[name], notebook.cells, released.cells), found[name])
        if _is_written(cell) and found[name].source == cell.source and own_text:
            # An unchanged answer is given 0 by nbgrader and never shown to a person.
            found[name].source += (f"\n\n*Note for the grader: nothing was written here, but the notebook has "
                                   f"{len(own_text)} text cell(s) of the student's own.*")
    return notebook


def _of(name, released, cells):
    """The student's cell that is the released one: by grade id, and a changed one before a copy; else by id."""
    same = [c for c in cells if _grade_id(c) == name]
    if same:
        return next((c for c in same if c.source != released.source), same[0])
    same = [c for c in cells if c.get("id") == released.id and c.cell_type == released.cell_type]
    return same[0] if same else None


def _place(cell, cells, released):
    """Where to put a cell back: a check before the released cell that came next, others after the one before.

    So a function that was written anew in a cell of the student's own stands between the two.
    """
    ids, at = [c.id for c in released], {c.id: i for i, c in enumerate(cells)}
    here = ids.index(cell.id)
    if cell.metadata.nbgrader.solution:
        return next((at[i] + 1 for i in reversed(ids[:here]) if i in at), 0)
    return next((at[i] for i in ids[here + 1:] if i in at), len(cells))


def _is_written(cell):
    return cell.metadata.nbgrader.grade and cell.metadata.nbgrader.solution


def _grade_id(cell):
    about = cell.metadata.get("nbgrader")
    name = about.get("grade_id") if isinstance(about, dict) else None
    return name if isinstance(name, str) else ""
