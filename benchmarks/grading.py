"""How long grading takes: the same class through stock `nbgrader autograde` and through ours, on two cores.

    python -m benchmarks.grading [--quick]

prints a table and writes build/reports/grading.json.  Four notebooks: a small one that imports torch and one of NumPy
alone (an instructor's own, graded by `assert`, so that both run the same cells), then two of the course, whose figures
take most of the time on either side.  Seconds count
from the first submission on, without what starting takes on either side, which is reported by itself.  Memory is
ru_maxrss of the grading process plus the largest of the processes it waited for; and all its processes together, what
they share counted once (PSS, seen every 20 submissions).  Then: what one more submission costs in a
grade book that holds a hundred, a thousand, ten thousand.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import json
import multiprocessing
import os
import platform
import re
import resource
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import nbformat
import psutil
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from nbgrader.api import Gradebook
from rich.console import Console
from rich.table import Table

from autograder import sources
from autograder.course import Course
from autograder.intake import prepare
from autograder.run import run
from autograder.workers import run_submission

RESULTS = sources.ROOT / "build" / "reports" / "grading.json"
ROWS = {"torch": "torch_step", "numpy": "numpy_step", "start_here": "00_start_here", "figures": "02_convolution"}
SLOW = ("start_here", "figures")  # fewer of these: most of their time goes into drawing, which both sides do alike
WORKERS = 2
# What is imported beside NumPy and Matplotlib, and the step of training.
STEPS = {
    "torch": ("\nimport torch\nfrom torch import nn", """torch.manual_seed(0)
model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 10))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
loss = nn.functional.cross_entropy(model(torch.randn(16, 1, 8, 8)), torch.arange(16) % 10)
loss.backward()
optimizer.step()
loss.item()"""),
    "numpy": ("", """rng = np.random.default_rng(0)
