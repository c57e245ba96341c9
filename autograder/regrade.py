"""Grade a notebook again after its exercises were corrected: first show whose score changes, then write."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from pathlib import Path

import nbformat
from nbgrader.api import MissingEntry
from nbgrader.utils import determine_grade, is_grade

from autograder import build
from autograder.course import Course, CourseError, Graded
from autograder.exercise import load_all
from autograder.workers import run_all


@dataclass(frozen=True)
class Move:
    """One student's points for one exercise, before and after."""

    student: str
    exercise: str
    before: float
    after: float


class Regrade:
    """The graded submissions of one notebook, run again with the exercises as they are now.

    Each with the seed it was graded with, so that only what was corrected changes.  Used in a `with` statement.
    """

    def __init__(self, course: Course, slug: str, workers: int | None = None, room: str = "",
                 pool: Callable[[], Executor] | None = None):
        """Raises CourseError if the notebook has no exercises of the course, or no room can be made."""
        entries = load_all().get(slug)
        if not entries:
            raise CourseError(f"{slug} has no exercises of this course; `autograder grade --force {slug}` grades "
                              "it again.")
        self.course, self.slug, self.pool = course, slug, pool
        self.workers = workers or os.cpu_count()
        course.prepare_rooms(room)
        self.released = nbformat.reads(build.release({slug: entries})[slug], as_version=4)
        self.points_changed = _points(self.released) != _points(course.released(slug))
        self.moves: list[Move] = []

    def __enter__(self) -> Regrade:
        self._folder = tempfile.TemporaryDirectory(prefix="cnnlab-")
        return self

    def __exit__(self, *error) -> None:
        self._folder.cleanup()

    def run(self) -> Iterator[Graded]:
        """Run every graded submission and find the moves.  Writes nothing in the course."""
        graded = [(s, n) for s, n in self.course.submissions([self.slug], []) if self.course.is_graded(s, n)]
        jobs = ((student, self._job(student)) for student, _ in graded)
        with self.course.gradebook() as book:
            for student, ran in run_all(jobs, self.workers, self.pool):
                if isinstance(ran, str):
                    yield Graded(student, self.slug, "failed", ran)
                    continue
                nbformat.write(ran, self._kept(student))
                self.moves += self._compare(book, student, ran)
                yield Graded(student, self.slug, "run")
        self.moves.sort(key=lambda m: (m.student, m.exercise))

    def write(self) -> Iterator[Graded]:
        """Bring the course's notebook up to date and enter the new scores."""
        source = build.source_notebooks({self.slug: load_all()[self.slug]})[self.slug]
        nbformat.write(source, self.course.root / "source" / self.slug / f"{self.slug}.ipynb")
        self.course.release([self.slug])
        for path in sorted(Path(self._folder.name).iterdir()):
            yield self.course.record(path.stem, self.slug, nbformat.read(path, as_version=4))

    def _job(self, student):
        seed = self.course.autograded(student, self.slug).metadata.get("cnnlab", {}).get("seed")
        submission = self.course.job(student, self.slug, seed)
        return submission if isinstance(submission, str) else replace(
            submission, job=replace(submission.job, notebook=self.released))

    def _kept(self, student):
        return Path(self._folder.name) / f"{student}.ipynb"

    def _compare(self, book, student, ran):
        for cell in ran.cells:
            if is_grade(cell) and not cell.metadata.nbgrader.solution:
                name = cell.metadata.nbgrader.grade_id
                try:
                    grade = book.find_grade(name, self.slug, self.slug, student)
                except MissingEntry:
                    continue
                after, before = determine_grade(cell)[0] or 0.0, grade.auto_score or 0.0
                if grade.manual_score is None and after != before:
                    yield Move(student, name.removeprefix("check_"), before, after)


def _points(notebook):
    return {c.metadata.nbgrader.grade_id: c.metadata.nbgrader.points for c in notebook.cells if is_grade(c)}
