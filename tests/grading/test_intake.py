"""Intake makes whatever was handed in gradable, says what it repaired, or says in a sentence why it cannot."""

import copy
import json
import os
import warnings

import nbformat
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nbconvert.exporters import NotebookExporter
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output, new_raw_cell

from autograder.handed_in import MAX_CELLS, parse, read
from autograder.intake import RestoreCells, prepare, repair


def unreadable(path):
    """Why the file cannot be graded, as a worker would say it; "" if it can."""
    try:
        parse(read(path))
    except ValueError as e:
        return str(e)
    return ""


def graded(grade_id, **flags):
    about = {"grade": False, "solution": False, "locked": False, "task": False, "schema_version": 3,
             "grade_id": grade_id, "checksum": "c" + grade_id} | flags
    return {"nbgrader": about}


def release():
    """Two functions with their checks, a written answer whose text has HTML, and a picture."""
    cells = [
        new_markdown_cell("# Title <b>bold</b>", id="n-0"),
        new_code_cell("from cnnlab import check", id="n-1", metadata={"tags": ["setup"]}),
        new_code_cell("def f(x):\n    raise NotImplementedError()", id="f", metadata=graded("f", solution=True)),
        new_code_cell('check("f", f)', id="check-f", metadata=graded("check_f", grade=True, locked=True, points=1.0)),
        new_markdown_cell("Why? <br> *Write here.*", id="written-w",
                          metadata=graded("written_w", grade=True, solution=True, points=2.0)),
        new_code_cell("def g(x):\n    raise NotImplementedError()", id="g", metadata=graded("g", solution=True)),
        new_code_cell('check("g", g)', id="check-g", metadata=graded("check_g", grade=True, locked=True, points=1.0)),
        new_markdown_cell("Do it.", id="task-t", metadata=graded("task_t", task=True, locked=True, points=1.0)),
    ]
    return new_notebook(cells=cells, metadata={"kernelspec": {"name": "python3", "display_name": "Python 3",
                                                              "language": "python"}})


RELEASE = release()
NAMES = ["f", "check_f", "written_w", "g", "check_g", "task_t"]


def cell(notebook, name):
    (found,) = [c for c in notebook.cells if c.metadata.get("nbgrader", {}).get("grade_id") == name]
    return found


def content(notebook):
    return json.dumps(notebook).encode()


def prepared(notebook):
    """What intake makes of it; and that it is valid, has each graded cell once, and is left alone the next time."""
    done, said = prepare(content(notebook), copy.deepcopy(RELEASE))
    nbformat.validate(done)
    for name in NAMES:
        assert cell(done, name).metadata == cell(RELEASE, name).metadata
        assert cell(done, name).cell_type == cell(RELEASE, name).cell_type
        if cell(RELEASE, name).metadata.nbgrader.locked:
            assert cell(done, name).source == cell(RELEASE, name).source
    assert len({c.id for c in done.cells}) == len(done.cells)
    again, more = prepare(nbformat.writes(done).encode(), copy.deepcopy(RELEASE))
    assert (again, more) == (done, [])
    return done, said


def where(notebook, name):
    return notebook.cells.index(cell(notebook, name))


def test_what_was_only_filled_in_is_left_as_it_is():
    notebook = release()
    cell(notebook, "f").source = "def f(x):\n    return x"
    done, said = prepared(notebook)
    assert (done, said) == (notebook, [])


def test_an_untouched_answer_keeps_every_byte_even_if_the_release_has_html_in_it():
    done, said = prepared(release())
    assert done == RELEASE and said == []


def test_an_answer_is_the_students_text_made_harmless():
    notebook = release()
    cell(notebook, "written_w").source = "Because <script>alert(1)</script> $a<b$."
    done, said = prepared(notebook)
    assert cell(done, "written_w").source == "Because &lt;script>alert(1)&lt;/script> $a<b$."
    assert said == ["HTML in 1 text cell was made harmless"]


@pytest.mark.parametrize("name", NAMES)
def test_a_deleted_cell_is_put_back_in_its_place(name):
    notebook = release()
    notebook.cells.remove(cell(notebook, name))
    done, said = prepared(notebook)
    assert done == RELEASE
    assert said == [f"the deleted cell {name} was put back"]


def test_of_an_empty_notebook_all_that_is_graded_is_put_back_in_order():
    notebook = release()
    notebook.cells = []
    done, said = prepared(notebook)
    assert [c.metadata.nbgrader.grade_id for c in done.cells] == NAMES
    assert len(said) == len(NAMES)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("same_id", [True, False])
