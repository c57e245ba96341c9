"""nbgrader's own converters, called in this process with the configuration of a course."""

from __future__ import annotations

import functools
import logging
import os
import re
import sys
import warnings
from pathlib import Path

import nbgrader.api
import sqlalchemy
from nbgrader.converters import Autograde, GenerateFeedback
from nbgrader.converters.base import NbGraderException
from nbgrader.coursedir import CourseDirectory
from nbgrader.preprocessors import Execute
from sqlalchemy import URL
from sqlalchemy.dialects import registry
from traitlets.config import Config, PyFileConfigLoader

# nbgrader runs `alembic` by name when it makes a gradebook; it lies beside this Python.
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
# `postgresql://` means the driver that the extra `postgres` installs, whichever SQLAlchemy's release prefers.
registry.register("postgresql", "sqlalchemy.dialects.postgresql.psycopg2", "dialect")
# nbgrader opens the grade book nine times for each submission; an engine of its own each time would compile every
# query anew, a third of the time that recording takes.  A closed engine connects again when it is used again.
nbgrader.api.create_engine = functools.cache(nbgrader.api.create_engine)
# What nbgrader's grade book logs it also raises; without a handler Python would print it.
logging.getLogger("tornado.application").addHandler(logging.NullHandler())

# nbgrader looks up what belongs to a submission, its tables are keyed the other way round.
INDEXES = {"grade": "notebook_id", "comment": "notebook_id", "submitted_notebook": "assignment_id",
           "submitted_assignment": "student_id", "base_cell": "notebook_id"}


def load(root: Path) -> Config:
    """The configuration of the course at `root`, with what its instructor added."""
    return PyFileConfigLoader("nbgrader_config.py", path=str(root)).load_config()


def config(root: Path) -> Config:
    """What every course is configured with; its nbgrader_config.py starts from this."""
    c = Config()
    c.CourseDirectory.root = str(root)
    c.CourseDirectory.course_id = "cnnlab"
    # A writer waits for another for up to a minute.
    c.CourseDirectory.db_url = URL.create("sqlite", database=str(root / "gradebook.db"),
                                          query={"timeout": "60"}).render_as_string()
    c.ClearSolutions.text_stub = "*Write your answer here.*"
    c.Autograde.sanitize_preprocessors = [
        "autograder.intake.RestoreCells", *map(_name, Autograde.sanitize_preprocessors.default(None))]
    # Our Execute in place of nbgrader's; what comes before and after it stays nbgrader's.
    c.Autograde.autograde_preprocessors = [
        "autograder.execute.ExecuteInRoom" if p is Execute else _name(p)
        for p in Autograde.autograde_preprocessors.default(None)]
    c.Autograde.post_convert_hook = "autograder.course.mark_graded"
    c.GenerateFeedback.preprocessors = [
        "nbgrader.preprocessors.ClearHiddenTests", *map(_name, GenerateFeedback.preprocessors.default(None))]
    # What lies in templates/formgrade replaces parts of Formgrader's page; that of the feedback stays nbgrader's.
    c.HTMLExporter.extra_template_basedirs = [
        str(Path(__file__).parent / "templates"),
        str(Path(nbgrader.__file__).parent / "server_extensions" / "formgrader" / "templates")]
    return c


def add_indexes(book: nbgrader.api.Gradebook) -> None:
    """Give the grade book the indexes without which each submission costs more than the one before."""
    for table, column in INDEXES.items():
        book.db.execute(sqlalchemy.text(f"CREATE INDEX IF NOT EXISTS cnnlab_{table}_{column} ON {table} ({column})"))
    book.db.commit()


def convert(converter: type, settings: Config, assignment: str, student: str = "*") -> None:
    """Run an nbgrader converter on one assignment, replacing what it made before.

    Raises NbGraderException if it fails; the message is the cause in one line.
    """
    settings = settings.copy()
    settings.CourseDirectory.assignment_id = assignment
    settings.CourseDirectory.student_id = student
    tool = converter(coursedir=CourseDirectory(config=settings), config=settings)
    tool.force = True
    heard = _Listener()
    tool.log = heard.logger
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # nbgrader's own, about its use of SQLAlchemy and nbformat
            tool.start()
    except NbGraderException as e:
        raise NbGraderException(_cause("\n".join([*heard.errors, str(e)]))) from e


def _name(preprocessor):
    return f"{preprocessor.__module__}.{preprocessor.__name__}"


def _cause(text):
    """The line of a traceback that says what went wrong: the last that names an exception."""
    named = re.findall(r"^(?:\w+\.)*(\w*(?:Error|Exception|Invalid\w*): .+)$", text, re.MULTILINE)
    return named[-1] if named else text.strip().splitlines()[-1]


class _Listener(logging.Handler):
    """Collects what nbgrader logs as errors, instead of printing everything it does."""

    def __init__(self):
        super().__init__(logging.ERROR)
        self.errors = []
        self.logger = logging.Logger("nbgrader", logging.ERROR)
        self.logger.addHandler(self)

    def emit(self, record):
        self.errors.append(record.getMessage())
