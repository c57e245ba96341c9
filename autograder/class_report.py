"""The report on a class: one HTML page with its scores, its exercises and what it misunderstood.

It reads the grade book and the graded notebooks of a course.  The page needs no network and no script.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import jinja2
import numpy as np
from markupsafe import Markup, escape
from nbgrader.api import Assignment, BaseCell, Grade, Student, SubmittedAssignment, SubmittedNotebook

from autograder.course import Course, Row, _write
from autograder.exercise import load_all
from autograder.export import waiting
from autograder.similar import pairs

FEWEST = 10  # students for a correlation; below that it is chance
LOW = 0.2  # discrimination worth a look: Ebel, Essentials of Educational Measurement, 1972
CODE_LINES, LINE = 25, 160
LONGEST = 200  # entries of a list
LAYERS = {"call": "call failed", "input": "input changed", "kind": "kind of result", "shape": "shape",
          "dtype": "dtype", "finite": "not finite", "values": "values"}
STOPPED = ("Stopped", "Ended")  # how the engine names the error of a cell that it stopped


@dataclass(frozen=True)
class Cell:
    """One graded cell: its name in the grade book, the exercise, the released code and the published solution."""

    name: str
    exercise: str
    written: bool
    points: float
    known: tuple[str, ...]


@dataclass
class Submission:
    """What a graded notebook says: by exercise what its check found and the student's code.

    happened: sentences on what ended in an unusual way; repairs: on what intake mended.
    """

    found: dict[str, dict] = field(default_factory=dict)
    code: dict[str, str] = field(default_factory=dict)
    room: str = ""
    happened: list[str] = field(default_factory=list)
    repairs: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Item:
    """A graded cell in the whole class.  mean: share of the points; each share is 0 to 1, None if unknown."""

    exercise: str
    written: bool
    points: float
    answers: int
    mean: float | None
    discrimination: float | None
    unfinished: float | None
    layers: list[tuple[str, float]]

    @property
    def low(self) -> bool:
        return self.discrimination is not None and self.discrimination < LOW


def write(course: Course, path: Path) -> Path:
    """Write the report on everything handed in to `course` to `path`, whole or not at all."""
    page = _environment().get_template("class_report.html").render(**gather(course))
    _write(path, page.encode("utf-8", "replace"))
    return path


def gather(course: Course) -> dict:
    """What the page shows, by the names that its template uses."""
    rows = course.rows()
    slugs = sorted({r.notebook for r in rows})
    graded = {(r.student, r.notebook): r for r in rows if r.score is not None}
    cells = {slug: _cells(course, slug) for slug in slugs}
    read = {pair: _read(course, *pair, cells[pair[1]]) for pair in graded}
    scores = _scores(course, graded)
    return dict(
        course=course.root.name, date=datetime.now().astimezone(), longest=LONGEST, low=LOW, fewest=FEWEST,
        students=sorted({r.student for r in rows}), rows={(r.student, r.notebook): r for r in rows},
        graded=graded, waiting=waiting(rows), notebooks=[_totals(slug, rows) for slug in slugs],
        rooms=Counter(s.room for s in read.values()), unsafe=sorted(p for p, s in read.items() if s.room == "none"),
        failed=[(r, _why(course, r)) for r in rows if r.score is None],
        items={slug: _items(cells[slug], scores[slug], {w: s for (w, n), s in read.items() if n == slug})
               for slug in slugs},
        **_misconceptions(read),
        attention=sorted(((*p, s) for p, s in read.items() if s.happened or s.repairs),
                         key=lambda a: (not a[2].happened, a[:2])),
        alike=_alike(cells, read))


def histogram(shares: list[float]) -> list[int]:
    """How many of `shares`, 0 to 1, lie in each tenth; 1 belongs to the last."""
    return np.histogram(np.clip(shares, 0, 1), bins=10, range=(0, 1))[0].tolist()


def discrimination(item: np.ndarray, others: np.ndarray) -> float | None:
    """Pearson's correlation of the scores of an item (N,) with the sum of the other items (N,).

    Without the item itself in the sum (the corrected item-total correlation), or an item would correlate with
    itself.  None for fewer than FEWEST students, or if all have the same.
    """
    if len(item) < FEWEST or np.ptp(item) == 0 or np.ptp(others) == 0:
        return None
    return float(np.corrcoef(item, others)[0, 1])


def _totals(slug, rows):
    """A notebook's name, maximum, and the distribution of the totals as shares of it."""
    own = [r for r in rows if r.notebook == slug]
    shares = [r.score / r.max_score for r in own if r.score is not None and r.max_score]
    return dict(slug=slug, number=slug.split("_")[0], most=max(r.max_score for r in own), count=len(shares),
                bins=histogram(shares), mean=np.mean(shares) if shares else None,
                median=np.median(shares) if shares else None)


