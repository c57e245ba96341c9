"""Call a student's function on a probe and keep what came of it, whatever that is."""

from __future__ import annotations

import contextlib
import copy
import inspect
import io
import os
import signal
import threading
import time
import traceback
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cnnlab.compare import Difference, compare, describe
from cnnlab.probes import Probe, strided

CALL_LIMIT = 5.0  # seconds for one call; a right answer to a probe takes milliseconds
CHECK_LIMIT = 8.0  # seconds for all calls of a check, below the time a grader gives to a cell


class Stopped(Exception):  # noqa: N818
    """Raised in a student's function when its time is up."""


@dataclass(frozen=True)
class Outcome:
    """What one call gave: a value or an exception, what was printed, and the first difference.

    unfinished: the function is still the stub.
    """

    probe: Probe
    value: object
    error: BaseException | None
    printed: str
    difference: Difference | None
    hidden: bool = False
    unfinished: bool = False

    @property
    def passed(self) -> bool:
        return self.difference is None


def run_all(function, probes: tuple[Probe, ...], hidden: tuple[Probe, ...] = ()) -> tuple[Outcome, ...]:
    """The outcome of each probe, hidden ones last and only if anything passed before.

    Stops when CHECK_LIMIT seconds are over, and leaves out the rest of a part in which a call hung.
    """
    outcomes, hung, deadline = (), set(), time.monotonic() + CHECK_LIMIT
    for is_hidden, probe in [*((False, p) for p in probes), *((True, p) for p in hidden)]:
        if probe.part in hung or (is_hidden and not any(o.passed for o in outcomes)):
            continue
        outcomes += (run(function, probe, is_hidden, min(CALL_LIMIT, deadline - time.monotonic())),)
        if isinstance(outcomes[-1].error, Stopped):
            hung.add(probe.part)
    return outcomes


def run(function, probe: Probe, hidden: bool = False, limit: float = CALL_LIMIT) -> Outcome:
    """Call `function` as `probe` says, on copies, for at most `limit` seconds.

    Catches what it prints and raises, KeyboardInterrupt excepted.
    """
    args, kwargs = _copies(probe)
    printed = _Kept()
    value = error = None
    try:
        with (contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed), np.errstate(),
              warnings.catch_warnings(), _time_limit(limit)):
            value = _snapshot(function(*args, **kwargs))
    except KeyboardInterrupt:
        raise
    except BaseException as e:  # SystemExit too: a student's `exit()` is an answer like another
        error = e
    if error is not None:
        difference = Difference("call", _explain(error, function))
    else:
        difference = _mutated(function, probe, args, kwargs) or _compare(probe.expected, value)
    unfinished = _is_stub(error) and _innermost(error) == _name(function)
    return Outcome(probe, value, error, printed.getvalue(), difference, hidden, unfinished)


def _compare(expected, value):
    try:
        return compare(expected, value)
    except Exception:  # noqa: BLE001  an object of the student's own may answer any question with an error
        return Difference("kind", f"It returned a value of type {type(value).__name__}, which cannot be "
                                  f"compared with {describe(expected)}.")


class _Kept(io.StringIO):
    """A stream whose text is still there after a function closed it."""

    def close(self):
        pass


def _snapshot(value):
    """The value as it is now: a function may return the same list or buffer again and change it."""
    if isinstance(value, np.ndarray):
        return np.array(value)
    return copy.deepcopy(value) if isinstance(value, list | tuple) else value


def _copies(probe):
    """Fresh arguments, so that a function that changes them cannot spoil the next call."""
    def fresh(value):
        if isinstance(value, np.ndarray):
            return value.copy() if value.flags.c_contiguous else strided(value)
        return copy.deepcopy(value)
    return tuple(fresh(a) for a in probe.args), {k: fresh(v) for k, v in probe.kwargs.items()}


def _mutated(function, probe, args, kwargs):
    names = [*_parameters(function, len(args)), *kwargs]
    before, after = [*probe.args, *probe.kwargs.values()], [*args, *kwargs.values()]
    for name, old, new in zip(names, before, after):
        if isinstance(old, np.ndarray) and not np.array_equal(old, new, equal_nan=old.dtype.kind in "fc"):
            return Difference("input", f"It changed its input: `{name}` is not what it was before the call. "
                                       "Work on a copy or a new array.")
    return None


def _parameters(function, count):
    try:
        names = list(inspect.signature(function).parameters)[:count]
    except (TypeError, ValueError):
        names = []
    return names if len(names) == count else [f"argument {i + 1}" for i in range(count)]


@contextlib.contextmanager
def _time_limit(seconds: float):
    """Raise Stopped in the block after `seconds`.  No limit off the main thread or on Windows."""
    if not hasattr(signal, "SIGALRM") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(signum, frame):
        raise Stopped

    if seconds <= 0:
        raise Stopped
    previous = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


def _explain(error, function) -> str:
    if _is_stub(error):
        if (inner := _innermost(error)) != _name(function):
            return f"It calls `{inner}`, which is not written yet. Complete that one first."
        return "Not written yet. Replace `raise NotImplementedError()` with your code."
    if isinstance(error, Stopped):
        text = (f"It was stopped: a call may take {CALL_LIMIT:g} seconds, all calls of a check "
                f"{CHECK_LIMIT:g}. Most often a loop never ends.")
    elif isinstance(error, RecursionError):
        text = "It called itself until Python stopped it (RecursionError): the recursion has no end."
    elif isinstance(error, SystemExit):
        text = "It called `exit()`, which would end the notebook. Use `return`."
    else:
        message = _message(error)
        text = f"It raised {type(error).__name__}" + (f": {message}" if message else ".")
    return text + _at_line(error)


def _message(error):
    try:
        return str(error)[:300]
    except Exception:  # noqa: BLE001  an exception of the student's own may fail to print
        return ""


def _is_stub(error):
    return isinstance(error, NotImplementedError) and not _message(error)


def _innermost(error):
    """The name of the student's function in which `error` was raised."""
    frames = _own_frames(error)
    return frames[-1].name if frames else ""


def _name(function):
    return getattr(getattr(function, "__code__", None), "co_name", "")


def _own_frames(error):
    """The frames of the student's code, not those inside NumPy, Python's library or cnnlab."""
    here = str(Path(__file__).parent)
    return [f for f in traceback.extract_tb(error.__traceback__)
            if not f.filename.startswith(here) and "site-packages" not in f.filename
            and f"{os.sep}lib{os.sep}python" not in f.filename]


def _at_line(error):
    frames = _own_frames(error)
    return f"\nThe line: {frames[-1].line}" if frames and frames[-1].line else ""
