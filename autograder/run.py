"""Run a submission: a notebook goes in, the same notebook with outputs and scores comes out.

Nothing else is read or written, so it can be done by any process on any machine.  The student's cells run in a
room (autograder.sandbox).  The graded cells, `check("id", function)`, do not: this process calls the student's
function by value and compares here, out of its reach.
"""

from __future__ import annotations

import atexit
import functools
import re
import time
from dataclasses import dataclass, field

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_output
from nbgrader.utils import is_grade

from autograder.exercise import draw_hidden, load_all, ship
from autograder.inside.lock_down import Limits
from autograder.kernel_text import kernel_text
from autograder.sandbox.kernel import Ended, Kernel
from autograder.sandbox.nursery import Nursery
from autograder.sandbox.room import SandboxError, Spec
from cnnlab import report
from cnnlab.checks import Verdict, blame_callee, judge
from cnnlab.compare import Difference

CELL_LIMIT = 10  # seconds.  The slowest cell of the course takes about one; a check ends earlier by itself.
NOTEBOOK_LIMIT = 240  # seconds for all cells of a notebook, those that are run again included
RESTARTS = 8  # of a kernel that ended, in one notebook
OUTPUT_LIMIT = 20_000_000  # characters of all outputs of a notebook, pictures included
OVER = "Not run: the cells before it took the {limit:g} seconds that a notebook may take."


@dataclass(frozen=True)
class Job:
    """One submission to run.

    notebook: as intake and nbgrader's sanitising leave it.  slug: its name in the course.
    seed: of the hidden probes.  room: "warm", "cold" or "none" (no sandbox at all).
    files: what the assignment brings along, by name.
    """

    notebook: NotebookNode
    slug: str
    seed: int
    room: str = "warm"
    cell_limit: float = CELL_LIMIT
    limits: Limits = Limits()
    files: dict[str, bytes] = field(default_factory=dict)


def run(job: Job) -> NotebookNode:
    """The notebook of `job` with the outputs of every cell; those of graded cells hold the score.

    Raises SandboxError if no room can be made.
    """
    notebook = nbformat.from_dict(job.notebook)
    entries = {f"check_{e.id}": e for e in load_all().get(job.slug, [])}
    forbidden = tuple(sorted(set.intersection(*(set(e.forbidden) for e in entries.values())) if entries else ()))
    with _Run(job, Spec(job.limits, forbidden, job.files)) as running:
        for number, cell in enumerate(notebook.cells):
            if cell.cell_type != "code":
                continue
            name = cell.metadata.nbgrader.grade_id if is_grade(cell) else ""
            if name in entries:
                running.check(cell, entries[name], notebook.cells[:number])
            else:
                running.execute(cell)
    notebook.metadata["cnnlab"] = {"seed": job.seed, "room": running.room}
    return notebook


