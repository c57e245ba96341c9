"""check and hint: every way to be wrong has a message of its own, and none stops the notebook."""

import subprocess
import sys
import time
import warnings
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cnnlab import calls, check, checks, hint, records, report
from cnnlab.calls import Local
from cnnlab.checks import Score, judge
from cnnlab.probes import Probe, Shipped, load

X = np.array([[1.0, -2.0], [3.5, 4.0], [0.5, -6.0]])


def exercise(**changes):
    """An exercise that asks for 2x, with two mistakes whose answers are known."""
    settings = dict(
        id="double", points=3, function="double", parameters=("x", "by"), hints=("one", "two"),
        mistakes={"squares": "It is squared.", "adds_two": "Two is added."},
        probes=(Probe((X,), {}, 2 * X, {"squares": X**2, "adds_two": X + 2}),
                Probe((X[:1],), {}, 2 * X[:1], {"squares": X[:1] ** 2, "adds_two": X[:1] + 2})))
    return Shipped(**settings | changes)


def text(answer, **changes):
    return report.text(judge(exercise(**changes), Local(answer)))


def in_place(x):
    x *= 2
    return x


def hangs(x):
    while True:
        pass


def recurses(x):
    return recurses(x)


def unfinished(x):
    # YOUR CODE HERE
    raise NotImplementedError()


@pytest.mark.parametrize(("answer", "says"), [
    (5, "needs the function itself"),
    (lambda: 1, "too many positional arguments"),
    (lambda x: None, "Is a `return` missing?"),
    (lambda x: "2x", "the string '2x'"),
    (lambda x: print, "the function `print` itself"),
    (lambda x: 2 * x.T, "expected (1, 2)"),
    (lambda x: (2 * x).astype(np.float32), "float32"),
    (lambda x: 2 * x * np.nan, "not finite"),
    (in_place, "changed its input: `x`"),
    (lambda x: x[99], "IndexError: index 99"),
    (lambda x: exit(), "called `exit()`"),
    (recurses, "the recursion has no end"),
    (unfinished, "not written yet"),
    (lambda x: x**2, "Likely cause: It is squared."),
    (lambda x: x + 2, "Likely cause: Two is added."),
])
def test_each_way_to_be_wrong_has_its_own_message(answer, says):
    assert says in text(answer)
    assert "0 of 3 points" in text(answer)


def test_an_endless_loop_is_stopped_and_named(monkeypatch):
    monkeypatch.setattr(calls, "CALL_LIMIT", 0.2)
    assert "It was stopped: a call may take 0.2 seconds" in text(hangs)


def test_a_part_that_hangs_costs_only_itself_and_is_tried_once(monkeypatch):
    monkeypatch.setattr(calls, "CALL_LIMIT", 0.2)
    parts = {"even": X, "odd": -X}
    probes = tuple(Probe((x,), {}, 2 * x, part=name) for name, x in parts.items())
    tried = []

    def hangs_on_odd(x):
        tried.append(x)
        while (x == -X).all():
            pass
        return 2 * x

    verdict = judge(exercise(probes=probes), Local(hangs_on_odd), tuple(map(replace, probes)))
    assert verdict.parts == {"even": True, "odd": False} and verdict.score == 1.5
    assert len(tried) == 3


def test_a_check_as_a_whole_ends_in_time_and_says_so(monkeypatch):
    monkeypatch.setattr(calls, "CHECK_LIMIT", 0.3)

    def slow(x):
        time.sleep(0.2)
        return 2 * x

    start = time.monotonic()
    assert "It was stopped" in text(slow)
    assert time.monotonic() - start < 1


def test_a_check_ends_before_the_grader_stops_its_cell():
    from autograder.run import CELL_LIMIT

    assert calls.CALL_LIMIT < calls.CHECK_LIMIT < CELL_LIMIT - 1


def test_a_stub_that_is_called_is_named_not_the_caller():
    def double(x):
        return unfinished(x)

    assert "It calls `unfinished`, which is not written yet." in text(double)
    assert "the call failed" in text(double)


def test_a_branch_left_out_with_a_reason_is_not_taken_for_the_stub():
    def double(x):
        raise NotImplementedError("negative numbers")

    assert "It raised NotImplementedError: negative numbers" in text(double)


class Unprintable(Exception):
    def __str__(self):
        raise ValueError


def raises_unprintable(x):
    raise Unprintable


