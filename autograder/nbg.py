"""nbgrader's own converters, called in this process with the configuration of a course."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

from nbgrader.coursedir import CourseDirectory
from traitlets.config import Config

# nbgrader runs `alembic` by name when it makes a gradebook; it lies beside this Python.
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])

# A cell that has not answered by then never will; a check stops each call after 5 s itself.
CELL_TIMEOUT = 20


def config(root: Path, course_id: str = "cnnlab") -> Config:
    """The configuration every nbgrader tool uses in the course at `root`."""
    c = Config()
    c.CourseDirectory.root = str(root)
    c.CourseDirectory.course_id = course_id
    c.ClearSolutions.text_stub = "*Write your answer here.*"
    c.OverwriteCells.add_missing_cells = True
    c.OverwriteCells.missing_cell_notification = "This graded cell was missing and has been put back.\n\n"
    c.Execute.timeout = CELL_TIMEOUT
    c.Execute.shutdown_kernel = "immediate"
    c.Execute.error_on_timeout = {
        "ename": "CellTimeoutError", "evalue": "",
        "traceback": [f"Stopped: this cell ran for more than {CELL_TIMEOUT} seconds, probably a loop "
                      "that never ends."]}
    return c


def convert(converter: type, settings: Config, assignment: str, student: str = "*",
            force: bool = True) -> None:
    """Run an nbgrader converter on one assignment.

    Raises NbGraderException, with nbgrader's own explanation, if it fails.
    """
    from nbgrader.converters.base import NbGraderException

    settings = settings.copy()
    settings.CourseDirectory.assignment_id = assignment
    settings.CourseDirectory.student_id = student
    tool = converter(coursedir=CourseDirectory(config=settings), config=settings)
    tool.force = force
    heard = _Listener()
    tool.log = heard.logger
    try:
        tool.start()
    except NbGraderException as e:
        raise NbGraderException("\n".join(heard.errors) or str(e)) from e


class _Listener(logging.Handler):
    """Collects what nbgrader logs as errors, instead of printing everything it does."""

    def __init__(self):
        super().__init__(logging.ERROR)
        self.errors = []
        self.logger = logging.Logger("nbgrader", logging.ERROR)
        self.logger.addHandler(self)

    def emit(self, record):
        self.errors.append(record.getMessage())
