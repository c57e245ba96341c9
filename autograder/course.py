"""A course instance: an ordinary nbgrader course directory, made, filled, graded and read here.

    source/ release/ submitted/ autograded/ feedback/   as in any nbgrader course
    gradebook.db  nbgrader_config.py  logs/  .graded/
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import chdir, suppress
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import nbformat
from nbgrader.api import Assignment, Grade, Gradebook, MissingEntry, Notebook, SubmittedAssignment, SubmittedNotebook
from nbgrader.converters import Autograde, GenerateAssignment, GenerateFeedback
from nbgrader.converters.base import NbGraderException
from nbgrader.utils import is_grade, is_locked
from sqlalchemy import case, func, select
from traitlets.config import Config

from autograder import nbg
from autograder.build import source_notebooks
from autograder.collect import Collected, found_notebooks
from autograder.execute import ExecuteInRoom, already_run
from autograder.exercise import load_all
from autograder.handed_in import read
from autograder.sandbox.room import obstacle
from autograder.workers import Submission, run_all

CONFIG = '''"""An nbgrader configuration, made by `autograder init`.  Add your own settings at the end."""
from pathlib import Path

from autograder.nbg import config

c = get_config()
c.merge(config(Path(__file__).parent))
'''


class CourseError(Exception):
    """Something the instructor has to know or do; the message is one sentence for them."""


@dataclass(frozen=True)
class Graded:
    """What became of one submission: `state` is a word, such as "graded" or "failed"; `why` a sentence.

    repairs: what was mended before it could be graded.
    """

    student: str
    notebook: str
    state: str
    why: str = ""
    repairs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Row:
    """One line of the grade book.  score is None for a submission that was never graded.

    by_hand: how many written answers still wait for a grader.
    """

    student: str
    notebook: str
    score: float | None
    max_score: float
    by_hand: int = 0


@dataclass(frozen=True)
class Course:
    """The course instance in the folder `root`."""

    root: Path

    @classmethod
    def open(cls, root: Path) -> Course:
        """The course in `root`.  Raises CourseError if there is none."""
        if not (root / "nbgrader_config.py").is_file():
            raise CourseError(f"{root} is not a course: it has no nbgrader_config.py. "
                              f"Make one with `autograder init {root}`.")
        return cls(root.resolve())

    @classmethod
    def init(cls, root: Path) -> Course:
        """Make a course in `root`, or bring its sources up to date if it is one already.

        Raises CourseError if `root` holds something else.
        """
        if root.is_file() or (root.is_dir() and any(root.iterdir())
                              and not (root / "nbgrader_config.py").is_file()):
            raise CourseError(f"{root} exists and is not a course; give a new or empty folder.")
        root.mkdir(parents=True, exist_ok=True)
        if not (root / "nbgrader_config.py").exists():
            (root / "nbgrader_config.py").write_text(CONFIG, encoding="utf-8")
        for slug, notebook in source_notebooks(load_all()).items():
            place = root / "source" / slug
            place.mkdir(parents=True, exist_ok=True)
            nbformat.write(notebook, place / f"{slug}.ipynb")
        return cls(root.resolve())

    def notebooks(self) -> list[str]:
        """The notebooks of this course, in order."""
        return sorted(p.name for p in (self.root / "source").iterdir() if p.is_dir())

    def chosen(self, names: list[str]) -> list[str]:
        """The notebooks meant by `names`: a slug or its number; all if empty.  Raises CourseError."""
        found = []
        for name in names:
            fits = [s for s in self.notebooks() if s == name or s.split("_")[0] == name.zfill(2)]
            if not fits:
                raise CourseError(f"There is no notebook {name!r}; this course has "
                                  f"{', '.join(self.notebooks())}.")
            found += fits
        return found or self.notebooks()

    @cached_property
    def settings(self) -> Config:
        """nbgrader's configuration of this course, from its nbgrader_config.py."""
        return nbg.load(self.root)

    def gradebook(self) -> Gradebook:
        """nbgrader's grade book, to be used in a `with` statement."""
        return Gradebook(self.settings.CourseDirectory.db_url)

    def release(self, names: list[str]) -> list[Path]:
        """Generate the student version of each notebook with nbgrader and enter it in the grade book."""
        for slug in names:
            nbg.convert(GenerateAssignment, self.settings, slug)
        with self.gradebook() as book:
            nbg.add_indexes(book)
        return [self.root / "release" / slug / f"{slug}.ipynb" for slug in names]

    def collect(self, path: Path) -> Iterator[Collected]:
        """Copy the notebooks found in a folder or zip into submitted/, and say what was done with each."""
        for item in found_notebooks(path, self.notebooks()):
            if item.problem:
                yield item
                continue
            target = self._submitted(item.student, item.notebook)
            if target.is_file() and target.read_bytes() == item.content:
                yield item.with_note("unchanged")
                continue
            note = "replaced" if target.is_file() else "new"
            target.parent.mkdir(parents=True, exist_ok=True)
            _write(target, item.content)
            _write(target.parent / "timestamp.txt", f"{item.time:%Y-%m-%d %H:%M:%S} UTC".encode())
            yield item.with_note(note)

    def submissions(self, names: list[str], students: list[str]) -> list[tuple[str, str]]:
        """(student, notebook) of all that was handed in, for the notebooks and students asked for."""
        submitted = self.root / "submitted"
        asked = [submitted / s for s in students] or (submitted.iterdir() if submitted.is_dir() else [])
        pairs = sorted((folder.name, slug) for folder in asked for slug in names if (folder / slug).is_dir())
        unknown = set(students) - {s for s, _ in pairs}
        if unknown:
            raise CourseError(f"No submission from {', '.join(sorted(unknown))}.")
        return pairs

    def grade(self, pairs: list[tuple[str, str]], force: bool = False, workers: int | None = None,
              room: str = "", pool: Callable[[], Executor] | None = None) -> Iterator[Graded]:
        """Grade each (student, notebook); one that fails does not stop the next.

        They are run by workers, many at a time, and entered in the grade book by this process alone.
        workers: how many, by default as many as there are cores.  room: as in ExecuteInRoom, whose setting it
        replaces.  pool: makes an executor to run them, such as a cluster's.  Raises CourseError if no room can
        be made.
        """
        self.prepare_rooms(room)
        with self.gradebook() as book:
            known = {a.name for a in book.assignments}
        if missing := sorted({n for _, n in pairs} - known):
            self.release(missing)
        unchanged = set() if force else {p for p in pairs if self.is_graded(*p)}
        todo = [p for p in pairs if p not in unchanged]
        yield from (Graded(*p, "unchanged") for p in pairs if p in unchanged)
        workers = 1 if len(todo) < 2 else workers or os.cpu_count()
        for pair, ran in run_all(((p, self.job(*p)) for p in todo), workers, pool):
            yield self.record(*pair, ran)

    def prepare_rooms(self, room: str = "") -> None:
        """Make `room` the setting of this course, if given.  Raises CourseError if no such room can be made."""
        if room:
            self.settings.ExecuteInRoom.room = room
        if ExecuteInRoom(config=self.settings).room != "none" and (why := obstacle()):
            raise CourseError(why)

    def job(self, student: str, slug: str, seed: int | None = None) -> Submission | str:
        """A submission ready to be run, with fresh hidden probes or those of `seed`; or why it cannot be."""
        try:
            content = read(self._submitted(student, slug))
        except ValueError as e:
            return str(e)
        with chdir(self.root):
            job = ExecuteInRoom(config=self.settings).job(self.released(slug), slug, slug, seed)
        return Submission(content, job)

    def released(self, slug: str) -> nbformat.NotebookNode:
        """The student version of a notebook as it is graded: with the hidden tests of an instructor's own."""
        paths = [self.root / step / slug / f"{slug}.ipynb" for step in ("release", "source")]
        return _with_hidden_tests(*paths, *(path.stat().st_mtime_ns for path in paths))

    def autograded(self, student: str, slug: str) -> nbformat.NotebookNode:
        """A graded submission, with its outputs."""
        return nbformat.read(self.root / "autograded" / student / slug / f"{slug}.ipynb", as_version=4)

    def record(self, student: str, slug: str, ran: nbformat.NotebookNode | str) -> Graded:
        """Enter in the grade book what running a submission gave: a notebook, or why there is none."""
        with open(self.root / ".lock", "w") as lock:  # two commands at once would delete each other's files
            fcntl.flock(lock, fcntl.LOCK_EX)
            return self._enter(student, slug, ran)

    def _enter(self, student, slug, ran):
        mark, why = self._mark(student, slug), ran if isinstance(ran, str) else ""
        mark.unlink(missing_ok=True)
        try:
            if not why:
                with already_run(student, slug, ran):
                    nbg.convert(Autograde, self.settings, slug, student)
                if not self.is_graded(student, slug):  # nbgrader swallows what goes wrong in its last step
                    why = f"{mark} could not be written."
        except Exception as e:  # noqa: BLE001  whatever a submission holds, the class goes on
            why = str(e) if isinstance(e, NbGraderException) else f"{type(e).__name__}: {e}"
        with suppress(OSError):
            mark.parent.mkdir(parents=True, exist_ok=True)
            _note(mark.with_suffix(".why"), why)
        if why:
            return Graded(student, slug, "failed", why)
        return Graded(student, slug, "graded", "", tuple(ran.metadata.cnnlab.get("repairs", [])))

    def feedback(self, names: list[str]) -> Iterator[Graded]:
        """Write nbgrader's HTML feedback for everything graded; say for each whether it went well."""
        for student, slug in self.submissions(names, []):
            if self.is_graded(student, slug):
                try:
                    nbg.convert(GenerateFeedback, self.settings, slug, student)
                    yield Graded(student, slug, "written")
                except NbGraderException as e:
                    yield Graded(student, slug, "failed", str(e))

    def feedback_page(self, student: str, slug: str) -> Path:
        """Where the feedback on a submission is written."""
        return self.root / "feedback" / student / slug / f"{slug}.html"

    def rows(self) -> list[Row]:
        """The grade book: one row for each notebook that each student handed in."""
        rows = []
        with self.gradebook() as book:
            recorded = _recorded(book)
            most = {slug: self._max_score(book, slug) for slug in self.notebooks()}
        for student, slug in self.submissions(self.notebooks(), []):
            if (student, slug) in recorded and self.is_graded(student, slug):
                score, penalty, by_hand = recorded[student, slug]
                rows.append(Row(student, slug, max(0.0, score - (penalty or 0)), most[slug], by_hand))
            else:
                rows.append(Row(student, slug, None, most[slug]))
        return rows

    def unsafe(self, rows: list[Row]) -> str:
        """A warning if submissions in `rows` were graded without a sandbox, or ""."""
        count = sum((self.root / ".graded" / r.student / f"{r.notebook}.unsafe").exists() for r in rows)
        return (f"Warning: {count} of {len(rows)} submissions were graded with --unsafe-no-sandbox: their code ran with "
                "your rights." if count else "")

    def is_graded(self, student: str, slug: str) -> bool:
        """Was exactly this submission graded, to the end?

        nbgrader writes autograded/ before it runs and records anything, so that alone proves nothing.
        """
        mark, submitted = self._mark(student, slug), self._submitted(student, slug)
        return (mark.is_file() and submitted.is_file() and mark.read_text() == _fingerprint(submitted)
                and (self.root / "autograded" / student / slug / f"{slug}.ipynb").is_file())

    def _submitted(self, student, slug):
        return self.root / "submitted" / student / slug / f"{slug}.ipynb"

    def _mark(self, student, slug):
        return self.root / ".graded" / student / slug

    @staticmethod
    def _max_score(book, slug):
        try:
            return book.find_notebook(slug, slug).max_score
        except MissingEntry:
            return 0.0