def closes_stdout(x):
    sys.stdout.close()
    return x


def patches_settings(x):
    np.seterr(all="raise")
    warnings.simplefilter("error")
    return x


@pytest.mark.parametrize(("answer", "says"), [
    (raises_unprintable, "It raised Unprintable."), (closes_stdout, "wrong values"),
    (lambda x: (v for v in x), "because it contains `yield`"), (lambda x: x > 0, "dtype bool, true or false"),
])
def test_odd_answers_are_explained_too(answer, says):
    assert says in text(answer)


class Hostile:
    def __eq__(self, other):
        raise OSError

    __array__ = __float__ = __len__ = __getitem__ = __hash__ = __eq__


@pytest.mark.parametrize("value", [np.timedelta64(3, "s"), np.array([1, 2], "m8[s]"), Hostile(), [Hostile()],
                                   np.array(Hostile, dtype=object)])
@pytest.mark.parametrize("expected", [7, 7.5, True, "a", X, (1, 2)])
def test_values_of_no_use_are_the_wrong_kind_and_no_crash(value, expected):
    probes = (Probe((X,), {}, expected),)
    assert "0 of 3 points" in text(lambda x: value, probes=probes, mistakes={})


@pytest.mark.parametrize("huge", [10**30, -(10**400), 10**5000, float("inf"), float("nan"), 1e308],
                         ids=["1e30", "-1e400", "1e5000", "inf", "nan", "1e308"])
def test_huge_numbers_are_just_wrong(huge):
    for expected in (7, 7.5) if huge != 1e308 else (7.5,):
        probes = (Probe((X,), {}, expected),)
        assert "expected 7" in text(lambda x: huge, probes=probes, mistakes={})


def test_settings_a_function_leaves_behind_do_not_reach_the_next_call():
    before = np.geterr(), list(warnings.filters)
    text(patches_settings)
    assert (np.geterr(), list(warnings.filters)) == before


def test_a_buffer_that_is_returned_again_is_judged_as_it_was_then():
    buffer = []

    def double(x):
        buffer[:] = (3 * x).tolist()
        return buffer

    assert "at index [0, 0] it returned 3, expected 2" in text(double)
    shown = judge(exercise(), Local(double)).shown
    assert shown.reply.value == (3 * X[:1]).tolist()


def test_a_right_answer_gets_all_points_and_one_line():
    assert text(lambda x: x + x) == "✓ double: 3 of 3 points"


def test_the_smallest_failing_call_is_the_one_shown():
    assert "with x of shape (1, 2)" in text(lambda x: x**2)


def test_a_cause_is_not_guessed_when_two_mistakes_fit():
    same = {"squares": X**2, "powers": X**2}
    probes = (Probe((X,), {}, 2 * X, same),)
    mistakes = {"squares": "It is squared.", "powers": "It is a power."}
    assert "Likely cause" not in text(lambda x: x**2, probes=probes, mistakes=mistakes)


def test_a_cause_is_not_named_when_it_fits_only_some_calls():
    assert "Likely cause" not in text(lambda x: x**2 if len(x) == 3 else x - 1)


def test_what_the_function_prints_is_shown_and_costs_nothing(capsys):
    def talks(x):
        print("to stdout")
        print("to stderr", file=sys.stderr)
        return 2 * x

    assert text(talks) == "✓ double: 3 of 3 points"
    assert "Your function printed:\nlooking at" in text(lambda x: print("looking at"))
    assert capsys.readouterr() == ("", "")


def test_parts_earn_their_share():
    probes = (Probe((X,), {}, 2 * X, part="positive"), Probe((-X,), {}, -2 * X, part="negative"))
    verdict = judge(exercise(probes=probes), Local(lambda x: np.where(x == X, 2 * x, x) if (x == X).all() else x))
    assert verdict.score == 1.5
    assert "✓ positive\n  ✗ negative" in report.text(verdict)


numbers = hnp.arrays(st.sampled_from([float, int, np.float32, bool, complex]),
                     hnp.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=10), elements=st.integers(0, 1))


@given(numbers, numbers)
def test_whatever_comes_back_there_is_a_report(expected, got):
    probe = Probe((np.ones((1, 2, 3)),), {}, expected.real.astype(float))
    verdict = judge(exercise(probes=(probe,), mistakes={}), Local(lambda x: got))
    assert report.text(verdict) and report.html(verdict)


HIDDEN = (Probe((X[1:] * 1234.5,), {}, 2 * X[1:] * 1234.5),)


