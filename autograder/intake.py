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
    and a cell with an id that was never released become ordinary cells.  Tags are dropped: one of them,
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
    present, taken = set(), {cell.id for cell in released.cells}
    for cell in notebook.cells:
        name = _grade_id(cell)
        keep = name in wanted and name not in present
        cell.metadata = copy.deepcopy(wanted[name].metadata) if keep else nbformat.NotebookNode()
        if keep:
            present.add(name)
        elif cell.get("id") in taken:
            cell.id = random_cell_id()
    position = 0
    for name, cell in wanted.items():
        if name in present:
            position = next(i for i, c in enumerate(notebook.cells) if _grade_id(c) == name) + 1
        else:
            notebook.cells.insert(position, copy.deepcopy(cell))
            position += 1
    return notebook


def _grade_id(cell):
    about = cell.metadata.get("nbgrader")
    return about.get("grade_id", "") if isinstance(about, dict) else ""
