"""Run the corpus on our engine: one class, graded as an instructor grades one, and judged case by case.

The run takes place in a pid namespace of its own, made by util-linux's `unshare`, so that an engine with a hole
costs no process of the machine.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import ClassVar

import nbformat
from rich.console import Console
from rich.table import Table

from autograder.build import source_notebooks
from autograder.course import Course
from autograder.exercise import load_all
from tests.hostile.case import RIGHT, START, Case, World, add, build, honest, write
from tests.hostile.judge import (
    Secrets,
    leaks,
    limited,
    live_scripts,
    outputs_text,
    plant,
    plant_in_source,
    plant_in_submission,
    remove,
    rendered,
    spoiled,
)
from tests.hostile.watch import Watch, marked_files, wait_for_processes

REPO = Path(__file__).parents[2]
REPORT = REPO / "build" / "reports" / "hostile.json"
FEW = REPORT.with_name("hostile-few.json")  # of a run of some cases, which must not pass for the whole
FEEDBACK_LIMIT = 30  # seconds for one page
LARGEST = 100 << 20  # bytes of a graded notebook
PLACES = [Path("/tmp"), Path("/var/tmp"), Path("/dev/shm"), Path("/run"), Path.home() / ".ipython"]
LOOK = """
import glob, os
for folder in ("/tmp", "/var/tmp", "/dev/shm", "/run", ".", "..", os.path.expanduser("~"), "/"):
    print([n for n in os.listdir(folder) if n.startswith("hx")] if os.path.isdir(folder) else "")
