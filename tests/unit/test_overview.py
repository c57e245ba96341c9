"""The overview shows what passed, what changed since, and what comes next, and says where there is nothing to show."""

import json
import os
import subprocess
import sys
import time

import nbformat
import pytest

import cnnlab
from autograder import build, sources
from autograder.lab import fill
from cnnlab import outline, overview, records
from cnnlab.overview import look, next_state, page, text

BRIGHTEN = "def brighten(image, amount):\n    return np.clip(image + amount, 0, 1)"


@pytest.fixture
def work(tmp_path):
    """A folder with every notebook of the course."""
    fill(tmp_path)
    return tmp_path


def save(work, exercise, code):
    """Write `code` into the exercise's cell of the notebook, as saved a second from now."""
    path = work / f"{outline.exercise(exercise).slug}.ipynb"
    notebook = nbformat.read(path, as_version=4)
    (cell,) = [c for c in notebook.cells if c.metadata.get("nbgrader", {}).get("grade_id") == exercise]
    cell.source = code
    nbformat.write(notebook, path)
    os.utime(path, (time.time() + 1,) * 2)


def shown(work, only=None):
    return text(overview.Overview(look(work), only and outline.notebook(only)))


def test_the_outline_is_that_of_the_student_notebooks():
    assert [n.slug for n in outline.notebooks()] == sources.slugs()
    for n in outline.notebooks():
        notebook = nbformat.read(build.NOTEBOOKS / f"{n.slug}.ipynb", as_version=4)
        assert notebook.cells[0].source.splitlines()[0] == f"# {n.number} {n.title}"
        marked = {c.metadata.nbgrader.grade_id: c for c in notebook.cells if "nbgrader" in c.metadata}
        assert [e.id for e in n.exercises] == sources.exercise_ids(n.slug)
        for e in n.exercises:
            assert e.stub == marked[e.id].source and "raise NotImplementedError()" in e.stub
            assert e.points == marked[f"check_{e.id}"].metadata.nbgrader.points
            assert marked[f"check_{e.id}"].source == f'check("{e.id}", {e.function})'
            assert records.definition(e.stub, e.function)


def test_with_nothing_done_the_first_exercise_comes_next(work):
    said = shown(work)
    assert "00  Start here" in said and "0 of 1  ○" in said and "✓" not in said
    assert said.endswith("Next: `brighten`, in `00_start_here.ipynb`.")


def test_what_passed_is_ticked_and_dated_and_the_next_one_follows(work):
    records.note(work, "brighten", BRIGHTEN, True)
    save(work, "brighten", BRIGHTEN)
    said = shown(work)
    assert "1 of 1  ✓" in said
    first = outline.notebooks()[1].exercises[0].id
    assert said.endswith(f"Next: `{first}`, in `01_why_convolution.ipynb`.")
    assert "✓ brighten   1 point  passed on " in shown(work, "00")


def test_who_began_later_goes_on_there_and_comes_back_to_the_start_at_the_end(work):
    *_, last = outline.notebooks()
    for e in last.exercises[1:]:
        records.note(work, e.id, "", True)
    assert next_state(look(work)).exercise == last.exercises[0]
    records.note(work, last.exercises[0].id, "", True)
    assert next_state(look(work)).exercise.id == "brighten"


def test_when_all_has_passed_nothing_is_next(work):
    for n in outline.notebooks():
        for e in n.exercises:
            records.note(work, e.id, "", True)
    assert next_state(look(work)) is None and "Every exercise of the course has passed." in shown(work)


@pytest.mark.parametrize("code", [
    BRIGHTEN, BRIGHTEN + "\n\nprint('tried')", "# a note of mine\n" + BRIGHTEN.replace("return", "return  ")])
def test_what_stands_there_as_it_passed_stays_passed(work, code):
    records.note(work, "brighten", BRIGHTEN, True)
    save(work, "brighten", code)
    assert look(work)["00_start_here"][0].mark == "passed"


@pytest.mark.parametrize("code", [
    BRIGHTEN.replace("+", "-"), "def brighten(image", "", outline.exercise("brighten").stub])
