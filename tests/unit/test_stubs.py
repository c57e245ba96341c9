"""An exercise is given back as it was, with the work kept, and nothing else of the notebook changed."""

import json

import nbformat
import pytest

import cnnlab
from autograder import build
from autograder.solutions import execute
from autograder.sources import KERNELSPEC
from cnnlab import outline, stubs
from cnnlab.stubs import ResetError, main, reset_file

STUB = outline.exercise("brighten").stub
MINE = "def brighten(image, amount):\n    return image + amount"
RESET = 'import cnnlab; cnnlab.reset("brighten")'


def own(notebook):
    (cell,) = [c for c in notebook.cells if c.metadata.get("nbgrader", {}).get("grade_id") == "brighten"]
    return cell


@pytest.fixture
def file(tmp_path, monkeypatch):
    """Notebook 00 with an exercise somebody has done, in the folder where we are."""
    monkeypatch.chdir(tmp_path)
    notebook = nbformat.read(build.NOTEBOOKS / "00_start_here.ipynb", as_version=4)
    own(notebook).source = MINE
    own(notebook).execution_count = 7
    own(notebook).outputs = [nbformat.v4.new_output("stream", text="out")]
    nbformat.write(notebook, tmp_path / "00_start_here.ipynb")
    return tmp_path / "00_start_here.ipynb"


def kept(folder, end=".py"):
    return [p.read_text() for p in sorted((folder / ".cnnlab" / "kept").glob(f"*{end}"))]


def test_the_command_changes_the_cell_and_nothing_else_and_keeps_code_and_file(file, capsys):
    before = file.read_text()
    assert main(["brighten"]) == 0
    said = capsys.readouterr().out
    assert "Your code is kept in .cnnlab/kept/brighten-" in said and "Reload Notebook from Disk" in said
    after = nbformat.read(file, as_version=4)
    assert (own(after).source, own(after).outputs, own(after).execution_count) == (STUB, [], None)
    wanted = nbformat.reads(before, as_version=4)
    own(wanted).update(source=STUB, outputs=[], execution_count=None)
    assert file.read_text() == nbformat.writes(wanted) + "\n"
    assert kept(file.parent) == [f"# brighten, as saved\n{MINE}\n"] and kept(file.parent, ".ipynb") == [before]


def test_doing_it_twice_keeps_both_and_nothing_for_what_is_a_stub(file, capsys):
    said = reset_file("brighten", file)
    assert "There was nothing of yours to keep." in reset_file("brighten", file) != said
    assert len(kept(file.parent)) == 1 and len(kept(file.parent, ".ipynb")) == 2


def test_work_of_the_same_second_is_not_overwritten(tmp_path, monkeypatch):
    monkeypatch.setattr(stubs, "_now", lambda: "now")
    about = outline.exercise("brighten")
    paths = [stubs.keep(tmp_path, about, {"as saved": code}) for code in ("a = 1", "a = 2")]
    assert [p.name for p in paths] == ["brighten-now.py", "brighten-now-2.py"]
    assert [p.read_text().splitlines()[-1] for p in paths] == ["a = 1", "a = 2"]


@pytest.mark.parametrize(("text", "says"), [
    ("", "cannot be read as a notebook"), ("{}", "cannot be read as a notebook"),
    ('{"cells": [3]}', "cannot be read as a notebook"), ('{"cells": []}', "has no cell for `brighten`"),
])
def test_a_file_that_is_not_its_notebook_is_left_alone(file, text, says, capsys):
    file.write_text(text)
    with pytest.raises(ResetError, match=says):
        reset_file("brighten", file)
    assert main(["brighten", str(file)]) == 2 and says in capsys.readouterr().err
    assert file.read_text() == text and not (file.parent / ".cnnlab").exists()


def test_what_is_not_there_is_said_in_a_sentence(file, capsys):
    other = outline.notebook(1).exercises[0].id
    for arguments, says in [
            (["brihgten"], "There is no exercise 'brihgten'. Did you mean brighten"),
            ([other], f"There is no 01_why_convolution.ipynb here; name the file: python -m cnnlab reset {other} FILE"),
            (["brighten", "nowhere.ipynb"], "nowhere.ipynb: No such file or directory. The notebook was not changed.")]:
        assert main(arguments) == 2
        assert says in capsys.readouterr().err


def test_where_the_code_cannot_be_kept_the_notebook_stays(file, capsys):
    (file.parent / ".cnnlab").write_text("in the way")
    before = file.read_text()
    assert main(["brighten"]) == 2 and "The notebook was not changed." in capsys.readouterr().err
    assert file.read_text() == before


def cells(*sources):
    """Run these cells in a kernel; all of them, with outputs, and what a front end would be asked to put into each."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(s) for s in sources],
                                        metadata={"kernelspec": KERNELSPEC})
    return ["".join(o.get("text", "") for o in c.outputs) for c in execute(notebook).cells]


def test_in_a_notebook_the_cell_that_holds_the_function_gives_its_code_up_and_elsewhere_nothing_changes(file):
    mine = MINE.replace("+", "-")
    _, elsewhere, here = cells(mine, RESET, f"{RESET}\n{MINE.replace('+', '*')}")
    assert elsewhere.startswith(f"Nothing was changed, as a cell can replace its own text only. Write `{RESET}`")
    assert elsewhere.endswith(STUB + "\n")
    assert here.startswith("This cell holds the stub of `brighten` again; run it once more. Your code is kept in .cnn")
    (text,) = kept(file.parent)
    assert text == (f"# brighten, as saved\n{MINE}\n\n\n# brighten, as run last\n{mine}\n\n\n"
                    f"# brighten, in the cell\n{MINE.replace('+', '*')}\n")


def test_where_the_code_cannot_be_kept_the_cell_stays(file):
    (file.parent / ".cnnlab").write_text("in the way")
    (said,) = cells(f"{RESET}\n{MINE}")
    assert said.startswith("Nothing was changed, as your code cannot be kept in")


def test_an_unknown_exercise_is_named_with_the_nearest():
    with pytest.raises(ValueError, match="There is no exercise 'brihgten'. Did you mean brighten"):
        cnnlab.reset("brihgten")


def test_nothing_is_reset_without_a_notebook_or_while_nbgrader_grades(file, monkeypatch, capsys):
    cnnlab.reset("brighten")
    assert "use `python -m cnnlab reset brighten`" in capsys.readouterr().out
    monkeypatch.setenv("NBGRADER_EXECUTION", "autograde")
    cnnlab.reset("brighten")
    assert capsys.readouterr().out == "" and not (file.parent / ".cnnlab").exists()


def test_the_notebook_stays_json_that_jupyter_would_write(file):
    reset_file("brighten", file)
    assert file.read_text() == json.dumps(json.loads(file.read_text()), ensure_ascii=False, indent=1) + "\n"
