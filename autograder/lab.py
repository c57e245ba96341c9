"""Start JupyterLab on a folder, with nbgrader's extensions and jupytext, which come enabled."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from autograder.build import NOTEBOOKS


def main(folder: str, *more: str) -> None:
    """Replace this process by JupyterLab on `folder`; `more` is passed on to it."""
    python = Path(sys.executable)
    os.environ["PATH"] = f"{python.parent}{os.pathsep}{os.environ.get('PATH', '')}"
    command = [str(python), "-m", "jupyterlab", folder, *more]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        command.append("--allow-root")  # Jupyter asks for it; containers often have no other user
    os.execv(command[0], command)


def fill(folder: Path) -> list[Path]:
    """Copy the student notebooks that `folder` does not have yet; return the copies.

    What is there is somebody's work and stays as it is.
    """
    folder.mkdir(exist_ok=True)
    missing = [n for n in sorted(NOTEBOOKS.glob("*.ipynb")) if not (folder / n.name).exists()]
    return [Path(shutil.copy(n, folder)) for n in missing]


if __name__ == "__main__":
    fill(Path(sys.argv[1]))
    main(*sys.argv[1:])