@cache
def _with_hidden_tests(release, source, *changed):
    """The released notebook with the locked tests of its source; made once for each time a file is changed."""
    released, source = (nbformat.read(path, as_version=4) for path in (release, source))
    tests = {c.metadata.nbgrader.grade_id: c.source for c in source.cells if is_locked(c) and is_grade(c)}
    for cell in released.cells:
        if is_locked(cell) and is_grade(cell):
            cell.source = tests.get(cell.metadata.nbgrader.grade_id, cell.source)
    return released


def _recorded(book):
    """{(student, notebook): (score, late penalty, answers that wait for a grader)}, in one query.

    nbgrader's own objects would ask the data base several times for each.
    """
    query = (select(SubmittedAssignment.student_id, Notebook.name, func.sum(Grade.score),
                    SubmittedNotebook.late_submission_penalty, func.sum(case((Grade.needs_manual_grade, 1), else_=0)))
             .join(SubmittedNotebook, SubmittedNotebook.assignment_id == SubmittedAssignment.id)
             .join(Notebook, Notebook.id == SubmittedNotebook.notebook_id)
             .join(Assignment, Assignment.id == SubmittedAssignment.assignment_id)
             .join(Grade, Grade.notebook_id == SubmittedNotebook.id)
             .where(Notebook.name == Assignment.name)
             .group_by(SubmittedAssignment.student_id, Notebook.name, SubmittedNotebook.late_submission_penalty))
    return {(student, slug): rest for student, slug, *rest in book.db.execute(query)}