x, y, w = rng.normal(size=(16, 64)), np.eye(10)[np.arange(16) % 10], rng.normal(size=(64, 10))
p = np.apply_along_axis(softmax, 1, x @ w)
w -= 0.1 * x.T @ (p - y) / len(x)
-np.log(p[y > 0]).mean()""")}
PLAIN = "c = get_config()\nc.CourseDirectory.course_id = 'plain'\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="small numbers, to try it out")
    quick = parser.parse_args().quick
    ours, stock = (6, 2) if quick else (200, 20)
    sizes, laps = ((10, 100), 2) if quick else ((100, 1000, 10_000), 9)
    with tempfile.TemporaryDirectory(prefix="cnnlab-grading-") as folder:
        course, plain = make_courses(Path(folder))
        start = time_stock_start()
        figures = {}
        for name, slug in ROWS.items():
            share = 5 if name in SLOW and not quick else 1
            compared = compare(course, plain, slug, ours // share, stock // share, start)
            figures |= {f"{name}_{k}": v for k, v in compared.items()}
            figures[f"ratio_{name}"] = figures.pop(f"{name}_ratio")
        figures |= growing(course.root, Path(folder), sizes, laps)
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps(figures | {
        "submissions": ours, "stock_submissions": stock, "workers": WORKERS, "quick": quick,
        "command": "python -m benchmarks.grading", "date": time.strftime("%Y-%m-%d"),
        "device": f"{os.cpu_count()} CPU cores, {platform.machine()}, Python {platform.python_version()}"},
        indent=1) + "\n")
    show(figures, sizes)


# ---- The courses ----

def make_courses(folder: Path) -> tuple[Course, Path]:
    """The same sources as a course of ours and as a plain nbgrader course, released."""
    course = Course.init(folder / "ours")
    for name in ("torch", "numpy"):
        place = course.root / "source" / ROWS[name]
        place.mkdir()
        nbformat.write(step_notebook(STEPS[name]), place / f"{ROWS[name]}.ipynb")
    course.release(list(ROWS.values()))
    plain = folder / "stock"
    shutil.copytree(course.root / "source", plain / "source")
    (plain / "nbgrader_config.py").write_text(PLAIN, encoding="utf-8")
    for slug in ROWS.values():
        nbgrader(plain, "generate_assignment", slug)
    return course, plain


def step_notebook(step: tuple[str, str]) -> nbformat.NotebookNode:
    """Imports, an exercise, a figure, one step of training and the graded cell; a source, with its solution."""
    def marks(name, **what):
        return {"nbgrader": {"schema_version": 3, "task": False, "grade": False, "solution": False, "locked": False,
                             "grade_id": name} | what}

    cells = [
        new_markdown_cell("# One step of training"),
        new_code_cell("import matplotlib.pyplot as plt\nimport numpy as np" + step[0]),
        new_code_cell("def softmax(x):\n    ### BEGIN SOLUTION\n    e = np.exp(x - x.max())\n    return e / e.sum()\n"
                      "    ### END SOLUTION", metadata=marks("softmax", solution=True)),
        new_code_cell("x = np.linspace(-3, 3, 61)\n"
                      "plt.plot(x, [softmax(np.array([t, 0.0]))[0] for t in x])\nplt.show()"),
        new_code_cell(step[1]),
        new_code_cell("assert np.allclose(softmax(np.zeros(4)), 0.25)\n"
                      "assert np.allclose(softmax(np.array([1e3, 0.0])), [1, 0])",
                      metadata=marks("test_softmax", grade=True, locked=True, points=1))]
    for number, cell in enumerate(cells):
        cell.id = f"cell-{number}"
    return new_notebook(cells=cells, metadata={"kernelspec": sources.KERNELSPEC})


def solved(root: Path, slug: str) -> nbformat.NotebookNode:
    """The released notebook with the solutions in it, where they are code."""
    (source,) = [nbformat.read(p, as_version=4) for p in (root / "source" / slug).glob("*.ipynb")]
    marker = re.compile(r"^.*### (BEGIN|END) SOLUTION.*\n?", re.MULTILINE)
    answers = {c.metadata.nbgrader.grade_id: marker.sub("", c.source)
               for c in source.cells if c.cell_type == "code" and c.metadata.get("nbgrader", {}).get("solution")}
    notebook = nbformat.read(root / "release" / slug / f"{slug}.ipynb", as_version=4)
    for cell in notebook.cells:
        name = cell.metadata.get("nbgrader", {}).get("grade_id")
        cell.source = answers.get(name, cell.source)
    return notebook


def hand_in(root: Path, slug: str, students: list[str]) -> float:
    """Let each student hand in the solution with a comment of their own.  Returns the score each must get."""
    notebook = solved(root, slug)
    for student in students:
        own = copy.deepcopy(notebook)
        first = next(c for c in own.cells if c.cell_type == "code" and c.metadata.get("nbgrader", {}).get("solution"))
        first.source += f"\n# {student}"
        place = root / "submitted" / student / slug
        place.mkdir(parents=True, exist_ok=True)
        nbformat.write(own, place / f"{slug}.ipynb")
    # What is answered in words waits for a person.
    return sum(c.metadata.nbgrader.points for c in notebook.cells
               if c.metadata.get("nbgrader", {}).get("grade") and c.cell_type == "code")


# ---- Both ways ----

def compare(course: Course, plain: Path, slug: str, ours: int, stock: int, stock_start: float) -> dict[str, float]:
    """Seconds a submission, both ways, and what they are spent on.  Raises AssertionError on a wrong score."""
    students = [f"s{i:04d}" for i in range(ours)]
    hand_in(plain, slug, students[:stock])
    right = hand_in(course.root, slug, students)
    start = time.perf_counter()
    nbgrader(plain, "autograde", slug)
    stock_seconds = (time.perf_counter() - start - stock_start) / stock
    with Gradebook(f"sqlite:///{plain / 'gradebook.db'}", "plain") as book:
        scores = [book.find_submission_notebook(slug, slug, s).score for s in students[:stock]]
    assert scores == [right] * stock, f"stock nbgrader gave {scores} instead of {right:g}"

    # In a process of its own, as the command is, so that its memory is its own.
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as alone:
        told = alone.submit(grade_class, course.root, slug, WORKERS).result()
        steps = alone.submit(time_steps, course.root, slug, min(ours, 20)).result()
    scores = [r.score for r in course.rows() if r.notebook == slug]
    assert scores == [right] * ours, f"ours gave {set(scores)} instead of {right:g}"
    return {"stock_s": round(stock_seconds, 4), "ours_s": round(told["seconds"], 4),
            "ratio": round(stock_seconds / told["seconds"], 1),
            "ratio_with_start": round((stock_seconds + stock_start / stock) / (told["all"] / ours), 1),
            "start_s": round(told["start"], 2), "peak_mb": round(told["peak"] / 2**20),
            "together_mb": round(told["together"] / 2**20)} | {
                f"{step}_s": round(s, 4) for step, s in steps.items()}


def grade_class(root: Path, slug: str, workers: int) -> dict[str, float]:
    """Grade all of a notebook and say how long it took, from the first that was done, and how much memory."""
    course, times, together = Course.open(root), [], 0
    begin = time.perf_counter()
    for graded in course.grade(course.submissions([slug], []), workers=workers):
        assert graded.state == "graded", graded
        times.append(time.perf_counter())
        if len(times) % 20 == 10:
            together = max(together, memory_together())
    peak = 1024 * sum(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    seconds = (times[-1] - times[0]) / (len(times) - 1)
    return {"seconds": seconds, "all": times[-1] - begin, "start": times[0] - begin - seconds, "peak": peak,
            "together": together}


def memory_together() -> int:
    """Bytes in use by this process and all below it, what they share counted once."""
    total = 0
    for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
        with contextlib.suppress(psutil.Error):  # rooms come and go
            total += process.memory_full_info().pss
    return total


def time_steps(root: Path, slug: str, n: int) -> dict[str, float]:
    """Mean seconds of each step, one submission after the other in this process."""
    course = Course.open(root)
    pairs = course.submissions([slug], [])[:n]
    run_submission(course.job(*pairs[0]))  # warm
    seconds = dict.fromkeys(("read", "intake", "run", "record"), 0.0)
    for pair in pairs:
        lap = time.perf_counter()
        submission = course.job(*pair)
        lap = _add(seconds, "read", lap)
        notebook, repairs = prepare(submission.content, submission.job.notebook)
        lap = _add(seconds, "intake", lap)
        ran = run(replace(submission.job, notebook=notebook))
        ran.metadata.cnnlab.update(repairs=repairs, seconds=0)
        lap = _add(seconds, "run", lap)
        assert course.record(*pair, ran).state == "graded"
        _add(seconds, "record", lap)
    return {step: s / n for step, s in seconds.items()}


def _add(seconds, step, since):
    now = time.perf_counter()
    seconds[step] += now - since
    return now


def nbgrader(root: Path, *command: str) -> None:
    """Run an nbgrader command in a course."""
    done = subprocess.run([sys.executable, "-W", "ignore", "-m", "nbgrader", *command], cwd=root, capture_output=True,
                          text=True)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])


def time_stock_start() -> float:
    """Seconds until nbgrader's command has loaded."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "nbgrader", "autograde", "--help"], check=True, capture_output=True)
    return time.perf_counter() - start


