"""The course as a list: its notebooks in order, and of each its exercises with the cell as it was given.

It is `outline.json`, written by the build.
"""

from __future__ import annotations

import difflib
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

FILE = Path(__file__).parent / "outline.json"


@dataclass(frozen=True)
class Exercise:
    """An exercise of the notebook `slug`.

    function: what its check calls.  stub: the text of its cell before anybody wrote into it.
    """

    id: str
    slug: str
    points: float
    function: str
    stub: str


@dataclass(frozen=True)
class Notebook:
    """A notebook, such as 02_convolution, under its title without the number."""

    slug: str
    title: str
    exercises: tuple[Exercise, ...]

    @property
    def number(self) -> str:
        return self.slug[:2]


@cache
def notebooks() -> tuple[Notebook, ...]:
    """Every notebook of the course, in order."""
    course = json.loads(FILE.read_text(encoding="utf-8"))
    return tuple(Notebook(slug, about["title"], tuple(
        Exercise(name, slug, **rest) for name, rest in about["exercises"].items()))
                 for slug, about in course.items())


def exercise(name: str) -> Exercise:
    """The exercise called `name`.  Raises ValueError, with the nearest names, if there is none."""
    known = {e.id: e for n in notebooks() for e in n.exercises}
    if name not in known:
        close = difflib.get_close_matches(str(name), known, n=3) or list(known)[:3]
        raise ValueError(f"There is no exercise {name!r}. Did you mean {', '.join(close)}?")
    return known[name]


def notebook(name: str | int) -> Notebook:
    """The notebook meant by its number or slug.  Raises ValueError if there is none."""
    wanted = str(name).removesuffix(".ipynb")
    for found in notebooks():
        if wanted == found.slug or wanted.zfill(2) == found.number:
            return found
    raise ValueError(f"There is no notebook {name!r}; there are {notebooks()[0].number} to {notebooks()[-1].number}.")
