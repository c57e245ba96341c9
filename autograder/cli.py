"""The command line of `autograder`: each command does one step of a term."""

from __future__ import annotations

import argparse
import itertools
import math
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path
from zipfile import BadZipFile

from nbgrader.converters.base import NbGraderException
from rich.box import SIMPLE_HEAD
from rich.console import Console, Group
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from sqlalchemy.exc import SQLAlchemyError

from autograder import class_report, export
from autograder.collect import WHOSE
from autograder.course import Course, CourseError, Graded, Row
from autograder.export import FORMATS
from autograder.regrade import Regrade
from autograder.sandbox.room import SandboxError

console = Console(highlight=False)

TERM = """A term, step by step:

  autograder init ~/cnn-2027                     make a course: an ordinary nbgrader course directory
  autograder release --course ~/cnn-2027         the student notebooks, in release/
  autograder collect ~/hand-ins.zip --course …   put what students handed in into submitted/
  autograder grade --course …                    run and score it
  autograder report --course …                   one HTML page about the class
  autograder feedback --course …                 one HTML page per student and notebook
  autograder export grades.csv --course …        the scores, also for Canvas and Moodle

Inside the course directory --course can be left out. Written answers are graded by hand in
nbgrader's Formgrader: start `jupyter lab` in the course directory.
"""


def main(argv: list[str] | None = None) -> int:
    """Run one command.  Returns 0, 1 if some submission failed, 2 if the command could not be done."""
    arguments = _parser().parse_args(argv)
    try:
        return arguments.run(arguments)
    except (CourseError, SandboxError, ValueError, OSError, NbGraderException, BadZipFile, SQLAlchemyError) as e:
        print(f"autograder {arguments.command}: {' '.join(str(e).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nStopped. What was graded is kept; the same command, without --force, goes on from there.",
              file=sys.stderr)
        return 130