def only_visible(x):
    return 2 * x if np.abs(x).max() < 100 else x


def test_a_hidden_case_decides_but_its_expected_values_are_not_told():
    verdict = judge(exercise(), Local(only_visible), HIDDEN)
    assert verdict.score == 0
    for shown in (report.text(verdict), report.html(verdict)):
        assert "only the grader has" in shown and "of shape (2, 2)" in shown
        assert not any(f"{v:g}" in shown or f"{v:.4g}" in shown for v in (2 * X[1:] * 1234.5).ravel())


def test_the_score_keeps_no_way_to_the_hidden_values():
    score = Score(judge(exercise(), Local(only_visible), HIDDEN))
    assert score == 0.0 and isinstance(score, float)
    assert all(isinstance(v, str) for v in vars(score).values())


def test_the_notebook_gets_a_number_for_nbgrader_and_a_page_for_the_reader():
    bundle = Score(judge(exercise(), Local(lambda x: x**2)))._repr_mimebundle_()
    assert float(bundle["text/plain"]) == 0.0
    assert "Likely cause" in bundle["text/html"] and "✗" in bundle["text/html"]


def test_nothing_a_student_prints_or_raises_becomes_html():
    def attack(x):
        print("<script>alert(1)</script>")
        raise ValueError("<img src=x onerror=alert(2)>")

    page = report.html(judge(exercise(), Local(attack)))
    assert "<script" not in page and "<img" not in page and "&lt;script&gt;" in page


def test_in_a_terminal_the_report_is_printed_and_the_points_are_the_value(capsys):
    assert check("brighten", lambda image, amount: np.clip(image + amount, 0, 1)) == 1
    assert capsys.readouterr().out == "✓ brighten: 1 of 1 point\n"


def test_validate_is_told_why_an_answer_is_wrong_and_nothing_of_a_right_one(monkeypatch, capsys):
    monkeypatch.setattr(report, "in_jupyter", lambda: True)
    monkeypatch.setattr(records, "remember", lambda *what: None)  # there is no kernel here whose work could be noted
    for execution, said in (("validate", "✗ brighten: 0 of 1 point"), ("autograde", ""), ("", "")):
        monkeypatch.setenv("NBGRADER_EXECUTION", execution)
        check("brighten", lambda image, amount: image + amount)
        out, err = capsys.readouterr()
        assert out == "" and err.startswith(said) and bool(err) == bool(said)
        check("brighten", lambda image, amount: np.clip(image + amount, 0, 1))
        assert capsys.readouterr() == ("", "")


def test_a_wrong_function_that_is_called_gets_the_blame_until_it_is_right(monkeypatch, capsys):
    def brighten(image, amount):
        return image

    def double(x):
        return brighten(x, 0)

    monkeypatch.setattr(checks, "_failing", set())
    monkeypatch.setattr(checks, "load", lambda name, *_: exercise() if name == "double" else load(name))
    check("brighten", brighten)
    check("double", double)
    assert "Likely cause: It calls `brighten`, whose own check fails." in capsys.readouterr().out
    check("brighten", lambda image, amount: np.clip(image + amount, 0, 1))
    check("double", double)
    assert "Likely cause" not in capsys.readouterr().out


def test_a_mistake_that_follows_from_a_wrong_function_is_not_named():
    def square(x):
        return x**2

    def double(x):
        return square(x)

    verdict = judge(exercise(), Local(double))
    assert verdict.mistake == "squares"
    assert checks.blame_callee(verdict, Local(double), set()).mistake == "squares"
    blamed = checks.blame_callee(verdict, Local(double), {"square"})
    assert blamed.mistake == "" and blamed.cause.startswith("It calls `square`")


def test_hints_come_one_at_a_time_and_the_last_stays(capsys):
    hints = load("brighten").hints
    checks._rungs.clear()
    for _ in range(len(hints) + 1):
        hint("brighten")
    out = capsys.readouterr().out
    assert [f"Hint {i + 1} of 4" in out for i in range(4)] == [True] * 4
    assert out.count(hints[-1]) == 2 and "(that was the last one)" in out


def test_importing_cnnlab_needs_numpy_alone():
    code = ("import sys, cnnlab; "
            "print([m for m in ('torch', 'matplotlib', 'sklearn', 'scipy', 'nbgrader', 'autograder') "
            "if m in sys.modules])")
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