print([open(p).read() for p in glob.glob("/proc/[0-9]*/comm")])
"""


def look_around(notebook, fill):
    add(notebook, LOOK, before="brighten")


# The first and the last of the class, in alphabetical order.  The last one looks for what others left.
FIRST = honest("aa_plain", "the first student of the class", RIGHT)
LAST = honest("zz_plain", "the last student of the class", RIGHT, make=look_around)


def run_guarded(arguments: list[str], console: Console) -> int:
    """Run this command again in a pid namespace of its own, with a new folder for everything it makes."""
    REPORT.parent.mkdir(parents=True, exist_ok=True)
    for report in (REPORT, FEW):
        report.unlink(missing_ok=True)
    base = Path(tempfile.mkdtemp(prefix="hostile-"))
    me = [sys.executable, "-m", "tests.hostile", "--inside", str(base), *arguments]
    guard = ["unshare", *([] if os.getuid() == 0 else ["--user", "--map-current-user"]),
             "--pid", "--fork", "--kill-child", "--mount-proc"]
    try:
        if subprocess.run([*guard, "true"], capture_output=True).returncode:
            console.print("No pid namespace can be made here (unshare), so nothing is run.")
            return 2
        code = subprocess.run([*guard, *me], cwd=REPO).returncode
        if not (REPORT.is_file() or FEW.is_file()):
            console.print(f"[red]The run itself was ended (exit code {code}); run the cases one by one.[/]")
            return 1
        return code
    finally:
        if not os.environ.get("HOSTILE_KEEP"):
            remove(base)


def run(cases: list[Case], base: str, workers: int | None, few: bool, console: Console) -> int:
    """Grade `cases` in one class, write the report, show it; 1 if anything is not as it should be."""
    words = Secrets()
    os.environ["CNNLAB_SECRET"] = words.words["environment"]
    with Watch(0, f"hostile-{os.getpid()}-{time.time_ns()}", Path(base)) as watch:
        world = World(Path(base), REPO, watch.port, watch.name)
        course = make_course(world, sorted({START, *(c.slug for c in cases)}), words)
        plant(world, cases, words)
        os.link(Path(base) / "listener", world.base / "outside" / "listener")
        hand_in(world, course, [FIRST, *cases, LAST], words)
        before = fingerprints(world)
        clock = Clock()
        graded, stopped = grade(course, workers, clock, console)
        left = wait_for_processes()
        heard = list(watch.heard)
    shown, slow = write_feedback(course, [c.name for c in (FIRST, *cases, LAST)])
    stopped += [f"feedback for {name} takes more than {FEEDBACK_LIMIT} s" for name in slow]
    rows = {r.student: r for r in course.rows()}
    after = fingerprints(world)
    changed = [p for p, old in before.items() if after.get(p) != old]
    found = files_left(world)
    results = [judge(c, world, course, graded, rows, clock, heard, left, found, words, shown) for c in cases]
    plain = [judge(c, world, course, graded, rows, clock, [], [], [], words, shown) for c in (FIRST, LAST)]
    stopped += [f"{p['name']} has {p['score']} points, {p['state']}: {p['why']}" for p in plain if not p["full"]]
    survived = [c.name for c in cases if c.mark in text_of(course, LAST)]
    report = summary(cases, results, stopped, changed, survived, left)
    (FEW if few else REPORT).write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return show(report, few, console)


class Clock:
    """The seconds between one answer of the grader and the next."""

    def __init__(self):
        self.seconds, self._last = {}, time.monotonic()

    def note(self, student):
        now = time.monotonic()
        self.seconds[student], self._last = round(now - self._last, 2), now


def make_course(world: World, slugs: list[str], words: Secrets) -> Course:
    course = Course.init(world.course)
    for slug in course.notebooks():
        if slug not in slugs:
            shutil.rmtree(world.course / "source" / slug)
    for slug in slugs:
        plant_in_source(world.course / "source" / slug / f"{slug}.ipynb", words)
    course.release(slugs)
    with course.gradebook() as book:
        book.add_student("zz_secret", first_name=words.words["gradebook"])
    return course


def hand_in(world: World, course: Course, cases: list[Case], words: Secrets) -> None:
    released = {s: nbformat.read(world.course / "release" / s / f"{s}.ipynb", as_version=4)
                for s in course.notebooks()}
    sources = source_notebooks(load_all())
    for case in cases:
        cells = [c for c in sources[case.slug].cells if c.cell_type == "code" and "nbgrader" in c.metadata]
        solved = {c.metadata.nbgrader.grade_id: re.sub("### (BEGIN|END) SOLUTION", "", c.source)
                  for c in cells if c.metadata.nbgrader.solution}
        fill = world.filler(case)
        content = build(case, released[case.slug], fill, solved)
        if case is FIRST:
            plant_in_submission(content, words)
        write(case, content, world.course / "submitted" / case.name / case.slug, fill)


def grade(course: Course, workers: int | None, clock: Clock, console: Console):
    """What became of each student, and why the class was stopped, if it was."""
    pairs = course.submissions(course.notebooks(), [])
    graded, stopped = {}, []
    try:
        for done in course.grade(pairs, workers=workers):
            graded[done.student] = done
            clock.note(done.student)
            console.print(f"{len(graded):4}/{len(pairs)} {done.student:34} {done.state:8} "
                          f"{clock.seconds[done.student]:6} s  {done.why[:90]}", markup=False, soft_wrap=True)
    except Exception as e:  # noqa: BLE001  an engine that raises is a finding like another
        stopped.append(f"grade raised {type(e).__name__}: {e}")
    return graded, stopped


class One(Course):
    """The course as if one student alone had handed in, so that feedback can be timed for each."""

    def submissions(self, names, students):
        return [p for p in super().submissions(names, students) if p[0] == self.student[0]]

    student: ClassVar[list[str]] = []


def write_feedback(course: Course, students: list[str]) -> tuple[set[str], list[str]]:
    """Who has a page of feedback, and for whom writing it took too long and was stopped."""
    shown, slow, one = set(), [], One(course.root)
    for student in students:
        One.student[:] = [student]
        try:
            with limited(FEEDBACK_LIMIT):
                shown |= {f.student for f in one.feedback(course.notebooks()) if f.state == "written"}
        except TimeoutError:
            slow.append(student)
    return shown, slow


def judge(case, world, course, graded, rows, clock, heard, left, found, words, shown) -> dict:
    """All that is to be said about one case."""
    done, row = graded.get(case.name), rows.get(case.name)
    score = row.score if row else None
    deserved = case.deserved
    if deserved is None:
        deserved = sum(e.points for e in load_all()[case.slug])
    notebook = course.root / "autograded" / case.name / case.slug / f"{case.slug}.ipynb"
    page = course.feedback_page(case.name, case.slug)
    pages = [page.read_text(encoding="utf-8", errors="replace")] if case.name in shown else []
    escaped = [f"reached the {where}" for where, data in heard if case.mark.encode() in data]
    escaped += ["left a process running" for text in left if case.mark in text]
    own = [str(course.root / part / case.name) + "/" for part in ("submitted", "autograded")]
    escaped += [f"wrote {p}" for p in found if case.mark in p and not p.startswith(tuple(own))]
    escaped += spoiled(world, case)
    if notebook.is_file() and notebook.stat().st_size > LARGEST:
        escaped.append(f"left {notebook.stat().st_size >> 20} MB in the course")
    elif notebook.is_file():
        escaped += live_scripts(case, [rendered(notebook), *pages])
    leaked = leaks(case, [outputs_text(notebook), *pages], words) if case.kind == "attack" else []
    return {"name": case.name, "kind": case.kind, "what": case.what, "score": score, "deserved": deserved,
            "gained": (score or 0) > deserved, "full": score == deserved, "escaped": sorted(set(escaped))[:8],
            "leaked": leaked, "state": done.state if done else "none", "why": done.why if done else "",
            "seconds": seconds_in(notebook) or clock.seconds.get(case.name)}


def seconds_in(path: Path) -> float | None:
    """How long a submission ran, as its graded notebook says; the clock only knows when its turn was over."""
    with contextlib.suppress(OSError, ValueError, KeyError):
        return json.loads(path.read_text(encoding="utf-8"))["metadata"]["cnnlab"]["seconds"]
    return None


def files_left(world: World) -> list[str]:
    """Every file and folder with a mark in its name, wherever a payload may have put it."""
    # Another run of this corpus has the same marks.
    ignore = [world.course / "notes", *(p for p in Path("/tmp").glob("hostile-*") if p != world.base)]
    roots = [world.base, REPO / "cnnlab", REPO / "autograder", *PLACES]
    return marked_files([r for r in roots if r.is_dir()], ignore, depth=7)


def fingerprints(world: World) -> dict[str, bytes]:
    """What the instructor's own files hold; no submission may change them."""
    places = [world.course / "nbgrader_config.py", *(world.course / "source").rglob("*.ipynb"),
              *(world.course / "release").rglob("*.ipynb"), *(REPO / "cnnlab").rglob("*.py"),
              *world.home.rglob("*.txt")]
    return {str(p): p.read_bytes() for p in places if p.is_file()}


