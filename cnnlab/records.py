"""What passed and when: a small file for each exercise, in `.cnnlab/progress/` beside the notebooks.

Beside the work, so that it moves, is copied and is deleted with it, and two copies of the course do not mix.  A file
for each exercise, so that notebooks that are open side by side never wait for one another or lose what another wrote.
Nothing is noted while nbgrader grades, nor where the exercise's notebook is not there.
"""

from __future__ import annotations

import ast
import json
import linecache
import os
import tempfile
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cnnlab import calls, outline, report
from cnnlab.notebook import quick

FOLDER = ".cnnlab"
DEFINITIONS = (ast.FunctionDef, ast.ClassDef)

_complained: set[str] = set()  # what was said already since the kernel started


@dataclass(frozen=True)
class Record:
    """The last time a check passed.

    code: the function as it was then, "" if it could not be had.
    failed: when the check failed after that, if it did.
    """

    exercise: str
    passed: datetime
    code: str
    failed: datetime | None = None


def home(folder: Path) -> Path:
    """The folder of the notebooks for somebody who works in `folder`.

    nbgrader gives each notebook a folder of its own name; then it is the one above these.
    """
    folder = folder.resolve()
    return folder.parent if folder.name in {n.slug for n in outline.notebooks()} else folder


def notebook_file(home: Path, slug: str) -> Path | None:
    """Where the notebook `slug` is, if it is there."""
    return next((p for p in (home / f"{slug}.ipynb", home / slug / f"{slug}.ipynb") if p.is_file()), None)


def remember(exercise: str, answer, passed: bool) -> None:
    """Note that the check of `exercise` passed, or failed after it had passed.

    Only what the check in the notebook would be given counts: the function of the exercise's name, in a kernel.
    Prints one sentence, once, if it cannot be noted; raises nothing.
    """
    try:
        if quick() or not report.in_jupyter():
            return
        from IPython import get_ipython

        about, here = outline.exercise(exercise), home(Path.cwd())
        if get_ipython().user_ns.get(about.function) is answer and notebook_file(here, about.slug):
            note(here, exercise, source_of(answer), passed)
    except Exception as e:  # noqa: BLE001  a full disk or an odd function must not disturb a check
        why = getattr(e, "strerror", None) or type(e).__name__
        if why not in _complained:
            print(f"Your progress could not be noted in {FOLDER}: {why}. The check itself is not affected.")
            _complained.add(why)


def note(home: Path, exercise: str, code: str, passed: bool) -> None:
    """Write the record of `exercise` below `home`.  Raises OSError."""
    good, bad = _files(home, exercise)
    now = datetime.now().astimezone().isoformat()
    if passed:
        points = outline.exercise(exercise).points
        write(good, json.dumps({"exercise": exercise, "points": points, "passed": now, "code": code},
                               ensure_ascii=False, indent=1) + "\n")
        bad.unlink(missing_ok=True)
    elif good.exists():  # a file of its own: rewriting the other could undo what another notebook writes just then
        write(bad, json.dumps({"exercise": exercise, "failed": now}) + "\n")


def read(home: Path, exercise: str) -> Record | None:
    """The record of `exercise`, None if there is none.  Raises ValueError if it is damaged, OSError if not readable."""
    good, bad = _files(home, exercise)
    if not good.exists():
        return None
    try:
        data = json.loads(good.read_text(encoding="utf-8"))
        passed, code, failed = datetime.fromisoformat(data["passed"]).astimezone(), data["code"], None
        if code:
            (_,) = ast.parse(code).body
        if bad.exists():
            failed = datetime.fromisoformat(json.loads(bad.read_text(encoding="utf-8"))["failed"]).astimezone()
    except (ValueError, SyntaxError, LookupError, TypeError, AttributeError, RecursionError) as e:
        raise ValueError(f"{FOLDER}/{good.parent.name}/{good.name} is damaged") from e
    return Record(exercise, passed, code, failed if failed and failed > passed else None)


def write(path: Path, text: str) -> None:
    """Write `text` to `path`: whoever reads it, and whatever crashes, finds the old text or the new one, whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    number, part = tempfile.mkstemp(dir=path.parent, prefix=f"{path.name}.")
    try:
        with open(number, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            os.chmod(part, path.stat().st_mode & 0o777)
        os.replace(part, path)
    except BaseException:
        os.unlink(part)
        raise


def source_of(answer) -> str:
    """The text of a function, kernel or class, as its cell had it; "" if it cannot be had.

    inspect.getsource finds no class of a notebook before Python 3.13.
    """
    for code in calls.codes(answer):
        text = "".join(linecache.getlines(code.co_filename))
        if found := definition(text, answer.__name__):
            return found
    return ""


def definition(text: str, name: str) -> str:
    """The text of the last function or class called `name` at the top of the program `text`, or ""."""
    try:
        found = [node for node in ast.parse(text).body if isinstance(node, DEFINITIONS) and node.name == name]
    except (SyntaxError, ValueError):  # ValueError: a null byte
        return ""
    if not found:
        return ""
    first = min([found[-1].lineno, *(d.lineno for d in found[-1].decorator_list)])
    return "\n".join(text.splitlines()[first - 1:found[-1].end_lineno])


def _files(home, exercise):
    folder = home / FOLDER / "progress"
    return folder / f"{exercise}.json", folder / f"{exercise}.failed"
