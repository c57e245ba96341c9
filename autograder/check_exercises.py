"""Check the checks: run every exercise's stub, solution, other right answers, and mistakes.

The stub must fail, the solution and every alternative pass, every mistake fail, and be named
rightly or not at all.  Prints a table, writes build/reports/exercises.json.
"""

from __future__ import annotations

import ast
import contextlib
import io
import json
import sys
from dataclasses import asdict, dataclass, field, replace

import nbformat
from rich.console import Console
from rich.table import Table

from autograder import sources
from autograder.build import release, source_notebooks
from autograder.exercise import Exercise, draw_hidden, load_all, ship
from cnnlab import own, report
from cnnlab.calls import Local
from cnnlab.checks import judge

REPORT = sources.ROOT / "build" / "reports" / "exercises.json"
SEED = 2012  # any; a fixed one makes the report reproducible


@dataclass
class Result:
    """What came of one exercise; `problems` are sentences, empty when all is well."""

    id: str
    mistakes: int = 0
    caught: int = 0
    named: int = 0
    misnamed: int = 0
    alternatives: int = 0
    alternatives_accepted: int = 0
    unnamed: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def main(only: list[str]) -> int:
    """Check the exercises whose id or notebook is in `only`, or all.  Returns the exit code."""
    results = check_all(only)
    total = summary(results)
    Console().print(_table(results))
    for r in results:
        for problem in r.problems:
            print(f"{r.id}: {problem}")
    print(", ".join(f"{k} {v}" for k, v in total.items()))
    if not only:
        REPORT.parent.mkdir(parents=True, exist_ok=True)
        REPORT.write_text(json.dumps(total | {"by_exercise": [asdict(r) for r in results]}, indent=1) + "\n")
    return 1 if any(r.problems for r in results) or not results else 0


def check_all(only: list[str] = ()) -> list[Result]:
    """Check every exercise, or those named in `only` by id or notebook."""
    exercises = {slug: entries for slug, entries in load_all().items()
                 if not only or slug in only or any(e.id in only for e in entries)}
    released = {slug: nbformat.reads(text, as_version=4) for slug, text in release(exercises).items()}
    results = []
    for slug, notebook in source_notebooks(exercises).items():
        solved, stubs = functions(notebook, released[slug])
        results += [check_one(e, sources.function_name(slug, e.id), solved[e.id], stubs[e.id])
                    for e in exercises[slug] if not only or slug in only or e.id in only]
    return results


def functions(notebook, released=None) -> tuple[dict, dict]:
    """The solution and the stub of every exercise, by id: the objects its graded cell checks.

    Without `released`, the student version, there are no stubs.
    """
    import matplotlib
    import matplotlib.pyplot as plt

    matplotlib.use("agg")
    stub_cells = {c.metadata.nbgrader.grade_id: c.source for c in (released.cells if released else [])
                  if c.metadata.get("nbgrader", {}).get("solution")}
    solved, stubs = {}, {}
    namespace = {"__name__": "__main__"}
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        name = cell.metadata.get("nbgrader", {}).get("grade_id", "")
        if name.startswith("check_"):
            exercise, function = name.removeprefix("check_"), cell.source[:-1].split(", ")[1]
            solved[exercise] = namespace[function]
            if exercise in stub_cells:
                with_stub = dict(namespace)
                _run(stub_cells[exercise], f"<stub of {exercise}>", with_stub)
                stubs[exercise] = with_stub[function]
        elif name or _defines(cell.source):
            with contextlib.redirect_stdout(io.StringIO()):
                _run(cell.source, f"<{name or cell.id}>", namespace)
            plt.close("all")  # as a front end does after each cell
    return solved, stubs


def _run(source, where, namespace):
    own.run(source, ast.parse(source), where, namespace)


def _defines(source):
    """Cells with imports, functions or classes: what the solutions need.  Figures are left out."""
    return any(line.startswith(("import ", "from ", "def ", "class ")) for line in source.splitlines())


def check_one(exercise: Exercise, function: str, solution, stub) -> Result:
    """Judge every known answer to `exercise` as the grader would, hidden probes included."""
    shipped = ship(exercise, function)
    hidden = draw_hidden(exercise, function, SEED)
    hidden = hidden.probes if hidden else ()
    r = Result(exercise.id)

    # Alternatives and mistakes may be written with the oracle's libraries, which answers may not use.
    free = replace(shipped, forbidden=())

    def passes(answer, exercise_as=free):
        verdict = judge(exercise_as, Local(answer), hidden)
        report.text(verdict), report.html(verdict)  # a report that cannot be made must not wait for a student
        why = "" if verdict.shown is None else verdict.shown.difference.message
        return verdict, verdict.score == exercise.points, why

    if passes(stub)[0].score != 0:
        r.problems.append("the stub earns points.")
    verdict, ok, why = passes(solution, shipped)
    if not ok:
        r.problems.append(f"the solution fails: {why}")
    for i, alternative in enumerate(exercise.alternatives):
        verdict, ok, why = passes(alternative)
        r.alternatives += 1
        r.alternatives_accepted += ok
        if not ok:
            r.problems.append(f"alternative {alternative.__name__} fails: {why}")
    for mistake in exercise.mistakes:
        verdict, ok, _ = passes(mistake.run)
        r.mistakes += 1
        r.caught += not ok
        # A changed input is a layer of its own, whose message says just that.
        named = verdict.mistake or (mistake.name if _changed_input(verdict) else "")
        r.named += not ok and named == mistake.name
        r.misnamed += not ok and named not in ("", mistake.name)
        if ok:
            r.problems.append(f"the mistake {mistake.name} passes.")
        elif not named:
            r.unnamed.append(mistake.name)
        elif named != mistake.name:
            r.problems.append(f"the mistake {mistake.name} is taken for {named}.")
    if len(exercise.alternatives) < 2:
        r.problems.append("fewer than two alternatives.")
    if len(exercise.hints) != 4:
        r.problems.append(f"{len(exercise.hints)} hints; the ladder has 4.")
    return r


def _changed_input(verdict):
    return verdict.shown is not None and verdict.shown.difference.layer == "input"


def summary(results: list[Result]) -> dict[str, int]:
    """The totals over all exercises."""
    keys = ("mistakes", "caught", "named", "misnamed", "alternatives", "alternatives_accepted")
    return {"exercises": len(results)} | {k: sum(getattr(r, k) for r in results) for k in keys}


def _table(results):
    table = Table("exercise", "mistakes", "caught", "named", "misnamed", "alternatives", "unnamed")
    table.columns[0].no_wrap = True
    for r in results:
        table.add_row(r.id, *map(str, (r.mistakes, r.caught, r.named, r.misnamed)),
                      f"{r.alternatives_accepted}/{r.alternatives}", ", ".join(r.unnamed))
    return table


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
