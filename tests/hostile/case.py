"""A case of the corpus, and how it becomes the files that a student hands in."""

from __future__ import annotations

import copy
import textwrap
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell

START, CONVOLUTION = "00_start_here", "02_convolution"

RIGHT = "def brighten(image, amount):\n    return np.clip(image + amount, 0, 1)\n"
WRONG = "def brighten(image, amount):\n    return image * 0 + 0.123\n"

Notebook = nbformat.NotebookNode
Fill = Callable[[str], str]


@dataclass(frozen=True)
class World:
    """Where a run takes place.  Payloads are told all of it: an attacker may know the grader's machine.

    base holds course/, home/ and outside/; port and socket (abstract) have listeners that nobody may reach.
    """

    base: Path
    repo: Path
    port: int
    socket: str

    @property
    def course(self) -> Path:
        return self.base / "course"

    @property
    def home(self) -> Path:
        return self.base / "home"

    def filler(self, case: Case) -> Fill:
        """A function that puts this world's places in the text of a payload."""
        places = {"@MARK@": case.mark, "@COURSE@": str(self.course), "@HOME@": str(self.home),
                  "@OUT@": str(self.base / "outside"), "@REPO@": str(self.repo), "@PORT@": str(self.port),
                  "@SOCKET@": self.socket, "@STUDENT@": case.name}

        def fill(text):
            for name, value in places.items():
                text = text.replace(name, value)
            return text
        return fill


@dataclass(frozen=True)
class Case:
    """One submission.

    code: the source of the cell `exercise`, or None to leave the stub.
    make(notebook, fill): changes the notebook in place, or returns the bytes to hand in instead.
    place(folder, fill): writes other files into the submission's folder, after the notebook.
    deserved: the points its honest content is worth; None for all points of the notebook.
    stock: the graded cell in the comparison with stock nbgrader: "check", or "assert" for attacks on the
        assertions and hidden tests that nbgrader's documentation shows.
    full: hand in every other exercise solved.
    """

    name: str
    kind: str
    what: str
    code: str | None = None
    make: Callable[[Notebook, Fill], bytes | None] | None = None
    place: Callable[[Path, Fill], None] | None = None
    slug: str = START
    exercise: str = "brighten"
    deserved: float | None = 0.0
    stock: str = "check"
    full: bool = False
    files: dict[str, str] = field(default_factory=dict)

    @property
    def mark(self) -> str:
        """What its files, processes and messages are recognised by, wherever they turn up."""
        return f"hx{zlib.crc32(self.name.encode()):08x}"


def attack(name: str, what: str, code: str | None = "", **how) -> Case:
    """A case that deserves nothing: a wrong answer first, then the payload."""
    if code is not None and how.get("slug", START) == START:
        code = WRONG + textwrap.dedent(code)
    elif code is not None:
        code = textwrap.dedent(code).lstrip()
    return Case(name, "attack", what, code, **how)


def honest(name: str, what: str, code: str = RIGHT, **how) -> Case:
    """A case that deserves full points."""
    return Case(name, "honest", what, textwrap.dedent(code).lstrip("\n"), **({"deserved": None} | how))


def build(case: Case, released: Notebook, fill: Fill, solved: dict[str, str] | None = None) -> Notebook | bytes:
    """What the student of `case` hands in for the notebook `released`.

    solved: the source of every solution cell, by grade_id, for a case that hands in the rest solved.
    """
    notebook = cut(released)
    for one in notebook.cells:
        if case.full and solved and (source := solved.get(grade_id(one))):
            one.source = source
    if case.code is not None:
        cell(notebook, case.exercise).source = fill(case.code).rstrip("\n")
    raw = case.make(notebook, fill) if case.make else None
    return notebook if raw is None else raw


def write(case: Case, content: Notebook | bytes, folder: Path, fill: Fill) -> None:
    """Write what `build` made into a submission's folder, as a student's upload would arrive there."""
    folder.mkdir(parents=True)
    path = folder / f"{case.slug}.ipynb"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:  # not nbformat.write: it repairs and validates
        path.write_text(_dumps(content), encoding="utf-8")
    for name, text in case.files.items():
        other = folder / fill(name)
        other.parent.mkdir(parents=True, exist_ok=True)
        other.write_text(fill(textwrap.dedent(text)), encoding="utf-8")
    if case.place:
        case.place(folder, fill)


def _dumps(notebook):
    try:
        return nbformat.writes(notebook)
    except Exception:  # noqa: BLE001  a notebook that nbformat does not want to write is meant to be one
        import json

        return json.dumps(notebook, ensure_ascii=False)


def cut(released: Notebook) -> Notebook:
    """The notebook without what no exercise needs, so that a case takes a second: a student may delete it."""
    notebook = copy.deepcopy(released)
    imports = next(c for c in notebook.cells if c.cell_type == "code")
    notebook.cells = [c for c in notebook.cells if c is imports or grade_id(c)]
    return notebook


def grade_id(one: Notebook) -> str:
    return one.metadata.get("nbgrader", {}).get("grade_id", "")


def cell(notebook: Notebook, name: str) -> Notebook:
    """The cell with this grade_id."""
    (found,) = [c for c in notebook.cells if grade_id(c) == name]
    return found


def add(notebook: Notebook, source: str, before: str = "", after: str = "") -> Notebook:
    """A new code cell before or after the cell with that grade_id, or at the end."""
    new = new_code_cell(textwrap.dedent(source).strip("\n"))
    if before or after:
        at = notebook.cells.index(cell(notebook, before or after)) + bool(after)
        notebook.cells.insert(at, new)
    else:
        notebook.cells.append(new)
    return new