def test_a_copy_becomes_an_ordinary_cell(name, same_id):
    notebook = release()
    twin = copy.deepcopy(cell(notebook, name))
    twin.id = twin.id if same_id else "twin"
    notebook.cells.insert(0, twin)
    done, said = prepared(notebook)
    assert len(done.cells) == len(notebook.cells)
    assert f"a copy of {name} became an ordinary cell" in said
    assert [c.metadata for c in done.cells if c.id not in {r.id for r in RELEASE.cells}] == [{}]


def test_of_two_copies_of_a_function_the_one_that_was_written_in_is_the_answer():
    notebook = release()
    notebook.cells.append(copy.deepcopy(cell(notebook, "written_w")))
    notebook.cells[-1].update(id="twin", source="An answer.")
    done, _ = prepared(notebook)
    assert cell(done, "written_w").source == "An answer."


def test_a_tag_that_skips_a_cell_is_dropped_and_named_but_not_the_tags_of_the_release():
    notebook = release()
    cell(notebook, "check_f").metadata["tags"] = ["skip-execution", "x"]
    cell(notebook, "g").metadata["tags"] = ["skip-execution"]
    done, said = prepared(notebook)
    assert said == ["3 tags were dropped: skip-execution, x"]
    assert [c.metadata.tags for c in done.cells if "tags" in c.metadata] == [["setup"]]


@pytest.mark.parametrize("change", [
    {"grade": False}, {"points": 100.0}, {"solution": True}, {"locked": False}, {"task": True}, {"points": "many"},
    {"schema_version": 99}, {"schema_version": "3"}, {"schema_version": None}, {"grade": [1]}, {"checksum": {}},
    {"cell_type": "markdown"}])
@pytest.mark.parametrize("name", NAMES)
def test_changed_settings_come_from_the_release(name, change):
    notebook = release()
    cell(notebook, name).metadata.nbgrader.update(change)
    changed = cell(notebook, name) != cell(RELEASE, name)
    done, said = prepared(notebook)
    assert done == RELEASE
    assert said == ([f"nbgrader's settings of {name} were restored"] if changed else [])


@pytest.mark.parametrize("forged", [1, None, [], ["check_f"], "check_f", {}, {"grade_id": 3}, {"grade_id": ["f"]},
                                    {"grade_id": ""}, {"grade_id": "never" * 99}, {"grade_id": None}])
@pytest.mark.parametrize("name", ["f", "check_f", "written_w"])
def test_forged_settings_of_any_type_are_replaced_for_a_cell_that_is_known_by_its_id(name, forged):
    notebook = release()
    cell(notebook, name).metadata = {"nbgrader": forged}
    notebook.cells.append(new_code_cell("1", id="mine", metadata={"nbgrader": forged}))
    done, said = prepared(notebook)
    assert done.cells[:-1] == RELEASE.cells
    assert done.cells[-1].metadata == {}
    assert any("settings" in s for s in said) and all(len(s) < 150 for s in said)


def test_a_changed_check_has_its_line_again():
    notebook = release()
    cell(notebook, "check_f").source = "1.0"
    done, said = prepared(notebook)
    assert cell(done, "check_f").source == 'check("f", f)'
    assert said == ["the changed text of check_f was restored"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["code", "markdown", "raw"])
def test_a_cell_of_another_type_has_its_own_again_and_keeps_what_was_written(name, kind):
    notebook = release()
    old = cell(notebook, name)
    new = {"code": new_code_cell, "markdown": new_markdown_cell, "raw": new_raw_cell}[kind]
    notebook.cells[notebook.cells.index(old)] = new(old.source, id=old.id, metadata=old.metadata)
    done, said = prepared(notebook)
    assert done == RELEASE
    assert said == ([f"{name} was a {kind} cell and is a {old.cell_type} cell again"] if kind != old.cell_type else [])


def test_metadata_of_the_notebook_come_from_the_release():
    notebook = release()
    notebook.metadata = {"kernelspec": {"name": "evil", "display_name": "<b>"}, "widgets": {"a": 1}, "title": "<b>"}
    done, said = prepared(notebook)
    assert done.metadata == RELEASE.metadata
    assert said == ["the kernel 'evil' was replaced by 'python3'"]


def test_outputs_and_counts_of_the_hand_in_are_dropped():
    notebook = release()
    cell(notebook, "check_f").outputs = [new_output("execute_result", {"text/plain": "1.0"}, execution_count=1)]
    cell(notebook, "check_f").execution_count = "<script>"
    assert prepared(notebook) == (RELEASE, [])