def _cells(course, slug):
    """The graded cells of a notebook in order, from its source; all that were published of each as code."""
    source = _cells_of(course.root / "source" / slug / f"{slug}.ipynb")
    released = _cells_of(course.root / "release" / slug / f"{slug}.ipynb")
    cells = []
    for name, cell in source.items():
        if cell["metadata"]["nbgrader"].get("grade"):
            exercise = re.sub("^(check|written)_", "", name)
            known = [c[exercise]["source"] for c in (released, source) if exercise in c]
            points = float(cell["metadata"]["nbgrader"].get("points") or 0)
            cells.append(Cell(name, exercise, cell["cell_type"] == "markdown", points,
                              tuple("".join(k) for k in known)))
    return cells


def _cells_of(path):
    try:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    except OSError:
        return {}  # not released
    return {c["metadata"]["nbgrader"]["grade_id"]: c for c in cells if c["metadata"].get("nbgrader")}


def _read(course, student, slug, cells):
    """What the graded notebook of a submission says.  What older runs did not write down stays empty."""
    path = course.root / "autograded" / student / slug / f"{slug}.ipynb"
    try:
        notebook = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as e:
        return Submission(happened=[f"its graded notebook cannot be read ({e}); grade it again with `--force`."])
    about = _dict(notebook["metadata"].get("cnnlab"))
    submission = Submission(room=str(about.get("room", "")), repairs=_sentences(about.get("repairs")))
    graded = {c.name: c.exercise for c in cells}
    for cell in notebook["cells"]:
        name = _dict(cell["metadata"].get("nbgrader")).get("grade_id", "")
        outputs = cell.get("outputs", [])
        if name in graded:
            marks = [_dict(_dict(o.get("metadata")).get("cnnlab")) for o in outputs]
            found = submission.found[graded[name]] = next(filter(None, marks), {})
            if found.get("ended"):
                submission.happened.append(f"{graded[name]}: {found['ended']}")
        elif name in graded.values():
            submission.code[name] = "".join(cell["source"])
        submission.happened += [f"{name or 'a cell'}: {o['evalue']}" for o in outputs if o.get("ename") in STOPPED]
    return submission


def _scores(course, graded):
    """By notebook and name of the cell, the points by student; None where an answer waits for a grader."""
    scores = defaultdict(lambda: defaultdict(dict))
    with course.gradebook() as book:
        query = (book.db.query(Student.id, Assignment.name, BaseCell.name, Grade.score, Grade.needs_manual_grade)
                 .select_from(Grade).join(BaseCell, Grade.cell_id == BaseCell.id)
                 .join(SubmittedNotebook, Grade.notebook_id == SubmittedNotebook.id)
                 .join(SubmittedAssignment, SubmittedNotebook.assignment_id == SubmittedAssignment.id)
                 .join(Assignment, SubmittedAssignment.assignment_id == Assignment.id)
                 .join(Student, SubmittedAssignment.student_id == Student.id))
        for student, slug, cell, score, by_hand in query:
            if (student, slug) in graded:
                scores[slug][cell][student] = None if by_hand else score
    return scores


