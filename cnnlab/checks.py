"""`check` runs the student's function on an exercise's probes; `hint` climbs its hint ladder."""

from __future__ import annotations

import contextlib
import copy
import inspect
import io
import linecache
import os
import signal
import threading
import traceback
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from cnnlab import report
from cnnlab.compare import Difference, compare, describe, same
from cnnlab.probes import Probe, Raises, Shipped, load, strided

TIME_LIMIT = 5.0  # seconds for one call; a right answer to a probe takes milliseconds

# The grader sets this to a folder of freshly drawn probes, in the same format as the visible ones.
HIDDEN = "CNNLAB_HIDDEN_PROBES"

_failing: set[str] = set()  # functions whose last check failed
_rungs: Counter[str] = Counter()  # how many hints of each exercise were shown


@dataclass(frozen=True)
class Outcome:
    """What one call gave: a value or an exception, what was printed, and the first difference."""

    probe: Probe
    value: object
    error: BaseException | None
    printed: str
    difference: Difference | None
    hidden: bool = False

    @property
    def passed(self) -> bool:
        return self.difference is None


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
    verdict = judge(load(exercise), answer, _hidden_probes(exercise))
    blame = _blame_callee(verdict, answer)
    verdict = replace(verdict, cause=verdict.cause or blame)
    if not report.in_jupyter():
        print(report.text(verdict))
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


def judge(exercise: Shipped, answer, hidden: tuple[Probe, ...] = ()) -> Verdict:
    """Call `answer` on every probe and find what to say.  Prints nothing, raises nothing."""
    if complaint := _not_a_function(exercise, answer):
        outcomes = (Outcome(exercise.probes[0], answer, None, "", complaint),)
        return Verdict(exercise, outcomes, 0.0, outcomes[0], "", "",
                       dict.fromkeys((p.part for p in exercise.probes), False))
    outcomes = _run_all(answer, exercise.probes)
    if any(o.passed for o in outcomes):
        outcomes += _run_all(answer, hidden, hidden=True)
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


def _run_all(function, probes, hidden=False):
    """The outcome of each probe; after one that hangs, the rest of its part is not tried."""
    outcomes, hung = (), set()
    for probe in probes:
        if probe.part in hung:
            continue
        outcomes += (run(function, probe, hidden),)
        if isinstance(outcomes[-1].error, TimeoutError):
            hung.add(probe.part)
    return outcomes


def run(function, probe: Probe, hidden: bool = False) -> Outcome:
    """Call `function` as `probe` says, on copies, catching what it prints and raises."""
    args, kwargs = _copies(probe)
    printed = io.StringIO()
    value = error = None
    try:
        with (contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed),
              _time_limit(TIME_LIMIT)):
            value = function(*args, **kwargs)
    except KeyboardInterrupt:
        raise
    except BaseException as e:  # SystemExit too: a student's `exit()` is an answer like another
        error = e
    if error is not None:
        difference = Difference("call", _explain_exception(error))
    else:
        difference = _mutated(probe, args, kwargs) or compare(probe.expected, value)
    return Outcome(probe, value, error, printed.getvalue(), difference, hidden)


def _copies(probe):
    """Fresh arguments, so that a function that changes them cannot spoil the next call."""
    def fresh(value):
        if isinstance(value, np.ndarray):
            return value.copy() if value.flags.c_contiguous else strided(value)
        return copy.deepcopy(value)
    return tuple(fresh(a) for a in probe.args), {k: fresh(v) for k, v in probe.kwargs.items()}


def _mutated(probe, args, kwargs):
    before = [*probe.args, *probe.kwargs.values()]
    for i, (old, new) in enumerate(zip(before, [*args, *kwargs.values()])):
        if isinstance(old, np.ndarray) and not np.array_equal(old, new, equal_nan=old.dtype.kind in "fc"):
            which = f"argument {i + 1}" if i < len(args) else f"`{list(kwargs)[i - len(args)]}`"
            return Difference("input", f"It changed its input: {which} is not what it was before the "
                                       "call. Work on a copy (`x = x.copy()`) or a new array.")
    return None


