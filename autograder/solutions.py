"""Executed solution notebooks in build/solutions, for instructors to read and show."""

from __future__ import annotations

import os
import sys
import tempfile

import nbformat
from jupyter_client.manager import KernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from rich.progress import track

from autograder import sources
from autograder.build import source_notebooks
from autograder.exercise import load_all
from cnnlab.widgets.shown import STILL

FOLDER = sources.ROOT / "build" / "solutions"


def main() -> int:
    """Execute every solution notebook and write it.  Returns 1 if a cell failed."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    failed = []
    for slug, notebook in track(source_notebooks(load_all()).items(), "running the solutions"):
        try:
            execute(notebook)
        except CellExecutionError as e:
            failed.append(f"{slug}: {e.ename}: {e.evalue}")
        nbformat.write(notebook, FOLDER / f"{slug}.ipynb")
    print("\n".join(failed) or f"The executed solutions are in {FOLDER}.")
    return 1 if failed else 0


def execute(notebook: nbformat.NotebookNode, allow_errors: bool = False) -> nbformat.NotebookNode:
    """Run `notebook` in place, top to bottom.

    Raises CellExecutionError if a cell fails, unless allow_errors.
    """
    client = NotebookClient(notebook, timeout=120, kernel_name="python3", allow_errors=allow_errors)
    with tempfile.TemporaryDirectory(prefix="cnnlab-") as folder:
        _use_private_sockets(client.create_kernel_manager(), folder)
        return client.execute(env=os.environ | {STILL: "1"})


def _use_private_sockets(manager: KernelManager, folder: str) -> None:
    """Let the kernel of `manager` listen on sockets in `folder` instead of TCP ports.

    Free ports, which Jupyter takes by default, are now and then taken twice when kernels start side by side.
    """
    if os.name == "posix":
        manager.transport, manager.ip = "ipc", os.path.join(folder, "kernel")


if __name__ == "__main__":
    sys.exit(main())