def test_a_function_moved_below_its_check_still_meets_it():
    notebook = release()
    notebook.cells.append(notebook.cells.pop(where(notebook, "f")))
    done, said = prepared(notebook)
    assert where(done, "f") < where(done, "check_f") < where(done, "check_g")
    assert said == ["check_f was moved below the function it tests", "check_g was moved below the function it tests"]


def test_checks_moved_to_the_top_come_below_their_functions_and_keep_their_order():
    notebook = release()
    checks = [cell(notebook, "check_g"), cell(notebook, "check_f")]
    notebook.cells = checks + [c for c in notebook.cells if c not in checks]
    done, _ = prepared(notebook)
    assert where(done, "f") < where(done, "check_f") < where(done, "g") < where(done, "check_g")


def test_a_function_written_in_a_cell_of_their_own_below_the_check_still_meets_it():
    notebook = release()
    notebook.cells.append(new_code_cell("def f(x):\n    return x", id="mine"))
    done, said = prepared(notebook)
    assert done.cells[where(done, "check_f") - 1].source == "def f(x):\n    return x"
    assert said[0] == "check_f was moved below the function it tests"


def test_an_experiment_below_does_not_move_the_check_of_a_function_that_was_written():
    notebook = release()
    cell(notebook, "f").source = "def f(x):\n    return x"
    notebook.cells.append(new_code_cell("def f(x):\n    return 0", id="mine"))
    assert prepared(notebook) == (notebook, [])


@pytest.mark.parametrize("given", ["check-f", "", "a b", "x" * 65, "<script>", "é"])
def test_doubled_and_odd_cell_ids_are_replaced(given):
    notebook = release()
    notebook.cells += [new_code_cell("1", id="x"), new_code_cell("2", id="x")]
    notebook.cells[-2]["id"] = given
    notebook.cells[-1]["id"] = given
    done, _ = prepared(notebook)
    assert [c.id for c in done.cells[:-2]] == [c.id for c in RELEASE.cells]
    assert [c.source for c in done.cells[-2:]] == ["1", "2"]


@pytest.mark.parametrize("minor", [0, 1, 2, 3, 4])
def test_a_notebook_of_an_older_format_without_ids_is_known_by_its_grade_ids_and_its_text(minor):
    notebook = release()
    cell(notebook, "f").source = "def f(x):\n    return x"
    for c in notebook.cells:
        del c["id"]
    notebook.nbformat_minor = minor
    done, said = prepared(notebook)
    assert said == []
    assert [c.id for c in done.cells] == [c.id for c in RELEASE.cells]
    assert cell(done, "f").source == "def f(x):\n    return x"


def test_a_format_that_is_newer_within_4_is_read_as_this_one():
    done, said = prepared(release() | {"nbformat_minor": 99})
    assert (done, said) == (RELEASE, [])


@pytest.mark.parametrize(("cells", "as_read"), [
    ([{"cell_type": "code", "metadata": {}}], [("code", "")]),
    ([{"cell_type": "code", "metadata": {}, "source": ["a\n", "b"], "execution_count": "x"}], [("code", "a\nb")]),
    ([{"cell_type": "heading", "metadata": {}, "source": "a"}], [("markdown", "```\na\n```")]),
    ([{"cell_type": "markdown", "metadata": {"nbgrader": {"grade_id": {}}}, "source": "a"}], [("markdown", "a")]),
    ([{"cell_type": "markdown", "metadata": {"get": 1, "keys": []}, "source": "\ud800"}], [("markdown", "\ufffd")]),
])
def test_odd_cells_become_plain_ones(cells, as_read):
    notebook = release()
    notebook.cells += [c | {"id": "odd"} for c in cells]
    done, _ = prepared(notebook)
    assert [(c.cell_type, c.source) for c in done.cells[len(RELEASE.cells):]] == as_read


@pytest.mark.parametrize("cell_", [
    3, None, [], "x", {}, {"cell_type": "code"}, {"cell_type": "code", "metadata": []},
    {"cell_type": ["code"], "metadata": {}}, {"cell_type": "code", "metadata": {}, "source": {"a": 1}},
    {"cell_type": "code", "metadata": {}, "source": [1]}, {"cell_type": "code", "metadata": {}, "id": ["a"]},
    {"cell_type": "code", "metadata": {}, "outputs": 3}, {"cell_type": "code", "metadata": {}, "outputs": [3]},
    {"cell_type": "code", "metadata": {}, "outputs": [{"output_type": "stream", "text": [3]}]},
    {"cell_type": "code", "metadata": {}, "outputs": [{"output_type": "display_data", "data": []}]},
    {"cell_type": "code", "metadata": {}, "outputs": [{"output_type": ["stream"]}]},
    {"cell_type": "markdown", "metadata": {}, "attachments": None},
    {"cell_type": "markdown", "metadata": {}, "attachments": {"a": "b"}},
    {"cell_type": "code", "metadata": {}, "source": "x" * 1_000_001}])