class _Run:
    """A notebook that is being run: its kernel, and what to do again if that ends."""

    def __init__(self, job: Job, spec: Spec):
        self.job, self.spec = job, spec
        self.done: list[str] = []  # sources of the cells that ran, to be run again in a new kernel
        self.failing: set[str] = set()
        self.restarts = self.output = 0
        self.end = time.monotonic() + NOTEBOOK_LIMIT
        uses_torch = any("torch" in cell.source for cell in job.notebook.cells)
        self.without = spec.forbidden if uses_torch else tuple(sorted({*spec.forbidden, "torch", "triton"}))
        self.room, self.kernel = _start(job.room, spec, self.without)
        self.clean: Kernel | None = None  # where kernels in Triton run, without anything else of the student's

    def __enter__(self):
        return self

    def __exit__(self, *error):
        for kernel in (self.kernel, self.clean):
            if kernel:
                kernel.close()

    def execute(self, cell: NotebookNode) -> None:
        """Run a cell of the student's in the room.  One that ends the kernel is left out from then on."""
        cell.execution_count, cell.outputs = None, []
        if why := self._not_now():
            cell.outputs = [_stop("NotRun", why)]
            return
        try:
            ran = self.kernel.execute(cell.source, self._time())
        except Ended as e:
            cell.outputs = [_stop("Ended", f"{e} The cells after it were run without it.")]
            self._restart()
            return
        cell.execution_count = ran.count
        cell.outputs = [_stop("Stopped", ran.stopped)] if ran.stopped else self._kept(ran.outputs)
        self.done.append(cell.source)

    def check(self, cell: NotebookNode, exercise, before: list[NotebookNode]) -> None:
        """Judge an exercise from out here and write the score as the output of its graded cell.

        before: the cells above it.
        """
        cell.execution_count = None  # it was not executed, and the kernel did not count it
        shipped = _shipped(exercise.id, _function(cell.source))
        ended = self._not_now()
        if ended:
            verdict = Verdict(shipped, (), 0.0, None, "", "", dict.fromkeys((p.part for p in shipped.probes), False))
            cell.outputs = [_stop("NotRun", ended)]
        else:
            hidden = draw_hidden(exercise, shipped.function, self.job.seed)
            callee = self._clean_room(before, shipped.function) if shipped.probes[0].grid else _InRoom(self.kernel)
            verdict = blame_callee(judge(shipped, callee, hidden.probes if hidden else ()), callee, self.failing)
            ended = callee.ended
            if ended:  # whatever it earned before: what it does to Python, it would do in a student's hands
                verdict = Verdict(shipped, verdict.outcomes, 0.0, verdict.shown, "", "", dict.fromkeys(verdict.parts, False))
                if callee.kernel is self.clean:
                    self.clean.close()
                    self.clean = None
                else:
                    self._restart()
            cell.outputs = [new_output("execute_result", data={
                "text/plain": repr(float(verdict.score)), "text/html": report.html(verdict)})]
        cell.outputs[0].setdefault("metadata", NotebookNode())["cnnlab"] = _facts(verdict, ended)

    def _clean_room(self, before, function):
        """The Triton kernel `function` of the cells `before`, in a room where nothing but such kernels ever ran."""
        source, problem = kernel_text(before, function)
        if not problem:
            if self.clean is None:
                _, self.clean = _start(self.job.room, self.spec, self.without)
            self.clean.execute(source, self._time())
        return _InRoom(self.clean, problem)

    def _kept(self, outputs):
        """The outputs of a cell, as long as those of the notebook are not too much to be shown."""
        self.output += sum(len(str(o)) for o in outputs)
        if self.output <= OUTPUT_LIMIT:
            return outputs
        return [new_output("stream", name="stdout", text="[Left out: this notebook's outputs are too large to be shown.]\n")]

    def _not_now(self):
        if time.monotonic() > self.end:
            return OVER.format(limit=NOTEBOOK_LIMIT)
        if self.kernel is None:
            return f"Not run: Python was ended {RESTARTS} times in this notebook, and was not started again."
        return ""

    def _time(self):
        return max(1.0, min(self.job.cell_limit, self.end - time.monotonic()))

    def _restart(self):
        """A new kernel in a new room, in which the cells that went well are run again."""
        self.kernel.close()
        self.kernel = None
        while self.restarts < RESTARTS and time.monotonic() < self.end and self.kernel is None:
            self.restarts += 1
            self.room, self.kernel = _start(self.job.room, self.spec, self.without)
            for source in list(self.done):
                if time.monotonic() > self.end:
                    break
                try:
                    self.kernel.execute(source, self._time())
                except Ended:
                    self.done.remove(source)  # went well once: it may have counted its runs
                    self.kernel.close()
                    self.kernel = None
                    break


class _InRoom:
    """A function in a room, as a Callee.  problem: what stands against it from the start.  ended: how it ended the kernel."""

    def __init__(self, kernel: Kernel | None, problem: str = ""):
        self.kernel, self._problem, self._uses, self._target, self.ended = kernel, problem, (), None, ""

    def complaint(self, exercise, function, parameters, probes):
        if self._problem:
            return self._problem
        self._target = {"name": function}
        try:
            says, self._uses = self.kernel.look(exercise, function, parameters, probes)
        except Ended as e:
            says = self.ended = str(e)
        return says

    def call(self, probe, limit, forbidden=()):
        reply = self.kernel.call(self._target, probe, limit, forbidden)
        if reply.failure and reply.failure.kind == "ended":
            self.ended = reply.failure.says
        return reply

    def uses(self):
        return self._uses


def _start(room: str, spec: Spec, without: tuple[str, ...]) -> tuple[str, Kernel]:
    """A kernel, warm if asked for and possible, and which it became.  without: what a warm process need not import."""
    if room == "none":
        return room, Kernel(spec, fenced=False)
    if room == "warm":
        try:
            return room, Kernel(spec, _nursery(without))
        except SandboxError:
            _nursery.cache_clear()
    return "cold", Kernel(spec)


@functools.cache
def _nursery(without):
    """One for all submissions that this process runs."""
    nursery = Nursery(without)
    atexit.register(nursery.close)
    return nursery


@functools.cache
def _shipped(exercise: str, function: str):
    (entry,) = [e for entries in load_all().values() for e in entries if e.id == exercise]
    return ship(entry, function)


def _function(source):
    """The function that a graded cell checks; the cell is as released."""
    return re.fullmatch(r'check\("\w+", (\w+)\)', source.strip())[1]


def _stop(name, sentence):
    return new_output("error", ename=name, evalue=sentence, traceback=[sentence])


def _facts(verdict, ended):
    """What the class report wants to know, as data."""
    shown = verdict.shown
    difference = shown.difference if shown else Difference("", "")
    return NotebookNode(mistake=verdict.mistake, layer=difference.layer, says=verdict.cause or difference.message,
                        unfinished=bool(shown and shown.unfinished), ended=ended)
