"""A page of the website from an executed solution: what students get, the solution behind a fold."""

from __future__ import annotations

import html
import re
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from autograder.site.outputs import on_page
from autograder.sources import exercise_ids
from cnnlab.course import NOTEBOOKS
from cnnlab.probes import load

STATIC = "../_static"  # from a page in notebooks/
RUNGS = ("a question", "a worked case", "the steps", "the reason")
MODEL_ANSWER = re.compile(r"\s*<!-- BEGIN SOLUTION -->.*?<!-- END SOLUTION -->", re.DOTALL)


def page(slug: str, slugs: list[str], executed: NotebookNode, student: NotebookNode, figures: Path) -> NotebookNode:
    """The notebook that becomes the page of `slug`.

    slugs: of all that become pages.  executed: its solution, run.  student: what students get, for the stubs.
    figures: where its pictures go.
    """
    stubs = {cell.id: cell.source for cell in student.cells}
    cells = []
    for number, cell in enumerate(executed.cells):
        about = cell.metadata.get("nbgrader", {})
        if cell.cell_type == "markdown":
            cells.append(_text(written(cell.source) if about.get("grade") else cell.source))
            if number == 0:
                cells.append(_text(head(slug, slugs)))
        elif about.get("solution"):
            cells += [_text(part) for part in exercise(about["grade_id"], stubs[cell.id], cell.source)]
        else:
            if about.get("grade"):
                cells.append(_text('<p class="check-note">The check, run on the solution:</p>'))
            shown = nbformat.v4.new_code_cell(cell.source, outputs=on_page(cell, figures, STATIC))
            cells.append(shown)
    for number, cell in enumerate(cells):
        cell.id = f"{slug[:2]}-{number:03d}"
    return nbformat.v4.new_notebook(cells=cells, metadata=executed.metadata)


def head(slug: str, slugs: list[str]) -> str:
    """The line under a title: the download, how many exercises, and what the notebook builds on."""
    files = {int(s[:2]): f"{s}.ipynb" for s in slugs}
    names = [(f"{n:02} {NOTEBOOKS[n].title}", files.get(n)) for n in NOTEBOOKS[int(slug[:2])].needs]
    needs = " and ".join(f"[{name}]({file})" if file else name for name, file in names)
    count = len(exercise_ids(slug))
    return (f'<a class="download" href="{STATIC}/download/{slug}.ipynb" download>Download this notebook</a> '
            f"{count} exercise{'s' * (count != 1)}. {f'Builds on {needs}.' if needs else ''}")


def exercise(name: str, stub: str, solution: str) -> list[str]:
    """An exercise in Markdown: the stub, the hints each inside the one before, and the solution behind a fold."""
    return [f"```python\n{stub}\n```", ladder(load(name).hints), fold(name, solution)]


def ladder(hints: tuple[str, ...]) -> str:
    """Hints as nested folds: a rung can be opened only inside the one before it."""
    opened = "".join(f'<details class="hint">\n<summary>Hint {n} of {len(hints)}: {rung}</summary>\n\n'
                     f"{_plain_fences(text)}\n\n" for n, (rung, text) in enumerate(zip(RUNGS, hints), start=1))
    return opened + "</details>\n" * len(hints)


def _plain_fences(text):
    """Fences without a language are steps in words, not Python."""
    parts = re.split(r"^```$", text, flags=re.MULTILINE)  # outside, inside, outside, …
    return "".join(part + ("" if n == len(parts) - 1 else "```text" if n % 2 == 0 else "```")
                   for n, part in enumerate(parts))


def fold(name: str, solution: str) -> str:
    """A solution behind a fold, which docs/_static/folds.js lets ask once."""
    code = re.sub(r"^ *### (BEGIN|END) SOLUTION\n?", "", solution + "\n", flags=re.MULTILINE).rstrip()
    return (f'<details class="solution" data-exercise="{html.escape(name)}">\n'
            "<summary>Have you tried it? The solution</summary>\n\n"
            f"```python\n{code}\n```\n\n</details>")


def written(source: str) -> str:
    """A written question in a box, without its model answer; a heading above it stays outside, for the contents."""
    heading, question = re.match(r"((?:#+ .*\n+)?)(.*)", MODEL_ANSWER.sub("", source).strip(), re.DOTALL).groups()
    return f'{heading}<div class="written" role="note" aria-label="Written question">\n\n{question}\n\n</div>'


def _text(source):
    return nbformat.v4.new_markdown_cell(source)