def test_a_cell_that_nbgrader_could_not_read_is_refused_with_its_number(cell_):
    notebook = json.loads(content(release()))
    notebook["cells"].insert(1, cell_)
    with pytest.raises(ValueError, match="^cell 2 of it .*[.]$"):
        prepare(content(notebook), RELEASE)


def whole(**change):
    return content(release() | change)


@pytest.mark.parametrize(("text", "says"), [
    (b"", "file is empty"), (b" \n", "file is empty"), (b"{", "not JSON"), (b"\xff\xfe{", "not UTF-8"),
    (content(release())[:-20], "not JSON"), (b"[" * 100_000, "not JSON"), (b'{"cells":' + b"9" * 5000 + b"}", "not JSON"),
    (b"3", "without a list of cells"), (whole(cells={}), "without a list of cells"),
    (whole(cells=[], metadata=json.loads("[" * 60 + "]" * 60)), "its metadata"),
    (whole(metadata={"x": json.loads("[" * 60 + "]" * 60)}), "nested more than 50"),
    (b"[" + b"[]," * 5_000_000 + b"[]]", "millions of parts"),
    (whole(nbformat=3), "notebook format 3"), (whole(nbformat=5), "notebook format 5"),
    (whole(nbformat="4"), "notebook format 4"), (whole(nbformat=4.0), "notebook format 4.0"),
    (whole(nbformat_minor="5"), "minor version"), (whole(nbformat_minor=-1), "minor version"),
    (whole(metadata=None), "its metadata"), (whole(metadata={"language": 3}), "its metadata"),
    (whole(cells=[new_code_cell()] * (MAX_CELLS + 1)), "it has 2,001 cells"),
    (whole(cells=[new_markdown_cell("x" * 600_000)] * 2), "1,200,000 characters"),
    (b" " * (51 * 2**20), "larger than 50 MB")])
def test_what_cannot_be_graded_is_explained_in_one_sentence(tmp_path, text, says):
    (tmp_path / "a.ipynb").write_bytes(text)
    why = unreadable(tmp_path / "a.ipynb")
    assert says in why and why.endswith(".") and "\n" not in why and len(why) < 250
    with pytest.raises(ValueError, match="."):
        prepare(text, RELEASE)


def test_what_can_be_graded_is_not_refused(tmp_path):
    nbformat.write(release(), tmp_path / "a.ipynb")
    assert unreadable(tmp_path / "a.ipynb") == ""
    (tmp_path / "a.ipynb").write_bytes(whole(metadata={"x": float("nan")}))
    assert unreadable(tmp_path / "a.ipynb") == ""
    assert b"NaN" not in content(prepare(whole(metadata={"x": float("nan")}), RELEASE)[0])


def test_a_byte_order_mark_is_read_and_in_a_file_for_nbgrader_it_is_named(tmp_path):
    marked = b"\xef\xbb\xbf" + content(release())
    assert prepare(marked, RELEASE) == (RELEASE, [])
    (tmp_path / "a.ipynb").write_bytes(marked)
    assert "byte order mark" in unreadable(tmp_path / "a.ipynb")


def test_a_link_a_folder_a_fifo_and_a_device_are_refused_unopened(tmp_path):
    nbformat.write(release(), tmp_path / "a.ipynb")
    (tmp_path / "link").symlink_to(tmp_path / "a.ipynb")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "zero").symlink_to("/dev/zero")
    for name in ("link", "folder", "fifo", "zero"):
        assert "it is not a file but" in unreadable(tmp_path / name)
    assert "it is not a file but" in unreadable(tmp_path.__class__("/dev/zero"))
    assert "it cannot be read: No such file" in unreadable(tmp_path / "none")


def test_text_elsewhere_is_pointed_to_where_the_answer_is_empty():
    notebook = release()
    notebook.cells.append(new_raw_cell("My answer.", id="mine"))
    done, said = prepared(notebook)
    assert "1 text cell(s) of the student's own" in cell(done, "written_w").source
    assert said == ["1 raw cell is shown as typed",
                    "written_w is unanswered, but there is text elsewhere; a note says so"]


