"""collect takes what learning platforms and people give, and names what it leaves out."""

import os
import zipfile
from datetime import UTC, datetime

import pytest

from autograder import collect
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


# ---- Attempts ----

def taken(path):
    return {c.path: c.content.decode() for c in found_notebooks(path, BOOKS) if not c.problem}


@pytest.mark.parametrize(("older", "newer", "student"), [
    ("leeann_12345_67890_02_convolution.ipynb", "leeann_LATE_12345_67891_02_convolution-1.ipynb", "leeann_12345"),
    ("leeann_12345_99999_02_convolution.ipynb", "leeann_12345_100000_02_convolution.ipynb", "leeann_12345"),
    ("leeann_LATE_123_456_02_convolution.ipynb", "leeann_LATE_123_457_02_convolution.ipynb", "leeann_123"),
    ("hw_ann_attempt_2026-01-30-15-00-00_02_convolution.ipynb",
     "hw_ann_attempt_2026-02-01-09-00-00_02_convolution.ipynb", "hw_ann"),
    ("ann+02_convolution+2026-01-30 15:00:00.5 UTC/02_convolution.ipynb",
     "ann+02_convolution+2026-02-01 09:00:00.1 UTC/02_convolution.ipynb", "ann"),
    ("ann+hw+2026-01-30 15:00:00.5 UTC+abc/02_convolution.ipynb",
     "ann+hw+2026-01-30 15:00:01.1 UTC+abd/02_convolution.ipynb", "ann"),
])
def test_of_several_attempts_the_newest_is_taken_and_the_others_are_named(tmp_path, older, newer, student):
    make(tmp_path, older, newer)
    assert taken(tmp_path) == {newer: newer}
    assert found(tmp_path) == {(student, "02_convolution")}
    assert problems(tmp_path) == {older: f"left out, because {newer} is a newer attempt"}


def test_three_attempts_of_two_students_leave_one_of_each(tmp_path):
    make(tmp_path, *(f"{who}_{number}_{attempt}_02_convolution.ipynb" for who, number in (("a", 11111), ("b", 22222))
                     for attempt in (70003, 70001, 70002)))
    assert set(taken(tmp_path)) == {"a_11111_70003_02_convolution.ipynb", "b_22222_70003_02_convolution.ipynb"}


@pytest.mark.parametrize("names", [
    ("smith_2024_1001_02_convolution.ipynb", "smith_2024_1002_02_convolution.ipynb"),
    ("ann+hw+2026-01-30 15:00:00 UTC/02_convolution.ipynb", "ann+hw+2026-01-30 15:30:00 CET/02_convolution.ipynb"),
    ("ann+hw+2026-01-30 15:00:00 UTC/02_convolution.ipynb", "ann/02_convolution.ipynb")])
def test_where_two_may_be_two_students_or_the_order_is_not_sure_it_is_asked(tmp_path, names):
    make(tmp_path, *names)
    assert not taken(tmp_path)
    assert all("whose is it?" in p for p in problems(tmp_path).values())


def test_the_time_in_the_name_of_an_attempt_is_when_it_was_handed_in(tmp_path):
    make(tmp_path, "ann+hw+2026-01-30 15:00:00.5 UTC/02_convolution.ipynb")
    (item,) = found_notebooks(tmp_path, BOOKS)
    assert item.time == datetime(2026, 1, 30, 15, 0, 0, tzinfo=UTC)


# ---- Hostile zips and folders ----

def zipped(path, entries):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as z:
        for info, text in entries:
            z.writestr(info, text)
    return path


def test_a_zip_that_says_less_than_it_holds_is_read_no_further_than_the_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(collect, "MAX_BYTES", 1000)
    path = zipped(tmp_path / "in.zip", [("ann/02_convolution.ipynb", "x" * 100_000), ("bob/02_convolution.ipynb", "x")])
    data = path.read_bytes().replace((100_000).to_bytes(4, "little"), (999).to_bytes(4, "little"))
    path.write_bytes(data)
    assert found(path) == {("bob", "02_convolution")}
    assert problems(path)["ann/02_convolution.ipynb"]
    assert zipfile.ZipFile(path).getinfo("ann/02_convolution.ipynb").file_size == 999


def test_reading_stops_at_a_limit_for_all_together(tmp_path, monkeypatch):
    monkeypatch.setattr(collect, "MAX_TOTAL", 2500)
    path = zipped(tmp_path / "in.zip", [(f"s{i}/02_convolution.ipynb", f"{i}" * 1000) for i in range(5)])
    assert len(found(path)) == 3
    assert sum("give the submissions in parts" in p for p in problems(path).values()) == 2


def test_too_many_files_are_refused_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(collect, "MAX_FILES", 3)
    with pytest.raises(ValueError, match="more than 3 files"):
        list(found_notebooks(make(tmp_path, *(f"ann/{i}.txt" for i in range(4))), BOOKS))


def test_of_one_name_twice_in_a_zip_the_later_is_taken(tmp_path):
    with pytest.warns(UserWarning, match="Duplicate name"):
        path = zipped(tmp_path / "in.zip", [("ann/02_convolution.ipynb", "old"), ("ann/02_convolution.ipynb", "new")])
    assert taken(path) == {"ann/02_convolution.ipynb": "new"}
    assert list(problems(path).values()) == ["left out, because the zip has a later file of this name"]


