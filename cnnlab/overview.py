"""How far one is: which exercises of which notebooks passed, and which comes next.

It is read from what checks noted in `.cnnlab/` beside the notebooks, and from the notebooks as they were saved.
"""

from __future__ import annotations

import argparse
import ast
import html
import json
import sys
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

from cnnlab import outline, records, report
from cnnlab.notebook import quick

MARKS = {"passed": "✓", "changed": "~", "open": "○"}
PLAIN = str.maketrans({"✓": "+", "○": "."})  # where these cannot be written


@dataclass(frozen=True)
class State:
    """How an exercise stands.

    mark: "passed", "changed" since it passed so that its check has to be run again, or "open".
    says: when it passed, and what happened since.
    """

    exercise: outline.Exercise
    mark: str
    says: str
    record: records.Record | None = None


@dataclass(frozen=True)
class Overview:
    """The progress in a folder; its HTML is for Jupyter, its text for a terminal.

    only: the notebook whose exercises are listed; None for the whole course.
    """

    states: dict[str, list[State]]
    only: outline.Notebook | None = None

    def _repr_mimebundle_(self, include=None, exclude=None):
        return {"text/plain": text(self), "text/html": page(self)}


def progress(notebook: str | int | None = None) -> Overview | None:
    """Show what is done and what is next, in the whole course or in one notebook.

    notebook: its number or its name, to see its exercises one by one.  Nothing of this leaves your machine.
    Raises ValueError if there is no such notebook.
    """
    only = None if notebook is None else outline.notebook(notebook)
    if quick():  # nobody looks, and what a student did elsewhere is no part of the notebook
        return None
    found = Overview(look(records.home(Path.cwd())), only)
    if report.in_jupyter():
        return found
    say(text(found))
    return None


def look(home: Path) -> dict[str, list[State]]:
    """How every exercise stands for the work in `home`, by notebook; {} if no notebook of the course is there."""
    files = {n.slug: records.notebook_file(home, n.slug) for n in outline.notebooks()}
    if not any(files.values()):
        return {}
    saved = {slug: cache(partial(_saved, file)) for slug, file in files.items()}  # read once, and only if needed
    return {n.slug: [_state(home, e, files[n.slug], saved[n.slug]) for e in n.exercises] for n in outline.notebooks()}


def next_state(states: dict[str, list[State]]) -> State | None:
    """The exercise to do next: the first that is not done, from the notebook on in which the last one passed."""
    slugs, every = list(states), [s for some in states.values() for s in some]
    last = max((s for s in every if s.record), key=lambda s: s.record.passed, default=None)
    start = slugs.index(last.exercise.slug) if last else 0
    return next((s for slug in [*slugs[start:], *slugs[:start]] for s in states[slug] if s.mark != "passed"), None)


def text(overview: Overview) -> str:
    """The overview as plain text."""
    lines, width = [], max(len(n.title) for n in outline.notebooks())
    for notebook in outline.notebooks() if overview.states else ():
        states = overview.states[notebook.slug]
        if overview.only is None:
            marks = "".join(MARKS[s.mark] for s in states)
            lines.append(f"{notebook.number}  {notebook.title:{width}}  {_count(states):>8}  {marks}")
        elif overview.only == notebook:
            width = max(len(s.exercise.id) for s in states)
            lines += [f"{notebook.number}  {notebook.title}", *(
                f"    {MARKS[s.mark]} {s.exercise.id:{width}}  {_points(s):>8}  {s.says}".rstrip() for s in states)]
    return "\n".join([*lines, "", *_sentences(overview)]).strip()


def page(overview: Overview) -> str:
    """The overview as HTML: a table, in which a notebook unfolds into its exercises."""
    rows, following = [], next_state(overview.states)
    for notebook in outline.notebooks() if overview.states else ():
        states = overview.states[notebook.slug]
        if overview.only in (None, notebook):
            unfolded = overview.only or (following and following.exercise.slug == notebook.slug)
            top = "vertical-align:top;white-space:nowrap;text-align"
            rows.append(f'<tr><td style="{top}:right">{notebook.number}</td>'
                        f'<td style="text-align:left">{_details(notebook, states, unfolded)}</td>'
                        f'<td style="{top}:right">{_count(states)}</td><td style="{top}:left" aria-hidden="true">'
                        f'{"".join(MARKS[s.mark] for s in states)}</td></tr>')
    head = "".join(f'<th scope="col" style="text-align:{side}">{name}</th>' for name, side in (
        ("", "right"), ("notebook", "left"), ("passed", "right"), ("exercises", "left")))
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>" if rows else ""
    return "".join(f'<p style="margin:.4em 0">{report.inline(s)}</p>' for s in _sentences(overview)) + table