def test_what_was_changed_after_it_passed_says_so_and_comes_next(work, code):
    records.note(work, "brighten", BRIGHTEN, True)
    save(work, "brighten", code)
    said = shown(work)
    assert "0 of 1  ~" in said and "since it passed, marked ~: `brighten` (00)." in said
    assert "; changed since" in shown(work, "00")
    assert said.endswith("Next: `brighten`, in `00_start_here.ipynb`.")


def test_what_passed_and_was_not_saved_yet_is_no_change(work):
    assert "raise NotImplementedError()" in (work / "00_start_here.ipynb").read_text()
    records.note(work, "brighten", BRIGHTEN, True)
    assert look(work)["00_start_here"][0].mark == "passed"


def test_a_check_that_failed_after_it_passed_is_told(work):
    records.note(work, "brighten", BRIGHTEN, True)
    save(work, "brighten", BRIGHTEN)
    records.note(work, "brighten", BRIGHTEN, False)
    assert "its check failed on" in shown(work, "00") and "0 of 1  ~" in shown(work)


@pytest.mark.parametrize("broken", ["", "not JSON", '{"cells": 3}', "[]"])
def test_a_notebook_that_cannot_be_read_hides_nothing_that_passed(work, broken):
    records.note(work, "brighten", BRIGHTEN, True)
    save(work, "brighten", "x = 1")
    assert look(work)["00_start_here"][0].mark == "changed"
    (work / "00_start_here.ipynb").write_text(broken)
    os.utime(work / "00_start_here.ipynb", (time.time() + 1,) * 2)
    assert look(work)["00_start_here"][0].mark == "passed"


def test_a_damaged_record_is_said_in_its_line_and_the_rest_is_shown(work):
    records.note(work, "brighten", "", True)
    (work / ".cnnlab/progress/brighten.json").write_text('{"passed":')
    assert "brighten.json is damaged; run its check again" in shown(work, "00") and "0 of 1  ○" in shown(work)


def test_where_there_are_no_notebooks_a_sentence_says_where_to_ask(tmp_path):
    assert "There are no notebooks of the course here" in shown(tmp_path)
    assert page(overview.Overview({})).startswith("<p")


def test_the_page_unfolds_the_notebook_of_the_next_exercise_and_no_other(work):
    records.note(work, "brighten", "", True)
    shown = page(overview.Overview(look(work)))
    assert shown.count("<details") == len(outline.notebooks()) and shown.count("<details open>") == 1
    assert "<details open><summary>Why convolution</summary>" in shown
    assert shown.count("<details") == shown.count("</details>") and "✓ <code>brighten</code>, 1 point: passed on" in shown


def test_a_record_that_somebody_wrote_does_not_become_html(work):
    records.note(work, "brighten", "", True)
    path = work / ".cnnlab/progress/brighten.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"passed": "<script>", "code": "<img>"}))
    assert "<script" not in page(overview.Overview(look(work)))


def test_nothing_is_shown_while_nbgrader_grades(work, monkeypatch):
    monkeypatch.setenv("NBGRADER_EXECUTION", "autograde")
    monkeypatch.chdir(work)
    assert cnnlab.progress() is None


def test_in_a_terminal_the_function_prints(work, monkeypatch, capsys):
    monkeypatch.chdir(work)
    assert cnnlab.progress("0") is None
    assert "○ brighten" in capsys.readouterr().out
    with pytest.raises(ValueError, match="There is no notebook 'x'; there are 00 to"):
        cnnlab.progress("x")


def test_the_command_finds_the_notebooks_here_in_work_and_in_a_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert overview.main([]) == 2 and "no notebooks of the course here" in capsys.readouterr().err
    fill(tmp_path / "work")
    records.note(tmp_path / "work", "brighten", "", True)
    for arguments in ([], ["--folder", "work"], ["--folder", str(tmp_path / "work" / "00_start_here")]):
        assert overview.main(arguments) == 0 and "1 of 1  ✓" in capsys.readouterr().out
    assert overview.main(["99"]) == 2 and "There is no notebook '99'" in capsys.readouterr().err


def test_the_command_runs_where_ticks_cannot_be_written(work):
    done = subprocess.run([sys.executable, "-m", "cnnlab", "progress"], cwd=work, capture_output=True, text=True,
                          env={"PYTHONIOENCODING": "ascii", "PYTHONPATH": str(sources.ROOT), "PATH": "/usr/bin"})
    assert done.returncode == 0 and "0 of 1  ." in done.stdout and not done.stderr