def _parser():
    parser = argparse.ArgumentParser(
        prog="autograder", description="Release, collect and grade the notebooks of the course.",
        epilog=TERM, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    init = commands.add_parser("init", help="make a course directory",
                               description="Make a course directory, or bring its sources up to date.")
    init.add_argument("dir", type=Path, metavar="DIR", help="a new or empty folder, or an older course")
    init.set_defaults(run=_init)

    def command(name, run, help, description):
        sub = commands.add_parser(name, help=help, description=description)
        sub.add_argument("--course", type=Path, default=Path("."), metavar="DIR",
                         help="the course directory (default: where you are)")
        sub.set_defaults(run=run)
        return sub

    def notebooks(sub):
        sub.add_argument("notebooks", nargs="*", metavar="NOTEBOOK",
                         help="such as 02 or 02_convolution (default: all)")

    def running(sub):
        sub.add_argument("--workers", type=_at_least_one, metavar="N", help="how many at a time (default: one per core)")
        sub.add_argument("--dask", metavar="ADDRESS", help="run on a Dask cluster, such as tcp://scheduler:8786")
        sub.add_argument("--room", choices=["warm", "cold"], default="", help=(
            "how kernels start: forked from a warm process (default), or each afresh, as a second opinion"))
        sub.add_argument("--unsafe-no-sandbox", dest="room", action="store_const", const="none",
                         help="run students' code with all your rights")

    release = command("release", _release, "make the student notebooks",
                      "Generate the student notebooks with nbgrader, in release/.")
    notebooks(release)

    collect = command("collect", _collect, "take in what students handed in",
                      "Copy notebooks into submitted/STUDENT/NOTEBOOK/. Understood are STUDENT/NOTEBOOK.ipynb "
                      "and STUDENT_NOTEBOOK.ipynb, also inside one more folder. What is collected replaces "
                      "what was collected before; everything left out is named with the reason.")
    collect.add_argument("path", type=Path, metavar="DIR_OR_ZIP", help="a folder or a zip of submissions")

    grade = command("grade", _grade, "run and score submissions",
                    "Run and score what was collected. Submissions that were graded and have not changed "
                    "since are left as they are.")
    notebooks(grade)
    grade.add_argument("--student", action="append", default=[], metavar="NAME",
                       help="only this student (may be repeated)")
    grade.add_argument("--force", action="store_true", help="grade again what was graded before")
    running(grade)

    regrade = command("regrade", _regrade, "grade a notebook again after its exercises were corrected",
                      "Run what was graded again, with the exercises as they are now and the same hidden cases as far "
                      "as they are; show whose score changes and by how much; write it once you agree.")
    regrade.add_argument("notebook", metavar="NOTEBOOK", help="such as 02 or 02_convolution")
    regrade.add_argument("--yes", action="store_true", help="write it without asking")
    running(regrade)

    report = command("report", _report, "write a page about the class",
                     "Write one HTML page, for you alone: scores, exercises, misconceptions, what was stopped or mended, "
                     "submissions that are nearly the same.")
    report.add_argument("file", type=Path, nargs="?", metavar="FILE",
                        help="where to write (default: report.html in the course directory)")

    feedback = command("feedback", _feedback, "write HTML feedback",
                       "Write one HTML page per student and notebook, in feedback/.")
    notebooks(feedback)

    exporting = command("export", _export, "write the scores as CSV",
                     "Write the scores as CSV: student, notebook, score, max_score, or as Canvas or Moodle import "
                     "them. A submission that could not be graded has an empty score.")
    exporting.add_argument("--format", choices=list(FORMATS), default="csv", help="whose columns (default: csv)")
    exporting.add_argument("file", type=Path, nargs="?", metavar="FILE",
                        help="where to write (default: grades.csv in the course directory)")
    return parser


def _at_least_one(text):
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 on")
    return int(text)


def _init(arguments):
    course = Course.init(arguments.dir)
    console.print(f"{course.root} holds {len(course.notebooks())} notebooks: {', '.join(course.notebooks())}.")
    console.print(f"Next: autograder release --course {arguments.dir}")
    return 0


def _release(arguments):
    course = Course.open(arguments.course)
    for path in course.release(course.chosen(arguments.notebooks)):
        console.print(f"released {path.relative_to(course.root)}")
    return 0


def _collect(arguments):
    course = Course.open(arguments.course)
    counts, students, unclear = defaultdict(int), set(), False
    for item in course.collect(arguments.path):
        counts[item.note or "left out"] += 1
        if item.problem:
            console.print(f"  {item.path}: {item.problem}", markup=False, soft_wrap=True)
            unclear |= item.problem.startswith(WHOSE)
        else:
            students.add(item.student)
    if students:
        console.print(f"{len(students)} students: {', '.join(sorted(students))}", markup=False, soft_wrap=True)
    console.print(", ".join(f"{n} {what}" for what, n in counts.items()) or "Nothing found.")
    return 0 if students and not unclear else 1


def _grade(arguments):
    course = Course.open(arguments.course)
    pairs = course.submissions(course.chosen(arguments.notebooks), arguments.student)
    if not pairs:
        raise CourseError("There is nothing to grade; put submissions in with `autograder collect`.")
    done = with_progress("grading", len(pairs), course.grade(pairs, arguments.force, **_running(arguments)))
    rows = course.rows()
    console.print(class_table(rows))
    if warning := course.unsafe(rows):
        console.print(warning, style="bold red", soft_wrap=True)
    return report_failures(done)


def _running(arguments):
    """How to run submissions, from the options."""
    how = {"workers": arguments.workers, "room": arguments.room}
    if arguments.dask:
        client = _cluster(arguments.dask)
        how |= {"pool": client.get_executor, "workers": sum(client.nthreads().values())}
    return how


def _cluster(address):
    try:
        from distributed import Client
    except ImportError as e:
        raise CourseError("--dask needs the package distributed; install it with `pip install distributed`, here and "
                          "on the cluster.") from e
    return Client(address, timeout=10)


def with_progress(what: str, total: int, steps: Iterable[Graded]) -> list[Graded]:
    """Do all `steps` and show how far they are."""
    done = []
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"),
               TimeRemainingColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("", total=total, rate="")
        for step in steps:
            done.append(step)
            speed = progress.tasks[0].speed
            progress.update(task, advance=1, description=f"{step.student} {step.notebook}",
                            rate=f"{speed:.1f}/s" if speed else "")
    return done


def _regrade(arguments):
    course = Course.open(arguments.course)
    (slug,) = course.chosen([arguments.notebook])
    pairs = course.submissions([slug], [])
    with Regrade(course, slug, **_running(arguments)) as regrade:
        with_progress("running", len(pairs), regrade.run())
        console.print(_moves_table(regrade.moves) if regrade.moves else "No score changes.")
        if not regrade.moves and not regrade.points_changed:
            return 0
        if not arguments.yes and not _agreed(f"Write these scores for {len({m.student for m in regrade.moves})} students?"):
            console.print("Nothing was written.")
            return 0
        return report_failures(with_progress("writing", len(pairs), regrade.write()))


def _agreed(question):
    try:
        return console.input(f"{question} [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        return False


def _moves_table(moves):
    table = Table("student", "exercise", "before", "after", "change")
    for m in moves:
        table.add_row(m.student, m.exercise, f"{m.before:g}", f"{m.after:g}", f"{m.after - m.before:+g}")
    return table


def _report(arguments):
    course = Course.open(arguments.course)
    path = (arguments.file or course.root / "report.html").resolve()
    console.print(f"report in {class_report.write(course, path)}", soft_wrap=True)
    return 0


def report_failures(done: list[Graded]) -> int:
    """Count what became of the submissions; name every one that was mended or failed.  Returns the exit code."""
    failed = [g for g in done if g.state == "failed"]
    for g in done:
        if g.repairs:
            console.print(f"mended: {g.student} {g.notebook}: {'; '.join(g.repairs)}", markup=False, soft_wrap=True)
    for g in failed:
        console.print(f"failed: {g.student} {g.notebook}: {g.why}", markup=False, soft_wrap=True)
    counts = Counter(g.state for g in done)
    console.print(", ".join(f"{n} {state}" for state, n in counts.items()) + ".")
    return 1 if failed else 0


ACROSS = 9  # notebooks beside each other: more do not fit into 80 columns


def class_table(rows: list[Row]) -> Group:
    """Students down, notebooks across with their maximum: the scores, and what waits to be graded by hand.

    Of many notebooks it is several tables, one below the other.
    """
    most = {r.notebook: r.max_score for r in rows}
    by_student = defaultdict(dict)
    for r in rows:
        by_student[r.student][r.notebook] = r
    notebooks, parts = sorted(most), max(1, math.ceil(len(most) / ACROSS))
    cuts = [len(notebooks) * i // parts for i in range(parts + 1)]
    return Group(*(_table(notebooks[a:b], most, by_student) for a, b in itertools.pairwise(cuts)),
                 "hand: answers that wait for a person")


def _table(notebooks, most, by_student):
    # Numbers, not names, across.
    table = Table("student", *(f"{n.split('_')[0]}\n/{most[n]:g}" for n in notebooks), "hand", box=SIMPLE_HEAD,
                  padding=(0, 1, 0, 0))
    table.columns[0].max_width, table.columns[0].no_wrap = 30, True
    for student, own in sorted(by_student.items()):
        here = [own.get(n) for n in notebooks]
        waiting = sum(r.by_hand for r in here if r)
        if any(here):
            table.add_row(student, *map(_cell, here), str(waiting) if waiting else "")
    return table


def _cell(row):
    if row is None:
        return ""
    return "not graded" if row.score is None else f"{row.score:g}"


def _feedback(arguments):
    course = Course.open(arguments.course)
    done = list(course.feedback(course.chosen(arguments.notebooks)))
    if not done:
        raise CourseError("Nothing is graded yet; run `autograder grade` first.")
    console.print(f"feedback in {course.root / 'feedback'}", soft_wrap=True)
    return report_failures(done)


def _export(arguments):
    course = Course.open(arguments.course)
    path = (arguments.file or course.root / "grades.csv").resolve()
    rows = course.rows()
    notes = export.write(rows, path, arguments.format)
    console.print(f"{len(rows)} rows in {path}", soft_wrap=True)
    for note in [*notes, *filter(None, [course.unsafe(rows)])]:
        console.print(note, markup=False, soft_wrap=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