def main(argv: list[str] | None = None) -> int:
    """`python -m cnnlab progress`.  Returns 0, or 2 if there is nothing to show it of."""
    parser = argparse.ArgumentParser(prog="python -m cnnlab progress", description=(
        "What is done and what is next, from what checks noted beside the notebooks. Nothing leaves this machine."))
    parser.add_argument("notebook", nargs="?", help="such as 02, to see its exercises one by one (default: all)")
    parser.add_argument("--folder", type=Path, help="where your notebooks are (default: here, or in work/)")
    asked = parser.parse_args(argv)
    try:
        only = None if asked.notebook is None else outline.notebook(asked.notebook)
    except ValueError as e:
        print(e, file=sys.stderr)
        return 2
    overview = Overview(look(workplace(asked.folder)), only)
    say(text(overview), sys.stdout if overview.states else sys.stderr)
    return 0 if overview.states else 2


def workplace(folder: Path | None) -> Path:
    """Where the notebooks are: in `folder`; if none is given here, or in work/, where they are put to be worked in."""
    places = [folder] if folder else [Path.cwd(), Path("work"), Path("notebooks")]
    homes = [records.home(p) for p in places]
    return next((h for h in homes if any(records.notebook_file(h, n.slug) for n in outline.notebooks())), homes[0])


def say(what: str, stream=None) -> None:
    """Print, also where the marks cannot be written."""
    stream = stream or sys.stdout
    try:
        print(what, file=stream)
    except UnicodeEncodeError:
        print(what.translate(PLAIN).encode("ascii", "replace").decode(), file=stream)


def _state(home, exercise, file, saved):
    try:
        record = records.read(home, exercise.id)
    except (OSError, ValueError) as e:
        why = f"its record cannot be read ({e.strerror})" if isinstance(e, OSError) else str(e)
        return State(exercise, "open", f"{why}; run its check again")
    if record is None:
        return State(exercise, "open", "")
    says = f"passed on {_day(record.passed)}"
    if file and file.stat().st_mtime > record.passed.timestamp() and _differs(record.code, saved):
        return State(exercise, "changed", f"{says}; changed since", record)
    if record.failed:
        return State(exercise, "changed", f"{says}; its check failed on {_day(record.failed)}", record)
    return State(exercise, "passed", says, record)


def _saved(file):
    """The code cells of a notebook as it was saved, [] if it cannot be read."""
    try:
        cells = json.loads(file.read_text(encoding="utf-8"))["cells"]
        return ["".join(c["source"]) for c in cells if c["cell_type"] == "code"]
    except (AttributeError, OSError, ValueError, KeyError, TypeError, RecursionError):
        return []


def _differs(code, saved):
    """Whether the notebook, as it was saved after that, has another function than the one that passed.

    False if unknown.  Saved before, it tells nothing: what passed may not be in it yet.
    """
    if not code or not saved() or any(code in cell for cell in saved()):
        return False
    (passed,) = ast.parse(code).body
    found = [d for d in (records.definition(cell, passed.name) for cell in saved()) if d]
    return not found or ast.dump(ast.parse(found[-1])) != ast.dump(ast.parse(code))  # the last one counts


def _day(moment):
    return f"{moment.day} {moment:%B %Y}, {moment:%H:%M}"


def _points(state):
    return f"{state.exercise.points:g} point{'s' * (state.exercise.points != 1)}"


def _count(states):
    return f"{sum(s.mark == 'passed' for s in states)} of {len(states)}"


def _details(notebook, states, unfolded):
    items = "".join(f'<li style="list-style:none">{MARKS[s.mark]} <code>{s.exercise.id}</code>, {_points(s)}'
                    f'{html.escape(f": {s.says}" if s.says else "")}</li>' for s in states)
    return (f'<details{" open" * bool(unfolded)}><summary>{html.escape(notebook.title)}</summary>'
            f'<ul style="margin:.2em 0;padding-left:1em">{items}</ul></details>')


def _sentences(overview):
    if not overview.states:
        return ["There are no notebooks of the course here, so there is no progress to show. Checks note what passed "
                "beside them: ask in their folder, or name it with `python -m cnnlab progress --folder FOLDER`."]
    every = [s for states in overview.states.values() for s in states]
    done = [s for s in every if s.mark == "passed"]
    said = [f"{len(done)} of {len(every)} exercises passed: {sum(s.exercise.points for s in done):g} of "
            f"{sum(s.exercise.points for s in every):g} points. Written questions are not counted."]
    if stale := [s for s in every if s.mark == "changed"]:
        said.append("Run the check again of what changed or failed since it passed, marked ~: "
                    f"{', '.join(f'`{s.exercise.id}` ({s.exercise.slug[:2]})' for s in stale)}.")
    following = next_state(overview.states)
    if following is None:
        return [*said, "Next: nothing. Every exercise of the course has passed."]
    return [*said, f"Next: `{following.exercise.id}`, in `{following.exercise.slug}.ipynb`."]
