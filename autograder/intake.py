"""Make a submission gradable before nbgrader sees it, or say in a sentence why it cannot be."""

from __future__ import annotations

import copy
import re
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_raw_cell
from nbgrader.preprocessors import NbGraderPreprocessor
from nbgrader.utils import is_grade, is_locked, is_solution

from autograder import neutral
from autograder.handed_in import parse, text_of

NEW = {"code": new_code_cell, "markdown": new_markdown_cell, "raw": new_raw_cell}


def prepare(content: bytes, released: NotebookNode) -> tuple[NotebookNode, list[str]]:
    """The submission in `content` as a notebook that can be graded, and what was repaired, in sentences.

    Raises ValueError, with a sentence, if it cannot be graded.
    """
    return repair(parse(content), released)


def repair(notebook: dict, released: NotebookNode) -> tuple[NotebookNode, list[str]]:
    """As `prepare`, for what `parse` gave.

    Each graded and solution cell of the release is there once, with the release's metadata, type and, if it is locked,
    source; a check stands below the functions before it.  All else is the student's own, without metadata, outputs
    and whatever would be live in a browser.
    """
    released = copy.deepcopy(released)
    list(_give_ids(released.cells, "released"))  # a notebook of format 4.4 has none
    cells = [_clean(cell) for cell in notebook["cells"]]
    found = _match(cells, released.cells)
    said = [*_replace_kernel(notebook, released), *_drop_tags(cells, found, released.cells),
            *_make_ordinary(cells, found), *_restore(cells, found, released.cells),
            *_give_ids(cells, "own", found), *_put_back(cells, found, released.cells),
            *_move_checks(cells, found, released.cells), *_neutralise(cells, released.cells),
            *_point_to_own_text(cells, released.cells)]
    return new_notebook(cells=cells, metadata=released.metadata, nbformat=4, nbformat_minor=5), said


class RestoreCells(NbGraderPreprocessor):
    """Repairs a submission as `repair` does, with the release from release/ASSIGNMENT/NOTEBOOK.ipynb.

    The repairs are logged as warnings and left in the notebook's metadata.
    """

    def preprocess(self, nb, resources):
        about = resources["nbgrader"]
        # nbgrader works in the course's folder.
        path = Path("release") / about["assignment"] / f"{about['notebook']}.ipynb"
        nb, repairs = repair(nb, nbformat.read(path, as_version=4))
        for sentence in repairs:
            self.log.warning("%s, %s: %s", about.get("student", ""), about["notebook"], sentence)
        nb.metadata["cnnlab"] = {"repairs": repairs}  # nbgrader makes new resources for its next step
        return nb, resources


def _clean(given):
    """A new cell with the source of an untrusted one; its metadata are kept only until it is known."""
    source = text_of(given.get("source")).encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    cell = NEW.get(given["cell_type"], new_raw_cell)(source)
    cell.id = given.get("id", "")
    cell.metadata = NotebookNode(given["metadata"])
    if given.get("attachments") and cell.cell_type == "markdown":
        cell.attachments = given["attachments"]
    return cell


def _match(cells, released):
    """{id in the release: the student's cell that is that cell}: known by grade id, else by id, else by its text.

    Of several with one grade id the changed one is taken; the others are copies.
    """
    found, taken = {}, set()
    for alike in (lambda c, r: _grade_id(r) and _grade_id(c) == _grade_id(r), lambda c, r: c.id == r.id,
                  lambda c, r: r.source.strip() and c.source == r.source):
        for r in released:
            same = [c for c in cells if id(c) not in taken and alike(c, r)] if r.id not in found else []
            if same:
                found[r.id] = min(same, key=lambda c: (not is_locked(r) and c.source == r.source, c.id != r.id))
                taken.add(id(found[r.id]))
    return found


