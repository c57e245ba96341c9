"""From a submission to a score in nbgrader's grade book."""

import csv
import json
import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime

import nbformat
import pytest

from autograder import execute
from autograder.cli import main
from autograder.course import Course, CourseError
from autograder.exercise import draw_hidden, load_all
from autograder.sources import KERNELSPEC
from tests.grading.conftest import RIGHT, SLUG, cell

MAX = 3.0  # one point for the exercise, two for the written question


def grade(course, student="ann", **how):
    return list(course.grade(course.submissions([SLUG], [student]), **how))


def score(course, student="ann"):
    (row,) = [r for r in course.rows() if r.student == student]
    return row.score


def autograded(course, student="ann"):
    return (course.root / "autograded" / student / SLUG / f"{SLUG}.ipynb").read_text()


@pytest.mark.parametrize(("code", "points"), [
    (RIGHT, 1),
    ("def brighten(image, amount):\n    return image + amount", 0),
    ("def brighten(image, amount):\n    # YOUR CODE HERE\n    raise NotImplementedError()", 0),
    ("def brighten(image, amount:", 0),
    ("def brighten(image, amount):\n    import sys; print('noise', file=sys.stderr)\n"
     "    return np.clip(image + amount, 0, 1)", 1),
    ("def brighten(image, amount):\n    return (image + amount).clip(0, 1).tolist()", 1),
])
def test_code_earns_what_it_is_worth(course, submission, hand_in, code, points):
    hand_in("ann", submission(code))
    (done,) = grade(course)
    assert done.state == "graded"
    assert score(course) == points


def test_an_answer_learnt_by_heart_meets_a_hidden_case(course, submission, hand_in):
    by_heart = "KNOWN = {}\n" + "\n".join([
        "import json, cnnlab.probes as p",
        "for q in p.load('brighten').probes:",
        "    KNOWN[q.args[0].tobytes(), q.args[1]] = q.expected",
        "def brighten(image, amount):",
        "    return KNOWN.get((image.tobytes(), amount), image)"])
    hand_in("ann", submission(by_heart))
    grade(course)
    assert score(course) == 0
    text = (course.root / "autograded" / "ann" / SLUG / f"{SLUG}.ipynb").read_text()
    assert "only the grader has" in text


def test_hidden_expectations_do_not_reach_the_feedback(course, submission, hand_in, monkeypatch):
    monkeypatch.setattr(execute.secrets, "randbits", lambda n: 7)
    wrong_when_hidden = ("def brighten(image, amount):\n"
                         "    ok = amount in (0.25, 0.3, -0.4, 0.0)\n"
                         "    return np.clip(image + amount, 0, 1) if ok else image * 0 + 0.123")
    hand_in("ann", submission(wrong_when_hidden))
    grade(course)
    (done,) = course.feedback([SLUG])
    text = course.feedback_page(done.student, done.notebook).read_text()
    assert score(course) == 0 and "only the grader has" in text
    (brighten,) = load_all()[SLUG]
    for probe in draw_hidden(brighten, "brighten", 7).probes:
        for value in probe.expected.ravel():
            if 0 < value < 1:
                assert f"{value:.4g}" not in text


def test_the_same_seed_draws_the_same_probes_and_another_seed_others():
    (brighten,) = load_all()[SLUG]
    a, b, c = (draw_hidden(brighten, "brighten", s).probes[0].args[1] for s in (1, 1, 2))
    assert a == b != c


def test_each_grading_draws_anew_and_logs_its_seed(course, submission, hand_in):
    hand_in("ann", submission())
    grade(course)
    grade(course, force=True)
    log = (course.root / "logs" / "ann" / f"{SLUG}.log").read_text()
    seeds = [line.split("seed=")[1] for line in log.splitlines() if "seed=" in line]
    assert len(set(seeds)) == 2


def test_a_top_level_endless_loop_is_stopped_and_the_rest_is_graded(course, submission, hand_in):
    course.settings.ExecuteInRoom.timeout = 2
    notebook = submission()
    notebook.cells.insert(3, nbformat.v4.new_code_cell("while True:\n    pass"))
    hand_in("ann", notebook)
    grade(course)
    assert score(course) == 1
    assert "ran for more than 2 seconds" in autograded(course)


