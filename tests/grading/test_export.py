"""Exports: each format as its platform reads it, no score for what was not graded, never half a file."""

import csv

import pytest

from autograder import export
from autograder.course import CourseError, Row

ROWS = [Row("ann", "02_convolution", 12.5, 26, by_hand=1), Row("ann", "03_padding", 0, 9),
        Row("bob", "02_convolution", None, 26)]


@pytest.fixture
def exported(tmp_path):
    """`exported(rows, format)`: the lines of the file, and what was said."""
    def make(rows, format):
        notes = export.write(rows, tmp_path / "grades.csv", format)
        with (tmp_path / "grades.csv").open(newline="", encoding="utf-8") as file:
            return list(csv.reader(file)), " ".join(notes)
    return make


def named(*students):
    return [Row(s, "02_convolution", 1, 26) for s in students]


def test_plain_csv_has_a_line_for_each_submission(exported):
    lines, _ = exported(ROWS, "csv")
    assert lines == [["student", "notebook", "score", "max_score"], ["ann", "02_convolution", "12.5", "26"],
                     ["ann", "03_padding", "0", "9"], ["bob", "02_convolution", "", "26"]]


def test_canvas_gets_its_header_its_points_and_a_line_for_each_student(exported):
    lines, _ = exported(ROWS, "canvas")
    assert lines == [
        ["Student", "ID", "SIS User ID", "SIS Login ID", "Section", "02_convolution", "03_padding"],
        ["    Points Possible", "", "", "", "", "26", "9"],
        ["ann", "", "", "ann", "", "12.5", "0"],
        ["bob", "", "", "bob", "", "", ""]]


@pytest.mark.parametrize(("student", "ids"), [
    ("lovelaceada_12345", ["12345", "", ""]), ("4711042", ["", "4711042", ""]), ("alovelace", ["", "", "alovelace"]),
    ("ada@example.org", ["", "", "ada@example.org"]), ("group_7", ["", "", "group_7"])])
def test_canvas_finds_a_student_by_what_the_folder_is_named_after(exported, student, ids):
    lines, _ = exported(named(student), "canvas")
    assert lines[2][1:4] == ids


def test_a_student_whom_canvas_renamed_is_one_line(exported):
    rows = [Row("smithann_12345", "02_convolution", 3, 26), Row("jonesann_12345", "03_padding", 4, 9)]
    assert exported(rows, "canvas")[0][2][5:] == ["3", "4"]
    with pytest.raises(ValueError, match="one person to Canvas"):
        exported([*rows, Row("smithann_12345", "03_padding", 5, 9)], "canvas")


@pytest.mark.parametrize(("students", "column"), [
    (["ann", "bob_7"], "Username"), (["a@b.org", "c@d.org"], "Email address"), (["471101", "471102"], "ID number"),
    (["471101", "ann"], "Username")])
def test_moodle_gets_the_column_that_the_names_are(exported, students, column):
    lines, said = exported(named(*students), "moodle")
    assert lines[0] == [column, "02_convolution"] and [line[0] for line in lines[1:]] == students
    assert f"map from '{column}'" in said and "02_convolution 26" in said


def test_moodle_reads_a_dash_as_no_grade(exported):
    lines, _ = exported(ROWS, "moodle")
    assert lines == [["Username", "02_convolution", "03_padding"], ["ann", "12.5", "0"], ["bob", "-", "-"]]


def test_names_from_a_moodle_zip_are_full_names_and_it_is_said_that_moodle_does_not_match_them(exported):
    lines, said = exported(named("Ada Lovelace_12345", "Bo Li_678"), "moodle")
    assert lines[:2] == [["Full name", "Identifier", "02_convolution"], ["Ada Lovelace", "Participant 12345", "1"]]
    assert "by username, ID number or email address only" in said and "moodle-worksheet" in said


def test_a_moodle_worksheet_has_the_three_columns_that_moodle_looks_for(exported):
    rows = [Row("Ada Lovelace_12345", "02_convolution", 3.25, 26), Row("Bo Li_678", "02_convolution", None, 26)]
    lines, said = exported(rows, "moodle-worksheet")
    assert lines == [["Identifier", "Full name", "Grade", "Maximum Grade", "Last modified (grade)"],
                     ["Participant 12345", "Ada Lovelace", "3.25", "26", "-"],
                     ["Participant 678", "Bo Li", "", "26", "-"]]
    assert "maximum has to be 26" in said


@pytest.mark.parametrize(("rows", "why"), [
    (ROWS, "choose one of 02_convolution, 03_padding"), ([], "choose one of none"), (named("ann"), "'ann' has none")])
def test_a_moodle_worksheet_says_what_it_needs(exported, rows, why):
    with pytest.raises(ValueError, match=why):
        exported(rows, "moodle-worksheet")


@pytest.mark.parametrize("format", export.FORMATS)
def test_a_submission_without_a_grade_never_has_a_number(exported, format):
    lines, said = exported([Row("Ada_12345", "02_convolution", None, 26)], format)
    assert lines[-1][{"moodle": 2, "canvas": 5}.get(format, 2)] in ("", "-") and "0" not in lines[-1]
    assert "1 submission not graded: the score is empty, not 0." in said


def test_points_that_wait_for_a_person_are_said(exported):
    assert "1 written answer by 1 student still wait" in exported(ROWS, "csv")[1]
    assert exported([Row("ann", "02_convolution", 1, 26)], "csv")[1] == ""


@pytest.mark.parametrize("format", ["csv", "canvas", "moodle"])
@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1"])
def test_no_name_is_a_formula_to_a_spreadsheet(exported, format, name):
    lines, _ = exported(named(name), format)
    for line in lines:
        assert not [text for text in line if text[:1] in tuple("=+-@\t")]


def test_names_with_commas_quotes_and_accents_come_back_whole(exported):
    name = 'Zoë "Z", O\'Neil\nJr'
    assert exported(named(name), "csv")[0][1][0] == name


@pytest.mark.parametrize(("score", "text"), [
    (1 / 3, "0.3333"), (1e-5, "0"), (1234567, "1234567"), (10, "10"), (0, "0")])
def test_a_number_has_no_exponent_and_no_separator(exported, score, text):
    assert exported([Row("ann", "02_convolution", score, 26)], "csv")[0][1][2] == text


def test_a_refused_export_leaves_the_old_file(exported, tmp_path):
    exported(ROWS, "csv")
    before = (tmp_path / "grades.csv").read_bytes()
    with pytest.raises(ValueError, match="choose from csv, canvas, moodle"):
        exported(ROWS, "excel")
    with pytest.raises(ValueError, match="worksheet"):
        exported(ROWS, "moodle-worksheet")
    assert (tmp_path / "grades.csv").read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["grades.csv"]


def test_a_folder_is_not_written_over(tmp_path):
    with pytest.raises(CourseError, match="is a folder"):
        export.write(ROWS, tmp_path)