def _replace_kernel(notebook, released):
    names = [spec.get("name") for nb in (notebook, released)
             if isinstance(spec := nb["metadata"].get("kernelspec"), dict)]
    if len(names) == 2 and names[0] != names[1]:
        yield f"the kernel {str(names[0])[:40]!r} was replaced by {names[1]!r}"


def _drop_tags(cells, found, released):
    """Say which tags will go: one of them, `skip-execution`, earns full marks in nbgrader."""
    kept = {id(found[r.id]): _tags(r) for r in released if r.id in found}
    gone = [tag for c in cells for tag in _tags(c) if tag not in kept.get(id(c), ())]
    if gone:
        names = ", ".join(sorted({tag[:40] for tag in gone})[:5])
        yield f"{len(gone)} {'tag was' if len(gone) == 1 else 'tags were'} dropped: {names}"


def _make_ordinary(cells, found):
    """Take the metadata from the cells that are none of the release's."""
    ours = {id(c) for c in found.values()}
    known = {_grade_id(c) for c in found.values()}
    for cell in cells:
        if id(cell) in ours:
            continue
        if name := _grade_id(cell):
            yield (f"a copy of {name[:60]} became an ordinary cell" if name in known else
                   f"a cell with the unknown grade id {name[:60]!r} became an ordinary cell")
        elif "nbgrader" in cell.metadata:
            yield "a cell that is not the course's lost its nbgrader settings"
        cell.metadata = NotebookNode()


def _restore(cells, found, released):
    """Give the cells of the release their metadata and id, the graded ones their type, and the locked their source."""
    changed = []
    for r in (r for r in released if r.id in found):
        cell, name = found[r.id], _grade_id(r)
        if name and cell.metadata.get("nbgrader") != r.metadata.nbgrader:
            changed.append(name)
        if name and cell.cell_type != r.cell_type:
            yield f"{name} was a {cell.cell_type} cell and is a {r.cell_type} cell again"
            found[r.id] = NEW[r.cell_type](cell.source)
            cells[_index(cells, cell)] = cell = found[r.id]
        if name and is_locked(r) and cell.source != r.source:
            yield f"the changed text of {name} was restored"
            cell.source = r.source
        cell.metadata, cell.id = copy.deepcopy(r.metadata), r.id
    if changed:
        yield f"nbgrader's settings of {', '.join(changed)} were restored"


def _put_back(cells, found, released):
    """Put each deleted cell of nbgrader's back where it was."""
    for r in (r for r in released if _grade_id(r) and r.id not in found):
        found[r.id] = copy.deepcopy(r)
        cells.insert(_place(r, cells, released), found[r.id])
        yield f"the deleted cell {_grade_id(r)} was put back"


def _place(cell, cells, released):
    """Where to put a cell back: a check before the released cell that came next, others after the one before.

    So a function that was written anew in a cell of the student's own stands between the two.
    """
    ids, at = [c.id for c in released], {c.id: i for i, c in enumerate(cells)}
    here = ids.index(cell.id)
    if is_solution(cell):
        return next((at[i] + 1 for i in reversed(ids[:here]) if i in at), 0)
    return next((at[i] for i in ids[here + 1:] if i in at), len(cells))


def _give_ids(cells, prefix, found=()):
    """Give a new id to each cell that has none, an odd one or that of another cell."""
    ours = {id(found[name]) for name in found}
    seen, fresh = set(found), (f"{prefix}-{n}" for n in range(10**9))
    doubled = 0
    for cell in (c for c in cells if id(c) not in ours):
        given = cell.get("id", "")
        if given in seen or not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", given):
            doubled += given in seen
            others = seen | {c.get("id") for c in cells}
            cell.id = next(name for name in fresh if name not in others)
        seen.add(cell.id)
    if doubled:
        yield f"{doubled} {'cell' if doubled == 1 else 'cells'} with the id of another got a new one"