def text_of(course, case):
    return outputs_text(course.root / "autograded" / case.name / case.slug / f"{case.slug}.ipynb")


def summary(cases, results, stopped, changed, survived, left) -> dict:
    attacks = [r for r in results if r["kind"] == "attack"]
    honests = [r for r in results if r["kind"] == "honest"]
    for r in results:
        if r["name"] in survived:
            r["escaped"].append("seen in the next student's room")
    unanswered = [r["name"] for r in results if r["state"] not in ("graded", "failed")
                  or (r["state"] == "failed" and not r["why"])]
    return {"attacks": len(attacks), "gained": sum(r["gained"] for r in attacks),
            "escaped": sum(bool(r["escaped"]) for r in results) + len(changed),
            "leaked": sum(bool(r["leaked"]) for r in attacks), "class_stopped": len(stopped) + len(unanswered),
            "honest": len(honests), "honest_full": sum(r["full"] for r in honests),
            "stopped": stopped, "unanswered": unanswered, "changed": changed, "left_running": left, "cases": results}


def bad(result: dict) -> list[str]:
    """The words for what is not as it should be with a case."""
    words = [w for w in ("gained", "escaped", "leaked") if result[w]]
    words += ["not full"] * (result["kind"] == "honest" and not result["full"])
    return words + ["unanswered"] * (result["state"] not in ("graded", "failed"))


def show(report: dict, few: bool, console: Console) -> int:
    table = Table("case", "points", "state", "s", "trouble", title="Hostile corpus")
    for r in report["cases"]:
        trouble = bad(r)
        if trouble or few:
            more = [*r["escaped"], *r["leaked"], r["why"]]
            table.add_row(r["name"], f"{r['score']} of {r['deserved']:g}", r["state"], str(r["seconds"]),
                          f"[red]{', '.join(trouble)}[/] " + "; ".join(filter(None, more)).replace("[", r"\["))
    if table.rows:
        console.print(table)
    numbers = {k: v for k, v in report.items() if isinstance(v, int)}
    console.print("  ".join(f"{k} {v}" for k, v in numbers.items()))
    for line in report["stopped"] + [f"changed: {p}" for p in report["changed"]]:
        console.print(f"[red]{line}[/]", soft_wrap=True)
    fine = not any(report[k] for k in ("gained", "escaped", "leaked", "class_stopped")) and (
        report["honest_full"] == report["honest"])
    return 0 if fine else 1
