"""`python -m cnnlab lab`: JupyterLab on copies of the student notebooks, which are theirs and never overwritten."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

from cnnlab import environment

NOTEBOOKS = next((p for p in (environment.ROOT / "notebooks", Path(__file__).parent / "notebooks") if p.is_dir()), None)


def start(folder: str, *more: str) -> int:
    """Run JupyterLab on `folder`; `more` is passed on to it.  On Unix it replaces this process."""
    python = Path(sys.executable)
    os.environ["PATH"] = _before(str(python.parent), os.environ.get("PATH"))  # for nbgrader's commands
    if NOTEBOOKS == environment.ROOT / "notebooks":  # what was unpacked there is not installed
        os.environ["PYTHONPATH"] = _before(str(environment.ROOT), os.environ.get("PYTHONPATH"))
    command = [str(python), "-m", "jupyterlab", folder, *more]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        command.append("--allow-root")  # Jupyter asks for it; containers often have no other user
    if sys.platform == "win32":  # exec there gives the terminal back while the server runs
        return subprocess.call(command)
    os.execv(command[0], command)


def fill(folder: Path) -> list[Path]:
    """Copy the student notebooks that `folder` does not have yet; return the copies.

    What is there is somebody's work and stays as it is.  Raises OSError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    missing = [n for n in sorted(NOTEBOOKS.glob("*.ipynb")) if not (folder / n.name).exists()]
    return [Path(shutil.copy(n, folder)) for n in missing]


def main(argv: list[str] | None = None) -> int:
    """`python -m cnnlab lab`.  Returns JupyterLab's exit code, or 2 if it could not be started."""
    parser = argparse.ArgumentParser(prog="python -m cnnlab lab", description=(
        "Copy the notebooks to a folder, those that it does not have yet, and open JupyterLab there."))
    parser.add_argument("folder", nargs="?", type=Path, default=Path("work"), help="default: work")
    asked, more = parser.parse_known_args(argv)
    if NOTEBOOKS is None:
        print("This cnnlab came without the notebooks; open JupyterLab on your own.", file=sys.stderr)
        return 2
    if not environment.is_there("jupyterlab"):
        print(f"JupyterLab is missing: {environment.pip('jupyterlab')}", file=sys.stderr)
        return 2
    try:
        fill(asked.folder)
    except OSError as e:
        print(f"{e.filename}: {e.strerror}; name another folder: python -m cnnlab lab FOLDER", file=sys.stderr)
        return 2
    return start(str(asked.folder), *more)


def _before(first, others):
    return first + (os.pathsep + others if others else "")
