"""Run the attacks on stock nbgrader, each in a course and a bubblewrap of its own, and keep the results.

The graded cell is `check("brighten", brighten)`, which runs the visible probes in the student's kernel, or, for
attacks on assertions, a cell of np.testing assertions with hidden tests, as nbgrader's documentation shows.
"""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nbformat
from nbgrader.api import Gradebook, MissingEntry
from rich.console import Console

from autograder.build import source_notebooks
from autograder.exercise import load_all
from tests.hostile.case import RIGHT, START, Case, World, build, cell, cut, honest, write
from tests.hostile.judge import (
    Secrets,
    leaks,
    live_scripts,
    outputs_text,
    plant,
    plant_in_source,
    plant_in_submission,
    remove,
    rendered,
    spoiled,
)
from tests.hostile.watch import marked_files

REPO = Path(__file__).parents[2]
RESULTS = Path(__file__).parent / "stock.json"
TIMEOUT = 120
PORT = 40123
CONFIG = "c = get_config()\nc.CourseDirectory.course_id = 'stock'\n"
ASSERTIONS = """\
image = np.array([[0.0, 0.25], [0.5, 0.875]])
np.testing.assert_allclose(brighten(image, 0.25), [[0.25, 0.5], [0.75, 1.0]])
assert np.allclose(brighten(image, -0.25), [[0.0, 0.0], [0.25, 0.625]])
### BEGIN HIDDEN TESTS
hidden = np.array([[0.1, 0.9, 0.4]])
assert np.allclose(brighten(hidden, 0.3), [[0.4, 1.0, 0.7]])
### END HIDDEN TESTS"""
AFTER = honest("zz_plain", "the next student in the alphabet", RIGHT)


def run(cases: list[Case], console: Console) -> int:
    """Run `cases` one after another and merge what came of them into stock.json."""
    found = known()
    with tempfile.TemporaryDirectory(prefix="hostile-stock-") as folder:
        templates = {}
        # A copy for the whole run: payloads may write to it, and nobody else changes it meanwhile.
        shutil.copytree(REPO / "cnnlab", Path(folder) / "cnnlab", ignore=shutil.ignore_patterns("__pycache__"))
        for i, case in enumerate(cases, 1):
            kind = case.slug, case.stock
            if kind not in templates:
                templates[kind] = make_template(Path(folder) / f"{case.slug}-{case.stock}", *kind)
            found[case.name] = one = run_case(case, templates[kind])
            console.print(f"{i:3} {case.name:32} {one['score']} of {one['deserved']}  {_words(one)}  "
                          f"{one['seconds']} s")
            save(found)
    return 0


def known() -> dict[str, dict]:
    """The results that are there already, by the name of the case."""
    old = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.is_file() else {}
    return {c["name"]: c for c in old.get("cases", [])}


def save(found: dict[str, dict]) -> None:
    cases = sorted(found.values(), key=lambda c: c["name"])

    def count(name):
        return sum(bool(c[name]) for c in cases)

    head = {
        "command": "python -m tests.hostile --stock", "date": str(datetime.datetime.now(datetime.UTC).date()),
        "nbgrader": importlib.metadata.version("nbgrader"), "timeout": TIMEOUT,
        "guard": "each case in bubblewrap: own pid, network and IPC namespaces, read-only system, a home, /tmp and "
                 "/dev/shm of its own, /etc/shadow hidden; the numbers for what escaped are therefore too low",
        "attacks": len(cases), **{name: count(name) for name in (
            "gained", "full_marks_for_wrong", "ungraded", "class_stopped", "escaped", "leaked")}}
    lines = [json.dumps(one, ensure_ascii=False) for one in cases]  # one line each, to be read and compared
    RESULTS.write_text(json.dumps(head, indent=1, ensure_ascii=False)[:-2] + ',\n "cases": [\n  ' + ",\n  ".join(lines)
                       + "\n ]\n}\n", encoding="utf-8")


def _words(one):
    return " ".join(n for n in ("full_marks_for_wrong", "ungraded", "class_stopped", "escaped", "leaked") if one[n])


def make_template(root: Path, slug: str, style: str) -> Path:
    """A stock nbgrader course with one released assignment; with a secret in its solution."""
    root.mkdir(parents=True)
    (root / "nbgrader_config.py").write_text(CONFIG)
    notebook = cut(source_notebooks(load_all())[slug])
    if style == "assert":
        cell(notebook, "check_brighten").source = ASSERTIONS
    (root / "source" / slug).mkdir(parents=True)
    nbformat.write(notebook, root / "source" / slug / f"{slug}.ipynb")
    _nbgrader(root, "generate_assignment", slug, check=True)
    return root


def _nbgrader(root, *arguments, **how):
    return subprocess.run([sys.executable, "-m", "nbgrader", *arguments], cwd=root, capture_output=True, **how)