def test_an_encrypted_file_a_nested_zip_and_a_fifo_in_a_zip_are_named(tmp_path):
    fifo = zipfile.ZipInfo("eve/02_convolution.ipynb")
    fifo.external_attr = 0o010644 << 16
    path = zipped(tmp_path / "in.zip", [("ann/02_convolution.ipynb", "x"), ("bob/all.zip", "PK"), (fifo, "x")])
    data = bytearray(path.read_bytes())
    for mark, flags in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        data[data.index(mark) + flags] |= 1
    path.write_bytes(data)
    said = problems(path)
    assert "encrypted" in said["ann/02_convolution.ipynb"]
    assert "unpack it" in said["bob/all.zip"]
    assert said["eve/02_convolution.ipynb"] == "not a file, left out"
    assert not found(path)


def test_damaged_compression_costs_only_the_file(tmp_path):
    path = zipped(tmp_path / "in.zip", [("ann/02_convolution.ipynb", os.urandom(500).hex()),
                                        ("bob/02_convolution.ipynb", "x")])
    data = bytearray(path.read_bytes())
    data[60:90] = b"\xff" * 30
    path.write_bytes(data)
    assert found(path) == {("bob", "02_convolution")}
    assert "cannot be read" in problems(path)["ann/02_convolution.ipynb"]


def test_a_zip_without_dates_is_collected(tmp_path):
    path = zipped(tmp_path / "in.zip", [("ann/02_convolution.ipynb", "x")])
    data = bytearray(path.read_bytes())
    at = data.index(b"PK\1\2")
    data[at + 12:at + 16] = bytes(4)
    path.write_bytes(data)
    (item,) = found_notebooks(path, BOOKS)
    assert (item.problem, item.time.year) == ("", 1980)


def test_a_zip_whose_list_of_names_is_damaged_is_refused_in_a_sentence(tmp_path):
    path = zipped(tmp_path / "in.zip", [("Bö/02_convolution.ipynb", "x")])
    path.write_bytes(path.read_bytes().replace("Bö".encode(), b"B\xff\xff"))
    with pytest.raises(ValueError, match="cannot be read as a zip .* give the folder[.]"):
        list(found_notebooks(path, BOOKS))


def test_names_that_are_no_text_are_reported_so_that_they_can_be_shown(tmp_path):
    folder = os.fsencode(tmp_path) + b"/an\xffn\x1b[31m\n"
    os.mkdir(folder)
    with open(folder + b"/02_convolution.ipynb", "w") as f:
        f.write("x")
    ((path, why),) = problems(tmp_path).items()
    assert path == "an\ufffdn\ufffd[31m\ufffd/02_convolution.ipynb"
    assert "the student's name" in why
    assert (path + why).isprintable() and (path + why).encode()


@pytest.mark.parametrize("name", ["con", "NUL", "aux.x", "COM1", "x" * 101])
def test_names_that_some_computer_cannot_store_are_refused(tmp_path, name):
    (why,) = problems(make(tmp_path, f"{name}/02_convolution.ipynb")).values()
    assert "Windows" in why and "at most 100" in why


def test_names_that_differ_only_in_capitals_are_asked_about(tmp_path):
    path = zipped(tmp_path / "in.zip", [("Ann/02_convolution.ipynb", "x"), ("ann/00_start_here.ipynb", "y"),
                                        ("bob/00_start_here.ipynb", "y")])
    assert found(path) == {("bob", "00_start_here")}
    assert all("Ann and ann differ only in capitals" in p for p in problems(path).values())


def test_a_notebook_is_known_in_capitals_too(tmp_path):
    make(tmp_path, "ann/02_Convolution.IPYNB", "bob/hand-in_02_CONVOLUTION.ipynb")
    assert found(tmp_path) == {("ann", "02_convolution"), ("bob", "02_convolution")}


def test_what_is_handed_in_along_is_left_out_with_a_line_each(tmp_path):
    make(tmp_path, "ann/02_convolution.ipynb", "ann/numpy/__init__.py", "ann/cnnlab.py", "ann/all.zip")
    os.symlink("/etc", tmp_path / "ann" / "etc")
    os.mkfifo(tmp_path / "ann" / "00_start_here.ipynb")
    assert problems(tmp_path) == {
        "ann/00_start_here.ipynb": "not a file, left out", "ann/etc": "a link, left out",
        "ann/numpy/__init__.py": "not a notebook, left out", "ann/cnnlab.py": "not a notebook, left out",
        "ann/all.zip": "not a notebook, left out; unpack it to collect what is in it"}
    assert found(tmp_path) == {("ann", "02_convolution")}


def test_a_byte_order_mark_is_taken_off(tmp_path):
    make(tmp_path, "ann/02_convolution.ipynb")
    (tmp_path / "ann" / "02_convolution.ipynb").write_bytes(b"\xef\xbb\xbf{}")
    assert list(taken(tmp_path).values()) == ["{}"]
