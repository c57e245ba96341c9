"""What the guides show is so."""

import ast
import re

import numpy as np
import torch

from autograder import sources
from autograder.check_exercises import check_one
from autograder.exercise import Exercise, Mistake, call
from cnnlab import own

DOCS = sources.ROOT / "docs"
MIXED = np.array([[0.0, 0.5, 0.9], [0.25, 1.0, 0.75]])  # as in the entries of notebook 00


def test_the_exercise_that_contributors_are_shown_passes_its_own_check():
    guide = (DOCS / "contributor.md").read_text(encoding="utf-8")
    cells, entry = re.findall(r"^```python\n(.*?)^```$", guide, re.DOTALL | re.MULTILINE)
    names = {"np": np, "torch": torch, "check": lambda *_: None, "call": call, "Exercise": Exercise, "Mistake": Mistake,
             "MIXED": MIXED}
    own.run(cells, ast.parse(cells), "<guide>", names)
    exercise = eval(entry.rstrip().rstrip(","), names)
    result = check_one(exercise, "contrast", names["contrast"], lambda image, factor: None)
    assert not result.problems
    assert (result.mistakes, result.named, result.alternatives_accepted) == (3, 3, 2)
    assert "three mistakes, caught three" in guide.replace("\n", " ")


def test_every_screen_that_the_guides_show_is_there_and_every_screen_is_shown():
    text = "".join(p.read_text(encoding="utf-8") for p in DOCS.glob("*.md"))
    assert set(re.findall(r"\]\(screens/(.*?\.png)\)", text)) == {p.name for p in (DOCS / "screens").iterdir()}