def run_case(case: Case, template: Path) -> dict:
    """Autograde a class of two, the case and a plain right submission after it, and judge what came of it."""
    base, words = Path(tempfile.mkdtemp(prefix="hostile-case-")), Secrets()
    try:
        world = World(base, REPO, PORT, f"hostile-{base.name}")
        shutil.copytree(template, world.course)
        for name in ("tmp", "shm"):
            (base / name).mkdir()
        shutil.copytree(template.parent / "cnnlab", base / "cnnlab")
        plant(world, [case], words)
        _hand_in(case, world, words)
        started = time.monotonic()
        in_time = _autograde(world, case.slug, words)
        seconds = time.monotonic() - started
        return _judge(case, world, words, in_time) | {"seconds": round(seconds, 1)}
    finally:
        remove(base)


def _hand_in(case, world, words):
    slug = case.slug
    released = nbformat.read(world.course / "release" / slug / f"{slug}.ipynb", as_version=4)
    solved = {c.metadata.nbgrader.grade_id: c.source for c in source_notebooks({slug: load_all()[slug]})[slug].cells
              if c.metadata.get("nbgrader", {}).get("solution")}
    submitted = world.course / "submitted"
    others = [(AFTER.name, AFTER)] + [("aa_plain", AFTER)] * ("another" in case.name or "other_students" in case.name)
    for student, plain in others:
        if slug == START:
            notebook = build(plain, released, world.filler(plain))
            plant_in_submission(notebook, words)
        else:
            notebook = cut(released)
            cell(notebook, case.exercise).source = solved[case.exercise]
        nbformat.write(notebook, _made(submitted / student / slug) / f"{slug}.ipynb")
    with Gradebook(f"sqlite:///{world.course / 'gradebook.db'}") as book:
        book.add_student(AFTER.name, first_name=words.words["gradebook"])
    plant_in_source(world.course / "source" / slug / f"{slug}.ipynb", words)
    fill = world.filler(case)
    write(case, build(case, released, fill, solved), submitted / case.name / slug, fill)


def _made(folder):
    folder.mkdir(parents=True)
    return folder


def _autograde(world, slug, words) -> bool:
    """Run `nbgrader autograde` in the guard; False if it had to be stopped."""
    base = world.base
    guard = ["bwrap", "--die-with-parent", "--unshare-pid", "--unshare-net", "--unshare-ipc", "--cap-drop", "ALL",
             "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "--ro-bind", "/dev/null", "/etc/shadow",
             "--bind", base / "tmp", "/tmp", "--bind", base / "shm", "/dev/shm", "--bind", base, base,
             "--bind", base / "cnnlab", REPO / "cnnlab", "--setenv", "HOME", world.home,
             "--setenv", "CNNLAB_SECRET", words.words["environment"], "--chdir", REPO]
    command = [sys.executable, "-m", "tests.hostile.stock_inside", base, slug, str(world.port), world.socket]
    with open(base / "log", "wb") as log:
        process = subprocess.Popen([*map(str, guard + command)], stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        try:
            process.wait(TIMEOUT)
            return True
        except subprocess.TimeoutExpired:
            process.kill()  # with it, by --die-with-parent, all that is inside
            process.wait()
            return False


def _judge(case, world, words, in_time):
    course, slug, name = world.course, case.slug, case.name
    try:
        seen = json.loads((world.base / "seen.json").read_text())
    except (OSError, ValueError):
        seen = {"heard": [], "processes": [] if not in_time else ["the grader itself was killed"]}
    score, other = _score(course, slug, name), _score(course, slug, AFTER.name)
    points = 2.0 if case.exercise == "separable_cost" else 1.0
    graded = course / "autograded" / name / slug / f"{slug}.ipynb"
    leaked = leaks(case, [outputs_text(graded)], words)
    escaped = [f"reached the {where}" for where, _ in seen["heard"]]
    escaped += [f"left running: {p[:40]}" for p in seen["processes"]]
    escaped += [f"wrote {p}" for p in _files_left(world, name)] + spoiled(world, case)
    escaped += live_scripts(case, [rendered(graded)]) if graded.is_file() else []
    return {"name": name, "what": case.what, "graded_cell": case.stock, "score": score, "deserved": case.deserved,
            "gained": (score or 0) > case.deserved,
            "full_marks_for_wrong": bool(score and score >= points > case.deserved),
            "ungraded": score is None, "class_stopped": other != 1.0, "escaped": sorted(set(escaped))[:8],
            "leaked": leaked, "stopped_after": None if in_time else TIMEOUT}


def _files_left(world, name):
    ignore = [world.course / "submitted" / name, world.course / "autograded" / name, world.course / "notes"]
    return [p.replace(str(world.base), "") for p in marked_files([world.base], ignore)]


def _score(course, slug, student) -> float | None:
    """What the grade book has for the graded code cells of a submission; None if it was not graded."""
    try:
        with Gradebook(f"sqlite:///{course / 'gradebook.db'}") as book:
            grades = book.find_submission_notebook(slug, slug, student).grades
            scores = [g.auto_score for g in grades if g.cell.cell_type == "code"]
    except MissingEntry:
        return None
    return None if not scores or None in scores else sum(scores)