# ---- A grade book that grows ----

def growing(released: Path, folder: Path, sizes: tuple[int, ...], laps: int) -> dict[str, float]:
    """Seconds for one more submission where `sizes` are already recorded; the sizes take turns."""
    slug = ROWS["start_here"]
    courses = {}
    for size in sizes:
        root = folder / f"with-{size}"
        root.mkdir()
        for name in ("source", "release"):
            shutil.copytree(released / name, root / name)
        shutil.copy(released / "nbgrader_config.py", root)
        courses[size] = course = Course.open(root)
        course.release([slug])
        hand_in(root, slug, ["first"])
        assert [g.state for g in course.grade([("first", slug)])] == ["graded"]
        fill(course, slug, size)
    seconds = {size: [] for size in sizes}
    reading = {size: [] for size in sizes}
    for lap in range(laps + 1):
        for size, course in courses.items():
            student = f"more{lap}"
            hand_in(course.root, slug, [student])
            start = time.perf_counter()
            # As the command does it: what was handed in, and of that what is new.
            pairs = [p for p in course.submissions([slug], [student])]
            assert [g.state for g in course.grade(pairs)] == ["graded"]
            if lap:  # the first warms up
                seconds[size].append(time.perf_counter() - start)
    for size, course in courses.items():
        start = time.perf_counter()
        rows = course.rows()
        reading[size] = time.perf_counter() - start
        assert len(rows) == size + laps + 1 and len({r.score for r in rows}) == 1
    middle = {size: statistics.median(s) for size, s in seconds.items()}
    return ({f"with_{size}_s": round(s, 4) for size, s in middle.items()}
            | {f"rows_{size}_s": round(s, 2) for size, s in reading.items()}
            | {"flat": round(middle[sizes[-1]] / middle[sizes[0]], 3)})


