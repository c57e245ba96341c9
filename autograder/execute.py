"""nbgrader's Execute, with hidden probes in force while it runs a submission.

nbgrader takes it by configuration (`Autograde.autograde_preprocessors`), so `autograder grade`,
`nbgrader autograde` and Formgrader's button all use it.
"""

from __future__ import annotations

import json
import os
import secrets
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from jupyter_client.manager import KernelManager
from nbformat import NotebookNode
from nbformat.v4 import new_output
from nbgrader.preprocessors import Execute
from nbgrader.utils import is_grade, setenv

from autograder import sources
from autograder.exercise import draw_hidden, load_all
from cnnlab.checks import HIDDEN
from cnnlab.probes import to_json

LOG = "grading.log"


class ExecuteWithHiddenProbes(Execute):
    """Draws probes from a fresh seed for each submission, and writes the seed to grading.log.

    They lie in a private temporary folder that `check` is pointed to and that is gone afterwards.
    The outputs of graded cells are then settled, so that nbgrader reads the right score from them.
    """

    def create_kernel_manager(self):
        return with_private_sockets(super().create_kernel_manager(), self.private_folder)

    def preprocess(self, nb, resources, km=None):
        about = resources["nbgrader"]
        seed = secrets.randbits(32)
        with tempfile.TemporaryDirectory(prefix="cnnlab-") as folder:
            self.private_folder = folder
            write_hidden_probes(about["notebook"], seed, Path(folder))
            with setenv(**{HIDDEN: folder}):
                done = super().preprocess(nb, resources, km)
        # Only our checks: an instructor's own test cell passes by printing nothing, as nbgrader has it.
        checks = {f"check_{exercise.id}" for exercise in load_all().get(about["notebook"], [])}
        for cell in done[0].cells:
            if is_grade(cell) and cell.metadata.nbgrader.grade_id in checks:
                settle_outputs(cell)
        with open(LOG, "a", encoding="utf-8") as log:  # nbgrader works in the course's folder
            now = datetime.now(UTC).isoformat(timespec="seconds")
            print(now, about["student"], about["notebook"], f"seed={seed}", file=log)
        return done


def settle_outputs(cell: NotebookNode) -> None:
    """Leave no doubt to nbgrader about the score of a graded cell that was run.

    nbgrader gives 0 if anything was written to stderr, and all points if there is no number.
    """
    for output in cell.outputs:
        if output.output_type == "stream":
            output.name = "stdout"
    if not any(o.output_type == "error" for o in cell.outputs) and not _has_score(cell):
        cell.outputs.insert(0, new_output("error", ename="NoScore", evalue="", traceback=[
            "No points: the check did not answer with a score. Is `check` still the function imported from "
            "cnnlab, or has another cell given this name to something else?"]))


def _has_score(cell):
    """Is the first result, which is the one nbgrader takes, a number from 0 to the points of the cell?"""
    results = [o for o in cell.outputs if o.output_type == "execute_result"]
    try:
        return 0 <= float(results[0].data["text/plain"]) <= cell.metadata.nbgrader.points
    except (IndexError, KeyError, ValueError):
        return False


def with_private_sockets(manager: KernelManager, folder: str) -> KernelManager:
    """Let the kernel of `manager` listen on sockets in `folder` instead of TCP ports.

    Free ports, which Jupyter takes by default, are now and then taken twice when kernels start side by
    side, and other users of the machine could reach them.
    """
    if os.name == "posix":
        manager.transport, manager.ip = "ipc", os.path.join(folder, "kernel")
    return manager


def write_hidden_probes(slug: str, seed: int, folder: Path) -> None:
    """Write hidden probes for the exercises of notebook `slug` to `folder`; the same seed, the same probes."""
    for exercise in load_all().get(slug, []):  # none for a notebook that the instructor added
        drawn = draw_hidden(exercise, sources.function_name(slug, exercise.id), seed)
        if drawn:
            (folder / f"{exercise.id}.json").write_text(json.dumps(to_json(drawn)), encoding="utf-8")
