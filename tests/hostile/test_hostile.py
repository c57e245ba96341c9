"""The corpus is what it says: enough cases, buildable, attacks that attack and honest code that is right.

Grading them all is `python -m tests.hostile`; here they are only built, and run where that is cheap and safe.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import nbformat
import pytest

from autograder.build import source_notebooks
from autograder.exercise import load_all
from tests.hostile import forged_answers
from tests.hostile.case import START, World, build, cut, honest, write
from tests.hostile.corpus import ATTACKS, HONEST
from tests.hostile.judge import Live
from tests.hostile.stock import RESULTS

PLAIN = honest("plain", "")
# Runs each (name, code) of its input in a fork of its own and prints the points that `check` gives.
RUN = """
import json, os, sys
import numpy as np
from cnnlab import check, checks
checks.report.in_jupyter = lambda: True
for name, code, exercise in json.load(sys.stdin):
    sys.stdout.flush()
    if os.fork() == 0:
        score = None
        out, sys.stdout, sys.stderr = sys.stdout, open(os.devnull, "w"), open(os.devnull, "w")
        names = {"np": np, "check": check, "__name__": "__main__"}
        try:
            exec(compile(code, name, "exec"), names)
            score = float(names["check"](exercise, names[exercise]))
        except BaseException:
            pass
        out.write(json.dumps([name, score]) + "\\n")
        out.flush()
        os._exit(0)
    os.wait()
"""


@pytest.fixture(scope="module")
def released():
    return {slug: notebook for slug, notebook in source_notebooks(load_all()).items()}


@pytest.fixture
def world(tmp_path):
    return World(tmp_path, Path.cwd(), 1, "nobody")


def points(cases):
    """What `check` gives in the student's own process, by name: the code and the check side by side."""
    todo = [(c.name, c.code, c.exercise) for c in cases]
    with tempfile.TemporaryDirectory() as folder:  # some of the code writes files
        done = subprocess.run([sys.executable, "-c", RUN], input=json.dumps(todo), capture_output=True, text=True,
                              timeout=120, cwd=folder)
    return dict(map(json.loads, done.stdout.splitlines()))


def test_there_are_enough_cases_and_each_has_a_name_and_a_mark_of_its_own():
    assert len(ATTACKS) >= 58 and len(HONEST) >= 27
    for word in ("name", "mark", "what"):
        assert len({getattr(c, word) for c in ATTACKS + HONEST}) == len(ATTACKS + HONEST)


def test_no_mark_stands_in_a_payload_before_it_is_built():
    assert not [c.name for c in ATTACKS if c.code and c.mark in c.code]


@pytest.mark.parametrize("case", ATTACKS + HONEST, ids=lambda c: c.name)
def test_every_case_can_be_handed_in_and_differs_from_a_plain_submission(case, released, world):
    fill = world.filler(case)
    folder = world.base / "submitted"
    content = build(case, released[case.slug], fill, {})
    write(case, content, folder, fill)
    path = folder / f"{case.slug}.ipynb"
    names = {p.name for p in folder.iterdir()}
    assert names != {path.name} or not path.is_file() or case.name == "plain" or (
        path.read_bytes() != nbformat.writes(build(PLAIN, released[START], fill)).encode())
    if path.is_file() and isinstance(content, nbformat.NotebookNode) and case.code:
        places = ("@MARK@", "@COURSE@", "@OUT@", "@HOME@", "@PORT@", "@SOCKET@", "@REPO@")
        assert not [p for p in places if p in path.read_text()]


def test_attacks_on_the_comparison_earn_points_where_check_runs_beside_them():
    """So what keeps them from earning any in the grader is the grader."""
    found = points([c for c in forged_answers.CASES if c.stock == "check"])
    gain = {name for name, score in found.items() if score}
    assert gain >= {"patched_builtin_round", "patched_builtin_sum", "frames_give_expected", "gc_gives_expected",
                    "patched_compare", "patched_calls", "patched_probes", "patched_report", "patched_judge",
                    "replaced_check", "poisoned_modules", "import_hook", "swapped_code", "visible_by_heart"}


def test_honest_code_is_right():
    other = ("slow", "top_level_await", "processes_inside")  # too slow, or only in a notebook
    cases = [c for c in HONEST if c.slug == START and c.make is None and c.name not in other]
    found = points(cases)
    assert {name for name, score in found.items() if score != 1} == set()


def test_what_stock_nbgrader_did_is_known_for_every_attack():
    found = json.loads(RESULTS.read_text())
    assert {c["name"] for c in found["cases"]} == {c.name for c in ATTACKS}
    assert found["full_marks_for_wrong"] >= 40 and found["class_stopped"] >= 5


def test_the_guide_for_instructors_tells_what_stock_nbgrader_did():
    known = json.loads(RESULTS.read_text())
    told = " ".join((Path(__file__).parents[2] / "docs" / "instructor.md").read_text().split())
    assert (f"The same {known['attacks']} attacks and accidents on plain nbgrader {known['nbgrader']}: {known['gained']} get full "
            f"marks for wrong work, {known['ungraded']} leave the submission without a grade, {known['class_stopped']} stop the "
            f"whole class, {known['escaped']} do something outside their notebook, and {known['leaked']} read what they "
            "must not.") in told


@pytest.mark.parametrize(("page", "count"), [
    ("<script>alert('MARK')</script>", 1), ("<img src=x onerror='MARK'>", 1), ("&lt;script&gt;MARK", 0),
    ("<a href=' java\nscript:MARK'>", 1), ("<pre>&lt;img onerror=MARK&gt;</pre>", 0), ("<iframe srcdoc='MARK'>", 1),
    ("<a href='https://x/mark'>", 0), ("<script>1</script> MARK", 0)])
def test_only_what_a_browser_would_run_counts_as_live(page, count):
    parser = Live("mark")
    parser.feed(page.replace("MARK", "mark"))
    assert len(parser.found) == count


def test_a_cut_notebook_keeps_every_cell_that_nbgrader_knows(released):
    for notebook in released.values():
        known = [c.metadata.nbgrader.grade_id for c in notebook.cells if "nbgrader" in c.metadata]
        assert [c.metadata.nbgrader.grade_id for c in cut(notebook).cells if "nbgrader" in c.metadata] == known
