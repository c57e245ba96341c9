"""Every notebook runs: solutions to the end, student versions up to the first unfinished exercise."""

import nbformat
import pytest

from autograder import build, sources
from autograder.exercise import load_all
from autograder.solutions import execute

SLUGS = sources.slugs()


def outputs(cell, kind):
    return [o for o in cell.get("outputs", []) if o.output_type == kind]


@pytest.mark.parametrize("slug", SLUGS)
def test_the_solution_runs_to_the_end_with_all_points_and_no_warning(slug, monkeypatch):
    monkeypatch.setenv("PYTHONWARNINGS", "error::UserWarning,error::DeprecationWarning:__main__")
    notebook = execute(build.source_notebooks({slug: load_all()[slug]})[slug])
    for cell in notebook.cells:
        stderr = [o.text for o in outputs(cell, "stream") if o.name == "stderr"]
        assert not stderr, f"{cell.source}\n{stderr}"
        about = cell.metadata.get("nbgrader", {})
        if about.get("grade") and cell.cell_type == "code":
            (result,) = outputs(cell, "execute_result")
            assert float(result.data["text/plain"]) == about["points"], cell.source


@pytest.mark.parametrize("slug", SLUGS)
def test_the_student_version_runs_to_its_first_unfinished_exercise_and_says_so_kindly(slug):
    notebook = nbformat.read(build.NOTEBOOKS / f"{slug}.ipynb", as_version=4)
    execute(notebook, allow_errors=True)
    stops = [o for cell in notebook.cells for o in outputs(cell, "error")]
    for stop in stops:
        assert len(stop.traceback) == 1 and "is not written" in stop.traceback[0], stop
    checks = [o.data for cell in notebook.cells if cell.metadata.get("nbgrader", {}).get("locked")
              for o in outputs(cell, "execute_result")]
    assert len(checks) == len(load_all()[slug])
    for data in checks:
        assert float(data["text/plain"]) == 0
        assert "not written yet" in data["text/html"]


def test_a_check_whose_function_is_missing_says_what_to_run():
    notebook = nbformat.read(build.NOTEBOOKS / "00_start_here.ipynb", as_version=4)
    notebook.cells = [c for c in notebook.cells if c.id != "brighten"]
    execute(notebook, allow_errors=True)
    (check,) = [c for c in notebook.cells if c.id == "check-brighten"]
    (stop,) = outputs(check, "error")
    assert stop.traceback == ["`brighten` is not defined. Run the cell that defines it, above this one; "
                              "if that cell is gone, write the function again under this name."]