@pytest.mark.parametrize(("code", "says"), [
    ("import os\nos._exit(3)", "It ended Python itself, with exit code 3"),
    ("import ctypes\nctypes.string_at(0)", "It crashed Python (SIGSEGV)"),
    ("import time\nwhile True:\n    try: time.sleep(0.01)\n    except BaseException: pass", "ran for more than 2 seconds"),
    ("b = []\nwhile True: b.append(bytes(10**8))", "MemoryError"),
    ("while True: print('x' * 10**6)", "Stopped: "),  # whichever comes first: too long, or too much
])
def test_a_cell_that_ends_or_floods_python_costs_itself_and_no_other(course, submission, hand_in, code, says):
    course.settings.ExecuteInRoom.timeout = 2
    notebook = submission()
    notebook.cells.insert(3, nbformat.v4.new_code_cell(code))
    hand_in("ann", notebook)
    assert grade(course)[0].state == "graded"
    assert score(course) == 1
    assert says in autograded(course)


@pytest.mark.parametrize(("code", "says"), [
    ("import os; os._exit(3)", "It ended Python itself, with exit code 3"),
    ("import ctypes; ctypes.string_at(0)", "It crashed Python (SIGSEGV)"),
    ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "It ended Python itself, by SIGKILL"),
])
def test_a_function_that_ends_python_scores_nothing_and_says_how(course, submission, hand_in, code, says):
    hand_in("ann", submission(f"def brighten(image, amount):\n    {code}"))
    assert grade(course)[0].state == "graded"
    assert score(course) == 0
    assert says in autograded(course)


def test_a_deleted_check_is_put_back_and_scored(course, submission, hand_in):
    for student, code in (("ann", RIGHT), ("bob", "def brighten(image, amount):\n    return image")):
        notebook = submission(code)
        notebook.cells.remove(cell(notebook, "check_brighten"))
        hand_in(student, notebook)
        grade(course, student)
    assert (score(course, "ann"), score(course, "bob")) == (1, 0)


def test_a_deleted_solution_scores_nothing(course, submission, hand_in):
    notebook = submission()
    notebook.cells.remove(cell(notebook, "brighten"))
    hand_in("ann", notebook)
    grade(course)
    assert score(course) == 0


def test_a_changed_check_is_restored(course, submission, hand_in):
    notebook = submission("def brighten(image, amount):\n    return image")
    cell(notebook, "check_brighten").source = "1.0"
    hand_in("ann", notebook)
    grade(course)
    assert score(course) == 0


def test_a_broken_file_is_reported_and_the_class_goes_on(course, submission, hand_in):
    hand_in("ann", "{ not a notebook")
    hand_in("bob", submission())
    first, second = course.grade(course.submissions([SLUG], []))
    assert (first.student, first.state) == ("ann", "failed")
    assert "it is not a notebook: not JSON" in first.why
    assert (second.student, second.state) == ("bob", "graded")
    assert score(course, "ann") is None and score(course, "bob") == 1


def test_two_workers_give_a_class_the_same_scores_as_one(course, submission, hand_in):
    wrong = "def brighten(image, amount):\n    return image"
    for i in range(6):
        hand_in(f"s{i}", submission(wrong if i % 2 else RIGHT))
    hand_in("broken", "{")
    pairs = course.submissions([SLUG], [])
    for workers in (2, 1):
        done = {g.student: g.state for g in course.grade(pairs, force=True, workers=workers)}
        assert done == {"broken": "failed"} | {f"s{i}": "graded" for i in range(6)}
        assert [r.score for r in course.rows()] == [None, 1, 0, 1, 0, 1, 0]


def test_a_run_that_was_killed_half_way_is_graded_again(course, submission, hand_in):
    """nbgrader writes autograded/ before it records anything; seeing it there must not count as graded."""
    hand_in("ann", submission())
    script = ("import sys; from pathlib import Path; from autograder.course import Course; "
              "import autograder.execute as e; import os, signal; "
              "e._log = lambda *a: os.kill(os.getpid(), signal.SIGKILL); "
              "list(Course.open(Path(sys.argv[1])).grade([('ann', '00_start_here')]))")
    killed = subprocess.run([sys.executable, "-c", script, str(course.root)], capture_output=True)
    assert killed.returncode == -9
    assert (course.root / "autograded" / "ann" / SLUG / f"{SLUG}.ipynb").is_file()
    assert score(course) is None
    assert grade(course)[0].state == "graded"
    assert score(course) == 1


@pytest.mark.parametrize("noise", [
    "logging.basicConfig(); logging.warning('hi')", "print('hi', file=sys.__stderr__)",
    "os.write(2, b'hi')", "os.system('ls /nonexistent')"])
