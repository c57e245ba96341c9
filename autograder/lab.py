"""Start JupyterLab on a folder, with nbgrader's extensions and jupytext, which come enabled."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def main(folder: str, *more: str) -> None:
    """Replace this process by JupyterLab on `folder`; `more` is passed on to it."""
    python = Path(sys.executable)
    os.environ["PATH"] = f"{python.parent}{os.pathsep}{os.environ.get('PATH', '')}"
    command = [str(python), "-m", "jupyterlab", folder, *more]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        command.append("--allow-root")  # Jupyter asks for it; containers often have no other user
    os.execv(command[0], command)


if __name__ == "__main__":
    main(*sys.argv[1:])