def _not_a_function(exercise, answer):
    if not callable(answer):
        return Difference("call", f"`check` needs the function itself, as in "
                                  f"`check(\"{exercise.id}\", {exercise.function})` without brackets "
                                  f"after it; it was given {describe(answer)}.")
    try:
        signature = inspect.signature(answer)
    except (TypeError, ValueError):
        return None  # some built-ins have none; calling will tell
    for probe in exercise.probes:
        try:
            signature.bind(*probe.args, **probe.kwargs)
        except TypeError as e:
            wanted = ", ".join([*exercise.parameters[:len(probe.args)],
                                *(f"{k}={v!r}" for k, v in probe.kwargs.items())])
            return Difference("call", f"It is called as `{exercise.function}({wanted})`, but your "
                                      f"function is `{exercise.function}{signature}`: {e}.")
    return None


def _mistake(exercise, outcomes):
    """The name of the one mistake whose outputs equal these answers on every probe, or ""."""
    failed = [o for o in outcomes if not o.passed]
    if not failed or any(o.difference.layer == "input" for o in failed):
        return ""
    fits = [name for name in exercise.mistakes if all(_fits(name, o) for o in outcomes)
            and any(o.error is None for o in failed)]
    return fits[0] if len(fits) == 1 else ""


def _fits(name, outcome):
    if name not in outcome.probe.mistakes:
        return outcome.passed
    value = outcome.probe.mistakes[name]
    if isinstance(value, Raises):
        return outcome.error is not None and type(outcome.error).__name__ == value.name
    return outcome.error is None and same(value, outcome.value) and _same_dtype(value, outcome.value)


def _same_dtype(a, b):
    return not isinstance(a, np.ndarray) or getattr(b, "dtype", None) == a.dtype


def _blame_callee(verdict, answer):
    """A sentence if the failing `answer` calls a function whose own check failed, or "".

    Remembers for later checks whether this one failed.
    """
    _failing.discard(verdict.exercise.function)
    if verdict.shown is None:
        return ""
    code = getattr(answer, "__code__", None)
    culprits = [f"`{name}`" for name in (*code.co_names, *code.co_freevars) if name in _failing] if code else []
    _failing.add(verdict.exercise.function)
    if not culprits:
        return ""
    return (f"It calls {' and '.join(culprits)}, whose own check fails. "
            "Make that one right first, then run this check again.")


def _hidden_probes(exercise: str) -> tuple[Probe, ...]:
    folder = os.environ.get(HIDDEN)
    if not folder or not (Path(folder) / f"{exercise}.json").is_file():
        return ()
    return load(exercise, Path(folder)).probes


@contextlib.contextmanager
def _time_limit(seconds: float):
    """Raise TimeoutError in the block after `seconds`.  No limit off the main thread or on Windows."""
    if not hasattr(signal, "SIGALRM") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(signum, frame):
        raise TimeoutError(f"no answer after {seconds:g} s")

    previous = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


def _explain_exception(error: BaseException) -> str:
    if isinstance(error, NotImplementedError):
        return "Not written yet. Replace `raise NotImplementedError()` with your code."
    if isinstance(error, TimeoutError):
        text = f"It was stopped after {TIME_LIMIT:g} seconds: probably a loop that never ends."
    elif isinstance(error, RecursionError):
        text = "It called itself until Python stopped it (RecursionError): the recursion has no end."
    elif isinstance(error, SystemExit):
        text = "It called `exit()`, which would end the notebook. Use `return`."
    else:
        text = f"It raised {type(error).__name__}: {str(error)[:300]}"
    return text + _at_line(error)


def _at_line(error):
    """The student's own line that raised, not one inside NumPy or cnnlab."""
    here = str(Path(__file__).parent)
    frames = [f for f in traceback.extract_tb(error.__traceback__)
              if not f.filename.startswith(here) and "site-packages" not in f.filename
              and f"{os.sep}lib{os.sep}python" not in f.filename]
    if not frames:
        return ""
    line = frames[-1].line or linecache.getline(frames[-1].filename, frames[-1].lineno).strip()
    return f"\nThe line: {line}" if line else ""