def test_no_noise_costs_a_point(course, submission, hand_in, noise):
    hand_in("ann", submission(f"import logging, os, sys\ndef brighten(image, amount):\n    {noise}\n"
                              "    return np.clip(image + amount, 0, 1)"))
    grade(course)
    assert score(course) == 1


@pytest.mark.parametrize("shadow", [
    "def check(name, function): pass", "def check(name, function): return -1",
    "def check(name, function): return 99", "get_ipython().ast_node_interactivity = 'none'"])
@pytest.mark.parametrize(("code", "points"), [(RIGHT, 1), ("def brighten(image, amount): return image", 0)])
def test_what_a_student_calls_check_does_not_matter(course, submission, hand_in, shadow, code, points):
    hand_in("ann", submission(f"{code}\n{shadow}"))
    assert grade(course)[0].state == "graded"
    assert score(course) == points


@pytest.mark.parametrize("loss", [
    lambda cells: [c for c in cells if "brighten" not in c.metadata.get("nbgrader", {}).get("grade_id", "")],
    lambda cells: [c for c in cells if "nbgrader" not in c.metadata],
    lambda cells: [nbformat.from_dict({**c, "metadata": {}}) for c in cells],
    lambda cells: []])
def test_whatever_is_missing_is_put_back_and_scores_nothing(course, submission, hand_in, loss):
    notebook = submission("def brighten(image, amount):\n    return image")
    notebook.cells = loss(notebook.cells)
    hand_in("ann", notebook)
    assert grade(course)[0].state == "graded"
    assert score(course) == 0


def test_a_notebook_whose_metadata_are_gone_is_known_by_its_cell_ids(course, submission, hand_in):
    notebook = submission()
    for c in notebook.cells:
        c.metadata = {}
    hand_in("ann", notebook)
    grade(course)
    assert score(course) == 1


def test_a_function_written_anew_where_its_cells_were_deleted_is_graded(course, submission, hand_in):
    notebook = submission()
    at = notebook.cells.index(cell(notebook, "brighten"))
    notebook.cells[at:at + 2] = [nbformat.v4.new_code_cell(RIGHT)]
    hand_in("ann", notebook)
    grade(course)
    assert score(course) == 1


ANSWER = "It changes the array of the caller, so the original is brighter as well."


def duplicate_answer(notebook, written):
    twin = nbformat.from_dict({**written, "id": "twin", "source": written.source + ANSWER})
    notebook.cells.insert(notebook.cells.index(written) + 1, twin)


def answer_below(notebook, written):
    notebook.cells.insert(notebook.cells.index(written) + 1, nbformat.v4.new_markdown_cell(ANSWER))


def answer_instead(notebook, written):
    notebook.cells[notebook.cells.index(written)] = nbformat.v4.new_markdown_cell(ANSWER)


@pytest.mark.parametrize("put", [duplicate_answer, answer_below, answer_instead])
def test_an_answer_in_the_wrong_cell_is_still_seen_by_a_person(course, submission, hand_in, put):
    notebook = submission()
    put(notebook, cell(notebook, "written_changed_input"))
    hand_in("ann", notebook)
    grade(course)
    (row,) = course.rows()
    assert (row.score, row.by_hand) == (1, 1)
    assert ANSWER in (course.root / "autograded" / "ann" / SLUG / f"{SLUG}.ipynb").read_text()


def test_a_notebook_saved_in_an_older_format_has_no_text_of_its_own(course, submission, hand_in):
    notebook = submission()
    notebook.nbformat_minor = 4
    for c in notebook.cells:
        del c["id"]
    hand_in("ann", notebook)
    grade(course)
    (row,) = course.rows()
    assert (row.score, row.by_hand) == (1, 0)


