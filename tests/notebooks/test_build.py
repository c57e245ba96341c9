"""What students get is exactly what the sources say, and nothing of the solutions."""

import ast
import json
import re
import shutil

import jupytext
import nbformat
import pytest

from autograder import build, sources
from autograder.exercise import load_all
from autograder.lab import fill
from cnnlab import outline
from cnnlab.probes import FOLDER

SLUGS = sources.slugs()


def test_building_again_changes_no_byte():
    assert build.build() == [], "run `make build` and commit what it wrote"


def test_a_notebook_somebody_worked_in_is_kept_before_it_is_built_anew(tmp_path, monkeypatch):
    folder, work = tmp_path / "notebooks", tmp_path / "work"
    shutil.copytree(build.NOTEBOOKS, folder)
    monkeypatch.setattr(build, "WORK", work)
    wanted = {p: p.read_text() for p in folder.iterdir()}
    assert build.keep_work(folder, wanted) == []
    mine = folder / "00_start_here.ipynb"
    mine.write_text(mine.read_text().replace('"execution_count": null', '"execution_count": 3', 1))
    (kept,) = build.keep_work(folder, wanted)
    assert kept.parent == work and kept.read_text() == mine.read_text()


def test_a_work_folder_gets_what_it_lacks_and_keeps_what_it_has(tmp_path):
    work = tmp_path / "work"
    assert {p.stem for p in fill(work)} == set(SLUGS)
    mine = work / f"{SLUGS[0]}.ipynb"
    mine.write_text("mine")
    (work / f"{SLUGS[1]}.ipynb").unlink()
    assert [p.stem for p in fill(work)] == [SLUGS[1]]
    assert mine.read_text() == "mine"


@pytest.mark.parametrize("path", sorted(build.NOTEBOOKS.glob("*.ipynb")), ids=lambda p: p.stem)
def test_metadata_is_only_what_notebooks_need(path):
    notebook = json.loads(path.read_text())
    assert set(notebook["metadata"]) == {"kernelspec", "language_info"}
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    for cell in notebook["cells"]:
        assert set(cell["metadata"]) <= {"nbgrader", "deletable", "editable"}
        assert not cell.get("outputs")


def solution_lines(slug):
    """The lines that only a solution has: inside the regions, long enough to be telling, not just sizes taken apart."""
    lines, inside = set(), False
    for line in (sources.SOLUTIONS / f"{slug}.py").read_text().splitlines():
        if "END SOLUTION" in line:
            inside = False
        if inside and len(line.strip(" #")) > 25 and not re.fullmatch(r"[\w, ()]+ = \w+\.shape(\[.*\])?", line.strip()):
            lines.add(line.strip(" #"))
        if "BEGIN SOLUTION" in line:
            inside = True
    return lines


@pytest.mark.parametrize("slug", SLUGS)
def test_no_line_of_a_solution_is_in_what_students_get(slug):
    lines = solution_lines(slug)
    assert lines
    # The library of layers is given from notebook 08 on; rooms of the exercises that ask for its code are without it.
    given = [*build.NOTEBOOKS.glob("*.ipynb"), *FOLDER.glob("*.json"), outline.FILE,
             *(p for p in FOLDER.parent.rglob("*.py") if p.parent.name != "layers")]
    for path in given:
        # A JSON file holds its text with escapes.
        text = path.read_text().replace('\\"', '"').replace("\\n", "\n")
        found = [line for line in lines if line in text]
        assert not found, f"{path.name} holds {found}"


def test_nothing_students_get_imports_the_grader_or_the_solutions():
    for path in FOLDER.parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = ([a.name for a in node.names] if isinstance(node, ast.Import)
                     else [node.module or ""] if isinstance(node, ast.ImportFrom) else [])
            assert not any(n.split(".")[0] in ("autograder", "solutions") for n in names), path


@pytest.mark.parametrize("slug", SLUGS)
def test_cells_are_short(slug):
    notebook = nbformat.read(build.NOTEBOOKS / f"{slug}.ipynb", as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert len(cell.source.splitlines()) <= 25, cell.source
        else:
            prose = [line for line in cell.source.splitlines() if not line.startswith("|")]
            assert len(" ".join(prose).split()) <= 130, cell.source


def test_sources_open_as_notebooks():
    for slug in SLUGS:
        notebook = jupytext.read(sources.SOLUTIONS / f"{slug}.py")
        assert [c for c in notebook.cells if "exercise" in str(c.metadata.get("tags"))]


@pytest.mark.parametrize(("text", "says"), [
    ('# %% tags=["check:nothing"]\ncheck("nothing", nothing)', "has no entry"),
    ('# %% tags=["check:brighten"]\nx = check("brighten", brighten)', "must be one line"),
    ('# %% tags=["exercies:brighten"]\n', "unknown tag"),
])
def test_a_source_that_breaks_a_rule_is_refused_with_the_rule(tmp_path, monkeypatch, text, says):
    monkeypatch.setattr(sources, "SOLUTIONS", tmp_path)
    (tmp_path / "00_x.py").write_text(text)
    with pytest.raises(sources.SourceError, match=says):
        sources.read("00_x", {"brighten": 1})


def test_an_exercise_without_a_cell_is_refused(tmp_path, monkeypatch):
    shutil.copytree(sources.SOLUTIONS, tmp_path / "s")
    path = tmp_path / "s" / "00_start_here.py"
    path.write_text(path.read_text().replace('"check:brighten"', '"check:other"'))
    monkeypatch.setattr(sources, "SOLUTIONS", tmp_path / "s")
    with pytest.raises(sources.SourceError, match="must be the same"):
        build.check_entries(load_all())