def mark_graded(assignment: str, student: str, notebooks: list[str]) -> None:
    """Remember that submissions were graded to the end.

    nbgrader calls it last (Autograde.post_convert_hook), in the course's folder, whoever started it.
    notebooks: paths such as submitted/ann/02_convolution/02_convolution.ipynb.
    """
    course = Course(Path.cwd())
    for notebook in map(Path, notebooks):
        slug, name = notebook.parent.name, notebook.parent.parent.name
        mark = course._mark(name, slug)
        mark.parent.mkdir(parents=True, exist_ok=True)
        about = course.autograded(name, slug).metadata.get("cnnlab", {})
        _note(mark.with_suffix(".unsafe"), "no sandbox" if about.get("room") == "none" else "")
        _write(mark, _fingerprint(notebook).encode())


def _note(path, text):
    """Keep `text` in a file; none if there is nothing to say."""
    if text:
        _write(path, text.encode())
    else:
        path.unlink(missing_ok=True)


def _fingerprint(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _write(path, content):
    """Write a file at once: whoever looks finds the old one or the new one, whole."""
    if path.is_dir():
        raise CourseError(f"{path} is a folder; give the name of a file.")
    partial = path.with_name(path.name + ".partial")
    try:
        partial.write_bytes(content)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def remove(root: Path) -> None:
    """Delete a course instance and everything in it.  nbgrader write-protects what it graded."""
    for path in root.rglob("*"):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() else 0o644)
    shutil.rmtree(root)