@pytest.mark.parametrize(("code", "points"), [("x = 2", 1), ("x = 3", 0), ("x = 2.0", 0)])
def test_an_instructors_own_notebook_is_graded_as_nbgrader_does(course, code, points, monkeypatch):
    about = {"schema_version": 3, "task": False, "cell_type": "code"}
    own = nbformat.v4.new_notebook(metadata={"kernelspec": KERNELSPEC}, cells=[
        nbformat.v4.new_code_cell("### BEGIN SOLUTION\nx = 2\n### END SOLUTION", metadata={"nbgrader": about | {
            "grade": False, "solution": True, "locked": False, "grade_id": "x"}}),
        nbformat.v4.new_code_cell("assert x == 2\n### BEGIN HIDDEN TESTS\nassert type(x) is int\n"
                                  "### END HIDDEN TESTS", metadata={"nbgrader": about | {
            "grade": True, "solution": False, "locked": True, "grade_id": "test_x", "points": 1}})])
    (course.root / "source" / "own").mkdir()
    nbformat.write(own, course.root / "source" / "own" / "own.ipynb")
    (released,) = course.release(["own"])
    notebook = nbformat.read(released, as_version=4)
    cell(notebook, "x").source = code
    place = course.root / "submitted" / "ann" / "own"
    place.mkdir(parents=True)
    nbformat.write(notebook, place / "own.ipynb")
    assert "type(x)" not in released.read_text()
    monkeypatch.setattr("autograder.execute.run", None)  # it ran once, by a worker, with the hidden tests
    assert [g.state for g in course.grade([("ann", "own")])] == ["graded"]
    assert [(r.notebook, r.score) for r in course.rows()] == [("own", points)]
    if points:  # the line that failed is in the traceback
        assert [f.state for f in course.feedback(["own"])] == ["written"]
        assert "type(x)" not in course.feedback_page("ann", "own").read_text()


def test_no_answer_at_all_needs_no_person(course, submission, hand_in):
    hand_in("ann", submission())
    grade(course)
    assert course.rows()[0].by_hand == 0


def test_a_tag_that_earns_full_marks_in_nbgrader_earns_none(course, submission, hand_in):
    notebook = submission("def brighten(image, amount):\n    return image")
    cell(notebook, "check_brighten").metadata.tags = ["skip-execution"]
    hand_in("ann", notebook)
    grade(course)
    assert score(course) == 0


@pytest.mark.parametrize(("text", "says"), [
    ("[]", "without a list of cells"), ("null", "without a list of cells"), ("", "not JSON"),
    ('{"cells": [], "nbformat": 3}', "notebook format 3"), ("{" * 100_000, "not JSON")])
def test_a_file_that_is_no_notebook_is_explained(course, hand_in, text, says):
    hand_in("ann", text)
    (done,) = grade(course)
    assert done.state == "failed" and says in done.why


def test_the_instructors_own_configuration_is_used(course, submission, hand_in):
    config = course.root / "nbgrader_config.py"
    config.write_text(config.read_text() + "c.CourseDirectory.db_url = c.CourseDirectory.db_url"
                                           ".replace('gradebook', 'other')\n")
    course = Course.open(course.root)
    hand_in("ann", submission())
    grade(course)
    assert (course.root / "other.db").is_file()
    assert score(course) == 1


def test_a_late_hand_in_pays_the_penalty_also_in_the_export(course, submission, hand_in, tmp_path):
    config = course.root / "nbgrader_config.py"
    config.write_text(config.read_text() + "c.LateSubmissionPlugin.penalty_method = 'zero'\n")
    course = Course.open(course.root)
    with course.gradebook() as book:
        book.update_or_create_assignment(SLUG, duedate="2026-01-31 12:00:00")
    for student, date in (("early", (2026, 1, 30)), ("late", (2026, 2, 2))):
        hand_in(student, submission())
        path = tmp_path / "handed" / student / f"{SLUG}.ipynb"
        os.utime(path, (datetime(*date, tzinfo=UTC).timestamp(),) * 2)
    shutil.rmtree(course.root / "submitted")
    list(course.collect(tmp_path / "handed"))
    list(course.grade(course.submissions([SLUG], [])))
    assert (score(course, "early"), score(course, "late")) == (1, 0)


@pytest.mark.parametrize("name", ["with space", "a%20b", "q?x=1", "ü#é"])
def test_a_course_may_lie_in_any_folder(tmp_path, released, name):
    course = Course.open(shutil.copytree(released, tmp_path / name))
    assert course.rows() == []
    with course.gradebook() as book:
        assert [a.name for a in book.assignments] == [SLUG]
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_manual_points_stay_when_a_submission_is_graded_again(course, submission, hand_in):
    hand_in("ann", submission())
    grade(course)
    with course.gradebook() as book:
        book.find_grade("written_changed_input", SLUG, SLUG, "ann").manual_score = 1.5
        book.db.commit()
    grade(course, force=True)
    assert score(course) == 2.5


def test_a_copied_check_does_not_stop_the_class(course, submission, hand_in):
    notebook = submission()
    notebook.cells.append(cell(notebook, "check_brighten").copy())
    notebook.cells[-1].id = "copied"
    hand_in("ann", notebook)
    hand_in("bob", submission())
    assert len(list(course.grade(course.submissions([SLUG], [])))) == 2
    assert score(course, "bob") == 1


