"""nbgrader's Execute, replaced: what `autograder.run` made of a submission becomes its outputs.

nbgrader takes it by configuration (`Autograde.autograde_preprocessors`), so `autograder grade`,
`nbgrader autograde` and Formgrader's button all use it.
"""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from nbformat import NotebookNode
from nbgrader.preprocessors import NbGraderPreprocessor
from nbgrader.utils import is_grade
from traitlets import Enum, Float, Integer

from autograder.inside.lock_down import MB, Limits
from autograder.run import CELL_LIMIT, Job, run

LOGS = "logs"

_ran: dict[tuple[str, str], NotebookNode] = {}  # what was run elsewhere, by student and notebook


class ExecuteInRoom(NbGraderPreprocessor):
    """Runs a submission in a room, or takes over what was run for it already, and writes its log."""

    room = Enum(["warm", "cold", "none"], "warm", help=(
        "warm: kernels are forked from a process that has imported what notebooks import; cold: each is started "
        "afresh; none: no sandbox, students' code has all your rights.")).tag(config=True)
    timeout = Float(CELL_LIMIT, help="Seconds that a cell may take.").tag(config=True)
    memory = Integer(Limits.memory // MB, help="Megabytes that a submission may use.").tag(config=True)

    def preprocess(self, nb, resources):
        about = resources["nbgrader"]
        done = _ran.get((about["student"], about["notebook"]))
        if done is None or [c.source for c in done.cells] != [c.source for c in nb.cells]:
            start = time.monotonic()
            done = run(self.job(nb, about["assignment"], about["notebook"]))
            done.metadata.cnnlab.seconds = round(time.monotonic() - start, 2)
        done.metadata.cnnlab.repairs = list(nb.metadata.get("cnnlab", {}).get("repairs", []))
        for cell, outcome in zip(nb.cells, done.cells):
            if cell.cell_type == "code":
                cell.outputs, cell.execution_count = outcome.outputs, outcome.execution_count
                if is_grade(cell):
                    for output in cell.outputs:
                        if output.output_type == "stream":  # nbgrader gives 0 for anything on stderr
                            output.name = "stdout"
        nb.metadata["cnnlab"] = done.metadata.cnnlab
        _log(nb, about["student"], about["notebook"])
        return nb, resources

    def job(self, notebook: NotebookNode, assignment: str, slug: str, seed: int | None = None) -> Job:
        """What to run, with fresh hidden probes unless there is a seed.  Works in the course's folder."""
        return Job(notebook, slug, secrets.randbits(32) if seed is None else seed, self.room, self.timeout,
                   replace(Limits(), memory=self.memory * MB), _given(Path("release") / assignment))


@contextlib.contextmanager
def already_run(student: str, slug: str, notebook: NotebookNode) -> Iterator[None]:
    """In the block, nbgrader takes `notebook` for what running this submission gives."""
    _ran[student, slug] = notebook
    try:
        yield
    finally:
        del _ran[student, slug]


def _given(folder):
    """The files that come with an assignment, by name."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*"))
            if p.is_file() and p.suffix != ".ipynb" and not any(part.startswith(".") for part in p.parts)}


def _log(notebook, student, slug):
    """Add to the submission's log how it ran; nbgrader works in the course's folder."""
    about = notebook.metadata.cnnlab
    lines = [f"graded in {about.get('seconds', 0):g} s, room={about.room}, seed={about.seed}"]
    lines += [f"mended: {repair}" for repair in about.repairs]
    lines += [f"cell {i}: {o.evalue}" for i, c in enumerate(notebook.cells) for o in c.get("outputs", [])
              if o.output_type == "error" and o.ename in ("Stopped", "Ended", "NotRun")]
    lines += [f"{c.metadata.nbgrader.grade_id}: {o.metadata.cnnlab.ended}" for c in notebook.cells
              for o in c.get("outputs", [])[:1] if o.get("metadata", {}).get("cnnlab", {}).get("ended")]
    now = datetime.now(UTC).isoformat(timespec="seconds")
    path = Path(LOGS) / student / f"{slug}.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as log:
        log.writelines(f"{now} {line}\n" for line in lines)