def test_attachments_that_are_no_images_are_dropped_and_those_of_the_release_come_back():
    notebook, picture = release(), {"image/png": "aGk="}
    notebook.cells[0]["attachments"] = {"a.png": picture}
    notebook.cells.append(new_markdown_cell("![a](attachment:a.png)", id="mine", attachments={
        "a.png": picture, "b.svg": {"image/svg+xml": "<svg>"}}))
    done, said = prepared(notebook)
    assert done.cells[0] == RELEASE.cells[0]
    assert done.cells[-1].attachments == {"a.png": picture}
    assert done.cells[-1].source == "![a](attachment:a.png)"
    assert "1 attachment was dropped: no image or not readable" in said


def test_the_preprocessor_does_the_same_and_leaves_the_repairs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "release" / "hw").mkdir(parents=True)
    nbformat.write(RELEASE, tmp_path / "release" / "hw" / "hw.ipynb")
    notebook = release()
    notebook.cells.remove(cell(notebook, "f"))
    step, resources = RestoreCells(), {"nbgrader": {"assignment": "hw", "notebook": "hw", "student": "ann"}}
    heard = []
    monkeypatch.setattr(step.log, "warning", lambda text, *values: heard.append(text % values))
    done, resources = step.preprocess(notebook, resources)
    assert done.metadata.pop("cnnlab") == {"repairs": ["the deleted cell f was put back"]}
    assert done == RELEASE
    assert heard == ["ann, hw: the deleted cell f was put back"]


# ---- Anything at all ----

JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5), lambda inner: (
    st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)), max_leaves=5)
ODD = st.sampled_from(["cells", "metadata", "nbformat", "nbformat_minor"])
IN_CELL = st.sampled_from(["cell_type", "id", "source", "metadata", "outputs", "attachments", "execution_count"])
IN_OUTPUT = st.sampled_from(["output_type", "data", "text", "metadata", "name", "execution_count"])
ROUGH = settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])


@ROUGH
@given(st.dictionaries(ODD, JSON, max_size=1), st.dictionaries(IN_CELL, JSON, max_size=2),
       st.dictionaries(IN_OUTPUT, JSON | st.lists(st.text(max_size=3), max_size=2), max_size=2), st.data())
def test_what_parse_lets_through_nbgrader_can_read_and_intake_can_repair(top, inside, output, data):
    notebook = json.loads(content(release()))
    output = {"output_type": data.draw(st.sampled_from(["stream", "display_data", "error", "odd"]))} | output
    notebook["cells"][3]["outputs"] = [output]
    notebook["cells"][data.draw(st.integers(0, 4))].update(inside)
    notebook.update(top)
    text = content(notebook)
    try:
        parse(text)
    except ValueError as e:
        assert str(e).endswith(".")
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        read = nbformat.reads(text.decode(), as_version=4)
    prepared(notebook)
    exporter = NotebookExporter()
    exporter._preprocessors = [lambda nb, resources: (repair(nb, RELEASE)[0], resources)]  # as nbgrader does
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exporter.from_notebook_node(read)


def delete(cells, i, j, kind):
    del cells[i]


def copy_to(cells, i, j, kind):
    cells.insert(j, copy.deepcopy(cells[i]))


def move(cells, i, j, kind):
    cells.insert(j, cells.pop(i))


def retag(cells, i, j, kind):
    cells[i].metadata["tags"] = ["skip-execution"]


def unmark(cells, i, j, kind):
    cells[i].metadata = {}


def swap_ids(cells, i, j, kind):
    j = j % len(cells)
    cells[i]["id"], cells[j]["id"] = cells[j]["id"], cells[i]["id"]


def swap_settings(cells, i, j, kind):
    j = j % len(cells)
    cells[i].metadata, cells[j].metadata = cells[j].metadata, cells[i].metadata


def retype(cells, i, j, kind):
    cells[i]["cell_type"] = kind


def rewrite(cells, i, j, kind):
    cells[i]["source"] = ["def f(x): return x", "<b>x</b> [a](javascript:1)", "", "def g(x):\n  1"][j % 4]


@settings(deadline=None, max_examples=200)
@given(st.lists(st.tuples(
    st.sampled_from([delete, copy_to, move, retag, unmark, swap_ids, swap_settings, retype, rewrite]),
    st.integers(0, 20), st.integers(0, 20), st.sampled_from(["code", "markdown", "raw", "heading"])), max_size=12))
def test_after_any_damage_each_graded_cell_is_there_once_and_a_second_look_changes_nothing(steps):
    notebook = release()
    for step, i, j, kind in steps:
        if notebook.cells:
            step(notebook.cells, i % len(notebook.cells), j, kind)
    done, _ = prepared(notebook)
    for name in ("f", "g"):
        assert where(done, name) < where(done, f"check_{name}")