def test_grading_again_skips_what_has_not_changed_and_takes_a_new_hand_in(course, submission, hand_in):
    hand_in("ann", submission("def brighten(image, amount):\n    return image"))
    assert grade(course)[0].state == "graded"
    assert grade(course)[0].state == "unchanged"
    assert [c.note for c in hand_in("ann", submission())] == ["replaced"]
    assert [c.note for c in hand_in("ann", submission())] == ["unchanged"]
    assert grade(course)[0].state == "graded"
    assert score(course) == 1


def test_the_whole_term_from_the_command_line(tmp_path, capsys):
    course, handed = tmp_path / "term", tmp_path / "in"
    assert main(["init", str(course)]) == 0
    assert main(["release", "00", "--course", str(course)]) == 0
    notebook = nbformat.read(course / "release" / SLUG / f"{SLUG}.ipynb", as_version=4)
    for student, code in (("ann", RIGHT), ("bob", "def brighten(image, amount):\n    return image")):
        cell(notebook, "brighten").source = code
        (handed / student).mkdir(parents=True)
        nbformat.write(notebook, handed / student / f"{SLUG}.ipynb")
    assert main(["collect", str(handed), "--course", str(course)]) == 0
    assert main(["grade", "--course", str(course)]) == 0
    assert main(["feedback", "--course", str(course)]) == 0
    assert main(["export", "--course", str(course)]) == 0
    assert list(csv.reader((course / "grades.csv").read_text().splitlines())) == [
        ["student", "notebook", "score", "max_score"],
        ["ann", SLUG, "1", f"{MAX:g}"], ["bob", SLUG, "0", f"{MAX:g}"]]
    feedback = (course / "feedback" / "bob" / SLUG / f"{SLUG}.html").read_text()
    assert "Likely cause" in feedback
    assert "2 new" in capsys.readouterr().out


def test_nbgraders_own_command_grades_with_the_same_engine(course, submission, hand_in):
    hand_in("ann", submission())
    subprocess.run([sys.executable, "-m", "nbgrader", "autograde", SLUG], cwd=course.root, check=True,
                   capture_output=True)
    assert score(course) == 1
    assert "seed=" in (course.root / "logs" / "ann" / f"{SLUG}.log").read_text()


@pytest.mark.parametrize(("arguments", "says"), [
    (["grade", "--course", "{tmp}"], "is not a course"),
    (["grade", "77", "--course", "{course}"], "There is no notebook '77'"),
    (["grade", "--course", "{course}"], "nothing to grade"),
    (["grade", "--student", "zoe", "--course", "{course}"], "No submission from zoe"),
    (["collect", "{tmp}/nowhere", "--course", "{course}"], "neither a folder nor a zip"),
    (["init", "{tmp}"], "exists and is not a course"),
    (["init", "{course}/nbgrader_config.py/x"], "Not a directory"),
    (["feedback", "--course", "{course}"], "Nothing is graded yet"),
    (["export", "{tmp}", "--course", "{course}"], "is a folder"),
    (["export", "{tmp}/no/where.csv", "--course", "{course}"], "No such file"),
])
def test_bad_input_gets_one_sentence(course, tmp_path, capsys, arguments, says):
    filled = [a.format(tmp=tmp_path, course=course.root) for a in arguments]
    assert main(filled) == 2
    err = capsys.readouterr().err
    assert says in err and err.count("\n") == 1


def test_init_twice_keeps_what_the_instructor_wrote(course):
    config = course.root / "nbgrader_config.py"
    config.write_text(config.read_text() + "c.Execute.timeout = 5\n")
    Course.init(course.root)
    assert "c.Execute.timeout = 5" in config.read_text()
    with pytest.raises(CourseError):
        Course.open(course.root / "source")


def test_the_written_question_waits_for_a_person(course, submission, hand_in):
    notebook = submission()
    cell(notebook, "written_changed_input").source += "\n\nIt changes the array of the caller."
    hand_in("ann", notebook)
    grade(course)
    (row,) = course.rows()
    assert (row.score, row.max_score, row.by_hand) == (1, MAX, 1)


def test_feedback_is_valid_even_if_nothing_is_graded(course):
    assert list(course.feedback([SLUG])) == []


def test_the_autograded_notebook_is_a_valid_notebook(course, submission, hand_in):
    hand_in("ann", submission())
    grade(course)
    path = course.root / "autograded" / "ann" / SLUG / f"{SLUG}.ipynb"
    nbformat.validate(nbformat.read(path, as_version=4))
    assert json.loads(path.read_text())["nbformat"] == 4