def _move_checks(cells, found, released):
    """Move a check that stands above a function it may test to below it, so that moving cells costs no points.

    A function may also stand in a cell of the student's own, if the one for it in the release is as it was.
    """
    needed, checks = [], []
    for r in (r for r in released if r.cell_type == "code" and _grade_id(r)):
        if is_solution(r):
            needed.append(found[r.id])
            if found[r.id].source == r.source:
                needed += [c for c in cells if c is not found[r.id] and _defines(c, r.source)][-1:]
        elif is_grade(r):
            checks.append((found[r.id], list(needed)))
    moved = []
    for check, above in reversed(checks):
        last = max(above, key=lambda c: _index(cells, c), default=None)
        if last is not None and _index(cells, last) > _index(cells, check):
            del cells[_index(cells, check)]
            cells.insert(_index(cells, last) + 1, check)
            moved.append(f"{_grade_id(check)} was moved below the function it tests")
    yield from reversed(moved)


def _defines(cell, stub):
    """Does a code cell define a function or class that `stub` does?  Read by its lines: it may not be valid Python."""
    names = r"^(?:async +)?(?:def|class) +(\w+)"
    return cell.cell_type == "code" and bool(
        set(re.findall(names, cell.source, re.MULTILINE)) & set(re.findall(names, stub, re.MULTILINE)))


def _neutralise(cells, released):
    """Make what was written harmless; a cell as it was released keeps every byte, by which nbgrader knows it."""
    theirs = {(r.cell_type, r.source): r for r in released}
    ids = _box_ids(released)
    html = raw = dropped = 0
    for i, cell in enumerate(cells):
        r = theirs.get((cell.cell_type, cell.source))
        if r is not None or cell.cell_type == "code":
            cell.pop("attachments", None)
            if r is not None and "attachments" in r:
                cell.attachments = copy.deepcopy(r.attachments)
            continue
        cells[i] = neutral.cell(cell, ids)
        raw += cell.cell_type == "raw"
        html += cell.cell_type == "markdown" and cells[i].source != cell.source
        dropped += len(cell.get("attachments", ())) - len(cells[i].get("attachments", ()))
    if html:
        yield f"HTML in {html} text {'cell' if html == 1 else 'cells'} was made harmless"
    if raw:
        yield f"{raw} raw {'cell is' if raw == 1 else 'cells are'} shown as typed"
    if dropped:
        yield f"{dropped} {'attachment was' if dropped == 1 else 'attachments were'} dropped: no image or not readable"


def _box_ids(released):
    """The ids of the boxes that Formgrader has for scores and comments."""
    return {f"{_grade_id(r)}{end}" for r in released if _grade_id(r) for end in ("", "-comment", "_extra_credit")}


def _point_to_own_text(cells, released):
    """Let a person see an answer that stands in the wrong cell: nbgrader gives 0 to an unchanged one, unseen."""
    known = {r.id for r in released} | {r.source for r in released}
    own = [c for c in cells if c.cell_type != "code" and c.source.strip() and not known & {c.id, c.source}]
    written = {r.id: r for r in released if _grade_id(r) and is_grade(r) and is_solution(r)}
    for i, cell in enumerate(cells):
        if own and cell.id in written and cell.source == written[cell.id].source:
            noted = copy.deepcopy(cell)
            noted.source += (f"\n\n*Note for the grader: nothing was written here, but the notebook has "
                             f"{len(own)} text cell(s) of the student's own.*")
            cells[i] = neutral.cell(noted, _box_ids(released))
            yield f"{_grade_id(cell)} is unanswered, but there is text elsewhere; a note says so"


def _index(cells, cell):
    return next(i for i, c in enumerate(cells) if c is cell)


def _tags(cell):
    tags = cell.metadata.get("tags")
    return [t for t in tags if isinstance(t, str)] if isinstance(tags, list) else []


def _grade_id(cell):
    about = cell.metadata.get("nbgrader")
    name = about.get("grade_id") if isinstance(about, dict) else None
    return name if isinstance(name, str) else ""