def _items(cells, scores, read):
    """Each graded cell of a notebook in the whole class.

    scores: by name of the cell and student; read: the Submission by student.
    """
    students = sorted(read)
    table = np.array([[scores[c.name].get(s) for c in cells] for s in students], dtype=float)  # (students, cells)
    table = table.reshape(len(students), len(cells))
    whole = ~np.isnan(table).any(axis=0)  # items without an answer that waits
    items = []
    for i, cell in enumerate(cells):
        scored = ~np.isnan(table[:, i])
        others = table[:, [j for j in range(len(cells)) if whole[j] and j != i]].sum(axis=1)
        mean = float(table[scored, i].mean() / cell.points) if scored.any() and cell.points else None
        found = [f for s in read.values() if (f := s.found.get(cell.exercise))]
        layers = Counter(f.get("layer") for f in found if not f.get("unfinished")) if found else {}
        items.append(Item(
            cell.exercise, cell.written, cell.points, int(scored.sum()), mean,
            discrimination(table[scored, i], others[scored]),
            sum(bool(f.get("unfinished")) for f in found) / len(found) if found else None,
            sorted(((LAYERS[k], n / len(found)) for k, n in layers.items() if k in LAYERS), key=lambda e: -e[1])))
    return items


def _misconceptions(read):
    """The mistakes with a name, the most frequent first, and how many wrong answers have none."""
    says = {(slug, e.id, m.name): m.says for slug, all_ in load_all().items() for e in all_ for m in e.mistakes}
    who, wrong = defaultdict(list), 0
    for (student, slug), submission in sorted(read.items()):
        for exercise, found in submission.found.items():
            wrong += bool(found.get("layer")) and not found.get("unfinished")
            if mistake := found.get("mistake"):
                who[slug, exercise, str(mistake)].append(student)
                says.setdefault((slug, exercise, mistake), str(found.get("says") or mistake))
    entries = []
    for key, students in sorted(who.items(), key=lambda entry: (-len(entry[1]), entry[0])):
        slug, exercise, mistake = key
        code = {s: read[s, slug].code.get(exercise, "") for s in students}
        example = min(students, key=lambda s: (not code[s].strip(), len(code[s]), s))  # the shortest is read soonest
        entries.append(dict(slug=slug, exercise=exercise, says=says[key], students=students, example=example,
                            code=cut(code[example])))
    return dict(misconceptions=entries, wrong=wrong, named=sum(len(e["students"]) for e in entries))


def _alike(cells, read):
    """Pairs of students with nearly the same code: ((notebook, a, b), {exercise: Pair}), the most of it first."""
    found = defaultdict(dict)
    for slug, own in cells.items():
        for cell in own:
            code = {who: submission.code[cell.exercise] for (who, notebook), submission in read.items()
                    if notebook == slug and cell.exercise in submission.code}
            for pair in pairs(code, cell.known):
                found[slug, pair.a, pair.b][cell.exercise] = pair
    return sorted(found.items(), key=lambda entry: (-sum(p.shared for p in entry[1].values()), entry[0]))


def cut(code: str) -> str:
    """At most CODE_LINES lines of `code`; what is left out is said."""
    lines = [line if len(line) <= LINE else f"{line[:LINE]} … and {len(line) - LINE} more characters"
             for line in code.strip("\n").splitlines()]
    more = [f"… and {len(lines) - CODE_LINES} more lines"] if len(lines) > CODE_LINES else []
    return "\n".join(lines[:CODE_LINES] + more)


def _why(course, row: Row):
    try:
        why = (course.root / ".graded" / row.student / f"{row.notebook}.why").read_text(encoding="utf-8")
        return " ".join(why.split())[:300]
    except OSError:
        return "not graded yet, or changed since it was."


def _dict(value):
    return value if isinstance(value, dict) else {}


def _sentences(value):
    return [str(s)[:300] for s in value] if isinstance(value, list) else []


def _with_code(sentence):
    """A sentence as HTML, with what stands between backticks as code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(sentence))))


def _environment():
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"), autoescape=True,
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"code": _with_code,
                            "percent": lambda share: "–" if share is None else f"{100 * share:.0f}\u00a0%",
                            "points": lambda value: f"{value:.2f}".rstrip("0").rstrip(".")}
    return environment
