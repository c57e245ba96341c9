"""A corrected exercise is graded again for everybody, who moves is shown first, and nobody else does."""

from dataclasses import replace

import pytest

from autograder.cli import main
from autograder.course import CourseError
from autograder.exercise import load_all
from autograder.regrade import Move, Regrade
from tests.grading.conftest import RIGHT, SLUG

UNCLIPPED = "def brighten(image, amount):\n    return image + amount"


@pytest.fixture
def graded(course, submission, hand_in):
    for student, code in (("ann", RIGHT), ("bob", UNCLIPPED), ("cyd", "def brighten(image, amount): return 0")):
        hand_in(student, submission(code))
    assert all(g.state == "graded" for g in course.grade(course.submissions([SLUG], []), workers=1))
    assert scores(course) == {"ann": 1, "bob": 0, "cyd": 0}
    return course


def scores(course):
    return {r.student: r.score for r in course.rows()}


@pytest.fixture
def corrected(monkeypatch):
    """`corrected(field=value, …)`: the one exercise of the notebook, changed as an instructor would change its entry."""
    def change(**fields):
        (entry,) = load_all()[SLUG]
        new = {**load_all(), SLUG: [replace(entry, **fields)]}
        for module in ("autograder.regrade", "autograder.run", "autograder.course"):
            monkeypatch.setattr(f"{module}.load_all", lambda: new)
        exercise_cache_clear()
        return new
    yield change
    exercise_cache_clear()


def exercise_cache_clear():
    from autograder import run

    run._shipped.cache_clear()


def unclipped(image, amount):
    return image + amount


def test_nothing_changes_if_nothing_was_corrected(graded, capsys):
    before = {p: p.read_bytes() for p in (graded.root / "autograded").rglob("*.ipynb")}
    assert main(["regrade", "00", "--course", str(graded.root), "--workers", "1", "--yes"]) == 0
    assert "No score changes." in capsys.readouterr().out
    assert before == {p: p.read_bytes() for p in (graded.root / "autograded").rglob("*.ipynb")}


def test_a_corrected_oracle_moves_those_whom_it_wronged(graded, corrected, capsys):
    corrected(oracle=unclipped)
    with Regrade(graded, SLUG, workers=1) as regrade:
        assert [g.state for g in regrade.run()] == ["run"] * 3
        assert regrade.moves == [Move("ann", "brighten", 1, 0), Move("bob", "brighten", 0, 1)]
        assert scores(graded) == {"ann": 1, "bob": 0, "cyd": 0}  # shown, not written
        assert [g.state for g in regrade.write()] == ["graded"] * 3
    assert scores(graded) == {"ann": 0, "bob": 1, "cyd": 0}


def test_other_points_reach_the_grade_book_and_the_release(graded, corrected):
    corrected(points=5.0)
    with Regrade(graded, SLUG, workers=1) as regrade:
        list(regrade.run())
        assert regrade.points_changed
        assert regrade.moves == [Move("ann", "brighten", 1, 5)]
        list(regrade.write())
    assert [(r.score, r.max_score) for r in graded.rows()] == [(5, 7), (0, 7), (0, 7)]


def test_the_hidden_cases_are_those_of_the_first_time(graded):
    seed = graded.autograded("ann", SLUG).metadata.cnnlab.seed
    with Regrade(graded, SLUG, workers=1) as regrade:
        list(regrade.run())
        list(regrade.write())
    assert graded.autograded("ann", SLUG).metadata.cnnlab.seed == seed


def test_points_given_by_hand_stay(graded, corrected):
    with graded.gradebook() as book:
        grade = book.find_grade("check_brighten", SLUG, SLUG, "bob")
        grade.manual_score = 0.5
        book.db.commit()
    corrected(oracle=unclipped)
    with Regrade(graded, SLUG, workers=1) as regrade:
        list(regrade.run())
        assert [m.student for m in regrade.moves] == ["ann"]
        list(regrade.write())
    assert scores(graded)["bob"] == 0.5


def test_without_a_yes_nothing_is_written(graded, corrected, capsys, monkeypatch):
    corrected(oracle=unclipped)
    monkeypatch.setattr("builtins.input", lambda *a: "")
    assert main(["regrade", "00", "--course", str(graded.root), "--workers", "1"]) == 0
    said = capsys.readouterr().out
    assert "bob" in said and "+1" in said and "Nothing was written." in said
    assert scores(graded) == {"ann": 1, "bob": 0, "cyd": 0}


def test_a_notebook_of_the_instructors_own_is_not_regraded(course):
    (course.root / "source" / "own").mkdir()
    with pytest.raises(CourseError, match="has no exercises of this course"):
        Regrade(course, "own")
