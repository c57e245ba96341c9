"""collect takes what learning platforms and people give, and names what it leaves out."""

import os
import zipfile

import pytest

from autograder.collect import found_notebooks

BOOKS = ["00_start_here", "02_convolution"]


def make(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return root


def found(path):
    return {(c.student, c.notebook) for c in found_notebooks(path, BOOKS) if not c.problem}


def problems(path):
    return {c.path: c.problem for c in found_notebooks(path, BOOKS) if c.problem}


@pytest.mark.parametrize("name", [
    "ann/02_convolution.ipynb", "ann/02_convolution/02_convolution.ipynb", "ann/work/final/02_convolution.ipynb",
    "ann_02_convolution.ipynb", "ann-02_convolution.ipynb", "hand-ins/ann/02_convolution.ipynb",
    "ann/ann_02_convolution.ipynb", "ann/02_convolution (1).ipynb", "ann/02_convolution-Copy1.ipynb",
    "02_convolution/ann/02_convolution.ipynb", "hand-ins/ann_02_convolution.ipynb",
    "hand-ins/02_convolution/ann/02_convolution.ipynb", "hand-ins/ann/work/02_convolution.ipynb"])
@pytest.mark.parametrize("zipped", [False, True])
def test_arrangements_that_are_understood(tmp_path, name, zipped):
    folder = make(tmp_path / "in", name, name.replace("ann", "Bö_b"))
    if zipped:
        with zipfile.ZipFile(tmp_path / "in.zip", "w") as z:
            for p in folder.rglob("*.ipynb"):
                z.write(p, p.relative_to(folder))
        folder = tmp_path / "in.zip"
    assert found(folder) == {("ann", "02_convolution"), ("Bö_b", "02_convolution")}


@pytest.mark.parametrize(("name", "student"), [
    ("Ann Lee_12345_assignsubmission_file_/02_convolution.ipynb", "Ann Lee_12345"),
    ("leeann_12345_67890_02_convolution.ipynb", "leeann_12345"),
    ("leeann_LATE_12345_67891_02_convolution-1.ipynb", "leeann_12345")])
def test_what_moodle_and_canvas_add_to_a_name_is_taken_off_but_the_users_number(tmp_path, name, student):
    assert found(make(tmp_path, name)) == {(student, "02_convolution")}


@pytest.mark.parametrize(("names", "students"), [
    (["hw/1234567_02_convolution.ipynb", "hw/1234568_02_convolution.ipynb"], {"1234567", "1234568"}),
    (["hw/s_01_02_convolution.ipynb", "hw/s_02_02_convolution.ipynb"], {"s_01", "s_02"}),
    (["group_1_2/02_convolution.ipynb", "group_1_3/02_convolution.ipynb"], {"group_1_2", "group_1_3"}),
    (["group_1_2_02_convolution.ipynb", "group_1_3_02_convolution.ipynb"], {"group_1_2", "group_1_3"}),
    (["hw/ann/02_convolution.ipynb", "hw/bob/02_convolution.ipynb", "__MACOSX/hw/ann/._02_convolution.ipynb"],
     {"ann", "bob"}),
    (["bob/._02_convolution.ipynb", "bob/02_convolution.ipynb"], {"bob"}),
    (["submitted/ann/02_convolution/02_convolution.ipynb"], {"ann"}),
    (["Ann-Lise  O’Neil/02_convolution.ipynb"], {"Ann-Lise O'Neil"}),
])
def test_nobody_is_merged_with_anybody(tmp_path, names, students):
    assert {student for student, _ in found(make(tmp_path, *names))} == students


@pytest.mark.parametrize("names", [
    ["hw2/ann/02_convolution.ipynb", "hw2/bob_02_convolution.ipynb"],
    ["hw/ann/02_convolution.ipynb", "hw/bob/02_convolution.ipynb", "02_convolution.ipynb"],
    ["a/b/ann/02_convolution.ipynb", "a/b/bob/02_convolution.ipynb"]])
def test_where_it_is_not_clear_whose_a_file_is_none_is_taken_and_it_is_said(tmp_path, names):
    make(tmp_path, *names)
    taken = {c.path for c in found_notebooks(tmp_path, BOOKS) if not c.problem}
    assert not taken
    assert any("whose is it?" in p for p in problems(tmp_path).values())


def test_a_stray_file_does_not_hide_the_folder_all_lie_in(tmp_path):
    make(tmp_path, "class/ann/02_convolution.ipynb", "class/bob/02_convolution.ipynb", "README.txt")
    assert found(tmp_path) == {("ann", "02_convolution"), ("bob", "02_convolution")}


def test_of_two_for_the_same_student_the_plain_one_is_taken_and_the_other_named(tmp_path):
    make(tmp_path, "ann/02_convolution.ipynb", "ann/old/02_convolution.ipynb", "ann/02_convolution-Copy1.ipynb")
    (taken,) = [c for c in found_notebooks(tmp_path, BOOKS) if not c.problem]
    assert taken.path == "ann/02_convolution.ipynb"
    assert all("because ann/02_convolution.ipynb is the same student's" in p for p in problems(tmp_path).values())
    assert len(problems(tmp_path)) == 2


@pytest.mark.parametrize(("given", "student"), [("Zoe\u0308", "Zoë"), ("O'Neil", "O'Neil"), ("Li Na", "Li Na")])
def test_names_are_taken_as_people_write_them(tmp_path, given, student):
    assert found(make(tmp_path, f"{given}/02_convolution.ipynb")) == {(student, "02_convolution")}


@pytest.mark.parametrize("name", ["-n", "a,b", "a[1]", "*"])
def test_names_that_would_not_survive_are_refused_with_what_is_allowed(tmp_path, name):
    (why,) = problems(make(tmp_path, f"{name}/02_convolution.ipynb")).values()
    assert f"the student's name {name!r} may hold letters" in why


def test_a_damaged_file_in_a_zip_costs_only_itself(tmp_path):
    with zipfile.ZipFile(tmp_path / "in.zip", "w") as z:
        for name in ("ann", "bob"):
            z.writestr(f"{name}/02_convolution.ipynb", name * 50)
    data = (tmp_path / "in.zip").read_bytes().replace(b"annannann", b"annxxxann", 1)
    (tmp_path / "in.zip").write_bytes(data)
    assert found(tmp_path / "in.zip") == {("bob", "02_convolution")}
    assert "cannot be read: Bad CRC" in problems(tmp_path / "in.zip")["ann/02_convolution.ipynb"]


def test_one_student_alone_is_not_taken_for_a_common_folder(tmp_path):
    assert found(make(tmp_path, "ann/02_convolution.ipynb")) == {("ann", "02_convolution")}


def test_what_is_left_out_is_named_with_the_reason(tmp_path):
    make(tmp_path, "ann/02_convolution.ipynb", "ann/notes.txt", "ann/other.ipynb", "02_convolution.ipynb")
    os.symlink("/etc/passwd", tmp_path / "ann" / "00_start_here.ipynb")
    said = problems(tmp_path)
    assert "a link" in said["ann/00_start_here.ipynb"]
    assert "not a notebook" in said["ann/notes.txt"]
    assert "not a notebook of this course" in said["ann/other.ipynb"]
    assert "no student" in said["02_convolution.ipynb"]
    assert found(tmp_path) == {("ann", "02_convolution")}


def test_a_zip_that_leads_out_is_refused_file_by_file(tmp_path):
    with zipfile.ZipFile(tmp_path / "in.zip", "w") as z:
        for name in ("../ann/02_convolution.ipynb", "/ann/02_convolution.ipynb", "bob/02_convolution.ipynb"):
            z.writestr(name, "x")
        link = zipfile.ZipInfo("eve/02_convolution.ipynb")
        link.external_attr = 0o120777 << 16
        z.writestr(link, "/etc/passwd")
    assert found(tmp_path / "in.zip") == {("bob", "02_convolution")}
    assert sum("leads out" in p for p in problems(tmp_path / "in.zip").values()) == 2


def test_an_enormous_file_is_not_read(tmp_path):
    make(tmp_path, "ann/02_convolution.ipynb")
    os.truncate(tmp_path / "ann" / "02_convolution.ipynb", 60 * 2**20)
    assert "larger than 50 MB" in problems(tmp_path)["ann/02_convolution.ipynb"]


def test_what_is_neither_folder_nor_zip_is_refused(tmp_path):
    with pytest.raises(ValueError, match="neither a folder nor a zip"):
        list(found_notebooks(make(tmp_path, "x.rar") / "x.rar", BOOKS))