def fill(course: Course, slug: str, size: int) -> None:
    """Repeat what recording `first` left, rows and files, until there are `size` submissions."""
    students = [f"old{i:05d}" for i in range(size - 1)]
    database = sqlite3.connect(course.root / "gradebook.db")
    with database:
        (assignment,) = _rows(database, "submitted_assignment", "student_id", "first")
        (notebook,) = _rows(database, "submitted_notebook", "assignment_id", assignment["id"])
        below = {table: _rows(database, table, "notebook_id", notebook["id"]) for table in ("grade", "comment")}
        for student in students:
            _insert(database, "student", {"id": student})
            assignment = assignment | {"id": uuid.uuid4().hex, "student_id": student}
            _insert(database, "submitted_assignment", assignment)
            notebook = notebook | {"id": uuid.uuid4().hex, "assignment_id": assignment["id"]}
            _insert(database, "submitted_notebook", notebook)
            for table, rows in below.items():
                for row in rows:
                    _insert(database, table, row | {"id": uuid.uuid4().hex, "notebook_id": notebook["id"]})
    database.close()
    for student in students:
        for file in [*course.root.glob(f"*/first/{slug}/*"), *course.root.glob(f".graded/first/{slug}"),
                     *course.root.glob(f"logs/first/{slug}.log")]:
            parts = file.relative_to(course.root).parts
            copied = course.root.joinpath(parts[0], student, *parts[2:])
            copied.parent.mkdir(parents=True, exist_ok=True)
            os.link(file, copied)


def _rows(database, table, column, value):
    database.row_factory = sqlite3.Row
    return [dict(r) for r in database.execute(f"SELECT * FROM {table} WHERE {column} = ?", (value,))]


def _insert(database, table, row):
    marks = ", ".join("?" * len(row))
    database.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})", tuple(row.values()))


# ---- What it says ----

def show(figures: dict[str, float], sizes: tuple[int, ...]) -> None:
    table = Table("notebook", "stock s", "ours s", "ratio", "with start", "start s", "read", "intake", "run", "record",
                  "peak MB", "together MB")
    for name, slug in ROWS.items():
        own = {k.removeprefix(f"{name}_"): v for k, v in figures.items()} | {"ratio": figures[f"ratio_{name}"]}
        values = [own[k] for k in ("stock_s", "ours_s", "ratio", "ratio_with_start", "start_s", "read_s", "intake_s",
                                   "run_s", "record_s", "peak_mb", "together_mb")]
        table.add_row(slug, *(f"{v:g}" for v in values))
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 140)
    console.print(table)
    for size in sizes:
        console.print(f"one more after {size:6d}: {figures[f'with_{size}_s']:.3f} s; "
                      f"reading the grade book: {figures[f'rows_{size}_s']:g} s")
    console.print(f"flat: {figures['flat']:g}; written to {RESULTS.relative_to(sources.ROOT)}")


if __name__ == "__main__":
    main()
