"""Give an exercise back as it was, and keep a copy of the work.

In JupyterLab the browser holds the notebook, and a cell can replace its own text only: so `reset` is called in the cell
of the exercise.  Where no browser has the notebook open, `python -m cnnlab reset` changes the file.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import sys
from datetime import datetime
from pathlib import Path

from cnnlab import environment, outline, overview, records
from cnnlab.notebook import quick


class ResetError(Exception):
    """Something a learner can mend, said in one sentence."""


def reset(exercise: str) -> None:
    """Give the stub of `exercise` back, in the cell that this is called from, if that is the exercise's own.

    What stood there, what was saved and what ran last are kept in `.cnnlab/kept/`.  Called elsewhere it shows the stub
    and says where to call it.  Raises ValueError if there is no such exercise.
    """
    about = outline.exercise(exercise)
    if quick():
        return
    call = f'import cnnlab; cnnlab.reset("{exercise}")'
    if not environment.in_kernel():
        print(f"Without a notebook around it, `reset` changes nothing; use `python -m cnnlab reset {exercise}`.")
        return
    from IPython import get_ipython

    shell = get_ipython()
    here, cell = records.home(Path.cwd()), shell.get_parent()
    running = cell.get("content", {}).get("code", "")
    is_own = (cell.get("metadata", {}).get("cellId") == exercise.replace("_", "-")  # as the build calls the cell
              or re.search(rf"^(def|class) {about.function}\b", running, re.MULTILINE))
    if not is_own:
        print(f"Nothing was changed, as a cell can replace its own text only. Write `{call}` into the cell "
              f"of `{about.function}`, in the place of what is there, and run it. This is what that cell will hold "
              f"again:\n\n{about.stub}")
        return
    file = records.notebook_file(here, about.slug)
    versions = {"as saved": _saved(file, about) if file else "",
                "as run last": records.source_of(shell.user_ns.get(about.function)),
                "in the cell": "\n".join(line for line in running.splitlines() if "reset(" not in line)}
    try:
        said = _said(keep(here, about, versions), here)
    except OSError as e:
        print(f"Nothing was changed, as your code cannot be kept in {here / records.FOLDER}: {e.strerror}.")
        return
    shell.set_next_input(about.stub, replace=True)
    print(f"This cell holds the stub of `{about.function}` again; run it once more. {said}")


def reset_file(exercise: str, file: Path) -> str:
    """Give the stub of `exercise` back in the notebook `file`, and say what was done.

    Raises ValueError if there is no such exercise, ResetError if `file` is not its notebook, OSError.
    """
    about = outline.exercise(exercise)
    try:
        text = file.read_text(encoding="utf-8")
        notebook = json.loads(text)
        cells = notebook["cells"]
        own = _cell(cells, about.id)
    except (ValueError, KeyError, TypeError, AttributeError) as e:
        raise ResetError(f"{file} cannot be read as a notebook.") from e
    if own is None:
        raise ResetError(f"{file} has no cell for `{exercise}`; its stub belongs into {about.slug}.ipynb.")
    home = records.home(file.parent)
    said = _said(keep(home, about, {"as saved": "".join(own["source"])}), home)
    backup = _free(home / records.FOLDER / "kept" / f"{file.stem}-{_now()}.ipynb")
    backup.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(file, backup)
    own |= {"source": about.stub.splitlines(keepends=True), "outputs": [], "execution_count": None}
    records.write(file, json.dumps(notebook, ensure_ascii=False, indent=1) + "\n" * text.endswith("\n"))
    return (f"The cell of `{about.function}` in {file} is the stub again. {said}\nIf the notebook is open in "
            "JupyterLab, choose File → Reload Notebook from Disk before you go on: what you had not saved there is then gone.")


def keep(home: Path, exercise: outline.Exercise, versions: dict[str, str]) -> Path | None:
    """Write what is no stub of `versions` (what each is: its code) to a file below `home`; None if there is nothing."""
    kept = {}
    for what, code in versions.items():
        code = code.rstrip()
        if code and code != exercise.stub and code not in kept.values():
            kept[what] = code
    if not kept:
        return None
    path = _free(home / records.FOLDER / "kept" / f"{exercise.id}-{_now()}.py")
    records.write(path, "\n\n\n".join(f"# {exercise.id}, {what}\n{code}" for what, code in kept.items()) + "\n")
    return path


def main(argv: list[str] | None = None) -> int:
    """`python -m cnnlab reset`.  Returns 0, or 2 if it could not be done."""
    parser = argparse.ArgumentParser(prog="python -m cnnlab reset", description=(
        "Give the cell of an exercise back as it was, in the notebook's file. The old file and the old code are kept "
        f"in {records.FOLDER}/kept beside the notebook."))
    parser.add_argument("exercise", help="the name from its check, such as brighten")
    parser.add_argument("notebook", nargs="?", type=Path, help="the file (default: found here or in work/)")
    asked = parser.parse_args(argv)
    try:
        slug = outline.exercise(asked.exercise).slug
        file = asked.notebook or records.notebook_file(overview.workplace(None), slug)
        if file is None:
            raise ResetError(f"There is no {slug}.ipynb here; name the file: "
                             f"python -m cnnlab reset {asked.exercise} FILE")
        overview.say(reset_file(asked.exercise, file))
    except (ValueError, ResetError) as e:
        overview.say(str(e), sys.stderr)
        return 2
    except OSError as e:
        overview.say(f"{e.filename}: {e.strerror}. The notebook was not changed.", sys.stderr)
        return 2
    return 0


def _saved(file, exercise):
    """The text of the exercise's cell in `file`, "" if it cannot be had."""
    try:
        cell = _cell(json.loads(file.read_text(encoding="utf-8"))["cells"], exercise.id)
        return "".join(cell["source"]) if cell else ""
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return ""


def _cell(cells, exercise):
    """The cell of the exercise, None if it is not there."""
    return next((c for c in cells if c["cell_type"] == "code"
                 and c["metadata"].get("nbgrader", {}).get("grade_id") == exercise), None)


def _said(kept, home):
    return f"Your code is kept in {kept.relative_to(home)}." if kept else "There was nothing of yours to keep."


def _now():
    return f"{datetime.now():%Y-%m-%d-%H%M%S}"


def _free(path):
    """`path`, or the first like it that is not there yet."""
    later = (path.with_stem(f"{path.stem}-{i}") for i in range(2, 1000))
    return path if not path.exists() else next(p for p in later if not p.exists())
