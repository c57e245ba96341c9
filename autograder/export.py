"""Write the scores as CSV: our own columns, or what Canvas and Moodle import.

What the two platforms match by was read in their sources: Canvas's lib/gradebook_importer.rb; Moodle's
grade/import/csv/classes/load_data.php and mod/assign/feedback/offline/importgradeslib.php.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable
from pathlib import Path

from autograder.course import Row, _write

# What `collect` leaves of the names in the platforms' zips: NAME_12345.
NUMBERED = re.compile(r"(?P<name>.+)_(?P<number>\d+)")


def write(rows: list[Row], path: Path, format: str = "csv") -> list[str]:
    """Write `rows` to `path`, whole or not at all.  Returns sentences that the instructor has to know.

    format: "csv", "canvas", "moodle" (grade import) or "moodle-worksheet" (grades of one assignment).
    A submission that was not graded has no score, never 0.  Raises ValueError where `rows` do not fit `format`.
    """
    if format not in FORMATS:
        raise ValueError(f"there is no format {format!r}; choose from {', '.join(FORMATS)}.")
    lines, notes = FORMATS[format](rows)
    text = io.StringIO(newline="")
    csv.writer(text).writerows(lines)
    _write(path, text.getvalue().encode())
    return [*waiting(rows), *notes]


def waiting(rows: list[Row]) -> list[str]:
    """What the scores do not contain yet, in sentences."""
    notes = []
    if answers := sum(r.by_hand for r in rows):
        people = len({r.student for r in rows if r.by_hand})
        notes.append(f"{_many(answers, 'written answer')} by {_many(people, 'student')} still wait to be "
                     "graded by hand: those points are not in the scores.")
    if missing := sum(r.score is None for r in rows):
        notes.append(f"{_many(missing, 'submission')} not graded: the score is empty, not 0.")
    return notes


def _plain(rows):
    """student, notebook, score, max_score."""
    lines = [[_safe(r.student), _safe(r.notebook), _score(r), _number(r.max_score)] for r in rows]
    return [["student", "notebook", "score", "max_score"], *lines], []


def _canvas(rows):
    """A Canvas gradebook: one column per assignment, one line per student.

    Canvas looks for a student by ID, SIS User ID, SIS Login ID and name, in this order.  Its zips name the ID;
    a folder named by digits alone is taken for a SIS ID, any other for a login.
    """
    notebooks, students = _table(rows, lambda s: (_canvas_id(s) or s,))
    most = {r.notebook: _number(r.max_score) for r in rows}
    lines = [["Student", "ID", "SIS User ID", "SIS Login ID", "Section", *map(_safe, notebooks)],
             ["    Points Possible", "", "", "", "", *(most[n] for n in notebooks)]]
    for own in students.values():
        name = next(iter(own.values())).student
        number, sis = _canvas_id(name), name.isdecimal()
        ids = [number, name if sis else "", "" if number or sis else name]
        lines.append([_safe(name), *map(_safe, ids), "", *(_score(own.get(n)) for n in notebooks)])
    return lines, ["Canvas finds an assignment by its name, which has to be that of the notebook, and offers to make "
                   "those it does not have. An empty cell clears a score that Canvas has."]


def _canvas_id(student):
    found = NUMBERED.fullmatch(student)
    return found["number"] if found and len(found["number"]) > 2 else ""


def _moodle(rows):
    """Moodle's grade import: one column per notebook, a "-" where there is no grade, as in Moodle's own export.

    A line without a name would go to the student of the line above it, so no cell of the first column is empty.
    """
    notebooks, students = _table(rows, lambda s: (s,))
    most = ", ".join(f"{n} {_number(m)}" for n, m in sorted({r.notebook: r.max_score for r in rows}.items()))
    names = [s for s, in students]
    scores = [[_score(own.get(n)) or "-" for n in notebooks] for own in students.values()]
    if names and all(map(NUMBERED.fullmatch, names)):
        who = [[_safe(m["name"]), f"Participant {m['number']}"] for m in map(NUMBERED.fullmatch, names)]
        lines = [["Full name", "Identifier", *map(_safe, notebooks)], *(a + b for a, b in zip(who, scores))]
        return lines, ["Moodle's grade import knows people by username, ID number or email address only, and its zips "
                       "name none of these: add such a column, or export one notebook as moodle-worksheet."]
    column = ("Email address" if all("@" in n for n in names) else
              "ID number" if all(n.isdecimal() for n in names) else "Username")
    lines = [[column, *map(_safe, notebooks)], *([_safe(n), *own] for n, own in zip(names, scores))]
    return lines, [f"In Moodle, map from {column!r}. A new grade item gets 100 as its maximum; set it to: {most}."]


def _moodle_worksheet(rows):
    """The grading worksheet of a Moodle assignment, which Moodle matches by the number in its zip's names.

    The number belongs to one assignment, hence one notebook a file.  An empty grade changes nothing in Moodle.
    """
    slugs = {r.notebook for r in rows}
    if len(slugs) != 1:
        raise ValueError(f"moodle-worksheet holds one notebook; choose one of {', '.join(sorted(slugs)) or 'none'}.")
    if strange := [r.student for r in rows if not NUMBERED.fullmatch(r.student)]:
        raise ValueError("moodle-worksheet needs the numbers that Moodle's zip puts after the names, as in "
                         f"'Ada Lovelace_12345'; {', '.join(map(repr, strange[:5]))} has none.")
    lines = [["Identifier", "Full name", "Grade", "Maximum Grade", "Last modified (grade)"]]
    for r, m in ((r, NUMBERED.fullmatch(r.student)) for r in rows):
        lines.append([f"Participant {m['number']}", _safe(m["name"]), _score(r), _number(r.max_score), "-"])
    return lines, ["Upload it in the assignment, with Moodle in English, as its grading worksheet; to replace grades, "
                   "allow updating records that were modified more recently in Moodle. The assignment's maximum has "
                   f"to be {_number(max(r.max_score for r in rows))}."]


FORMATS: dict[str, Callable] = {
    "csv": _plain, "canvas": _canvas, "moodle": _moodle, "moodle-worksheet": _moodle_worksheet}


def _table(rows, key):
    """The notebooks in order, and for each student, by `key` of the name, the rows by notebook."""
    students = {}
    for r in sorted(rows, key=lambda r: (r.student, r.notebook)):
        own = students.setdefault(key(r.student), {})
        if r.notebook in own:
            raise ValueError(f"{own[r.notebook].student!r} and {r.student!r} are one person to Canvas, and both have "
                             f"{r.notebook}; remove one of the two in submitted/.")
        own[r.notebook] = r
    return sorted({r.notebook for r in rows}), students


def _score(row):
    return "" if row is None or row.score is None else _number(row.score)


def _number(value):
    """Without an exponent or a separator of thousands, which importers misread."""
    return f"{value:.4f}".rstrip("0").rstrip(".")


def _safe(text):
    """Text that no spreadsheet takes for a formula.

    `collect` lets no such name in, but nbgrader and an instructor may have put a folder into submitted/.
    """
    return f"'{text}" if text[:1] in tuple("=+-@\t\r") else text


def _many(count, what):
    return f"{count} {what}{'s' * (count != 1)}"
