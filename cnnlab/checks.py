"""`check` runs the student's function on an exercise's probes; `hint` climbs its hint ladder."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

import numpy as np

from cnnlab import records, report
from cnnlab.calls import Callee, Local, Outcome, Reply, run_all
from cnnlab.compare import Difference, same
from cnnlab.probes import Probe, Raises, Shipped, load

_failing: set[str] = set()  # functions whose last check failed
_rungs: Counter[str] = Counter()  # how many hints of each exercise were shown


@dataclass(frozen=True)
class Verdict:
    """The result of a check, ready to be shown.

    score: points earned, at most exercise.points.
    shown: the failing outcome to explain, or None if all passed.
    mistake: the name of the one mistake that gives exactly these answers, or "".
    cause: what to say about the cause: the mistake's sentence, or "".
    parts: which parts passed, by name, in order.
    """

    exercise: Shipped
    outcomes: tuple[Outcome, ...]
    score: float
    shown: Outcome | None
    mistake: str
    cause: str
    parts: dict[str, bool]


class Score(float):
    """The points earned: a number to nbgrader, a report to a reader in Jupyter.

    It keeps the finished page only.  The verdict holds what hidden probes expect.
    """

    def __new__(cls, verdict: Verdict) -> Score:
        self = super().__new__(cls, verdict.score)
        self._page = report.html(verdict)
        return self

    def _repr_mimebundle_(self, include=None, exclude=None):
        return {"text/plain": repr(self), "text/html": self._page}


def check(exercise: str, answer) -> Score:
    """Run `answer`, your function, on the probes of `exercise` and report what is wrong.

    Returns the points earned.  Raises ValueError if there is no such exercise.
    """
    verdict = blame_callee(judge(load(exercise), Local(answer)), Local(answer), _failing)
    if not report.in_jupyter():
        print(report.text(verdict))
    records.remember(exercise, answer, verdict.shown is None)
    return Score(verdict)


def hint(exercise: str) -> report.Markdown | None:
    """Show the next hint for `exercise`: a question first, the reason last.

    Raises ValueError if there is no such exercise.
    """
    hints = load(exercise).hints
    shown = min(_rungs[exercise], len(hints) - 1)
    _rungs[exercise] += 1
    again = " (that was the last one)" if _rungs[exercise] > len(hints) else ""
    markdown = report.Markdown(f"**Hint {shown + 1} of {len(hints)}**{again}\n\n{hints[shown]}")
    if report.in_jupyter():
        return markdown
    print(markdown)
    return None


def judge(exercise: Shipped, answer: Callee, hidden: tuple[Probe, ...] = ()) -> Verdict:
    """Call `answer` on every probe and find what to say.  Prints nothing."""
    if complaint := answer.complaint(exercise.id, exercise.function, exercise.parameters, exercise.probes):
        outcomes = (Outcome(exercise.probes[0], Reply(), Difference("call", complaint)),)
        return Verdict(exercise, outcomes, 0.0, outcomes[0], "", "",
                       dict.fromkeys((p.part for p in exercise.probes), False))
    outcomes = run_all(answer, exercise.probes, hidden, exercise.forbidden)
    passed = [o.probe for o in outcomes if o.passed]
    parts = dict.fromkeys((p.part for p in exercise.probes), True)
    for probe in (*exercise.probes, *hidden):
        parts[probe.part] &= any(probe is p for p in passed)
    failed = [o for o in outcomes if not o.passed]
    shown = min(failed, key=lambda o: (o.hidden, o.probe.size), default=None)
    mistake = _mistake(exercise, outcomes)
    share = sum(parts.values()) / len(parts)
    return Verdict(exercise, outcomes, round(exercise.points * share, 2), shown, mistake,
                   exercise.mistakes.get(mistake, ""), parts)


def _mistake(exercise, outcomes):
    """The name of the one mistake whose outputs equal these answers on every probe, or ""."""
    failed = [o for o in outcomes if not o.passed]
    if not failed or any(o.difference.layer == "input" for o in failed):
        return ""
    fits = [name for name in exercise.mistakes if all(_fits(name, o) for o in outcomes)
            and any(o.reply.failure is None or _tells(o.reply.failure) for o in failed)]
    return fits[0] if len(fits) == 1 else ""


def _tells(failure):
    """Does the name of a failure say enough to tell mistakes apart, as that of a kernel's fault does?"""
    return ": " in failure.name


def _fits(name, outcome):
    if name not in outcome.probe.mistakes:
        return outcome.passed
    value = outcome.probe.mistakes[name]
    if isinstance(value, Raises):
        return outcome.reply.failure is not None and outcome.reply.failure.name == value.name
    got = outcome.reply.value
    try:
        return outcome.reply.failure is None and same(value, got) and _same_dtype(value, got)
    except Exception:  # noqa: BLE001  as in cnnlab.calls: an object may answer any question with an error
        return False


def _same_dtype(a, b):
    return not isinstance(a, np.ndarray) or getattr(b, "dtype", None) == a.dtype


def blame_callee(verdict: Verdict, answer: Callee, failing: set[str]) -> Verdict:
    """The verdict with a cause, if the failing `answer` calls a function whose own check failed.

    failing: the functions whose last check failed; brought up to date.
    """
    failing.discard(verdict.exercise.function)
    if verdict.shown is None:
        return verdict
    culprits = [f"`{name}`" for name in answer.uses() if name in failing]
    failing.add(verdict.exercise.function)
    if not culprits:
        return verdict
    # A mistake of the callee often makes the caller's answers look like another mistake.
    return replace(verdict, mistake="", cause=f"It calls {' and '.join(culprits)}, whose own check fails. "
                                  "Make that one right first, then run this check again.")

