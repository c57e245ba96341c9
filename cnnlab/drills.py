"""Drills: `drill` asks a fresh question; `answer` judges, shows the calculation and asks the next.

They are for practice: nothing here is graded or kept.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from numbers import Real

from cnnlab import report
from cnnlab.notebook import quick
from cnnlab.questions import KINDS, LEVELS, Question, ask

LARGE = 10**12  # no answer comes near


@dataclass
class Session:
    """What was asked and answered since the kernel started.

    streak: how many answers were right since the last wrong one.
    last: the answer judged last.
    """

    rng: random.Random = field(default_factory=random.Random)
    kinds: tuple[str, ...] = tuple(KINDS)
    level: int = 0
    asked: int = 0
    judged: int = 0
    right: int = 0
    streak: int = 0
    kind: str = ""
    question: Question | None = None
    last: tuple[int, ...] | None = None

    def next(self) -> str:
        """Ask the next question.

        Its kind is not that of the one before, if there are several.  Its answer is not the one judged last, so
        that a cell which is run twice can be recognised.
        """
        self.kind = self.rng.choice([k for k in self.kinds if k != self.kind] or self.kinds)
        self.question = ask(self.rng, self.kind, self.level)
        while self.question.right == self.last:
            self.question = ask(self.rng, self.kind, self.level)
        self.asked += 1
        return self.shown()

    def shown(self) -> str:
        """The question."""
        return (f"**Question {self.asked}** · {self.kind} · level {self.level + 1} of {LEVELS}\n\n"
                f"{self.question.text}\n\nYour answer: `{self.call()}`")

    def call(self) -> str:
        """How to answer."""
        return f"answer({', '.join(self.question.wanted)})"

    def reply(self, values: tuple) -> str:
        """What to say to `values`, whatever they are, and the question that is open then."""
        if self.question is None:
            return "There is no question yet. Run `drill()` first."
        values = [v.tolist() if hasattr(v, "tolist") else v for v in values]  # NumPy's numbers and arrays
        if len(values) == 1 and isinstance(values[0], list | tuple):
            values = values[0]
        if complaint := self._complaint(values):
            return f"{complaint} This was not counted.\n\n{self.shown()}"
        values = tuple(map(int, values))
        if values == self.last:
            return f"That answer was judged already, and is not counted again. The question is now:\n\n{self.shown()}"
        return f"{self.judge(values)}\n\n---\n\n{self.next()}"

    def judge(self, values: tuple[int, ...]) -> str:
        """Count `values` as the answer; say whether it is right, why not, and how to work it out."""
        question, correct = self.question, values == self.question.right
        self.judged, self.right, self.last = self.judged + 1, self.right + correct, values
        self.streak = self.streak + 1 if correct else 0
        self.level = min(self.level + 1, LEVELS - 1) if correct else max(self.level - 1, 0)
        if correct:
            said = f"**✓ {_text(values)} is right.**"
        else:
            said = f"**✗ {_text(values)} is not right: it is {_text(question.right)}.**"
            said += "".join(f"\n\n{start}: {why}" for start, why in zip(("Likely cause", "Or"), question.causes(values)))
        row = f", the last {self.streak} in a row" if 1 < self.streak < self.judged else ""
        return f"{said}\n\n```\n" + "\n".join(question.working) + f"\n```\n\n{self.right} of {self.judged} right{row}."

    def _complaint(self, values):
        """Why `values` are no answer to the question, or ""."""
        if not values:
            return f"Write your answer between the brackets: `{self.call()}`."
        for v in values:
            if not isinstance(v, Real) or isinstance(v, bool):
                return f"An answer is made of numbers, not {type(v).__name__}."
            if not abs(v) < LARGE or v != int(v):
                return "Every answer here is a whole number, and not a huge one."
        if len(values) != len(self.question.wanted):
            asked = len(self.question.wanted)
            return f"{asked} number{'s are' if asked > 1 else ' is'} asked for, and you gave {len(values)}."
        return ""


_session = Session()


def drill(*kinds: str, seed: int | None = None) -> report.Markdown | None:
    """Ask a fresh question, to be answered with `answer`.  Right answers make the next ones harder.

    kinds: any of "shape", "padding", "parameters", "field", "pooling", "stack"; all of them if none is given.
    seed: begin at the lowest level again; the same answers then meet the same questions.
    Raises ValueError if there is no such kind.
    """
    if unknown := [k for k in kinds if k not in KINDS]:
        raise ValueError(f"There is no drill {unknown[0]!r}; choose from {', '.join(KINDS)}.")
    _session.kinds = kinds or tuple(KINDS)
    if seed is not None:
        _session.rng, _session.level, _session.kind, _session.last = random.Random(seed), 0, "", None
    return _show(_session.next)


def answer(*values) -> report.Markdown | None:
    """Answer the question that `drill` asked: see whether it is right and how it is worked out, and get the next.

    values: the numbers asked for, one by one or as a tuple.  What cannot be an answer is not counted.
    """
    return _show(lambda: _session.reply(values))


def _text(values):
    return f"{values[0]:,}" if len(values) == 1 else str(values)


def _show(say: Callable[[], str]):
    if quick():  # nobody is there to answer
        return None
    shown = report.Markdown(say())
    if report.in_jupyter():
        return shown
    print(shown)
    return None
